//! The settings of a layer of an SVG file.

use serde::Deserialize;

use super::super::{Error, Laser, Power, Result};
use super::raster::{ENGRAVING_DPI, Engraving, Shading};
use super::{MAX_SPEED_MM_S, MIN_SPEED_MM_S, Placement};

/// What is done with a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Treatment {
    /// Lines, and the outlines of filled shapes, are cut.
    Cut,
    /// The same, before all cuts and with less power.
    Score,
    /// Filled shapes are engraved, before all lines.
    Engrave,
    /// Nothing.
    Skip,
}

/// The settings of a layer. What is `None` has a default: see [`Layers`](super::super::Layers).
#[derive(Debug, Clone, Copy, PartialEq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct LayerSettings {
    /// What is done with it: `do`.
    #[serde(rename = "do")]
    pub treatment: Option<Treatment>,
    /// The power. Giving `density` as well is an error.
    #[serde(deserialize_with = "power")]
    pub power: Option<Power>,
    /// The fire density, 0 to 1, instead of a power.
    pub density: Option<f64>,
    /// The speed in mm/s, 0.1 to 10000: `speed`.
    #[serde(rename = "speed")]
    pub speed_mm_s: Option<f64>,
    /// The resolution of an engraving, in rows per inch: [`ENGRAVING_DPI`].
    pub dpi: Option<f64>,
    /// How grey is engraved.
    pub shading: Option<Shading>,
}

/// The default power and speed of each treatment.
pub(super) const CUT: (Power, f64) = (Power::Setting(40.0), 50.0);
pub(super) const SCORE: (Power, f64) = (Power::Setting(20.0), 100.0);
const ENGRAVE: (Power, f64) = (Power::Setting(20.0), 150.0);
const DPI: f64 = 270.0;

/// What lines are cut with.
#[derive(Debug, Clone, Copy)]
pub(super) struct Line {
    pub(super) speed_mm_s: f64,
    pub(super) laser: Laser,
}

impl LayerSettings {
    pub(super) fn or(self, base: Self) -> Self {
        // A density in one is not overridden by a power in the other.
        let has_power = self.power.is_some() || self.density.is_some();
        Self {
            treatment: self.treatment.or(base.treatment),
            power: if has_power { self.power } else { base.power },
            density: if has_power { self.density } else { base.density },
            speed_mm_s: self.speed_mm_s.or(base.speed_mm_s),
            dpi: self.dpi.or(base.dpi),
            shading: self.shading.or(base.shading),
        }
    }

    /// Checks the ranges. `layer` is named in errors.
    pub(super) fn check(&self, layer: &str) -> Result<()> {
        let wrong = |problem: String| Err(Error::Layer { layer: layer.to_owned(), problem });
        if let Some(speed) = self.speed_mm_s.filter(|speed| !(MIN_SPEED_MM_S..=MAX_SPEED_MM_S).contains(speed)) {
            return wrong(format!("speed {speed}, expected {MIN_SPEED_MM_S} to {MAX_SPEED_MM_S} mm/s"));
        }
        if self.power.is_some() && self.density.is_some() {
            return wrong("power and density replace each other: give one of them".to_owned());
        }
        if let Some(density) = self.density.filter(|density| !(0.0..=1.0).contains(density)) {
            return wrong(format!("density {density}, expected 0 to 1"));
        }
        if let Some(dpi) = self.dpi.filter(|dpi| !ENGRAVING_DPI.contains(dpi)) {
            return wrong(format!("dpi {dpi}, expected {} to {}", ENGRAVING_DPI.start(), ENGRAVING_DPI.end()));
        }
        Ok(())
    }

    fn density_or(&self, power: Power) -> f64 {
        self.density.unwrap_or_else(|| self.power.unwrap_or(power).density())
    }

    pub(super) fn line(&self, (power, speed): (Power, f64)) -> Line {
        Line { speed_mm_s: self.speed_mm_s.unwrap_or(speed), laser: Laser::Print(self.density_or(power)) }
    }

    /// Returns the speed in mm/s and the laser with which these settings cut.
    #[must_use]
    pub fn cutting(&self) -> (f64, Laser) {
        let Line { speed_mm_s, laser } = self.line(CUT);
        (speed_mm_s, laser)
    }

    /// Returns how these settings engrave.
    #[must_use]
    pub fn engraving(&self, placement: Placement) -> Engraving {
        let mut engraving = Engraving::new(self.speed_mm_s.unwrap_or(ENGRAVE.1), self.density_or(ENGRAVE.0));
        engraving.placement = placement;
        engraving.shading = self.shading.unwrap_or_default();
        engraving
    }

    /// Returns the resolution of engravings, in rows per inch.
    #[must_use]
    pub fn engraving_dpi(&self) -> f64 {
        self.dpi.unwrap_or(DPI)
    }

    /// Describes how lines are cut, for people.
    pub(super) fn describe_cutting(&self) -> String {
        format!("{}, {} mm/s", self.describe_power(CUT.0), self.speed_mm_s.unwrap_or(CUT.1))
    }

    /// Describes how shapes and pictures are engraved, for people.
    pub(super) fn describe_engraving(&self) -> String {
        let speed = self.speed_mm_s.unwrap_or(ENGRAVE.1);
        format!("{}, {speed} mm/s, {} dpi", self.describe_power(ENGRAVE.0), self.engraving_dpi())
    }

    fn describe_power(&self, default: Power) -> String {
        match (self.density, self.power.unwrap_or(default)) {
            (Some(density), _) => format!("density {}", (density * 1000.0).round() / 1000.0),
            (None, Power::Setting(setting)) => format!("power {setting}"),
            (None, power) => format!("{power:?} power").to_lowercase(),
        }
    }
}

/// Reads settings from text such as `cut,power=full,speed=10`: the treatment, then other fields. Returns what is wrong.
pub(super) fn from_text(text: &str) -> std::result::Result<LayerSettings, String> {
    let mut table = toml::Table::new();
    for (n, part) in text.split(',').map(str::trim).enumerate() {
        let (key, value) = match part.split_once('=') {
            Some((key, value)) => (key.trim(), value.trim()),
            None if n == 0 => ("do", part),
            None => return Err(FORM.to_owned()),
        };
        let number = value.parse().ok().filter(|number: &f64| number.is_finite());
        let value = match number {
            Some(number) if !matches!(key, "do" | "shading") => toml::Value::from(number),
            None if matches!(key, "density" | "speed" | "dpi") => {
                return Err(format!("{key} {value:?}, expected a number"));
            }
            _ => toml::Value::from(value),
        };
        if table.insert(key.to_owned(), value).is_some() {
            return Err(format!("{key} is given twice"));
        }
    }
    LayerSettings::deserialize(table).map_err(|error| in_plain_words(error.message()))
}

/// Rewrites an error about settings without words of the programming language.
pub(super) fn in_plain_words(message: &str) -> String {
    [
        ("unknown variant", "unknown value"),
        ("unknown field", "unknown setting"),
        ("invalid type: ", ""),
        ("unit variant", "a number"),
        ("string only", "text"),
        ("floating point", "number"),
        ("struct LayerSettings", "a table of settings"),
        ("f64", "a number"),
    ]
    .into_iter()
    .fold(message.trim_end().to_owned(), |message, (from, to)| message.replace(from, to))
}

/// What settings of a layer look like.
pub(super) const FORM: &str = "expected COLOUR=DO,KEY=VALUE.. such as 'red=cut,power=full,speed=10'";

/// Reads a power: a number from 1 to 100, or `full`.
fn power<'de, D: serde::Deserializer<'de>>(deserializer: D) -> std::result::Result<Option<Power>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Written {
        Number(f64),
        Text(String),
    }
    let wrong = || serde::de::Error::custom("power: expected a number from 1 to 100, or full");
    match Written::deserialize(deserializer).map_err(|_| wrong())? {
        Written::Number(setting) => Power::setting(setting).map(Some).map_err(|_| wrong()),
        Written::Text(text) if text.eq_ignore_ascii_case("full") => Ok(Some(Power::Full)),
        Written::Text(_) => Err(wrong()),
    }
}
