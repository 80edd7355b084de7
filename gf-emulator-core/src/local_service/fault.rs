//! What the service is told to do wrong, request by request.

use std::sync::{Condvar, Mutex};

use crate::sync::lock;

/// Something to go wrong with the next requests that fit.
///
/// ```
/// use gf_emulator_core::local_service::{Failure, Fault};
///
/// // The next two uploads are told to come back in a second.
/// let busy = Fault::status(503).header("Retry-After", "1").on("PUT", "/up/").times(2);
/// // The next pulse file ends in the middle.
/// let torn = Fault::new(Failure::CutAnswer).on("GET", "/dl/job.puls");
/// ```
#[derive(Debug, Clone)]
pub struct Fault {
    failure: Failure,
    method: Option<String>,
    path_prefix: String,
    times: usize,
}

/// How a request goes wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Failure {
    /// It is answered with this status and these headers, and nothing is done.
    Status {
        /// The HTTP status.
        status: u16,
        /// Headers to send with it, such as `Retry-After` or `Location`.
        headers: Vec<(String, String)>,
    },
    /// The connection is cut when half of the request's body has come. No answer.
    CutRequest,
    /// The connection is cut when half of the answer's body has gone.
    CutAnswer,
    /// The answer promises 1000 bytes more than it has; then the connection ends.
    ShortBody,
    /// The answer promises 1000 bytes more than it has; then nothing comes, and the connection stays, for 30 seconds.
    Stall,
    /// The answer's body goes on with zeros for as long as somebody reads it.
    EndlessBody,
    /// The answer waits until [`LocalService::release`](super::LocalService::release) or the end of the service.
    Hold,
}

impl Fault {
    /// The next request of any kind goes wrong in this way.
    #[must_use]
    pub fn new(failure: Failure) -> Self {
        Self { failure, method: None, path_prefix: "/".to_owned(), times: 1 }
    }

    /// The next request of any kind is answered with this status.
    #[must_use]
    pub fn status(status: u16) -> Self {
        Self::new(Failure::Status { status, headers: Vec::new() })
    }

    /// With this header. Only a [`Failure::Status`] has any.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        if let Failure::Status { headers, .. } = &mut self.failure {
            headers.push((name.to_owned(), value.to_owned()));
        }
        self
    }

    /// Only requests with this method whose path (without query) begins so. The opening of a control socket has the
    /// path `/<ws_token>`, with those very letters.
    #[must_use]
    pub fn on(mut self, method: &str, path_prefix: &str) -> Self {
        self.method = Some(method.to_owned());
        path_prefix.clone_into(&mut self.path_prefix);
        self
    }

    /// So many times (once, where this is not called).
    #[must_use]
    pub fn times(mut self, times: usize) -> Self {
        self.times = times;
        self
    }

    fn fits(&self, method: &str, path: &str) -> bool {
        self.times > 0
            && self.method.as_deref().is_none_or(|wanted| wanted == method)
            && path.starts_with(&self.path_prefix)
    }
}

/// The faults that are yet to come.
#[derive(Default)]
pub(super) struct Faults {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    queued: Vec<Fault>,
    held: usize,
    released: usize,
    stopping: bool,
}

impl Faults {
    pub(super) fn add(&self, fault: Fault) {
        lock(&self.state).queued.push(fault);
    }

    /// The first queued fault that fits, used up once more.
    pub(super) fn take(&self, method: &str, path: &str) -> Option<Failure> {
        let mut state = lock(&self.state);
        let index = state.queued.iter().position(|fault| fault.fits(method, path))?;
        let fault = &mut state.queued[index];
        fault.times -= 1;
        let failure = fault.failure.clone();
        if fault.times == 0 {
            state.queued.remove(index);
        }
        Some(failure)
    }

    /// Waits in line for a release; `announce` is called when the place in the line is sure.
    pub(super) fn hold(&self, announce: impl FnOnce()) {
        let mut state = lock(&self.state);
        state.held += 1;
        let place = state.held;
        announce();
        while state.released < place && !state.stopping {
            state = crate::sync::wait(&self.changed, state, None);
        }
    }

    pub(super) fn release(&self) {
        let mut state = lock(&self.state);
        state.released = state.held;
        self.changed.notify_all();
    }

    pub(super) fn stop(&self) {
        lock(&self.state).stopping = true;
        self.changed.notify_all();
    }
}
