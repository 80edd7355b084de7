//! Speed and laser over time.

use std::fmt::Write;

use svg::node::element::{Line, Path, Rectangle};

use super::super::Bin;
use super::page::{Page, n};
use super::scale::{axis_end, clock, label, round_up_time, ticks};
use super::{Plot, colour};

const HEIGHT_EM: f64 = 4.6;

pub(super) fn draw(page: &mut Page, plot: &Plot) {
    let measured = &plot.measured;
    let (Some(run_time_s), bins) = (measured.run_time_s, measured.timeline.bins()) else { return };
    if measured.ticks == 0 {
        return;
    }
    let peak = axis_end(measured.peak_mm_s.unwrap_or_default().max(1.0));
    let speed = |bin: &Bin| bin.peak_mm_s / peak;
    let fire = |bin: &Bin| bin.fire_ticks as f64 / bin.ticks as f64;
    strip(page, "speed, mm/s", &label(peak, 1.0), colour::SPEED, bins, &speed);
    strip(page, "laser, % of ticks", "100", colour::LASER, bins, &fire);
    time_axis(page, run_time_s);
}

fn left(page: &Page) -> f64 {
    page.margin + 3.2 * page.em
}

/// One of them: `part` is how high a bin is, 0 to 1.
fn strip(page: &mut Page, name: &str, most: &str, colour: &str, bins: &[Bin], part: &dyn Fn(&Bin) -> f64) {
    let em = page.em;
    let (left, height) = (left(page), HEIGHT_EM * em);
    let width = page.width - page.margin - left;
    page.y += 1.1 * em;
    let words = page.label(left, page.y, name).set("fill", colour).set("font-size", n(0.85 * em));
    page.add(words);
    let top = page.y + 0.5 * em;
    let background = Rectangle::new()
        .set("x", n(left))
        .set("y", n(top))
        .set("width", n(width))
        .set("height", n(height))
        .set("fill", colour::BED)
        .set("stroke", colour::GRID)
        .set("stroke-width", n(0.06 * em));
    page.add(background);
    let total: u64 = bins.iter().map(|bin| bin.ticks).sum();
    let bottom = top + height;
    let mut d = format!("M{} {}", n(left), n(bottom));
    let (mut tick, mut level) = (0, n(bottom));
    for bin in bins {
        let next = n(bottom - height * part(bin).clamp(0.0, 1.0));
        if next != level {
            let _ = write!(d, "H{}V{next}", n(left + width * tick as f64 / total as f64));
            level = next;
        }
        tick += bin.ticks;
    }
    let _ = write!(d, "H{}V{}Z", n(left + width), n(bottom));
    page.add(Path::new().set("d", d).set("fill", colour));
    for (words, y) in [(most, top + 0.65 * em), ("0", bottom)] {
        let text = page.label(left - 0.4 * em, y, words).set("text-anchor", "end");
        page.add(text.set("font-size", n(0.85 * em)).set("fill", colour::FAINT));
    }
    page.y = bottom + 0.3 * em;
}

fn time_axis(page: &mut Page, run_time_s: f64) {
    let em = page.em;
    let left = left(page);
    let width = page.width - page.margin - left;
    let step = round_up_time(run_time_s * 6.0 * em / width);
    let y = page.y + 1.1 * em;
    for time in ticks(0.0, run_time_s, step) {
        let x = left + width * time / run_time_s;
        let tick = Line::new()
            .set("x1", n(x))
            .set("x2", n(x))
            .set("y1", n(page.y - 0.3 * em))
            .set("y2", n(page.y + 0.1 * em))
            .set("stroke", colour::FAINT)
            .set("stroke-width", n(0.06 * em));
        page.add(tick);
        let words = clock(time, step);
        if x + page.width_of(&words, 0.85) / 2.0 < page.width {
            let text = page.label(x, y, &words).set("text-anchor", "middle");
            page.add(text.set("font-size", n(0.85 * em)).set("fill", colour::FAINT));
        }
    }
    page.y = y + 1.4 * em;
}
