//! Reading HTTP/1.1 requests from a connection. Everything whose size the peer chooses has a limit.

use std::io::{self, Read, Write};

use super::response::{ONE_WRITE_BYTES, Response, linger};
use super::stream::ServerStream;

/// Maximum size of a request head, in bytes.
const HEAD_LIMIT_BYTES: usize = 32 * 1024;
/// Maximum number of header lines.
const HEADERS_LIMIT: usize = 64;
/// Maximum length of a path without its query, in bytes.
const PATH_LIMIT_BYTES: usize = 1024;
/// Headers that may occur only once.
const SINGLE_HEADERS: [&str; 5] = ["authorization", "content-type", "host", "sec-websocket-key", "transfer-encoding"];
/// Maximum length of a line between chunks (a size with its extensions, or a trailer), in bytes.
const CHUNK_LINE_LIMIT_BYTES: usize = 1024;
/// Maximum total length of the lines between chunks, in bytes; 16 more are allowed for each byte of the body.
const CHUNK_LINES_LIMIT_BYTES: u64 = 64 * 1024;
/// Size of one read of a body, in bytes.
const BLOCK_BYTES: usize = 64 * 1024;

/// The request line and headers.
#[derive(Debug)]
pub(crate) struct RequestHead {
    pub(crate) method: String,
    /// The path as sent, without the query.
    pub(crate) path: String,
    pub(crate) query: Option<String>,
    /// Names in lower case, in the order of the request.
    pub(crate) headers: Vec<(String, String)>,
    http_1_0: bool,
}

impl RequestHead {
    /// Returns the first header with this lower-case name.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(have, _)| have == name).map(|(_, value)| value.as_str())
    }

    /// Returns whether a comma-separated header contains `word`, ignoring case.
    pub(crate) fn header_has(&self, name: &str, word: &str) -> bool {
        let mut values = self.headers.iter().filter(|(have, _)| have == name);
        values.any(|(_, value)| value.split(',').any(|have| have.trim().eq_ignore_ascii_case(word)))
    }

    #[cfg(feature = "local-service")]
    pub(crate) fn keeps_alive(&self) -> bool {
        if self.http_1_0 {
            self.header_has("connection", "keep-alive")
        } else {
            !self.header_has("connection", "close")
        }
    }
}

/// Why a request could not be read.
#[derive(Debug)]
pub(crate) enum RequestError {
    /// The peer disconnected or timed out.
    Disconnected,
    /// The request is invalid: the response has this status, and the connection closes.
    Rejected { status: u16, reason: &'static str },
}

impl From<io::Error> for RequestError {
    fn from(_: io::Error) -> Self {
        Self::Disconnected
    }
}

const fn rejected(status: u16, reason: &'static str) -> RequestError {
    RequestError::Rejected { status, reason }
}

/// The length of a request body.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
pub(crate) enum BodyLength {
    Known(u64),
    Chunked,
}

impl BodyLength {
    pub(crate) fn of(head: &RequestHead) -> Result<Self, RequestError> {
        let mut lengths = head.headers.iter().filter(|(name, _)| name == "content-length").map(|(_, value)| value);
        let length = lengths.next();
        if lengths.any(|other| Some(other) != length) {
            return Err(rejected(400, "more than one Content-Length"));
        }
        match (head.header("transfer-encoding"), length) {
            (Some(_), _) if head.http_1_0 => Err(rejected(400, "HTTP/1.0 has no Transfer-Encoding")),
            (None, None) => Ok(Self::Known(0)),
            (None, Some(text)) if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) => {
                text.parse().map(Self::Known).map_err(|_| rejected(413, "the body is too large"))
            }
            (None, Some(_)) => Err(rejected(400, "Content-Length is not a number")),
            (Some(coding), None) if coding.eq_ignore_ascii_case("chunked") => Ok(Self::Chunked),
            (Some(_), None) => Err(rejected(501, "the only supported transfer coding is chunked")),
            (Some(_), Some(_)) => Err(rejected(400, "both Content-Length and Transfer-Encoding")),
        }
    }
}

/// A connection and its read buffer.
#[derive(Debug)]
pub(crate) struct HttpConnection {
    stream: ServerStream,
    buffer: Vec<u8>,
    used: usize,
}

impl HttpConnection {
    pub(crate) fn new(stream: ServerStream) -> Self {
        Self { stream, buffer: Vec::new(), used: 0 }
    }

    /// Returns the stream and the bytes read past the last request.
    pub(crate) fn into_parts(mut self) -> (ServerStream, Vec<u8>) {
        self.buffer.drain(..self.used);
        (self.stream, self.buffer)
    }

    pub(crate) fn stream(&mut self) -> &mut ServerStream {
        &mut self.stream
    }

    /// Reads more into the buffer. The end of the stream counts as a disconnect.
    fn fill(&mut self) -> Result<(), RequestError> {
        // Drop consumed bytes first, or the buffer would grow for as long as some input is always left in it.
        self.buffer.drain(..self.used);
        self.used = 0;
        let mut block = [0; 8192];
        match self.stream.read(&mut block)? {
            0 => Err(RequestError::Disconnected),
            count => {
                self.buffer.extend_from_slice(&block[..count]);
                Ok(())
            }
        }
    }

    /// Reads the next request's head.
    pub(crate) fn read_head(&mut self) -> Result<RequestHead, RequestError> {
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
                    Ok(httparse::Status::Partial) => return Err(rejected(431, "the request's head is too long")),
                    Err(httparse::Error::TooManyHeaders) => return Err(rejected(431, "too many headers")),
                    Err(_) => return Err(rejected(400, "not an HTTP/1.1 request")),
                }
            }
            self.fill()?;
        }
    }

    /// Reads a body of at most `limit` bytes.
    pub(crate) fn read_body(&mut self, length: BodyLength, limit: u64) -> Result<Vec<u8>, RequestError> {
        let mut body = Vec::new();
        self.read_body_to(length, limit, &mut |bytes| body.extend_from_slice(bytes))?;
        Ok(body)
    }

    /// Passes a body of at most `limit` bytes to `take` as it arrives. Returns its length.
    pub(crate) fn read_body_to(
        &mut self,
        length: BodyLength,
        limit: u64,
        take: &mut dyn FnMut(&[u8]),
    ) -> Result<u64, RequestError> {
        match length {
            BodyLength::Known(count) if count > limit => Err(rejected(413, "the body is too large")),
            BodyLength::Known(count) => self.read_exactly(count, take).map(|()| count),
            BodyLength::Chunked => self.read_chunks(limit, take),
        }
    }

    fn read_chunks(&mut self, limit: u64, take: &mut dyn FnMut(&[u8])) -> Result<u64, RequestError> {
        let (mut body_bytes, mut line_bytes) = (0, 0);
        loop {
            let line = self.read_line()?;
            let size = chunk_size(&line).ok_or(rejected(400, "a chunk's size is not a number"))?;
            if size == 0 {
                self.skip_trailers()?;
                return Ok(body_bytes);
            }
            if size > limit.saturating_sub(body_bytes) {
                return Err(rejected(413, "the body is too large"));
            }
            body_bytes += size;
            line_bytes += line.len() as u64;
            if line_bytes > CHUNK_LINES_LIMIT_BYTES.saturating_add(body_bytes.saturating_mul(16)) {
                return Err(rejected(413, "the lines between chunks are too long"));
            }
            self.read_exactly(size, take)?;
            if !self.read_line()?.is_empty() {
                return Err(rejected(400, "a chunk is longer than its size"));
            }
        }
    }

    /// Passes `count` bytes to `take` as they arrive.
    fn read_exactly(&mut self, count: u64, take: &mut dyn FnMut(&[u8])) -> Result<(), RequestError> {
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
                return Err(RequestError::Disconnected);
            }
            take(&block[..read]);
            rest -= read as u64;
        }
        Ok(())
    }

    /// Reads a line, without its CRLF.
    fn read_line(&mut self) -> Result<Vec<u8>, RequestError> {
        loop {
            let unread = &self.buffer[self.used..];
            if let Some(end) = unread.iter().position(|byte| *byte == b'\n') {
                let line = unread[..end].strip_suffix(b"\r").ok_or(rejected(400, "a line ends without CR"))?.to_vec();
                self.used += end + 1;
                return Ok(line);
            }
            if unread.len() > CHUNK_LINE_LIMIT_BYTES {
                return Err(rejected(400, "a line between chunks is too long"));
            }
            self.fill()?;
        }
    }

    fn skip_trailers(&mut self) -> Result<(), RequestError> {
        for _ in 0..HEADERS_LIMIT {
            if self.read_line()?.is_empty() {
                return Ok(());
            }
        }
        Err(rejected(431, "too many trailers"))
    }

    /// Sends a response; a small one in a single write.
    pub(crate) fn write(&mut self, response: &Response) -> io::Result<()> {
        let mut head = response.head(&response.content_length());
        if response.body.len() <= ONE_WRITE_BYTES {
            head.extend_from_slice(&response.body);
            return self.stream.write_all(&head);
        }
        self.stream.write_all(&head)?;
        self.stream.write_all(&response.body)
    }

    /// Closes the connection so that the peer still gets the response, even if it has not sent its whole request.
    pub(crate) fn finish(mut self) {
        self.stream.send_close_notify();
        linger(self.stream.socket());
    }
}

fn head_of(request: &httparse::Request<'_, '_>) -> Result<RequestHead, RequestError> {
    let bad = || rejected(400, "not an HTTP/1.1 request");
    let target = request.path.ok_or_else(bad)?;
    let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
    if !path.starts_with('/') || path.starts_with("//") || target.contains('#') {
        return Err(rejected(400, "the request's target is not a path"));
    }
    if path.len() > PATH_LIMIT_BYTES {
        return Err(rejected(414, "the path is too long"));
    }
    let mut headers = Vec::with_capacity(request.headers.len());
    for line in request.headers.iter() {
        let value = std::str::from_utf8(line.value).map_err(|_| rejected(400, "a header is not text"))?;
        headers.push((line.name.to_ascii_lowercase(), value.to_owned()));
    }
    for single in SINGLE_HEADERS {
        if headers.iter().filter(|(name, _)| name == single).count() > 1 {
            return Err(rejected(400, "a header that may occur only once is repeated"));
        }
    }
    let head = RequestHead {
        method: request.method.ok_or_else(bad)?.to_owned(),
        path: path.to_owned(),
        query: query.map(str::to_owned),
        headers,
        http_1_0: request.version == Some(0),
    };
    match head.header("host") {
        Some(host) if !is_host(host) => Err(rejected(400, "Host is not a host and a port")),
        None if !head.http_1_0 => Err(rejected(400, "a Host header is missing")),
        _ => Ok(head),
    }
}

/// Returns whether this is a host with an optional port, such as `localhost:8080` or `[::1]`.
fn is_host(value: &str) -> bool {
    let (host, port) = match value.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (value, None),
    };
    // parse() alone would accept a sign.
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
