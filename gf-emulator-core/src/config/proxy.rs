//! The HTTP proxy and the hosts it is used for: from `[SERVICE] proxy`, or from environment variables.

use std::fmt;
use std::net::IpAddr;

use http::Uri;
use percent_encoding::percent_decode_str;

use super::value::{Parsed, is_loopback};
use crate::{ParseError, Secret};

/// In order of precedence. `HTTP_PROXY` is last: it is meant for unencrypted HTTP, which is used only on this computer.
const VARIABLES: [&str; 3] = ["HTTPS_PROXY", "ALL_PROXY", "HTTP_PROXY"];
const NO_PROXY: &str = "NO_PROXY";

/// An HTTP proxy (CONNECT), and the hosts it is used for.
///
/// `Display` and `Debug` omit the user name and password.
///
/// ```
/// use gf_emulator_core::Config;
/// use gf_emulator_core::config::Proxy;
///
/// let mut config = Config::default();
/// config.service.proxy = Some(Proxy::parse("http://somebody:secret@proxy.example:3128")?);
/// let proxy = config.service.proxy_for(&config.service.server_url);
/// assert_eq!(proxy.map(|proxy| proxy.to_string()).as_deref(), Some("http://proxy.example:3128"));
/// # Ok::<(), gf_emulator_core::ParseError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proxy {
    /// A name in lower case, or an address; IPv6 without brackets.
    host: String,
    port: u16,
    /// `user:password`.
    credentials: Option<Secret>,
    bypass: Vec<Bypass>,
    for_loopback: bool,
}

/// An entry of `NO_PROXY`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Bypass {
    hosts: Hosts,
    port: Option<u16>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Hosts {
    All,
    /// A domain and everything below it.
    Domain(String),
    /// The addresses with this prefix of this many bits.
    Network(IpAddr, u8),
}

impl Proxy {
    /// Creates a proxy that is used for all hosts, including loopback addresses.
    ///
    /// `url` is `http://host:port` or `http://user:password@host:port`, with user name and password percent-encoded.
    /// `http://` and the port (default 80) are optional.
    ///
    /// # Errors
    ///
    /// A description of a valid value. It does not contain `url`, which may contain a password.
    pub fn parse(url: &str) -> Result<Self, ParseError> {
        Self::read(url).map_err(ParseError::new)
    }

    fn read(url: &str) -> Parsed<Self> {
        const RIGHT: &str = "an HTTP proxy such as http://localhost:8080, or none";
        let (scheme, rest) = url.split_once("://").unwrap_or(("http", url));
        match scheme.to_ascii_lowercase().as_str() {
            "http" => {}
            "https" => return Err("an http:// proxy: TLS to the proxy itself is not supported"),
            socks if socks.starts_with("socks") => return Err("an http:// proxy: SOCKS is not supported"),
            _ => return Err(RIGHT),
        }
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (user, address) = rest.rsplit_once('@').map_or((None, rest), |(user, address)| (Some(user), address));
        let (host, port) = split_port(address).ok_or(RIGHT)?;
        let is_name = |host: &str| host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b));
        if host.is_empty() || !(is_name(&host) || host.parse::<IpAddr>().is_ok()) {
            return Err(RIGHT);
        }
        let credentials = match user {
            None => None,
            Some(user) => {
                let (name, password) = user.split_once(':').unwrap_or((user, ""));
                let decode = |text| percent_decode_str(text).decode_utf8().map_err(|_| RIGHT);
                Some(Secret::new(format!("{}:{}", decode(name)?, decode(password)?)))
            }
        };
        Ok(Self { host, port: port.unwrap_or(80), credentials, bypass: Vec::new(), for_loopback: true })
    }

    /// Reads the proxy from environment variables, looked up by `variable`: `HTTPS_PROXY`, else `ALL_PROXY`, else
    /// `HTTP_PROXY`, each in lower case first. It is not used for loopback addresses, nor for the hosts in `NO_PROXY`:
    /// domains with their subdomains, addresses, networks such as `10.0.0.0/8`, each with an optional port, or `*`.
    ///
    /// # Errors
    ///
    /// The variable's name and a description of a valid value, without its value.
    pub fn from_environment(variable: &dyn Fn(&str) -> Option<String>) -> Result<Option<Self>, ParseError> {
        let look_up = |name: &str| {
            [name.to_ascii_lowercase(), name.to_owned()].iter().find_map(|name| {
                let value = variable(name)?.trim().to_owned();
                if value.is_empty() { None } else { Some((name.clone(), value)) }
            })
        };
        let Some((name, url)) = VARIABLES.iter().find_map(|name| look_up(name)) else { return Ok(None) };
        let mut proxy = Self::read(&url).map_err(|right| {
            let name = format!("{name} in the environment");
            ParseError::new(format!("{name} must be {right}; set \"proxy: none\" in [SERVICE] to ignore it"))
        })?;
        proxy.for_loopback = false;
        let bypass = look_up(NO_PROXY).map(|(_, list)| list).unwrap_or_default();
        proxy.bypass = bypass.split([',', ' ']).filter_map(Bypass::parse).collect();
        Ok(Some(proxy))
    }

    /// Returns whether connections to this host and port use the proxy.
    #[must_use]
    pub fn is_used_for(&self, host: &str, port: u16) -> bool {
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        (self.for_loopback || !is_loopback(&host)) && !self.bypass.iter().any(|bypass| bypass.matches(&host, port))
    }

    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Returns `user:password`.
    pub(crate) fn credentials(&self) -> Option<&Secret> {
        self.credentials.as_ref()
    }
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port, .. } = self;
        if host.contains(':') { write!(f, "http://[{host}]:{port}") } else { write!(f, "http://{host}:{port}") }
    }
}

impl super::Service {
    /// Returns the proxy for connections to the host of `url`, or `None` if they are direct.
    #[must_use]
    pub fn proxy_for(&self, url: &str) -> Option<&Proxy> {
        let uri: Uri = url.parse().ok()?;
        let is_plain = matches!(uri.scheme_str(), Some("http" | "ws"));
        let port = uri.port_u16().unwrap_or(if is_plain { 80 } else { 443 });
        self.proxy.as_ref().filter(|proxy| proxy.is_used_for(uri.host().unwrap_or_default(), port))
    }

    /// Returns whether both addresses of the service are loopback addresses.
    pub(super) fn is_on_this_computer(&self) -> bool {
        [&self.server_url, &self.status_service_url].into_iter().all(|url| {
            let uri = url.parse::<Uri>();
            uri.is_ok_and(|uri| uri.host().is_some_and(is_loopback))
        })
    }
}

/// Parses the value of `[SERVICE] proxy`.
pub(super) fn setting(text: &str) -> Parsed<Option<Proxy>> {
    if text.eq_ignore_ascii_case("none") { Ok(None) } else { Proxy::read(text).map(Some) }
}

impl Bypass {
    /// Parses an entry; `None` if it is empty or invalid. Invalid entries are ignored.
    fn parse(entry: &str) -> Option<Self> {
        let entry = entry.trim();
        if entry == "*" {
            return Some(Self { hosts: Hosts::All, port: None });
        }
        if let Some((address, bits)) = entry.split_once('/') {
            let (address, bits) = (address.parse::<IpAddr>().ok()?, bits.parse().ok()?);
            return Some(Self { hosts: Hosts::Network(address, bits), port: None });
        }
        if let Ok(address) = entry.parse::<IpAddr>() {
            return Some(Self { hosts: Hosts::Network(address, u8::MAX), port: None });
        }
        let (host, port) = split_port(entry)?;
        let hosts = match host.parse::<IpAddr>() {
            Ok(address) => Hosts::Network(address, u8::MAX),
            Err(_) => Hosts::Domain(host.trim_start_matches('*').trim_matches('.').to_owned()),
        };
        if hosts == Hosts::Domain(String::new()) { None } else { Some(Self { hosts, port }) }
    }

    fn matches(&self, host: &str, port: u16) -> bool {
        let is_match = match &self.hosts {
            Hosts::All => true,
            Hosts::Domain(domain) => {
                host.strip_suffix(domain.as_str()).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
            }
            Hosts::Network(network, bits) => {
                let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
                address.is_ok_and(|address| is_within(address.to_canonical(), network.to_canonical(), *bits))
            }
        };
        is_match && self.port.is_none_or(|only| only == port)
    }
}

fn is_within(address: IpAddr, network: IpAddr, bits: u8) -> bool {
    // Shift out the bits after the prefix.
    let (differing, width) = match (address, network) {
        (IpAddr::V4(a), IpAddr::V4(b)) => (u128::from(a.to_bits() ^ b.to_bits()), 32),
        (IpAddr::V6(a), IpAddr::V6(b)) => (a.to_bits() ^ b.to_bits(), 128),
        _ => return false,
    };
    differing.checked_shr(width - u32::from(bits).min(width)).unwrap_or(0) == 0
}

/// Splits into a host, in lower case and without brackets, and a port. `None` if the port is not from 1 to 65535.
fn split_port(address: &str) -> Option<(String, Option<u16>)> {
    let (host, port) = match address.strip_prefix('[') {
        Some(rest) => {
            let (host, after) = rest.split_once(']')?;
            (host, if after.is_empty() { None } else { Some(after.strip_prefix(':')?) })
        }
        None => address.rsplit_once(':').map_or((address, None), |(host, port)| (host, Some(port))),
    };
    let port = match port {
        None => None,
        Some(port) => Some(port.parse().ok().filter(|port| *port > 0)?),
    };
    Some((host.to_ascii_lowercase(), port))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Config;

    fn environment(variables: &[(&str, &str)]) -> Result<Option<Proxy>, ParseError> {
        let look_up = |name: &str| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        Proxy::from_environment(&look_up)
    }

    #[test]
    fn parses_proxies_and_hides_credentials() {
        for (text, shown, credentials) in [
            ("http://Proxy.Example:3128", "http://proxy.example:3128", None),
            ("proxy.example", "http://proxy.example:80", None),
            ("HTTP://10.0.0.1:1/", "http://10.0.0.1:1", None),
            ("http://[::1]:8080", "http://[::1]:8080", None),
            ("http://me:a%40b%3A@h:1", "http://h:1", Some("me:a@b:")),
            ("me:hunter2@h:1", "http://h:1", Some("me:hunter2")),
            ("http://me@h", "http://h:80", Some("me:")),
        ] {
            let proxy = Proxy::parse(text).unwrap();
            assert_eq!(proxy.to_string(), shown);
            assert_eq!(proxy.credentials().map(Secret::reveal), credentials);
            assert!(!format!("{proxy:?}").contains("hunter2"));
        }
        for text in [
            "",
            "http://",
            "http://h:0",
            "http://h:99999",
            "http://h:",
            "http://h/path",
            "ftp://h",
            "a b",
            "http://[::1",
            "http://h\r\nX: y",
            "http://a:b:c",
            "http://%ff:x@h",
        ] {
            assert!(Proxy::parse(text).is_err(), "{text}");
        }
        assert!(Proxy::read("socks5h://h:1").unwrap_err().contains("SOCKS is not supported"));
        assert!(Proxy::read("https://h:1").unwrap_err().contains("http:// proxy"));
    }

    #[test]
    fn reads_environment_variables_in_either_case() {
        let named = |variables: &[(&str, &str)]| environment(variables).unwrap().map(|proxy| proxy.to_string());
        assert_eq!(named(&[]), None);
        assert_eq!(named(&[("HTTPS_PROXY", " "), ("NO_PROXY", "*")]), None);
        for name in ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "HTTP_PROXY", "http_proxy"] {
            assert_eq!(named(&[(name, "http://h:1")]).as_deref(), Some("http://h:1"), "{name}");
        }
        let all = [("HTTP_PROXY", "h:1"), ("ALL_PROXY", "h:2"), ("HTTPS_PROXY", "h:3"), ("https_proxy", "h:4")];
        for (count, wins) in [(1, "http://h:1"), (2, "http://h:2"), (3, "http://h:3"), (4, "http://h:4")] {
            assert_eq!(named(&all[..count]).as_deref(), Some(wins));
        }
        let error = environment(&[("all_proxy", "socks5://me:hunter2@h:1")]).unwrap_err().to_string();
        assert!(error.starts_with("all_proxy in the environment must be") && error.contains("proxy: none"), "{error}");
        assert!(!error.contains("hunter2"), "{error}");
    }

    #[test]
    fn no_proxy_has_domains_addresses_and_networks() {
        let direct = |no_proxy: &str, host: &str, port: u16| {
            let proxy = environment(&[("HTTPS_PROXY", "h:1"), ("no_proxy", no_proxy)]).unwrap().unwrap();
            !proxy.is_used_for(host, port)
        };
        for (no_proxy, host) in [
            ("", "localhost"),
            ("", "127.1.2.3"),
            ("", "[::1]"),
            ("", "::1"),
            ("*", "app.example"),
            ("x, app.example ,y", "app.example"),
            ("app.example", "APP.example."),
            ("example", "app.example"),
            (".example", "app.example"),
            ("*.example", "app.example"),
            ("app.example:443", "app.example"),
            ("10.1.2.3", "10.1.2.3"),
            ("10.1.2.3:443", "10.1.2.3"),
            ("10.0.0.0/8", "10.255.0.1"),
            ("10.0.0.0/0", "192.168.0.1"),
            ("fd00::/8", "[fd12::1]"),
            ("[fd12::1]:443", "fd12::1"),
            ("fd12::1", "fd12:0::1"),
        ] {
            assert!(direct(no_proxy, host, 443), "{no_proxy:?} {host}");
        }
        for (no_proxy, host) in [
            ("", "app.example"),
            (",,.,*.", "app.example"),
            ("app.example", "myapp.example"),
            ("app.example", "app.example.com"),
            ("app.example:8443", "app.example"),
            ("10.0.0.0/8", "11.0.0.1"),
            ("10.0.0.0/99", "10.0.0.1"),
            ("10.0.0.0/x", "10.0.0.0"),
            ("10.1.2.3", "10.1.2.4"),
            ("fd00::/8", "10.0.0.1"),
        ] {
            assert!(!direct(no_proxy, host, 443), "{no_proxy:?} {host}");
        }
    }

    #[test]
    fn the_key_overrides_the_environment() {
        let read = |service: &str, variable: &str, value: &str| {
            let text = format!("[SERVICE]\n{service}\n[MACHINE]\nserial: 1\nhostname: ABC-123\n");
            let look_up = |name: &str| match name {
                "GF_MACHINE_PASSWORD" => Some("0".repeat(64)),
                _ => (name == variable).then(|| value.to_owned()),
            };
            Config::from_cfg("test.cfg", &text, &look_up).map(|(config, _)| config.service)
        };
        let through = |service: &str, value: &str, url: &str| {
            read(service, "https_proxy", value).unwrap().proxy_for(url).map(ToString::to_string)
        };
        let (app, here) = ("https://app.example", "http://localhost:80");
        assert_eq!(through("", "http://env:1", app).as_deref(), Some("http://env:1"));
        assert_eq!(through("proxy:", "http://env:1", app).as_deref(), Some("http://env:1"));
        assert_eq!(through("", "http://env:1", here), None);
        assert_eq!(through("proxy: none", "http://env:1", app), None);
        assert_eq!(through("proxy: http://key:1", "http://env:1", app).as_deref(), Some("http://key:1"));
        assert_eq!(through("proxy: http://key:1", "http://env:1", here).as_deref(), Some("http://key:1"));
        assert_eq!(through("proxy: http://u:a%%40b@key:1", "", here).as_deref(), Some("http://key:1"));

        let wrong = read("proxy: socks5://me:hunter2@h:1", "https_proxy", "nonsense://").unwrap_err().to_string();
        assert_eq!(wrong, "test.cfg:2: proxy must be an http:// proxy: SOCKS is not supported");
        let wrong = read("", "ALL_PROXY", "socks5://me:hunter2@h:1").unwrap_err().to_string();
        assert!(wrong.starts_with("test.cfg: ALL_PROXY in the environment must be an http:// proxy"), "{wrong}");
        assert!(read("proxy: none", "ALL_PROXY", "socks5://h:1").is_ok());
        let here = "server_url: http://localhost:1\nstatus_service_url: ws://127.0.0.1:1";
        assert_eq!(read(here, "ALL_PROXY", "socks5://h:1").unwrap().proxy, None);
    }

    #[test]
    fn a_configured_proxy_is_used_for_loopback() {
        let proxy = Proxy::parse("http://h:1").unwrap();
        assert!(proxy.is_used_for("localhost", 80) && proxy.is_used_for("app.example", 443));
        assert_eq!(setting("None"), Ok(None));
        assert!(setting("").is_err());
    }
}
