//! The job of an SVG file: the settings of each layer, applied.

use super::super::{Builder, Result};
use super::Placement;
use super::contour::{Contour, cut};
use super::layer_settings::{CUT, Line, SCORE, Treatment};
use super::layers::{Layers, MAX_NAMED, PICTURES, Subject};
use super::order::order_tagged;
use super::region::Budget;
use super::svg::{Drawing, Layer};
use super::svg_raster::PIXEL_BUDGET;
use crate::words::count;

/// The lines of a drawing by treatment.
#[derive(Default)]
struct Lines {
    scores: Vec<(Contour, Line)>,
    cuts: Vec<(Contour, Line)>,
}

impl Layers {
    /// Adds a drawing to a job. Returns remarks: those of the drawing, and what is done with layers without settings.
    ///
    /// # Errors
    /// The job is unchanged after an error.
    /// - [`Error::Layer`](crate::puls::Error::Layer) if settings are out of range, or name a layer that the drawing does not have.
    /// - [`Error::Svg`](crate::puls::Error::Svg) if all layers are skipped or left out.
    /// - Those of [`cut`], [`Raster::engrave`](super::raster::Raster::engrave), and the rasters of layers and pictures.
    pub fn draw(&self, job: &mut Builder, drawing: &Drawing, placement: Placement) -> Result<Vec<String>> {
        self.base.check("all")?;
        self.check_names(drawing)?;
        let mut remarks = drawing.remarks.clone();
        let max = job.max_speed_mm_s();
        for (name, settings) in self.given() {
            if let Some(speed) = settings.speed_mm_s.filter(|&speed| speed > max) {
                remarks.push(format!(
                    "layer {name}: a speed of {speed} is too fast for the head: {max} mm/s is used instead"
                ));
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
    use crate::puls::{Error, Job, Position};

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
        layers.base.speed_mm_s = Some(f64::NAN);
        assert!(layers.draw(&mut job, &drawing(BOXES), Placement::default()).is_err());
        assert_eq!(job.to_bytes(), before);
    }

    #[test]
    fn what_cannot_be_drawn_as_asked_has_a_remark() {
        for (shapes, settings, expected) in [
            (
                "<rect width='9' height='9' stroke='red'/>",
                "red=cut,speed=1000",
                "a speed of 1000 is too fast for the head: 187.5 mm/s",
            ),
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
