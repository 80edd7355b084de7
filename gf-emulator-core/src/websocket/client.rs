//! [`WsClient`]: the public handle of the WebSocket thread.

use std::sync::Arc;

use crossbeam_channel::{Sender, bounded};

use super::dial::Dialer;
use super::driver::Driver;
use super::outbox::Limits;
use super::queues::{MachineQueues, Peer};
use super::state::ClientState;
use super::stream::Socket;
use crate::net::http::Http;
use crate::net::poll::{Poll, Waker};
use crate::net::retry::{Backoff, retry};
use crate::net::{CancelToken, Link, Network, Tls};
use crate::record::Telemetry;
use crate::service::Session;
use crate::system::{self, Thread};
use crate::{Config, Error, Result, Secret};

/// A WebSocket to the service: one thread (`gf-websocket`) between a socket and the two queues of [`MachineQueues`].
///
/// It is what [`Emulator`](crate::Emulator) uses. Use it directly to write a message loop of your own: read actions
/// from rx, send events to tx. It carries messages only: for requests with the machine's token, such as uploads and the
/// firmware check, use an `Emulator`, with a [`Machine`](crate::Machine) or a table of your own.
///
/// ```
/// # #[cfg(feature = "local-service")]
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::time::Duration;
/// use gf_emulator_core::local_service::{LocalService, Script};
/// use gf_emulator_core::{Config, MachineQueues, Outgoing, Secret, WsClient};
///
/// let script = r#"[{"send": {"id": 7, "action_type": "hello", "status": "ready"}}, {"await": "hello:completed"}]"#;
/// let service = LocalService::builder().tls(false).script(Script::from_json(script)?).start()?;
///
/// let mut config = Config::default();
/// config.service.server_url = service.http_url().into();
/// config.service.status_service_url = service.ws_url();
/// config.machine.serial = 12_345_678;
/// config.machine.hostname = "my-machine".into();
/// config.machine.password = Secret::new("0123456789abcdef".repeat(4));
///
/// let (client, MachineQueues { rx, tx, .. }) = WsClient::connect(&config)?;
/// assert!(rx.recv()?.contains("hello"));
/// tx.send(Outgoing::event("{\"id\":32,\"event\":\"hello:completed\",\"action_id\":7}\n"))?;
/// assert!(service.outcome(Duration::from_secs(60)).is_some());
/// client.stop()?;
/// # Ok(())
/// # }
/// # #[cfg(not(feature = "local-service"))]
/// # fn main() {}
/// ```
///
/// # Connections
///
/// The client pings every 30 s and gives up a connection if no pong follows within 10 s. A lost connection is routine
/// (the service cuts about hourly): the client signs in and connects again until it is stopped. The pauses between
/// attempts grow from 0.5 s to 15 s after a lost connection, 60 s while the service is unreachable and 300 s while it
/// rejects the credentials; a `Retry-After` is honoured up to an hour. After a connection of at least 10 s they start
/// again at 0.5 s.
///
/// # Which messages may be lost
///
/// Messages are sent in order. A message that the operating system has not fully accepted when the connection is lost
/// is sent again on the next connection. One that it has accepted is not, because it may have arrived. So no message
/// arrives twice, but messages in transit may be lost when a connection breaks.
///
/// Messages wait in an outbox of 4096 messages or 8 MiB. They are dropped, and logged, only in these cases:
///
/// - When the connection is lost: the [progress](crate::Outgoing::progress) reports in the outbox.
/// - When the outbox is full: the oldest progress report, or the oldest [event](crate::Outgoing::event) if it has none.
/// - When the client stops: what it cannot send in time, or everything if there is no connection.
///
/// # Flow control
///
/// Frames of up to 1 MiB are queued in rx, which holds 16. While rx is full, the socket is neither read nor written,
/// but tx still accepts messages. A connection uses less than 32 MiB, whatever the service does.
#[derive(Debug)]
pub struct WsClient {
    thread: Option<Thread<Result<()>>>,
    /// Dropped to stop the thread.
    running: Option<Sender<()>>,
    waker: Waker,
}

impl WsClient {
    /// Checks the configuration, signs in, opens the WebSocket and starts its thread. The firmware is not checked.
    ///
    /// Blocks while the service is unreachable or busy, for up to `config.service.retry_for`.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] if the configuration is invalid; [`Error::Tls`], [`Error::File`] or [`Error::TooLarge`] if `ca_file`
    /// is not usable; otherwise as [`Emulator::connect`](crate::Emulator::connect), but for [`Error::Interrupted`] and
    /// [`Error::NotConnected`]: it cannot be cancelled.
    pub fn connect(config: &Config) -> Result<(Self, MachineQueues)> {
        config.check()?;
        let tls = Tls::new(config.service.ca_file.as_deref())?;
        let network = Network { tls, proxy: config.service.proxy.clone(), link: Link::default() };
        let http = || Http::new(network.clone(), &config.user_agent(), CancelToken::default(), Telemetry::default());
        let session = Arc::new(Session::new(config, http())?);
        let (queues, peer) = MachineQueues::in_memory();
        let client = Self::open(config, &session, http(), network.clone(), None, &peer)?;
        Ok((client, queues))
    }

    /// Opens the WebSocket of a session and starts its thread. Signs in first if there is no token, and again
    /// before each retry. Later sign-ins use `http`, whose cancel token ends an attempt to connect. After an error, `peer`
    /// can be used again.
    pub(crate) fn open(
        config: &Config,
        session: &Arc<Session>,
        http: Http,
        network: Network,
        mut token: Option<Secret>,
        peer: &Peer,
    ) -> Result<Self> {
        let (cancel, telemetry) = (http.cancel_token().clone(), http.telemetry().clone());
        let later_sessions = Arc::clone(session);
        let sign_in = move || {
            let tokens = later_sessions.credentials().sign_in(&http);
            // The next one may be an hour away.
            http.close_idle();
            Ok(later_sessions.websocket_url(&later_sessions.adopt(tokens?)))
        };
        let dialer = Dialer { sign_in: Arc::new(sign_in), network, user_agent: config.user_agent(), cancel };
        // A firmware download between sign-in and this may take longer than the token is valid for.
        let socket = retry("connecting", &dialer.cancel, &telemetry, config.service.retry_for, |left| {
            let token = match token.take() {
                Some(token) => token,
                None => session.adopt(session.credentials().sign_in_with_retries(session.http(), left)?),
            };
            dialer.dial(&session.websocket_url(&token))
        })?;
        Self::start(socket, dialer, config.service.status_service_url.clone(), telemetry, peer)
    }

    fn start(socket: Socket, dialer: Dialer, origin: String, telemetry: Telemetry, peer: &Peer) -> Result<Self> {
        let failed = |e| Error::no_thread("gf-websocket", &e);
        let poll = Poll::new().map_err(failed)?;
        let waker = poll.waker();
        let (running, stopped) = bounded(0);
        let driver = Driver {
            state: ClientState::new(Limits::default(), Backoff::default()),
            dialer,
            poll,
            rx: peer.tx.clone(),
            tx: peer.rx.clone(),
            stopped,
            telemetry,
            origin,
            socket: None,
            attempt: None,
            binary_frames: 0,
        };
        let thread = system::spawn("gf-websocket", move || driver.run(socket)).map_err(failed)?;
        // Each peer gets one client. Messages queued before this have woken nobody.
        let _ = peer.waker.set(waker.clone());
        waker.wake();
        Ok(Self { thread: Some(thread), running: Some(running), waker })
    }

    /// Sends what is queued, closes the WebSocket and joins the thread. Takes up to 1.5 s if the service does not read;
    /// what could not be sent is logged. Afterwards rx is disconnected and tx fails. Dropping the client does the same.
    ///
    /// # Errors
    ///
    /// [`Error::Thread`] if the thread had failed.
    pub fn stop(mut self) -> Result<()> {
        self.shut_down()
    }

    fn shut_down(&mut self) -> Result<()> {
        let Some(thread) = self.thread.take() else { return Ok(()) };
        self.running = None;
        self.waker.wake();
        thread.join().unwrap_or_else(|_| Err(Error::thread_panicked("gf-websocket")))
    }
}

impl Drop for WsClient {
    fn drop(&mut self) {
        if let Err(e) = self.shut_down() {
            log::error!("{e}");
        }
    }
}
