//! Locks and condition variables that ignore poisoning.
//!
//! Ignoring poisoning is sound only if each change under a lock is a single step, so that a panic leaves no half-made
//! change. All code of this crate must keep to that.

use std::sync::{Mutex, MutexGuard, PoisonError};
#[cfg(any(feature = "fleet", feature = "follow", feature = "local-service"))]
use std::{sync::Condvar, time::Duration};

/// Locks `mutex`, even if its last holder panicked. If the holder may wait for something else meanwhile: `system::lock`.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits for a notification of a server's condition variable, for at most `timeout` if there is one.
#[cfg(any(feature = "fleet", feature = "follow", feature = "local-service"))]
pub(crate) fn wait<'a, T>(condvar: &Condvar, guard: MutexGuard<'a, T>, timeout: Option<Duration>) -> MutexGuard<'a, T> {
    match timeout {
        None => condvar.wait(guard).unwrap_or_else(PoisonError::into_inner),
        Some(timeout) => condvar.wait_timeout(guard, timeout).unwrap_or_else(PoisonError::into_inner).0,
    }
}
