//! Addresses to listen on, as people write them.

use std::net::Ipv4Addr;

/// Completes an address to listen on.
///
/// A port alone gets the address 127.0.0.1. An IPv4 address alone gets port 0, which is any free one. An IPv6 address (in
/// brackets) and a host name need a port. Returns `None` for anything else. Does not check that the address can be bound.
///
/// ```
/// use gf_emulator_core::listen_address;
///
/// assert_eq!(listen_address("8080").as_deref(), Some("127.0.0.1:8080"));
/// assert_eq!(listen_address("[::1]:8443").as_deref(), Some("[::1]:8443"));
/// assert_eq!(listen_address("0.0.0.0").as_deref(), Some("0.0.0.0:0"));
/// assert_eq!(listen_address("localhost"), None);
/// ```
#[must_use]
pub fn listen_address(text: &str) -> Option<String> {
    let is_port = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok();
    // An IPv6 address is in brackets.
    let is_host =
        |host: &str| !host.is_empty() && (!host.contains(':') || (host.starts_with('[') && host.ends_with(']')));
    if let Ok(ip) = text.parse::<Ipv4Addr>() {
        return Some(format!("{ip}:0"));
    }
    match text.rsplit_once(':').unwrap_or(("", text)) {
        ("", port) if is_port(port) => Some(format!("127.0.0.1:{port}")),
        (host, port) if is_host(host) && is_port(port) => Some(text.to_owned()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn completes_ports_and_refuses_what_is_no_address() {
        for text in ["8080", ":8080", "127.0.0.1:8080"] {
            assert_eq!(listen_address(text).as_deref(), Some("127.0.0.1:8080"));
        }
        for text in ["0.0.0.0:0", "[::1]:8443", "localhost:1"] {
            assert_eq!(listen_address(text).as_deref(), Some(text));
        }
        for text in ["", ":", "::", "::1", "99999", "localhost", "a:b", "127.0.0.1:99999", "127.0.0.1:+1", "-1", "+1"] {
            assert_eq!(listen_address(text), None, "{text}");
        }
    }
}
