//! Connecting: the look-up of the name, TCP, and TLS on top, all before one deadline.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use crossbeam_channel::bounded;
use native_tls::HandshakeError;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::interrupt::{Interrupt, interrupted};
use super::stream::{Stream, Wire};
use super::tls::{NotTrusted, Tls, tls_error};
use crate::Error;
use crate::url::{Origin, is_loopback};
use crate::wait::Interest;

/// Connects to `origin` before `deadline`, TLS handshake included.
pub(crate) fn dial(origin: &Origin, tls: &Tls, deadline: Instant, interrupt: &Interrupt) -> io::Result<Stream> {
    let encrypted = origin.scheme.is_encrypted();
    let tcp = connect(origin, !encrypted, deadline, interrupt)?;
    // Events are small and urgent: without this a whole cycle takes 300 ms in place of 13.
    tcp.set_nodelay(true)?;
    let wire = Wire::new(tcp, deadline, interrupt.clone());
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

fn connect(
    origin: &Origin,
    loopback_only: bool,
    deadline: Instant,
    interrupt: &Interrupt,
) -> io::Result<Arc<TcpStream>> {
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
    let name = (host.clone(), *port);
    let answered = interrupt.during(
        move || drop(on_interrupt.try_send(Err(interrupted()))),
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

/// Connects without blocking, so that an interrupt does not have to wait for a host that never answers.
fn connect_to(address: SocketAddr, deadline: Instant, interrupt: &Interrupt) -> io::Result<Arc<TcpStream>> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    let started = socket.connect(&SockAddr::from(address));
    let stream = Arc::new(TcpStream::from(socket));
    match started {
        Ok(()) => {}
        Err(e) if is_in_progress(&e) => {
            wait_connected(&stream, deadline, interrupt)?;
        }
        Err(e) => return Err(e),
    }
    Ok(stream)
}

fn is_in_progress(e: &io::Error) -> bool {
    // EINPROGRESS has no ErrorKind in stable Rust: 115 on Linux, 36 on macOS and the BSDs. Windows says WouldBlock.
    e.kind() == io::ErrorKind::WouldBlock || (cfg!(unix) && matches!(e.raw_os_error(), Some(115 | 36)))
}

fn wait_connected(stream: &Arc<TcpStream>, deadline: Instant, interrupt: &Interrupt) -> io::Result<()> {
    loop {
        interrupt.wait(stream, Interest::Writable, Some(deadline))?;
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
