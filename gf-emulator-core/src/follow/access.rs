//! Decides which requests are served. Pure.
//!
//! Every program on this computer and every page in its browsers can reach the port. Three checks: the token, which only
//! the link has; `Host`, against DNS rebinding (a foreign name that resolves to this address); `Origin`, against requests
//! from pages of other sites.

use std::fmt;
use std::net::SocketAddr;

use crate::http_server::request::RequestHead;

/// Carries the token of a POST. A page of another site cannot send it without a CORS preflight, which is refused.
const TOKEN_HEADER: &str = "x-token";

/// The errors for a missing or wrong token, of a GET and of a POST.
pub(super) const NO_TOKEN: &str = "the token is missing or wrong: use the link that the program printed";
pub(super) const NO_TOKEN_HEADER: &str =
    "the token is missing or wrong: send the token from the link that the program printed, in the header X-Token";

/// A random token of 128 bits, part of the link.
pub(super) struct AccessToken(String);

impl AccessToken {
    pub(super) fn random() -> Self {
        Self(format!("{:032x}", rand::random::<u128>()))
    }

    pub(super) fn reveal(&self) -> &str {
        &self.0
    }

    /// Compares in constant time.
    fn matches(&self, other: &str) -> bool {
        let differ = self.0.bytes().zip(other.bytes()).fold(0, |differ, (one, other)| differ | (one ^ other));
        self.0.len() == other.len() && differ == 0
    }
}

impl fmt::Debug for AccessToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Checks `Host` and `Origin`: the request has to come from a page of this server. `local` is the address that the client
/// connected to.
pub(super) fn check_origin(head: &RequestHead, local: SocketAddr) -> Result<(), &'static str> {
    let host = head.header("host").ok_or("a Host header is required")?;
    if !is_local_host(host, local) {
        return Err("wrong Host header: use the address in the link");
    }
    let is_own = |origin: &str| origin.strip_prefix("http://").is_some_and(|rest| rest.eq_ignore_ascii_case(host));
    let mut origins = head.headers.iter().filter(|(name, _)| name == "origin");
    if origins.all(|(_, origin)| is_own(origin)) { Ok(()) } else { Err("requests from other origins are not allowed") }
}

/// Checks the token: in the query of a GET, in a header of a POST.
pub(super) fn has_token(head: &RequestHead, token: &AccessToken) -> bool {
    let given = if head.method == "GET" { query_parameter(head, "token") } else { head.header(TOKEN_HEADER) };
    given.is_some_and(|given| token.matches(given))
}

/// Checks that a Host header names the address itself, or `localhost` for a loopback address. No other name is accepted,
/// whatever it resolves to.
fn is_local_host(host: &str, local: SocketAddr) -> bool {
    let (ip, port) = (local.ip().to_canonical(), local.port());
    // The default port is usually omitted.
    let name = match host.rsplit_once(':') {
        Some((name, text)) if text.parse() == Ok(port) => name,
        _ if port == 80 => host,
        _ => return false,
    };
    let literal = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    if ip.is_loopback() && ["localhost", "127.0.0.1", "::1"].iter().any(|own| literal.eq_ignore_ascii_case(own)) {
        return true;
    }
    literal.parse() == Ok(ip)
}

/// Returns a query parameter without percent-decoding, which none of them needs.
pub(super) fn query_parameter<'a>(head: &'a RequestHead, name: &str) -> Option<&'a str> {
    let mut pairs = head.query.as_deref()?.split('&').filter_map(|pair| pair.split_once('='));
    pairs.find(|(key, _)| *key == name).map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_only_its_own_address_as_host() {
        let v4: SocketAddr = "127.0.0.1:8080".parse().unwrap();
        let v6: SocketAddr = "[::1]:8080".parse().unwrap();
        for host in ["127.0.0.1:8080", "localhost:8080", "LocalHost:8080", "[::1]:8080"] {
            assert!(is_local_host(host, v4) && is_local_host(host, v6), "{host}");
        }
        for host in [
            "",
            ":8080",
            "localhost",
            "127.0.0.1",
            "127.0.0.1:80",
            "evil.example:8080",
            "localhost.evil.example:8080",
            "127.0.0.1:8080:8080",
            "127.0.0.2:8080",
            "[::1",
            "user@localhost:8080",
            "localhost:8080/",
        ] {
            assert!(!is_local_host(host, v4) && !is_local_host(host, v6), "{host}");
        }
        let wide: SocketAddr = "192.0.2.7:80".parse().unwrap();
        assert!(is_local_host("192.0.2.7", wide) && is_local_host("192.0.2.7:80", wide));
        // Not on a public address.
        assert!(
            !is_local_host("localhost", wide) && !is_local_host("192.0.2.8", wide) && !is_local_host("a.name", wide)
        );
        let mapped: SocketAddr = "[::ffff:127.0.0.1]:8080".parse().unwrap();
        assert!(is_local_host("127.0.0.1:8080", mapped));
    }

    #[test]
    fn token_matches_only_itself_and_is_not_printed() {
        let token = AccessToken::random();
        let text = token.reveal().to_owned();
        assert!(text.len() == 32 && token.matches(&text) && text != AccessToken::random().reveal());
        for other in ["", &text[1..], &text[..31], &format!("{text}0"), &text.to_uppercase().replace(['A', 'B'], "x")] {
            assert!(!token.matches(other) || other == text, "{other}");
        }
        assert!(!format!("{token:?}").contains(&text));
    }
}
