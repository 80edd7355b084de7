//! HTTP/1.1 as a server speaks it: requests off a connection, answers onto it.
//!
//! It knows no routes. Everything that a peer can make large has a limit here.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::wire::Stream;

/// Longest request head taken, in bytes.
pub(crate) const HEAD_LIMIT_BYTES: usize = 32 * 1024;
/// Most header lines taken.
const HEADERS_LIMIT: usize = 64;
/// Longest path taken, in bytes, without the query.
const PATH_LIMIT_BYTES: usize = 1024;
/// Headers that a request may have once at most.
const SINGLE_HEADERS: [&str; 5] = ["authorization", "content-type", "host", "sec-websocket-key", "transfer-encoding"];
/// Longest line between chunks (a size with its extensions, a trailer), and most trailers.
const CHUNK_LINE_LIMIT_BYTES: usize = 1024;
/// Most bytes of all lines between the chunks of a body, beyond 16 for each byte of the body.
const CHUNK_LINES_LIMIT_BYTES: u64 = 64 * 1024;
/// How much of a body is read at a time.
const BLOCK_BYTES: usize = 64 * 1024;
/// How long the rest of a refused request is read, so that the answer is not lost to a reset.
const LINGER: Duration = Duration::from_secs(2);
/// Up to this size an answer's head and body leave in one write.
const ONE_WRITE_BYTES: usize = 64 * 1024;

/// The head of a request.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) method: String,
    /// The path as it was sent, without the query.
    pub(crate) path: String,
    pub(crate) query: Option<String>,
    /// Names in lower case, in the order in which they came.
    pub(crate) headers: Vec<(String, String)>,
    http_1_0: bool,
}

impl Head {
    /// The first header of that (lower case) name.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(have, _)| have == name).map(|(_, value)| value.as_str())
    }

    /// Whether one of a header's comma-separated words is this one, in any case.
    pub(crate) fn header_has(&self, name: &str, word: &str) -> bool {
        let mut values = self.headers.iter().filter(|(have, _)| have == name);
        values.any(|(_, value)| value.split(',').any(|have| have.trim().eq_ignore_ascii_case(word)))
    }

    pub(crate) fn keeps_alive(&self) -> bool {
        if self.http_1_0 {
            self.header_has("connection", "keep-alive")
        } else {
            !self.header_has("connection", "close")
        }
    }
}

/// Why no request could be had.
#[derive(Debug)]
pub(crate) enum Broken {
    /// The peer is gone, or was silent for too long.
    Gone,
    /// The peer is to be told so, and the connection ends.
    Refused { status: u16, reason: &'static str },
}

impl From<io::Error> for Broken {
    fn from(_: io::Error) -> Self {
        Self::Gone
    }
}

const fn refused(status: u16, reason: &'static str) -> Broken {
    Broken::Refused { status, reason }
}

/// How long a request's body is.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
pub(crate) enum Length {
    Known(u64),
    Chunked,
}

impl Length {
    pub(crate) fn of(head: &Head) -> Result<Self, Broken> {
        let mut lengths = head.headers.iter().filter(|(name, _)| name == "content-length").map(|(_, value)| value);
        let length = lengths.next();
        if lengths.any(|other| Some(other) != length) {
            return Err(refused(400, "more than one Content-Length"));
        }
        match (head.header("transfer-encoding"), length) {
            (Some(_), _) if head.http_1_0 => Err(refused(400, "HTTP/1.0 has no Transfer-Encoding")),
            (None, None) => Ok(Self::Known(0)),
            (None, Some(text)) if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) => {
                text.parse().map(Self::Known).map_err(|_| refused(413, "the body is too large"))
            }
            (None, Some(_)) => Err(refused(400, "Content-Length is not a number")),
            (Some(coding), None) if coding.eq_ignore_ascii_case("chunked") => Ok(Self::Chunked),
            (Some(_), None) => Err(refused(501, "the only transfer coding known here is chunked")),
            (Some(_), Some(_)) => Err(refused(400, "both Content-Length and Transfer-Encoding")),
        }
    }
}

/// One connection, and what was read of it and not used yet.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: Stream,
    buffer: Vec<u8>,
    used: usize,
}

impl Connection {
    pub(crate) fn new(stream: Stream) -> Self {
        Self { stream, buffer: Vec::new(), used: 0 }
    }

    /// The stream, and what was read past the last request.
    pub(crate) fn into_parts(mut self) -> (Stream, Vec<u8>) {
        self.buffer.drain(..self.used);
        (self.stream, self.buffer)
    }

    pub(crate) fn stream(&mut self) -> &mut Stream {
        &mut self.stream
    }

    /// Reads more into the buffer; an end here is the peer's going.
    fn fill(&mut self) -> Result<(), Broken> {
        // What was used goes first: else the buffer would grow for as long as there is always something left in it.
        self.buffer.drain(..self.used);
        self.used = 0;
        let mut block = [0; 8192];
        match self.stream.read(&mut block)? {
            0 => Err(Broken::Gone),
            count => {
                self.buffer.extend_from_slice(&block[..count]);
                Ok(())
            }
        }
    }

    /// The next request's head.
    pub(crate) fn read_head(&mut self) -> Result<Head, Broken> {
        loop {
            if self.used < self.buffer.len() {
                let mut lines = [httparse::EMPTY_HEADER; HEADERS_LIMIT];
                let mut request = httparse::Request::new(&mut lines);
                match request.parse(&self.buffer[self.used..]) {
                    Ok(httparse::Status::Complete(length)) => {
                        let head = head_of(&request)?;
                        self.used += length;
                        return Ok(head);
                    }
                    Ok(httparse::Status::Partial) if self.buffer.len() - self.used < HEAD_LIMIT_BYTES => {}
                    Ok(httparse::Status::Partial) => return Err(refused(431, "the request's head is too long")),
                    Err(httparse::Error::TooManyHeaders) => return Err(refused(431, "too many headers")),
                    Err(_) => return Err(refused(400, "not an HTTP/1.1 request")),
                }
            }
            self.fill()?;
        }
    }

    /// The body that belongs to a head, at most `limit` bytes of it.
    pub(crate) fn read_body(&mut self, length: Length, limit: u64) -> Result<Vec<u8>, Broken> {
        let mut body = Vec::new();
        self.read_body_to(length, limit, &mut |bytes| body.extend_from_slice(bytes))?;
        Ok(body)
    }

    /// Hands the body that belongs to a head to `take`, as it arrives; it may have `limit` bytes at most. Gives its
    /// length.
    pub(crate) fn read_body_to(
        &mut self,
        length: Length,
        limit: u64,
        take: &mut dyn FnMut(&[u8]),
    ) -> Result<u64, Broken> {
        match length {
            Length::Known(count) if count > limit => Err(refused(413, "the body is too large")),
            Length::Known(count) => self.read_exactly(count, take).map(|()| count),
            Length::Chunked => self.read_chunks(limit, take),
        }
    }

    fn read_chunks(&mut self, limit: u64, take: &mut dyn FnMut(&[u8])) -> Result<u64, Broken> {
        let (mut body_bytes, mut line_bytes) = (0, 0);
        loop {
            let line = self.read_line()?;
            let size = chunk_size(&line).ok_or(refused(400, "a chunk's size is not a number"))?;
            if size == 0 {
                self.skip_trailers()?;
                return Ok(body_bytes);
            }
            if size > limit.saturating_sub(body_bytes) {
                return Err(refused(413, "the body is too large"));
            }
            body_bytes += size;
            line_bytes += line.len() as u64;
            if line_bytes > CHUNK_LINES_LIMIT_BYTES.saturating_add(body_bytes.saturating_mul(16)) {
                return Err(refused(413, "the lines between chunks are too long"));
            }
            self.read_exactly(size, take)?;
            if !self.read_line()?.is_empty() {
                return Err(refused(400, "a chunk is longer than its size"));
            }
        }
    }

    /// Hands `count` bytes to `take`, as they arrive.
    fn read_exactly(&mut self, count: u64, take: &mut dyn FnMut(&[u8])) -> Result<(), Broken> {
        let have = self.buffer.len() - self.used;
        let first = usize::try_from(count).map_or(have, |count| count.min(have));
        take(&self.buffer[self.used..self.used + first]);
        self.used += first;
        let mut rest = count - first as u64;
        let mut block = vec![0; usize::try_from(rest).map_or(BLOCK_BYTES, |rest| rest.min(BLOCK_BYTES))];
        while rest > 0 {
            let wanted = usize::try_from(rest).map_or(block.len(), |rest| rest.min(block.len()));
            let read = self.stream.read(&mut block[..wanted])?;
            if read == 0 {
                return Err(Broken::Gone);
            }
            take(&block[..read]);
            rest -= read as u64;
        }
        Ok(())
    }

    /// A line without its end.
    fn read_line(&mut self) -> Result<Vec<u8>, Broken> {
        loop {
            let unread = &self.buffer[self.used..];
            if let Some(end) = unread.iter().position(|byte| *byte == b'\n') {
                let line = unread[..end].strip_suffix(b"\r").ok_or(refused(400, "a line ends without CR"))?.to_vec();
                self.used += end + 1;
                return Ok(line);
            }
            if unread.len() > CHUNK_LINE_LIMIT_BYTES {
                return Err(refused(400, "a line between chunks is too long"));
            }
            self.fill()?;
        }
    }

    fn skip_trailers(&mut self) -> Result<(), Broken> {
        for _ in 0..HEADERS_LIMIT {
            if self.read_line()?.is_empty() {
                return Ok(());
            }
        }
        Err(refused(431, "too many trailers"))
    }

    /// Sends an answer, in one write where it is small.
    pub(crate) fn write(&mut self, answer: &Answer, length: &str) -> io::Result<()> {
        let mut head = answer.head(length);
        if answer.body.len() <= ONE_WRITE_BYTES {
            head.extend_from_slice(&answer.body);
            return self.stream.write_all(&head);
        }
        self.stream.write_all(&head)?;
        self.stream.write_all(&answer.body)
    }

    /// Ends the connection in order: the peer still gets what was sent, though it may not have sent all it meant to.
    pub(crate) fn finish(mut self) {
        self.stream.say_goodbye();
        linger(&self.stream.socket());
    }
}

/// Ends the sending side, and reads on for a while: with something unread, a close would be a reset, and what was sent
/// last be lost.
pub(crate) fn linger(socket: &TcpStream) {
    if socket.shutdown(Shutdown::Write).is_err() {
        return;
    }
    let deadline = Instant::now() + LINGER;
    let mut block = [0; 8192];
    while let Some(left) = deadline.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
        let ready = socket.set_read_timeout(Some(left)).and_then(|()| super::wire::read_socket(socket, &mut block));
        if !matches!(ready, Ok(count) if count > 0) {
            break;
        }
    }
}

fn head_of(request: &httparse::Request<'_, '_>) -> Result<Head, Broken> {
    let bad = || refused(400, "not an HTTP/1.1 request");
    let target = request.path.ok_or_else(bad)?;
    let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
    if !path.starts_with('/') || path.starts_with("//") || target.contains('#') {
        return Err(refused(400, "the request's target is not a path"));
    }
    if path.len() > PATH_LIMIT_BYTES {
        return Err(refused(414, "the path is too long"));
    }
    let mut headers = Vec::with_capacity(request.headers.len());
    for line in request.headers.iter() {
        let value = std::str::from_utf8(line.value).map_err(|_| refused(400, "a header is not text"))?;
        headers.push((line.name.to_ascii_lowercase(), value.to_owned()));
    }
    for single in SINGLE_HEADERS {
        if headers.iter().filter(|(name, _)| name == single).count() > 1 {
            return Err(refused(400, "a header that may come once came twice"));
        }
    }
    let head = Head {
        method: request.method.ok_or_else(bad)?.to_owned(),
        path: path.to_owned(),
        query: query.map(str::to_owned),
        headers,
        http_1_0: request.version == Some(0),
    };
    match head.header("host") {
        Some(host) if !is_host(host) => Err(refused(400, "Host is not a host and a port")),
        None if !head.http_1_0 => Err(refused(400, "a Host header is missing")),
        _ => Ok(head),
    }
}

/// Whether this is a host, with or without a port: `localhost:8080`, `[::1]`.
fn is_host(value: &str) -> bool {
    let (host, port) = match value.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (value, None),
    };
    // parse() alone would take a sign.
    let port_good = port.is_none_or(|port| port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok());
    let named = |host: &str| host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b));
    let host_good = match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => !host.is_empty() && named(host),
    };
    port_good && host_good
}

fn chunk_size(line: &[u8]) -> Option<u64> {
    let digits = line.split(|byte| *byte == b';').next()?;
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

/// What a request is answered with.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Arc<[u8]>,
}

impl Answer {
    pub(crate) fn new(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Arc::default() }
    }

    pub(crate) fn text(status: u16, text: &str) -> Self {
        Self::new(status).with("Content-Type", "text/plain").holding(text.as_bytes().into())
    }

    pub(crate) fn json(value: &serde_json::Value) -> Self {
        Self::new(200).with("Content-Type", "application/json").holding(value.to_string().into_bytes().into())
    }

    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn holding(mut self, body: Arc<[u8]>) -> Self {
        self.body = body;
        self
    }

    /// The bytes before the body; `length` is the header line that says how long the body is, or nothing.
    pub(crate) fn head(&self, length: &str) -> Vec<u8> {
        let reason = http::StatusCode::from_u16(self.status).ok().and_then(|status| status.canonical_reason());
        let mut text = format!("HTTP/1.1 {} {}\r\n", self.status, reason.unwrap_or("Unknown"));
        for (name, value) in &self.headers {
            text.extend([name, ": ", value, "\r\n"]);
        }
        text.extend([length, "\r\n"]);
        let mut bytes = text.into_bytes();
        bytes.reserve(self.body.len().min(ONE_WRITE_BYTES));
        bytes
    }

    /// The header line with the body's true length.
    pub(crate) fn true_length(&self) -> String {
        format!("Content-Length: {}\r\n", self.body.len())
    }
}
