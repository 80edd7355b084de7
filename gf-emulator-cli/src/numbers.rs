//! Value parsers of options: numbers in a range, times, addresses, generations. Every error names the range and the unit.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use clap::Command;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use gf_emulator_core::config::Generation;
use gf_emulator_core::fleet::Members;
use gf_emulator_core::listen_address;
use gf_emulator_core::puls::Power;

/// Value names of options that do not take a number.
pub(crate) const NO_NUMBERS: [&str; 9] =
    ["FILE", "DIR", "OUT", "URL", "NAME", "FAULT", "NAME[:SCALE]", "COLOUR=DO", "TIME=COMMAND"];
/// The value name of options that take an address.
pub(crate) const ADDRESS: &str = "[ADDR:]PORT";

/// Lets all options that take a number accept values with a minus sign: then an error names the range, and not an
/// unknown option.
pub(crate) fn with_signs(command: Command) -> Command {
    let takes_number = |arg: &clap::Arg| {
        let names = arg.get_value_names().unwrap_or_default();
        arg.get_action().takes_values()
            && arg.get_long().is_some()
            && arg.get_possible_values().is_empty()
            && names.iter().any(|name| !NO_NUMBERS.contains(&name.as_str()))
    };
    command
        .mut_args(|arg| if takes_number(&arg) { arg.allow_hyphen_values(true) } else { arg })
        .mut_subcommands(with_signs)
}

/// Parses a number in `range`, described as `what`.
pub(crate) fn within<T: FromStr + PartialOrd + Display>(
    range: RangeInclusive<T>,
    what: &'static str,
) -> impl Fn(&str) -> Result<T, String> + Clone
where
    RangeInclusive<T>: Clone,
{
    move |text| {
        let number = text.trim().parse().ok().filter(|number| range.contains(number));
        number.ok_or_else(|| format!("expected {what} from {} to {}", range.start(), range.end()))
    }
}

/// Parses the number of a machine in a recording of several.
pub(crate) fn machine(text: &str) -> Result<u32, String> {
    within(1..=Members::MOST, "the number of a machine")(text)
}

/// Parses `X,Y`, two numbers in `range`.
pub(crate) fn pair(
    range: RangeInclusive<f64>,
    unit: &'static str,
) -> impl Fn(&str) -> Result<[f64; 2], String> + Clone {
    let number = within(range.clone(), "");
    move |text| {
        let pair = text.split_once(',').and_then(|(x, y)| Some([number(x).ok()?, number(y).ok()?]));
        pair.ok_or_else(|| {
            let (min, max) = (range.start(), range.end());
            format!("expected two numbers of {unit} from {min} to {max}, separated by a comma, such as 20,30")
        })
    }
}

/// Parses a fraction: a number from 0 to 1, or sevenths.
pub(crate) fn fraction(text: &str) -> Result<f64, String> {
    let fraction = match text.split_once('/') {
        Some((sevenths, "7")) => sevenths.trim().parse::<f64>().map(|sevenths| sevenths / 7.0).ok(),
        Some(_) => None,
        None => text.trim().parse().ok(),
    };
    fraction
        .filter(|fraction| (0.0..=1.0).contains(fraction))
        .ok_or_else(|| "expected a number from 0 to 1, or sevenths such as 3/7".to_owned())
}

/// Parses a power as in the app: 1 to 100, or `full`.
pub(crate) fn power(text: &str) -> Result<Power, String> {
    if text.eq_ignore_ascii_case("full") {
        return Ok(Power::Full);
    }
    let setting = text.trim().parse().ok().and_then(|setting| Power::setting(setting).ok());
    setting.ok_or_else(|| "expected a number from 1 to 100, or full".to_owned())
}

/// Parses a generation of the protocol.
pub(crate) fn generation() -> impl TypedValueParser<Value = Generation> {
    let names = PossibleValuesParser::new(["1.x", "2.6"]);
    names.map(|name| if name == "1.x" { Generation::V1 } else { Generation::V2 })
}

/// Parses a time in seconds, from a millisecond to a year.
pub(crate) fn seconds(text: &str) -> Result<Duration, String> {
    within(0.001..=31_536_000.0, "a number of seconds")(text).map(Duration::from_secs_f64)
}

/// Parses a machine's serial number.
pub(crate) fn serial(text: &str) -> Result<u32, String> {
    within(0..=u32::MAX, "a whole number")(text)
}

/// Parses an address and a port; a port alone means 127.0.0.1:PORT.
pub(crate) fn address(text: &str) -> Result<String, String> {
    let expected = "expected a port from 0 to 65535, or an address and a port, such as 8443 or 127.0.0.1:8443";
    listen_address(text).ok_or_else(|| expected.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_from_a_millisecond_to_a_year() {
        assert_eq!(seconds("0.5"), Ok(Duration::from_millis(500)));
        for text in ["", "0", "-1", "NaN", "inf", "1e99", "5s"] {
            assert_eq!(seconds(text), Err("expected a number of seconds from 0.001 to 31536000".to_owned()), "{text}");
        }
    }

    #[test]
    fn a_fraction_may_be_sevenths() {
        assert_eq!((fraction("3/7"), fraction("0.5")), (Ok(3.0 / 7.0), Ok(0.5)));
        for text in ["", "8/7", "1/2", "-1", "nan", "2", "/7"] {
            assert!(fraction(text).is_err_and(|e| e.contains("0 to 1")), "{text}");
        }
    }
}
