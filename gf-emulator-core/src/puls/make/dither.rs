//! Dealing out fire ticks, so that the part of the ticks that fire is the density asked for.

/// Fire ticks are dealt out over periods of this many ticks.
const PERIOD_TICKS: u8 = 7;
/// A density such as 3/7 must give 3 and not, by the last bits of a sum, 2.
const SLACK: f64 = 1e-6;

/// Whole fire ticks at the beginning of each period, with what is left over carried to the next.
#[derive(Debug, Default)]
pub(super) struct Dither {
    /// Where in its period the next tick is.
    phase: u8,
    /// How many ticks of this period fire.
    of_period: f64,
    /// How many ticks should have fired by now and have not. Negative where they came before their time.
    due: f64,
}

impl Dither {
    /// Whether the next tick fires, at that density (0 to 1).
    pub(super) fn advance(&mut self, density: f64) -> bool {
        if self.phase == 0 {
            self.of_period = (self.due + density * f64::from(PERIOD_TICKS) + SLACK).floor();
        }
        let fires = f64::from(self.phase) < self.of_period;
        self.phase = (self.phase + 1) % PERIOD_TICKS;
        self.due += density - f64::from(u8::from(fires));
        fires
    }

    /// Begins a new period, since from here on the density is another. What is due stays due.
    pub(super) fn turn(&mut self) {
        self.phase = 0;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fired(dither: &mut Dither, density: f64, ticks: usize) -> usize {
        (0..ticks).filter(|_| dither.advance(density)).count()
    }

    #[test]
    fn sevenths_are_the_same_in_every_period_however_long_it_takes() {
        for sevenths in 0..=7_u8 {
            let mut dither = Dither::default();
            for _ in 0..100_000 {
                assert_eq!(fired(&mut dither, f64::from(sevenths) / 7.0, 7), usize::from(sevenths));
            }
        }
    }

    #[test]
    fn a_period_begins_with_its_fire() {
        let mut dither = Dither::default();
        let period: Vec<_> = (0..7).map(|_| dither.advance(3.0 / 7.0)).collect();
        assert_eq!(period, [true, true, true, false, false, false, false]);
        // Cut short, the next stretch begins with fire again, less what came too early.
        assert_eq!(fired(&mut dither, 3.0 / 7.0, 3), 3);
        dither.turn();
        assert_eq!((fired(&mut dither, 4.0 / 7.0, 7), fired(&mut dither, 4.0 / 7.0, 7)), (2, 4));
    }

    proptest! {
        #[test]
        fn the_sum_is_what_was_asked_for(parts in prop::collection::vec((0.0..=1.0_f64, 1..40_usize), 1..20)) {
            let mut dither = Dither::default();
            let (mut asked, mut got) = (0.0, 0);
            for (density, ticks) in parts {
                dither.turn();
                got += fired(&mut dither, density, ticks);
                asked += density * ticks as f64;
                // Early by what one period has at most, late by less than one for each tick of it.
                prop_assert!((-7.0..=7.0).contains(&(asked - got as f64)), "{asked} {got}");
            }
        }
    }
}
