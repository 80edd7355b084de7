//! The visible part of the bed: its place on the canvas, its grid, axes and scale.

use std::fmt::Write;

use svg::node::element::{self, Rectangle, SVG};

use super::super::WORK_AREA_MM;
use super::canvas::{Canvas, n};
use super::scale::{label, round_up, ticks};
use super::{MAX_DISTANCE_MM, PlotOptions, View, colour};

/// The padding around a job: a share of its size, and a minimum.
const PADDING: f64 = 0.06;
const MIN_PADDING_MM: f64 = 2.0;

/// The visible part of the bed and its place on the canvas.
pub(super) struct Viewport {
    pub(super) start_mm: [f64; 2],
    /// The visible part, in mm of the bed.
    pub(super) x: [f64; 2],
    pub(super) y: [f64; 2],
    /// The top left corner on the canvas.
    left: f64,
    top: f64,
    pub(super) px_per_mm: f64,
}

impl Viewport {
    /// Creates the viewport below what has been drawn, for a job that reaches so far from its start in X and Y, in mm.
    pub(super) fn new(canvas: &Canvas, reach_mm: [[f64; 2]; 2], options: &PlotOptions) -> Self {
        let start_mm = options.start_mm.map(bounded);
        let [x, y] = visible_part(reach_mm, options.view, start_mm);
        let em = canvas.em;
        let left = canvas.margin + 3.2 * em;
        let available = (canvas.width - canvas.margin - left, 1.1 * canvas.width);
        let px_per_mm = (available.0 / (x[1] - x[0])).min(available.1 / (y[1] - y[0]));
        Self { start_mm, x, y, left, top: canvas.y + 0.6 * em, px_per_mm }
    }

    /// Draws the bed with what `add` adds to it, and its axes, frame and scale.
    pub(super) fn draw(&self, canvas: &mut Canvas, add: impl FnOnce(SVG) -> SVG) {
        let em = canvas.em;
        self.axes(canvas);
        let (width, height) = (self.width(), self.height());
        let mut inside = SVG::new()
            .set("x", n(self.left))
            .set("y", n(self.top))
            .set("width", n(width))
            .set("height", n(height))
            .set("viewBox", format!("0 0 {} {}", n(width), n(height)))
            .set("overflow", "hidden");
        inside = inside.add(self.work_area().set("fill", colour::BED));
        inside = inside.add(self.grid(em));
        let outline = self.work_area().set("fill", "none").set("stroke", colour::INK);
        inside = inside.add(outline.set("stroke-width", n(0.14 * em)));
        canvas.add(add(inside));
        let frame = Rectangle::new()
            .set("x", n(self.left))
            .set("y", n(self.top))
            .set("width", n(width))
            .set("height", n(height))
            .set("fill", "none")
            .set("stroke", colour::FAINT)
            .set("stroke-width", n(0.07 * em));
        canvas.add(frame);
        self.scale_bar(canvas);
        canvas.y = self.top + height + 4.4 * em;
    }

    /// Returns the place on the canvas of a position from the start of the job, in mm, if it is visible.
    pub(super) fn on_canvas(&self, (x_mm, y_mm): (f64, f64)) -> Option<(f64, f64)> {
        let (x, y) = self.px((x_mm, y_mm));
        let is_visible = (0.0..=self.width()).contains(&x) && (0.0..=self.height()).contains(&y);
        is_visible.then_some((self.left + x, self.top + y))
    }

    /// Converts mm from the start of the job to pixels of the viewport.
    pub(super) fn px(&self, (x_mm, y_mm): (f64, f64)) -> (f64, f64) {
        self.px_of_mm((self.start_mm[0] + x_mm, self.start_mm[1] + y_mm))
    }

    pub(super) fn width(&self) -> f64 {
        (self.x[1] - self.x[0]) * self.px_per_mm
    }

    pub(super) fn height(&self) -> f64 {
        (self.y[1] - self.y[0]) * self.px_per_mm
    }

    /// Converts mm of the bed to pixels of the viewport.
    pub(super) fn px_of_mm(&self, (x, y): (f64, f64)) -> (f64, f64) {
        ((x - self.x[0]) * self.px_per_mm, (y - self.y[0]) * self.px_per_mm)
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
        let (x, y) = (canvas.margin + 0.1 * em, self.top + self.height() / 2.0);
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
        let bar = element::Path::new().set("d", d).set("fill", "none");
        // Lines of the job may be below it.
        canvas.add(bar.clone().set("stroke", colour::BED).set("stroke-width", n(0.5 * em)));
        canvas.add(bar.set("stroke", colour::INK).set("stroke-width", n(0.12 * em)));
        let text = canvas.label(f64::midpoint(left, right), y - 0.35 * em, &words).set("text-anchor", "middle");
        canvas.add(
            text.set("font-size", n(0.85 * em))
                .set("stroke", colour::BED)
                .set("stroke-width", n(0.25 * em))
                .set("paint-order", "stroke"),
        );
    }
}

fn small(text: element::Text, em: f64) -> element::Text {
    text.set("font-size", n(0.85 * em)).set("fill", colour::FAINT)
}

fn bounded(mm: f64) -> f64 {
    // NaN cannot be clamped.
    if mm.is_nan() { 0.0 } else { mm.clamp(-MAX_DISTANCE_MM, MAX_DISTANCE_MM) }
}

/// Returns the visible part of the bed in X and Y, in mm.
fn visible_part(reach_mm: [[f64; 2]; 2], view: View, start_mm: [f64; 2]) -> [[f64; 2]; 2] {
    let reach = |start_mm: f64, [min, max]: [f64; 2]| [bounded(start_mm + min), bounded(start_mm + max)];
    let (x, y) = (reach(start_mm[0], reach_mm[0]), reach(start_mm[1], reach_mm[1]));
    let padded = |[min, max]: [f64; 2], size: f64| {
        let padding = (size * PADDING).max(MIN_PADDING_MM);
        [min - padding, max + padding]
    };
    match view {
        View::Job => {
            let size = (x[1] - x[0]).max(y[1] - y[0]);
            [padded(x, size), padded(y, size)]
        }
        View::Bed => {
            let joined = |[min, max]: [f64; 2], bed_mm: f64| {
                // Padding only on the sides where the job leaves the bed.
                let padding = |outside: bool| if outside { bed_mm * PADDING } else { 0.0 };
                [min.min(0.0) - padding(min < 0.0), max.max(bed_mm) + padding(max > bed_mm)]
            };
            [joined(x, WORK_AREA_MM.0), joined(y, WORK_AREA_MM.1)]
        }
    }
}
