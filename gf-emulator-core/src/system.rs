//! The clock, threads and waiting: everything here that depends on the operating system's time and scheduling.
//!
//! With the feature `simulation`, a test program may put a [`System`](crate::simulation::System) in their place for one
//! thread: simulated time, and threads that take turns.

use std::io;
#[cfg(feature = "simulation")]
use std::sync::TryLockError;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use crossbeam_channel::{
    Receiver, RecvError, RecvTimeoutError, Select, SendTimeoutError, Sender, TryRecvError, TrySendError,
};

#[cfg(feature = "simulation")]
use crate::simulation;
use crate::sync;

/// Returns from the function with what a simulation does instead, if one runs in this thread.
macro_rules! simulated {
    (_ => nothing) => {
        #[cfg(feature = "simulation")]
        if $crate::simulation::current().is_some() {
            return;
        }
    };
    ($system:pat => $instead:expr) => {
        #[cfg(feature = "simulation")]
        if let Some($system) = $crate::simulation::current() {
            return $instead;
        }
    };
}
pub(crate) use simulated;

/// Returns the time of the monotonic clock.
pub(crate) fn now() -> Instant {
    simulated!(system => system.now());
    Instant::now()
}

/// Returns the time of the wall clock.
pub(crate) fn wall_clock() -> SystemTime {
    simulated!(system => system.wall_clock());
    SystemTime::now()
}

/// Returns a random number, for the jitter of pauses.
pub(crate) fn random() -> u64 {
    simulated!(system => system.random());
    rand::random()
}

/// A started thread.
#[derive(Debug)]
pub(crate) enum Thread<T> {
    Real(thread::JoinHandle<T>),
    #[cfg(feature = "simulation")]
    Simulated(simulation::Thread<T>),
}

impl<T> Thread<T> {
    /// Waits until the thread has ended. The error is its panic.
    pub(crate) fn join(self) -> thread::Result<T> {
        match self {
            Self::Real(thread) => thread.join(),
            #[cfg(feature = "simulation")]
            Self::Simulated(thread) => thread.join(),
        }
    }
}

/// Starts a thread.
pub(crate) fn spawn<T: Send + 'static>(name: &str, run: impl FnOnce() -> T + Send + 'static) -> io::Result<Thread<T>> {
    simulated!(system => simulation::Thread::start(&*system, name, run).map(Thread::Simulated));
    thread::Builder::new().name(name.to_owned()).spawn(run).map(Thread::Real)
}

/// Locks a mutex that another thread may hold while it waits for something else. All other mutexes are locked by
/// [`sync::lock`].
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    #[cfg(feature = "simulation")]
    if let Some(system) = simulation::current() {
        let mut is_free = || !matches!(mutex.try_lock(), Err(TryLockError::WouldBlock));
        if !is_free() {
            system.wait(None, &mut is_free);
        }
    }
    sync::lock(mutex)
}

/// Waits until `is_waiting` returns false or `deadline` has passed.
pub(crate) fn wait_while<'a, T>(
    mutex: &'a Mutex<T>,
    condvar: &Condvar,
    guard: MutexGuard<'a, T>,
    deadline: Option<Instant>,
    is_waiting: impl FnMut(&mut T) -> bool,
) -> MutexGuard<'a, T> {
    simulated!(system => {
        drop(guard);
        let mut is_waiting = is_waiting;
        system.wait(deadline, &mut || !is_waiting(&mut sync::lock(mutex)));
        sync::lock(mutex)
    });
    let _ = mutex;
    match deadline {
        None => condvar.wait_while(guard, is_waiting).unwrap_or_else(PoisonError::into_inner),
        Some(deadline) => {
            let timeout = deadline.saturating_duration_since(Instant::now());
            condvar.wait_timeout_while(guard, timeout, is_waiting).unwrap_or_else(PoisonError::into_inner).0
        }
    }
}

/// Repeats `attempt` until it returns something or `deadline` has passed. `add_operations` adds to a selection all that it
/// tries.
pub(crate) fn wait_for<'a, T>(
    deadline: Option<Instant>,
    mut attempt: impl FnMut() -> Option<T>,
    add_operations: impl FnOnce(&mut Select<'a>),
) -> Option<T> {
    simulated!(system => {
        let mut result = None;
        system.wait(deadline, &mut || {
            // Called again only if it is not ready.
            result = result.take().or_else(&mut attempt);
            result.is_some()
        });
        result
    });
    // Most often something is there already.
    if let Some(result) = attempt() {
        return Some(result);
    }
    let mut select = Select::new();
    add_operations(&mut select);
    loop {
        // Returns at once if something has come since the attempt.
        match deadline {
            Some(deadline) => _ = select.ready_deadline(deadline).ok()?,
            None => _ = select.ready(),
        }
        if let Some(result) = attempt() {
            return Some(result);
        }
    }
}

/// Waits for a message.
pub(crate) fn recv<T>(receiver: &Receiver<T>) -> Result<T, RecvError> {
    recv_until(receiver, None).map_err(|_| RecvError)
}

/// Waits for a message for up to `timeout`.
pub(crate) fn recv_timeout<T>(receiver: &Receiver<T>, timeout: Duration) -> Result<T, RecvTimeoutError> {
    recv_until(receiver, Some(now() + timeout))
}

fn recv_until<T>(receiver: &Receiver<T>, deadline: Option<Instant>) -> Result<T, RecvTimeoutError> {
    let attempt = || match receiver.try_recv() {
        Ok(message) => Some(Ok(message)),
        Err(TryRecvError::Disconnected) => Some(Err(RecvTimeoutError::Disconnected)),
        Err(TryRecvError::Empty) => None,
    };
    let result = wait_for(deadline, attempt, |select| _ = select.recv(receiver));
    result.unwrap_or(Err(RecvTimeoutError::Timeout))
}

/// Waits for room in a queue for up to `timeout`, and sends.
pub(crate) fn send_timeout<T>(sender: &Sender<T>, message: T, timeout: Duration) -> Result<(), SendTimeoutError<T>> {
    let mut unsent = Some(message);
    let attempt = || match sender.try_send(unsent.take()?) {
        Ok(()) => Some(Ok(())),
        Err(TrySendError::Disconnected(message)) => Some(Err(SendTimeoutError::Disconnected(message))),
        Err(TrySendError::Full(message)) => {
            unsent = Some(message);
            None
        }
    };
    let sent = wait_for(Some(now() + timeout), attempt, |select| _ = select.send(sender));
    sent.unwrap_or_else(|| unsent.map_or(Ok(()), |message| Err(SendTimeoutError::Timeout(message))))
}
