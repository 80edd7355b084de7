//! [`Waker`]: ends the wait of a poller from another thread.

use std::sync::Arc;
#[cfg(feature = "simulation")]
use std::sync::atomic::{AtomicBool, Ordering};

use polling::Poller;

/// Wakes a [`Poll`](crate::net::poll::Poll) from another thread. If nothing is waiting yet, the next wait returns at once.
#[derive(Debug, Clone)]
pub(crate) enum Waker {
    Real(Arc<Poller>),
    #[cfg(feature = "simulation")]
    Simulated(Arc<AtomicBool>),
}

impl Waker {
    pub(crate) fn wake(&self) {
        match self {
            // Fails only if the poller's own event file is closed, and then no wait is in progress.
            Self::Real(poller) => _ = poller.notify(),
            #[cfg(feature = "simulation")]
            Self::Simulated(is_woken) => is_woken.store(true, Ordering::Relaxed),
        }
    }
}
