//! [`CancelToken`]: a resettable cancellation token for the network.

use std::fmt;
use std::io;
use std::net::TcpStream;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::net::poll::{Interest, Poll};

/// Ends what is under way on the network, from another thread.
///
/// Raised, it wakes every wait under it, which ends with an error; what is started while it is cancelled fails at once.
/// Lowered, it is as new. Sockets are left alone: whoever waited for one closes it.
#[derive(Clone, Default)]
pub(crate) struct CancelToken(Arc<(Mutex<CancelState>, Condvar)>);

#[derive(Default)]
struct CancelState {
    cancelled: bool,
    /// What wakes each wait that is under way. Raising takes them out: a wait that does not find itself here any more
    /// was interrupted, even if the cancel has been lowered since.
    waits: Vec<(u64, Box<dyn FnOnce() + Send>)>,
    last_wait: u64,
    /// Kept between waits, because making one costs several system calls and three file descriptors on Linux.
    spare: Option<Poll>,
}

impl fmt::Debug for CancelToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CancelToken").field("cancelled", &self.is_cancelled()).finish_non_exhaustive()
    }
}

impl CancelToken {
    pub(crate) fn cancel(&self) {
        let mut state = self.lock();
        state.cancelled = true;
        for (_, wake) in state.waits.drain(..) {
            wake();
        }
        self.0.1.notify_all();
    }

    /// Lets time pass until `until`, or until this is cancelled: then false.
    pub(crate) fn pause(&self, until: Instant) -> bool {
        let left = until.saturating_duration_since(Instant::now());
        let waited = self.0.1.wait_timeout_while(self.lock(), left, |state| !state.cancelled);
        !waited.unwrap_or_else(PoisonError::into_inner).0.cancelled
    }

    pub(crate) fn reset(&self) {
        self.lock().cancelled = false;
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.lock().cancelled
    }

    /// Runs `wait`; `wake` is called once this is cancelled and has to end it.
    ///
    /// # Errors
    ///
    /// That this is cancelled already, or was cancelled meanwhile.
    pub(crate) fn during<T>(&self, wake: impl FnOnce() + Send + 'static, wait: impl FnOnce() -> T) -> io::Result<T> {
        let number = {
            let mut state = self.lock();
            if state.cancelled {
                return Err(cancelled_error());
            }
            state.last_wait += 1;
            let number = state.last_wait;
            state.waits.push((number, Box::new(wake)));
            number
        };
        let result = wait();
        let mut state = self.lock();
        let Some(index) = state.waits.iter().position(|(other, _)| *other == number) else {
            return Err(cancelled_error());
        };
        drop(state.waits.swap_remove(index));
        Ok(result)
    }

    /// Sleeps until `socket`, which does not block, may be ready for `interest`.
    ///
    /// # Errors
    ///
    /// `TimedOut` where `deadline` comes first; that this was cancelled; what the system's poller says.
    pub(crate) fn wait(
        &self,
        socket: &Arc<TcpStream>,
        interest: Interest,
        deadline: Option<Instant>,
    ) -> io::Result<()> {
        let spare = self.lock().spare.take();
        let mut poll = match spare {
            Some(poll) => poll,
            None => Poll::new()?,
        };
        let waker = poll.waker();
        let outcome = self.during(
            move || waker.wake(),
            || {
                let slept = poll.watch(Arc::clone(socket)).and_then(|()| poll.wait(interest, deadline));
                // The spare one must not keep a socket open.
                poll.unwatch();
                slept
            },
        );
        self.lock().spare = Some(poll);
        outcome??;
        if is_over(deadline) { Err(io::ErrorKind::TimedOut.into()) } else { Ok(()) }
    }

    /// Gives a connection away, which must not overlap with raising this. Fails where it is cancelled already.
    pub(super) fn give_away(&self, give: impl FnOnce()) -> io::Result<()> {
        let mut state = self.lock();
        if state.cancelled {
            return Err(cancelled_error());
        }
        // What was dialled for is there: it may be an hour until the next wait.
        state.spare = None;
        give();
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, CancelState> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) fn is_over(deadline: Option<Instant>) -> bool {
    deadline.is_some_and(|deadline| Instant::now() >= deadline)
}

/// The error of whatever an [`CancelToken`] has ended. Not `ErrorKind::Interrupted`, which readers take as "try again".
pub(crate) fn cancelled_error() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, "interrupted")
}
