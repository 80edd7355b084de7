//! Parses and validates values, one function per type.
//!
//! Errors never contain the value: it may be or refer to a password.

use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use http::Uri;

use super::{Button, Generation, LogLevel};

/// A value, or a description of a valid one that completes "must be ...".
pub(super) type Parsed<T> = Result<T, &'static str>;

/// A year. Cannot overflow when multiplied by a time scale.
const MAX_TIME_S: f64 = 365.0 * 24.0 * 3600.0;

const MAX_TIME_SCALE: f64 = 1000.0;
const TIME_SCALE: &str = "a number from 0 (immediate) to 1000; 1 is real time";

/// Parses `True` or `False`, the only forms that the Python clients accept.
pub(super) fn boolean(text: &str) -> Parsed<bool> {
    match text {
        "True" => Ok(true),
        "False" => Ok(false),
        _ => Err("True or False (case-sensitive)"),
    }
}

/// Parses the case-insensitive name of a level; `False` is `None`.
pub(super) fn level(text: &str) -> Parsed<Option<LogLevel>> {
    Ok(Some(match text.to_ascii_uppercase().as_str() {
        "DEBUG" => LogLevel::Debug,
        "INFO" => LogLevel::Info,
        "WARNING" => LogLevel::Warning,
        "ERROR" => LogLevel::Error,
        "CRITICAL" => LogLevel::Critical,
        _ if text == "False" => return Ok(None),
        _ => return Err("DEBUG, INFO, WARNING, ERROR, CRITICAL or False"),
    }))
}

pub(super) fn generation(text: &str) -> Parsed<Option<Generation>> {
    match text {
        "" => Ok(None),
        "1.x" => Ok(Some(Generation::V1)),
        "2.6" => Ok(Some(Generation::V2)),
        _ => Err("1.x or 2.6, or empty to use the firmware version"),
    }
}

pub(super) fn button(text: &str) -> Parsed<Button> {
    match text {
        "auto" => Ok(Button::Auto),
        "wait" => Ok(Button::Wait),
        _ => Err("auto or wait"),
    }
}

/// Parses a serial number: digits without the S that is printed before them.
pub(super) fn serial(text: &str) -> Parsed<u32> {
    const RIGHT: &str = "a number from 1 to 4294967295, digits only";
    if text.starts_with(['S', 's']) {
        return Err("digits only, without the leading S");
    }
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(RIGHT);
    }
    text.parse().ok().filter(|&serial| serial != 0).ok_or(RIGHT)
}

/// Checks a password: 64 hexadecimal digits.
pub(super) fn password(text: &str) -> Parsed<&str> {
    if text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        Ok(text)
    } else {
        Err("64 hexadecimal digits (it is not shown here)")
    }
}

/// Checks a host name or application version: characters that need no escaping in JSON.
pub(super) fn name(text: &str) -> Parsed<&str> {
    if is_plain(text) { Ok(text) } else { Err("letters, digits, dots, dashes and underscores") }
}

/// Checks a firmware version: at least two numbers separated by a dot.
pub(super) fn version(text: &str) -> Parsed<&str> {
    const MAX_CHARS: usize = 64;
    let mut parts = text.splitn(2, '.');
    let digits = |c: char| c.is_ascii_digit();
    let begins = parts.next().is_some_and(|major| !major.is_empty() && major.chars().all(digits))
        && parts.next().is_some_and(|minor| minor.starts_with(digits));
    let plain = text.len() <= MAX_CHARS && is_plain(&text.replace('+', "-")) && !text.contains("..");
    if begins && plain { Ok(text) } else { Err("a version such as 2.6.0-2228") }
}

/// Checks the address that the machine reports. It is never connected to.
pub(super) fn address(text: &str) -> Parsed<&str> {
    text.parse::<IpAddr>().map(|_| text).map_err(|_| "an IP address such as 192.168.100.101")
}

/// Checks the value of an HTTP header.
pub(super) fn header(text: &str) -> Parsed<&str> {
    let plain = !text.is_empty() && text.trim() == text && text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    if plain { Ok(text) } else { Err("ASCII text on a single line") }
}

/// As [`header`]; empty is `None`.
pub(super) fn optional_header(text: &str) -> Parsed<Option<String>> {
    if text.is_empty() { Ok(None) } else { header(text).map(|text| Some(text.into())) }
}

/// As [`name`]; empty is `None`.
pub(super) fn optional_name(text: &str) -> Parsed<Option<String>> {
    if text.is_empty() { Ok(None) } else { name(text).map(|text| Some(text.into())) }
}

/// Checks text that becomes part of a file name.
pub(super) fn thickness(text: &str) -> Parsed<&str> {
    if is_plain(text) {
        Ok(text)
    } else {
        Err("text that matches the pictures' file names, such as .230 (letters, digits, dots, dashes, underscores)")
    }
}

fn is_plain(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'))
}

/// Parses a path. Relative paths are relative to the current directory.
pub(super) fn path(text: &str) -> Parsed<PathBuf> {
    if text.is_empty() || text.contains(char::is_control) { Err("a path on a single line") } else { Ok(text.into()) }
}

/// Parses a path; empty is `None`.
pub(super) fn optional_path(text: &str) -> Parsed<Option<PathBuf>> {
    if text.is_empty() { Ok(None) } else { path(text).map(Some) }
}

/// Parses a head number: 32 bits, as in the header of a pulse file; empty is `None`. `1100.0` is valid, as in the
/// Python clients.
pub(super) fn head_number(text: &str) -> Parsed<Option<i64>> {
    if text.is_empty() {
        return Ok(None);
    }
    let number: f64 = text.parse().map_err(|_| HEAD_NUMBER)?;
    if number.fract() != 0.0 || !(0.0..=f64::from(u32::MAX)).contains(&number) {
        return Err(HEAD_NUMBER);
    }
    #[expect(clippy::cast_possible_truncation, reason = "a whole number within 32 bits")]
    Ok(Some(number as i64))
}

const HEAD_NUMBER: &str = "a whole number from 0 to 4294967295";

/// Checks a head number of a configuration built in code.
pub(super) fn head(number: Option<i64>) -> Parsed<()> {
    if number.is_none_or(|number| u32::try_from(number).is_ok()) { Ok(()) } else { Err(HEAD_NUMBER) }
}

/// Checks a percentage; empty is valid.
pub(super) fn percent(text: &str) -> Parsed<()> {
    optional_number(text, 0.0..=100.0, "a number from 0 to 100")
}

/// Checks a coolant temperature in degrees Celsius; empty is valid.
pub(super) fn temperature(text: &str) -> Parsed<()> {
    optional_number(text, -100.0..=200.0, "a temperature from -100 to 200 degrees Celsius")
}

/// Checks a number of lens half steps; empty is valid. The full travel is 36 (measured on hardware).
pub(super) fn steps(text: &str) -> Parsed<()> {
    optional_number(text, -100.0..=100.0, "a number of half steps from -100 to 100")
}

fn optional_number(text: &str, range: RangeInclusive<f64>, right: &'static str) -> Parsed<()> {
    // NaN is in no range.
    let good = text.is_empty() || text.parse().is_ok_and(|number: f64| range.contains(&number));
    if good { Ok(()) } else { Err(right) }
}

/// Parses a size limit.
pub(super) fn limit_bytes(text: &str) -> Parsed<u64> {
    text.parse().map_err(|_| "a number of bytes, or 0 for no limit")
}

pub(super) fn seconds(text: &str) -> Parsed<Duration> {
    const RIGHT: &str = "a number of seconds from 0 to 31536000 (a year)";
    let seconds: f64 = text.parse().map_err(|_| RIGHT)?;
    if !(0.0..=MAX_TIME_S).contains(&seconds) {
        return Err(RIGHT);
    }
    Duration::try_from_secs_f64(seconds).map_err(|_| RIGHT)
}

pub(super) fn time(time: Duration) -> Parsed<Duration> {
    if time.as_secs_f64() <= MAX_TIME_S { Ok(time) } else { Err("at most a year") }
}

const BUTTON_TIMEOUT: &str = "a number of seconds from 1 to 3600";

pub(super) fn button_timeout_s(text: &str) -> Parsed<Duration> {
    seconds(text).map_err(|_| BUTTON_TIMEOUT).and_then(button_timeout)
}

pub(super) fn button_timeout(time: Duration) -> Parsed<Duration> {
    if (1.0..=3600.0).contains(&time.as_secs_f64()) { Ok(time) } else { Err(BUTTON_TIMEOUT) }
}

pub(super) fn time_scale_text(text: &str) -> Parsed<f64> {
    text.parse().map_err(|_| TIME_SCALE).and_then(time_scale)
}

pub(super) fn time_scale(scale: f64) -> Parsed<f64> {
    // NaN is in no range.
    if (0.0..=MAX_TIME_SCALE).contains(&scale) {
        // Turns -0.0 into 0.
        Ok(scale.abs())
    } else {
        Err(TIME_SCALE)
    }
}

/// Checks the base URL of HTTP requests, and returns it without trailing slashes.
pub(super) fn https_url(text: &str) -> Parsed<&str> {
    url(text, "https", "http")
}

/// Checks the base URL of the WebSocket, and returns it without trailing slashes.
pub(super) fn wss_url(text: &str) -> Parsed<&str> {
    url(text, "wss", "ws")
}

/// `secure` is the scheme (`https`, `wss`); `plain` is accepted for loopback hosts only.
fn url<'t>(text: &'t str, secure: &str, plain: &str) -> Parsed<&'t str> {
    // http::Uri would accept or drop these.
    if text.contains('@') {
        return Err("a URL without a user name and password");
    }
    if text.contains(['?', '#']) {
        return Err("a URL without ? and #: paths are appended to it");
    }
    let right = || if secure == "https" { "a URL such as https://host" } else { "a URL such as wss://host" };
    let trimmed = text.trim_end_matches('/');
    let uri: Uri = trimmed.parse().map_err(|_| right())?;
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return Err(right());
    };
    let host = authority.host();
    // `port_u16` is `None` for an empty or too large port.
    let port_is_right = authority.as_str() == host || authority.port_u16().is_some_and(|port| port != 0);
    if host.is_empty() || host == "[]" || !port_is_right {
        return Err(right());
    }
    if scheme.eq_ignore_ascii_case(secure) || (scheme.eq_ignore_ascii_case(plain) && is_loopback(host)) {
        return Ok(trimmed);
    }
    Err(match (scheme.eq_ignore_ascii_case(plain), secure) {
        (true, "https") => "an https URL: http is for localhost, 127.x.x.x and [::1] only",
        (true, _) => "a wss URL: ws is for localhost, 127.x.x.x and [::1] only",
        (false, _) => right(),
    })
}

/// Returns whether `host` is `localhost`, in 127.0.0.0/8, or `::1` (with or without brackets). Resolves nothing.
pub(super) fn is_loopback(host: &str) -> bool {
    let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    host.eq_ignore_ascii_case("localhost")
        || address.parse().is_ok_and(|address: IpAddr| address.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_only_python_booleans() {
        assert_eq!(boolean("True"), Ok(true));
        assert_eq!(boolean("False"), Ok(false));
        for text in ["true", "FALSE", "1", "0", "yes", "", "True False"] {
            assert!(boolean(text).is_err(), "{text}");
        }
    }

    #[test]
    fn serial_numbers_are_digits() {
        assert_eq!(serial("1"), Ok(1));
        assert_eq!(serial("4294967295"), Ok(u32::MAX));
        assert!(serial("S12345678").expect_err("an S").contains("without the leading S"));
        for text in ["", "0", "4294967296", "-1", "+1", "1.0", "12 34", "0x10", "\u{0661}"] {
            assert!(serial(text).is_err(), "{text}");
        }
    }

    #[test]
    fn passwords_are_64_hex_digits() {
        assert!(password(&"0aF9".repeat(16)).is_ok());
        for text in [String::new(), "0".repeat(63), "0".repeat(65), "g".repeat(64), "\u{e9}".repeat(32)] {
            assert!(password(&text).is_err(), "{text}");
        }
    }

    #[test]
    fn accepts_unencrypted_urls_only_for_loopback() {
        let https = |text| url(text, "https", "http");
        for text in [
            "https://app.glowforge.com",
            "HTTPS://app.glowforge.com:8443/base",
            "http://localhost:8080",
            "http://LOCALHOST",
            "http://127.0.0.1:1",
            "http://127.9.8.7",
            "http://[::1]:8080",
        ] {
            assert_eq!(https(text), Ok(text));
        }
        assert_eq!(https("https://host//"), Ok("https://host"));
        for text in [
            "",
            "/",
            "host",
            "app.glowforge.com:443",
            "https://",
            "https://:80",
            "https://host:",
            "https://host:0",
            "https://host:65536",
            "https://user:secret@host",
            "https://host/?token",
            "https://host/#part",
            "https://two hosts",
            "https://host\nhttps://host",
            "wss://host",
            "ftp://localhost",
            "http://app.glowforge.com",
            "http://localhost.example.com",
            "http://127.0.0.1.example.com",
            "http://127.1",
            "http://2130706433",
            "http://[::2]",
            "http://[::ffff:10.0.0.1]",
            "http://0.0.0.0",
        ] {
            assert!(https(text).is_err(), "{text}");
        }
        assert_eq!(url("ws://127.0.0.1:9", "wss", "ws"), Ok("ws://127.0.0.1:9"));
        assert!(url("ws://example.com", "wss", "ws").expect_err("plain").contains("ws is for localhost"));
        assert!(url("https://example.com", "wss", "ws").expect_err("not wss").contains("wss://host"));
    }

    #[test]
    fn checks_the_range_of_numbers() {
        assert_eq!(head_number("199234110"), Ok(Some(199_234_110)));
        assert_eq!(head_number("1100.0"), Ok(Some(1100)));
        assert_eq!(head_number("4294967295"), Ok(Some(i64::from(u32::MAX))));
        assert_eq!(head_number(""), Ok(None));
        for text in ["x", "1.5", "nan", "inf", "1e300", "9007199254740994.0", "-4", "-1.0", "4294967296"] {
            assert!(head_number(text).is_err(), "{text}");
        }
        assert_eq!((percent("50.5"), temperature("-3.5"), steps("-4"), steps("")), (Ok(()), Ok(()), Ok(()), Ok(())));
        for text in ["nan", "inf", "x", "1e9", "-1e9"] {
            assert!(percent(text).is_err() && temperature(text).is_err() && steps(text).is_err(), "{text}");
        }
        assert!(percent("-1").is_err() && percent("101").is_err());
        assert_eq!(time_scale_text("0.5"), Ok(0.5));
        for text in ["", "-0.1", "nan", "inf", "1001"] {
            assert!(time_scale_text(text).is_err(), "{text}");
        }
        assert_eq!(seconds("3.05"), Ok(Duration::from_millis(3050)));
        for text in ["", "-1", "nan", "inf", "31536001"] {
            assert!(seconds(text).is_err(), "{text}");
        }
        assert_eq!((limit_bytes("0"), limit_bytes("1")), (Ok(0), Ok(1)));
        for text in ["", "-1", "1.5", "1 MB"] {
            assert!(limit_bytes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn rejects_text_that_could_inject_something() {
        assert!(header("OpenGlow/2.6.0-2228 (test)").is_ok());
        for text in ["", " a", "a\r\nX-Header: 1", "caf\u{e9}"] {
            assert!(header(text).is_err(), "{text}");
        }
        assert!(thickness(".230").is_ok());
        for text in ["", "../x", "a/b", "a\\b", "a b"] {
            assert!(thickness(text).is_err(), "{text}");
        }
        assert!(name("ABC-123").is_ok());
        for text in ["", "  ", "a\nb", "a b", "caf\u{e9}"] {
            assert!(name(text).is_err(), "{text}");
        }
        for text in ["2.6.0-2228", "1.6.0-35", "2.7", "2.6.0-2228.rc1_a+b"] {
            assert_eq!(version(text), Ok(text));
        }
        for text in ["", "abc", "2", "2.", ".6", "v2.6", "2.6 ", "2.6\r\nX: y", "2..6", "-2.6", "2.6/7", "1e9"] {
            assert!(version(text).is_err(), "{text}");
        }
        assert!(address("192.168.100.101").is_ok() && address("fe80::1").is_ok());
        for text in ["", "foo", "1.2.3", "1.2.3.256", "1.2.3.4:80", "[::1]", "localhost"] {
            assert!(address(text).is_err(), "{text}");
        }
    }
}
