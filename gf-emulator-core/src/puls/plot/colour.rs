//! Colours that differ in lightness, so that they can be told apart without colour vision.

/// A colour in CSS notation.
pub(super) type Colour = &'static str;

/// Text, axes, frames.
pub(super) const INK: Colour = "#1f2933";
/// Secondary text.
pub(super) const FAINT: Colour = "#616e7c";
pub(super) const GRID: Colour = "#e4e7eb";
pub(super) const PAPER: Colour = "#ffffff";
pub(super) const BED: Colour = "#f9fafb";
pub(super) const TRAVEL: Colour = "#9aa5b1";
pub(super) const SPEED: Colour = "#3b528b";
pub(super) const LASER: Colour = "#c2410c";
pub(super) const LENS: Colour = "#0f766e";
/// What is only in the second of two jobs; [`LASER`] is only in the first.
pub(super) const ONLY_B: Colour = "#1d4ed8";
/// The darkest shade of an engraving. Lighter ones are more transparent.
pub(super) const ENGRAVING: [u8; 3] = [0x3b, 0x1d, 0x0e];

/// Cuts by fire density in sevenths: the viridis palette from light to dark, without its yellow end, which is hard to
/// see on white.
pub(super) const CUTS: [Colour; 8] =
    ["#8fd744", "#5ec962", "#28ae80", "#21918c", "#2c728e", "#3b528b", "#472d7b", "#2a0134"];

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the perceived lightness, 0 to 100 (CIE L*).
    fn lightness(colour: &str) -> f64 {
        let linear = |at: usize| {
            let value = f64::from(u8::from_str_radix(&colour[at..at + 2], 16).unwrap()) / 255.0;
            if value <= 0.040_45 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
        };
        let y = 0.2126 * linear(1) + 0.7152 * linear(3) + 0.0722 * linear(5);
        116.0 * y.cbrt() - 16.0
    }

    #[test]
    fn cut_colours_differ_in_lightness() {
        for pair in CUTS.windows(2) {
            let (light, dark) = (lightness(pair[0]), lightness(pair[1]));
            assert!(light - dark >= 6.0, "{pair:?}: {light:.1} and {dark:.1}");
        }
        assert!(lightness(CUTS[0]) < 80.0, "too light for white paper");
    }

    #[test]
    fn text_has_enough_contrast() {
        for (colour, most) in [(INK, 20.0), (FAINT, 48.0), (SPEED, 48.0), (LASER, 48.0), (LENS, 48.0)] {
            assert!(lightness(colour) < most, "{colour}: {}", lightness(colour));
        }
    }
}
