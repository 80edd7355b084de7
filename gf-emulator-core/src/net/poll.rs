//! Waiting for a socket, a waker or a point in time, whichever comes first.
//!
//! Owns one of the two uses of `unsafe` in the crate: registering a socket with the operating system's poller is unsafe because
//! the socket must not be closed while it is registered. [`Poll`] keeps the socket alive itself and takes it out of
//! the poller before it lets go, so the promise holds whatever its user does.

use std::io;
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use polling::{Event, Events, Poller};

const SOCKET: usize = 0;

/// What to wake up for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Interest {
    Readable,
    Writable,
    Both,
}

/// Wakes a [`Poll`] from another thread. A wake that comes before the wait is not lost.
#[derive(Debug, Clone)]
pub(crate) struct Waker(Arc<Poller>);

impl Waker {
    pub(crate) fn wake(&self) {
        // Fails only where the poller's own event file is gone, and then nobody waits there any more.
        let _ = self.0.notify();
    }
}

/// Waits for at most one socket and any number of wakers.
pub(crate) struct Poll {
    poller: Arc<Poller>,
    socket: Option<Arc<TcpStream>>,
    events: Events,
}

impl Poll {
    pub(crate) fn new() -> io::Result<Self> {
        let events = Events::with_capacity(std::num::NonZeroUsize::MIN.saturating_add(3));
        Ok(Self { poller: Arc::new(Poller::new()?), socket: None, events })
    }

    pub(crate) fn waker(&self) -> Waker {
        Waker(Arc::clone(&self.poller))
    }

    /// Watches `socket` in place of whatever was watched before.
    #[allow(unsafe_code)]
    pub(crate) fn watch(&mut self, socket: Arc<TcpStream>) -> io::Result<()> {
        self.unwatch();
        // SAFETY: the source must stay open until it is deleted from the poller. This poll holds the Arc, hands it to
        // nobody, and drops it only in `unwatch`, which deletes it first. That the poller may outlive this poll (a
        // Waker holds it) does no harm: by then nothing is registered.
        unsafe { self.poller.add(&*socket, Event::none(SOCKET)) }?;
        self.socket = Some(socket);
        Ok(())
    }

    /// Lets go of the socket.
    pub(crate) fn unwatch(&mut self) {
        if let Some(socket) = self.socket.take() {
            // It is registered, so this cannot fail; were it to, closing the socket deregisters it as well.
            let _ = self.poller.delete(&*socket);
        }
    }

    /// Sleeps until the socket is ready for `interest`, a waker wakes, or `until` has come.
    pub(crate) fn wait(&mut self, interest: Interest, until: Option<Instant>) -> io::Result<()> {
        if let Some(socket) = &self.socket {
            let event = match interest {
                Interest::Readable => Event::readable(SOCKET),
                Interest::Writable => Event::writable(SOCKET),
                Interest::Both => Event::all(SOCKET),
            };
            self.poller.modify(&**socket, event)?;
        }
        let timeout = until.map(|until| until.saturating_duration_since(Instant::now()));
        self.events.clear();
        match self.poller.wait(&mut self.events, timeout.map(round_up)) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => Ok(()),
            other => other.map(|_| ()),
        }
    }
}

/// Pollers count in milliseconds on some systems: a wait cut short by rounding would spin until its time.
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
    use std::net::TcpListener;

    use super::*;

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(20)
    }

    #[test]
    fn a_wake_before_the_wait_is_kept() {
        let mut poll = Poll::new().unwrap();
        let before = Instant::now();
        poll.waker().wake();
        poll.wait(Interest::Readable, Some(soon())).unwrap();
        assert!(before.elapsed() < Duration::from_secs(10));
    }

    #[test]
    fn wakes_for_a_socket_and_lets_go_of_it() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let here = Arc::new(TcpStream::connect(listener.local_addr().unwrap()).unwrap());
        let (mut there, _) = listener.accept().unwrap();
        let mut poll = Poll::new().unwrap();
        poll.watch(Arc::clone(&here)).unwrap();
        there.write_all(b"x").unwrap();
        let before = Instant::now();
        poll.wait(Interest::Readable, Some(soon())).unwrap();
        assert!(before.elapsed() < Duration::from_secs(10));
        assert_eq!(Arc::strong_count(&here), 2);
        poll.unwatch();
        assert_eq!(Arc::strong_count(&here), 1);
    }

    #[test]
    fn a_socket_can_be_watched_again_by_the_same_and_by_another_waiter() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let socket = Arc::new(TcpStream::connect(listener.local_addr().unwrap()).unwrap());
        let mut first = Poll::new().unwrap();
        for _ in 0..3 {
            first.watch(Arc::clone(&socket)).unwrap();
        }
        drop(first);
        let mut second = Poll::new().unwrap();
        second.watch(Arc::clone(&socket)).unwrap();
        second.wait(Interest::Writable, Some(soon())).unwrap();
        drop(second);
        assert_eq!(Arc::strong_count(&socket), 1);
    }
}
