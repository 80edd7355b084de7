//! [`Interrupt`]: a resettable cancellation token for the network.

use std::io;
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Instant;

use super::stream::Stream;

/// Ends what is under way on the network, from another thread.
///
/// Raised, it shuts down every connection made under it and wakes every connect that waits; what is started while it is
/// raised fails at once. Lowered, it is as new.
#[derive(Clone, Default)]
pub(crate) struct Interrupt(Arc<(Mutex<InterruptState>, Condvar)>);

#[derive(Default)]
struct InterruptState {
    raised: bool,
    connections: Vec<Weak<TcpStream>>,
    /// What frees whoever waits for a name or an address.
    connecting: Vec<Box<dyn FnOnce() + Send>>,
}

impl Interrupt {
    pub(crate) fn raise(&self) {
        let mut state = self.lock();
        state.raised = true;
        for connection in state.connections.drain(..).filter_map(|weak| weak.upgrade()) {
            // Fails where the other side was quicker: closed is closed.
            let _ = connection.shutdown(Shutdown::Both);
        }
        for wake in state.connecting.drain(..) {
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

    pub(crate) fn adopt(&self, connection: &Arc<TcpStream>) -> io::Result<()> {
        let mut state = self.lock();
        if state.raised {
            return Err(interrupted());
        }
        state.connections.retain(|weak| weak.strong_count() > 0);
        state.connections.push(Arc::downgrade(connection));
        Ok(())
    }

    /// Leaves a connection alone from now on: it has an owner who ends it in order. Fails where this is raised already.
    pub(crate) fn release(&self, stream: &Stream) -> io::Result<()> {
        let mut state = self.lock();
        if state.raised {
            return Err(interrupted());
        }
        state.connections.retain(|weak| !std::ptr::eq(weak.as_ptr(), Arc::as_ptr(stream.tcp())));
        Ok(())
    }

    pub(crate) fn adopt_connecting(&self, wake: impl FnOnce() + Send + 'static) -> io::Result<()> {
        let mut state = self.lock();
        if state.raised {
            return Err(interrupted());
        }
        state.connecting.push(Box::new(wake));
        Ok(())
    }

    pub(crate) fn forget_connecting(&self) {
        // Connects under one interrupt come one after the other, so there is no other's waker to lose.
        self.lock().connecting.clear();
    }

    fn lock(&self) -> MutexGuard<'_, InterruptState> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The error of whatever an [`Interrupt`] has ended. Not `ErrorKind::Interrupted`, which readers take as "try again".
pub(crate) fn interrupted() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, "interrupted")
}
