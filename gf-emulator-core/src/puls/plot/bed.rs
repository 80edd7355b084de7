//! The bed from above, with what is done on it.

use std::fmt::Write;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use svg::Node as _;
use svg::node::element::{self, Group, Image, Rectangle, SVG};

use super::super::Header;
use super::dose::Picture;
use super::page::{Page, n};
use super::scale::{label, round_up, ticks};
use super::sketch::Line;
use super::{FARTHEST_MM, Plot, Sheet, View, WORK_AREA_MM, colour};

/// Around what a job reaches there is at least so much room, in parts of it and in mm.
const ROOM_PART: f64 = 0.06;
const ROOM_MM: f64 = 2.0;
/// Lines are written in hundredths of a pixel: whole numbers are shorter.
const FINE: f64 = 100.0;
/// Pixels of the engraving to one of the picture: no more, for whoever scales it down does not know of its lines, and makes
/// bands of them.
const OVERSAMPLED: f64 = 1.0;
/// The engraving has at most so many pixels on either side.
const MOST_PIXELS: f64 = 4_000.0;
/// How dark a pixel of the engraving is: steps from nothing to everything.
const SHADES: u8 = 32;

/// What of the bed is shown, and where on the page.
struct Window<'a> {
    header: &'a Header,
    start_mm: (f64, f64),
    /// In mm on the bed.
    x: [f64; 2],
    y: [f64; 2],
    /// The left and upper edge on the page.
    left: f64,
    top: f64,
    px_per_mm: f64,
}

/// How dark an engraving is: what a legend says of it.
pub(super) struct Darkness {
    /// Fire ticks to a square millimetre where it is as dark as it gets.
    pub(super) ticks_per_mm2: f64,
}

pub(super) fn draw(page: &mut Page, plot: &Plot, sheet: &Sheet) {
    let header = &plot.measured.header;
    let start_mm = (bounded(sheet.start_mm.0), bounded(sheet.start_mm.1));
    let (x, y) = shown(plot, sheet.view, start_mm);
    let em = page.em;
    let left = page.margin + 3.2 * em;
    let room = (page.width - page.margin - left, 1.1 * page.width);
    let px_per_mm = (room.0 / (x[1] - x[0])).min(room.1 / (y[1] - y[0]));
    let window = Window { header, start_mm, x, y, left, top: page.y + 0.6 * em, px_per_mm };

    window.axes(page);
    let (width, height) = (window.width(), window.height());
    let mut inside = SVG::new()
        .set("x", n(window.left))
        .set("y", n(window.top))
        .set("width", n(width))
        .set("height", n(height))
        .set("viewBox", format!("0 0 {} {}", n(width), n(height)))
        .set("overflow", "hidden");
    inside = inside.add(window.work_area().set("fill", colour::BED));
    inside = inside.add(window.grid(em));
    let outline = window.work_area().set("fill", "none").set("stroke", colour::INK);
    inside = inside.add(outline.set("stroke-width", n(0.14 * em)));
    if let Some(image) = window.engraving(plot) {
        inside = inside.add(image);
    }
    inside = inside.add(window.lines(plot, em));
    page.add(inside);
    let frame = Rectangle::new()
        .set("x", n(window.left))
        .set("y", n(window.top))
        .set("width", n(width))
        .set("height", n(height))
        .set("fill", "none")
        .set("stroke", colour::FAINT)
        .set("stroke-width", n(0.07 * em));
    page.add(frame);
    window.scale_bar(page);
    // Whole, at the edge as well.
    for (is_end, at) in [(false, (0, 0)), (true, end(plot))] {
        let (x, y) = window.px(at);
        if (0.0..=width).contains(&x) && (0.0..=height).contains(&y) {
            page.add(mark(is_end, (window.left + x, window.top + y), em));
        }
    }
    page.y = window.top + height + 4.4 * em;
}

/// The sign for where a job begins, or ends.
pub(super) fn mark(is_end: bool, (x, y): (f64, f64), em: f64) -> element::Element {
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

/// How dark the whole engraving is, if there is one.
pub(super) fn darkness(plot: &Plot) -> Option<Darkness> {
    const EVERYWHERE: [i64; 2] = [i64::MIN / 4, i64::MAX / 4];
    // A coarse look at all of it, the same whatever part of it is shown.
    let picture = plot.sketch.dose.picture(EVERYWHERE, EVERYWHERE, 500)?;
    let mut lit: Vec<f32> = picture.fire_ticks.iter().copied().filter(|&ticks| ticks > 0.0).collect();
    // The darkest of a hundred are spots.
    let at = lit.len() * 98 / 100;
    let (_, &mut ticks, _) = lit.select_nth_unstable_by(at, f32::total_cmp);
    let header = &plot.measured.header;
    Some(Darkness { ticks_per_mm2: f64::from(ticks) / (header.x_mm(picture.pitch) * header.y_mm(picture.pitch)) })
}

/// Where the job ends, in steps.
fn end(plot: &Plot) -> (i32, i32) {
    let counts = &plot.measured.counts;
    (super::marks::step(counts.x_end()), super::marks::step(counts.y_end()))
}

fn bounded(mm: f64) -> f64 {
    // Not a number is clamped to none.
    if mm.is_nan() { 0.0 } else { mm.clamp(-FARTHEST_MM, FARTHEST_MM) }
}

/// From where to where on the bed a picture goes, in mm.
fn shown(plot: &Plot, view: View, start_mm: (f64, f64)) -> ([f64; 2], [f64; 2]) {
    let measured = &plot.measured;
    let (header, extents) = (&measured.header, &measured.extents);
    let reach = |start_mm: f64, least: f64, most: f64| [bounded(start_mm + least), bounded(start_mm + most)];
    let x = reach(start_mm.0, header.x_mm(extents.x.min), header.x_mm(extents.x.max));
    let y = reach(start_mm.1, header.y_mm(extents.y.min), header.y_mm(extents.y.max));
    let with_room = |[least, most]: [f64; 2], of: f64| {
        let room = (of * ROOM_PART).max(ROOM_MM);
        [least - room, most + room]
    };
    match view {
        View::Job => {
            let of = (x[1] - x[0]).max(y[1] - y[0]);
            (with_room(x, of), with_room(y, of))
        }
        View::Bed => {
            let joined = |[least, most]: [f64; 2], bed_mm: f64| {
                // A job that stays on the bed gets the bed and no more.
                let room = |beyond: bool| if beyond { bed_mm * ROOM_PART } else { 0.0 };
                [least.min(0.0) - room(least < 0.0), most.max(bed_mm) + room(most > bed_mm)]
            };
            (joined(x, WORK_AREA_MM.0), joined(y, WORK_AREA_MM.1))
        }
    }
}

impl Window<'_> {
    fn width(&self) -> f64 {
        (self.x[1] - self.x[0]) * self.px_per_mm
    }

    fn height(&self) -> f64 {
        (self.y[1] - self.y[0]) * self.px_per_mm
    }

    /// From mm on the bed to pixels in the window.
    fn px_of_mm(&self, (x, y): (f64, f64)) -> (f64, f64) {
        ((x - self.x[0]) * self.px_per_mm, (y - self.y[0]) * self.px_per_mm)
    }

    /// From steps since the job's beginning to pixels in the window.
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

    /// How far the axes' numbers are apart, in mm.
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

    fn axes(&self, page: &mut Page) {
        let em = page.em;
        let step = self.step_mm(em);
        let bottom = self.top + self.height();
        let mut last_end = f64::MIN;
        for x in ticks(self.x[0], self.x[1], step) {
            let at = self.left + self.px_of_mm((x, 0.0)).0;
            let words = label(x, step);
            let half = page.width_of(&words, 0.85) / 2.0;
            if at - half < last_end + 0.3 * em || at + half > page.width {
                continue;
            }
            last_end = at + half;
            let text = page.label(at, bottom + 1.2 * em, &words);
            page.add(small(text, em).set("text-anchor", "middle"));
        }
        for y in ticks(self.y[0], self.y[1], step) {
            let at = self.top + self.px_of_mm((0.0, y)).1;
            let text = page.label(self.left - 0.8 * em, at + 0.32 * em, &label(y, step));
            page.add(small(text, em).set("text-anchor", "end"));
        }
        let middle = self.left + self.width() / 2.0;
        let text = page.label(middle, bottom + 2.35 * em, "X in mm, from the left");
        page.add(small(text, em).set("text-anchor", "middle"));
        let (x, y) = (page.margin + 0.5 * em, self.top + self.height() / 2.0);
        let words = if self.height() < 14.0 * em { "Y in mm" } else { "Y in mm, from the back" };
        let text = page.label(0.0, 0.0, words).set("transform", format!("translate({} {}) rotate(-90)", n(x), n(y)));
        page.add(small(text, em).set("text-anchor", "middle"));
    }

    /// How long something is, for those who do not read axes.
    fn scale_bar(&self, page: &mut Page) {
        let em = page.em;
        let step = self.step_mm(em);
        let words = format!("{} mm", label(step, step));
        let (right, y) = (self.left + self.width() - em, self.top + self.height() - 0.9 * em);
        let left = right - step * self.px_per_mm;
        let d = format!("M{0} {1}V{2}H{3}V{1}", n(left), n(y - 0.4 * em), n(y), n(right));
        let bar = element::Path::new().set("d", d).set("stroke", colour::INK).set("fill", "none");
        page.add(bar.set("stroke-width", n(0.12 * em)));
        let text = page.label(f64::midpoint(left, right), y - 0.35 * em, &words).set("text-anchor", "middle");
        page.add(
            text.set("font-size", n(0.85 * em))
                .set("stroke", colour::BED)
                .set("stroke-width", n(0.25 * em))
                .set("paint-order", "stroke"),
        );
    }

    fn lines(&self, plot: &Plot, em: f64) -> Group {
        let mut group = Group::new()
            .set("transform", format!("scale({})", 1.0 / FINE))
            .set("fill", "none")
            .set("stroke-linecap", "round")
            .set("stroke-linejoin", "round");
        let mut add = |lines: &mut dyn Iterator<Item = &Line>, colour: &str, width_em: f64| {
            let d = self.data(lines);
            if !d.is_empty() {
                let path = element::Path::new().set("d", d).set("stroke", colour);
                group.append(path.set("stroke-width", n(width_em * em * FINE)));
            }
        };
        add(&mut plot.sketch.travel.iter(), colour::TRAVEL, 0.06);
        for (sevenths, colour) in (0..).zip(colour::CUTS) {
            let mut alike = plot.sketch.cuts.iter().filter(|line| line.sevenths == Some(sevenths));
            add(&mut alike, colour, 0.14);
        }
        group
    }

    /// Lines as a path's data, in hundredths of a pixel.
    fn data(&self, lines: &mut dyn Iterator<Item = &Line>) -> String {
        let fine = |point: (i32, i32)| {
            let (x, y) = self.px(point);
            // Whole numbers that a browser takes.
            let whole = |px: f64| (px * FINE).round().clamp(-1e8, 1e8);
            (whole(x), whole(y))
        };
        let mut d = String::new();
        for line in lines {
            let Some((first, rest)) = line.points.split_first() else { continue };
            let mut at = fine(*first);
            let _ = write!(d, "M{} {}", at.0, at.1);
            if rest.is_empty() {
                // A dot: too short to be seen, with round ends.
                d.push_str("h1");
            }
            for &point in rest {
                let to = fine(point);
                if to != at {
                    let _ = write!(d, "l{} {}", to.0 - at.0, to.1 - at.1);
                    at = to;
                }
            }
        }
        d
    }

    fn engraving(&self, plot: &Plot) -> Option<Image> {
        let darkness = darkness(plot)?;
        let steps = |[least, most]: [f64; 2], start_mm: f64, step_mm: f64| {
            #[expect(clippy::cast_possible_truncation, reason = "saturates")]
            let steps = |mm: f64| ((mm - start_mm) / step_mm).round() as i64;
            [steps(least), steps(most)]
        };
        let x = steps(self.x, self.start_mm.0, self.header.x_mm(1));
        let y = steps(self.y, self.start_mm.1, self.header.y_mm(1));
        // As fine as can be seen, and no finer: first how large it is on the page, then how many pixels that is worth.
        let whole = plot.sketch.dose.picture(x, y, 1)?;
        let (width, height) = (self.px_wide(whole.pitch), self.px_high(whole.pitch));
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped")]
        let most = (width.max(height) * OVERSAMPLED).clamp(1.0, MOST_PIXELS) as u32;
        let picture = plot.sketch.dose.picture(x, y, most)?;
        let pixel_mm2 = self.header.x_mm(picture.pitch) * self.header.y_mm(picture.pitch);
        let png = png(&picture, darkness.ticks_per_mm2 * pixel_mm2)?;
        let (left, back) =
            (self.start_mm.0 + self.header.x_mm(picture.x), self.start_mm.1 + self.header.y_mm(picture.y));
        let (left, top) = self.px_of_mm((left, back));
        Some(
            Image::new()
                .set("x", n(left))
                .set("y", n(top))
                .set("width", n(self.px_wide(picture.pitch * i64::from(picture.width))))
                .set("height", n(self.px_high(picture.pitch * i64::from(picture.height))))
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

/// A dose as shades of one colour, from transparent up; `full` fire ticks to a pixel are as dark as it gets.
fn png(picture: &Picture, full: f64) -> Option<Vec<u8>> {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to what a byte holds")]
    let shade = |&ticks: &f32| {
        let part = (f64::from(ticks) / full).clamp(0.0, 1.0);
        // What is lit at all can be seen.
        (part * f64::from(SHADES - 1)).round().max(f64::from(u8::from(ticks > 0.0))) as u8
    };
    let pixels: Vec<u8> = picture.fire_ticks.iter().map(shade).collect();
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, picture.width, picture.height);
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
