//! [`Link`]: the network between machines and their service, which can be cut.

use std::fmt;
use std::io;
use std::net::Shutdown;
use std::sync::{Arc, Mutex, Weak};

use super::socket::TcpSocket;
use crate::sync::lock;

/// The network between machines and their service, which can be cut. Clones share it, and so do all emulators that it is
/// given to ([`Emulator::with_link`](crate::Emulator::with_link)).
///
/// ```
/// use gf_emulator_core::Link;
///
/// let link = Link::default();
/// link.cut(); // Every machine with this link loses its connections.
/// assert!(link.is_cut());
/// link.restore(); // They reconnect, each after its pause.
/// ```
#[derive(Clone, Default)]
pub struct Link(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    is_cut: bool,
    /// How often it was cut.
    cuts: u64,
    open: Vec<Weak<TcpSocket>>,
    /// Once this many sockets are listed, those that are closed are removed from the list.
    clean_up_at: usize,
}

impl Link {
    /// Ends all connections at once, and refuses new ones until [`restore`](Self::restore) with the error of a network
    /// that cannot be reached. The service sees that the connections are closed.
    ///
    /// A machine does what it does whenever its connection is lost: it fails requests that are under way, keeps the events
    /// that it cannot send, and tries to reconnect, with growing pauses of up to a minute.
    pub fn cut(&self) {
        let mut state = lock(&self.0);
        state.is_cut = true;
        state.cuts += 1;
        for socket in state.open.drain(..).filter_map(|socket| socket.upgrade()) {
            // Fails if it is already closed.
            let _ = socket.shutdown(Shutdown::Both);
        }
    }

    /// Allows connections again. Machines notice at their next attempt.
    pub fn restore(&self) {
        lock(&self.0).is_cut = false;
    }

    /// Returns whether new connections are refused.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        lock(&self.0).is_cut
    }

    /// Begins an attempt to connect. Returns a number for [`register`](Self::register).
    pub(super) fn begin(&self) -> io::Result<u64> {
        let state = lock(&self.0);
        if state.is_cut { Err(unreachable()) } else { Ok(state.cuts) }
    }

    /// Lists an open connection, whose attempt has this number. Fails if the link was cut since the attempt began.
    pub(super) fn register(&self, socket: &Arc<TcpSocket>, attempt: u64) -> io::Result<()> {
        let mut state = lock(&self.0);
        if state.cuts != attempt {
            return Err(unreachable());
        }
        if state.open.len() >= state.clean_up_at {
            state.open.retain(|socket| socket.strong_count() > 0);
            state.clean_up_at = 2 * state.open.len() + 16;
        }
        state.open.push(Arc::downgrade(socket));
        Ok(())
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("is_cut", &self.is_cut()).finish_non_exhaustive()
    }
}

fn unreachable() -> io::Error {
    io::Error::new(io::ErrorKind::NetworkUnreachable, "the network is unreachable")
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn a_cut_ends_open_connections_and_attempts_and_refuses_new_ones() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let connect = || Arc::new(TcpSocket::from(TcpStream::connect(listener.local_addr().unwrap()).unwrap()));
        let (link, open) = (Link::default(), connect());
        link.register(&open, link.begin().unwrap()).unwrap();
        let attempt = link.begin().unwrap();
        link.cut();
        assert_eq!((&**open).read(&mut [0]).unwrap(), 0);
        assert_eq!(link.begin().unwrap_err().kind(), io::ErrorKind::NetworkUnreachable);
        link.restore();
        assert!(link.register(&connect(), attempt).is_err(), "the attempt began before the cut");
        link.register(&connect(), link.begin().unwrap()).unwrap();
    }

    #[test]
    fn closed_connections_do_not_stay_listed() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let link = Link::default();
        for _ in 0..200 {
            let socket = Arc::new(TcpSocket::from(TcpStream::connect(listener.local_addr().unwrap()).unwrap()));
            listener.accept().unwrap();
            link.register(&socket, link.begin().unwrap()).unwrap();
        }
        let listed = lock(&link.0).open.len();
        assert!(listed < 40, "{listed}");
    }
}
