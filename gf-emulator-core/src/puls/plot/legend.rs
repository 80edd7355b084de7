//! The legend: the meaning of lines and markers.

use svg::node::element::{Element, Line, Rectangle};

use super::super::Seconds;
use super::bed::{head_marker, marker, max_dose_per_mm2};
use super::canvas::{Canvas, n};
use super::scale::grouped;
use super::{Plot, colour};

/// The width of a sample, in em.
const SAMPLE_EM: f64 = 2.4;
/// The number of shades in the sample of an engraving.
const SHADES: u8 = 12;

pub(super) fn draw(canvas: &mut Canvas, plot: &Plot) {
    let em = canvas.em;
    let mut items: Vec<(String, Vec<Element>)> = Vec::new();
    let line = |colour: &str, width_em: f64| {
        vec![
            Line::new()
                .set("x2", n(SAMPLE_EM * em))
                .set("stroke", colour)
                .set("stroke-width", n(width_em * em))
                .set("stroke-linecap", "round")
                .into(),
        ]
    };
    items.push(("start".to_owned(), vec![marker(false, (SAMPLE_EM * em / 2.0, 0.0), em)]));
    items.push(("end".to_owned(), vec![marker(true, (SAMPLE_EM * em / 2.0, 0.0), em)]));
    if let Some(moment) = &plot.moment {
        let at = plot.measured.seconds(moment.tick.min(plot.measured.ticks));
        let words = at.map_or_else(|| "head".to_owned(), |at| format!("head at {}", Seconds(at)));
        items.push((words, vec![head_marker((SAMPLE_EM * em / 2.0, 0.0), em)]));
    }
    let layers = || [Some(&plot.layers), plot.rest.as_ref()].into_iter().flatten();
    if layers().any(|layers| !layers.travel.is_empty()) {
        items.push(("travel, laser off".to_owned(), line(colour::TRAVEL, 0.08)));
    }
    let is_used = |sevenths: u8| layers().flat_map(|layers| &layers.cuts).any(|cut| cut.sevenths == Some(sevenths));
    let cuts: Vec<_> = (0..).zip(colour::CUTS).filter(|(sevenths, _)| is_used(*sevenths)).collect();
    for (i, (sevenths, colour)) in cuts.into_iter().enumerate() {
        let part = match sevenths {
            0 => "under 1/14".to_owned(),
            _ => format!("{sevenths}/7"),
        };
        let words = if i == 0 { format!("cut, {part} of the ticks fire") } else { part };
        items.push((words, line(colour, 0.22)));
    }
    if let Some(max_dose) = max_dose_per_mm2(plot) {
        let ticks = max_dose.round();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
        let words = format!("engraving, 0 to {} fire ticks/mm²", grouped(ticks as u64));
        items.push((words, shades(em)));
    }

    draw_items(canvas, items);
}

/// Draws samples, each with its meaning.
pub(super) fn draw_items(canvas: &mut Canvas, items: Vec<(String, Vec<Element>)>) {
    let em = canvas.em;
    let right = canvas.width - canvas.margin;
    let (mut x, line_height) = (canvas.margin, 1.7 * em);
    for (words, sample) in items {
        let width = (SAMPLE_EM + 0.6) * em + canvas.text_width(&words, 0.9);
        if x > canvas.margin && x + width > right {
            x = canvas.margin;
            canvas.y += line_height;
        }
        let mut group = svg::node::element::Group::new()
            .set("transform", format!("translate({} {})", n(x), n(canvas.y - 0.32 * em)));
        for element in sample {
            group = group.add(element);
        }
        canvas.add(group);
        canvas.text(x + (SAMPLE_EM + 0.6) * em, canvas.y, &words);
        x += width + 1.4 * em;
    }
    canvas.y += 1.2 * em;
}

/// Draws the shades of an engraving.
fn shades(em: f64) -> Vec<Element> {
    let [r, g, b] = colour::ENGRAVING;
    let width = SAMPLE_EM * em / f64::from(SHADES);
    (0..SHADES)
        .map(|shade| {
            Rectangle::new()
                .set("x", n(f64::from(shade) * width))
                .set("y", n(-0.45 * em))
                .set("width", n(width))
                .set("height", n(0.9 * em))
                .set("fill", format!("#{r:02x}{g:02x}{b:02x}"))
                .set("fill-opacity", n(f64::from(shade) / f64::from(SHADES - 1)))
                .into()
        })
        .collect()
}
