//! What is to be done with each layer of an SVG file: settings by colour.

use std::collections::{BTreeMap, HashSet};

use svgtypes::Color;

use super::super::{Error, Result};
use super::layer_settings::{FORM, LayerSettings, Treatment, from_text, in_plain_words};
use super::svg::{Drawing, Layer};
use super::text_position::TextPosition;

/// Settings for the layers of a drawing, by colour.
///
/// Without settings, lines are cut and filled shapes and pictures are engraved. White lines and shapes are left out, with a
/// remark: the page is white, so that they are not to be seen. They are drawn if white has settings of its own. The
/// defaults, which are assumed:
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
    /// Whether layers and their lines stay in the order of the file, after the pictures. Else engravings come first, then
    /// scores, then cuts, and lines are put in [`order`](super::super::order()).
    pub keep_order: bool,
    named: Named,
    from_file: Named,
}

/// Settings, with the name under which they were given.
type Named = BTreeMap<Subject, (String, LayerSettings)>;

/// What settings are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Subject {
    Pictures,
    Colour([u8; 3]),
}

/// The longest file of settings, in bytes.
const MAX_SETTINGS_BYTES: usize = 1 << 20;
/// More layers than these are not named in remarks and errors.
pub(super) const MAX_NAMED: usize = 30;
/// The name of the layer of all pictures, gradients and patterns.
pub(super) const PICTURES: &str = "pictures";

impl Layers {
    /// Sets the layer of a colour, or `pictures`, from text such as `#ff0000=cut,power=full,speed=10` or `blue=skip`: the
    /// treatment, then fields of [`LayerSettings`]. Overrides settings from a file.
    ///
    /// # Errors
    /// [`Error::Layer`] if the layer is no colour or is set already, a field is unknown, or a value out of range.
    pub fn set(&mut self, text: &str) -> Result<()> {
        let (layer, settings) = text.split_once('=').ok_or_else(|| wrong(text, FORM))?;
        let settings = from_text(settings).map_err(|problem| wrong(layer, problem))?;
        add(&mut self.named, layer, settings)
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
    /// [`Error::Drawing`] if it is not TOML or longer than 1 MiB, or a field is unknown; [`Error::Layer`] if a layer is no
    /// colour or there twice, or a value out of range.
    pub fn set_from_toml(&mut self, text: &str) -> Result<()> {
        let wrong_at = |offset: usize, found: &str| {
            TextPosition::of(text.as_bytes(), offset).error(found, "a TOML table for each colour, such as [red]")
        };
        if text.len() > MAX_SETTINGS_BYTES {
            return Err(wrong_at(0, "a file longer than 1 MiB"));
        }
        // Tables keep no order; there is one for each layer, so that it does not matter.
        let tables: BTreeMap<String, LayerSettings> = toml::from_str(text)
            .map_err(|error| wrong_at(error.span().map_or(0, |span| span.start), &in_plain_words(error.message())))?;
        tables.into_iter().try_for_each(|(layer, settings)| add(&mut self.from_file, &layer, settings))
    }

    /// Returns all settings, with the names under which they were given.
    pub(super) fn given(&self) -> impl Iterator<Item = &(String, LayerSettings)> {
        self.named.values().chain(self.from_file.values())
    }

    /// Finds settings for layers that are not there, and drawings of which nothing is drawn.
    pub(super) fn check_names(&self, drawing: &Drawing) -> Result<()> {
        let colours: HashSet<[u8; 3]> = drawing.layers.iter().map(|layer| layer.colour).collect();
        let is_there = |subject: &Subject| match subject {
            Subject::Pictures => true,
            Subject::Colour(colour) => colours.contains(colour),
        };
        let mut given = self.named.iter().chain(&self.from_file);
        if let Some((_, (missing, _))) = given.find(|(subject, _)| !is_there(subject)) {
            let mut names: Vec<_> = drawing.layers.iter().take(MAX_NAMED).map(Layer::name).collect();
            names.extend((drawing.layers.len() > MAX_NAMED).then(|| "others".to_owned()));
            let names = if names.is_empty() { PICTURES.to_owned() } else { names.join(", ") };
            let problem = format!("the drawing has no such layer; it has {names}");
            return Err(wrong(missing, problem));
        }
        let has_pictures = !drawing.pictures.is_empty() && !self.is_left_out(Subject::Pictures);
        if has_pictures || !drawing.layers.iter().all(|layer| self.is_left_out(Subject::Colour(layer.colour))) {
            return Ok(());
        }
        Err(Error::Svg {
            found: "nothing to draw: every layer is skipped, or white without settings".to_owned(),
            expected: "a layer to cut, score or engrave".to_owned(),
        })
    }

    /// Returns the settings of a layer, and whether they are its own.
    pub(super) fn settings(&self, subject: Subject) -> (LayerSettings, bool) {
        let own = self.named.get(&subject).or_else(|| self.from_file.get(&subject));
        (own.map_or(self.base, |(_, own)| own.or(self.base)), own.is_some())
    }

    pub(super) fn is_left_out(&self, subject: Subject) -> bool {
        let (settings, is_own) = self.settings(subject);
        settings.treatment == Some(Treatment::Skip) || subject == Subject::Colour(WHITE) && !is_own
    }
}

/// The colour of the page.
const WHITE: [u8; 3] = [255; 3];

fn wrong(layer: &str, problem: impl Into<String>) -> Error {
    Error::Layer { layer: layer.trim().to_owned(), problem: problem.into() }
}

/// Adds settings to those of other layers.
fn add(to: &mut Named, layer: &str, settings: LayerSettings) -> Result<()> {
    settings.check(layer.trim())?;
    let subject = if layer.trim() == PICTURES {
        if matches!(settings.treatment, Some(Treatment::Cut | Treatment::Score)) {
            return Err(wrong(layer, "pictures have no lines, expected engrave or skip"));
        }
        Subject::Pictures
    } else {
        let colour: Color =
            layer.trim().parse().map_err(|_| wrong(layer, "expected a colour such as #ff0000 or red, or pictures"))?;
        Subject::Colour([colour.red, colour.green, colour.blue])
    };
    match to.insert(subject, (layer.trim().to_owned(), settings)) {
        None => Ok(()),
        Some(_) => Err(wrong(layer, "it is set twice, perhaps under two names of its colour: once is expected")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::puls::Power;

    #[test]
    fn errors_in_a_file_of_settings_have_their_place() {
        for (file, expected) in [
            ("[blue]\ndo = 'cut'\n[red]\nspeed = 'x'", "line 4, column 9: string \"x\", expected a number"),
            ("red = 5", "line 1, column 7: integer `5`, expected a table of settings"),
            ("[red", "line 1, column 5: "),
        ] {
            let error = Layers::default().set_from_toml(file).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
        }
    }

    #[test]
    fn power_and_density_replace_each_other() {
        let mut layers = Layers::default();
        layers.base.density = Some(0.5);
        layers.set("red=cut,power=10").unwrap();
        let (red, _) = layers.settings(Subject::Colour([255, 0, 0]));
        assert_eq!((red.power, red.density), (Some(Power::Setting(10.0)), None));
        assert_eq!(layers.settings(Subject::Pictures).0.density, Some(0.5));
    }

    #[test]
    fn contradictions_are_refused() {
        for (settings, problem) in [
            ("red=cut,power=10,density=0.5", "layer red: power and density replace each other"),
            ("red=cut,power=10,power=20", "layer red: power is given twice"),
            ("rde=cut", "layer rde: expected a colour such as #ff0000 or red, or pictures"),
            ("=cut", "expected a colour"),
            ("red=cut,speed=fast", "layer red: speed \"fast\", expected a number"),
            ("red=5", "unknown value `5`, expected one of `cut`, `score`, `engrave`, `skip`"),
            ("red=cut,colour=1", "unknown setting `colour`, expected one of"),
            ("pictures=cut", "pictures have no lines, expected engrave or skip"),
            ("red", "such as 'red=cut,power=full,speed=10'"),
        ] {
            let error = Layers::default().set(settings).unwrap_err().to_string();
            assert!(error.contains(problem), "{settings}: {error}");
        }
        let mut layers = Layers::default();
        layers.set_from_toml("[red]\ndo = 'cut'\n[pictures]\ndo = 'skip'").unwrap();
        layers.set("#f00=score").unwrap();
        assert_eq!(layers.settings(Subject::Colour([255, 0, 0])).0.treatment, Some(Treatment::Score));
        let twice = "it is set twice, perhaps under two names of its colour";
        for error in [
            layers.set("#ff0000=cut").unwrap_err(),
            layers.set("#f00=score").unwrap_err(),
            Layers::default().set_from_toml("[red]\ndo = 'cut'\n['#FF0000']\ndo = 'cut'").unwrap_err(),
        ] {
            assert!(error.to_string().contains(twice), "{error}");
        }
        let error = Layers::default().set_from_toml("[red]\npower = 10\ndensity = 0.5").unwrap_err().to_string();
        assert!(error.contains("power and density replace each other"), "{error}");
        for text in [format!("a = {}", "[".repeat(100_000)), "x".repeat(2 << 20), "[red]\nspeed = nan".to_owned()] {
            assert!(matches!(Layers::default().set_from_toml(&text), Err(Error::Drawing { .. } | Error::Layer { .. })));
        }
    }
}
