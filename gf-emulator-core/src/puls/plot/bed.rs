//! The bed from above, with travel, cuts and engravings.

use std::fmt::Write;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use svg::Node as _;
use svg::node::element::{self, Group, Image, Rectangle};

use super::super::Header;
use super::canvas::{Canvas, n};
use super::dose_raster::DoseImage;
use super::layers::{Layers, Polyline};
use super::viewport::Viewport;
use super::{Plot, PlotOptions, colour};

/// Lines are in hundredths of a pixel, because integers are shorter.
const SUBPIXELS: f64 = 100.0;
/// Engraving pixels per plot pixel. More would be scaled down by the viewer, which turns engraved lines into bands.
const OVERSAMPLING: f64 = 1.0;
/// The maximum width and height of an engraving, in pixels.
const MAX_PIXELS: f64 = 4_000.0;
/// The number of shades of an engraving.
const SHADES: u8 = 32;
/// How much of what comes after a moment is seen.
const REST_OPACITY: f64 = 0.25;

/// A job on a viewport.
struct Bed<'a> {
    header: &'a Header,
    viewport: Viewport,
}

pub(super) fn draw(canvas: &mut Canvas, plot: &Plot, options: &PlotOptions) {
    let (header, extents) = (&plot.measured.header, &plot.measured.extents);
    let x = [header.x_mm(extents.x.min), header.x_mm(extents.x.max)];
    let y = [header.y_mm(extents.y.min), header.y_mm(extents.y.max)];
    let bed = Bed { header, viewport: Viewport::new(canvas, [x, y], options) };
    let em = canvas.em;
    bed.viewport.draw(canvas, |mut inside| {
        let max_dose = max_dose_per_mm2(plot);
        if let Some(rest) = &plot.rest {
            let mut group = Group::new().set("opacity", n(REST_OPACITY));
            if let Some(image) = max_dose.and_then(|max_dose| bed.engraving(rest, max_dose)) {
                group = group.add(image);
            }
            inside = inside.add(group.add(bed.lines(rest, em)));
        }
        if let Some(image) = max_dose.and_then(|max_dose| bed.engraving(&plot.layers, max_dose)) {
            inside = inside.add(image);
        }
        inside.add(bed.lines(&plot.layers, em))
    });
    // Outside the viewport's clipping, so that markers at the edge are complete.
    for (is_end, at) in [(false, (0, 0)), (true, end(plot))] {
        if let Some(at) = bed.viewport.on_canvas(bed.mm(at)) {
            canvas.add(marker(is_end, at, em));
        }
    }
    if let Some(head) = plot.moment.as_ref().and_then(|moment| bed.viewport.on_canvas(moment.head_mm(header))) {
        canvas.add(head_marker(head, em));
    }
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

/// Draws the marker for the head at a moment: a ring with a cross.
pub(super) fn head_marker((x, y): (f64, f64), em: f64) -> element::Element {
    let (inner, outer, radius) = (0.35 * em, 1.1 * em, 0.7 * em);
    let mut d =
        format!("M{0} {1}a{2} {2} 0 1 0 {3} 0a{2} {2} 0 1 0 -{3} 0", n(x - radius), n(y), n(radius), n(2.0 * radius));
    for (across, down) in [(1.0, 0.0), (-1.0, 0.0), (0.0, 1.0), (0.0, -1.0)] {
        let at = |distance: f64| format!("{} {}", n(x + across * distance), n(y + down * distance));
        let _ = write!(d, "M{}L{}", at(inner), at(outer));
    }
    let marker = element::Path::new().set("d", d).set("fill", "none").set("stroke", colour::LASER);
    marker.set("stroke-width", n(0.16 * em)).into()
}

/// Returns the firing ticks per square millimetre at the darkest shade; `None` if there is no engraving.
pub(super) fn max_dose_per_mm2(plot: &Plot) -> Option<f64> {
    let layers = [Some(&plot.layers), plot.rest.as_ref()];
    layers.into_iter().flatten().filter_map(|layers| max_dose_of(layers, &plot.measured.header)).max_by(f64::total_cmp)
}

fn max_dose_of(layers: &Layers, header: &Header) -> Option<f64> {
    const EVERYWHERE: [i64; 2] = [i64::MIN / 4, i64::MAX / 4];
    // At a coarse resolution, and independent of the visible part.
    let image = layers.dose.image(EVERYWHERE, EVERYWHERE, 500)?;
    let mut lit: Vec<f32> = image.fire_ticks.iter().copied().filter(|&ticks| ticks > 0.0).collect();
    // Ignore the top 2 %, which are single spots.
    let at = lit.len() * 98 / 100;
    let (_, &mut ticks, _) = lit.select_nth_unstable_by(at, f32::total_cmp);
    Some(f64::from(ticks) / (header.x_mm(image.pitch) * header.y_mm(image.pitch)))
}

/// Returns the end of the job, in steps.
fn end(plot: &Plot) -> (i32, i32) {
    let counts = &plot.measured.counts;
    (super::fire_spots::to_i32(counts.x_end()), super::fire_spots::to_i32(counts.y_end()))
}

impl Bed<'_> {
    /// Converts steps from the start of the job to mm.
    fn mm(&self, (x, y): (i32, i32)) -> (f64, f64) {
        (self.header.x_mm(x.into()), self.header.y_mm(y.into()))
    }

    fn lines(&self, layers: &Layers, em: f64) -> Group {
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
        add(&mut layers.travel.iter(), colour::TRAVEL, 0.06);
        for (sevenths, colour) in (0..).zip(colour::CUTS) {
            let mut alike = layers.cuts.iter().filter(|line| line.sevenths == Some(sevenths));
            add(&mut alike, colour, 0.14);
        }
        group
    }

    /// Returns lines as SVG path data.
    fn path_data(&self, lines: &mut dyn Iterator<Item = &Polyline>) -> String {
        let subpixels = |point: (i32, i32)| {
            let (x, y) = self.viewport.px(self.mm(point));
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

    fn engraving(&self, layers: &Layers, max_dose: f64) -> Option<Image> {
        let view = &self.viewport;
        let steps = |[min, max]: [f64; 2], start_mm: f64, step_mm: f64| {
            #[expect(clippy::cast_possible_truncation, reason = "saturates")]
            let steps = |mm: f64| ((mm - start_mm) / step_mm).round() as i64;
            [steps(min), steps(max)]
        };
        let x = steps(view.x, view.start_mm[0], self.header.x_mm(1));
        let y = steps(view.y, view.start_mm[1], self.header.y_mm(1));
        // As many pixels as it has on the canvas: measured with a single pixel first.
        let whole = layers.dose.image(x, y, 1)?;
        let (width, height) = (self.px_wide(whole.pitch), self.px_high(whole.pitch));
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped")]
        let max_pixels = (width.max(height) * OVERSAMPLING).clamp(1.0, MAX_PIXELS) as u32;
        let image = layers.dose.image(x, y, max_pixels)?;
        let pixel_mm2 = self.header.x_mm(image.pitch) * self.header.y_mm(image.pitch);
        let png = png(&image, max_dose * pixel_mm2)?;
        let (left, top) = view.px((self.header.x_mm(image.x), self.header.y_mm(image.y)));
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
        self.header.x_mm(steps) * self.viewport.px_per_mm
    }

    fn px_high(&self, steps: i64) -> f64 {
        self.header.y_mm(steps) * self.viewport.px_per_mm
    }
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
