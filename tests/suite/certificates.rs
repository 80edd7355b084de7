//! Untrusted certificates: which error each gives, and whether the machine retries.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use gf_emulator_core::config::{Generation, Proxy, Service};
use gf_emulator_core::{CertificateProblem, Config, Emulator, Error};
use gf_emulator_tests::{LIMIT, config, folder, point_at, service};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd};

use crate::proxies::StubProxy;
use crate::tls_server::Acceptor;

/// A root certificate that issues others.
struct Root(CertifiedIssuer<'static, KeyPair>);

impl Root {
    fn new(name: &str) -> Self {
        let mut root = CertificateParams::new(Vec::new()).unwrap();
        root.distinguished_name.push(DnType::CommonName, name);
        root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        (root.not_before, root.not_after) = (date_time_ymd(1975, 1, 1), date_time_ymd(4096, 1, 1));
        Self(CertifiedIssuer::self_signed(root, KeyPair::generate().unwrap()).unwrap())
    }

    /// Returns an acceptor with a certificate for `names`, valid from the first to the last year.
    fn issue(&self, names: &[&str], years: std::ops::Range<i32>) -> Acceptor {
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut leaf = CertificateParams::new(names).unwrap();
        (leaf.not_before, leaf.not_after) = (date_time_ymd(years.start, 1, 1), date_time_ymd(years.end, 1, 1));
        let key = KeyPair::generate().unwrap();
        let certificate = leaf.signed_by(&key, &self.0).unwrap();
        Acceptor::new(certificate.der(), &key)
    }
}

/// How a service handles a connection.
#[derive(Clone)]
enum Behavior {
    /// Completes the TLS handshake if its certificate is trusted, and refuses the sign-in.
    Certificate(Acceptor),
    /// Responds to the first data with these bytes.
    Respond(&'static [u8]),
    Close,
}

/// A service that handles only the first request of a machine.
struct StubService {
    addr: SocketAddr,
    connections: Arc<AtomicUsize>,
    /// The number of bytes received inside TLS.
    received: Arc<AtomicUsize>,
    stopped: Arc<AtomicBool>,
}

impl StubService {
    /// Handles each connection by the next behavior, and all later ones by the last.
    fn start(behaviors: Vec<Behavior>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let service = Self { addr, connections: Arc::default(), received: Arc::default(), stopped: Arc::default() };
        let (connections, stopped) = (Arc::clone(&service.connections), Arc::clone(&service.stopped));
        let received = Arc::clone(&service.received);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if stopped.load(Ordering::Acquire) {
                    return;
                }
                let n = connections.fetch_add(1, Ordering::AcqRel);
                let behavior = behaviors[n.min(behaviors.len() - 1)].clone();
                let received = Arc::clone(&received);
                thread::spawn(move || serve(stream, &behavior, &received));
            }
        });
        service
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::Acquire)
    }

    fn received(&self) -> usize {
        self.received.load(Ordering::Acquire)
    }

    /// Connects a machine that trusts `root` to this service, and returns the error.
    fn connect(&self, root: &Root, adjust: impl FnOnce(&mut Config)) -> Error {
        let folder = folder();
        let ca_file = folder.path().join("ca.pem");
        std::fs::write(&ca_file, root.0.pem()).unwrap();
        let mut config = config(folder.path(), Generation::V2);
        config.service.server_url = format!("https://localhost:{}", self.addr.port());
        config.service.status_service_url = format!("wss://localhost:{}", self.addr.port());
        config.service.ca_file = Some(ca_file);
        adjust(&mut config);
        Emulator::new(config).unwrap().connect().unwrap_err()
    }
}

impl Drop for StubService {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Release);
        let _ = TcpStream::connect(self.addr);
    }
}

fn serve(mut stream: TcpStream, behavior: &Behavior, received: &AtomicUsize) {
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    match behavior {
        Behavior::Close => {
            let _ = stream.read(&mut [0; 4096]);
        }
        Behavior::Respond(response) => {
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(response);
            // Unread data would make closing send a reset, which can discard the response.
            let _ = stream.read(&mut [0; 4096]);
        }
        Behavior::Certificate(acceptor) => {
            let mut tls = acceptor.accept(stream);
            let mut chunk = [0; 4096];
            while let Ok(count @ 1..) = tls.read(&mut chunk) {
                received.fetch_add(count, Ordering::AcqRel);
                // The end of the JSON body, whose only closing brace is its last byte.
                if chunk[..count].ends_with(b"}") {
                    let _ = tls.write_all(b"HTTP/1.1 401 X\r\nContent-Length: 0\r\n\r\n");
                }
            }
        }
    }
}

fn without_retries(config: &mut Config) {
    config.service.retry_for = Duration::ZERO;
}

const NOW: std::ops::Range<i32> = 2000..2200;

#[test]
fn connects_to_a_host_with_a_trusted_certificate() {
    let root = Root::new("a root");
    let service = StubService::start(vec![Behavior::Certificate(root.issue(&["localhost"], NOW))]);
    assert!(matches!(service.connect(&root, |_| ()), Error::SignInRefused { status: 401 }));
    assert_eq!(service.connections(), 1);
    assert!(service.received() > 0);
}

#[test]
fn the_error_of_an_expired_or_not_yet_valid_certificate_mentions_the_clock() {
    let root = Root::new("a root");
    for (years, limit) in [(2000..2010, "2010-01-01 00:00:00 UTC"), (2150..2200, "2150-01-01 00:00:00 UTC")] {
        let service = StubService::start(vec![Behavior::Certificate(root.issue(&["localhost"], years.clone()))]);
        let error = service.connect(&root, without_retries);
        let Error::Untrusted { problem, .. } = &error else { panic!("{error}") };
        match problem {
            CertificateProblem::Expired { .. } => assert!(years.start == 2000, "{error}"),
            CertificateProblem::NotYetValid { .. } => assert!(years.start == 2150, "{error}"),
            _ => panic!("{error}"),
        }
        let text = error.to_string();
        assert!(text.contains("clock") && text.contains(limit) && text.contains("clock says 20"), "{text}");
        assert!(!text.contains("ca_file"), "{text}");
        // The failed handshake and the probe of the certificate; neither sends data inside TLS.
        assert_eq!((service.connections(), service.received()), (2, 0));
    }
}

#[test]
fn retries_until_the_certificate_is_valid() {
    let root = Root::new("a root");
    let wrong = || Behavior::Certificate(root.issue(&["localhost"], 2150..2200));
    let right = Behavior::Certificate(root.issue(&["localhost"], NOW));
    let service = StubService::start(vec![wrong(), wrong(), wrong(), wrong(), right]);
    let error = service.connect(&root, |_| ());
    assert!(matches!(error, Error::SignInRefused { status: 401 }), "{error}");
    assert_eq!(service.connections(), 5);
}

#[test]
fn does_not_retry_with_the_certificate_of_another_host_and_lists_its_names() {
    let root = Root::new("a root");
    let names = ["portal.example", "*.portal.example", "192.0.2.7", "a", "b", "c"];
    let service = StubService::start(vec![Behavior::Certificate(root.issue(&names, NOW))]);
    let error = service.connect(&root, |_| ());
    assert!(matches!(&error, Error::Untrusted { problem: CertificateProblem::OtherName { .. }, .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains("it is for portal.example, *.portal.example, 192.0.2.7, a, b and 1 more"), "{text}");
    assert!(!text.contains("ca_file"), "{text}");
    assert_eq!((service.connections(), service.received()), (2, 0));
}

#[test]
fn does_not_retry_with_an_unknown_issuer_and_mentions_ca_file() {
    let (root, other) = (Root::new("a root"), Root::new("another root"));
    let service = StubService::start(vec![Behavior::Certificate(other.issue(&["localhost"], NOW))]);
    let error = service.connect(&root, |_| ());
    assert!(matches!(&error, Error::Untrusted { problem: CertificateProblem::UnknownIssuer { .. }, .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains("\"another root\"") && text.contains("ca_file"), "{text}");
    assert!(!text.contains("clock"), "{text}");
    assert_eq!((service.connections(), service.received()), (2, 0));
}

#[test]
fn retries_if_the_port_does_not_speak_tls_and_reports_it() {
    let root = Root::new("a root");
    for response in [&b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"[..], b"SSH-2.0-OpenSSH_9.2\r\n"] {
        let service = StubService::start(vec![Behavior::Respond(response)]);
        let error = service.connect(&root, without_retries);
        assert!(matches!(error, Error::Unreachable { .. }), "{error}");
        let text = error.to_string();
        assert!(text.contains("does not speak TLS") && text.contains("captive portal"), "{text}");
    }
    let service = StubService::start(vec![Behavior::Close]);
    let text = service.connect(&root, without_retries).to_string();
    assert!(text.contains("closed during the TLS handshake: does this port use TLS?"), "{text}");
    // The service is up at the second attempt.
    let right = Behavior::Certificate(root.issue(&["localhost"], NOW));
    let service = StubService::start(vec![Behavior::Close, right]);
    let error = service.connect(&root, |_| ());
    assert!(matches!(error, Error::SignInRefused { status: 401 }), "{error}");
}

#[test]
fn a_plain_address_of_a_port_that_uses_tls_is_an_error_that_says_so() {
    // A TLS alert: unexpected message.
    let service = StubService::start(vec![Behavior::Respond(b"\x15\x03\x01\x00\x02\x02\x0a")]);
    let plain = |config: &mut Config| {
        without_retries(config);
        let Service { server_url, status_service_url, .. } = &mut config.service;
        *server_url = server_url.replace("https:", "http:");
        *status_service_url = status_service_url.replace("wss:", "ws:");
    };
    let text = service.connect(&Root::new("a root"), plain).to_string();
    assert!(text.contains("does this port use TLS?"), "{text}");
}

fn connect_with_ca_file(ca_file: &str) -> Result<(), Error> {
    let (service, folder) = (service().start().unwrap(), folder());
    let mut config = config(folder.path(), Generation::V2);
    point_at(&mut config, &service, folder.path());
    let own = service.ca_pem().unwrap();
    std::fs::write(config.service.ca_file.as_ref().unwrap(), ca_file.replace("OWN", own)).unwrap();
    Emulator::new(config).and_then(|mut emulator| emulator.connect())
}

#[test]
fn trusts_every_certificate_in_ca_file() {
    let other = Root::new("a root").0.pem();
    connect_with_ca_file(&format!("OWN{other}")).unwrap();
    connect_with_ca_file(&format!("{other}OWN")).unwrap();
    connect_with_ca_file(&format!("{other}\nthe certificate of the service:\r\nOWN{other}")).unwrap();
    assert!(matches!(connect_with_ca_file(&other), Err(Error::Untrusted { .. })));
    let broken = connect_with_ca_file(&format!("OWN{}", &other[..other.len() / 2])).unwrap_err().to_string();
    assert!(broken.contains("certificate 2 of 2"), "{broken}");
}

#[test]
fn reads_an_untrusted_certificate_through_the_proxy() {
    let root = Root::new("a root");
    let service = StubService::start(vec![Behavior::Certificate(root.issue(&["portal.example"], NOW))]);
    let proxy = StubProxy::start(&[]);
    proxy.set_target(service.addr);
    let error = service.connect(&root, |config| {
        config.service.server_url = "https://app.example".into();
        config.service.status_service_url = "wss://app.example".into();
        config.service.proxy = Some(Proxy::parse(&proxy.url()).unwrap());
    });
    assert!(error.to_string().contains("it is for portal.example, not"), "{error}");
    assert_eq!((proxy.requests().len(), service.connections()), (2, 2));
}
