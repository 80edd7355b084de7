//! An HTTP client for one exchange at a time.
//!
//! ureq does HTTP over connections of [`net`](crate::net), so that the TLS connector is shared and every exchange can
//! be cancelled. Sign-in, tokens and redirects are handled in `service/session.rs`.
//!
//! # Time limits
//!
//! | what | limit |
//! |---|---|
//! | connecting: DNS, TCP, proxy and TLS | 10 s |
//! | a read or write that transfers nothing | 30 s |
//! | a whole exchange with a small response, connecting included | 60 s, plus 1 s for each 8 KiB of request body |
//! | the body of a download, after the response's header | 60 s, plus 1 s for each 8 KiB received |
//! | the rest of a response that is not needed | 2 s |
//!
//! They apply to every read and write of a connection ([`Limits`]), so that no peer can stall the machine by sending a
//! byte now and then.

mod limits;
mod message;
mod transport;

use std::io;
use std::sync::Mutex;
use std::time::Instant;

use http::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE};
use tungstenite::Bytes;

use self::limits::{CurrentExchange, ExchangeState, Limits};
pub(crate) use self::message::{Method, OnSent, Request, Response, parse_retry_after};
use self::message::{ReportedBody, unreachable_error};
use self::transport::{Dialer, NoResolver};
use crate::events::EmulatorEvent;
use crate::net::{CancelToken, Network, connection_error};
use crate::record::{PendingExchange, Telemetry};
use crate::sync::lock;
use crate::system;
use crate::{Error, Result};

/// The buffers of a connection, for each direction: as much as a TLS record. A response's header must fit.
const BUFFER_BYTES: usize = 16 << 10;

/// An HTTP client for one exchange at a time, all cancelled by one token.
pub(crate) struct Http {
    /// Has the connections that are kept open. `None`: there are none.
    agent: Mutex<Option<ureq::Agent>>,
    network: Network,
    cancel: CancelToken,
    user_agent: String,
    telemetry: Telemetry,
    current: CurrentExchange,
    limits: Limits,
}

impl Http {
    pub(crate) fn new(network: Network, user_agent: &str, cancel: CancelToken, telemetry: Telemetry) -> Self {
        Self::with_limits(network, user_agent, cancel, telemetry, Limits::default())
    }

    fn with_limits(
        network: Network,
        user_agent: &str,
        cancel: CancelToken,
        telemetry: Telemetry,
        limits: Limits,
    ) -> Self {
        let agent = Mutex::default();
        let user_agent = user_agent.to_owned();
        Self { agent, network, cancel, user_agent, telemetry, current: CurrentExchange::new(), limits }
    }

    fn agent(&self) -> ureq::Agent {
        lock(&self.agent).get_or_insert_with(|| self.new_agent()).clone()
    }

    fn new_agent(&self) -> ureq::Agent {
        let config = ureq::Agent::config_builder()
            .user_agent(&self.user_agent)
            // Redirects are followed in service/session.rs, which knows the hosts that may receive the token.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .http_status_as_error(false)
            .proxy(None)
            // Less than the buffer: otherwise the error would not say that the header is too large.
            .max_response_header_size(BUFFER_BYTES - 1)
            .input_buffer_size(BUFFER_BYTES)
            .output_buffer_size(BUFFER_BYTES)
            .max_idle_connections(2)
            .max_idle_connections_per_host(1)
            .build();
        let (network, cancel, current) = (self.network.clone(), self.cancel.clone(), self.current.clone());
        ureq::Agent::with_parts(config, Dialer { network, cancel, current, limits: self.limits }, NoResolver)
    }

    /// Closes the connections that are kept open for further requests. With TLS, one takes about 100 KiB.
    pub(crate) fn close_idle(&self) {
        *lock(&self.agent) = None;
        self.cancel.drop_cached_poll();
    }

    /// Creates a client like this one with a token of its own, for exchanges at the same time.
    pub(crate) fn another(&self) -> Self {
        let cancel = CancelToken::default();
        Self::with_limits(self.network.clone(), &self.user_agent, cancel, self.telemetry.clone(), self.limits)
    }

    pub(crate) fn cancel_token(&self) -> &CancelToken {
        &self.cancel
    }

    /// Returns the telemetry that requests are recorded through.
    pub(crate) fn telemetry(&self) -> &Telemetry {
        &self.telemetry
    }

    /// Returns the deadline of an exchange that starts now and sends `body`.
    pub(crate) fn deadline(&self, body: &Bytes) -> Instant {
        system::now() + self.limits.with_body(body.len() as u64)
    }

    /// Sends `request` and returns the response, whatever its status.
    pub(crate) fn send(&self, request: Request<'_>) -> Result<Response> {
        self.send_before(self.deadline(request.body), request)
    }

    /// Like [`send`](Self::send), with a deadline that several exchanges can share.
    pub(crate) fn send_before(&self, deadline: Instant, request: Request<'_>) -> Result<Response> {
        if self.cancel.is_cancelled() {
            return Err(Error::Interrupted);
        }
        let begun = system::now();
        self.current.begin(deadline);
        let mut exchange = PendingExchange::begin(&self.telemetry, &request.info(&self.user_agent));
        let result = self.exchange(request);
        match (&mut exchange, &result) {
            (Some(exchange), Ok(answer)) => exchange.set_response(answer.status().as_u16(), answer.headers()),
            (Some(exchange), Err(error)) => exchange.set_error(error),
            (None, _) => {}
        }
        let Request { method, url, .. } = request;
        self.telemetry.emit(|| EmulatorEvent::RequestMade {
            method: method.as_str(),
            url: self.telemetry.secrets().redact(&url.to_string()),
            status: result.as_ref().ok().map(|response| response.status().as_u16()),
            error: result.as_ref().err().map(|e| self.telemetry.secrets().redact(&e.to_string())),
            duration: system::now() - begun,
        });
        let inner = result?;
        Ok(Response {
            status: inner.status().as_u16(),
            url: url.clone(),
            method,
            inner,
            recording: exchange,
            current: self.current.clone(),
            limits: self.limits,
        })
    }

    /// Sends `request`, and again if it failed because the service had closed the kept-alive connection.
    fn exchange(&self, request: Request<'_>) -> Result<http::Response<ureq::Body>> {
        let Request { method, url, .. } = request;
        let shown = self.telemetry.secrets().redact(&url.to_string());
        log::debug!("{} {shown}", method.as_str());
        let mut result = self.send_once(request)?;
        if let Err(ureq::Error::Io(e)) = &result
            && method.is_idempotent()
            && self.is_stale_connection(e)
        {
            log::debug!("{} {shown}: retrying, the kept-alive connection was closed ({e})", method.as_str());
            result = self.send_once(request)?;
        }
        result.map_err(|e| match e {
            ureq::Error::Io(e) => connection_error(url, &e, &self.cancel),
            _ if self.cancel.is_cancelled() => Error::Interrupted,
            ureq::Error::Protocol(e) if !url.origin().scheme.is_encrypted() => unreachable_error(
                url,
                &format_args!(
                    "the answer is not valid HTTP ({e}): does this port use TLS? Then the address begins with https"
                ),
            ),
            other => unreachable_error(url, &other),
        })
    }

    /// Returns whether a request failed because the service had closed the connection after the previous one.
    fn is_stale_connection(&self, e: &io::Error) -> bool {
        let ExchangeState { has_new_connection, has_response, .. } = *self.current.lock();
        !has_new_connection && !has_response && e.kind() != io::ErrorKind::TimedOut && !self.cancel.is_cancelled()
    }

    fn send_once(&self, request: Request<'_>) -> Result<std::result::Result<http::Response<ureq::Body>, ureq::Error>> {
        let Request { method, url, bearer, content_type, body, .. } = request;
        let mut reported = ReportedBody::new(&request);
        let mut builder = http::Request::builder().method(method.as_str()).uri(url.to_string_with_query());
        if let Some(bearer) = bearer {
            builder = builder.header(AUTHORIZATION, format!("Bearer {}", bearer.reveal()));
        }
        if let Some(content_type) = content_type {
            builder = builder.header(CONTENT_TYPE, content_type);
        }
        let result = match method {
            Method::Get => builder.body(()).map(|request| self.agent().run(request)),
            Method::Post | Method::Put => builder
                .header(CONTENT_LENGTH, body.len())
                .body(ureq::SendBody::from_reader(&mut reported))
                .map(|request| self.agent().run(request)),
        };
        result.map_err(|_| Error::Url { url: url.to_string(), reason: "it does not form a valid HTTP request" })
    }
}

#[cfg(test)]
mod tests;
