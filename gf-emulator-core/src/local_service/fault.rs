//! Fault injection: requests that fail on purpose.

use std::sync::{Condvar, Mutex};

use crate::sync::{lock, wait};

/// A failure of the next matching requests.
///
/// ```
/// use gf_emulator_core::local_service::{Failure, Fault};
///
/// // The next two uploads are told to retry after a second.
/// let busy = Fault::status(503).header("Retry-After", "1").on("PUT", "/up/").times(2);
/// // The next download of the pulse file is cut in the middle.
/// let cut = Fault::new(Failure::CutAnswer).on("GET", "/dl/job.puls");
/// ```
#[derive(Debug, Clone)]
pub struct Fault {
    failure: Failure,
    method: Option<String>,
    path_prefix: String,
    times: usize,
}

/// How a request fails.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Failure {
    /// The response has this status and these headers, and the request has no effect.
    Status {
        /// The HTTP status.
        status: u16,
        /// Headers to send with it, such as `Retry-After` or `Location`.
        headers: Vec<(String, String)>,
    },
    /// The connection is cut after half of the request's body, without a response.
    CutRequest,
    /// The connection is cut after half of the response's body; before the response, if its body is empty.
    CutAnswer,
    /// `Content-Length` is 1000 bytes too large, and the connection is closed after the body.
    ShortBody,
    /// `Content-Length` is 1000 bytes too large, and the connection stays open after the body, for 30 seconds.
    Stall,
    /// The response's body continues with zeros for as long as the machine reads.
    EndlessBody,
    /// The response is held back until [`LocalService::release`](super::LocalService::release) or the service stops.
    Hold,
}

impl Fault {
    /// Creates a fault that affects the next request, with any method and path.
    #[must_use]
    pub fn new(failure: Failure) -> Self {
        Self { failure, method: None, path_prefix: "/".to_owned(), times: 1 }
    }

    /// Creates a fault that answers the next request with this status.
    #[must_use]
    pub fn status(status: u16) -> Self {
        Self::new(Failure::Status { status, headers: Vec::new() })
    }

    /// Adds a header to a [`Failure::Status`]; has no effect on others.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        if let Failure::Status { headers, .. } = &mut self.failure {
            headers.push((name.to_owned(), value.to_owned()));
        }
        self
    }

    /// Limits the fault to requests with this method and a path that starts with `path_prefix`. The path of a WebSocket
    /// handshake is always the text `/<ws_token>`.
    #[must_use]
    pub fn on(mut self, method: &str, path_prefix: &str) -> Self {
        self.method = Some(method.to_owned());
        path_prefix.clone_into(&mut self.path_prefix);
        self
    }

    /// Sets how many requests fail. The default is 1.
    #[must_use]
    pub fn times(mut self, times: usize) -> Self {
        self.times = times;
        self
    }

    fn matches(&self, method: &str, path: &str) -> bool {
        self.times > 0
            && self.method.as_deref().is_none_or(|wanted| wanted == method)
            && path.starts_with(&self.path_prefix)
    }
}

/// The queued faults.
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

    /// Removes all faults, and ends all holds.
    pub(super) fn clear(&self) {
        lock(&self.state).queued.clear();
        self.release();
    }

    /// Takes the first queued fault that matches.
    pub(super) fn take(&self, method: &str, path: &str) -> Option<Failure> {
        let mut state = lock(&self.state);
        let index = state.queued.iter().position(|fault| fault.matches(method, path))?;
        let fault = &mut state.queued[index];
        fault.times -= 1;
        let failure = fault.failure.clone();
        if fault.times == 0 {
            state.queued.remove(index);
        }
        Some(failure)
    }

    /// Waits for the next release. `on_held` is called once a release would end the wait.
    pub(super) fn hold(&self, on_held: impl FnOnce()) {
        let mut state = lock(&self.state);
        state.held += 1;
        let ticket = state.held;
        on_held();
        while state.released < ticket && !state.stopping {
            state = wait(&self.changed, state, None);
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
