//! Making a connection: signing in for a token, TCP, TLS, the WebSocket's handshake.

use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};
use http::header::HeaderValue;

use super::stream::{self, Socket};
use crate::net::poll::Waker;
use crate::net::url::Url;
use crate::net::{CancelToken, Network, connection_error, dial};
use crate::record::RecorderSlot;
use crate::websocket::handshake::{self, Failure, Opened};
use crate::{Error, Result};

const HANDSHAKE_WITHIN: Duration = Duration::from_secs(15);
/// Where the next connection goes: signs in, and gives the address with its single-use token.
pub(crate) type Address = Arc<dyn Fn() -> Result<Url> + Send + Sync>;

/// What it takes to connect.
#[derive(Clone)]
pub(crate) struct Route {
    /// Where that is, without the token: for people.
    pub(crate) origin: String,
    pub(crate) address: Address,
    pub(crate) network: Network,
    pub(crate) user_agent: String,
    /// Ends a dial that is under way, sign-in included.
    pub(crate) cancel: CancelToken,
    pub(crate) tap: RecorderSlot,
}

impl Route {
    pub(super) fn dial(&self) -> Result<Socket> {
        self.dial_to(&(self.address)()?)
    }

    /// Connects to an address that is known already.
    pub(crate) fn dial_to(&self, url: &Url) -> Result<Socket> {
        let origin = url.origin();
        let failed = |e| connection_error(origin, &e, &self.cancel);
        let deadline = Instant::now() + HANDSHAKE_WITHIN;
        let stream = dial(origin, &self.network, deadline, &self.cancel).map_err(failed)?;
        let user_agent = HeaderValue::from_str(&self.user_agent)
            .map_err(|_| Error::Url { url: origin.to_string(), reason: "the User-Agent is not a header value" })?;
        let opened = handshake::open(stream, url, &user_agent);
        let Opened { mut stream, early } = opened.map_err(|failure| match failure {
            Failure::Status(status, retry_after) => {
                Error::Status { method: "GET", url: origin.to_string(), status, retry_after }
            }
            Failure::Answer(what) => Error::Answer { from: origin.to_string(), what: what.into() },
            Failure::Io(e) if e.kind() == io::ErrorKind::TimedOut => {
                failed(io::Error::new(e.kind(), "the WebSocket handshake took too long"))
            }
            Failure::Io(e) => failed(e),
        })?;
        // A stop ends a dial at once, but what is connected has messages to flush and a Close to send.
        stream.detach().map_err(failed)?;
        Ok(stream::open(stream, early))
    }

    /// Dials in a thread of its own, so that the caller can do other things meanwhile. Whoever waits for the outcome is
    /// woken when it is there, and also when there will be none.
    pub(super) fn dial_apart(self, waker: Waker) -> io::Result<(JoinHandle<()>, Receiver<Result<Socket>>)> {
        let (sender, outcome) = bounded(1);
        let report = Report { sender: Some(sender), waker };
        let thread = thread::Builder::new().name("gf-dial".into()).spawn(move || report.send(self.dial()))?;
        Ok((thread, outcome))
    }
}

/// Reports the outcome of a dial. Dropped without one (the dial has panicked), it disconnects the receiver and wakes it.
struct Report {
    sender: Option<Sender<Result<Socket>>>,
    waker: Waker,
}

impl Report {
    fn send(&self, outcome: Result<Socket>) {
        if let Some(sender) = &self.sender {
            // Nobody receives where it was stopped meanwhile.
            let _ = sender.send(outcome);
        }
    }
}

impl Drop for Report {
    fn drop(&mut self) {
        self.sender = None;
        self.waker.wake();
    }
}
