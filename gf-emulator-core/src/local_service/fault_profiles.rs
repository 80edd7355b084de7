//! Named sets of faults, read from `fault_profiles.json`.

use std::sync::LazyLock;

use serde::Deserialize;

use super::fault::Fault;
use crate::ParseError;

/// A named set of faults.
#[derive(Debug, Clone, Deserialize)]
#[non_exhaustive]
pub struct FaultProfile {
    /// Its name, such as `flaky-wifi`.
    pub name: String,
    /// What it stands for, in a few words.
    pub about: String,
    /// Its faults, as text.
    pub faults: Vec<String>,
}

impl FaultProfile {
    /// Returns all profiles: `flaky-wifi`, `hourly-cut`, `overloaded`, `expired-tokens`.
    #[must_use]
    pub fn all() -> &'static [Self] {
        static ALL: LazyLock<Vec<FaultProfile>> = LazyLock::new(|| {
            serde_json::from_str(include_str!("fault_profiles.json")).expect("a test reads the profiles")
        });
        &ALL
    }

    /// Returns the faults of `NAME` or `NAME:SCALE`. The scale multiplies all times: `hourly-cut:0.01` cuts every 36 s.
    ///
    /// # Errors
    ///
    /// If there is no such profile, or the scale is not a number from 0.000001 to 1000.
    ///
    /// ```
    /// use gf_emulator_core::local_service::{Fault, FaultProfile};
    ///
    /// let scaled = FaultProfile::faults("hourly-cut:0.01").unwrap();
    /// assert_eq!(scaled, ["cut=fin after_s=36".parse::<Fault>().unwrap()]);
    /// ```
    #[expect(clippy::missing_panics_doc, reason = "they are part of the program, and a test parses them")]
    pub fn faults(text: &str) -> Result<Vec<Fault>, ParseError> {
        let (name, scale) = match text.split_once(':') {
            None => (text, 1.0),
            Some((name, scale)) => {
                let scale = scale.parse().ok().filter(|scale| (1e-6..=1e3).contains(scale));
                let expected = "the scale after the colon is not a number from 0.000001 to 1000";
                (name, scale.ok_or_else(|| ParseError::new(expected))?)
            }
        };
        let Some(profile) = Self::all().iter().find(|profile| profile.name == name) else {
            let names: Vec<_> = Self::all().iter().map(|profile| profile.name.as_str()).collect();
            return Err(ParseError::new(format!(
                "there is no profile {name:?}; the profiles are {}",
                names.join(", ")
            )));
        };
        let parsed = profile.faults.iter().map(|text| text.parse::<Fault>().expect("a test parses the profiles"));
        Ok(parsed.map(|fault| fault.scaled(scale)).collect())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::fault::{Failure, Latency};
    use super::*;

    #[test]
    fn every_profile_parses_and_can_be_scaled() {
        let names: Vec<_> = FaultProfile::all().iter().map(|profile| profile.name.as_str()).collect();
        assert_eq!(names, ["flaky-wifi", "hourly-cut", "overloaded", "expired-tokens"]);
        for profile in FaultProfile::all() {
            assert!(!FaultProfile::faults(&profile.name).unwrap().is_empty(), "{}", profile.name);
        }
        let slow = &FaultProfile::faults("overloaded:10").unwrap()[2];
        let expected = Latency::LogNormal { median: Duration::from_secs(5), sigma: 0.7 };
        assert_eq!(slow.failure, Failure::Delay(expected));
        for (text, part) in
            [("nope", "there is no profile \"nope\""), ("hourly-cut:", "scale"), ("hourly-cut:0", "scale")]
        {
            assert!(FaultProfile::faults(text).unwrap_err().to_string().contains(part), "{text}");
        }
    }
}
