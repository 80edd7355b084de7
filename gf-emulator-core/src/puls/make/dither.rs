//! Distributes firing ticks so that their share of all ticks is the requested density.

/// The length of a dither period. The machine's own prints use 7 ticks (read from captured jobs).
const PERIOD_TICKS: u8 = 7;
/// Absorbs rounding, so that a density of 3/7 gives 3 ticks per period and never 2.
const EPSILON: f64 = 1e-6;

/// Puts the firing ticks at the start of each period and carries the remainder to the next.
#[derive(Debug, Clone, Default)]
pub(in crate::puls) struct Dither {
    /// The index of the next tick in its period.
    phase: u8,
    /// The number of firing ticks in this period.
    firing: f64,
    /// The number of ticks that should have fired so far and have not. Negative if too many have.
    error: f64,
}

impl Dither {
    /// Returns whether the next tick fires at that density (0 to 1).
    pub(in crate::puls) fn advance(&mut self, density: f64) -> bool {
        if self.phase == 0 {
            self.firing = (self.error + density * f64::from(PERIOD_TICKS) + EPSILON).floor();
        }
        let fires = f64::from(self.phase) < self.firing;
        self.phase = (self.phase + 1) % PERIOD_TICKS;
        self.error += density - f64::from(u8::from(fires));
        fires
    }

    /// Takes the last tick back, which did not fire after all. The next one does.
    pub(super) fn postpone(&mut self) {
        self.error += 1.0;
        self.phase = 0;
    }

    /// Starts a new period for another density. Keeps the error.
    pub(in crate::puls) fn restart_period(&mut self) {
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
    fn multiples_of_a_seventh_repeat_exactly_in_every_period() {
        for sevenths in 0..=7_u8 {
            let mut dither = Dither::default();
            for _ in 0..100_000 {
                assert_eq!(fired(&mut dither, f64::from(sevenths) / 7.0, 7), usize::from(sevenths));
            }
        }
    }

    #[test]
    fn firing_ticks_are_at_the_start_of_a_period() {
        let mut dither = Dither::default();
        let period: Vec<_> = (0..7).map(|_| dither.advance(3.0 / 7.0)).collect();
        assert_eq!(period, [true, true, true, false, false, false, false]);
        // After a partial period, the next one starts with fire again, minus the ticks that fired too early.
        assert_eq!(fired(&mut dither, 3.0 / 7.0, 3), 3);
        dither.restart_period();
        assert_eq!((fired(&mut dither, 4.0 / 7.0, 7), fired(&mut dither, 4.0 / 7.0, 7)), (2, 4));
    }

    proptest! {
        #[test]
        fn total_follows_the_requested_density(parts in prop::collection::vec((0.0..=1.0_f64, 1..40_usize), 1..20)) {
            let mut dither = Dither::default();
            let (mut requested, mut fired_ticks) = (0.0, 0);
            for (density, ticks) in parts {
                dither.restart_period();
                fired_ticks += fired(&mut dither, density, ticks);
                requested += density * ticks as f64;
                // Off by one period at most.
                prop_assert!((-7.0..=7.0).contains(&(requested - fired_ticks as f64)), "{requested} {fired_ticks}");
            }
        }
    }
}
