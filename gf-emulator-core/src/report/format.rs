//! Times as text. A recording may contain any number, so all of them have to fit a table cell.

use crate::puls::Seconds;

/// Formats a time since the start of the recording, with milliseconds.
pub(super) fn clock(t: f64) -> String {
    if t.abs() < 1e7 { format!("{t:.3}") } else { format!("{t:.3e}") }
}

/// Formats a duration to about three digits.
pub(super) fn duration(s: f64) -> String {
    match s {
        s if !(0.0..1e7).contains(&s) => format!("{s:.3e} s"),
        s if s < 0.001 => format!("{:.0} µs", s * 1e6),
        s if s < 1.0 => format!("{:.1} ms", s * 1e3),
        s => Seconds(s).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_number_is_short() {
        assert_eq!(
            [0.0, 12.345_6, 1e7, 1e308, -1e308].map(clock),
            ["0.000", "12.346", "1.000e7", "1.000e308", "-1.000e308"]
        );
        let shown = [0.0, 0.000_328, 0.0123, 1.5, 247.2, 1e300, -1.0].map(duration);
        assert_eq!(shown, ["0 µs", "328 µs", "12.3 ms", "1.50 s", "4:07", "1.000e300 s", "-1.000e0 s"]);
    }
}
