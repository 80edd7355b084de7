//! The bed, and jobs that leave it.

use std::fmt::Write;

use super::{Extents, Header, Span};

/// The work area: 495 mm from left to right, 279 mm from back to front (measured on hardware).
pub const WORK_AREA_MM: (f64, f64) = (495.0, 279.0);
/// Less than this is rounding to steps.
const SLACK_MM: f64 = 0.05;

/// Describes how a job leaves the work area, or returns `None` if it does not. `start_mm` is where it begins, in mm from
/// the back left corner; if unknown, the job has to fit somewhere. If it fits from another start, that is told as well.
#[must_use]
pub fn off_bed(header: &Header, extents: &Extents, start_mm: Option<[f64; 2]>) -> Option<String> {
    let reach = |Span { min, max }: Span, mm: fn(&Header, i64) -> f64| [mm(header, min), mm(header, max)];
    let ([left, right], [back, front]) = (reach(extents.x, Header::x_mm), reach(extents.y, Header::y_mm));
    let (width, depth) = WORK_AREA_MM;
    let off = |min: f64, max: f64, size: f64| min < -SLACK_MM || max > size + SLACK_MM;
    let fits = !off(0.0, right - left, width) && !off(0.0, front - back, depth);
    match start_mm {
        Some([x, y]) if off(x + left, x + right, width) || off(y + back, y + front, depth) => {
            let mut message = format!(
                "started at {x},{y} the job leaves the bed, which is {width} x {depth} mm: it reaches X {:.1} to {:.1}, \
                 Y {:.1} to {:.1} mm",
                x + left,
                x + right,
                y + back,
                y + front
            );
            if fits {
                // Not -0.0, and not below the first.
                let range = |min: f64, max: f64, size: f64| (0.0 - min, (size - max).max(0.0 - min));
                let (x, y) = (range(left, right, width), range(back, front, depth));
                let _ =
                    write!(message, "; it fits from X {:.1} to {:.1}, Y {:.1} to {:.1}", x.0, x.1, y.0, y.1);
            }
            Some(message)
        }
        _ => (!fits).then(|| {
            format!(
                "the job does not fit on the bed, which is {width} x {depth} mm: from its start it reaches X {left:.1} to \
                 {right:.1}, Y {back:.1} to {front:.1} mm"
            )
        }),
    }
}
