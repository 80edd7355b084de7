//! A local stand-in for the cloud service, for tests and demonstrations.
//!
//! [`LocalService`] serves sign-in, firmware, uploads, downloads, events and the WebSocket of both protocol generations
//! on one port, over TLS with a generated certificate. It reacts to machines ([`Behaviour`]), runs a [`Script`] or is driven
//! from code, reports what it has [`Seen`], and fails on demand ([`Fault`]).
//!
//! It shares nothing with the machine's side but [`crate::puls`], [`crate::Secret`] and small helpers, so that a
//! mistake on one side cannot hide one on the other. Anyone who can reach its port can use it.
//!
//! # Routes
//!
//! | request | |
//! |---|---|
//! | `POST /machines/sign_in` | takes `serial` (with its `S`) and `password` as JSON or form; returns `ws_token` and `auth_token` |
//! | `GET /<ws_token>` | WebSocket handshake; each token is valid once |
//! | `GET /dl/job.puls` | the pulse file ([`Builder::puls`]) |
//! | `GET /dl/<name>.puls` | the pulse file of an action type ([`Builder::puls_for`], [`Builder::sample_jobs`]) or of the [`Behaviour`], if there is one |
//! | `PUT /up/<anything>` | a picture, as to a presigned URL: `Authorization` is rejected; any query is accepted |
//! | `GET /dl/firmware` | a file of one line, `firmware <version>` |
//! | `GET /update/current` * | the firmware's `version` ([`Builder::firmware_version`]) and `download_url` |
//! | `POST /api/event` * | an event of a 1.x machine |
//! | `POST /api/sensor` * | binary data of up to 1 MiB, of any form |
//! | `PUT /api/machines/status` * | a status of a 1.x machine |
//! | `POST /api/machines/<kind>/<action id>` * | a picture of an action without an `endpoint` |
//!
//! \* needs `Authorization: Bearer <auth_token>`, otherwise 401. Other paths get 404, other methods 405.
//!
//! # Connecting with TLS
//!
//! The machine must trust [`LocalService::ca_pem`]:
//!
//! ```
//! use gf_emulator_core::local_service::LocalService;
//! use gf_emulator_core::{Config, Emulator, Secret};
//!
//! let service = LocalService::builder().start()?;
//! let ca_file = std::env::temp_dir().join(format!("local-service-{}.pem", service.addr().port()));
//! std::fs::write(&ca_file, service.ca_pem().unwrap_or_default())?;
//!
//! let mut config = Config::default();
//! config.service.ca_file = Some(ca_file.clone());
//! config.service.server_url = service.http_url().into();
//! config.service.status_service_url = service.ws_url();
//! config.machine.serial = 12_345_678;
//! config.machine.hostname = "my-machine".into();
//! config.machine.password = Secret::new("0123456789abcdef".repeat(4));
//! Emulator::new(config)?.connect()?;
//! # std::fs::remove_file(ca_file)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Limits
//!
//! | what | limit |
//! |---|---|
//! | connections, each with a thread | four for each machine, 256 by default; then the oldest without a valid token is evicted, or else the oldest |
//! | machines, each with a thread while its script or behaviour runs | 64 ([`Builder::machines`]); then the least recently seen is evicted, those without a WebSocket first |
//! | tokens of a machine | 8 of each kind |
//! | unawaited events of a machine | 1000, with names of up to 200 bytes |
//! | a WebSocket message | 1 MiB, of which 100 lines are read; lines of up to 64 KiB are parsed as JSON |
//! | a request head | 32 KiB, 64 headers, a path of 1 KiB |
//! | a request body | 64 MiB are read ([`Builder::body_limit`]) and 64 KiB held in memory; neither if the request is rejected for its path or token |
//! | frames to a machine that are late or wait for others | 1000; then the sender waits |
//! | machines with [faults](Fault) of their own | 1000; all later ones share the last state |
//! | what was [`Seen`] | 16 MiB; then the oldest is dropped ([`LocalService::left_out`]) |
//!
//! [`Builder::keep_bodies`] and [`Builder::observe_pictures`] raise these limits for tests.

mod behaviour;
mod behaviour_runner;
mod behaviour_state;
mod builder;
mod certificate;
mod core;
mod delivery;
mod display;
mod exchange;
mod fault;
mod fault_plan;
mod fault_profiles;
mod fault_random;
mod fault_text;
mod faults;
mod frame_queue;
mod history;
mod homing_jobs;
mod kept_root;
mod link;
mod machine;
mod machines;
mod outcomes;
mod plan;
mod protocol;
mod public_url;
mod reactions;
mod replay_runner;
mod replay_state;
mod root_certificate;
mod routes;
mod sample_jobs;
mod script;
mod script_runner;
mod seen;
mod seen_json;
mod server;
mod task;
#[cfg(test)]
mod tests;
mod transcript;
mod urls;
mod wait_error;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::Value;

pub use self::behaviour::{Behaviour, BehaviourChange, PrintState};
pub use self::builder::Builder;
pub use self::fault::{Failure, Fault, FrameFault, Latency, Moment};
pub use self::fault_profiles::FaultProfile;
pub use self::fault_text::FaultError;
pub use self::link::{Cut, WsEnd};
pub use self::outcomes::Outcome;
pub use self::plan::{RecordedBody, RecordedResponse, ReplayPlan, ReplayStep, ResponseEnd};
pub(crate) use self::protocol::{is_connecting, is_ending};
pub use self::script::{Script, ScriptStep};
pub use self::seen::{Bearer, Request, Seen};
pub use self::transcript::{Totals, Transcript};
pub(crate) use self::urls::rebase_urls;

use self::core::Core;
use self::link::{CLOSE_TIMEOUT, Link};
use crate::Secrets;
use crate::sync::lock;

/// How long [`LocalService::send`] waits for a machine to connect.
const SEND_TIMEOUT: Duration = Duration::from_secs(60);

/// An error of the local service.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LocalServiceError {
    /// The service cannot listen on the address.
    #[error("cannot listen on {address}: {source}{}", crate::error::listen_hint(source))]
    Listen {
        /// The address as it was given.
        address: String,
        /// The reason.
        source: io::Error,
    },
    /// The certificate could not be generated or used.
    #[error("cannot generate a certificate for the local service: {reason}")]
    Tls {
        /// The reason.
        reason: String,
    },
    /// The URL for machines is not valid.
    #[error("the public URL is not usable: {reason}")]
    PublicUrl {
        /// What is wrong with it.
        reason: String,
    },
    /// Without TLS, the service is for this computer only.
    #[error("{address} can be reached from other computers, which needs TLS: machines send passwords")]
    PlainText {
        /// The address that it should listen on, or its public URL.
        address: String,
    },
    /// The kept root certificate cannot be read, written or used.
    #[error("cannot use the root certificate in {}: {reason}", .path.display())]
    KeptRoot {
        /// The file or folder.
        path: PathBuf,
        /// The reason.
        reason: String,
    },
    /// The pulse file could not be compressed, or a thread could not be started.
    #[error("cannot start the local service: {0}")]
    Start(#[source] io::Error),
    /// The script is not a JSON list.
    #[error("the script is not a JSON list of steps: {reason}")]
    ScriptSyntax {
        /// What is wrong.
        reason: String,
    },
    /// A step of the script is invalid.
    #[error("step {step} of the script: {reason}")]
    ScriptStep {
        /// Its number, counted from 1.
        step: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// No machine is connected.
    #[error("no machine is connected to the local service")]
    NotConnected,
}

/// A running local service. Dropping it stops it and joins its threads.
///
/// ```no_run
/// use std::time::Duration;
/// use gf_emulator_core::local_service::{LocalService, Script, Seen};
///
/// let service = LocalService::builder().tls(false).script(Script::default()).start()?;
/// println!("server_url: {}, status_service_url: {}", service.http_url(), service.ws_url());
/// let is_open = |seen: &[Seen]| seen.iter().any(|s| matches!(s, Seen::WsOpened { .. }));
/// if !service.wait_for(is_open, Duration::from_secs(60)) {
///     println!("no machine has connected within a minute");
/// }
/// service.stop();
/// # Ok::<(), gf_emulator_core::local_service::LocalServiceError>(())
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
    /// Returns the passwords and tokens of all machines, including those that sign in later. Code that records or
    /// prints what is seen must hide them.
    #[must_use]
    pub fn secrets(&self) -> Secrets {
        self.core.secrets.clone()
    }

    /// Returns a builder: TLS, a free port of 127.0.0.1, any credentials, no script.
    #[must_use]
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Returns the base URL, such as `https://localhost:40763`: `server_url` in a machine's configuration.
    #[must_use]
    pub fn http_url(&self) -> &str {
        &self.core.settings.http_url
    }

    /// Returns the base URL of the WebSocket, such as `wss://localhost:40763`: `status_service_url`.
    #[must_use]
    pub fn ws_url(&self) -> String {
        self.core.settings.ws_url()
    }

    /// Returns the URL of the pulse file, `/dl/job.puls`.
    #[must_use]
    pub fn puls_url(&self) -> String {
        self.core.settings.puls_url()
    }

    /// Returns the address that the service listens on.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Returns the root certificate that clients must trust (PEM), or `None` without TLS.
    #[must_use]
    pub fn ca_pem(&self) -> Option<&str> {
        self.ca_pem.as_deref()
    }

    /// Returns what was seen so far, in order: the last 16 MiB of it (1 GiB with [`Builder::keep_bodies`]).
    #[must_use]
    pub fn seen(&self) -> Vec<Seen> {
        self.core.history.all()
    }

    /// Returns how many of the oldest events [`seen`](Self::seen) no longer has.
    #[must_use]
    pub fn left_out(&self) -> u64 {
        self.core.history.dropped()
    }

    /// Waits until `done` returns true for [what was seen](Self::seen) so far. Returns `false` on timeout.
    ///
    /// `done` is called again after each event. It must not call the service.
    pub fn wait_for(&self, done: impl FnMut(&[Seen]) -> bool, timeout: Duration) -> bool {
        self.core.history.wait_for(done, timeout)
    }

    /// Sends an action to the machine that connected last, with the placeholders of a [`Script`] filled in. Waits up to
    /// 60 s for a machine to connect.
    ///
    /// # Errors
    /// [`LocalServiceError::NotConnected`] if no machine is connected within 60 s, or the connection breaks.
    pub fn send(&self, action: Value) -> Result<(), LocalServiceError> {
        let (machine, link) = self.core.machines.latest(SEND_TIMEOUT).ok_or(LocalServiceError::NotConnected)?;
        self.core.send(&machine, &link, action).map_err(|_| LocalServiceError::NotConnected)
    }

    /// Sends a text frame as it is, JSON or not.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn send_text(&self, text: &str) -> Result<(), LocalServiceError> {
        let (machine, link) = self.core.machines.latest(SEND_TIMEOUT).ok_or(LocalServiceError::NotConnected)?;
        self.core.send_text(&machine, &link, text).map_err(|_| LocalServiceError::NotConnected)
    }

    /// Sends a ping. The machine's answer is [`Seen::WsPong`].
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn ping(&self) -> Result<(), LocalServiceError> {
        let (_, link) = self.core.machines.latest(SEND_TIMEOUT).ok_or(LocalServiceError::NotConnected)?;
        link.ping().map_err(|_| LocalServiceError::NotConnected)
    }

    /// Cuts the WebSocket of the machine that connected last and waits until it is closed. Does nothing if there is
    /// none.
    pub fn drop_connection(&self, how: Cut) {
        if let Some(link) = self.detach_latest() {
            link.cut(how);
        }
    }

    /// Closes the WebSocket of the machine that connected last with this code, and waits until it is closed. The
    /// machine has 5 seconds to close its side.
    pub fn close(&self, code: u16) {
        self.close_within(code, CLOSE_TIMEOUT);
    }

    /// As [`close`](Self::close), with another time for the machine to close its side.
    pub fn close_within(&self, code: u16, timeout: Duration) {
        if let Some(link) = self.detach_latest() {
            link.close(code, timeout);
        }
    }

    /// Unregisters the link of the machine that connected last, if there is one.
    fn detach_latest(&self) -> Option<Arc<Link>> {
        let (machine, link) = self.core.machines.latest(Duration::ZERO)?;
        self.core.machines.detach(&machine, &link);
        Some(link)
    }

    /// Invalidates every `auth_token` issued so far: requests with one of them get 401.
    pub fn expire_tokens(&self) {
        self.core.machines.expire_auth_tokens();
    }

    /// Adds a fault of all machines. Of several that could happen, the one that was added first does.
    pub fn fault(&self, fault: Fault) {
        self.core.faults.add(fault);
    }

    /// Returns the seed of the faults.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.core.faults.seed()
    }

    /// Removes all faults, and sends every response that is held back.
    pub fn clear_faults(&self) {
        self.core.faults.clear();
    }

    /// Sends every response that is held back at the moment (see [`Failure::Hold`]).
    pub fn release(&self) {
        self.core.faults.release();
    }

    /// Waits until the script, [`Behaviour`] or replay has ended with every machine that has connected. Returns the first
    /// failure if there was one. A machine that left early counts only if the script ended with no other machine.
    ///
    /// Returns `None` on timeout (for example if no machine connects), if the service is stopped, or at once if it was
    /// built without script, behaviour and replay. A behaviour ends only with [`Behaviour::once`].
    #[must_use]
    pub fn outcome(&self, timeout: Duration) -> Option<Outcome> {
        self.core.task.as_ref()?;
        self.core.runs.outcome(timeout)
    }

    /// Stops the service: cuts every connection and joins every thread. Further calls of `stop` do nothing.
    pub fn stop(&self) {
        self.core.stop();
        if let Some(listener) = lock(&self.listener).take() {
            self.core.connections.wake_listener(self.addr);
            if listener.join().is_err() {
                log::error!("local service: the listener thread panicked");
            }
        }
        self.core.connections.join_threads();
    }
}

impl Drop for LocalService {
    fn drop(&mut self) {
        self.stop();
    }
}
