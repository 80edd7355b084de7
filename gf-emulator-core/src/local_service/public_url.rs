//! The base URL that machines use, if they cannot use the address that the service listens on.

use std::net::{IpAddr, SocketAddr};

use http::Uri;

/// A base URL that machines use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PublicUrl {
    /// Without a slash at the end.
    pub(super) url: String,
    /// The host name or address, without brackets.
    pub(super) host: String,
}

impl PublicUrl {
    /// Parses a URL such as `https://laser.example:8443`. The scheme must fit `tls`.
    pub(super) fn parse(text: &str, tls: bool) -> Result<Self, String> {
        let scheme = if tls { "https" } else { "http" };
        let uri: Uri =
            text.parse().map_err(|e| format!("it is not a URL such as {scheme}://laser.example:8443: {e}"))?;
        if uri.scheme_str() != Some(scheme) {
            let why = if tls { "" } else { ", because the service does not use TLS" };
            return Err(format!("it must start with {scheme}://{why}"));
        }
        let authority = uri.authority().ok_or("it has no host")?;
        if authority.as_str().contains('@') || uri.path() != "/" || uri.query().is_some() || text.contains('#') {
            return Err("it must be a scheme, a host and a port, and nothing else".to_owned());
        }
        let host = authority.host().trim_matches(['[', ']']);
        if host.is_empty() || host.starts_with('*') {
            return Err("it has no host".to_owned());
        }
        let has_port = authority.as_str().len() > authority.host().len();
        if has_port && authority.port_u16().is_none_or(|port| port == 0) {
            return Err("its port is not a number from 1 to 65535".to_owned());
        }
        if host.parse::<IpAddr>().is_ok_and(|ip| ip.is_unspecified()) {
            return Err(format!("machines cannot connect to {host}"));
        }
        Ok(Self { url: format!("{scheme}://{authority}"), host: host.to_owned() })
    }

    /// Returns the URL for machines on this computer, or on others if `address` is not a loopback address.
    pub(super) fn of_address(address: SocketAddr, tls: bool) -> Self {
        let scheme = if tls { "https" } else { "http" };
        let ip = address.ip();
        // Clients on this computer may know localhost by one of the two usual addresses only.
        let is_localhost = ip.is_unspecified() || ["127.0.0.1", "::1"].iter().any(|usual| ip.to_string() == *usual);
        if is_localhost {
            let host = "localhost".to_owned();
            return Self { url: format!("{scheme}://{host}:{}", address.port()), host };
        }
        Self { url: format!("{scheme}://{address}"), host: ip.to_string() }
    }

    /// Returns whether the host is this computer by its name or address.
    pub(super) fn is_loopback(&self) -> bool {
        self.host == "localhost" || self.host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_a_scheme_a_host_and_a_port_alone() {
        for (text, url, host) in [
            ("https://laser.example:8443", "https://laser.example:8443", "laser.example"),
            ("https://192.0.2.7:8443/", "https://192.0.2.7:8443", "192.0.2.7"),
            ("https://[2001:db8::1]:443", "https://[2001:db8::1]:443", "2001:db8::1"),
            ("https://[2001:db8::1]", "https://[2001:db8::1]", "2001:db8::1"),
            ("https://laser", "https://laser", "laser"),
        ] {
            let parsed = PublicUrl::parse(text, true).unwrap();
            assert_eq!((parsed.url.as_str(), parsed.host.as_str()), (url, host));
        }
        for (text, words) in [
            ("http://laser:8443", "must start with https://"),
            ("laser:8443", "must start with https://"),
            ("https://me@laser:8443", "nothing else"),
            ("https://laser:8443/x", "nothing else"),
            ("https://laser:8443?x", "nothing else"),
            ("https://laser:8443#x", "nothing else"),
            ("https://0.0.0.0:8443", "cannot connect"),
            ("https://laser:0", "port"),
            ("https://laser:99999", "port"),
            ("https://la ser", "not a URL"),
            ("", "not a URL"),
        ] {
            let error = PublicUrl::parse(text, true).unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
        }
        assert!(PublicUrl::parse("http://localhost:8080", false).unwrap().is_loopback());
        let error = PublicUrl::parse("https://laser", false).unwrap_err();
        assert_eq!(error, "it must start with http://, because the service does not use TLS");
    }

    #[test]
    fn uses_localhost_for_the_usual_loopback_addresses_alone() {
        for (address, url) in [
            ("127.0.0.1:1", "http://localhost:1"),
            ("[::1]:1", "http://localhost:1"),
            ("0.0.0.0:1", "http://localhost:1"),
            ("127.0.0.2:1", "http://127.0.0.2:1"),
            ("192.0.2.7:1", "http://192.0.2.7:1"),
            ("[2001:db8::1]:1", "http://[2001:db8::1]:1"),
        ] {
            assert_eq!(PublicUrl::of_address(address.parse().unwrap(), false).url, url);
        }
    }
}
