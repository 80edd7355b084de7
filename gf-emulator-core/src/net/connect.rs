//! Connecting: DNS lookup, TCP, proxy and TLS handshake, all under one deadline.

use std::error::Error as _;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use crossbeam_channel::bounded;
use native_tls::HandshakeError;
use socket2::{Domain, Protocol, SockAddr, Type};

use super::cancel::{CancelToken, cancelled_error};
use super::certificate::{ParsedCertificate, problem_from_message};
use super::link::Link;
use super::proxy::{self, ProxyRefused};
use super::socket::{Socket, TcpSocket};
use super::stream::{Stream, TcpConnection};
use super::tls::{self, Tls, UntrustedCertificate};
use crate::Error;
use crate::config::Proxy;
use crate::error::advised;
use crate::net::poll::Interest;
use crate::net::url::{Origin, Scheme, is_loopback};
use crate::system;

/// What outgoing connections go through: TLS settings, proxy and link.
#[derive(Debug, Clone)]
pub(crate) struct Network {
    pub(crate) tls: Tls,
    pub(crate) proxy: Option<Proxy>,
    pub(crate) link: Link,
}

/// Connects to `origin` before `deadline`, proxy and TLS handshake included.
pub(crate) fn dial(origin: &Origin, network: &Network, deadline: Instant, cancel: &CancelToken) -> io::Result<Stream> {
    #[cfg(feature = "simulation")]
    if let Some(system) = crate::simulation::current() {
        let connection = system.connect(&origin.host, origin.port, deadline, &mut || cancel.is_cancelled())?;
        let tcp = TcpConnection::new(Socket::Simulated(connection), deadline, cancel.clone());
        return Ok(if origin.scheme.is_encrypted() { Stream::SimulatedTls(tcp) } else { Stream::Plain(tcp) });
    }
    let tcp = open_tcp(origin, network, deadline, cancel)?;
    if !origin.scheme.is_encrypted() {
        return Ok(Stream::Plain(tcp));
    }
    match network.tls.connector()?.connect(&origin.host, tcp) {
        Ok(stream) => Ok(Stream::Tls(stream)),
        Err(HandshakeError::WouldBlock(_)) => Err(io::ErrorKind::TimedOut.into()),
        Err(HandshakeError::Failure(_)) if cancel.is_cancelled() => Err(cancelled_error()),
        Err(HandshakeError::Failure(e)) => Err(handshake_error(&e, origin, network, deadline, cancel)),
    }
}

/// Opens a TCP connection to `origin`, through the proxy if one applies.
fn open_tcp(origin: &Origin, network: &Network, deadline: Instant, cancel: &CancelToken) -> io::Result<TcpConnection> {
    let attempt = network.link.begin()?;
    let proxy = network.proxy.as_ref().filter(|proxy| proxy.is_used_for(&origin.host, origin.port));
    let proxy_origin =
        proxy.map(|proxy| Origin { scheme: Scheme::Http, host: proxy.host().to_owned(), port: proxy.port() });
    // Unencrypted data must not leave this computer, not even to reach a proxy.
    let loopback_only = !origin.scheme.is_encrypted();
    let socket = connect(proxy_origin.as_ref().unwrap_or(origin), loopback_only, deadline, cancel);
    let socket = socket.map_err(|e| match proxy {
        Some(proxy) if e.kind() == io::ErrorKind::TimedOut => proxy::timed_out(proxy),
        Some(proxy) => io::Error::new(e.kind(), format!("the proxy {proxy}: {e}")),
        None => e,
    })?;
    network.link.register(&socket, attempt)?;
    // Events are small and urgent: measured, an action takes 300 ms with Nagle's algorithm and 13 ms without.
    socket.set_nodelay(true)?;
    let mut tcp = TcpConnection::new(Socket::Tcp(socket), deadline, cancel.clone());
    if let Some(proxy) = proxy {
        log::debug!("connecting to {origin} through the proxy {proxy}");
        proxy::open_tunnel(&mut tcp, proxy, origin)?;
    }
    Ok(tcp)
}

/// Converts the error of a failed TLS handshake into one that names the cause.
///
/// native-tls reports an untrusted certificate only by an error message, which differs by system, and does not expose
/// the certificate. So this opens a second connection to read it, and sends nothing over that but the handshake.
fn handshake_error(
    failure: &native_tls::Error,
    origin: &Origin,
    network: &Network,
    deadline: Instant,
    cancel: &CancelToken,
) -> io::Error {
    let connection_lost = |kind| {
        let what = match kind {
            io::ErrorKind::TimedOut => "the TLS handshake timed out",
            _ => "the connection was closed during the TLS handshake",
        };
        io::Error::new(kind, format!("{what}: does this port use TLS?"))
    };
    if let Some(e) = failure.source().and_then(|inner| inner.downcast_ref::<io::Error>()) {
        return connection_lost(e.kind());
    }
    // The errors of Windows and macOS do not give it away.
    if system::now() >= deadline {
        return connection_lost(io::ErrorKind::TimedOut);
    }
    let message = failure.to_string();
    let found = probe(origin, network, deadline, cancel);
    let reason = tls::certificate_failure(&message);
    let certificate = match (found, reason) {
        (Ok(Probe::NotTls), _) => {
            let what = "the host does not speak TLS: the port may be for plain HTTP, or a captive portal may require a \
                        login to this network first";
            return io::Error::new(io::ErrorKind::InvalidData, what);
        }
        (Ok(Probe::NoResponse), None) => return connection_lost(io::ErrorKind::UnexpectedEof),
        (Ok(Probe::Certificate(der)), Some(_)) => ParsedCertificate::parse(&der),
        _ => None,
    };
    let Some(reason) = reason else { return io::Error::other(format!("TLS: {message}")) };
    io::Error::other(UntrustedCertificate(match certificate {
        Some(certificate) => certificate.problem(&origin.host, system::wall_clock(), reason),
        None => problem_from_message(reason, None),
    }))
}

/// What a host sends in response to a TLS handshake.
enum Probe {
    /// Its certificate, in DER form.
    Certificate(Vec<u8>),
    TlsWithoutCertificate,
    NotTls,
    NoResponse,
}

fn probe(origin: &Origin, network: &Network, deadline: Instant, cancel: &CancelToken) -> io::Result<Probe> {
    let mut stream = FirstByteStream { tcp: open_tcp(origin, network, deadline, cancel)?, first_byte: None };
    let certificate = match tls::connector_without_verification()?.connect(&origin.host, &mut stream) {
        Ok(stream) => stream.peer_certificate().ok().flatten().and_then(|certificate| certificate.to_der().ok()),
        Err(_) => None,
    };
    // The content types of TLS records (RFC 8446, section 5.1, and RFC 6520 for 24).
    let is_tls = |byte| (20..=24).contains(&byte);
    Ok(match (certificate, stream.first_byte) {
        (Some(der), _) => Probe::Certificate(der),
        (None, Some(byte)) if is_tls(byte) => Probe::TlsWithoutCertificate,
        (None, Some(_)) => Probe::NotTls,
        (None, None) => Probe::NoResponse,
    })
}

/// A connection that remembers the first byte it received.
#[derive(Debug)]
struct FirstByteStream {
    tcp: TcpConnection,
    first_byte: Option<u8>,
}

impl Read for FirstByteStream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let count = self.tcp.read(buf)?;
        self.first_byte = self.first_byte.or(buf[..count].first().copied());
        Ok(count)
    }
}

impl Write for FirstByteStream {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.tcp.write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.tcp.flush()
    }
}

/// Converts the I/O error of a connection. If `cancel` is cancelled, that is the cause, whatever the error says.
pub(crate) fn connection_error(host: &impl std::fmt::Display, e: &io::Error, cancel: &CancelToken) -> Error {
    if cancel.is_cancelled() {
        return Error::Interrupted;
    }
    let host = host.to_string();
    let inner = e.get_ref();
    if let Some(UntrustedCertificate(problem)) = inner.and_then(|inner| inner.downcast_ref()) {
        return Error::Untrusted { host, problem: problem.clone() };
    }
    if let Some(ProxyRefused { proxy, status, had_credentials }) = inner.and_then(|inner| inner.downcast_ref()) {
        let reason = match (status, had_credentials) {
            (407, false) => {
                "it requires a user name and password: put them into its URL, as in http://user:password@host:port"
            }
            (407, true) => "it rejected the user name or password in its URL",
            (500.., _) => "it could not reach that host",
            _ => "it does not allow this connection",
        };
        return Error::Proxy { proxy: proxy.clone(), host, status: *status, reason };
    }
    Error::Unreachable { host, reason: advised(&e) }
}

fn connect(
    origin: &Origin,
    loopback_only: bool,
    deadline: Instant,
    cancel: &CancelToken,
) -> io::Result<Arc<TcpSocket>> {
    let addresses = resolve(origin, deadline, cancel)?;
    let mut last_error = io::Error::new(io::ErrorKind::NotFound, "the host name has no address");
    for (n, address) in addresses.iter().enumerate() {
        // The host's name is checked when the URL is parsed; this checks what the name resolves to.
        if loopback_only && !is_loopback(address.ip()) {
            let what = "unencrypted connections are allowed to loopback addresses only";
            last_error = io::Error::new(io::ErrorKind::PermissionDenied, what);
            continue;
        }
        // Divides the remaining time, so that an address that does not respond leaves some for the others.
        let remaining = u32::try_from(addresses.len() - n).unwrap_or(u32::MAX);
        let address_deadline = system::now() + deadline.saturating_duration_since(system::now()) / remaining;
        match connect_address(*address, address_deadline, cancel) {
            Err(e) if e.kind() != io::ErrorKind::ConnectionAborted => last_error = e,
            done => return done,
        }
    }
    Err(last_error)
}

/// Resolves a host to its addresses. `localhost` is always a loopback address, without a lookup.
fn resolve(origin: &Origin, deadline: Instant, cancel: &CancelToken) -> io::Result<Vec<SocketAddr>> {
    let Origin { host, port, .. } = origin;
    if host == "localhost" {
        return Ok(vec![(Ipv4Addr::LOCALHOST, *port).into(), (Ipv6Addr::LOCALHOST, *port).into()]);
    }
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(vec![(address, *port).into()]);
    }
    // The system's lookup has no timeout and cannot be cancelled, so it runs on a thread of its own. That is not
    // joined: it owns only the name, and ends when the system's resolver does.
    let (sender, receiver) = bounded(2);
    let cancel_sender = sender.clone();
    let name = (host.clone(), *port);
    let result = cancel.run(
        move || drop(cancel_sender.try_send(Err(cancelled_error()))),
        move || {
            thread::Builder::new().name("gf-resolve".into()).spawn(move || {
                // Fails if the deadline has passed and the receiver is gone.
                _ = sender.try_send(name.to_socket_addrs().map(Iterator::collect));
            })?;
            Ok::<_, io::Error>(receiver.recv_deadline(deadline))
        },
    )??;
    result.unwrap_or_else(|_| Err(io::Error::new(io::ErrorKind::TimedOut, "the DNS lookup timed out")))
}

/// Connects in non-blocking mode, so that it can be cancelled while the host does not respond.
fn connect_address(address: SocketAddr, deadline: Instant, cancel: &CancelToken) -> io::Result<Arc<TcpSocket>> {
    let socket = socket2::Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    let started = socket.connect(&SockAddr::from(address));
    let stream = Arc::new(TcpSocket::from(TcpStream::from(socket)));
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
    // EINPROGRESS, which has no ErrorKind in stable Rust, is 115 on Linux, 36 on macOS and the BSDs. Windows returns
    // WouldBlock.
    e.kind() == io::ErrorKind::WouldBlock || (cfg!(unix) && matches!(e.raw_os_error(), Some(115 | 36)))
}

fn wait_connected(stream: &Arc<TcpSocket>, deadline: Instant, cancel: &CancelToken) -> io::Result<()> {
    loop {
        cancel.wait(&Socket::Tcp(Arc::clone(stream)), Interest::Writable, Some(deadline))?;
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
