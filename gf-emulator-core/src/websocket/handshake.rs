//! The opening handshake (RFC 6455, 4.1): one GET and its 101.
//!
//! tungstenite's own handshake logs the request at `trace`, single-use token included. This one logs nothing and limits
//! the size of the response.

use std::io::{self, Read, Write};
use std::time::Duration;

use http::header::HeaderValue;
use tungstenite::handshake::client::generate_key;
use tungstenite::handshake::derive_accept_key;

use crate::net::Stream;
use crate::net::http::parse_retry_after;
use crate::net::url::Url;
use crate::system;

/// From the public clients' sources.
const SUBPROTOCOL: &str = "glowforge";
const MAX_HEAD_BYTES: usize = 16 << 10;
const MAX_HEADERS: usize = 64;

/// Why the handshake failed.
pub(super) enum Failure {
    /// Another status than 101, and the `Retry-After` header.
    Status(u16, Option<Duration>),
    /// The response is not a valid answer to the handshake.
    Response(&'static str),
    /// The connection failed.
    Io(io::Error),
}

impl From<io::Error> for Failure {
    fn from(e: io::Error) -> Self {
        Self::Io(e)
    }
}

/// An upgraded connection.
pub(super) struct Upgraded {
    pub(super) stream: Stream,
    /// What arrived behind the response: the first frames.
    pub(super) early: Vec<u8>,
}

/// Performs the handshake for `url` over `stream`.
pub(super) fn upgrade(mut stream: Stream, url: &Url, user_agent: &HeaderValue) -> Result<Upgraded, Failure> {
    let key = generate_key();
    let mut request = format!(
        "GET {} HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Protocol: {SUBPROTOCOL}\r\nUser-Agent: ",
        url.target(),
        url.origin().authority(),
    )
    .into_bytes();
    request.extend_from_slice(user_agent.as_bytes());
    request.extend_from_slice(b"\r\n\r\n");
    stream.write_all(&request)?;
    stream.flush()?;
    let mut response = Vec::new();
    let head_bytes = loop {
        let mut buffer = [0; 1024];
        match stream.read(&mut buffer) {
            Ok(0) => return Err(Failure::Io(io::ErrorKind::UnexpectedEof.into())),
            Ok(n) => response.extend_from_slice(&buffer[..n]),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(e.into()),
        }
        if let Some(length) = check(&response, &key)? {
            break length;
        }
        if response.len() > MAX_HEAD_BYTES {
            return Err(Failure::Response("a response head of more than 16 KiB"));
        }
    };
    let early = response.split_off(head_bytes);
    Ok(Upgraded { stream, early })
}

/// Checks a response and returns the length of its head; `None` while the head is incomplete.
fn check(bytes: &[u8], key: &str) -> Result<Option<usize>, Failure> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut response = httparse::Response::new(&mut headers);
    let length = match response.parse(bytes) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(_) => return Err(Failure::Response("a response that is not HTTP")),
    };
    let header = |name: &str| {
        let found = response.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name));
        found.and_then(|header| std::str::from_utf8(header.value).ok()).map(str::trim)
    };
    let status = response.code.unwrap_or_default();
    if status != 101 {
        let retry_after = header("retry-after").and_then(|value| parse_retry_after(value, system::wall_clock()));
        return Err(Failure::Status(status, retry_after));
    }
    let has = |name, token: &str| {
        header(name).is_some_and(|value| value.split(',').any(|part| part.trim().eq_ignore_ascii_case(token)))
    };
    if !has("upgrade", "websocket") || !has("connection", "upgrade") {
        return Err(Failure::Response("no upgrade to WebSocket"));
    }
    if header("sec-websocket-accept") != Some(derive_accept_key(key.as_bytes()).as_str()) {
        return Err(Failure::Response("a Sec-WebSocket-Accept that does not match the key"));
    }
    if header("sec-websocket-protocol").is_some_and(|chosen| chosen != SUBPROTOCOL) {
        return Err(Failure::Response("another subprotocol"));
    }
    if header("sec-websocket-extensions").is_some() {
        return Err(Failure::Response("an extension that was not offered"));
    }
    Ok(Some(length))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    // The example of RFC 6455, section 1.3.
    const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
    const GOOD: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: WebSocket\r\nConnection: keep-alive, Upgrade\r\n\
                        Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: glowforge\r\n\r\n";

    #[test]
    fn accepts_valid_responses_and_rejects_others() {
        assert!(matches!(check(GOOD.as_bytes(), KEY), Ok(Some(n)) if n == GOOD.len()));
        assert!(matches!(check(format!("{GOOD}more").as_bytes(), KEY), Ok(Some(n)) if n == GOOD.len()));
        assert!(matches!(check(&GOOD.as_bytes()[..GOOD.len() - 1], KEY), Ok(None)));
        for (from, to) in [
            ("Upgrade: WebSocket", "Upgrade: h2c"),
            ("keep-alive, Upgrade", "close"),
            ("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", "s3pPLMBiTxaQ9kYGzzhZRbK+xOO="),
            ("Protocol: glowforge", "Protocol: other"),
            ("\r\n\r\n", "\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n"),
            ("HTTP/1.1", "SMTP"),
        ] {
            assert!(
                matches!(check(GOOD.replace(from, to).as_bytes(), KEY), Err(Failure::Response(_))),
                "{from} -> {to}"
            );
        }
        let busy = b"HTTP/1.1 503 Busy\r\nRetry-After: 7\r\n\r\n";
        let seven = Duration::from_secs(7);
        assert!(matches!(check(busy, KEY), Err(Failure::Status(503, Some(pause))) if pause == seven));
    }

    proptest! {
        #[test]
        fn never_panics(response in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = check(&response, KEY);
        }
    }
}
