//! One thing that is wrong or odd in a job.

use serde::Serialize;

use super::Seconds;

/// How serious a [`Finding`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// A machine would refuse the job, stop it, or not do what it says.
    Error,
    /// Unusual, but no reason against the job.
    Remark,
}

/// Something wrong or odd in a job. Displays as `tick 1234 (0.12 s): the laser fires ..`, without the severity.
///
/// Serializes as an object with the fields below; `tick` and `time_s` are `null` for the header.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Finding {
    /// Whether it is an error.
    pub severity: Severity,
    /// The name of the rule, such as `fire-before-power`. It does not change between versions.
    pub rule: &'static str,
    /// The tick, counted from 0 from the start of the body; `None` for the header, and for the job as a whole.
    pub tick: Option<u64>,
    /// The time of that tick; `None` if the header has no step frequency.
    pub time_s: Option<f64>,
    /// What was found, and what is expected. Never has a serial number.
    pub message: String,
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.tick, self.time_s) {
            (Some(tick), Some(time_s)) => write!(f, "tick {tick} ({}): ", Seconds(time_s))?,
            (Some(tick), None) => write!(f, "tick {tick}: ")?,
            (None, _) => {}
        }
        f.write_str(&self.message)
    }
}

/// Takes what is found in the header, or in the job as a whole.
pub(super) type Find<'a> = &'a mut dyn FnMut(Severity, &'static str, String);
