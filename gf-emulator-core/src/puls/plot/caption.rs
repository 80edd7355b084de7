//! The caption: the measurements of a job.

use super::super::{Header, Seconds, Span};
use super::canvas::{Canvas, n};
use super::moment::Moment;
use super::scale::{grouped, mm};
use super::{Plot, colour};

/// The minimum width of a cell, in em.
const CELL_EM: f64 = 23.0;
/// The part of it for the name.
const NAME_EM: f64 = 6.0;

pub(super) fn draw(canvas: &mut Canvas, plot: &Plot) {
    draw_rows(canvas, &numbers(plot));
    let available = canvas.width - 2.0 * canvas.margin;
    for note in notes(plot) {
        for line in wrapped(&note, available / canvas.text_width("m", 0.9)) {
            canvas.y += 1.5 * canvas.em;
            canvas.text(canvas.margin, canvas.y, &line);
        }
    }
}

/// Draws names and values in columns.
pub(super) fn draw_rows(canvas: &mut Canvas, numbers: &[(&str, String)]) {
    let em = canvas.em;
    let available = canvas.width - 2.0 * canvas.margin;
    let columns = (available / (CELL_EM * em)).floor().max(1.0);
    let cell = available / columns;
    let line_height = 1.5 * em;
    canvas.y += 0.8 * em;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small positive number")]
    let rows = numbers.len().div_ceil(columns as usize);
    let top = canvas.y;
    for (i, (name, value)) in numbers.iter().enumerate() {
        let (x, y) = (canvas.margin + (i / rows) as f64 * cell, top + (i % rows) as f64 * line_height);
        let label = canvas.label(x, y, name).set("fill", colour::FAINT);
        canvas.add(label);
        // Shrink text that may be too wide for a small phone.
        let width = canvas.text_width(value, 0.9);
        let space = cell - (NAME_EM + 0.4) * em;
        let mut text = canvas.label(x + NAME_EM * em, y, value);
        if width > space {
            text = text.set("font-size", n((0.9 * em * space / width).max(0.7 * em)));
        }
        canvas.add(text);
    }
    canvas.y = top + (rows.saturating_sub(1)) as f64 * line_height;
}

/// Returns the measurements with their names.
fn numbers(plot: &Plot) -> Vec<(&'static str, String)> {
    let measured = &plot.measured;
    let (header, extents, counts) = (&measured.header, &measured.extents, &measured.counts);
    let mut numbers = Vec::new();
    let seconds = |ticks: u64| {
        measured
            .seconds(ticks)
            .map_or_else(|| format!("{} ticks", grouped(ticks)), |seconds| Seconds(seconds).to_string())
    };
    numbers.push(("moving", seconds(measured.moving_ticks)));
    numbers.push(("firing", seconds(counts.le)));
    numbers.push(("idle", seconds(measured.idle_ticks)));
    numbers.push(("travelled", mm(measured.travelled_mm)));
    numbers.push(("cut", mm(measured.cut_mm)));
    if let (Some(peak), Some(mean)) = (measured.peak_mm_s, measured.mean_mm_s()) {
        numbers.push(("speed", format!("peak {peak:.1}, mean {mean:.1} mm/s")));
    }
    let box_of =
        |x: Span, y: Span| format!("X {}, Y {} mm", ends(header, x, Header::x_mm), ends(header, y, Header::y_mm));
    numbers.push(("reach", box_of(extents.x, extents.y)));
    if let Some(fire) = extents.fire {
        numbers.push(("laser box", box_of(fire.x, fire.y)));
    }
    if extents.z.min != extents.z.max {
        numbers.push(("lens", format!("{} mm", ends(header, extents.z, Header::z_mm))));
    }
    if let Some(per_mm) = measured.fire_ticks_per_mm() {
        numbers.push(("dose", format!("{} fire ticks, {per_mm:.1} to a mm", grouped(counts.le))));
    }
    let levels: Vec<u8> = measured.powers.iter().filter_map(|(level, _)| *level).collect();
    match levels[..] {
        [] => {}
        [level] => numbers.push(("power", format!("{level} of 127"))),
        [least, .., most] => numbers.push(("power", format!("{} levels, {least} to {most} of 127", levels.len()))),
    }
    numbers
}

fn ends(header: &Header, span: Span, mm: fn(&Header, i64) -> f64) -> String {
    format!("{:.1} to {:.1}", mm(header, span.min), mm(header, span.max))
}

/// Returns remarks about the plot.
fn notes(plot: &Plot) -> Vec<String> {
    let mut notes: Vec<String> = plot.moment.iter().map(|moment| describe(moment, plot)).collect();
    let layers = || [Some(&plot.layers), plot.rest.as_ref()].into_iter().flatten();
    if layers().any(|layers| layers.cuts_in_dose) {
        notes.push("There are too many cuts for lines: the later ones are drawn as dose.".to_owned());
    }
    if layers().any(|layers| layers.travel_dropped) {
        notes.push("There is too much travel for lines: the later part is left out.".to_owned());
    }
    if let Some(reasons) = plot.measured.refusal_reasons(None) {
        notes.push(format!("A machine would refuse it: {reasons}."));
    }
    notes
}

/// Describes a moment of the job.
fn describe(moment: &Moment, plot: &Plot) -> String {
    let measured = &plot.measured;
    let tick = moment.tick.min(measured.ticks);
    let time = match (measured.seconds(tick), measured.run_time_s) {
        (Some(at), Some(end)) => format!("{} of {}", Seconds(at), Seconds(end)),
        _ => format!("tick {} of {}", grouped(tick), grouped(measured.ticks)),
    };
    if moment.tick >= measured.ticks {
        return format!("At {time} the job is over.");
    }
    let (x, y) = moment.head_mm(&measured.header);
    let z = measured.header.z_mm(moment.head.z);
    let laser = if moment.laser { "on" } else { "off" };
    let done = 100.0 * moment.fire_ticks as f64 / measured.counts.le.max(1) as f64;
    format!(
        "At {time} the head is at X {x:.1}, Y {y:.1} mm, the lens at {z:.1} mm, the laser is {laser}, and {done:.1} % of the \
         firing is done. What comes later is faint."
    )
}

/// Wraps text to lines of a number of characters.
fn wrapped(text: &str, chars: f64) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let long = |line: &String| (line.chars().count() + 1 + word.chars().count()) as f64 > chars;
        match lines.last_mut() {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) if !long(line) => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}
