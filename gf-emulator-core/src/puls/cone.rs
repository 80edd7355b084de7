//! Whether a line is still straight: the directions in which it may end.

#![expect(clippy::inline_always, reason = "to be compiled for the processor that the caller is compiled for")]

use super::planes::Planes;

/// How far the head may be from the line between a segment's ends, in microsteps.
const TOLERANCE: i64 = 2;
/// No segment is longer (by more than a block), so that products of its coordinates stay within 64 bits.
const MAX_REACH: i64 = 1 << 30;

/// The directions, seen from a segment's start, in which it may end: those that pass every place it has been to within
/// the tolerance. Coordinates are reflected so that both grow.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cone {
    /// Which way each axis goes: 1 or -1, and 0 before it has moved.
    x_sign: i64,
    y_sign: i64,
    x: i64,
    y: i64,
    /// The steepest and the flattest direction.
    steepest: (i64, i64),
    flattest: (i64, i64),
    /// The cross products of the place with either, kept up to date by adding: never negative, as it lies in between.
    below_steepest: i64,
    above_flattest: i64,
}

impl Default for Cone {
    /// At its start a segment may go anywhere.
    fn default() -> Self {
        Self {
            x_sign: 0,
            y_sign: 0,
            x: 0,
            y: 0,
            steepest: (0, 1),
            flattest: (1, 0),
            below_steepest: 0,
            above_flattest: 0,
        }
    }
}

impl Cone {
    /// How far the line has got, in X and Y.
    pub(super) const fn way(&self) -> (i64, i64) {
        (self.x_sign * self.x, self.y_sign * self.y)
    }

    /// Takes one step, if the line stays straight with it.
    pub(super) fn include(&mut self, x: i64, y: i64) -> bool {
        let planes = Planes {
            x_step: u64::from(x != 0),
            x_negative: u64::from(x < 0),
            y_step: u64::from(y != 0),
            y_positive: u64::from(y > 0),
            ..Planes::default()
        };
        self.take(&planes, 1) == 0
    }

    /// Takes those steps of a block, one after the other, as long as the line stays straight with them. Leaves the rest.
    #[inline(always)]
    pub(super) fn take(&mut self, planes: &Planes, steps: u64) -> u64 {
        if self.x.max(self.y) > MAX_REACH {
            return steps;
        }
        let (x_steps, y_steps) = (planes.x_step & steps, planes.y_step & steps);
        let back = turning_back(&mut self.x_sign, x_steps, planes.x_negative)
            | turning_back(&mut self.y_sign, y_steps, !planes.y_positive);
        // Those before the first one that turns back.
        let straight = steps & (back ^ back.wrapping_sub(1)) & !back;
        if self.y == 0 && y_steps & straight == 0 {
            // Along X from the start, as an engraving's lines are: it stays straight however far it goes.
            self.x += i64::from((x_steps & straight).count_ones());
            self.below_steepest = self.x;
            if self.x > TOLERANCE {
                (self.steepest, self.below_steepest) = ((self.x, TOLERANCE), TOLERANCE * self.x);
            }
            return steps & !straight;
        }
        steps & !straight | self.take_straight(x_steps, y_steps, straight)
    }

    /// Takes steps that turn back on neither axis.
    #[inline(always)]
    fn take_straight(&mut self, x_steps: u64, y_steps: u64, mut steps: u64) -> u64 {
        let Self { mut x, mut y, mut steepest, mut flattest, mut below_steepest, mut above_flattest, .. } = *self;
        while steps != 0 {
            let i = steps.trailing_zeros();
            let (by_x, by_y) = ((x_steps >> i & 1).cast_signed(), (y_steps >> i & 1).cast_signed());
            let below = below_steepest + (steepest.1 & -by_x) - (steepest.0 & -by_y);
            let above = above_flattest + (flattest.0 & -by_y) - (flattest.1 & -by_x);
            if (below | above) < 0 {
                break;
            }
            steps &= steps - 1;
            (below_steepest, above_flattest) = (below, above);
            x += by_x;
            y += by_y;
            // The directions that pass this place are left: those between the places that are as far from it as may be,
            // above and below it, or to its sides where the line is steep.
            if x >= y {
                if x > TOLERANCE {
                    if below > TOLERANCE * steepest.0 {
                        (steepest, below_steepest) = ((x, y + TOLERANCE), TOLERANCE * x);
                    }
                    if above > TOLERANCE * flattest.0 {
                        (flattest, above_flattest) = ((x, y - TOLERANCE), TOLERANCE * x);
                    }
                }
            } else if y > TOLERANCE {
                if below > TOLERANCE * steepest.1 {
                    (steepest, below_steepest) = ((x - TOLERANCE, y), TOLERANCE * y);
                }
                if above > TOLERANCE * flattest.1 {
                    (flattest, above_flattest) = ((x + TOLERANCE, y), TOLERANCE * y);
                }
            }
        }
        *self = Self { x, y, steepest, flattest, below_steepest, above_flattest, ..*self };
        steps
    }
}

/// Which of an axis' steps do not go the way it goes. The first one says which way that is.
#[inline(always)]
fn turning_back(sign: &mut i64, steps: u64, negative: u64) -> u64 {
    if *sign == 0 && steps != 0 {
        *sign = if steps & steps.wrapping_neg() & negative == 0 { 1 } else { -1 };
    }
    steps & if *sign < 0 { !negative } else { negative }
}
