//! [`Dialer`]: opens connections, each with a sign-in for its single-use token.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, TryRecvError, bounded};
use http::header::HeaderValue;

use super::handshake::{self, Failure, Upgraded};
use super::stream::{self, Socket};
use crate::net::poll::Waker;
use crate::net::url::Url;
use crate::net::{CancelToken, Network, connection_error, dial};
use crate::system::{self, Thread};
use crate::{Error, Result};

const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(15);

/// Everything needed to open a connection.
#[derive(Clone)]
pub(super) struct Dialer {
    /// Signs in and returns the URL of the next connection, token included.
    pub(super) sign_in: Arc<dyn Fn() -> Result<Url> + Send + Sync>,
    pub(super) network: Network,
    pub(super) user_agent: String,
    /// Ends an attempt, sign-in included.
    pub(super) cancel: CancelToken,
}

impl Dialer {
    /// Opens a WebSocket to `url`.
    pub(super) fn dial(&self, url: &Url) -> Result<Socket> {
        let origin = url.origin();
        let failed = |e| connection_error(origin, &e, &self.cancel);
        let deadline = system::now() + HANDSHAKE_TIMEOUT;
        let stream = dial(origin, &self.network, deadline, &self.cancel).map_err(failed)?;
        let user_agent = HeaderValue::from_str(&self.user_agent).map_err(|_| Error::Url {
            url: origin.to_string(),
            reason: "the User-Agent is not a valid header value",
        })?;
        let Upgraded { mut stream, early } =
            handshake::upgrade(stream, url, &user_agent).map_err(|failure| match failure {
                Failure::Status(status, retry_after) => {
                    Error::Status { method: "GET", url: origin.to_string(), status, retry_after }
                }
                Failure::Response(what) => Error::Answer { from: origin.to_string(), what: what.into() },
                Failure::Io(e) if e.kind() == io::ErrorKind::TimedOut => {
                    failed(io::Error::new(e.kind(), "the WebSocket handshake timed out"))
                }
                Failure::Io(e) => failed(e),
            })?;
        // A stop cancels an attempt at once; an open connection has messages to flush and a Close to send.
        stream.detach().map_err(failed)?;
        Ok(stream::open(stream, early))
    }

    /// Signs in and opens a WebSocket on a thread of its own; `waker` is woken once there is a result.
    pub(super) fn spawn(self, waker: Waker) -> io::Result<Attempt> {
        let (sender, result) = bounded(1);
        let reply = Reply { sender: Some(sender), waker };
        let thread = system::spawn("gf-dial", move || {
            let result = (self.sign_in)().and_then(|url| self.dial(&url));
            if let Some(sender) = &reply.sender {
                // The receiver is gone if the client was stopped meanwhile.
                let _ = sender.send(result);
            }
        })?;
        Ok(Attempt { thread, result })
    }
}

/// An attempt to connect that is under way.
pub(super) struct Attempt {
    thread: Thread<()>,
    result: Receiver<Result<Socket>>,
}

impl Attempt {
    /// Returns the result if there is one.
    pub(super) fn result(&self) -> Option<Result<Socket>> {
        match self.result.try_recv() {
            Ok(result) => Some(result),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => Some(Err(Error::thread_panicked("gf-dial"))),
        }
    }

    /// Joins the thread; returns soon if there is a result or the attempt was cancelled.
    pub(super) fn join(self) {
        // A panic is the attempt's result.
        let _ = self.thread.join();
    }
}

/// Sends the result. When it is dropped, also by a panic, the receiver is disconnected and woken.
struct Reply {
    sender: Option<Sender<Result<Socket>>>,
    waker: Waker,
}

impl Drop for Reply {
    fn drop(&mut self) {
        self.sender = None;
        self.waker.wake();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::Tls;
    use crate::net::poll::{Interest, Poll};

    #[test]
    fn a_panic_is_the_result_of_the_attempt() {
        let mut poll = Poll::new().unwrap();
        let dialer = Dialer {
            sign_in: Arc::new(|| panic!("a bug in the sign-in")),
            network: Network { tls: Tls::new(None).unwrap(), proxy: None, link: crate::Link::default() },
            user_agent: String::new(),
            cancel: CancelToken::default(),
        };
        let attempt = dialer.spawn(poll.waker()).unwrap();
        let result = loop {
            match attempt.result() {
                Some(result) => break result,
                None => poll.wait(Interest::Readable, None).unwrap(),
            }
        };
        assert!(matches!(result, Err(Error::Thread { thread: "gf-dial", .. })));
        attempt.join();
    }
}
