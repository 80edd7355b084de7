//! Through an HTTP proxy: CONNECT, and what a proxy answers to it.
//!
//! Nothing of an answer but its status is repeated to anybody: a proxy may say anything in it, the password included.

use std::io::{self, Read, Write};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::stream::Wire;
use crate::config::Proxy;
use crate::net::url::Origin;

const LARGEST_HEAD: usize = 16 << 10;
const MOST_HEADERS: usize = 64;

/// The proxy answered, but not with a connection.
#[derive(Debug, thiserror::Error)]
#[error("the proxy {proxy} refused: HTTP {status}")]
pub(super) struct Refused {
    pub(super) proxy: String,
    pub(super) status: u16,
    pub(super) had_credentials: bool,
}

/// Has the proxy at the other end of `wire` connect to `origin`. What follows on `wire` is said to that host.
pub(super) fn tunnel(wire: &mut Wire, proxy: &Proxy, origin: &Origin) -> io::Result<()> {
    let odd = |what: &str| io::Error::new(io::ErrorKind::InvalidData, format!("the proxy {proxy} {what}"));
    let broken = |e: io::Error| match e.kind() {
        io::ErrorKind::TimedOut => io::Error::new(e.kind(), format!("the proxy {proxy} did not answer in time")),
        _ => io::Error::new(e.kind(), format!("the proxy {proxy} closed the connection: {e}")),
    };
    wire.write_all(request(proxy, origin).as_bytes()).map_err(broken)?;
    let mut answer = Vec::new();
    let (status, length) = loop {
        let mut piece = [0; 1024];
        match wire.read(&mut piece) {
            Ok(0) => return Err(broken(io::ErrorKind::UnexpectedEof.into())),
            Ok(n) => answer.extend_from_slice(&piece[..n]),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(broken(e)),
        }
        match read_head(&answer) {
            Ok(Some(head)) => break head,
            Ok(None) if answer.len() > LARGEST_HEAD => return Err(odd("sends an answer without end")),
            Ok(None) => {}
            Err(_) => return Err(odd("answers with something that is not HTTP: is it an HTTP proxy?")),
        }
    };
    if !(200..300).contains(&status) {
        let had_credentials = proxy.credentials().is_some();
        return Err(io::Error::other(Refused { proxy: proxy.to_string(), status, had_credentials }));
    }
    // The machine speaks first, with TLS as with HTTP.
    if answer.len() > length {
        return Err(odd("sends data before the host was asked for any"));
    }
    Ok(())
}

fn request(proxy: &Proxy, origin: &Origin) -> String {
    let target = origin.host_and_port();
    let mut request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n");
    if let Some(credentials) = proxy.credentials() {
        let encoded = STANDARD.encode(credentials.reveal());
        request.push_str("Proxy-Authorization: Basic ");
        request.push_str(&encoded);
        request.push_str("\r\n");
    }
    request.push_str("\r\n");
    request
}

/// Status and length of an answer's head; none where it is not whole yet.
fn read_head(answer: &[u8]) -> Result<Option<(u16, usize)>, httparse::Error> {
    let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
    let mut response = httparse::Response::new(&mut headers);
    Ok(match response.parse(answer)? {
        httparse::Status::Complete(length) => Some((response.code.unwrap_or_default(), length)),
        httparse::Status::Partial => None,
    })
}
