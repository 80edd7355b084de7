//! Who may ask. Pure.
//!
//! Everybody on this computer reaches the port, and so does every page in a browser here. A token that only the link
//! has keeps out who was not given it. `Host` keeps out pages whose name leads here (DNS rebinding), `Origin` those
//! that send a browser here with what it knows.

use std::fmt;
use std::net::SocketAddr;

use crate::http_server::request::RequestHead;

/// The header that has the token where something is to be done: no page of another site can send it unasked.
const TOKEN_HEADER: &str = "x-token";

/// What is said where the token is missing or wrong, of what is shown and of what is done.
pub(super) const NO_TOKEN: &str = "the token is missing or wrong: use the link that the program has printed";
pub(super) const NO_TOKEN_HEADER: &str =
    "the token is missing or wrong: send the one of the link that the program has printed, in the header X-Token";

/// What the link has and nobody can guess: 128 random bits.
pub(super) struct Token(String);

impl Token {
    pub(super) fn random() -> Self {
        Self(format!("{:032x}", rand::random::<u128>()))
    }

    pub(super) fn reveal(&self) -> &str {
        &self.0
    }

    /// Takes as long whatever is wrong with it.
    fn is(&self, other: &str) -> bool {
        let differ = self.0.bytes().zip(other.bytes()).fold(0, |differ, (one, other)| differ | (one ^ other));
        self.0.len() == other.len() && differ == 0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Why whoever asks is a stranger, if so: the request does not come from a page of ours. `here` is where the connection
/// came in.
pub(super) fn stranger(head: &RequestHead, here: SocketAddr) -> Option<&'static str> {
    let Some(host) = head.header("host") else {
        return Some("a Host header is needed");
    };
    if !is_here(host, here) {
        return Some("this is not the host that was asked for");
    }
    let is_own = |origin: &str| origin.strip_prefix("http://").is_some_and(|rest| rest.eq_ignore_ascii_case(host));
    let mut origins = head.headers.iter().filter(|(name, _)| name == "origin");
    if !origins.all(|(_, origin)| is_own(origin)) {
        return Some("pages of other origins may not ask here");
    }
    None
}

/// Whether the token is where it belongs: in the query of what is only shown, in a header of what is done.
pub(super) fn has_token(head: &RequestHead, token: &Token) -> bool {
    let shown = if head.method == "GET" { parameter(head, "token") } else { head.header(TOKEN_HEADER) };
    shown.is_some_and(|shown| token.is(shown))
}

/// Whether that is a name of the address: itself, and what a computer calls itself. No other name counts, wherever it leads.
fn is_here(host: &str, here: SocketAddr) -> bool {
    let (ip, port) = (here.ip().to_canonical(), here.port());
    // Where it is the scheme's own, nobody writes it.
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

/// A value of the query, as it is: what is asked for here needs no escapes.
pub(super) fn parameter<'a>(head: &'a RequestHead, name: &str) -> Option<&'a str> {
    let pairs = head.query.as_deref()?.split('&').filter_map(|pair| pair.split_once('='));
    pairs.into_iter().find(|(key, _)| *key == name).map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_its_own_names_lead_here() {
        let v4: SocketAddr = "127.0.0.1:8080".parse().unwrap();
        let v6: SocketAddr = "[::1]:8080".parse().unwrap();
        for host in ["127.0.0.1:8080", "localhost:8080", "LocalHost:8080", "[::1]:8080"] {
            assert!(is_here(host, v4) && is_here(host, v6), "{host}");
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
            assert!(!is_here(host, v4) && !is_here(host, v6), "{host}");
        }
        let wide: SocketAddr = "192.0.2.7:80".parse().unwrap();
        assert!(is_here("192.0.2.7", wide) && is_here("192.0.2.7:80", wide));
        // From elsewhere nobody has to call it so.
        assert!(!is_here("localhost", wide) && !is_here("192.0.2.8", wide) && !is_here("a.name", wide));
        let mapped: SocketAddr = "[::ffff:127.0.0.1]:8080".parse().unwrap();
        assert!(is_here("127.0.0.1:8080", mapped));
    }

    #[test]
    fn a_token_is_itself_and_nothing_else() {
        let token = Token::random();
        let text = token.reveal().to_owned();
        assert!(text.len() == 32 && token.is(&text) && text != Token::random().reveal());
        for other in ["", &text[1..], &text[..31], &format!("{text}0"), &text.to_uppercase().replace(['A', 'B'], "x")] {
            assert!(!token.is(other) || other == text, "{other}");
        }
        assert!(!format!("{token:?}").contains(&text));
    }
}
