//! [`Interrupt`]: a resettable cancellation token for the network.

use std::fmt;
use std::io;
use std::net::TcpStream;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::wait::{Interest, Waiter};

/// Ends what is under way on the network, from another thread.
///
/// Raised, it wakes every wait under it, which ends with an error; what is started while it is raised fails at once.
/// Lowered, it is as new. Sockets are left alone: whoever waited for one closes it.
#[derive(Clone, Default)]
pub(crate) struct Interrupt(Arc<(Mutex<InterruptState>, Condvar)>);

#[derive(Default)]
struct InterruptState {
    raised: bool,
    /// What wakes each wait that is under way. Raising takes them out: a wait that does not find itself here any more
    /// was interrupted, even if the interrupt has been lowered since.
    waits: Vec<(u64, Box<dyn FnOnce() + Send>)>,
    last_wait: u64,
    /// Kept between waits, because making one costs several system calls and three file descriptors on Linux.
    spare: Option<Waiter>,
}

impl fmt::Debug for Interrupt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Interrupt").field("raised", &self.is_raised()).finish_non_exhaustive()
    }
}

impl Interrupt {
    pub(crate) fn raise(&self) {
        let mut state = self.lock();
        state.raised = true;
        for (_, wake) in state.waits.drain(..) {
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

    /// Runs `wait`; `wake` is called once this is raised and has to end it.
    ///
    /// # Errors
    ///
    /// That this is raised already, or was raised meanwhile.
    pub(crate) fn during<T>(&self, wake: impl FnOnce() + Send + 'static, wait: impl FnOnce() -> T) -> io::Result<T> {
        let number = {
            let mut state = self.lock();
            if state.raised {
                return Err(interrupted());
            }
            state.last_wait += 1;
            let number = state.last_wait;
            state.waits.push((number, Box::new(wake)));
            number
        };
        let result = wait();
        let mut state = self.lock();
        let Some(index) = state.waits.iter().position(|(other, _)| *other == number) else {
            return Err(interrupted());
        };
        drop(state.waits.swap_remove(index));
        Ok(result)
    }

    /// Sleeps until `socket`, which does not block, may be ready for `interest`.
    ///
    /// # Errors
    ///
    /// `TimedOut` where `deadline` comes first; that this was raised; what the system's poller says.
    pub(crate) fn wait(
        &self,
        socket: &Arc<TcpStream>,
        interest: Interest,
        deadline: Option<Instant>,
    ) -> io::Result<()> {
        let spare = self.lock().spare.take();
        let mut waiter = match spare {
            Some(waiter) => waiter,
            None => Waiter::new()?,
        };
        let waker = waiter.waker();
        let outcome = self.during(
            move || waker.wake(),
            || {
                let slept = waiter.watch(Arc::clone(socket)).and_then(|()| waiter.wait(interest, deadline));
                // The spare one must not keep a socket open.
                waiter.unwatch();
                slept
            },
        );
        self.lock().spare = Some(waiter);
        outcome??;
        if is_over(deadline) { Err(io::ErrorKind::TimedOut.into()) } else { Ok(()) }
    }

    /// Gives a connection away, which must not overlap with raising this. Fails where it is raised already.
    pub(super) fn give_away(&self, give: impl FnOnce()) -> io::Result<()> {
        let mut state = self.lock();
        if state.raised {
            return Err(interrupted());
        }
        // What was dialled for is there: it may be an hour until the next wait.
        state.spare = None;
        give();
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, InterruptState> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) fn is_over(deadline: Option<Instant>) -> bool {
    deadline.is_some_and(|deadline| Instant::now() >= deadline)
}

/// The error of whatever an [`Interrupt`] has ended. Not `ErrorKind::Interrupted`, which readers take as "try again".
pub(crate) fn interrupted() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, "interrupted")
}
