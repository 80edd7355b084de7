//! Durations for display.

use std::fmt;

/// A duration that displays as `1.59 s`, `4:07` or `2:15:00`.
///
/// ```
/// use gf_emulator_core::puls::Seconds;
///
/// assert_eq!([1.594, 247.2, 8100.0].map(|s| Seconds(s).to_string()), ["1.59 s", "4:07", "2:15:00"]);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct Seconds(pub f64);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Would round to `60.00 s`.
        if self.0 < 59.995 {
            return write!(f, "{:.2} s", self.0);
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "not negative; saturates")]
        let whole = self.0.round() as u64;
        let (hours, minutes, seconds) = (whole / 3600, whole / 60 % 60, whole % 60);
        if hours == 0 { write!(f, "{minutes}:{seconds:02}") } else { write!(f, "{hours}:{minutes:02}:{seconds:02}") }
    }
}
