//! What is done with each layer of an SVG file: settings by colour, and the job that they make.

use std::collections::{BTreeMap, HashSet};

use svgtypes::Color;

use super::super::{Builder, Error, Result};
use super::Placement;
use super::contour::{Contour, cut};
use super::layer_settings::{CUT, FORM, LayerSettings, Line, SCORE, Treatment, from_text, in_plain_words};
use super::order::order_tagged;
use super::region::Budget;
use super::svg::{Drawing, Layer};
use super::svg_raster::PIXEL_BUDGET;
use super::text_position::TextPosition;
use crate::words::count;

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
enum Subject {
    Pictures,
    Colour([u8; 3]),
}

/// The longest file of settings, in bytes.
const MAX_SETTINGS_BYTES: usize = 1 << 20;
/// More layers than these are not named in remarks and errors.
const MAX_NAMED: usize = 30;
/// The name of the layer of all pictures, gradients and patterns.
const PICTURES: &str = "pictures";

/// The lines of a drawing by treatment.
#[derive(Default)]
struct Lines {
    scores: Vec<(Contour, Line)>,
    cuts: Vec<(Contour, Line)>,
}

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
            TextPosition::of(text.as_bytes(), offset).error(found, "TOML with a table for each colour, such as [red]")
        };
        if text.len() > MAX_SETTINGS_BYTES {
            return Err(wrong_at(0, "a file longer than 1 MiB"));
        }
        // Tables keep no order; there is one for each layer, so that it does not matter.
        let tables: BTreeMap<String, LayerSettings> = toml::from_str(text)
            .map_err(|error| wrong_at(error.span().map_or(0, |span| span.start), &in_plain_words(error.message())))?;
        tables.into_iter().try_for_each(|(layer, settings)| add(&mut self.from_file, &layer, settings))
    }

    /// Adds a drawing to a job. Returns remarks: those of the drawing, and what is done with layers without settings.
    ///
    /// # Errors
    /// The job is unchanged after an error.
    /// - [`Error::Layer`] if settings are out of range, or name a layer that the drawing does not have.
    /// - [`Error::Svg`] if all layers are skipped or left out.
    /// - Those of [`cut`], [`Raster::engrave`](super::raster::Raster::engrave), and the rasters of layers and pictures.
    pub fn draw(&self, job: &mut Builder, drawing: &Drawing, placement: Placement) -> Result<Vec<String>> {
        self.base.check("all")?;
        self.check_names(drawing)?;
        let mut remarks = drawing.remarks.clone();
        let max = job.max_speed_mm_s();
        for (name, settings) in self.named.values().chain(self.from_file.values()) {
            if let Some(speed) = settings.speed.filter(|&speed| speed > max) {
                remarks
                    .push(format!("layer {name}: the head reaches {max} mm/s, and the speed {speed} is taken as that"));
            }
        }
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
        let budget = &mut Budget(PIXEL_BUDGET);
        // Each raster is engraved at once: together they could be large.
        self.engrave_pictures(job, drawing, placement, budget, remarks)?;
        let mut lines = Lines::default();
        let mut without_settings = Vec::new();
        for layer in &drawing.layers {
            let remark = self.add_layer(job, layer, placement, budget, &mut lines, remarks)?;
            without_settings.extend(remark);
            if self.keep_order {
                std::mem::take(&mut lines).cut(job, placement, true)?;
            }
        }
        let more = without_settings.len().saturating_sub(MAX_NAMED);
        remarks.extend(without_settings.into_iter().take(MAX_NAMED));
        if more > 0 {
            remarks.push(format!("{more} more layers have no settings"));
        }
        lines.cut(job, placement, self.keep_order)
    }

    /// Finds settings for layers that are not there, and drawings of which nothing is drawn.
    fn check_names(&self, drawing: &Drawing) -> Result<()> {
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
    fn settings(&self, subject: Subject) -> (LayerSettings, bool) {
        let own = self.named.get(&subject).or_else(|| self.from_file.get(&subject));
        (own.map_or(self.base, |(_, own)| own.or(self.base)), own.is_some())
    }

    fn is_left_out(&self, subject: Subject) -> bool {
        let (settings, is_own) = self.settings(subject);
        settings.treatment == Some(Treatment::Skip) || subject == Subject::Colour(WHITE) && !is_own
    }

    /// Engraves a layer, or adds its lines. Returns a remark if it has no settings.
    fn add_layer(
        &self,
        job: &mut Builder,
        layer: &Layer,
        placement: Placement,
        budget: &mut Budget,
        lines_to: &mut Lines,
        remarks: &mut Vec<String>,
    ) -> Result<Option<String>> {
        let subject = Subject::Colour(layer.colour);
        let (settings, is_own) = self.settings(subject);
        let name = layer.name();
        let mut done = Vec::new();
        let lines = (!layer.strokes.is_empty()).then(|| count(layer.strokes.len(), "line"));
        let shapes = (!layer.fills.is_empty()).then(|| count(layer.fills.len(), "shape"));
        if self.is_left_out(subject) {
            if settings.treatment == Some(Treatment::Skip) {
                return Ok(None);
            }
            let all: Vec<_> = lines.into_iter().chain(shapes).collect();
            return Ok(Some(format!(
                "layer {name} has no settings: {} left out, as the page is white",
                all.join(", ")
            )));
        }
        if let Some(treatment @ (Treatment::Cut | Treatment::Score)) = settings.treatment {
            let (to, default) =
                if treatment == Treatment::Cut { (&mut lines_to.cuts, CUT) } else { (&mut lines_to.scores, SCORE) };
            let line = settings.line(default);
            let strokes = layer.strokes.iter().cloned();
            to.extend(strokes.chain(layer.outlines()?).map(|contour| (contour, line)));
            return Ok(None);
        }
        if let Some(lines) = lines {
            if settings.treatment == Some(Treatment::Engrave) {
                remarks.push(format!("layer {name}: {lines} without an area left out of its engraving"));
            } else {
                let line = settings.line(CUT);
                lines_to.cuts.extend(layer.strokes.iter().map(|contour| (contour.clone(), line)));
                done.push(format!("{lines} cut ({})", settings.describe_cutting()));
            }
        }
        if let Some(raster) = layer.raster_within(settings.engraving_dpi(), budget)? {
            let shapes = shapes.unwrap_or_default();
            if raster.is_white() {
                remarks.push(format!("layer {name}: {shapes} too thin or too light to be engraved"));
            } else {
                done.push(format!("{shapes} engraved ({})", settings.describe_engraving()));
            }
            raster.engrave(job, &settings.engraving(placement))?;
        }
        Ok((!is_own && !done.is_empty()).then(|| format!("layer {name} has no settings: {}", done.join(", "))))
    }

    fn engrave_pictures(
        &self,
        job: &mut Builder,
        drawing: &Drawing,
        placement: Placement,
        budget: &mut Budget,
        remarks: &mut Vec<String>,
    ) -> Result<()> {
        let (settings, is_own) = self.settings(Subject::Pictures);
        if drawing.pictures.is_empty() || settings.treatment == Some(Treatment::Skip) {
            return Ok(());
        }
        let mut white = 0;
        for picture in &drawing.pictures {
            let raster = picture.raster_within(settings.engraving_dpi(), budget)?;
            white += usize::from(raster.is_white());
            raster.engrave(job, &settings.engraving(placement))?;
        }
        if white > 0 {
            remarks.push(format!("layer {PICTURES}: {} white, or too light to be engraved", count(white, "picture")));
        }
        if !is_own && white < drawing.pictures.len() {
            let pictures = count(drawing.pictures.len() - white, "picture");
            let how = settings.describe_engraving();
            remarks.push(format!("layer {PICTURES} has no settings: {pictures} engraved ({how})"));
        }
        Ok(())
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

#[cfg(test)]
mod tests {
    use super::super::svg;
    use super::*;
    use crate::puls::{Job, Position, Power};

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
        let mut scored = layers.clone();
        scored.set("blue=score").unwrap();
        assert!(inner(made(&scored)[0]), "scores come before cuts");
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
        let far = drawing("<path d='M10 10H20M20000 2000H20010' stroke='red'/>");
        assert!(Layers::default().draw(&mut job, &far, Placement::default()).is_err());
        let mut layers = Layers::default();
        layers.base.speed = Some(f64::NAN);
        assert!(layers.draw(&mut job, &drawing(BOXES), Placement::default()).is_err());
        assert_eq!(job.to_bytes(), before);
    }

    #[test]
    fn what_cannot_be_drawn_as_asked_has_a_remark() {
        for (shapes, settings, expected) in [
            ("<rect width='9' height='9' stroke='red'/>", "red=cut,speed=1000", "the head reaches 187.5 mm/s"),
            ("<rect width='9' height='.0005' fill='red'/><path d='M0 9H9' stroke='red'/>", "", "1 shape too thin"),
            ("<path d='M9 9h0M0 0H9' stroke='red'/><path d='M5 5h0' stroke='red'/>", "", "lines without a length"),
        ] {
            let mut layers = Layers::default();
            if !settings.is_empty() {
                layers.set(settings).unwrap();
            }
            let remarks = layers.draw(&mut Builder::new(), &drawing(shapes), Placement::default()).unwrap();
            assert!(remarks.iter().any(|remark| remark.contains(expected)), "{shapes}: {remarks:?}");
        }
    }

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

    #[test]
    fn white_is_left_out_unless_it_has_settings() {
        let white = "<path d='M10 10H30' stroke='#fff'/><rect x='40' y='10' width='2' height='2' fill='white'/>";
        let made = |settings: &str, shapes: &str| {
            let mut layers = Layers::default();
            settings.split_whitespace().for_each(|settings| layers.set(settings).unwrap());
            let mut job = Builder::new();
            let remarks = layers.draw(&mut job, &drawing(shapes), Placement::default())?;
            Ok::<_, Error>((starts(&job).into_iter().map(|[x, _]| x).reduce(f64::min), remarks))
        };
        let red = "<path d='M60 10H70' stroke='red'/>";
        let (start, remarks) = made("", &format!("{white}{red}")).unwrap();
        assert_eq!(start, Some(60.0));
        assert_eq!(
            remarks,
            [
                "layer #ffffff has no settings: 1 line, 1 shape left out, as the page is white",
                "layer #ff0000 has no settings: 1 line cut (power 40, 50 mm/s)",
            ]
        );
        assert_eq!(made("white=cut", white).unwrap().0, Some(10.0));
        assert_eq!(made("white=engrave", white).unwrap().0, Some(40.0));
        for (settings, shapes) in [("", white), ("red=skip", red), ("red=skip", &format!("{white}{red}"))] {
            let error = made(settings, shapes).unwrap_err().to_string();
            let expected = "the SVG file has nothing to draw: every layer is skipped, or white without settings";
            assert!(error.starts_with(expected), "{error}");
        }
    }
}
