//! Round numbers for axes, and number formats.

use super::super::Seconds;

/// Rounds a positive number up to 1, 2 or 5 times a power of ten.
pub(super) fn round_up(min: f64) -> f64 {
    let decade = 10_f64.powf(min.log10().floor());
    [1.0, 2.0, 5.0]
        .map(|digit| digit * decade)
        .into_iter()
        .find(|&step| step >= min * 0.999_999)
        .unwrap_or(10.0 * decade)
}

/// Returns the end of an axis for values up to a positive maximum.
pub(super) fn axis_end(max: f64) -> f64 {
    let step = round_up(max / 5.0) / 2.0;
    (max / step - 1e-9).ceil() * step
}

/// Returns the multiples of `step` from `from` to `to`, at most 100.
pub(super) fn ticks(from: f64, to: f64, step: f64) -> impl Iterator<Item = f64> {
    let first = (from / step - 1e-9).ceil();
    (0..100).map(move |i| (first + f64::from(i)) * step).take_while(move |&value| value <= to + step * 1e-9)
}

/// Rounds a number of seconds up to a step for a time axis.
pub(super) fn round_up_time(min_s: f64) -> f64 {
    const CLOCK: [f64; 12] = [15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0, 1800.0, 3600.0, 7200.0, 14_400.0, 28_800.0];
    if min_s <= 10.0 {
        return round_up(min_s);
    }
    CLOCK.into_iter().find(|&step| step >= min_s).unwrap_or_else(|| round_up(min_s / 86_400.0) * 86_400.0)
}

/// Formats a number with as many decimals as a step needs.
pub(super) fn label(value: f64, step: f64) -> String {
    let decimals = if step >= 1.0 {
        0
    } else if step >= 0.1 {
        1
    } else {
        2
    };
    let text = format!("{value:.decimals$}");
    if text.trim_start_matches('-').chars().all(|c| c == '0' || c == '.') { "0".to_owned() } else { text }
}

/// Formats a time on an axis.
pub(super) fn clock(seconds: f64, step_s: f64) -> String {
    if seconds == 0.0 {
        "0".to_owned()
    } else if step_s < 60.0 && seconds < 60.0 {
        format!("{} s", label(seconds, step_s))
    } else {
        Seconds(seconds).to_string()
    }
}

/// Formats a length with thousands separators.
pub(super) fn mm(mm: f64) -> String {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a length, not negative; saturates")]
    let tenths = (mm * 10.0).round() as u64;
    format!("{}.{} mm", grouped(tenths / 10), tenths % 10)
}

/// Formats an integer with thousands separators.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_steps_up() {
        for (least, expected) in
            [(0.3, 0.5), (1.0, 1.0), (1.1, 2.0), (2.0, 2.0), (4.9, 5.0), (7.0, 10.0), (73.0, 100.0)]
        {
            assert!((round_up(least) - expected).abs() < 1e-9, "{least}: {}", round_up(least));
        }
        for (least, expected) in
            [(0.3, 0.5), (9.0, 10.0), (11.0, 15.0), (31.0, 60.0), (3000.0, 3600.0), (30_000.0, 43_200.0)]
        {
            assert!((round_up_time(least) - expected).abs() < 1e-6, "{least}: {}", round_up_time(least));
        }
    }

    #[test]
    fn axes_end_at_or_above_the_maximum() {
        for (most, end) in [(200.7, 225.0), (200.0, 200.0), (136.0, 150.0), (9.0, 9.0), (1.0, 1.0), (41.0, 45.0)] {
            assert!((axis_end(most) - end).abs() < 1e-9, "{most}: {}", axis_end(most));
        }
    }

    #[test]
    fn ticks_are_in_range_and_bounded() {
        assert_eq!(ticks(-7.0, 20.0, 5.0).collect::<Vec<_>>(), [-5.0, 0.0, 5.0, 10.0, 15.0, 20.0]);
        assert_eq!(ticks(0.0, 1e9, 1.0).count(), 100);
    }

    #[test]
    fn formats_numbers() {
        assert_eq!([0, 12, 123, 1234, 1_234_567].map(grouped), ["0", "12", "123", "1,234", "1,234,567"]);
        assert_eq!(
            [label(-0.0, 1.0), label(2.5, 0.5), label(0.25, 0.05), label(-20.0, 10.0)],
            ["0", "2.5", "0.25", "-20"]
        );
        assert_eq!([clock(0.0, 1.0), clock(2.5, 0.5), clock(90.0, 30.0)], ["0", "2.5 s", "1:30"]);
    }
}
