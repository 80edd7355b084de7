//! The bed from above, with travel, cuts and engravings.

use std::fmt::Write;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use svg::Node as _;
use svg::node::element::{self, Group, Image, Rectangle, SVG};

use super::super::{Header, WORK_AREA_MM};
use super::canvas::{Canvas, n};
use super::dose_raster::DoseImage;
use super::layers::Polyline;
use super::scale::{label, round_up, ticks};
use super::{MAX_DISTANCE_MM, Plot, PlotOptions, View, colour};

/// The padding around a job: a share of its size, and a minimum.
const PADDING: f64 = 0.06;
const MIN_PADDING_MM: f64 = 2.0;
/// Lines are in hundredths of a pixel, because integers are shorter.
const SUBPIXELS: f64 = 100.0;
/// Engraving pixels per plot pixel. More would be scaled down by the viewer, which turns engraved lines into bands.
const OVERSAMPLING: f64 = 1.0;
/// The maximum width and height of an engraving, in pixels.
const MAX_PIXELS: f64 = 4_000.0;
/// The number of shades of an engraving.
const SHADES: u8 = 32;

/// The visible part of the bed and its place on the canvas.
struct Viewport<'a> {
    header: &'a Header,
    start_mm: (f64, f64),
    /// The visible part, in mm of the bed.
    x: [f64; 2],
    y: [f64; 2],
    /// The top left corner on the canvas.
    left: f64,
    top: f64,
    px_per_mm: f64,
}

pub(super) fn draw(canvas: &mut Canvas, plot: &Plot, options: &PlotOptions) {
    let header = &plot.measured.header;
    let start_mm = (bounded(options.start_mm.0), bounded(options.start_mm.1));
    let (x, y) = visible_part(plot, options.view, start_mm);
    let em = canvas.em;
    let left = canvas.margin + 3.2 * em;
    let available = (canvas.width - canvas.margin - left, 1.1 * canvas.width);
    let px_per_mm = (available.0 / (x[1] - x[0])).min(available.1 / (y[1] - y[0]));
    let viewport = Viewport { header, start_mm, x, y, left, top: canvas.y + 0.6 * em, px_per_mm };

    viewport.axes(canvas);
    let (width, height) = (viewport.width(), viewport.height());
    let mut inside = SVG::new()
        .set("x", n(viewport.left))
        .set("y", n(viewport.top))
        .set("width", n(width))
        .set("height", n(height))
        .set("viewBox", format!("0 0 {} {}", n(width), n(height)))
        .set("overflow", "hidden");
    inside = inside.add(viewport.work_area().set("fill", colour::BED));
    inside = inside.add(viewport.grid(em));
    let outline = viewport.work_area().set("fill", "none").set("stroke", colour::INK);
    inside = inside.add(outline.set("stroke-width", n(0.14 * em)));
    if let Some(image) = viewport.engraving(plot) {
        inside = inside.add(image);
    }
    inside = inside.add(viewport.lines(plot, em));
    canvas.add(inside);
    let frame = Rectangle::new()
        .set("x", n(viewport.left))
        .set("y", n(viewport.top))
        .set("width", n(width))
        .set("height", n(height))
        .set("fill", "none")
        .set("stroke", colour::FAINT)
        .set("stroke-width", n(0.07 * em));
    canvas.add(frame);
    viewport.scale_bar(canvas);
    // Outside the viewport's clipping, so that markers at the edge are complete.
    for (is_end, at) in [(false, (0, 0)), (true, end(plot))] {
        let (x, y) = viewport.px(at);
        if (0.0..=width).contains(&x) && (0.0..=height).contains(&y) {
            canvas.add(marker(is_end, (viewport.left + x, viewport.top + y), em));
        }
    }
    canvas.y = viewport.top + height + 4.4 * em;
}

/// Draws the marker for the start or the end of a job.
pub(super) fn marker(is_end: bool, (x, y): (f64, f64), em: f64) -> element::Element {
    let line = 0.14 * em;
    if is_end {
        let side = 0.62 * em;
        let corner = (x - side / 2.0, y - side / 2.0);
        Rectangle::new()
            .set("x", n(corner.0))
            .set("y", n(corner.1))
            .set("width", n(side))
            .set("height", n(side))
            .set("fill", colour::INK)
            .set("stroke", colour::PAPER)
            .set("stroke-width", n(line / 2.0))
            .into()
    } else {
        element::Circle::new()
            .set("cx", n(x))
            .set("cy", n(y))
            .set("r", n(0.5 * em))
            .set("fill", colour::PAPER)
            .set("fill-opacity", "0.6")
            .set("stroke", colour::INK)
            .set("stroke-width", n(line))
            .into()
    }
}

/// Returns the firing ticks per square millimetre at the darkest shade; `None` if there is no engraving.
pub(super) fn max_dose_per_mm2(plot: &Plot) -> Option<f64> {
    const EVERYWHERE: [i64; 2] = [i64::MIN / 4, i64::MAX / 4];
    // At a coarse resolution, and independent of the visible part.
    let image = plot.layers.dose.image(EVERYWHERE, EVERYWHERE, 500)?;
    let mut lit: Vec<f32> = image.fire_ticks.iter().copied().filter(|&ticks| ticks > 0.0).collect();
    // Ignore the top 2 %, which are single spots.
    let at = lit.len() * 98 / 100;
    let (_, &mut ticks, _) = lit.select_nth_unstable_by(at, f32::total_cmp);
    let header = &plot.measured.header;
    Some(f64::from(ticks) / (header.x_mm(image.pitch) * header.y_mm(image.pitch)))
}

/// Returns the end of the job, in steps.
fn end(plot: &Plot) -> (i32, i32) {
    let counts = &plot.measured.counts;
    (super::fire_spots::to_i32(counts.x_end()), super::fire_spots::to_i32(counts.y_end()))
}

fn bounded(mm: f64) -> f64 {
    // NaN cannot be clamped.
    if mm.is_nan() { 0.0 } else { mm.clamp(-MAX_DISTANCE_MM, MAX_DISTANCE_MM) }
}

/// Returns the visible part of the bed in X and Y, in mm.
fn visible_part(plot: &Plot, view: View, start_mm: (f64, f64)) -> ([f64; 2], [f64; 2]) {
    let measured = &plot.measured;
    let (header, extents) = (&measured.header, &measured.extents);
    let reach = |start_mm: f64, min: f64, max: f64| [bounded(start_mm + min), bounded(start_mm + max)];
    let x = reach(start_mm.0, header.x_mm(extents.x.min), header.x_mm(extents.x.max));
    let y = reach(start_mm.1, header.y_mm(extents.y.min), header.y_mm(extents.y.max));
    let padded = |[min, max]: [f64; 2], size: f64| {
        let padding = (size * PADDING).max(MIN_PADDING_MM);
        [min - padding, max + padding]
    };
    match view {
        View::Job => {
            let size = (x[1] - x[0]).max(y[1] - y[0]);
            (padded(x, size), padded(y, size))
        }
        View::Bed => {
            let joined = |[min, max]: [f64; 2], bed_mm: f64| {
                // Padding only on the sides where the job leaves the bed.
                let padding = |outside: bool| if outside { bed_mm * PADDING } else { 0.0 };
                [min.min(0.0) - padding(min < 0.0), max.max(bed_mm) + padding(max > bed_mm)]
            };
            (joined(x, WORK_AREA_MM.0), joined(y, WORK_AREA_MM.1))
        }
    }
}

impl Viewport<'_> {
    fn width(&self) -> f64 {
        (self.x[1] - self.x[0]) * self.px_per_mm
    }

    fn height(&self) -> f64 {
        (self.y[1] - self.y[0]) * self.px_per_mm
    }

    /// Converts mm of the bed to pixels of the viewport.
    fn px_of_mm(&self, (x, y): (f64, f64)) -> (f64, f64) {
        ((x - self.x[0]) * self.px_per_mm, (y - self.y[0]) * self.px_per_mm)
    }

    /// Converts steps from the start of the job to pixels of the viewport.
    fn px(&self, (x, y): (i32, i32)) -> (f64, f64) {
        self.px_of_mm((self.start_mm.0 + self.header.x_mm(x.into()), self.start_mm.1 + self.header.y_mm(y.into())))
    }

    fn work_area(&self) -> Rectangle {
        let (x, y) = self.px_of_mm((0.0, 0.0));
        Rectangle::new()
            .set("x", n(x))
            .set("y", n(y))
            .set("width", n(WORK_AREA_MM.0 * self.px_per_mm))
            .set("height", n(WORK_AREA_MM.1 * self.px_per_mm))
    }

    /// Returns the distance of grid lines, in mm.
    fn step_mm(&self, em: f64) -> f64 {
        round_up(4.2 * em / self.px_per_mm)
    }

    fn grid(&self, em: f64) -> element::Path {
        let step = self.step_mm(em);
        let mut d = String::new();
        for x in ticks(self.x[0], self.x[1], step) {
            let _ = write!(d, "M{} 0V{}", n(self.px_of_mm((x, 0.0)).0), n(self.height()));
        }
        for y in ticks(self.y[0], self.y[1], step) {
            let _ = write!(d, "M0 {}H{}", n(self.px_of_mm((0.0, y)).1), n(self.width()));
        }
        element::Path::new()
            .set("d", d)
            .set("stroke", colour::GRID)
            .set("stroke-width", n(0.06 * em))
            .set("fill", "none")
    }

    fn axes(&self, canvas: &mut Canvas) {
        let em = canvas.em;
        let step = self.step_mm(em);
        let bottom = self.top + self.height();
        let mut last_end = f64::MIN;
        for x in ticks(self.x[0], self.x[1], step) {
            let at = self.left + self.px_of_mm((x, 0.0)).0;
            let words = label(x, step);
            let half = canvas.text_width(&words, 0.85) / 2.0;
            if at - half < last_end + 0.3 * em || at + half > canvas.width {
                continue;
            }
            last_end = at + half;
            let text = canvas.label(at, bottom + 1.2 * em, &words);
            canvas.add(small(text, em).set("text-anchor", "middle"));
        }
        for y in ticks(self.y[0], self.y[1], step) {
            let at = self.top + self.px_of_mm((0.0, y)).1;
            let text = canvas.label(self.left - 0.8 * em, at + 0.32 * em, &label(y, step));
            canvas.add(small(text, em).set("text-anchor", "end"));
        }
        let middle = self.left + self.width() / 2.0;
        let text = canvas.label(middle, bottom + 2.35 * em, "X in mm, from the left");
        canvas.add(small(text, em).set("text-anchor", "middle"));
        let (x, y) = (canvas.margin + 0.5 * em, self.top + self.height() / 2.0);
        let words = if self.height() < 14.0 * em { "Y in mm" } else { "Y in mm, from the back" };
        let text = canvas.label(0.0, 0.0, words).set("transform", format!("translate({} {}) rotate(-90)", n(x), n(y)));
        canvas.add(small(text, em).set("text-anchor", "middle"));
    }

    fn scale_bar(&self, canvas: &mut Canvas) {
        let em = canvas.em;
        let step = self.step_mm(em);
        let words = format!("{} mm", label(step, step));
        let (right, y) = (self.left + self.width() - em, self.top + self.height() - 0.9 * em);
        let left = right - step * self.px_per_mm;
        let d = format!("M{0} {1}V{2}H{3}V{1}", n(left), n(y - 0.4 * em), n(y), n(right));
        let bar = element::Path::new().set("d", d).set("stroke", colour::INK).set("fill", "none");
        canvas.add(bar.set("stroke-width", n(0.12 * em)));
        let text = canvas.label(f64::midpoint(left, right), y - 0.35 * em, &words).set("text-anchor", "middle");
        canvas.add(
            text.set("font-size", n(0.85 * em))
                .set("stroke", colour::BED)
                .set("stroke-width", n(0.25 * em))
                .set("paint-order", "stroke"),
        );
    }

    fn lines(&self, plot: &Plot, em: f64) -> Group {
        let mut group = Group::new()
            .set("transform", format!("scale({})", 1.0 / SUBPIXELS))
            .set("fill", "none")
            .set("stroke-linecap", "round")
            .set("stroke-linejoin", "round");
        let mut add = |lines: &mut dyn Iterator<Item = &Polyline>, colour: &str, width_em: f64| {
            let d = self.path_data(lines);
            if !d.is_empty() {
                let path = element::Path::new().set("d", d).set("stroke", colour);
                group.append(path.set("stroke-width", n(width_em * em * SUBPIXELS)));
            }
        };
        add(&mut plot.layers.travel.iter(), colour::TRAVEL, 0.06);
        for (sevenths, colour) in (0..).zip(colour::CUTS) {
            let mut alike = plot.layers.cuts.iter().filter(|line| line.sevenths == Some(sevenths));
            add(&mut alike, colour, 0.14);
        }
        group
    }

    /// Returns lines as SVG path data.
    fn path_data(&self, lines: &mut dyn Iterator<Item = &Polyline>) -> String {
        let subpixels = |point: (i32, i32)| {
            let (x, y) = self.px(point);
            // Bounded, as browsers reject larger numbers.
            let integer = |px: f64| (px * SUBPIXELS).round().clamp(-1e8, 1e8);
            (integer(x), integer(y))
        };
        let mut d = String::new();
        for line in lines {
            let Some((first, rest)) = line.points.split_first() else { continue };
            let mut at = subpixels(*first);
            let _ = write!(d, "M{} {}", at.0, at.1);
            if rest.is_empty() {
                // A dot: the round caps of a very short line.
                d.push_str("h1");
            }
            for &point in rest {
                let to = subpixels(point);
                if to != at {
                    let _ = write!(d, "l{} {}", to.0 - at.0, to.1 - at.1);
                    at = to;
                }
            }
        }
        d
    }

    fn engraving(&self, plot: &Plot) -> Option<Image> {
        let max_dose = max_dose_per_mm2(plot)?;
        let steps = |[min, max]: [f64; 2], start_mm: f64, step_mm: f64| {
            #[expect(clippy::cast_possible_truncation, reason = "saturates")]
            let steps = |mm: f64| ((mm - start_mm) / step_mm).round() as i64;
            [steps(min), steps(max)]
        };
        let x = steps(self.x, self.start_mm.0, self.header.x_mm(1));
        let y = steps(self.y, self.start_mm.1, self.header.y_mm(1));
        // As many pixels as it has on the canvas: measured with a single pixel first.
        let whole = plot.layers.dose.image(x, y, 1)?;
        let (width, height) = (self.px_wide(whole.pitch), self.px_high(whole.pitch));
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped")]
        let max_pixels = (width.max(height) * OVERSAMPLING).clamp(1.0, MAX_PIXELS) as u32;
        let image = plot.layers.dose.image(x, y, max_pixels)?;
        let pixel_mm2 = self.header.x_mm(image.pitch) * self.header.y_mm(image.pitch);
        let png = png(&image, max_dose * pixel_mm2)?;
        let (left, back) = (self.start_mm.0 + self.header.x_mm(image.x), self.start_mm.1 + self.header.y_mm(image.y));
        let (left, top) = self.px_of_mm((left, back));
        Some(
            Image::new()
                .set("x", n(left))
                .set("y", n(top))
                .set("width", n(self.px_wide(image.pitch * i64::from(image.width))))
                .set("height", n(self.px_high(image.pitch * i64::from(image.height))))
                .set("preserveAspectRatio", "none")
                .set("href", format!("data:image/png;base64,{}", BASE64.encode(png))),
        )
    }

    fn px_wide(&self, steps: i64) -> f64 {
        self.header.x_mm(steps) * self.px_per_mm
    }

    fn px_high(&self, steps: i64) -> f64 {
        self.header.y_mm(steps) * self.px_per_mm
    }
}

fn small(text: element::Text, em: f64) -> element::Text {
    text.set("font-size", n(0.85 * em)).set("fill", colour::FAINT)
}

/// Encodes a dose as shades of one colour, from transparent to `darkest` firing ticks per pixel.
fn png(image: &DoseImage, darkest: f64) -> Option<Vec<u8>> {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to the range of a byte")]
    let shade = |&ticks: &f32| {
        let part = (f64::from(ticks) / darkest).clamp(0.0, 1.0);
        // Any dose is visible.
        (part * f64::from(SHADES - 1)).round().max(f64::from(u8::from(ticks > 0.0))) as u8
    };
    let pixels: Vec<u8> = image.fire_ticks.iter().map(shade).collect();
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, image.width, image.height);
    encoder.set_color(png::ColorType::Indexed);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_palette(colour::ENGRAVING.repeat(SHADES.into()));
    let opacity = |shade: u8| u8::try_from(u32::from(shade) * 255 / u32::from(SHADES - 1)).unwrap_or(255);
    encoder.set_trns((0..SHADES).map(opacity).collect::<Vec<_>>());
    // Writing to memory does not fail.
    let mut writer = encoder.write_header().ok()?;
    writer.write_image_data(&pixels).ok()?;
    writer.finish().ok()?;
    Some(bytes)
}
