//! What an option takes: numbers in a range, times, addresses. Every complaint says which range that is, in what.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use clap::Command;

/// What options that take a number, or an address with one, are named for in the help.
const OF_NUMBERS: [&str; 10] = ["N", "S", "MM", "X,Y", "MM_S", "PART", "LEVEL", "HZ", "PX", "BYTES"];
/// A year.
const LONGEST_S: f64 = 31_536_000.0;

/// Has every option that takes a number take what begins with a minus sign, too: what is wrong with that is the range.
pub(crate) fn with_signs(command: Command) -> Command {
    command
        .mut_args(|arg| if takes_a_number(&arg) { arg.allow_hyphen_values(true) } else { arg })
        .mut_subcommands(with_signs)
}

fn takes_a_number(arg: &clap::Arg) -> bool {
    let names = arg.get_value_names().unwrap_or_default();
    names.iter().any(|name| OF_NUMBERS.contains(&name.as_str()) || name.as_str() == ADDRESS)
}

/// What options that take an address are named for.
pub(crate) const ADDRESS: &str = "[ADDR:]PORT";

/// A whole number in a range.
pub(crate) fn whole<T>(range: RangeInclusive<T>, what: &'static str) -> impl Fn(&str) -> Result<T, String> + Clone
where
    T: FromStr + PartialOrd + Display + Clone,
{
    move |text| {
        let good = text.trim().parse().ok().filter(|number| range.contains(number));
        good.ok_or_else(|| format!("expected a whole number{what} from {} to {}", range.start(), range.end()))
    }
}

/// A number in a range. One that is not a number is in none.
pub(crate) fn real(range: RangeInclusive<f64>, what: &'static str) -> impl Fn(&str) -> Result<f64, String> + Clone {
    move |text| {
        let good = number(text).filter(|number| range.contains(number));
        good.ok_or_else(|| format!("expected a number{what} from {} to {}", range.start(), range.end()))
    }
}

/// Two numbers in a range, as `X,Y`.
pub(crate) fn pair(
    range: RangeInclusive<f64>,
    what: &'static str,
) -> impl Fn(&str) -> Result<[f64; 2], String> + Clone {
    move |text| {
        let pair = text.split_once(',').and_then(|(x, y)| Some([number(x)?, number(y)?]));
        let good = pair.filter(|pair| pair.iter().all(|number| range.contains(number)));
        good.ok_or_else(|| {
            let (least, most) = (range.start(), range.end());
            format!("expected two numbers{what} from {least} to {most}, with a comma between them, such as 20,30")
        })
    }
}

/// A part of all, as a number or in sevenths.
pub(crate) fn part(text: &str) -> Result<f64, String> {
    let part = match text.split_once('/') {
        Some((part, "7")) => number(part).map(|part| part / 7.0),
        Some(_) => None,
        None => number(text),
    };
    part.filter(|part| (0.0..=1.0).contains(part))
        .ok_or_else(|| "expected a number from 0 to 1, or sevenths such as 3/7".to_owned())
}

/// From a thousandth of a second up to a year.
pub(crate) fn seconds(text: &str) -> Result<Duration, String> {
    real(0.001..=LONGEST_S, " of seconds")(text).map(Duration::from_secs_f64)
}

/// A machine's serial number.
pub(crate) fn serial(text: &str) -> Result<u32, String> {
    whole(0..=u32::MAX, "")(text)
}

/// An address and a port, or a port of this computer alone. Whether it can be listened on is seen later.
pub(crate) fn address(text: &str) -> Result<String, String> {
    let is_port = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok();
    // An address with colons in it is in brackets.
    let is_host =
        |host: &str| !host.is_empty() && (!host.contains(':') || (host.starts_with('[') && host.ends_with(']')));
    let (host, port) = text.rsplit_once(':').unwrap_or(("", text));
    match host {
        "" if is_port(port) => Ok(format!("127.0.0.1:{port}")),
        host if is_host(host) && is_port(port) => Ok(text.to_owned()),
        _ => {
            Err("expected a port from 0 to 65535, or an address and a port, such as 8443 or 127.0.0.1:8443".to_owned())
        }
    }
}

fn number(text: &str) -> Option<f64> {
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_alone_is_of_this_computer() {
        for text in ["8080", ":8080", "127.0.0.1:8080"] {
            assert_eq!(address(text).as_deref(), Ok("127.0.0.1:8080"));
        }
        for text in ["0.0.0.0:0", "[::1]:8443", "localhost:1"] {
            assert_eq!(address(text).as_deref(), Ok(text));
        }
        for text in ["", ":", "::", "::1", "99999", "localhost", "a:b", "127.0.0.1:99999", "127.0.0.1:+1", "-1", "+1"] {
            assert!(address(text).is_err_and(|e| e.contains("0 to 65535")), "{text}");
        }
    }

    #[test]
    fn only_times_that_can_be_waited_for_are_seconds() {
        assert_eq!(seconds("0.5"), Ok(Duration::from_millis(500)));
        for text in ["", "0", "-1", "NaN", "inf", "1e99", "5s"] {
            assert_eq!(seconds(text), Err("expected a number of seconds from 0.001 to 31536000".to_owned()), "{text}");
        }
    }

    #[test]
    fn a_part_may_be_in_sevenths() {
        assert_eq!((part("3/7"), part("0.5")), (Ok(3.0 / 7.0), Ok(0.5)));
        for text in ["", "8/7", "1/2", "-1", "nan", "2", "/7"] {
            assert!(part(text).is_err_and(|e| e.contains("0 to 1")), "{text}");
        }
    }
}
