//! Certificates that are not trusted, and what the machine says and does about each.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use gf_emulator_core::config::{Generation, Proxy};
use gf_emulator_core::{CertificateProblem, Config, Emulator, Error};
use gf_emulator_tests::{LIMIT, config, folder, point_at, service};
use native_tls::{Identity, TlsAcceptor};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd};

use crate::proxies::Stub;

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

    /// What a service needs whose certificate is for these names and valid in those years.
    fn issue(&self, names: &[&str], years: std::ops::Range<i32>) -> TlsAcceptor {
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut leaf = CertificateParams::new(names).unwrap();
        (leaf.not_before, leaf.not_after) = (date_time_ymd(years.start, 1, 1), date_time_ymd(years.end, 1, 1));
        let key = KeyPair::generate().unwrap();
        let certificate = leaf.signed_by(&key, &self.0).unwrap();
        let identity = Identity::from_pkcs8(certificate.pem().as_bytes(), key.serialize_pem().as_bytes()).unwrap();
        TlsAcceptor::new(identity).unwrap()
    }
}

/// What a service does about a connection.
#[derive(Clone)]
enum Front {
    /// Shows this certificate; to whoever trusts it, it refuses to sign them in.
    Certificate(TlsAcceptor),
    /// Sends this to whoever sends anything.
    Says(&'static [u8]),
    Closes,
}

/// A service of which only the front is there.
struct Service {
    addr: SocketAddr,
    connections: Arc<AtomicUsize>,
    /// The bytes that were sent to it inside TLS.
    heard: Arc<Mutex<Vec<u8>>>,
    over: Arc<AtomicBool>,
}

impl Service {
    /// With one front a connection, and the last for all that come after it.
    fn start(fronts: Vec<Front>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let service = Self { addr, connections: Arc::default(), heard: Arc::default(), over: Arc::default() };
        let (connections, over) = (Arc::clone(&service.connections), Arc::clone(&service.over));
        let heard = Arc::clone(&service.heard);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if over.load(Ordering::Acquire) {
                    return;
                }
                let n = connections.fetch_add(1, Ordering::AcqRel);
                let front = fronts[n.min(fronts.len() - 1)].clone();
                let heard = Arc::clone(&heard);
                thread::spawn(move || serve(stream, &front, &heard));
            }
        });
        service
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::Acquire)
    }

    fn heard(&self) -> usize {
        self.heard.lock().unwrap().len()
    }

    /// How a machine's connecting ends that knows this service, by its name, and trusts `root`.
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

impl Drop for Service {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Release);
        let _ = TcpStream::connect(self.addr);
    }
}

fn serve(mut stream: TcpStream, front: &Front, heard: &Mutex<Vec<u8>>) {
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    match front {
        Front::Closes => {
            let _ = stream.read(&mut [0; 4096]);
        }
        Front::Says(words) => {
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(words);
            // All of it is read first: what is left unread would be answered with a reset.
            let _ = stream.read(&mut [0; 4096]);
        }
        Front::Certificate(acceptor) => {
            let Ok(mut tls) = acceptor.accept(stream) else { return };
            let mut piece = [0; 4096];
            while let Ok(count @ 1..) = tls.read(&mut piece) {
                heard.lock().unwrap().extend_from_slice(&piece[..count]);
                // The body is JSON, and ends with the only brace that closes.
                if piece[..count].ends_with(b"}") {
                    let _ = tls.write_all(b"HTTP/1.1 401 X\r\nContent-Length: 0\r\n\r\n");
                }
            }
        }
    }
}

fn once(config: &mut Config) {
    config.service.retry_for = Duration::ZERO;
}

const NOW: std::ops::Range<i32> = 2000..2200;

#[test]
fn one_that_is_good_is_spoken_to() {
    let root = Root::new("a root");
    let service = Service::start(vec![Front::Certificate(root.issue(&["localhost"], NOW))]);
    assert!(matches!(service.connect(&root, |_| ()), Error::SignInRefused { status: 401 }));
    assert_eq!(service.connections(), 1);
    assert!(service.heard() > 0);
}

#[test]
fn one_that_is_expired_or_not_yet_valid_is_a_matter_of_the_clock() {
    let root = Root::new("a root");
    for (years, limit) in [(2000..2010, "2010-01-01 00:00:00 UTC"), (2150..2200, "2150-01-01 00:00:00 UTC")] {
        let service = Service::start(vec![Front::Certificate(root.issue(&["localhost"], years.clone()))]);
        let error = service.connect(&root, once);
        let Error::Untrusted { problem, .. } = &error else { panic!("{error}") };
        match problem {
            CertificateProblem::Expired { .. } => assert!(years.start == 2000, "{error}"),
            CertificateProblem::NotYetValid { .. } => assert!(years.start == 2150, "{error}"),
            _ => panic!("{error}"),
        }
        let text = error.to_string();
        assert!(text.contains("clock") && text.contains(limit) && text.contains("clock says 20"), "{text}");
        assert!(!text.contains("ca_file"), "{text}");
        // The handshake that failed, and the look at why; nothing was said in either.
        assert_eq!((service.connections(), service.heard()), (2, 0));
    }
}

#[test]
fn a_clock_that_is_set_in_the_meantime_is_waited_for() {
    let root = Root::new("a root");
    let wrong = || Front::Certificate(root.issue(&["localhost"], 2150..2200));
    let right = Front::Certificate(root.issue(&["localhost"], NOW));
    let service = Service::start(vec![wrong(), wrong(), wrong(), wrong(), right]);
    let error = service.connect(&root, |_| ());
    assert!(matches!(error, Error::SignInRefused { status: 401 }), "{error}");
    assert_eq!(service.connections(), 5);
}

#[test]
fn one_of_another_name_ends_it_at_once_and_says_which_names_it_has() {
    let root = Root::new("a root");
    let names = ["portal.example", "*.portal.example", "192.0.2.7", "a", "b", "c"];
    let service = Service::start(vec![Front::Certificate(root.issue(&names, NOW))]);
    let error = service.connect(&root, |_| ());
    assert!(matches!(&error, Error::Untrusted { problem: CertificateProblem::OtherName { .. }, .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains("it is for portal.example, *.portal.example, 192.0.2.7, a, b and 1 more"), "{text}");
    assert!(!text.contains("ca_file"), "{text}");
    assert_eq!((service.connections(), service.heard()), (2, 0));
}

#[test]
fn one_that_nobody_knows_the_issuer_of_ends_it_at_once_and_names_ca_file() {
    let (root, other) = (Root::new("a root"), Root::new("somebody else's root"));
    let service = Service::start(vec![Front::Certificate(other.issue(&["localhost"], NOW))]);
    let error = service.connect(&root, |_| ());
    assert!(matches!(&error, Error::Untrusted { problem: CertificateProblem::UnknownIssuer { .. }, .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains("\"somebody else's root\"") && text.contains("ca_file"), "{text}");
    assert!(!text.contains("clock"), "{text}");
    assert_eq!((service.connections(), service.heard()), (2, 0));
}

#[test]
fn no_tls_at_all_is_said_so_and_tried_again() {
    let root = Root::new("a root");
    for words in [&b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"[..], b"SSH-2.0-OpenSSH_9.2\r\n"] {
        let service = Service::start(vec![Front::Says(words)]);
        let error = service.connect(&root, once);
        assert!(matches!(error, Error::Unreachable { .. }), "{error}");
        let text = error.to_string();
        assert!(text.contains("does not speak TLS") && text.contains("captive portal"), "{text}");
    }
    let service = Service::start(vec![Front::Closes]);
    let text = service.connect(&root, once).to_string();
    assert!(text.contains("closed in the TLS handshake: is it TLS that this port is for?"), "{text}");
    // After which it is there.
    let right = Front::Certificate(root.issue(&["localhost"], NOW));
    let service = Service::start(vec![Front::Closes, right]);
    let error = service.connect(&root, |_| ());
    assert!(matches!(error, Error::SignInRefused { status: 401 }), "{error}");
}

fn connects(ca_file: &str) -> Result<(), Error> {
    let (service, folder) = (service().start().unwrap(), folder());
    let mut config = config(folder.path(), Generation::V2);
    point_at(&mut config, &service, folder.path());
    let own = service.ca_pem().unwrap();
    std::fs::write(config.service.ca_file.as_ref().unwrap(), ca_file.replace("OWN", own)).unwrap();
    Emulator::new(config).and_then(|mut emulator| emulator.connect())
}

#[test]
fn every_certificate_in_ca_file_counts() {
    let other = Root::new("a root").0.pem();
    connects(&format!("OWN{other}")).unwrap();
    connects(&format!("{other}OWN")).unwrap();
    connects(&format!("{other}\nwhat follows is the service's\r\nOWN{other}")).unwrap();
    assert!(matches!(connects(&other), Err(Error::Untrusted { .. })));
    let broken = connects(&format!("OWN{}", &other[..other.len() / 2])).unwrap_err().to_string();
    assert!(broken.contains("certificate 2 of 2"), "{broken}");
}

/// The look at the certificate goes the way that everything goes.
#[test]
fn a_certificate_behind_a_proxy_is_looked_at_through_it() {
    let root = Root::new("a root");
    let service = Service::start(vec![Front::Certificate(root.issue(&["portal.example"], NOW))]);
    let stub = Stub::start(&[]);
    stub.leads_to(service.addr);
    let error = service.connect(&root, |config| {
        config.service.server_url = "https://app.example".into();
        config.service.status_service_url = "wss://app.example".into();
        config.service.proxy = Some(Proxy::parse(&stub.url()).unwrap());
    });
    assert!(error.to_string().contains("it is for portal.example, not"), "{error}");
    assert_eq!((stub.asked().len(), service.connections()), (2, 2));
}
