//! The layout of a plot: title, bed, legend, charts and caption, from top to bottom.

use svg::Document;

use super::super::Seconds;
use super::canvas::{Canvas, n, printable};
use super::scale::grouped;
use super::{Plot, PlotOptions, WIDTHS_PX, bed, caption, charts, colour, legend};

pub(super) fn draw(plot: &Plot, options: &PlotOptions) -> Document {
    let mut canvas = Canvas::new(f64::from(options.width_px.clamp(*WIDTHS_PX.start(), *WIDTHS_PX.end())));
    draw_title(&mut canvas, plot, &options.title);
    bed::draw(&mut canvas, plot, options);
    legend::draw(&mut canvas, plot);
    charts::draw(&mut canvas, plot);
    caption::draw(&mut canvas, plot);
    canvas.finish(&options.title)
}

fn draw_title(canvas: &mut Canvas, plot: &Plot, title: &str) {
    let measured = plot.measured();
    draw_heading(canvas, title);
    canvas.y += 1.5 * canvas.em;
    let ticks = grouped(measured.ticks);
    let line = match (measured.run_time_s, measured.header.step_frequency_hz()) {
        (Some(run_time_s), Some(hz)) => {
            format!("{} ({ticks} ticks, {} a second)", Seconds(run_time_s), grouped(hz.into()))
        }
        _ => format!("{ticks} ticks; the header has no step frequency"),
    };
    let line = canvas.label(canvas.margin, canvas.y, &line).set("fill", colour::FAINT);
    canvas.add(line);
    canvas.y += canvas.em;
}

/// Draws the title alone.
pub(super) fn draw_heading(canvas: &mut Canvas, title: &str) {
    const SIZE: f64 = 1.4;
    let title = printable(title);
    canvas.y += SIZE * canvas.em;
    let available = canvas.width - 2.0 * canvas.margin;
    // Bold text is about 1/6 wider.
    let title = truncated(&title, available / (canvas.text_width("m", SIZE) * 1.17));
    let heading =
        canvas.label(canvas.margin, canvas.y, &title).set("font-size", n(SIZE * canvas.em)).set("font-weight", "bold");
    canvas.add(heading);
}

/// Truncates text to a number of characters, with an ellipsis.
fn truncated(text: &str, chars: f64) -> String {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
    let max_chars = chars as usize;
    if text.chars().count() <= max_chars {
        return text.to_owned();
    }
    text.chars().take(max_chars.saturating_sub(1)).chain(['…']).collect()
}
