//! What is done with each layer of an SVG file: settings by colour, and the job that they make.

use serde::Deserialize;

use super::super::{Builder, Error, Laser, Power, Result};
use super::contour::{Contour, cut};
use super::order::order_tagged;
use super::raster::{ENGRAVING_DPI, Engraving, Shading};
use super::svg::{Drawing, Layer};
use super::{MAX_SPEED_MM_S, MIN_SPEED_MM_S, Placement};
use crate::words::count;

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

/// The settings of a layer. What is `None` has a default: see [`Layers`].
#[derive(Debug, Clone, Copy, PartialEq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct LayerSettings {
    /// What is done with it: `do`.
    #[serde(rename = "do")]
    pub treatment: Option<Treatment>,
    /// The power.
    #[serde(deserialize_with = "power")]
    pub power: Option<Power>,
    /// The fire density, 0 to 1, instead of a power.
    pub density: Option<f64>,
    /// The speed in mm/s, 0.1 to 10000.
    pub speed: Option<f64>,
    /// The resolution of an engraving, in rows per inch: [`ENGRAVING_DPI`].
    pub dpi: Option<f64>,
    /// How grey is engraved.
    pub shading: Option<Shading>,
}

/// Settings for the layers of a drawing, by colour.
///
/// Without settings, lines are cut and filled shapes and pictures are engraved; white shapes are left out. The defaults,
/// which are assumed:
///
/// | | power | speed |
/// |---|---|---|
/// | cut | 40 | 50 mm/s |
/// | score | 20 | 100 mm/s |
/// | engrave | 20 | 150 mm/s, 270 dpi |
///
/// ```
/// use gf_emulator_core::puls::{Builder, Layers, Placement, svg};
///
/// let file = br##"<svg xmlns="http://www.w3.org/2000/svg" width="50mm" height="50mm" viewBox="0 0 50 50" fill="none">
///   <rect x="5" y="5" width="40" height="40" stroke="red"/>
///   <path d="M10 10H40" stroke="blue"/>
/// </svg>"##;
/// let mut layers = Layers::default();
/// layers.set("red=cut,power=full,speed=10")?;
/// layers.set("blue=score")?;
/// let mut job = Builder::new();
/// let remarks = layers.draw(&mut job, &svg::read(file, &svg::Settings::default())?, Placement::at(20.0, 20.0))?;
/// assert!(remarks.is_empty());
/// # Ok::<(), gf_emulator_core::puls::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct Layers {
    /// What layers have without settings of their own.
    pub base: LayerSettings,
    /// Whether layers and their lines stay in the order of the file, after the pictures. Else engravings come first, then scores, then cuts, and
    /// lines are put in [`order`](super::super::order()).
    pub keep_order: bool,
    named: Vec<(String, LayerSettings)>,
}

/// The name of the layer of all pictures, gradients and patterns.
const PICTURES: &str = "pictures";
/// The default power and speed of each treatment.
const CUT: (Power, f64) = (Power::Setting(40.0), 50.0);
const SCORE: (Power, f64) = (Power::Setting(20.0), 100.0);
const ENGRAVE: (Power, f64) = (Power::Setting(20.0), 150.0);
const DPI: f64 = 270.0;

/// What lines are cut with.
#[derive(Debug, Clone, Copy)]
struct Line {
    speed_mm_s: f64,
    laser: Laser,
}

/// The lines of a drawing by treatment.
#[derive(Default)]
struct Lines {
    scores: Vec<(Contour, Line)>,
    cuts: Vec<(Contour, Line)>,
}

impl LayerSettings {
    fn or(self, base: Self) -> Self {
        // A density in one is not overridden by a power in the other.
        let has_power = self.power.is_some() || self.density.is_some();
        Self {
            treatment: self.treatment.or(base.treatment),
            power: if has_power { self.power } else { base.power },
            density: if has_power { self.density } else { base.density },
            speed: self.speed.or(base.speed),
            dpi: self.dpi.or(base.dpi),
            shading: self.shading.or(base.shading),
        }
    }

    /// Checks the ranges. `layer` is named in errors.
    fn check(&self, layer: &str) -> Result<()> {
        let wrong = |problem: String| Err(Error::Layer { layer: layer.to_owned(), problem });
        if let Some(speed) = self.speed.filter(|speed| !(MIN_SPEED_MM_S..=MAX_SPEED_MM_S).contains(speed)) {
            return wrong(format!("speed {speed}, expected {MIN_SPEED_MM_S} to {MAX_SPEED_MM_S} mm/s"));
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

    fn line(&self, (power, speed): (Power, f64)) -> Line {
        Line { speed_mm_s: self.speed.unwrap_or(speed), laser: Laser::Print(self.density_or(power)) }
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
        let mut engraving = Engraving::new(self.speed.unwrap_or(ENGRAVE.1), self.density_or(ENGRAVE.0));
        engraving.placement = placement;
        engraving.shading = self.shading.unwrap_or_default();
        engraving
    }

    /// Returns the resolution of engravings, in rows per inch.
    #[must_use]
    pub fn engraving_dpi(&self) -> f64 {
        self.dpi.unwrap_or(DPI)
    }
}

impl Layers {
    /// Sets the layer of a colour, or `pictures`, from text such as `#ff0000=cut,power=full,speed=10` or `blue=skip`: the
    /// treatment, then fields of [`LayerSettings`].
    ///
    /// # Errors
    /// [`Error::Layer`] if a field is unknown, or a value out of range.
    pub fn set(&mut self, text: &str) -> Result<()> {
        let wrong = |layer: &str, problem: &str| Error::Layer { layer: layer.to_owned(), problem: problem.to_owned() };
        let form = "expected COLOUR=DO,KEY=VALUE.. such as '#ff0000=cut,power=full,speed=10'";
        let (layer, settings) = text.split_once('=').ok_or_else(|| wrong(text, form))?;
        let mut table = toml::Table::new();
        for (n, part) in settings.split(',').map(str::trim).enumerate() {
            let (key, value) = match part.split_once('=') {
                Some((key, value)) => (key.trim(), value.trim()),
                None if n == 0 => ("do", part),
                None => return Err(wrong(layer, form)),
            };
            let number = value.parse().ok().filter(|number: &f64| number.is_finite());
            table.insert(key.to_owned(), number.map_or_else(|| toml::Value::from(value), toml::Value::from));
        }
        let settings = LayerSettings::deserialize(table).map_err(|error| wrong(layer, error.message()))?;
        self.add(layer, settings)
    }

    /// Sets layers from a TOML file: a table for each colour, with the fields of [`LayerSettings`].
    ///
    /// ```
    /// let mut layers = gf_emulator_core::puls::Layers::default();
    /// layers.set_from_toml("[\"#ff0000\"]\ndo = \"cut\"\npower = \"full\"\nspeed = 10\n\n[blue]\ndo = \"skip\"\n")?;
    /// # Ok::<(), gf_emulator_core::puls::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Layer`] if it is not TOML, a field is unknown, or a value out of range.
    pub fn set_from_toml(&mut self, text: &str) -> Result<()> {
        // Tables keep no order; there is one for each layer, so that it does not matter.
        let tables: std::collections::BTreeMap<String, LayerSettings> = toml::from_str(text).map_err(|error| {
            Error::Layer { layer: "file".to_owned(), problem: error.to_string().trim_end().to_owned() }
        })?;
        tables.into_iter().try_for_each(|(layer, settings)| self.add(&layer, settings))
    }

    fn add(&mut self, layer: &str, settings: LayerSettings) -> Result<()> {
        settings.check(layer)?;
        self.named.push((layer.trim().to_owned(), settings));
        Ok(())
    }

    /// Adds a drawing to a job. Returns remarks: those of the drawing, and what is done with layers without settings.
    ///
    /// # Errors
    /// The job is unchanged after an error.
    /// - [`Error::Layer`] if settings are out of range, or name a layer that the drawing does not have.
    /// - Those of [`cut`], [`Raster::engrave`](super::raster::Raster::engrave), and the rasters of layers and pictures.
    pub fn draw(&self, job: &mut Builder, drawing: &Drawing, placement: Placement) -> Result<Vec<String>> {
        self.base.check("all")?;
        self.check_names(drawing)?;
        let mut remarks = drawing.remarks.clone();
        let before = job.checkpoint();
        let result = self.draw_all(job, drawing, placement, &mut remarks);
        if result.is_err() {
            job.restore(before);
        }
        result.map(|()| remarks)
    }

    fn draw_all(
        &self,
        job: &mut Builder,
        drawing: &Drawing,
        placement: Placement,
        remarks: &mut Vec<String>,
    ) -> Result<()> {
        // Each raster is engraved at once: together they could be large.
        self.engrave_pictures(job, drawing, placement, remarks)?;
        let mut lines = Lines::default();
        for layer in &drawing.layers {
            self.add_layer(job, layer, placement, &mut lines, remarks)?;
            if self.keep_order {
                std::mem::take(&mut lines).cut(job, placement, true)?;
            }
        }
        lines.cut(job, placement, self.keep_order)
    }

    /// Finds settings for layers that are not there.
    fn check_names(&self, drawing: &Drawing) -> Result<()> {
        let is_there = |name: &str| name == PICTURES || drawing.layer(name).is_some();
        let Some((missing, _)) = self.named.iter().find(|(name, _)| !is_there(name)) else { return Ok(()) };
        let names: Vec<_> = drawing.layers.iter().map(Layer::name).collect();
        let problem = format!("the drawing has no such layer; it has {}", names.join(", "));
        Err(Error::Layer { layer: missing.clone(), problem })
    }

    /// Returns the settings of a layer, and whether they are its own.
    fn settings(&self, is_named: impl Fn(&str) -> bool) -> (LayerSettings, bool) {
        let own = self.named.iter().rev().find(|(name, _)| is_named(name));
        (own.map_or(self.base, |(_, own)| own.or(self.base)), own.is_some())
    }

    /// Engraves a layer, or adds its lines.
    fn add_layer(
        &self,
        job: &mut Builder,
        layer: &Layer,
        placement: Placement,
        lines_to: &mut Lines,
        remarks: &mut Vec<String>,
    ) -> Result<()> {
        let (settings, is_own) = self.settings(|name| layer.is_named(name));
        let name = layer.name();
        let (lines, fills) = (layer.strokes.len(), layer.fills.len());
        let mut done = Vec::new();
        let mut engrave = |done: &mut Vec<String>| match layer.raster(settings.engraving_dpi())? {
            Some(raster) => {
                done.push(format!("{} engraved", count(fills, "shape")));
                raster.engrave(job, &settings.engraving(placement))
            }
            None => Ok(()),
        };
        match settings.treatment {
            Some(Treatment::Skip) => {}
            Some(Treatment::Engrave) => {
                engrave(&mut done)?;
                if lines > 0 {
                    remarks.push(format!(
                        "layer {name}: {} without an area left out of its engraving",
                        count(lines, "line")
                    ));
                }
            }
            Some(treatment @ (Treatment::Cut | Treatment::Score)) => {
                let (to, default) =
                    if treatment == Treatment::Cut { (&mut lines_to.cuts, CUT) } else { (&mut lines_to.scores, SCORE) };
                let line = settings.line(default);
                let strokes = layer.strokes.iter().cloned();
                to.extend(strokes.chain(layer.outlines()?).map(|contour| (contour, line)));
            }
            None => {
                let line = settings.line(CUT);
                lines_to.cuts.extend(layer.strokes.iter().map(|contour| (contour.clone(), line)));
                if lines > 0 {
                    done.push(format!("{} cut", count(lines, "line")));
                }
                if layer.colour == WHITE && fills > 0 {
                    done.push(format!("{} left out: white", count(fills, "shape")));
                } else {
                    engrave(&mut done)?;
                }
            }
        }
        if !is_own && !done.is_empty() {
            remarks.push(format!("layer {name}: {}, with the default settings", done.join(", ")));
        }
        Ok(())
    }

    fn engrave_pictures(
        &self,
        job: &mut Builder,
        drawing: &Drawing,
        placement: Placement,
        remarks: &mut Vec<String>,
    ) -> Result<()> {
        let (settings, is_own) = self.settings(|name| name == PICTURES);
        if drawing.pictures.is_empty() || settings.treatment == Some(Treatment::Skip) {
            return Ok(());
        }
        for picture in &drawing.pictures {
            picture.raster(settings.engraving_dpi())?.engrave(job, &settings.engraving(placement))?;
        }
        if !is_own {
            let pictures = count(drawing.pictures.len(), "picture");
            remarks.push(format!("layer {PICTURES}: {pictures} engraved, with the default settings"));
        }
        Ok(())
    }
}

const WHITE: [u8; 3] = [255; 3];

impl Lines {
    fn cut(self, job: &mut Builder, placement: Placement, keep_order: bool) -> Result<()> {
        for lines in [self.scores, self.cuts] {
            let lines = if keep_order { lines } else { order_tagged(lines, placement.find(job.head_mm())) };
            for (contour, Line { speed_mm_s, laser }) in &lines {
                cut(job, std::slice::from_ref(contour), placement, *speed_mm_s, *laser)?;
            }
        }
        Ok(())
    }
}

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

#[cfg(test)]
mod tests {
    use super::super::svg;
    use super::*;
    use crate::puls::{Job, Position};

    fn drawing(shapes: &str) -> Drawing {
        let head =
            "<svg xmlns='http://www.w3.org/2000/svg' width='100mm' height='100mm' viewBox='0 0 100 100' fill='none'>";
        svg::read(format!("{head}{shapes}</svg>").as_bytes(), &svg::Settings::default()).unwrap()
    }

    /// Returns where each run of fire begins, in mm.
    fn starts(job: &Builder) -> Vec<[f64; 2]> {
        let file = job.to_bytes();
        let mut job = Job::open(&file[..]).unwrap();
        let mm = |Position { x, y, .. }: Position| [x, y].map(|steps| (steps as f64 * 0.018_75).round());
        let mut was_lit = false;
        let mut starts = Vec::new();
        for segment in job.segments().map(Result::unwrap) {
            if segment.laser && !was_lit {
                starts.push(mm(segment.start));
            }
            was_lit = segment.laser;
        }
        starts
    }

    const BOXES: &str = "<rect x='10' y='10' width='60' height='60' stroke='red'/>\
                         <rect x='50' y='50' width='5' height='5' stroke='blue'/>";

    #[test]
    fn what_is_inside_is_cut_first_also_in_another_layer() {
        let mut layers = Layers::default();
        let made = |layers: &Layers| {
            let mut job = Builder::new();
            layers.draw(&mut job, &drawing(BOXES), Placement::default()).unwrap();
            let starts = starts(&job);
            assert_eq!(starts.len(), 2, "{starts:?}");
            starts
        };
        let inner = |[x, _]: [f64; 2]| (50.0..=55.0).contains(&x);
        assert!(inner(made(&layers)[0]));
        layers.keep_order = true;
        assert!(inner(made(&layers)[1]));
        layers.keep_order = false;
        layers.set("blue=score").unwrap();
        assert!(inner(made(&layers)[0]), "scores come before cuts");
        layers.set("blue=cut").unwrap();
        layers.set("red=score").unwrap();
        assert!(inner(made(&layers)[1]), "scores come before cuts");
    }

    #[test]
    fn outlines_of_fills_are_clipped_and_cut_once() {
        for (shape, expected_mm) in [
            ("<rect x='10' y='10' width='20' height='20' fill='red' stroke='red'/>", 80.0),
            ("<rect x='10' y='10' width='20' height='20' fill='red'/>", 80.0),
            ("<path d='M10 10H30V30' fill='red' stroke='red'/>", 40.0),
            (
                "<clipPath id='c'><rect width='20' height='100'/></clipPath>\
                 <rect x='10' y='10' width='80' height='20' fill='red' clip-path='url(#c)'/>",
                40.0,
            ),
        ] {
            let mut layers = Layers::default();
            layers.set("red=cut,power=full").unwrap();
            let mut job = Builder::new();
            layers.draw(&mut job, &drawing(shape), Placement::default()).unwrap();
            let measured = crate::puls::measure(job.reader(), crate::puls::Limits::default()).unwrap();
            assert!((measured.cut_mm - expected_mm).abs() < 0.5, "{shape}: {}", measured.cut_mm);
        }
    }

    #[test]
    fn a_failed_drawing_leaves_the_job_as_it_was() {
        let mut job = Builder::new();
        job.move_to(5.0, 5.0).unwrap();
        let before = job.to_bytes();
        let far = drawing("<path d='M10 10H20M2000 2000H2010' stroke='red'/>");
        assert!(Layers::default().draw(&mut job, &far, Placement::default()).is_err());
        let mut layers = Layers::default();
        layers.base.speed = Some(f64::NAN);
        assert!(layers.draw(&mut job, &drawing(BOXES), Placement::default()).is_err());
        assert_eq!(job.to_bytes(), before);
    }

    #[test]
    fn power_and_density_replace_each_other() {
        let mut layers = Layers::default();
        layers.base.density = Some(0.5);
        layers.set("red=cut,power=10").unwrap();
        let (red, _) = layers.settings(|name| name == "red");
        assert_eq!((red.power, red.density), (Some(Power::Setting(10.0)), None));
        assert_eq!(layers.settings(|_| false).0.density, Some(0.5));
    }
}
