//! The cloud's side of the conversation, on loopback.
//!
//! [`LocalService`] is what a machine talks to where there is no account: sign-in, firmware, uploads, downloads, events
//! and the control socket of both protocol generations, on one port, over TLS with a certificate made on the spot. It
//! is driven by a [`Script`] or in code, says what it [`Seen`], and goes wrong when told to ([`Fault`]).
//!
//! It shares nothing with the machine's side but [`crate::puls`], so that one mistake cannot cancel itself out. It has
//! an HTTP server of its own, owns its threads, and is for tests and demonstrations: anybody who can reach its port may
//! use it.
//!
//! # What strangers can make it hold
//!
//! | what | at most |
//! |---|---|
//! | connections, each with a thread | 256; for a newcomer the oldest goes that has shown no token, else the oldest |
//! | machines, each with a thread while its script runs | 64; for a new one the one goes that was heard of the longest ago, first of those without a control socket |
//! | tokens of a machine | 8 of each kind |
//! | events of a machine that nothing has awaited | 1000, their names 200 bytes long |
//! | a message on a control socket | 1 MiB, of which 100 lines are taken; lines up to 64 KiB are read as JSON |
//! | the head of a request | 32 KiB, 64 headers; its path 1 KiB |
//! | the body of a request | 64 MiB are read ([`Builder::body_limit`]), 64 KiB held in memory; none of either where the request is refused for its path or its token |
//! | what was [`Seen`] | 16 MiB, the oldest goes first ([`LocalService::left_out`]) |
//!
//! Tests may ask for more: [`Builder::keep_bodies`], [`Builder::observe_pictures`].

mod builder;
mod certificate;
mod control_socket;
mod fault;
mod machines;
mod plan;
mod replay;
mod routes;
mod sample_jobs;
mod script;
mod seen;
mod server;
#[cfg(test)]
mod tests;
mod transcript;

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::Value;

pub use self::builder::Builder;
use self::control_socket::CLOSING;
pub use self::control_socket::Cut;
pub use self::fault::{Failure, Fault};
pub use self::plan::{Cue, Replay, Reply, ReplyBody, ReplyEnd};
pub(crate) use self::replay::{is_ending, is_opening, rehomed};
pub use self::script::{Outcome, Script, Step};
pub use self::seen::{Bearer, Request, Seen};
pub use self::transcript::{Totals, Transcript};

use self::server::Core;
use crate::Secrets;
use crate::sync::lock;

/// How long code that sends waits for a machine to be connected.
const SEND_TIMEOUT: Duration = Duration::from_mins(1);

/// What can go wrong with the service itself.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address as it was given.
        address: String,
        /// Why not.
        source: io::Error,
    },
    /// The certificate could not be made or used.
    #[error("cannot make a certificate for the local service: {reason}")]
    Tls {
        /// Why not.
        reason: String,
    },
    /// A file that it was to serve could not be compressed, or a thread could not be started.
    #[error("cannot start the local service: {0}")]
    Start(#[source] io::Error),
    /// The script is not a JSON list.
    #[error("the script is not a JSON list of steps: {reason}")]
    ScriptText {
        /// What is wrong, and where.
        reason: String,
    },
    /// A step of the script is wrong.
    #[error("step {step} of the script: {reason}")]
    Script {
        /// Which one, counted from 1.
        step: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// There was no machine to send to.
    #[error("no machine is connected to the local service")]
    NotConnected,
}

/// The cloud's side of both protocol generations on loopback. Dropping it stops it and joins its threads.
///
/// ```
/// use std::time::Duration;
/// use gf_emulator_core::local_service::{LocalService, Script, Seen};
///
/// let service = LocalService::builder().tls(false).script(Script::default()).start()?;
/// println!("point a machine at {} and {}", service.http_url(), service.ws_url());
/// // A test would wait here for what its machine does, with a limit:
/// let opened = service.wait_for(|seen| seen.iter().any(|s| matches!(s, Seen::WsOpened { .. })), Duration::ZERO);
/// assert!(!opened);
/// service.stop();
/// # Ok::<(), gf_emulator_core::local_service::Error>(())
/// ```
pub struct LocalService {
    core: Arc<Core>,
    listener: Mutex<Option<JoinHandle<()>>>,
    addr: SocketAddr,
    ca_pem: Option<String>,
}

impl std::fmt::Debug for LocalService {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LocalService").field("url", &self.http_url()).finish_non_exhaustive()
    }
}

impl LocalService {
    /// The passwords that machines sign in with and the tokens that they get, from now on as well: for a recorder of what
    /// is seen, which must not show them.
    #[must_use]
    pub fn secrets(&self) -> Secrets {
        self.core.secrets.clone()
    }

    /// A service over TLS on a free port of 127.0.0.1 that takes any credentials and has no script.
    #[must_use]
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Its base URL, such as `https://localhost:40763`: the server URL of a machine's configuration.
    #[must_use]
    pub fn http_url(&self) -> &str {
        &self.core.settings.http_url
    }

    /// The base URL of the control socket, such as `wss://localhost:40763`.
    #[must_use]
    pub fn ws_url(&self) -> String {
        self.http_url().replacen("http", "ws", 1)
    }

    /// The URL of its pulse file.
    #[must_use]
    pub fn puls_url(&self) -> String {
        format!("{}{}", self.http_url(), routes::PULS_PATH)
    }

    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The root certificate that its clients must trust, PEM; nothing where it is plain.
    #[must_use]
    pub fn ca_pem(&self) -> Option<&str> {
        self.ca_pem.as_deref()
    }

    /// What was seen so far, in order: the last 16 MiB of it (1 GiB with [`Builder::keep_bodies`]).
    #[must_use]
    pub fn seen(&self) -> Vec<Seen> {
        self.core.log.all()
    }

    /// How many of the oldest are not in [`seen`](Self::seen) any more.
    #[must_use]
    pub fn left_out(&self) -> u64 {
        self.core.log.left_out()
    }

    /// Waits until `done` says so of [what was seen](Self::seen) so far; `false` where the time was over first.
    ///
    /// `done` is called again whenever there is something new. It must not call the service.
    pub fn wait_for(&self, done: impl FnMut(&[Seen]) -> bool, timeout: Duration) -> bool {
        self.core.log.wait_for(done, timeout)
    }

    /// Sends an action to the machine that connected last; its placeholders are those of a [`Script`].
    ///
    /// # Errors
    /// [`Error::NotConnected`] where no machine was connected within 60 s, or it went away.
    pub fn send(&self, action: Value) -> Result<(), Error> {
        let link = self.core.machines.current(SEND_TIMEOUT).ok_or(Error::NotConnected)?;
        self.core.send(&link, action).map_err(|_| Error::NotConnected)
    }

    /// Sends a text frame as it is, be it JSON or not.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn send_text(&self, text: &str) -> Result<(), Error> {
        let link = self.core.machines.current(SEND_TIMEOUT).ok_or(Error::NotConnected)?;
        self.core.send_text(&link, text).map_err(|_| Error::NotConnected)
    }

    /// Cuts the control socket that was opened last, and waits until it is gone. Without one it does nothing.
    pub fn drop_connection(&self, how: Cut) {
        if let Some(link) = self.core.machines.current(Duration::ZERO) {
            self.core.machines.unlink(&link);
            link.cut(how);
        }
    }

    /// Closes the control socket that was opened last with this code, and waits until it is gone.
    pub fn close(&self, code: u16) {
        self.close_within(code, CLOSING);
    }

    /// The same; a machine that does not close its side within that time is cut off. With [`close`](Self::close) it has
    /// 5 seconds.
    pub fn close_within(&self, code: u16, limit: Duration) {
        if let Some(link) = self.core.machines.current(Duration::ZERO) {
            self.core.machines.unlink(&link);
            link.close(code, limit);
        }
    }

    /// From now on, every `auth_token` given so far is answered with 401.
    pub fn expire_tokens(&self) {
        self.core.machines.expire_tokens();
    }

    /// Has requests to come go wrong. Faults are used in the order in which they were added.
    pub fn fault(&self, fault: Fault) {
        self.core.faults.add(fault);
    }

    /// Lets every answer go that is held back at this moment (see [`Failure::Hold`]).
    pub fn release(&self) {
        self.core.faults.release();
    }

    /// How the script (or the replay) ended. With several machines: when it has ended for all, the first failure if there
    /// was any. A machine that has left before its end counts only where no other has come to an end.
    ///
    /// Nothing where the time was over first, the service was stopped, or there is neither.
    #[must_use]
    pub fn script_outcome(&self, timeout: Duration) -> Option<Outcome> {
        self.core.task.as_ref()?;
        self.core.walks.outcome(timeout)
    }

    /// Stops serving: every connection is cut, every thread joined. Calling it again does nothing.
    pub fn stop(&self) {
        self.core.stop();
        if let Some(listener) = lock(&self.listener).take() {
            self.core.visitors.knock(self.addr);
            if listener.join().is_err() {
                log::error!("local service: the listener's thread panicked");
            }
        }
        self.core.visitors.join_threads();
    }
}

impl Drop for LocalService {
    fn drop(&mut self) {
        self.stop();
    }
}
