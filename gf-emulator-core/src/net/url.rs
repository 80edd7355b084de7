//! URLs, and whether the machine may connect to them.
//!
//! A service can send any URL, so each is parsed and checked here before a socket is opened for it. A URL prints
//! without its query, which is the credential of a presigned URL.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use http::Uri;

use crate::{Error, Result};

/// A supported URL scheme.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Scheme {
    Http,
    Https,
    Ws,
    Wss,
}

impl Scheme {
    fn from_name(name: &str) -> Option<Self> {
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

    /// Returns `http` for `ws` and `https` for `wss`: the status service receives events over HTTP at the host and port
    /// of its WebSocket.
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

/// Scheme, host and port. A bearer token is sent to its own origin only.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Origin {
    pub(crate) scheme: Scheme,
    /// In lower case; an IPv6 address without brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl Origin {
    /// Returns this origin with `ws` replaced by `http` and `wss` by `https`.
    pub(crate) fn over_http(&self) -> Self {
        Self { scheme: self.scheme.as_http(), ..self.clone() }
    }

    /// Returns host and port for a `Host` header: without the port if it is the scheme's default.
    pub(crate) fn authority(&self) -> String {
        let origin = self.to_string();
        origin.split_once("://").map_or(String::new(), |(_, authority)| authority.to_owned())
    }

    /// Returns host and port for a `CONNECT` request: always with the port.
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

/// Returns whether an address is in 127.0.0.0/8, `::1`, or an IPv4-mapped loopback address.
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

/// An absolute `http`, `https`, `ws` or `wss` URL that the machine may connect to.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Url {
    origin: Origin,
    path: String,
    query: Option<String>,
}

impl Url {
    /// Parses a URL.
    ///
    /// # Errors
    ///
    /// [`Error::Url`] if it is malformed, has another scheme, no host or a user name, or is unencrypted and not for a
    /// loopback address.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let refuse = |reason| Err(Error::Url { url: redact_url(text), reason });
        let Ok(uri) = text.parse::<Uri>() else { return refuse("it is not a valid URL") };
        let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return refuse("it has no scheme or no host");
        };
        let Some(scheme) = Scheme::from_name(scheme) else { return refuse("its scheme is not http, https, ws or wss") };
        if authority.as_str().contains('@') {
            return refuse("it contains a user name");
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
        if host.is_empty() {
            return refuse("it has no host");
        }
        // Not `authority.port()`, which is `None` if the number is too large.
        let port = match authority.as_str()[authority.host().len()..].strip_prefix(':') {
            None => scheme.default_port(),
            Some(port) => match port.parse() {
                Ok(port) if port > 0 => port,
                _ => return refuse("its port is not a number from 1 to 65535"),
            },
        };
        let origin = Origin { scheme, host, port };
        if !scheme.is_encrypted() && !origin.is_loopback() {
            return refuse("unencrypted connections are allowed to loopback addresses only");
        }
        Ok(Self { origin, path: uri.path().to_owned(), query: uri.query().map(str::to_owned) })
    }

    pub(crate) fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Returns this URL with `path` appended to its own path, and without a query.
    pub(crate) fn join(&self, path: &str) -> Self {
        let base = self.path.trim_end_matches('/');
        Self { origin: self.origin.clone(), path: format!("{base}/{}", path.trim_start_matches('/')), query: None }
    }

    /// Returns this URL with `ws` replaced by `http` and `wss` by `https`.
    pub(crate) fn over_http(&self) -> Self {
        Self { origin: self.origin.over_http(), ..self.clone() }
    }

    /// Resolves a `Location` header against this URL.
    ///
    /// # Errors
    ///
    /// As [`parse`](Self::parse); also if it redirects from an encrypted to an unencrypted connection.
    pub(crate) fn resolve_location(&self, location: &str) -> Result<Self> {
        let next = if location.starts_with("//") {
            Self::parse(&format!("{}:{location}", self.origin.scheme.as_str()))?
        } else if let Some(rest) = location.strip_prefix('/') {
            Self::parse(&format!("{}/{rest}", self.origin))?
        } else {
            Self::parse(location)?
        };
        if self.origin.scheme.is_encrypted() && !next.origin.scheme.is_encrypted() {
            return Err(Error::Url {
                url: next.to_string(),
                reason: "it redirects from https to an unencrypted connection",
            });
        }
        Ok(next)
    }

    /// Returns the query, which is secret.
    pub(crate) fn query(&self) -> Option<&str> {
        self.query.as_deref()
    }

    /// Returns path and query, the target of an HTTP request line.
    pub(crate) fn target(&self) -> String {
        match &self.query {
            Some(query) => format!("{}?{query}", self.path),
            None => self.path.clone(),
        }
    }

    /// Formats the URL with its secret query. Only for requests, never for messages.
    pub(crate) fn to_string_with_query(&self) -> String {
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

/// Makes a string that may not be a valid URL safe to print: removes query and user name, replaces control characters,
/// and truncates it.
pub(crate) fn redact_url(text: &str) -> String {
    const MAX_CHARS: usize = 200;
    let end = text.find(['?', '#']).unwrap_or(text.len());
    let text = &text[..end];
    // A user name can precede the `@` with or without a scheme before it.
    let text = match (text.find("://"), text.rfind('@')) {
        (Some(scheme), Some(at)) if at > scheme => format!("{}{}", &text[..scheme + 3], &text[at + 1..]),
        (_, Some(at)) => text[at + 1..].to_owned(),
        (_, None) => text.to_owned(),
    };
    let mut redacted: String =
        text.chars().take(MAX_CHARS).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    if text.chars().nth(MAX_CHARS).is_some() {
        redacted.push('…');
    }
    redacted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_origin_path_and_query() {
        let url = Url::parse("https://Storage.Example:8443/a/b?X-Sig=secret").unwrap();
        assert_eq!(url.origin().to_string(), "https://storage.example:8443");
        assert_eq!(url.to_string(), "https://storage.example:8443/a/b");
        assert_eq!(format!("{url:?}"), "Url(https://storage.example:8443/a/b)");
        assert_eq!(url.to_string_with_query(), "https://storage.example:8443/a/b?X-Sig=secret");
        assert_eq!(Url::parse("https://[::1]:443/x").unwrap().to_string(), "https://[::1]/x");
    }

    #[test]
    fn joins_paths_and_converts_wss_to_https() {
        let status = Url::parse("wss://status.example/base/").unwrap();
        assert_eq!(
            status.over_http().join("/api/event").to_string_with_query(),
            "https://status.example/base/api/event"
        );
    }

    #[test]
    fn accepts_unencrypted_urls_for_loopback_hosts_only() {
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
    fn rejects_invalid_urls_without_printing_secrets() {
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
        assert!(redact_url(&"x".repeat(10_000)).len() < 300);
    }

    #[test]
    fn resolves_redirects_but_not_to_unencrypted_urls() {
        let from = Url::parse("https://a.example/x?q").unwrap();
        assert_eq!(from.resolve_location("/y").unwrap().to_string_with_query(), "https://a.example/y");
        assert_eq!(from.resolve_location("//b.example/y?z").unwrap().to_string_with_query(), "https://b.example/y?z");
        assert_eq!(
            from.resolve_location("https://c.example:1/").unwrap().to_string_with_query(),
            "https://c.example:1/"
        );
        assert!(from.resolve_location("http://localhost/").is_err());
        assert!(from.resolve_location("relative").is_err());
    }
}
