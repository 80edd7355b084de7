//! What a value must look like: one function for each kind, from text to value or to what is wrong with it.
//!
//! The complaints never hold the value itself. Any value may have a secret in it, be it by a reference to the password
//! or by a line that went astray, and whoever reads the complaint has the line before them.

use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use http::Uri;

use super::{Button, Generation, LogLevel};

/// A value, or what would be right in its place: the words that follow "must be".
pub(super) type Checked<T> = Result<T, &'static str>;

/// The longest time that can be set: a year. It can be multiplied by any time scale without overflow.
const MAX_TIME_S: f64 = 365.0 * 24.0 * 3600.0;

/// The largest time scale.
const MAX_TIME_SCALE: f64 = 1000.0;

/// `True` or `False`, as Python writes them and as the Python clients want them.
pub(super) fn boolean(text: &str) -> Checked<bool> {
    match text {
        "True" => Ok(true),
        "False" => Ok(false),
        _ => Err("True or False, written just so"),
    }
}

/// A level's name in any case; `None` for `False`.
pub(super) fn level(text: &str) -> Checked<Option<LogLevel>> {
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

pub(super) fn generation(text: &str) -> Checked<Option<Generation>> {
    match text {
        "" => Ok(None),
        "1.x" => Ok(Some(Generation::V1)),
        "2.6" => Ok(Some(Generation::V2)),
        _ => Err("1.x or 2.6, or empty to go by the firmware version"),
    }
}

pub(super) fn button(text: &str) -> Checked<Button> {
    match text {
        "auto" => Ok(Button::Auto),
        "wait" => Ok(Button::Wait),
        _ => Err("auto or wait"),
    }
}

/// The serial number: digits, without the S that the service puts before them.
pub(super) fn serial(text: &str) -> Checked<u32> {
    const RIGHT: &str = "a number from 1 to 4294967295, digits only";
    if text.starts_with(['S', 's']) {
        return Err("the digits alone: leave out the S that it begins with");
    }
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(RIGHT);
    }
    text.parse().ok().filter(|&serial| serial != 0).ok_or(RIGHT)
}

/// The password: 64 hex digits.
pub(super) fn password(text: &str) -> Checked<&str> {
    if text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        Ok(text)
    } else {
        Err("64 hexadecimal digits (it is not shown here)")
    }
}

/// The machine's name, or the version of its application: what travels in JSON and needs no escape.
pub(super) fn name(text: &str) -> Checked<&str> {
    if is_plain(text) { Ok(text) } else { Err("letters, digits, dots, dashes and underscores") }
}

/// A firmware version: two numbers with a dot between them, and what follows.
pub(super) fn version(text: &str) -> Checked<&str> {
    const MOST_CHARS: usize = 64;
    let mut parts = text.splitn(2, '.');
    let digits = |c: char| c.is_ascii_digit();
    let begins = parts.next().is_some_and(|major| !major.is_empty() && major.chars().all(digits))
        && parts.next().is_some_and(|minor| minor.starts_with(digits));
    let plain = text.len() <= MOST_CHARS && is_plain(&text.replace('+', "-")) && !text.contains("..");
    if begins && plain { Ok(text) } else { Err("a version such as 2.6.0-2228") }
}

/// An address as the machine reports it. None is connected to.
pub(super) fn address(text: &str) -> Checked<IpAddr> {
    text.parse().map_err(|_| "an IP address such as 192.168.100.101")
}

/// What can stand in a header of HTTP: a User-Agent.
pub(super) fn header(text: &str) -> Checked<&str> {
    let plain = !text.is_empty() && text.trim() == text && text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    if plain { Ok(text) } else { Err("some text in plain ASCII, on one line") }
}

/// What can be a part of a file's name and lead nowhere else.
pub(super) fn thickness(text: &str) -> Checked<&str> {
    if is_plain(text) {
        Ok(text)
    } else {
        Err("what the pictures' names have, such as .230: letters, digits, dots, dashes")
    }
}

fn is_plain(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'))
}

/// A path, relative to the current directory where it is relative.
pub(super) fn path(text: &str) -> Checked<PathBuf> {
    if text.is_empty() || text.contains(char::is_control) { Err("a path, on one line") } else { Ok(text.into()) }
}

/// A path, or nothing.
pub(super) fn optional_path(text: &str) -> Checked<Option<PathBuf>> {
    if text.is_empty() { Ok(None) } else { path(text).map(Some) }
}

/// A number of the head, or nothing: as in the header of a pulse file, 32 bits. `1100.0` is one too: the Python clients
/// take it.
pub(super) fn head_number(text: &str) -> Checked<Option<i64>> {
    if text.is_empty() {
        return Ok(None);
    }
    let number: f64 = text.parse().map_err(|_| HEAD_NUMBER)?;
    if number.fract() != 0.0 || !(0.0..=f64::from(u32::MAX)).contains(&number) {
        return Err(HEAD_NUMBER);
    }
    #[expect(clippy::cast_possible_truncation, reason = "whole, and in the range of 32 bits")]
    Ok(Some(number as i64))
}

const HEAD_NUMBER: &str = "a whole number from 0 to 4294967295";

/// The same, of a configuration that was built in code.
pub(super) fn head(number: Option<i64>) -> Checked<()> {
    if number.is_none_or(|number| u32::try_from(number).is_ok()) { Ok(()) } else { Err(HEAD_NUMBER) }
}

/// How far something is on, in a hundred, or nothing.
pub(super) fn percent(text: &str) -> Checked<()> {
    optional_number(text, 0.0..=100.0, "a number from 0 to 100")
}

/// A temperature of the coolant in degrees Celsius, or nothing.
pub(super) fn temperature(text: &str) -> Checked<()> {
    optional_number(text, -100.0..=200.0, "a number of degrees Celsius, from -100 to 200")
}

/// Half steps of the lens, or nothing. Its whole way has 36.
pub(super) fn steps(text: &str) -> Checked<()> {
    optional_number(text, -100.0..=100.0, "a number of half steps, from -100 to 100")
}

fn optional_number(text: &str, range: RangeInclusive<f64>, right: &'static str) -> Checked<()> {
    // NaN is in no range.
    let good = text.is_empty() || text.parse().is_ok_and(|number: f64| range.contains(&number));
    if good { Ok(()) } else { Err(right) }
}

/// A size that something may not pass.
pub(super) fn limit_bytes(text: &str) -> Checked<u64> {
    text.parse().map_err(|_| "a number of bytes, 1 or more").and_then(limit)
}

pub(super) fn limit(bytes: u64) -> Checked<u64> {
    if bytes == 0 { Err("a number of bytes, 1 or more") } else { Ok(bytes) }
}

pub(super) fn seconds(text: &str) -> Checked<Duration> {
    const RIGHT: &str = "a number of seconds, from 0 to 31536000 (a year)";
    let seconds: f64 = text.parse().map_err(|_| RIGHT)?;
    if !(0.0..=MAX_TIME_S).contains(&seconds) {
        return Err(RIGHT);
    }
    Duration::try_from_secs_f64(seconds).map_err(|_| RIGHT)
}

pub(super) fn time(time: Duration) -> Checked<Duration> {
    if time.as_secs_f64() <= MAX_TIME_S { Ok(time) } else { Err("at most a year") }
}

pub(super) fn time_scale_text(text: &str) -> Checked<f64> {
    text.parse().map_err(|_| "a number from 0 (at once) through 1 (as the machine) to 1000").and_then(time_scale)
}

pub(super) fn time_scale(scale: f64) -> Checked<f64> {
    // NaN is in no range.
    if (0.0..=MAX_TIME_SCALE).contains(&scale) {
        // Not -0.0, which would make a negative duration's sign out of nothing.
        Ok(scale.abs())
    } else {
        Err("a number from 0 (at once) through 1 (as the machine) to 1000")
    }
}

/// A service's base address, without the slashes at its end.
///
/// `secure` is its scheme (`https`, `wss`), `plain` the one for loopback hosts only.
pub(super) fn url<'t>(text: &'t str, secure: &str, plain: &str) -> Checked<&'t str> {
    // What http::Uri would take for a part of the host, or drop.
    if text.contains('@') {
        return Err("a URL without a name and password in it");
    }
    if text.contains(['?', '#']) {
        return Err("a URL without ? and #: they would end up in the middle of others");
    }
    let right = || if secure == "https" { "a URL such as https://host" } else { "a URL such as wss://host" };
    let trimmed = text.trim_end_matches('/');
    let uri: Uri = trimmed.parse().map_err(|_| right())?;
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return Err(right());
    };
    let host = authority.host();
    // A port that is empty or too large is one that `port_u16` does not know.
    let port_is_right = authority.as_str() == host || authority.port_u16().is_some_and(|port| port != 0);
    if host.is_empty() || host == "[]" || !port_is_right {
        return Err(right());
    }
    if scheme.eq_ignore_ascii_case(secure) || (scheme.eq_ignore_ascii_case(plain) && is_loopback(host)) {
        return Ok(trimmed);
    }
    Err(match (scheme.eq_ignore_ascii_case(plain), secure) {
        (true, "https") => "https: plain http is for localhost, 127.x.x.x and [::1] only",
        (true, _) => "wss: plain ws is for localhost, 127.x.x.x and [::1] only",
        (false, _) => right(),
    })
}

/// `localhost`, 127.0.0.0/8 and `::1` (in brackets or not), by how they are written: nothing is looked up.
pub(super) fn is_loopback(host: &str) -> bool {
    let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    host.eq_ignore_ascii_case("localhost")
        || address.parse().is_ok_and(|address: IpAddr| address.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_pythons_booleans_count() {
        assert_eq!(boolean("True"), Ok(true));
        assert_eq!(boolean("False"), Ok(false));
        for text in ["true", "FALSE", "1", "0", "yes", "", "True False"] {
            assert!(boolean(text).is_err(), "{text}");
        }
    }

    #[test]
    fn serials_are_digits() {
        assert_eq!(serial("1"), Ok(1));
        assert_eq!(serial("4294967295"), Ok(u32::MAX));
        assert!(serial("S12345678").expect_err("an S").contains("leave out the S"));
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
    fn plain_text_stays_on_this_machine() {
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
    fn numbers_are_in_their_ranges() {
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
        assert_eq!(limit_bytes("1"), Ok(1));
        for text in ["", "0", "-1", "1.5", "1 MB"] {
            assert!(limit_bytes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn texts_that_travel_cannot_bring_anything_along() {
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
