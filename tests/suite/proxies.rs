//! A machine that reaches its service through an HTTP proxy.

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
use gf_emulator_tests::{LIMIT, Setup, config, folder, point_at, service, without_and_with_tls};

/// `me:a word` in Base64.
const BASIC: &str = "Basic bWU6YSB3b3Jk";

/// A proxy that connects every client to one address, whatever host it asks for, and keeps the requests.
pub(crate) struct StubProxy {
    addr: SocketAddr,
    target: Arc<Mutex<Option<SocketAddr>>>,
    requests: Arc<Mutex<Vec<String>>>,
    stopped: Arc<AtomicBool>,
}

impl StubProxy {
    /// Starts a proxy that responds with `statuses` to the first requests and with 200 to all others.
    pub(crate) fn start(statuses: &'static [u16]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let proxy = Self { addr, target: Arc::default(), requests: Arc::default(), stopped: Arc::default() };
        let (target, requests) = (Arc::clone(&proxy.target), Arc::clone(&proxy.requests));
        let stopped = Arc::clone(&proxy.stopped);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if stopped.load(Ordering::Acquire) {
                    return;
                }
                let (target, requests) = (Arc::clone(&target), Arc::clone(&requests));
                thread::spawn(move || serve(stream, statuses, &target, &requests));
            }
        });
        proxy
    }

    /// Sets the address that every client is connected to.
    pub(crate) fn set_target(&self, target: SocketAddr) {
        *self.target.lock().unwrap() = Some(target);
    }

    /// Returns its URL, with the user name `me` and the password `a word`.
    pub(crate) fn url(&self) -> String {
        format!("http://me:a%20word@{}", self.addr)
    }

    /// Returns the heads of the requests so far.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

impl Drop for StubProxy {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Release);
        let _ = TcpStream::connect(self.addr);
    }
}

fn serve(mut client: TcpStream, statuses: &[u16], target: &Mutex<Option<SocketAddr>>, requests: &Mutex<Vec<String>>) {
    client.set_read_timeout(Some(LIMIT)).unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        match client.read(&mut byte) {
            Ok(1) => head.extend(byte),
            _ => return,
        }
    }
    let status = {
        let mut requests = requests.lock().unwrap();
        requests.push(String::from_utf8(head).unwrap());
        statuses.get(requests.len() - 1).copied().unwrap_or(200)
    };
    // From here on errors mean that the machine or the service has closed its connection.
    if client.write_all(format!("HTTP/1.1 {status} {BASIC}\r\n\r\n").as_bytes()).is_err() || status != 200 {
        return;
    }
    let Some(target) = *target.lock().unwrap() else { return };
    let Ok(server) = TcpStream::connect(target) else { return };
    client.set_read_timeout(None).unwrap();
    for stream in [&client, &server] {
        stream.set_nodelay(true).unwrap();
    }
    let (mut from_client, mut to_server) = (client.try_clone().unwrap(), server.try_clone().unwrap());
    thread::spawn(move || {
        let _ = io::copy(&mut from_client, &mut to_server);
        let _ = to_server.shutdown(Shutdown::Write);
    });
    let _ = io::copy(&mut &server, &mut &client);
    let _ = client.shutdown(Shutdown::Both);
}

fn assert_no_credentials(folder: &Path) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            assert_no_credentials(&path);
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
fn every_connection_goes_through_the_proxy_and_no_credentials_are_recorded() {
    for generation in [Generation::V1, Generation::V2] {
        for tls in without_and_with_tls() {
            let (proxy, recorded) = (StubProxy::start(&[]), tempfile::tempdir().unwrap());
            let (url, target) = (proxy.url(), Arc::clone(&proxy.target));
            let harness = Setup::new(generation)
                .service(|service| service.tls(tls))
                .recorded(&recorded.path().join("session"))
                .config(move |config| {
                    // Only the proxy knows the service's real port: nothing listens on the configured one.
                    let port = config.service.server_url.rsplit_once(':').unwrap().1.parse::<u16>().unwrap();
                    *target.lock().unwrap() = Some(([127, 0, 0, 1], port).into());
                    let (http, ws) = if tls { ("https", "wss") } else { ("http", "ws") };
                    config.service.server_url = format!("{http}://localhost:1");
                    config.service.status_service_url = format!("{ws}://localhost:1");
                    config.service.proxy = Some(Proxy::parse(&url).unwrap());
                })
                .start();
            harness.expect(1, "settings", "completed");
            harness.expect(2, "lid_image", "completed");
            harness.expect(3, "print", "completed");
            let before = proxy.requests().len();
            // A reconnection also uses the proxy.
            harness.service.drop_connection(Cut::Drain);
            harness.expect(4, "settings", "completed");
            assert!(proxy.requests().len() > before);
            let port = harness.service.addr().port();
            harness.stop().2.unwrap();
            let requests = proxy.requests();
            for head in &requests {
                let target = head.strip_prefix("CONNECT ").and_then(|rest| rest.split(' ').next()).unwrap();
                assert!([format!("localhost:{port}"), "localhost:1".into()].contains(&target.to_owned()), "{head}");
                assert!(head.contains(&format!("\r\nHost: {target}\r\n")), "{head}");
                assert!(head.contains(&format!("\r\nProxy-Authorization: {BASIC}\r\n")), "{head}");
            }
            // Two sign-ins and two WebSockets.
            assert!(
                requests.iter().filter(|head| head.starts_with("CONNECT localhost:1 ")).count() >= 4,
                "{requests:#?}"
            );
            assert_no_credentials(recorded.path());
        }
    }
}

#[test]
fn a_proxy_from_the_environment_is_not_used_for_loopback() {
    let proxy = StubProxy::start(&[]);
    let url = proxy.url();
    let harness = Setup::new(Generation::V2)
        .config(move |config| {
            config.service.proxy =
                Proxy::from_environment(&|name| (name == "HTTPS_PROXY").then(|| url.clone())).unwrap();
            assert!(config.service.proxy_for("https://app.glowforge.com").is_some());
        })
        .start();
    harness.expect(1, "print", "completed");
    assert_eq!(proxy.requests(), Vec::<String>::new());
    harness.stop().2.unwrap();
}

/// Connects a machine to a service through `proxy`.
fn connect(proxy: &StubProxy, retry_for: Duration) -> Result<(), Error> {
    let (service, folder) = (service().start().unwrap(), folder());
    let mut config = config(folder.path(), Generation::V2);
    point_at(&mut config, &service, folder.path());
    proxy.set_target(service.addr());
    config.service.proxy = Some(Proxy::parse(&proxy.url()).unwrap());
    config.service.retry_for = retry_for;
    Emulator::new(config).unwrap().connect()
}

#[test]
fn a_rejected_proxy_password_is_not_retried() {
    let proxy = StubProxy::start(&[407]);
    let error = connect(&proxy, LIMIT).unwrap_err();
    assert!(matches!(error, Error::Proxy { status: 407, .. }), "{error}");
    let text = format!("{error} {error:?}");
    assert!(text.contains(&format!("the proxy http://{} refused", proxy.addr)), "{text}");
    assert!(!text.contains("a word") && !text.contains(BASIC), "{text}");
    assert_eq!(proxy.requests().len(), 1);
}

#[test]
fn other_proxy_errors_are_retried() {
    let proxy = StubProxy::start(&[503, 403]);
    connect(&proxy, LIMIT).unwrap();
    assert!(proxy.requests().len() >= 4);

    let proxy = StubProxy::start(&[502; 100]);
    let error = connect(&proxy, Duration::ZERO).unwrap_err().to_string();
    assert!(error.contains(&format!("the proxy http://{}", proxy.addr)) && error.contains("HTTP 502"), "{error}");
}
