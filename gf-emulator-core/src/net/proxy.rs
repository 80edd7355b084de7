//! HTTP proxies: sends CONNECT and reads the response.
//!
//! Error messages show nothing of a response but its status: a proxy might echo the password.

use std::io::{self, Read, Write};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::stream::TcpConnection;
use crate::config::Proxy;
use crate::net::url::Origin;

const MAX_HEAD_BYTES: usize = 16 << 10;
const MAX_HEADERS: usize = 64;

/// The proxy's response was not a success.
#[derive(Debug, thiserror::Error)]
#[error("the proxy {proxy} refused: HTTP {status}")]
pub(super) struct ProxyRefused {
    pub(super) proxy: String,
    pub(super) status: u16,
    pub(super) had_credentials: bool,
}

/// The error of a proxy that does not accept a connection, or does not answer on it, before the deadline.
pub(super) fn timed_out(proxy: &Proxy) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, format!("the proxy {proxy} did not respond in time"))
}

/// Asks the proxy at the other end of `tcp` to connect to `origin`. Afterwards `tcp` is a connection to that host.
pub(super) fn open_tunnel(tcp: &mut TcpConnection, proxy: &Proxy, origin: &Origin) -> io::Result<()> {
    let invalid = |what: &str| io::Error::new(io::ErrorKind::InvalidData, format!("the proxy {proxy} {what}"));
    let broken = |e: io::Error| match e.kind() {
        io::ErrorKind::TimedOut => timed_out(proxy),
        _ => io::Error::new(e.kind(), format!("the proxy {proxy} closed the connection: {e}")),
    };
    tcp.write_all(connect_request(proxy, origin).as_bytes()).map_err(broken)?;
    let mut response = Vec::new();
    let (status, head_length) = loop {
        let mut chunk = [0; 1024];
        match tcp.read(&mut chunk) {
            Ok(0) => return Err(broken(io::ErrorKind::UnexpectedEof.into())),
            Ok(n) => response.extend_from_slice(&chunk[..n]),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(broken(e)),
        }
        match parse_head(&response) {
            Ok(Some(head)) => break head,
            Ok(None) if response.len() > MAX_HEAD_BYTES => {
                return Err(invalid("sent a response header longer than 16 KiB"));
            }
            Ok(None) => {}
            Err(_) => return Err(invalid("did not respond with HTTP: is it an HTTP proxy?")),
        }
    };
    if !(200..300).contains(&status) {
        let had_credentials = proxy.credentials().is_some();
        return Err(io::Error::other(ProxyRefused { proxy: proxy.to_string(), status, had_credentials }));
    }
    // The client sends first, with TLS and with HTTP.
    if response.len() > head_length {
        return Err(invalid("sent data before the host could have"));
    }
    Ok(())
}

fn connect_request(proxy: &Proxy, origin: &Origin) -> String {
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

/// Returns the status and length of a response's head, or `None` if it is incomplete.
fn parse_head(bytes: &[u8]) -> Result<Option<(u16, usize)>, httparse::Error> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut response = httparse::Response::new(&mut headers);
    Ok(match response.parse(bytes)? {
        httparse::Status::Complete(length) => Some((response.code.unwrap_or_default(), length)),
        httparse::Status::Partial => None,
    })
}
