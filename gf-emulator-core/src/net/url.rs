//! URLs as far as this machine needs them: where they lead, and whether it may go there.
//!
//! A service names hosts and paths freely, so every URL passes through here before a socket is opened for it. What
//! prints of one is scheme, host, port and path: a presigned URL has its authority in the query.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use http::Uri;

use crate::{Error, Result};

/// How to speak to a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Scheme {
    Http,
    Https,
    Ws,
    Wss,
}

impl Scheme {
    fn of(name: &str) -> Option<Self> {
        match name {
            "http" => Some(Self::Http),
            "https" => Some(Self::Https),
            "ws" => Some(Self::Ws),
            "wss" => Some(Self::Wss),
            _ => None,
        }
    }

    pub(crate) fn is_encrypted(self) -> bool {
        matches!(self, Self::Https | Self::Wss)
    }

    fn default_port(self) -> u16 {
        if self.is_encrypted() { 443 } else { 80 }
    }

    /// The same host over HTTP: the status service takes events at its WebSocket address read as `https`.
    fn as_http(self) -> Self {
        match self {
            Self::Ws => Self::Http,
            Self::Wss => Self::Https,
            other => other,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
            Self::Ws => "ws",
            Self::Wss => "wss",
        }
    }
}

/// Scheme, host and port: what a bearer token belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Origin {
    pub(crate) scheme: Scheme,
    /// Lower case; an IPv6 address without its brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl Origin {
    /// The same origin where `ws` counts as `http` and `wss` as `https`.
    pub(crate) fn over_http(&self) -> Self {
        Self { scheme: self.scheme.as_http(), ..self.clone() }
    }

    /// Host and port, as a Host header has them.
    pub(crate) fn authority(&self) -> String {
        let whole = self.to_string();
        whole.split_once("://").map_or(String::new(), |(_, authority)| authority.to_owned())
    }

    /// Host and port, the port always, as CONNECT has them.
    pub(crate) fn host_and_port(&self) -> String {
        let Self { host, port, .. } = self;
        if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
    }

    fn is_loopback(&self) -> bool {
        match self.host.parse::<IpAddr>() {
            Ok(address) => is_loopback(address),
            Err(_) => self.host == "localhost",
        }
    }
}

/// 127.0.0.0/8, `::1`, and the first written as the second.
pub(crate) fn is_loopback(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_loopback(),
        IpAddr::V6(v6) => v6 == Ipv6Addr::LOCALHOST || v6.to_ipv4_mapped().as_ref().is_some_and(Ipv4Addr::is_loopback),
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { scheme, host, port } = self;
        write!(f, "{}://", scheme.as_str())?;
        if host.contains(':') {
            write!(f, "[{host}]")?;
        } else {
            f.write_str(host)?;
        }
        if *port == scheme.default_port() { Ok(()) } else { write!(f, ":{port}") }
    }
}

/// An absolute `http`, `https`, `ws` or `wss` URL that this machine may use.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Url {
    origin: Origin,
    path: String,
    query: Option<String>,
}

impl Url {
    /// Takes a URL apart, and refuses what must not be used: another scheme, no host, a user name, or plain text to a
    /// host that is not this one.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let refuse = |reason| Err(Error::Url { url: shown(text), reason });
        let Ok(uri) = text.parse::<Uri>() else { return refuse("it is not a URL") };
        let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return refuse("it has no scheme or no host");
        };
        let Some(scheme) = Scheme::of(scheme) else { return refuse("only http, https, ws and wss are known") };
        if authority.as_str().contains('@') {
            return refuse("it carries a user name");
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
        if host.is_empty() {
            return refuse("it has no host");
        }
        // Not `authority.port()`: that has none where the number is too large.
        let port = match authority.as_str()[authority.host().len()..].strip_prefix(':') {
            None => scheme.default_port(),
            Some(port) => match port.parse() {
                Ok(port) if port > 0 => port,
                _ => return refuse("its port is not a number from 1 to 65535"),
            },
        };
        let origin = Origin { scheme, host, port };
        if !scheme.is_encrypted() && !origin.is_loopback() {
            return refuse("plain text is for loopback addresses only");
        }
        Ok(Self { origin, path: uri.path().to_owned(), query: uri.query().map(str::to_owned) })
    }

    pub(crate) fn origin(&self) -> &Origin {
        &self.origin
    }

    /// This URL with `path` behind its own, as `server_url` has with every route; no query.
    pub(crate) fn join(&self, path: &str) -> Self {
        let base = self.path.trim_end_matches('/');
        Self { origin: self.origin.clone(), path: format!("{base}/{}", path.trim_start_matches('/')), query: None }
    }

    /// The same place over HTTP.
    pub(crate) fn over_http(&self) -> Self {
        Self { origin: self.origin.over_http(), ..self.clone() }
    }

    /// Where a `Location` header leads from here.
    ///
    /// Never from an encrypted connection to a plain one.
    pub(crate) fn follow(&self, location: &str) -> Result<Self> {
        let next = if location.starts_with("//") {
            Self::parse(&format!("{}:{location}", self.origin.scheme.as_str()))?
        } else if let Some(rest) = location.strip_prefix('/') {
            Self::parse(&format!("{}/{rest}", self.origin))?
        } else {
            Self::parse(location)?
        };
        if self.origin.scheme.is_encrypted() && !next.origin.scheme.is_encrypted() {
            return Err(Error::Url { url: next.to_string(), reason: "a redirect leads from https to plain text" });
        }
        Ok(next)
    }

    /// What is behind the path, for whoever must not show it.
    pub(crate) fn query(&self) -> Option<&str> {
        self.query.as_deref()
    }

    /// Path and query, as a request line has them.
    pub(crate) fn target(&self) -> String {
        match &self.query {
            Some(query) => format!("{}?{query}", self.path),
            None => self.path.clone(),
        }
    }

    /// Everything, query included: for the request alone.
    pub(crate) fn whole(&self) -> String {
        format!("{}{}", self.origin, self.target())
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.origin, self.path)
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Url({self})")
    }
}

/// What may be shown of a text that should have been a URL: no query, no user name, no control characters, not all of
/// something endless.
pub(crate) fn shown(text: &str) -> String {
    const LONGEST: usize = 200;
    let end = text.find(['?', '#']).unwrap_or(text.len());
    let text = &text[..end];
    // With a scheme or without: what is refused is seldom well-formed.
    let text = match (text.find("://"), text.rfind('@')) {
        (Some(scheme), Some(at)) if at > scheme => format!("{}{}", &text[..scheme + 3], &text[at + 1..]),
        (_, Some(at)) => text[at + 1..].to_owned(),
        (_, None) => text.to_owned(),
    };
    let mut shown: String = text.chars().take(LONGEST).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    if text.chars().nth(LONGEST).is_some() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_a_url_apart() {
        let url = Url::parse("https://Storage.Example:8443/a/b?X-Sig=secret").unwrap();
        assert_eq!(url.origin().to_string(), "https://storage.example:8443");
        assert_eq!(url.to_string(), "https://storage.example:8443/a/b");
        assert_eq!(format!("{url:?}"), "Url(https://storage.example:8443/a/b)");
        assert_eq!(url.whole(), "https://storage.example:8443/a/b?X-Sig=secret");
        assert_eq!(Url::parse("https://[::1]:443/x").unwrap().to_string(), "https://[::1]/x");
    }

    #[test]
    fn joins_routes_and_reads_wss_as_https() {
        let status = Url::parse("wss://status.example/base/").unwrap();
        assert_eq!(status.over_http().join("/api/event").whole(), "https://status.example/base/api/event");
    }

    #[test]
    fn plain_text_is_for_loopback_alone() {
        for url in ["http://localhost:1/", "ws://127.9.9.9/", "http://[::1]:80/", "http://LOCALHOST/x"] {
            assert!(Url::parse(url).is_ok(), "{url}");
        }
        for url in [
            "http://app.example/",
            "ws://10.0.0.1/",
            "http://localhost.example/",
            "http://127.0.0.1.example/",
            "http://2130706433/",
        ] {
            assert!(Url::parse(url).is_err(), "{url}");
        }
    }

    #[test]
    fn refuses_what_is_no_url_and_shows_no_secret() {
        for url in
            ["", "x", "/relative", "ftp://host/", "file:///etc/passwd", "https://", "https://h:0/", "https://h:99999/"]
        {
            assert!(Url::parse(url).is_err(), "{url}");
        }
        let error = Url::parse("ftp://user:hunter2@host/p?sig=hunter2").unwrap_err().to_string();
        assert!(!error.contains("hunter2"), "{error}");
        assert!(error.contains("ftp://host/p"), "{error}");
        for url in ["user:hunter2@host/p", "//user:hunter2@host/p", "https:user:hunter2@host", "u:hunter2@host://x"] {
            let error = Url::parse(url).unwrap_err().to_string();
            assert!(!error.contains("hunter2"), "{error}");
        }
        assert!(shown(&"x".repeat(10_000)).len() < 300);
    }

    #[test]
    fn follows_redirects_but_not_to_plain_text() {
        let from = Url::parse("https://a.example/x?q").unwrap();
        assert_eq!(from.follow("/y").unwrap().whole(), "https://a.example/y");
        assert_eq!(from.follow("//b.example/y?z").unwrap().whole(), "https://b.example/y?z");
        assert_eq!(from.follow("https://c.example:1/").unwrap().whole(), "https://c.example:1/");
        assert!(from.follow("http://localhost/").is_err());
        assert!(from.follow("relative").is_err());
    }
}
