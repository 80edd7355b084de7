//! The laser's power: settings of the app as fire density, and power bytes.

use crate::puls::{Error, Result, tick};

/// A power as the Glowforge app has it.
///
/// The app's power does not reach the machine: the service turns it into fire density (measured on hardware).
///
/// ```
/// use gf_emulator_core::puls::Power;
///
/// assert!((Power::setting(1.0)?.density() - 0.195).abs() < 0.001);
/// assert!((Power::setting(100.0)?.density() - 0.795).abs() < 0.001);
/// assert!((Power::Full.density() - 0.9965).abs() < 0.0001);
/// assert_eq!(Power::of_density(0.6), Some(Power::setting(68.0)?));
/// # Ok::<(), gf_emulator_core::puls::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Power {
    /// "Precision power", 1 to 100: see [`Power::setting`].
    Setting(f64),
    /// "Full power", which is more than a setting of 100.
    Full,
}

/// The density of a setting is `AT_ZERO + PER_SETTING * setting`: a line through two settings that were measured on
/// hardware, 1 (0.1953) and 100 (0.7952). That those between lie on it is assumed.
const AT_ZERO: f64 = 0.1892;
const PER_SETTING: f64 = 0.006_06;
/// The density at full power (measured on hardware).
const FULL: f64 = 0.9965;

impl Power {
    /// Creates a power from a setting of 1 to 100.
    ///
    /// # Errors
    /// [`Error::Make`] outside that range.
    pub fn setting(setting: f64) -> Result<Self> {
        if (1.0..=100.0).contains(&setting) {
            Ok(Self::Setting(setting))
        } else {
            Err(Error::Make { what: "power setting", value: setting, expected: "1 to 100" })
        }
    }

    /// Returns the fire density: the share of ticks that fire, 0 to 1.
    #[must_use]
    pub fn density(self) -> f64 {
        match self {
            Self::Setting(setting) => AT_ZERO + PER_SETTING * setting,
            Self::Full => FULL,
        }
    }

    /// Returns the power with about that fire density, rounded to a whole setting. `None` below a setting of 1. What is
    /// nearer to full power than to 100 is full power.
    #[must_use]
    pub fn of_density(density: f64) -> Option<Self> {
        let setting = ((density - AT_ZERO) / PER_SETTING).round();
        if setting < 1.0 {
            None
        } else if setting <= 100.0 {
            Some(Self::Setting(setting))
        } else if density < f64::midpoint(Self::Setting(100.0).density(), FULL) {
            Some(Self::Setting(100.0))
        } else {
            Some(Self::Full)
        }
    }
}

impl std::fmt::Display for Power {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Setting(setting) => write!(f, "{setting}"),
            Self::Full => f.write_str("full"),
        }
    }
}

impl serde::Serialize for Power {
    /// Serializes as a number or `"full"`.
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        match self {
            Self::Setting(setting) => serializer.serialize_f64(*setting),
            Self::Full => serializer.serialize_str("full"),
        }
    }
}

/// How many ticks after a power byte the next one comes while the laser fires: as in captured prints, at 10 kHz.
const REPEAT_TICKS: usize = 27_000;

/// When a body needs a power byte: before the laser fires for the first time, when the level has changed, and then from
/// time to time while it fires.
#[derive(Debug, Clone, Copy)]
pub(super) struct PowerBytes {
    level: u8,
    /// The tick and the level of the last power byte.
    last: Option<(usize, u8)>,
}

impl Default for PowerBytes {
    /// The level of all captured prints of firmware 2.6.
    fn default() -> Self {
        Self { level: tick::LEVEL, last: None }
    }
}

impl PowerBytes {
    /// Sets the level, 0 to 127, from the next firing tick on.
    pub(super) fn set_level(&mut self, level: u8) {
        self.level = level;
    }

    /// Returns whether the laser may have fired: it does not without a power byte.
    pub(super) fn any(&self) -> bool {
        self.last.is_some()
    }

    /// Returns the power byte that has to come before a firing tick at the end of the body, if one is due.
    pub(super) fn due(&mut self, body: &[u8]) -> Option<u8> {
        let now = body.len();
        if self.last.is_some_and(|(tick, level)| level == self.level && now - tick < REPEAT_TICKS) {
            return None;
        }
        self.last = Some((now, self.level));
        Some(tick::POWER | self.level)
    }
}
