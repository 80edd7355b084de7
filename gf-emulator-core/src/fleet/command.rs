//! [`Command`]: what a fleet is told to do, and when.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::ParseError;

/// The longest time that a command may name: a year.
const LONGEST_S: f64 = 31_536_000.0;
/// The units of times, each with its seconds.
const UNITS: [(&str, f64); 5] = [("ms", 0.001), ("s", 1.0), ("m", 60.0), ("h", 3600.0), ("", 1.0)];

/// What a fleet can be told to do.
///
/// ```
/// use std::time::Duration;
/// use gf_emulator_core::fleet::Command;
///
/// assert_eq!("blackout 60s".parse(), Ok(Command::Blackout(Duration::from_secs(60))));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Command {
    /// `storm`: all machines lose their connections and may reconnect at once.
    Storm,
    /// `blackout TIME`: all machines lose their connections, and reach nothing for this long.
    Blackout(Duration),
    /// `rolling-restart`: all machines are stopped and created anew, one tenth of them at a time.
    RollingRestart,
    /// `status`: the fleet reports its [`Status`](super::Status).
    Status,
    /// `stop`: all machines are stopped.
    Stop,
}

impl FromStr for Command {
    type Err = ParseError;

    /// Parses a line such as `blackout 60s`.
    fn from_str(text: &str) -> Result<Self, ParseError> {
        let words: Vec<_> = text.split_whitespace().collect();
        match words[..] {
            ["storm"] => Ok(Self::Storm),
            ["blackout", time] => parse_time(time).map(Self::Blackout),
            ["rolling-restart"] => Ok(Self::RollingRestart),
            ["status"] => Ok(Self::Status),
            ["stop"] => Ok(Self::Stop),
            _ => Err(ParseError::new(
                "expected one of: storm, blackout TIME (such as blackout 60s), rolling-restart, status, stop",
            )),
        }
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Storm => f.write_str("storm"),
            Self::Blackout(time) => write!(f, "blackout {}s", time.as_secs_f64()),
            Self::RollingRestart => f.write_str("rolling-restart"),
            Self::Status => f.write_str("status"),
            Self::Stop => f.write_str("stop"),
        }
    }
}

/// A command, and the time after the start at which it is due.
///
/// ```
/// use gf_emulator_core::fleet::{Command, Scheduled};
///
/// let scheduled: Scheduled = "30s=storm".parse()?;
/// assert_eq!((scheduled.after.as_secs(), scheduled.command), (30, Command::Storm));
/// # Ok::<(), gf_emulator_core::ParseError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scheduled {
    /// How long after the start of the fleet.
    pub after: Duration,
    /// What to do.
    pub command: Command,
}

impl FromStr for Scheduled {
    type Err = ParseError;

    /// Parses `TIME=COMMAND`.
    fn from_str(text: &str) -> Result<Self, ParseError> {
        let Some((after, command)) = text.split_once('=') else {
            return Err(ParseError::new("expected TIME=COMMAND, such as 30s=storm"));
        };
        Ok(Self { after: parse_time(after.trim())?, command: command.parse()? })
    }
}

/// Parses a time such as `60s`, `500ms`, `2m` or `1h`; a number alone is seconds.
fn parse_time(text: &str) -> Result<Duration, ParseError> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = UNITS.iter().find(|(unit, _)| *unit == &text[digits.len()..]);
    let seconds = unit.and_then(|(_, seconds)| Some(digits.parse::<f64>().ok()? * seconds));
    seconds
        .filter(|seconds| (0.0..=LONGEST_S).contains(seconds))
        .map(Duration::from_secs_f64)
        .ok_or_else(|| ParseError::new("expected a time from 0 to a year, such as 500ms, 60s, 2m or 1h"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units() {
        for (text, ms) in
            [("60s", 60_000), ("500ms", 500), ("1.5s", 1500), ("2m", 120_000), ("1h", 3_600_000), ("7", 7000)]
        {
            assert_eq!(parse_time(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for text in ["", "s", "-1s", "60x", "inf", "nan", "1e99s", "60 s", "9999999h", "6ös"] {
            assert!(parse_time(text).unwrap_err().to_string().contains("60s"), "{text}");
        }
    }

    #[test]
    fn a_command_is_read_as_it_is_shown() {
        for text in ["storm", "blackout 0.5s", "rolling-restart", "status", "stop"] {
            assert_eq!(text.parse::<Command>().unwrap().to_string(), text);
        }
        assert_eq!("  storm ".parse(), Ok(Command::Storm));
        for text in ["", "storms", "storm now", "blackout", "blackout x", "Stop"] {
            assert!(text.parse::<Command>().is_err(), "{text}");
        }
        for text in ["", "30s", "storm", "30s=", "x=storm", "=storm"] {
            assert!(text.parse::<Scheduled>().is_err(), "{text}");
        }
    }
}
