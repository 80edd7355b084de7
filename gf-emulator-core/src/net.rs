//! Connections: TCP, TLS on top, a deadline over every read and write, and a way to interrupt them.
//!
//! The only place on the machine's side that opens sockets. HTTP (`http.rs`) and the WebSocket (`websocket.rs`) stand on
//! it and share one TLS connector, whose making costs tens of milliseconds and megabytes.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpStream, ToSocketAddrs};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::bounded;
use native_tls::{Certificate, HandshakeError, TlsConnector, TlsStream};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::url::{Origin, is_loopback};
use crate::wait::{Interest, Waiter};
use crate::{Error, Result};

/// What is trusted in TLS: the system's roots, and at most one file more.
///
/// Made once and cloned: all clones share one connector, which is made when the first encrypted connection needs it
/// (about 50 ms and 5 MiB with OpenSSL). A program with many emulators gives all of them clones of one.
///
/// ```
/// use gf_emulator_core::Tls;
///
/// let tls = Tls::new(None)?;
/// let for_another_machine = tls.clone();
/// # Ok::<(), gf_emulator_core::Error>(())
/// ```
#[derive(Clone)]
pub struct Tls(Arc<TlsParts>);

struct TlsParts {
    extra_root: Option<Certificate>,
    connector: OnceLock<TlsConnector>,
}

impl Tls {
    /// Trusts the system's roots and, where given, the certificate in the PEM file `ca_file`.
    ///
    /// # Errors
    ///
    /// [`Error::File`] where the file cannot be read, [`Error::Tls`] where it is no certificate.
    pub fn new(ca_file: Option<&Path>) -> Result<Self> {
        let extra_root = ca_file.map(read_certificate).transpose()?;
        Ok(Self(Arc::new(TlsParts { extra_root, connector: OnceLock::new() })))
    }

    fn connector(&self) -> io::Result<&TlsConnector> {
        if let Some(connector) = self.0.connector.get() {
            return Ok(connector);
        }
        let mut builder = TlsConnector::builder();
        builder.min_protocol_version(Some(native_tls::Protocol::Tlsv12));
        if let Some(root) = &self.0.extra_root {
            builder.add_root_certificate(root.clone());
        }
        let connector = builder.build().map_err(io::Error::other)?;
        Ok(self.0.connector.get_or_init(|| connector))
    }
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").field("extra_root", &self.0.extra_root.is_some()).finish_non_exhaustive()
    }
}

fn read_certificate(path: &Path) -> Result<Certificate> {
    let pem = fs::read(path).map_err(|source| Error::File { doing: "read", path: path.to_owned(), source })?;
    Certificate::from_pem(&pem)
        .map_err(|e| Error::Tls { reason: format!("{} is not a certificate in PEM form: {e}", path.display()) })
}

/// Ends what is under way on the network, from another thread.
///
/// Raised, it shuts down every connection made under it and wakes every connect that waits; what is started while it is
/// raised fails at once. Lowered, it is as new.
#[derive(Clone, Default)]
pub(crate) struct Interrupt(Arc<(Mutex<InterruptState>, Condvar)>);

#[derive(Default)]
struct InterruptState {
    raised: bool,
    connections: Vec<Weak<TcpStream>>,
    /// What frees whoever waits for a name or an address.
    connecting: Vec<Box<dyn FnOnce() + Send>>,
}

impl Interrupt {
    pub(crate) fn raise(&self) {
        let mut state = self.lock();
        state.raised = true;
        for connection in state.connections.drain(..).filter_map(|weak| weak.upgrade()) {
            // Fails where the other side was quicker: closed is closed.
            let _ = connection.shutdown(Shutdown::Both);
        }
        for wake in state.connecting.drain(..) {
            wake();
        }
        self.0.1.notify_all();
    }

    /// Lets time pass until `until`, or until this is raised: then false.
    pub(crate) fn pause(&self, until: Instant) -> bool {
        let left = until.saturating_duration_since(Instant::now());
        let waited = self.0.1.wait_timeout_while(self.lock(), left, |state| !state.raised);
        !waited.unwrap_or_else(PoisonError::into_inner).0.raised
    }

    pub(crate) fn lower(&self) {
        self.lock().raised = false;
    }

    pub(crate) fn is_raised(&self) -> bool {
        self.lock().raised
    }

    fn adopt(&self, connection: &Arc<TcpStream>) -> io::Result<()> {
        let mut state = self.lock();
        if state.raised {
            return Err(interrupted());
        }
        state.connections.retain(|weak| weak.strong_count() > 0);
        state.connections.push(Arc::downgrade(connection));
        Ok(())
    }

    /// Leaves a connection alone from now on: it has an owner who ends it in order. Fails where this is raised already.
    pub(crate) fn release(&self, stream: &Stream) -> io::Result<()> {
        let mut state = self.lock();
        if state.raised {
            return Err(interrupted());
        }
        state.connections.retain(|weak| !std::ptr::eq(weak.as_ptr(), Arc::as_ptr(stream.tcp())));
        Ok(())
    }

    fn adopt_connecting(&self, wake: impl FnOnce() + Send + 'static) -> io::Result<()> {
        let mut state = self.lock();
        if state.raised {
            return Err(interrupted());
        }
        state.connecting.push(Box::new(wake));
        Ok(())
    }

    fn forget_connecting(&self) {
        // Connects under one interrupt come one after the other, so there is no other's waker to lose.
        self.lock().connecting.clear();
    }

    fn lock(&self) -> MutexGuard<'_, InterruptState> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The error of whatever an [`Interrupt`] has ended. Not `ErrorKind::Interrupted`, which readers take as "try again".
fn interrupted() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, "interrupted")
}

/// A TCP connection with a deadline over everything that is done with it.
#[derive(Debug)]
pub(crate) struct Wire {
    tcp: Arc<TcpStream>,
    deadline: Option<Instant>,
    /// Of what was written to the connection, before encryption, what the operating system has.
    taken_bytes: u64,
}

impl Wire {
    fn time_left(&self) -> io::Result<Option<Duration>> {
        let Some(deadline) = self.deadline else { return Ok(None) };
        match deadline.saturating_duration_since(Instant::now()) {
            Duration::ZERO => Err(io::ErrorKind::TimedOut.into()),
            left => Ok(Some(left)),
        }
    }
}

/// A socket's own time-out shows as `WouldBlock` on Unix, which TLS and WebSocket handshakes take for "not yet".
fn as_timeout(e: io::Error, had_deadline: bool) -> io::Error {
    if had_deadline && e.kind() == io::ErrorKind::WouldBlock { io::ErrorKind::TimedOut.into() } else { e }
}

impl Read for Wire {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let left = self.time_left()?;
        if left.is_some() {
            self.tcp.set_read_timeout(left)?;
        }
        (&*self.tcp).read(buf).map_err(|e| as_timeout(e, left.is_some()))
    }
}

impl Write for Wire {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let left = self.time_left()?;
        if left.is_some() {
            self.tcp.set_write_timeout(left)?;
        }
        (&*self.tcp).write(buf).map_err(|e| as_timeout(e, left.is_some()))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A connection, encrypted or not.
#[derive(Debug)]
pub(crate) enum Stream {
    Plain(Wire),
    Tls(TlsStream<Wire>),
}

impl Stream {
    fn wire(&mut self) -> &mut Wire {
        match self {
            Self::Plain(wire) => wire,
            Self::Tls(stream) => stream.get_mut(),
        }
    }

    fn wire_ref(&self) -> &Wire {
        match self {
            Self::Plain(wire) => wire,
            Self::Tls(stream) => stream.get_ref(),
        }
    }

    fn tcp(&self) -> &Arc<TcpStream> {
        &self.wire_ref().tcp
    }

    /// How many bytes the operating system has taken so far. Those of a TLS record count once all of it is taken:
    /// before that the other side can make nothing of it.
    pub(crate) fn taken_bytes(&self) -> u64 {
        self.wire_ref().taken_bytes
    }

    pub(crate) fn is_encrypted(&self) -> bool {
        matches!(self, Self::Tls(_))
    }

    /// Until when everything that follows has to be done. Counts while the socket blocks.
    pub(crate) fn set_deadline(&mut self, deadline: Option<Instant>) {
        self.wire().deadline = deadline;
    }

    /// From blocking with a deadline to non-blocking without: what a [`Waiter`] needs.
    pub(crate) fn unblock(&mut self) -> io::Result<Arc<TcpStream>> {
        self.set_deadline(None);
        self.tcp().set_nonblocking(true)?;
        Ok(Arc::clone(self.tcp()))
    }

    /// Whether the other side has neither closed nor sent anything unasked: fit for another request.
    pub(crate) fn is_idle(&mut self) -> bool {
        let tcp = self.tcp();
        if tcp.set_nonblocking(true).is_err() {
            return false;
        }
        let nothing_there = matches!(tcp.peek(&mut [0]), Err(e) if e.kind() == io::ErrorKind::WouldBlock);
        nothing_there && tcp.set_nonblocking(false).is_ok()
    }
}

impl Read for Stream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(wire) => wire.read(buf),
            Self::Tls(stream) => stream.read(buf),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let taken = match self {
            Self::Plain(wire) => wire.write(buf),
            Self::Tls(stream) => stream.write(buf),
        }?;
        self.wire().taken_bytes += taken as u64;
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(wire) => wire.flush(),
            Self::Tls(stream) => stream.flush(),
        }
    }
}

/// Connects to `origin` before `deadline`, TLS handshake included.
pub(crate) fn dial(origin: &Origin, tls: &Tls, deadline: Instant, interrupt: &Interrupt) -> io::Result<Stream> {
    let encrypted = origin.scheme.is_encrypted();
    let tcp = Arc::new(connect(origin, !encrypted, deadline, interrupt)?);
    // Events are small and urgent: without this a whole cycle takes 300 ms in place of 13.
    tcp.set_nodelay(true)?;
    interrupt.adopt(&tcp)?;
    let wire = Wire { tcp, deadline: Some(deadline), taken_bytes: 0 };
    if !encrypted {
        return Ok(Stream::Plain(wire));
    }
    match tls.connector()?.connect(&origin.host, wire) {
        Ok(stream) => Ok(Stream::Tls(stream)),
        Err(HandshakeError::WouldBlock(_)) => Err(io::ErrorKind::TimedOut.into()),
        Err(HandshakeError::Failure(_)) if interrupt.is_raised() => Err(interrupted()),
        Err(HandshakeError::Failure(e)) => Err(tls_error(&e.to_string())),
    }
}

/// The certificate was looked at and not trusted.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct NotTrusted(String);

/// Why TLS did not come about. Each system's library has words of its own for a certificate that is not trusted, and no
/// code that native-tls would hand on.
fn tls_error(words: &str) -> io::Error {
    let lower = words.to_lowercase();
    if lower.contains("certificate") && ["verify", "trust", "root", "expired"].iter().any(|word| lower.contains(word)) {
        // OpenSSL has the reason in parentheses, behind names of its own source files.
        let reason = words.rsplit_once('(').and_then(|(_, rest)| rest.strip_suffix(')')).unwrap_or(words);
        return io::Error::other(NotTrusted(reason.to_owned()));
    }
    io::Error::other(format!("TLS: {words}"))
}

/// An error of a connection made under `interrupt`, in this crate's terms: ended on purpose, whatever it looks like.
pub(crate) fn connection_error(host: &impl std::fmt::Display, e: &io::Error, interrupt: &Interrupt) -> Error {
    if interrupt.is_raised() {
        return Error::Interrupted;
    }
    match e.get_ref().and_then(|inner| inner.downcast_ref::<NotTrusted>()) {
        Some(NotTrusted(reason)) => Error::Untrusted { host: host.to_string(), reason: reason.clone() },
        None => Error::Unreachable { host: host.to_string(), reason: e.to_string() },
    }
}

fn connect(origin: &Origin, loopback_only: bool, deadline: Instant, interrupt: &Interrupt) -> io::Result<TcpStream> {
    let addresses = resolve(origin, deadline, interrupt)?;
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
        match connect_to(*address, until, interrupt) {
            Err(e) if e.kind() != io::ErrorKind::ConnectionAborted => last = e,
            done => return done,
        }
    }
    Err(last)
}

/// The addresses of a host. `localhost` is this machine, whoever is asked; other names are looked up.
fn resolve(origin: &Origin, deadline: Instant, interrupt: &Interrupt) -> io::Result<Vec<SocketAddr>> {
    let Origin { host, port, .. } = origin;
    if host == "localhost" {
        return Ok(vec![(Ipv4Addr::LOCALHOST, *port).into(), (Ipv6Addr::LOCALHOST, *port).into()]);
    }
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(vec![(address, *port).into()]);
    }
    // The system's look-up can be neither timed nor ended. Its thread is the only one that is not joined: it has nothing
    // but the name, and ends when the system gives up.
    let (answer, answers) = bounded(2);
    let on_interrupt = answer.clone();
    interrupt.adopt_connecting(move || drop(on_interrupt.try_send(Err(interrupted()))))?;
    let name = (host.clone(), *port);
    thread::Builder::new().name("gf-resolve".into()).spawn(move || {
        // Nobody receives where the time was over before.
        _ = answer.try_send(name.to_socket_addrs().map(Iterator::collect));
    })?;
    let answered = answers.recv_deadline(deadline);
    interrupt.forget_connecting();
    answered
        .unwrap_or_else(|_| Err(io::Error::new(io::ErrorKind::TimedOut, "the look-up of the host name took too long")))
}

/// Connects without blocking, so that an interrupt does not have to wait for a host that never answers.
fn connect_to(address: SocketAddr, deadline: Instant, interrupt: &Interrupt) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    let started = socket.connect(&SockAddr::from(address));
    let stream = Arc::new(TcpStream::from(socket));
    match started {
        Ok(()) => {}
        Err(e) if is_in_progress(&e) => {
            let mut waiter = Waiter::new()?;
            let waker = waiter.waker();
            interrupt.adopt_connecting(move || waker.wake())?;
            waiter.watch(Arc::clone(&stream))?;
            let outcome = wait_connected(&mut waiter, &stream, deadline, interrupt);
            interrupt.forget_connecting();
            outcome?;
        }
        Err(e) => return Err(e),
    }
    let stream = Arc::into_inner(stream).ok_or_else(|| io::Error::other("the socket is still being waited for"))?;
    stream.set_nonblocking(false)?;
    Ok(stream)
}

fn is_in_progress(e: &io::Error) -> bool {
    // EINPROGRESS has no ErrorKind in stable Rust: 115 on Linux, 36 on macOS and the BSDs. Windows says WouldBlock.
    e.kind() == io::ErrorKind::WouldBlock || (cfg!(unix) && matches!(e.raw_os_error(), Some(115 | 36)))
}

fn wait_connected(waiter: &mut Waiter, stream: &TcpStream, deadline: Instant, interrupt: &Interrupt) -> io::Result<()> {
    loop {
        waiter.wait(Interest::Writable, Some(deadline))?;
        if interrupt.is_raised() {
            return Err(interrupted());
        }
        if let Some(e) = stream.take_error()? {
            return Err(e);
        }
        match stream.peer_addr() {
            Ok(_) => return Ok(()),
            Err(e) if e.kind() == io::ErrorKind::NotConnected => {}
            Err(e) => return Err(e),
        }
        if Instant::now() >= deadline {
            return Err(io::ErrorKind::TimedOut.into());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use super::*;
    use crate::url::Url;

    fn origin(url: &str) -> Origin {
        Url::parse(url).unwrap().origin().clone()
    }

    fn in_(seconds: u64) -> Instant {
        Instant::now() + Duration::from_secs(seconds)
    }

    fn tls() -> Tls {
        Tls::new(None).unwrap()
    }

    #[test]
    fn dials_and_talks() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let mut stream = dial(&origin(&url), &tls(), in_(20), &Interrupt::default()).unwrap();
        let (mut there, _) = listener.accept().unwrap();
        stream.write_all(b"ping").unwrap();
        let mut got = [0; 4];
        there.read_exact(&mut got).unwrap();
        assert_eq!(&got, b"ping");
        assert!(stream.is_idle());
        there.write_all(b"x").unwrap();
        let mut waiter = Waiter::new().unwrap();
        waiter.watch(stream.unblock().unwrap()).unwrap();
        waiter.wait(Interest::Readable, Some(in_(20))).unwrap();
        assert!(!stream.is_idle());
    }

    #[test]
    fn nobody_there_is_an_error() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        drop(listener);
        let error = dial(&origin(&url), &tls(), in_(20), &Interrupt::default()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    }

    #[test]
    fn a_deadline_ends_a_read_and_an_interrupt_ends_one_sooner() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let interrupt = Interrupt::default();
        let mut stream = dial(&origin(&url), &tls(), in_(20), &interrupt).unwrap();
        let _there = listener.accept().unwrap();
        stream.set_deadline(Some(Instant::now() + Duration::from_millis(20)));
        assert_eq!(stream.read(&mut [0]).unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert_eq!(stream.read(&mut [0]).unwrap_err().kind(), io::ErrorKind::TimedOut);
        stream.set_deadline(Some(in_(60)));
        let before = Instant::now();
        thread::scope(|scope| {
            scope.spawn(|| interrupt.raise());
            assert_eq!(stream.read(&mut [0]).unwrap_or(0), 0);
        });
        assert!(before.elapsed() < Duration::from_secs(30));
        let error = dial(&origin(&url), &tls(), in_(20), &interrupt).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionAborted);
        interrupt.lower();
        assert!(dial(&origin(&url), &tls(), in_(20), &interrupt).is_ok());
    }

    #[test]
    fn an_interrupt_leaves_alone_what_it_has_released() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let interrupt = Interrupt::default();
        let mut stream = dial(&origin(&url), &tls(), in_(20), &interrupt).unwrap();
        let (mut there, _) = listener.accept().unwrap();
        interrupt.release(&stream).unwrap();
        interrupt.raise();
        there.write_all(b"x").unwrap();
        assert_eq!(stream.read(&mut [0]).unwrap(), 1);
        assert!(interrupt.release(&stream).is_err());
    }

    #[test]
    fn a_certificate_that_is_not_trusted_is_told_from_a_line_that_broke() {
        let told = |words: &str| connection_error(&"https://h", &tls_error(words), &Interrupt::default()).to_string();
        let openssl =
            "error:0A000086:SSL routines:f:certificate verify failed:../ssl/s.c:1889: (self-signed certificate)";
        assert!(told(openssl).starts_with("the certificate of https://h is not trusted (self-signed certificate): "));
        assert!(told("The certificate was not trusted.").contains("is not trusted (The certificate was not trusted.)"));
        assert_eq!(told("unexpected EOF"), "cannot reach https://h: TLS: unexpected EOF");
    }

    #[test]
    fn a_certificate_file_that_is_none_says_so() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "not a certificate").unwrap();
        let error = Tls::new(Some(file.path())).unwrap_err().to_string();
        assert!(error.contains("not a certificate in PEM form"), "{error}");
        assert!(matches!(Tls::new(Some(Path::new("/nowhere/ca.pem"))), Err(Error::File { .. })));
    }
}
