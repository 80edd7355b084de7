//! Charts of speed, laser and lens over time.

use std::fmt::Write;

use svg::node::element::{Line, Path, Rectangle};

use super::super::Bin;
use super::canvas::{Canvas, n};
use super::scale::{axis_end, clock, label, round_up_time, ticks};
use super::{Plot, colour};

/// The height of a chart, in em.
const HEIGHT_EM: f64 = 4.6;

pub(super) fn draw(canvas: &mut Canvas, plot: &Plot) {
    let measured = &plot.measured;
    let (Some(run_time_s), bins) = (measured.run_time_s, measured.timeline.bins()) else { return };
    if measured.ticks == 0 {
        return;
    }
    let peak = axis_end(measured.peak_mm_s.unwrap_or_default().max(1.0));
    let speed = |bin: &Bin| bin.peak_mm_s / peak;
    let fire = |bin: &Bin| bin.fire_ticks as f64 / bin.ticks as f64;
    let top = canvas.y;
    chart(canvas, "speed, mm/s", ["0", &label(peak, 1.0)], colour::SPEED, bins, &speed);
    chart(canvas, "laser, % of ticks", ["0", "100"], colour::LASER, bins, &fire);
    // A lens that stays where it is would be an empty chart: most motions leave it there.
    let z = measured.extents.z;
    if z.steps() > 0 {
        let ends = [z.min, z.max].map(|z| label(measured.header.z_mm(z), 0.1));
        let lens = |bin: &Bin| (bin.z_max - z.min) as f64 / z.steps() as f64;
        chart(canvas, "lens above its start, mm", ends.each_ref().map(String::as_str), colour::LENS, bins, &lens);
    }
    if let Some(moment) = &plot.moment {
        let left = left(canvas);
        let part = moment.tick.min(measured.ticks) as f64 / measured.ticks as f64;
        let x = left + part * (canvas.width - canvas.margin - left);
        let d = format!("M{} {}V{}", n(x), n(top + 1.1 * canvas.em), n(canvas.y));
        let line = Path::new().set("d", d).set("stroke", colour::INK);
        canvas.add(line.set("stroke-width", n(0.14 * canvas.em)));
    }
    time_axis(canvas, run_time_s);
}

/// Returns the left edge of the charts.
fn left(canvas: &Canvas) -> f64 {
    canvas.margin + 3.2 * canvas.em
}

/// Draws a chart, with labels for its lower and its upper edge. `height_of` returns the height of a bin, 0 to 1.
fn chart(
    canvas: &mut Canvas,
    name: &str,
    [min_label, max_label]: [&str; 2],
    colour: &str,
    bins: &[Bin],
    height_of: &dyn Fn(&Bin) -> f64,
) {
    let em = canvas.em;
    let (left, height) = (left(canvas), HEIGHT_EM * em);
    let width = canvas.width - canvas.margin - left;
    canvas.y += 1.1 * em;
    let words = canvas.label(left, canvas.y, name).set("fill", colour).set("font-size", n(0.85 * em));
    canvas.add(words);
    let top = canvas.y + 0.5 * em;
    let background = Rectangle::new()
        .set("x", n(left))
        .set("y", n(top))
        .set("width", n(width))
        .set("height", n(height))
        .set("fill", colour::BED)
        .set("stroke", colour::GRID)
        .set("stroke-width", n(0.06 * em));
    canvas.add(background);
    let total: u64 = bins.iter().map(|bin| bin.ticks).sum();
    let bottom = top + height;
    let mut d = format!("M{} {}", n(left), n(bottom));
    let (mut tick, mut level) = (0, n(bottom));
    for bin in bins {
        let next = n(bottom - height * height_of(bin).clamp(0.0, 1.0));
        if next != level {
            let _ = write!(d, "H{}V{next}", n(left + width * tick as f64 / total as f64));
            level = next;
        }
        tick += bin.ticks;
    }
    let _ = write!(d, "H{}V{}Z", n(left + width), n(bottom));
    canvas.add(Path::new().set("d", d).set("fill", colour));
    for (words, y) in [(max_label, top + 0.65 * em), (min_label, bottom)] {
        let text = canvas.label(left - 0.4 * em, y, words).set("text-anchor", "end");
        canvas.add(text.set("font-size", n(0.85 * em)).set("fill", colour::FAINT));
    }
    canvas.y = bottom + 0.3 * em;
}

fn time_axis(canvas: &mut Canvas, run_time_s: f64) {
    let em = canvas.em;
    let left = left(canvas);
    let width = canvas.width - canvas.margin - left;
    let step = round_up_time(run_time_s * 6.0 * em / width);
    let y = canvas.y + 1.1 * em;
    for time in ticks(0.0, run_time_s, step) {
        let x = left + width * time / run_time_s;
        let tick = Line::new()
            .set("x1", n(x))
            .set("x2", n(x))
            .set("y1", n(canvas.y - 0.3 * em))
            .set("y2", n(canvas.y + 0.1 * em))
            .set("stroke", colour::FAINT)
            .set("stroke-width", n(0.06 * em));
        canvas.add(tick);
        let words = clock(time, step);
        if x + canvas.text_width(&words, 0.85) / 2.0 < canvas.width {
            let text = canvas.label(x, y, &words).set("text-anchor", "middle");
            canvas.add(text.set("font-size", n(0.85 * em)).set("fill", colour::FAINT));
        }
    }
    canvas.y = y + 1.4 * em;
}
