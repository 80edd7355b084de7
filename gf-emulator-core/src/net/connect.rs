//! Connecting: the look-up of the name, TCP, the proxy, and TLS on top, all before one deadline.

use std::error::Error as _;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::thread;
use std::time::{Instant, SystemTime};

use crossbeam_channel::bounded;
use native_tls::HandshakeError;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::cancel::{CancelToken, cancelled_error};
use super::certificate::{Certificate, unexplained};
use super::proxy::{self, Refused};
use super::stream::{Stream, Wire};
use super::tls::{self, NotTrusted, Tls};
use crate::Error;
use crate::config::Proxy;
use crate::net::poll::Interest;
use crate::net::url::{Origin, Scheme, is_loopback};

/// What connections are made with.
#[derive(Debug, Clone)]
pub(crate) struct Network {
    pub(crate) tls: Tls,
    pub(crate) proxy: Option<Proxy>,
}

/// Connects to `origin` before `deadline`, proxy and TLS handshake included.
pub(crate) fn dial(origin: &Origin, network: &Network, deadline: Instant, cancel: &CancelToken) -> io::Result<Stream> {
    let wire = open(origin, network, deadline, cancel)?;
    if !origin.scheme.is_encrypted() {
        return Ok(Stream::Plain(wire));
    }
    match network.tls.connector()?.connect(&origin.host, wire) {
        Ok(stream) => Ok(Stream::Tls(stream)),
        Err(HandshakeError::WouldBlock(_)) => Err(io::ErrorKind::TimedOut.into()),
        Err(HandshakeError::Failure(_)) if cancel.is_cancelled() => Err(cancelled_error()),
        Err(HandshakeError::Failure(e)) => Err(explain(&e, origin, network, deadline, cancel)),
    }
}

/// A connection over which `origin` is heard, before any TLS.
fn open(origin: &Origin, network: &Network, deadline: Instant, cancel: &CancelToken) -> io::Result<Wire> {
    let proxy = network.proxy.as_ref().filter(|proxy| proxy.is_used_for(&origin.host, origin.port));
    let at_proxy =
        proxy.map(|proxy| Origin { scheme: Scheme::Http, host: proxy.host().to_owned(), port: proxy.port() });
    // What is not encrypted stays on this computer, on its way through a proxy as well.
    let loopback_only = !origin.scheme.is_encrypted();
    let tcp = connect(at_proxy.as_ref().unwrap_or(origin), loopback_only, deadline, cancel);
    let tcp = tcp.map_err(|e| match proxy {
        Some(proxy) => io::Error::new(e.kind(), format!("the proxy {proxy}: {e}")),
        None => e,
    })?;
    // Events are small and urgent: without this a whole cycle takes 300 ms in place of 13.
    tcp.set_nodelay(true)?;
    let mut wire = Wire::new(tcp, deadline, cancel.clone());
    if let Some(proxy) = proxy {
        log::debug!("{origin} through the proxy {proxy}");
        proxy::tunnel(&mut wire, proxy, origin)?;
    }
    Ok(wire)
}

/// Why there is no TLS, after a handshake that failed with `failure`.
///
/// native-tls says in words, and each system's in its own, that a certificate is not trusted, and has no way to the
/// certificate. So a second connection has a look at what answers; nothing is sent over it but the handshake.
fn explain(
    failure: &native_tls::Error,
    origin: &Origin,
    network: &Network,
    deadline: Instant,
    cancel: &CancelToken,
) -> io::Error {
    let broke_off = |kind| {
        let what = match kind {
            io::ErrorKind::TimedOut => "no answer to the TLS handshake in time",
            _ => "the connection was closed in the TLS handshake",
        };
        io::Error::new(kind, format!("{what}: is it TLS that this port is for?"))
    };
    if let Some(broken) = failure.source().and_then(|inner| inner.downcast_ref::<io::Error>()) {
        return broke_off(broken.kind());
    }
    let words = failure.to_string();
    let seen = look(origin, network, deadline, cancel);
    let reason = tls::certificate_reason(&words);
    let certificate = match (seen, reason) {
        (Ok(Seen::NoTls), _) => {
            let what = "what answers there does not speak TLS: it may be for plain HTTP, or a captive portal that wants \
                        somebody to log in to this network first";
            return io::Error::new(io::ErrorKind::InvalidData, what);
        }
        (Ok(Seen::Nothing), None) => return broke_off(io::ErrorKind::UnexpectedEof),
        (Ok(Seen::Certificate(der)), Some(_)) => Certificate::parse(&der),
        _ => None,
    };
    let Some(reason) = reason else { return io::Error::other(format!("TLS: {words}")) };
    io::Error::other(NotTrusted(match certificate {
        Some(certificate) => certificate.problem(&origin.host, SystemTime::now(), reason),
        None => unexplained(reason, None),
    }))
}

/// What answers at a host.
enum Seen {
    /// This certificate, DER.
    Certificate(Vec<u8>),
    /// TLS, but no certificate.
    OnlyTls,
    NoTls,
    Nothing,
}

fn look(origin: &Origin, network: &Network, deadline: Instant, cancel: &CancelToken) -> io::Result<Seen> {
    let mut witness = Witness { wire: open(origin, network, deadline, cancel)?, first: None };
    let certificate = match tls::unchecked()?.connect(&origin.host, &mut witness) {
        Ok(stream) => stream.peer_certificate().ok().flatten().and_then(|certificate| certificate.to_der().ok()),
        Err(_) => None,
    };
    // The kinds of TLS records there are (RFC 8446, section 5.1).
    let is_tls = |first| (20..=24).contains(&first);
    Ok(match (certificate, witness.first) {
        (Some(der), _) => Seen::Certificate(der),
        (None, Some(first)) if is_tls(first) => Seen::OnlyTls,
        (None, Some(_)) => Seen::NoTls,
        (None, None) => Seen::Nothing,
    })
}

/// A connection that keeps the first byte of what comes.
#[derive(Debug)]
struct Witness {
    wire: Wire,
    first: Option<u8>,
}

impl Read for Witness {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let count = self.wire.read(buf)?;
        self.first = self.first.or(buf[..count].first().copied());
        Ok(count)
    }
}

impl Write for Witness {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.wire.write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.wire.flush()
    }
}

/// An error of a connection made under `cancel`, in this crate's terms: ended on purpose, whatever it looks like.
pub(crate) fn connection_error(host: &impl std::fmt::Display, e: &io::Error, cancel: &CancelToken) -> Error {
    if cancel.is_cancelled() {
        return Error::Interrupted;
    }
    let host = host.to_string();
    let inner = e.get_ref();
    if let Some(NotTrusted(problem)) = inner.and_then(|inner| inner.downcast_ref()) {
        return Error::Untrusted { host, problem: problem.clone() };
    }
    if let Some(Refused { proxy, status, had_credentials }) = inner.and_then(|inner| inner.downcast_ref()) {
        let reason = match (status, had_credentials) {
            (407, false) => {
                "it wants a user name and a password: http://user:password@host:port is how its URL has them"
            }
            (407, true) => "it does not take the user name and the password in its URL",
            (500.., _) => "it has no connection to that host",
            _ => "it does not allow that",
        };
        return Error::Proxy { proxy: proxy.clone(), host, status: *status, reason };
    }
    Error::Unreachable { host, reason: e.to_string() }
}

fn connect(
    origin: &Origin,
    loopback_only: bool,
    deadline: Instant,
    cancel: &CancelToken,
) -> io::Result<Arc<TcpStream>> {
    let addresses = resolve(origin, deadline, cancel)?;
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the host name has no address");
    for (n, address) in addresses.iter().enumerate() {
        // The name was checked before; this is for a name that leads elsewhere than it says.
        if loopback_only && !is_loopback(address.ip()) {
            last = io::Error::new(io::ErrorKind::PermissionDenied, "plain text is for loopback addresses only");
            continue;
        }
        // An address that leads nowhere must not use up the time of those behind it.
        let share = u32::try_from(addresses.len() - n).unwrap_or(u32::MAX);
        let until = Instant::now() + deadline.saturating_duration_since(Instant::now()) / share;
        match connect_to(*address, until, cancel) {
            Err(e) if e.kind() != io::ErrorKind::ConnectionAborted => last = e,
            done => return done,
        }
    }
    Err(last)
}

/// The addresses of a host. `localhost` is this machine, whoever is asked; other names are looked up.
fn resolve(origin: &Origin, deadline: Instant, cancel: &CancelToken) -> io::Result<Vec<SocketAddr>> {
    let Origin { host, port, .. } = origin;
    if host == "localhost" {
        return Ok(vec![(Ipv4Addr::LOCALHOST, *port).into(), (Ipv6Addr::LOCALHOST, *port).into()]);
    }
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(vec![(address, *port).into()]);
    }
    // The system's look-up can be neither timed nor ended. Nobody joins its thread: it has nothing
    // but the name, and ends when the system gives up.
    let (answer, answers) = bounded(2);
    let on_interrupt = answer.clone();
    let name = (host.clone(), *port);
    let answered = cancel.during(
        move || drop(on_interrupt.try_send(Err(cancelled_error()))),
        move || {
            thread::Builder::new().name("gf-resolve".into()).spawn(move || {
                // Nobody receives where the time was over before.
                _ = answer.try_send(name.to_socket_addrs().map(Iterator::collect));
            })?;
            Ok::<_, io::Error>(answers.recv_deadline(deadline))
        },
    )??;
    answered
        .unwrap_or_else(|_| Err(io::Error::new(io::ErrorKind::TimedOut, "the look-up of the host name took too long")))
}

/// Connects without blocking, so that an cancel does not have to wait for a host that never answers.
fn connect_to(address: SocketAddr, deadline: Instant, cancel: &CancelToken) -> io::Result<Arc<TcpStream>> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    let started = socket.connect(&SockAddr::from(address));
    let stream = Arc::new(TcpStream::from(socket));
    match started {
        Ok(()) => {}
        Err(e) if is_in_progress(&e) => {
            wait_connected(&stream, deadline, cancel)?;
        }
        Err(e) => return Err(e),
    }
    Ok(stream)
}

fn is_in_progress(e: &io::Error) -> bool {
    // EINPROGRESS has no ErrorKind in stable Rust: 115 on Linux, 36 on macOS and the BSDs. Windows says WouldBlock.
    e.kind() == io::ErrorKind::WouldBlock || (cfg!(unix) && matches!(e.raw_os_error(), Some(115 | 36)))
}

fn wait_connected(stream: &Arc<TcpStream>, deadline: Instant, cancel: &CancelToken) -> io::Result<()> {
    loop {
        cancel.wait(stream, Interest::Writable, Some(deadline))?;
        if let Some(e) = stream.take_error()? {
            return Err(e);
        }
        match stream.peer_addr() {
            Ok(_) => return Ok(()),
            Err(e) if e.kind() == io::ErrorKind::NotConnected => {}
            Err(e) => return Err(e),
        }
    }
}
