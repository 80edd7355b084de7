//! [`CancelToken`]: resettable cancellation of blocking network operations.

use std::fmt;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Instant;

use super::socket::Socket;
use crate::net::poll::{Interest, Poll};
use crate::sync::lock;
use crate::system;

/// A resettable cancellation token, shared by its clones.
///
/// [`cancel`](Self::cancel) makes every wait under the token fail, and every later one until [`reset`](Self::reset).
/// It closes no socket: that is left to the thread whose wait failed.
#[derive(Clone, Default)]
pub(crate) struct CancelToken(Arc<(Mutex<CancelState>, Condvar)>);

#[derive(Default)]
struct CancelState {
    is_cancelled: bool,
    /// The wakeup of each wait in progress, by its id. `cancel` removes them all: a wait that is no longer listed was
    /// cancelled, even if the token has been reset since.
    wakeups: Vec<(u64, Box<dyn FnOnce() + Send>)>,
    last_id: u64,
    /// Reused by the next wait: creating one takes several system calls and three file descriptors on Linux.
    cached_poll: Option<Poll>,
}

impl fmt::Debug for CancelToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CancelToken").field("is_cancelled", &self.is_cancelled()).finish_non_exhaustive()
    }
}

impl CancelToken {
    pub(crate) fn cancel(&self) {
        let mut state = self.lock();
        state.is_cancelled = true;
        for (_, wake) in state.wakeups.drain(..) {
            wake();
        }
        self.0.1.notify_all();
    }

    pub(crate) fn reset(&self) {
        self.lock().is_cancelled = false;
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.lock().is_cancelled
    }

    /// Returns an error if cancelled.
    pub(super) fn check(&self) -> io::Result<()> {
        if self.is_cancelled() { Err(cancelled_error()) } else { Ok(()) }
    }

    /// Sleeps until `until`. Returns `false` if cancelled before.
    pub(crate) fn pause(&self, until: Instant) -> bool {
        let (state, cancelled) = &*self.0;
        !system::wait_while(state, cancelled, self.lock(), Some(until), |state| !state.is_cancelled).is_cancelled
    }

    /// Runs the blocking `operation`; cancelling calls `wake`, which must make it return.
    ///
    /// # Errors
    ///
    /// If cancelled before or during `operation`.
    pub(super) fn run<T>(&self, wake: impl FnOnce() + Send + 'static, operation: impl FnOnce() -> T) -> io::Result<T> {
        let id = {
            let mut state = self.lock();
            if state.is_cancelled {
                return Err(cancelled_error());
            }
            state.last_id += 1;
            let id = state.last_id;
            state.wakeups.push((id, Box::new(wake)));
            id
        };
        let result = operation();
        let mut state = self.lock();
        let Some(index) = state.wakeups.iter().position(|(other, _)| *other == id) else {
            return Err(cancelled_error());
        };
        drop(state.wakeups.swap_remove(index));
        Ok(result)
    }

    /// Waits until the non-blocking `socket` may be ready for `interest`.
    ///
    /// # Errors
    ///
    /// `TimedOut` if `deadline` passes first; also if cancelled, or if the system's poller fails.
    pub(crate) fn wait(&self, socket: &Socket, interest: Interest, deadline: Option<Instant>) -> io::Result<()> {
        let cached = self.lock().cached_poll.take();
        let mut poll = match cached {
            Some(poll) => poll,
            None => Poll::new()?,
        };
        let waker = poll.waker();
        let outcome = self.run(
            move || waker.wake(),
            || {
                let waited = poll.watch(socket.clone()).and_then(|()| poll.wait(interest, deadline));
                // The cached poll must not keep the socket open.
                poll.unwatch();
                waited
            },
        );
        self.lock().cached_poll = Some(poll);
        outcome??;
        if has_passed(deadline) { Err(io::ErrorKind::TimedOut.into()) } else { Ok(()) }
    }

    /// Drops the cached poll, when the next wait may be an hour away.
    pub(crate) fn drop_cached_poll(&self) {
        self.lock().cached_poll = None;
    }

    fn lock(&self) -> MutexGuard<'_, CancelState> {
        lock(&self.0.0)
    }
}

pub(super) fn has_passed(deadline: Option<Instant>) -> bool {
    deadline.is_some_and(|deadline| system::now() >= deadline)
}

/// The error of an operation that was cancelled. Not `ErrorKind::Interrupted`, on which readers retry.
pub(super) fn cancelled_error() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, "cancelled")
}
