//! A service whose responses a test defines byte by byte, including invalid ones that the local service cannot send.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use crossbeam_channel::{Receiver, Sender, unbounded};
use gf_emulator_core::config::Generation;
use gf_emulator_core::{Config, Emulator, Handle, Result};
use gf_emulator_tests::{LIMIT, command, config, folder};
use tempfile::TempDir;
use tungstenite::WebSocket;
use tungstenite::protocol::Role;

/// A received request.
pub(crate) struct Request {
    /// Method and path, such as `POST /machines/sign_in`.
    pub(crate) method_and_path: String,
    /// Request line and headers.
    pub(crate) head: String,
}

/// How the service responds to a request.
pub(crate) enum Response {
    /// Sends these bytes and closes the connection.
    Bytes(Vec<u8>),
    /// Sends these bytes and resets the connection.
    Reset(Vec<u8>),
    /// Sends these bytes, then zeros until the machine disconnects.
    Endless(Vec<u8>),
    /// Sends these bytes, then nothing until the machine disconnects.
    Stalled(Vec<u8>),
    /// Accepts the WebSocket, with these bytes right after the handshake response.
    Open(Vec<u8>),
}

/// Returns an HTTP response with this status and body.
pub(crate) fn http(status: u16, body: &str) -> Response {
    Response::Bytes(
        format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len()).into(),
    )
}

/// Responds to every request with success. The tokens are numbered: `ws-token-1`, `auth-token-1`.
pub(crate) fn normal_responses() -> impl Fn(&Request) -> Response + Send + Sync + 'static {
    let sign_ins = Mutex::new(0);
    move |request| match request.method_and_path.as_str() {
        "POST /machines/sign_in" => {
            let mut n = sign_ins.lock().unwrap();
            *n += 1;
            http(200, &format!(r#"{{"ws_token":"ws-token-{n}","auth_token":"auth-token-{n}"}}"#))
        }
        "GET /update/current" => http(200, r#"{"version":"2.6.0-2228"}"#),
        _ if request.head.contains("websocket") => Response::Open(Vec::new()),
        _ => http(200, ""),
    }
}

type Responder = Arc<dyn Fn(&Request) -> Response + Send + Sync>;

/// A running service. Its threads end when it is dropped and its connections are closed.
pub(crate) struct RawService {
    pub(crate) addr: SocketAddr,
    /// The requests in order of arrival.
    pub(crate) received: Receiver<Request>,
    /// The accepted `WebSocket`s in order.
    pub(crate) sockets: Receiver<WebSocket<TcpStream>>,
    stopped: Arc<AtomicBool>,
}

impl RawService {
    pub(crate) fn start(respond: impl Fn(&Request) -> Response + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let (request_tx, received) = unbounded();
        let (socket_tx, sockets) = unbounded();
        let stopped = Arc::new(AtomicBool::new(false));
        let is_stopped = Arc::clone(&stopped);
        let respond: Responder = Arc::new(respond);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(std::result::Result::ok) {
                if is_stopped.load(Ordering::Acquire) {
                    return;
                }
                let (respond, request_tx, socket_tx) = (Arc::clone(&respond), request_tx.clone(), socket_tx.clone());
                thread::spawn(move || serve(stream, &respond, &request_tx, &socket_tx));
            }
        });
        Self { addr, received, sockets, stopped }
    }

    /// Returns the next WebSocket.
    pub(crate) fn socket(&self) -> WebSocket<TcpStream> {
        self.sockets.recv_timeout(LIMIT).expect("the machine opens a WebSocket")
    }

    /// Returns the requests since the last call.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.received.try_iter().map(|request| request.method_and_path).collect()
    }

    /// Creates a machine that is configured for this service.
    pub(crate) fn machine(&self, adjust: impl FnOnce(&mut Config)) -> (Emulator, TempDir) {
        let folder = folder();
        let mut config = config(folder.path(), Generation::V2);
        config.service.server_url = format!("http://{}", self.addr);
        config.service.status_service_url = format!("ws://{}", self.addr);
        adjust(&mut config);
        (Emulator::new(config).unwrap(), folder)
    }
}

impl Drop for RawService {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Release);
        let _ = TcpStream::connect(self.addr);
    }
}

fn serve(
    mut stream: TcpStream,
    respond: &Responder,
    request_tx: &Sender<Request>,
    socket_tx: &Sender<WebSocket<TcpStream>>,
) {
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
    let request_line = head.lines().next().unwrap_or_default();
    let method_and_path = request_line.rsplit_once(' ').map_or("", |(rest, _)| rest).to_owned();
    let request = Request { method_and_path, head };
    let response = respond(&request);
    let _ = request_tx.send(request);
    // Write errors are ignored: the machine may have disconnected.
    match response {
        Response::Bytes(bytes) => {
            let _ = stream.write_all(&bytes);
        }
        Response::Reset(bytes) => {
            let _ = stream.write_all(&bytes);
            let _ = socket2::SockRef::from(&stream).set_linger(Some(std::time::Duration::ZERO));
        }
        Response::Endless(head) => {
            let _ = stream.write_all(&head);
            while stream.write_all(&[0; 4096]).is_ok() {}
        }
        Response::Stalled(head) => {
            let _ = stream.write_all(&head);
            let _ = stream.read(&mut byte);
        }
        Response::Open(early) => {
            let accept = tungstenite::handshake::derive_accept_key(key.as_bytes());
            let mut bytes = format!(
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                 Sec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Protocol: glowforge\r\n\r\n"
            )
            .into_bytes();
            bytes.extend(early);
            if stream.write_all(&bytes).is_ok() {
                let _ = socket_tx.send(WebSocket::from_raw_socket(stream, Role::Server, None));
            }
        }
    }
}

/// A machine that connects and runs in its own thread.
pub(crate) struct RunningMachine {
    pub(crate) handle: Handle,
    ended: Receiver<Result<()>>,
    _folder: TempDir,
}

impl RunningMachine {
    pub(crate) fn start((mut emulator, folder): (Emulator, TempDir)) -> Self {
        let handle = emulator.handle();
        let (done, ended) = unbounded();
        thread::spawn(move || {
            let ended = emulator.connect().and_then(|()| emulator.run());
            // The recording is complete once the emulator is dropped.
            drop(emulator);
            done.send(ended)
        });
        Self { handle, ended, _folder: folder }
    }

    /// Waits until it ends, and returns how.
    pub(crate) fn end(&self) -> Result<()> {
        self.ended.recv_timeout(LIMIT).expect("the machine ends")
    }

    /// Stops it, and returns how it ended.
    pub(crate) fn stop(&self) -> Result<()> {
        self.handle.stop();
        self.end()
    }
}

/// Runs the named test in a child process, without threads of other tests. Returns true in the child and false in the
/// parent.
pub(crate) fn in_own_process(test: &str) -> bool {
    const IN_CHILD: &str = "GF_TEST_IN_CHILD";
    if std::env::var_os(IN_CHILD).is_some() {
        return true;
    }
    let test_binary = std::env::current_exe().unwrap();
    let output = command(&test_binary).args([test, "--exact"]).env(IN_CHILD, "1").output().unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && printed.contains("1 passed"),
        "{printed}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    false
}
