//! HTTP responses, and closing a connection so that the last one is not lost.

use std::net::Shutdown;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::socket::ServerSocket;

/// Up to this size a response's head and body are sent in one write.
pub(super) const ONE_WRITE_BYTES: usize = 64 * 1024;
/// How long [`linger`] reads what the peer still sends.
const LINGER_TIMEOUT: Duration = Duration::from_secs(2);

/// An HTTP response.
#[derive(Debug, Clone)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Arc<[u8]>,
}

impl Response {
    pub(crate) fn new(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Arc::default() }
    }

    pub(crate) fn text(status: u16, text: &str) -> Self {
        Self::new(status).with_header("Content-Type", "text/plain").with_body(text.as_bytes().into())
    }

    #[cfg(feature = "local-service")]
    pub(crate) fn json(value: &serde_json::Value) -> Self {
        Self::new(200).with_header("Content-Type", "application/json").with_body(value.to_string().into_bytes().into())
    }

    pub(crate) fn with_header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn with_body(mut self, body: Arc<[u8]>) -> Self {
        self.body = body;
        self
    }

    /// Returns the bytes before the body. `framing` is the header line that frames the body, CRLF included, or empty.
    pub(crate) fn head(&self, framing: &str) -> Vec<u8> {
        let reason = http::StatusCode::from_u16(self.status).ok().and_then(|status| status.canonical_reason());
        let mut text = format!("HTTP/1.1 {} {}\r\n", self.status, reason.unwrap_or("Unknown"));
        for (name, value) in &self.headers {
            text.extend([name, ": ", value, "\r\n"]);
        }
        text.extend([framing, "\r\n"]);
        let mut bytes = text.into_bytes();
        bytes.reserve(self.body.len().min(ONE_WRITE_BYTES));
        bytes
    }

    /// Returns the `Content-Length` header line.
    pub(crate) fn content_length(&self) -> String {
        format!("Content-Length: {}\r\n", self.body.len())
    }
}

/// Shuts down the sending side and discards input for up to 2 s: closing a socket with unread input sends a reset,
/// which can destroy the response on its way.
pub(crate) fn linger(socket: &ServerSocket) {
    socket.shutdown(Shutdown::Write);
    let deadline = Instant::now() + LINGER_TIMEOUT;
    while let Ok(1..) = socket.read_until(&mut [0; 8192], Some(deadline)) {}
}
