//! A proxy stands between the machine and its service.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use gf_emulator_core::config::{Generation, Proxy};
use gf_emulator_core::local_service::Cut;
use gf_emulator_core::{Emulator, Error};
use gf_emulator_tests::{LIMIT, Setup, config, folder, point_at, service};

/// `me:a word` in Base64.
const BASIC: &str = "Basic bWU6YSB3b3Jk";

/// A proxy that connects everybody to one place, wherever they ask to go, and keeps what they have asked.
pub(crate) struct Stub {
    addr: SocketAddr,
    to: Arc<Mutex<Option<SocketAddr>>>,
    asked: Arc<Mutex<Vec<String>>>,
    over: Arc<AtomicBool>,
}

impl Stub {
    /// Answers its requests with these statuses first, and with 200 from then on.
    pub(crate) fn start(statuses: &'static [u16]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let (to, asked, over) = (Arc::<Mutex<Option<SocketAddr>>>::default(), Arc::default(), Arc::default());
        let stub = Self { addr, to: Arc::clone(&to), asked: Arc::clone(&asked), over: Arc::clone(&over) };
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if over.load(Ordering::Acquire) {
                    return;
                }
                let (to, asked) = (Arc::clone(&to), Arc::clone(&asked));
                thread::spawn(move || serve(stream, statuses, &to, &asked));
            }
        });
        stub
    }

    /// Where the connections lead, whatever host is asked for.
    pub(crate) fn leads_to(&self, to: SocketAddr) {
        *self.to.lock().unwrap() = Some(to);
    }

    /// Its address with a user name and a password: `me` and `a word`.
    pub(crate) fn url(&self) -> String {
        format!("http://me:a%20word@{}", self.addr)
    }

    /// The heads of the requests so far.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

impl Drop for Stub {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Release);
        let _ = TcpStream::connect(self.addr);
    }
}

fn serve(mut here: TcpStream, statuses: &[u16], to: &Mutex<Option<SocketAddr>>, asked: &Mutex<Vec<String>>) {
    here.set_read_timeout(Some(LIMIT)).unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        match here.read(&mut byte) {
            Ok(1) => head.extend(byte),
            _ => return,
        }
    }
    let status = {
        let mut asked = asked.lock().unwrap();
        asked.push(String::from_utf8(head).unwrap());
        statuses.get(asked.len() - 1).copied().unwrap_or(200)
    };
    // From here on errors are those of a machine or a service that has hung up.
    if here.write_all(format!("HTTP/1.1 {status} {BASIC}\r\n\r\n").as_bytes()).is_err() || status != 200 {
        return;
    }
    let Some(to) = *to.lock().unwrap() else { return };
    let Ok(there) = TcpStream::connect(to) else { return };
    here.set_read_timeout(None).unwrap();
    for stream in [&here, &there] {
        stream.set_nodelay(true).unwrap();
    }
    let (mut from_here, mut to_there) = (here.try_clone().unwrap(), there.try_clone().unwrap());
    thread::spawn(move || {
        let _ = io::copy(&mut from_here, &mut to_there);
        let _ = to_there.shutdown(Shutdown::Write);
    });
    let _ = io::copy(&mut &there, &mut &here);
    let _ = here.shutdown(Shutdown::Both);
}

fn holds_none(folder: &Path) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            holds_none(&path);
            continue;
        }
        let bytes = std::fs::read(&path).unwrap();
        for secret in ["a word", "a%20word", BASIC] {
            assert!(
                !bytes.windows(secret.len()).any(|part| part == secret.as_bytes()),
                "{secret} in {}",
                path.display()
            );
        }
    }
}

#[test]
fn requests_and_websocket_go_through_it_and_nothing_goes_past_it() {
    for generation in [Generation::V1, Generation::V2] {
        for tls in [true, false] {
            let (stub, recorded) = (Stub::start(&[]), tempfile::tempdir().unwrap());
            let (url, to) = (stub.url(), Arc::clone(&stub.to));
            let bench = Setup::new(generation)
                .service(|service| service.tls(tls))
                .recorded(&recorded.path().join("session"))
                .config(move |config| {
                    // Only the proxy knows where the service really is: at this port there is nothing.
                    let port = config.service.server_url.rsplit_once(':').unwrap().1.parse::<u16>().unwrap();
                    *to.lock().unwrap() = Some(([127, 0, 0, 1], port).into());
                    let (http, ws) = if tls { ("https", "wss") } else { ("http", "ws") };
                    config.service.server_url = format!("{http}://localhost:1");
                    config.service.status_service_url = format!("{ws}://localhost:1");
                    config.service.proxy = Some(Proxy::parse(&url).unwrap());
                })
                .start();
            bench.expect(1, "settings", "completed");
            bench.expect(2, "lid_image", "completed");
            bench.expect(3, "print", "completed");
            let before = stub.asked().len();
            // And so does the connection after a cut.
            bench.service.drop_connection(Cut::Drain);
            bench.expect(4, "settings", "completed");
            assert!(stub.asked().len() > before);
            let port = bench.service.addr().port();
            bench.stop().2.unwrap();
            let asked = stub.asked();
            for head in &asked {
                let target = head.strip_prefix("CONNECT ").and_then(|rest| rest.split(' ').next()).unwrap();
                assert!([format!("localhost:{port}"), "localhost:1".into()].contains(&target.to_owned()), "{head}");
                assert!(head.contains(&format!("\r\nHost: {target}\r\n")), "{head}");
                assert!(head.contains(&format!("\r\nProxy-Authorization: {BASIC}\r\n")), "{head}");
            }
            // Sign-in and WebSocket, twice each.
            assert!(asked.iter().filter(|head| head.starts_with("CONNECT localhost:1 ")).count() >= 4, "{asked:#?}");
            holds_none(recorded.path());
        }
    }
}

#[test]
fn a_machine_without_the_key_reaches_this_computer_directly() {
    let stub = Stub::start(&[]);
    let url = stub.url();
    let bench = Setup::new(Generation::V2)
        .config(move |config| {
            config.service.proxy =
                Proxy::from_environment(&|name| (name == "HTTPS_PROXY").then(|| url.clone())).unwrap();
            assert!(config.service.proxy_for("https://app.glowforge.com").is_some());
        })
        .start();
    bench.expect(1, "print", "completed");
    assert_eq!(stub.asked(), Vec::<String>::new());
    bench.stop().2.unwrap();
}

/// A machine that signs in through the stub, to a service that is there.
fn sign_in(stub: &Stub, retry_for: Duration) -> Result<(), Error> {
    let (service, folder) = (service().start().unwrap(), folder());
    let mut config = config(folder.path(), Generation::V2);
    point_at(&mut config, &service, folder.path());
    stub.leads_to(service.addr());
    config.service.proxy = Some(Proxy::parse(&stub.url()).unwrap());
    config.service.retry_for = retry_for;
    Emulator::new(config).unwrap().connect()
}

#[test]
fn a_proxy_that_does_not_take_the_password_ends_the_first_sign_in_at_once() {
    let stub = Stub::start(&[407]);
    let error = sign_in(&stub, LIMIT).unwrap_err();
    assert!(matches!(error, Error::Proxy { status: 407, .. }), "{error}");
    let text = format!("{error} {error:?}");
    assert!(text.contains(&format!("the proxy http://{} refused", stub.addr)), "{text}");
    assert!(!text.contains("a word") && !text.contains(BASIC), "{text}");
    assert_eq!(stub.asked().len(), 1);
}

#[test]
fn a_proxy_that_has_no_connection_for_a_while_is_asked_again() {
    let stub = Stub::start(&[503, 403]);
    sign_in(&stub, LIMIT).unwrap();
    assert!(stub.asked().len() >= 4);

    let stub = Stub::start(&[502; 100]);
    let error = sign_in(&stub, Duration::ZERO).unwrap_err().to_string();
    assert!(error.contains(&format!("the proxy http://{}", stub.addr)) && error.contains("HTTP 502"), "{error}");
}
