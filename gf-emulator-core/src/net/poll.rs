//! Readiness polling: waits for a socket, a waker or a deadline, whichever comes first.
//!
//! Registering a socket with the operating system's poller is `unsafe`, because the socket must not be closed while it
//! is registered. [`Poll`] holds an `Arc` of the socket and deregisters it before dropping that, so no caller can break
//! the rule.

use std::io;
use std::sync::Arc;
#[cfg(feature = "simulation")]
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use polling::{Event, Events, Poller};

pub(crate) use super::socket::Interest;
use super::socket::Socket;
pub(crate) use super::waker::Waker;
#[cfg(feature = "simulation")]
use crate::simulation;

const SOCKET: usize = 0;

/// A poller for at most one socket and any number of wakers.
pub(crate) struct Poll {
    waker: Waker,
    socket: Option<Socket>,
    events: Events,
}

impl Poll {
    pub(crate) fn new() -> io::Result<Self> {
        let events = Events::with_capacity(std::num::NonZeroUsize::MIN.saturating_add(3));
        #[cfg(feature = "simulation")]
        if simulation::current().is_some() {
            return Ok(Self { waker: Waker::Simulated(Arc::default()), socket: None, events });
        }
        Ok(Self { waker: Waker::Real(Arc::new(Poller::new()?)), socket: None, events })
    }

    pub(crate) fn waker(&self) -> Waker {
        self.waker.clone()
    }

    /// Registers `socket`, replacing the one registered before.
    #[allow(unsafe_code)]
    #[cfg_attr(
        not(feature = "simulation"),
        expect(irrefutable_let_patterns, reason = "there are others in a simulation")
    )]
    pub(crate) fn watch(&mut self, socket: Socket) -> io::Result<()> {
        self.unwatch();
        if let (Waker::Real(poller), Socket::Tcp(tcp)) = (&self.waker, &socket) {
            // SAFETY: the socket must stay open until it is deleted from the poller. `self` holds an Arc of it and drops
            // that only in `unwatch`, which deletes the socket from the poller first. A Waker can keep the poller alive
            // longer than `self`, but by then nothing is registered.
            unsafe { poller.add(&***tcp, Event::none(SOCKET)) }?;
            tcp.set_waker(Some(self.waker()));
        }
        self.socket = Some(socket);
        Ok(())
    }

    /// Deregisters the socket.
    pub(crate) fn unwatch(&mut self) {
        if let Some(socket) = self.socket.take()
            && let (Waker::Real(poller), Socket::Tcp(tcp)) = (&self.waker, &socket)
        {
            // Cannot fail for a registered socket; if it did, closing the socket would deregister it as well.
            let _ = poller.delete(&***tcp);
            tcp.set_waker(None);
        }
    }

    /// Blocks until the socket is ready for `interest`, a waker is used, or `deadline` has passed. May return early.
    #[allow(clippy::infallible_destructuring_match, reason = "a simulation has another waker")]
    pub(crate) fn wait(&mut self, interest: Interest, deadline: Option<Instant>) -> io::Result<()> {
        let poller = match &self.waker {
            Waker::Real(poller) => poller,
            #[cfg(feature = "simulation")]
            Waker::Simulated(is_woken) => {
                let is_ready = || {
                    is_woken.load(Ordering::Relaxed)
                        || self.socket.as_ref().is_some_and(|socket| socket.is_ready(interest))
                };
                if let Some(system) = simulation::current() {
                    system.wait(deadline, &mut || is_ready());
                }
                is_woken.store(false, Ordering::Relaxed);
                return Ok(());
            }
        };
        if let Some(Socket::Tcp(socket)) = &self.socket {
            let event = match interest {
                Interest::Readable => Event::readable(SOCKET),
                Interest::Writable => Event::writable(SOCKET),
                Interest::Both => Event::all(SOCKET),
            };
            poller.modify(&***socket, event)?;
        }
        let timeout = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        self.events.clear();
        match poller.wait(&mut self.events, timeout.map(round_up)) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => Ok(()),
            other => other.map(|_| ()),
        }
    }
}

/// Rounds up to the millisecond resolution of some systems' pollers. Rounded down, the last wait would be a busy loop.
fn round_up(timeout: Duration) -> Duration {
    timeout.saturating_add(Duration::from_micros(999))
}

impl Drop for Poll {
    fn drop(&mut self) {
        self.unwatch();
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::{Shutdown, TcpListener, TcpStream};

    use super::super::tcp_socket::TcpSocket;
    use super::*;

    /// Longer than any of these waits may take: a wait that reaches it has missed its wakeup.
    fn far_deadline() -> Instant {
        Instant::now() + Duration::from_secs(20)
    }

    #[test]
    fn a_wake_before_the_wait_is_not_lost() {
        let mut poll = Poll::new().unwrap();
        let deadline = far_deadline();
        poll.waker().wake();
        poll.wait(Interest::Readable, Some(deadline)).unwrap();
        assert!(Instant::now() < deadline);
    }

    #[test]
    fn wakes_when_the_socket_is_readable_and_releases_it_on_unwatch() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = Arc::new(TcpSocket::from(TcpStream::connect(listener.local_addr().unwrap()).unwrap()));
        let (mut server, _) = listener.accept().unwrap();
        let mut poll = Poll::new().unwrap();
        poll.watch(Socket::Tcp(Arc::clone(&client))).unwrap();
        server.write_all(b"x").unwrap();
        let deadline = far_deadline();
        poll.wait(Interest::Readable, Some(deadline)).unwrap();
        assert!(Instant::now() < deadline);
        assert_eq!(Arc::strong_count(&client), 2);
        poll.unwatch();
        assert_eq!(Arc::strong_count(&client), 1);
    }

    #[test]
    fn shutting_down_a_watched_socket_wakes_unless_it_is_half_closed() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let connect = || Arc::new(TcpSocket::from(TcpStream::connect(listener.local_addr().unwrap()).unwrap()));
        let deadline = far_deadline();
        let mut poll = Poll::new().unwrap();
        let half_closed = connect();
        half_closed.shutdown(Shutdown::Write).unwrap();
        poll.watch(Socket::Tcp(Arc::clone(&half_closed))).unwrap();
        let soon = Instant::now() + Duration::from_millis(20);
        poll.wait(Interest::Readable, Some(soon)).unwrap();
        assert!(Instant::now() >= soon);
        assert!(half_closed.has_waker());
        poll.unwatch();
        assert!(!half_closed.has_waker());

        // The poller does not have the socket itself, which some systems wake when it is shut down.
        let watched = connect();
        watched.set_waker(Some(poll.waker()));
        watched.shutdown(Shutdown::Both).unwrap();
        poll.wait(Interest::Readable, Some(deadline)).unwrap();
        // Before it is watched.
        let socket = connect();
        socket.shutdown(Shutdown::Both).unwrap();
        socket.set_waker(Some(poll.waker()));
        poll.wait(Interest::Readable, Some(deadline)).unwrap();
        assert!(Instant::now() < deadline);
    }

    #[test]
    fn a_socket_can_be_registered_again_with_the_same_and_with_another_poll() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let socket = Arc::new(TcpSocket::from(TcpStream::connect(listener.local_addr().unwrap()).unwrap()));
        let mut first = Poll::new().unwrap();
        for _ in 0..3 {
            first.watch(Socket::Tcp(Arc::clone(&socket))).unwrap();
        }
        drop(first);
        let mut second = Poll::new().unwrap();
        second.watch(Socket::Tcp(Arc::clone(&socket))).unwrap();
        second.wait(Interest::Writable, Some(far_deadline())).unwrap();
        drop(second);
        assert_eq!(Arc::strong_count(&socket), 1);
    }
}
