//! A service that does just what a test says, byte by byte: for what the local service is too well behaved to do.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use crossbeam_channel::{Receiver, Sender, unbounded};
use gf_emulator_core::config::Generation;
use gf_emulator_core::{Config, Emulator, Handle, Result};
use gf_emulator_tests::{LIMIT, config, folder};
use tempfile::TempDir;
use tungstenite::WebSocket;
use tungstenite::protocol::Role;

/// A request as it came.
pub(crate) struct Asked {
    /// Method and path, such as `POST /machines/sign_in`.
    pub(crate) what: String,
    /// Request line and headers.
    pub(crate) head: String,
}

/// What the service does about a request.
pub(crate) enum Answer {
    /// Sends this, and closes.
    Bytes(Vec<u8>),
    /// Sends this, and resets the connection.
    Reset(Vec<u8>),
    /// Sends this, then zeros for as long as they are taken.
    Endless(Vec<u8>),
    /// Sends this, then nothing until the machine hangs up.
    Stalled(Vec<u8>),
    /// Opens the control socket, with these bytes glued to the answer.
    Open(Vec<u8>),
}

/// An answer in HTTP with this status and body.
pub(crate) fn http(status: u16, body: &str) -> Answer {
    Answer::Bytes(
        format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len()).into(),
    )
}

/// What a service does that has nothing against the machine. The tokens are numbered: `ws-token-1`, `auth-token-1`.
pub(crate) fn good() -> impl Fn(&Asked) -> Answer + Send + Sync + 'static {
    let signed_in = Mutex::new(0);
    move |asked| match asked.what.as_str() {
        "POST /machines/sign_in" => {
            let mut n = signed_in.lock().unwrap();
            *n += 1;
            http(200, &format!(r#"{{"ws_token":"ws-token-{n}","auth_token":"auth-token-{n}"}}"#))
        }
        "GET /update/current" => http(200, r#"{"version":"2.6.0-2228"}"#),
        _ if asked.head.contains("websocket") => Answer::Open(Vec::new()),
        _ => http(200, ""),
    }
}

type Answers = Arc<dyn Fn(&Asked) -> Answer + Send + Sync>;

/// The service; its threads end when it is dropped and its connections are closed.
pub(crate) struct Raw {
    pub(crate) addr: SocketAddr,
    /// The requests in the order in which they came.
    pub(crate) asked: Receiver<Asked>,
    /// The control sockets in the order in which they were opened.
    pub(crate) sockets: Receiver<WebSocket<TcpStream>>,
    over: Arc<AtomicBool>,
}

impl Raw {
    pub(crate) fn start(answer: impl Fn(&Asked) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let (say, asked) = unbounded();
        let (open, sockets) = unbounded();
        let over = Arc::new(AtomicBool::new(false));
        let is_over = Arc::clone(&over);
        let answer: Answers = Arc::new(answer);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(std::result::Result::ok) {
                if is_over.load(Ordering::Acquire) {
                    return;
                }
                let (answer, say, open) = (Arc::clone(&answer), say.clone(), open.clone());
                thread::spawn(move || serve(stream, &answer, &say, &open));
            }
        });
        Self { addr, asked, sockets, over }
    }

    /// The next control socket.
    pub(crate) fn socket(&self) -> WebSocket<TcpStream> {
        self.sockets.recv_timeout(LIMIT).expect("the machine opens a control socket")
    }

    /// What has been asked so far and was not looked at.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.asked.try_iter().map(|asked| asked.what).collect()
    }

    /// A machine that knows this service.
    pub(crate) fn machine(&self, adjust: impl FnOnce(&mut Config)) -> (Emulator, TempDir) {
        let folder = folder();
        let mut config = config(folder.path(), Generation::V2);
        config.service.server_url = format!("http://{}", self.addr);
        config.service.status_service_url = format!("ws://{}", self.addr);
        adjust(&mut config);
        (Emulator::new(config).unwrap(), folder)
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Release);
        let _ = TcpStream::connect(self.addr);
    }
}

fn serve(mut stream: TcpStream, answer: &Answers, say: &Sender<Asked>, open: &Sender<WebSocket<TcpStream>>) {
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream.set_write_timeout(Some(LIMIT)).unwrap();
    stream.set_nodelay(true).unwrap();
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte) {
            Ok(1) => head.push(byte[0]),
            _ => return,
        }
    }
    let head = String::from_utf8(head).unwrap();
    let header = |name: &str| {
        head.lines()
            .find_map(|line| line.split_once(": ").filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v))
    };
    let length = header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    let key = header("sec-websocket-key").unwrap_or_default().to_owned();
    let mut body = vec![0; length];
    if stream.read_exact(&mut body).is_err() {
        return;
    }
    let what = head.lines().next().unwrap_or_default().rsplit_once(' ').map_or("", |(what, _)| what).to_owned();
    let asked = Asked { what, head };
    let answered = answer(&asked);
    let _ = say.send(asked);
    // Errors below: the machine has had enough.
    match answered {
        Answer::Bytes(bytes) => {
            let _ = stream.write_all(&bytes);
        }
        Answer::Reset(bytes) => {
            let _ = stream.write_all(&bytes);
            let _ = socket2::SockRef::from(&stream).set_linger(Some(std::time::Duration::ZERO));
        }
        Answer::Endless(head) => {
            let _ = stream.write_all(&head);
            while stream.write_all(&[0; 4096]).is_ok() {}
        }
        Answer::Stalled(head) => {
            let _ = stream.write_all(&head);
            let _ = stream.read(&mut byte);
        }
        Answer::Open(glued) => {
            let accept = tungstenite::handshake::derive_accept_key(key.as_bytes());
            let mut bytes = format!(
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                 Sec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Protocol: glowforge\r\n\r\n"
            )
            .into_bytes();
            bytes.extend(glued);
            if stream.write_all(&bytes).is_ok() {
                let _ = open.send(WebSocket::from_raw_socket(stream, Role::Server, None));
            }
        }
    }
}

/// A machine that connects and runs in a thread of its own.
pub(crate) struct Running {
    pub(crate) handle: Handle,
    ended: Receiver<Result<()>>,
    _folder: TempDir,
}

impl Running {
    pub(crate) fn start((mut emulator, folder): (Emulator, TempDir)) -> Self {
        let handle = emulator.handle();
        let (end, ended) = unbounded();
        thread::spawn(move || {
            let ended = emulator.connect().and_then(|()| emulator.run());
            // What it has recorded is whole before anybody hears that it has ended.
            drop(emulator);
            end.send(ended)
        });
        Self { handle, ended, _folder: folder }
    }

    /// How it ended by itself.
    pub(crate) fn end(&self) -> Result<()> {
        self.ended.recv_timeout(LIMIT).expect("it ends")
    }

    /// Stops it, and gives how it ended.
    pub(crate) fn stop(&self) -> Result<()> {
        self.handle.stop();
        self.end()
    }
}

/// Runs the named test in a process of its own, where it has all threads to itself: false in the process that only
/// starts it.
pub(crate) fn alone(test: &str) -> bool {
    const MARK: &str = "GF_TEST_ALONE";
    if std::env::var_os(MARK).is_some() {
        return true;
    }
    let test_binary = std::env::current_exe().unwrap();
    let output = std::process::Command::new(test_binary).args([test, "--exact"]).env(MARK, "1").output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed"), "{said}{}", String::from_utf8_lossy(&output.stderr));
    false
}
