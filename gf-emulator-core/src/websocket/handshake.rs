//! Opening a WebSocket on a connection that stands: one GET and its 101.
//!
//! tungstenite has a handshake too, and logs the request at `trace` with the single-use token in its path. This one logs
//! nothing, and takes no more of an answer than an answer is long.

use std::io::{self, Read, Write};
use std::time::{Duration, SystemTime};

use http::header::HeaderValue;
use tungstenite::handshake::client::generate_key;
use tungstenite::handshake::derive_accept_key;

use crate::net::Stream;
use crate::net::http::parse_retry_after;
use crate::net::url::Url;

const SUBPROTOCOL: &str = "glowforge";
const LARGEST_HEAD: usize = 16 << 10;
const MOST_HEADERS: usize = 64;

/// Why there is no WebSocket.
pub(crate) enum Failure {
    /// The service answered with another status, and perhaps how long to wait.
    Status(u16, Option<Duration>),
    /// It answered with something that is no such answer.
    Answer(&'static str),
    /// The connection failed.
    Io(io::Error),
}

impl From<io::Error> for Failure {
    fn from(e: io::Error) -> Self {
        Self::Io(e)
    }
}

/// A connection that has been upgraded.
pub(crate) struct Opened {
    pub(crate) stream: Stream,
    /// What came with the answer: frames.
    pub(crate) early: Vec<u8>,
}

/// Asks for a WebSocket at `url` over `stream`.
pub(crate) fn open(mut stream: Stream, url: &Url, user_agent: &HeaderValue) -> Result<Opened, Failure> {
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
    let mut answer = Vec::new();
    let head = loop {
        let mut piece = [0; 1024];
        match stream.read(&mut piece) {
            Ok(0) => return Err(Failure::Io(io::ErrorKind::UnexpectedEof.into())),
            Ok(n) => answer.extend_from_slice(&piece[..n]),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(e.into()),
        }
        if let Some(length) = check(&answer, &key)? {
            break length;
        }
        if answer.len() > LARGEST_HEAD {
            return Err(Failure::Answer("its answer has no end"));
        }
    };
    // The first action may have come in the same breath.
    let early = answer.split_off(head);
    Ok(Opened { stream, early })
}

/// The length of a head that agrees; none where it is not whole yet.
fn check(answer: &[u8], key: &str) -> Result<Option<usize>, Failure> {
    let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
    let mut response = httparse::Response::new(&mut headers);
    let length = match response.parse(answer) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(_) => return Err(Failure::Answer("its answer is not HTTP")),
    };
    let header = |name: &str| {
        let found = response.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name));
        found.and_then(|header| std::str::from_utf8(header.value).ok()).map(str::trim)
    };
    let status = response.code.unwrap_or_default();
    if status != 101 {
        let asked = header("retry-after").and_then(|value| parse_retry_after(value, SystemTime::now()));
        return Err(Failure::Status(status, asked));
    }
    let has = |name, token: &str| {
        header(name).is_some_and(|value| value.split(',').any(|part| part.trim().eq_ignore_ascii_case(token)))
    };
    if !has("upgrade", "websocket") || !has("connection", "upgrade") {
        return Err(Failure::Answer("it did not upgrade the connection"));
    }
    if header("sec-websocket-accept") != Some(derive_accept_key(key.as_bytes()).as_str()) {
        return Err(Failure::Answer("its Sec-WebSocket-Accept is not for our key"));
    }
    if header("sec-websocket-protocol").is_some_and(|chosen| chosen != SUBPROTOCOL) {
        return Err(Failure::Answer("it chose another subprotocol"));
    }
    if header("sec-websocket-extensions").is_some() {
        return Err(Failure::Answer("it chose an extension that nobody offered"));
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
    fn takes_an_answer_for_what_it_is() {
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
            assert!(matches!(check(GOOD.replace(from, to).as_bytes(), KEY), Err(Failure::Answer(_))), "{from} -> {to}");
        }
        let busy = b"HTTP/1.1 503 Busy\r\nRetry-After: 7\r\n\r\n";
        let seven = Duration::from_secs(7);
        assert!(matches!(check(busy, KEY), Err(Failure::Status(503, Some(asked))) if asked == seven));
    }

    proptest! {
        #[test]
        fn no_answer_makes_it_panic(answer in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = check(&answer, KEY);
        }
    }
}
