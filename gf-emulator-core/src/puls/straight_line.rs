//! An online test for straightness: can one line be drawn past all positions of a segment?

use super::bit_planes::BitPlanes;

/// The greatest distance between the head and the line between a segment's ends, in microsteps.
const TOLERANCE: i64 = 2;
/// The greatest length of a segment on one axis (plus one block), so that cross products fit 64 bits.
const MAX_LENGTH: i64 = 1 << 30;

/// The directions in which a segment may end: those that pass every position so far within [`TOLERANCE`].
///
/// They lie between two slopes, which each new position can only bring closer together (the cone intersection method of
/// polyline simplification). Coordinates are mirrored so that both axes grow.
#[derive(Debug, Clone, Copy)]
pub(super) struct StraightLine {
    /// The direction of each axis: 1 or -1, 0 before its first step.
    x_sign: i64,
    y_sign: i64,
    x: i64,
    y: i64,
    steepest: (i64, i64),
    flattest: (i64, i64),
    /// The cross products of the position with both slopes, updated with every step. Never negative.
    below_steepest: i64,
    above_flattest: i64,
    /// How many steps have been tested one by one since [`take_work`](Self::take_work), about.
    work: u32,
}

impl Default for StraightLine {
    /// An empty line, which may still go anywhere.
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
            work: 0,
        }
    }
}

impl StraightLine {
    /// Returns the distance from start to end in X and Y.
    pub(super) const fn displacement(&self) -> (i64, i64) {
        (self.x_sign * self.x, self.y_sign * self.y)
    }

    /// Returns about how many steps have been tested one by one since the last call.
    pub(super) fn take_work(&mut self) -> u32 {
        std::mem::take(&mut self.work)
    }

    /// Appends one step. Returns `false`, and leaves the step out, if the line would not stay straight.
    pub(super) fn push(&mut self, x: i64, y: i64) -> bool {
        let (x_step, y_step) = (u64::from(x != 0), u64::from(y != 0));
        let reversed =
            reversed(&mut self.x_sign, x_step, u64::from(x < 0)) | reversed(&mut self.y_sign, y_step, u64::from(y < 0));
        reversed == 0 && self.extend_by_steps(x_step, y_step, 1) == 0
    }

    /// Appends steps of a block in order, as long as the line stays straight. Returns the steps that are left.
    #[inline]
    pub(super) fn extend(&mut self, planes: &BitPlanes, steps: u64) -> u64 {
        if self.x.max(self.y) > MAX_LENGTH {
            return steps;
        }
        let (x_steps, y_steps) = (planes.x_step & steps, planes.y_step & steps);
        let reversed = reversed(&mut self.x_sign, x_steps, planes.x_negative)
            | reversed(&mut self.y_sign, y_steps, !planes.y_positive);
        // The steps before the first one that reverses an axis.
        let forward = steps & (reversed ^ reversed.wrapping_sub(1)) & !reversed;
        if self.y == 0 && y_steps & forward == 0 {
            // Along X from the start, as in an engraving: straight at any length.
            self.x += i64::from((x_steps & forward).count_ones());
            self.below_steepest = self.x;
            if self.x > TOLERANCE {
                (self.steepest, self.below_steepest) = ((self.x, TOLERANCE), TOLERANCE * self.x);
            }
            return steps & !forward;
        }
        steps & !forward | self.extend_forward(x_steps, y_steps, forward)
    }

    /// Appends steps that reverse neither axis, as [`extend`](Self::extend) does.
    #[inline]
    fn extend_forward(&mut self, x_steps: u64, y_steps: u64, steps: u64) -> u64 {
        let Self { x, y, .. } = *self;
        // Whether the line is at least as long on this axis as on the other one, also after the steps.
        let is_major = |major: i64, minor: i64, minor_steps: u32| {
            major > TOLERANCE && major - minor >= TOLERANCE + i64::from(minor_steps)
        };
        let (in_x, in_y) = ((x_steps & steps).count_ones(), (y_steps & steps).count_ones());
        let left = if is_major(x, y, in_y) {
            self.work += in_y;
            let mut shallow = ShallowLine {
                major: x,
                minor: y,
                upper: self.steepest,
                lower: self.flattest,
                below_upper: self.below_steepest,
                above_lower: self.above_flattest,
            };
            let left = shallow.extend(x_steps, y_steps, steps);
            (self.x, self.y) = (shallow.major, shallow.minor);
            (self.steepest, self.below_steepest) = (shallow.upper, shallow.below_upper);
            (self.flattest, self.above_flattest) = (shallow.lower, shallow.above_lower);
            left
        } else if is_major(y, x, in_x) {
            self.work += in_x;
            let swapped = |(x, y): (i64, i64)| (y, x);
            let mut shallow = ShallowLine {
                major: y,
                minor: x,
                upper: swapped(self.flattest),
                lower: swapped(self.steepest),
                below_upper: self.above_flattest,
                above_lower: self.below_steepest,
            };
            let left = shallow.extend(y_steps, x_steps, steps);
            (self.y, self.x) = (shallow.major, shallow.minor);
            (self.flattest, self.above_flattest) = (swapped(shallow.upper), shallow.below_upper);
            (self.steepest, self.below_steepest) = (swapped(shallow.lower), shallow.above_lower);
            left
        } else {
            self.work += in_x.max(in_y);
            steps
        };
        self.extend_by_steps(x_steps, y_steps, left)
    }

    /// Appends steps one after the other. Returns the steps that are left.
    #[inline]
    fn extend_by_steps(&mut self, x_steps: u64, y_steps: u64, mut steps: u64) -> u64 {
        let Self { mut x, mut y, mut steepest, mut flattest, mut below_steepest, mut above_flattest, .. } = *self;
        while steps != 0 {
            let tick = steps & steps.wrapping_neg();
            let (by_x, by_y) = (i64::from(x_steps & tick != 0), i64::from(y_steps & tick != 0));
            let below = below_steepest + (steepest.1 & -by_x) - (steepest.0 & -by_y);
            let above = above_flattest + (flattest.0 & -by_y) - (flattest.1 & -by_x);
            if (below | above) < 0 {
                break;
            }
            steps ^= tick;
            (below_steepest, above_flattest) = (below, above);
            x += by_x;
            y += by_y;
            // Narrow the slopes to those that pass this position: above and below it, or beside it if the line is
            // steep.
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

/// A line that is longer on one axis, the major one, than on the other. The slopes are those of [`StraightLine`].
struct ShallowLine {
    major: i64,
    minor: i64,
    upper: (i64, i64),
    lower: (i64, i64),
    below_upper: i64,
    above_lower: i64,
}

impl ShallowLine {
    /// Appends steps as long as the line stays straight. Returns the steps that are left, the first few of which may
    /// belong to the line as well.
    ///
    /// Between two steps of the minor axis, only the last position can narrow the upper slope or be below the lower one,
    /// and only the first can narrow the lower slope or be above the upper one. So those between are skipped.
    #[inline]
    fn extend(&mut self, major_steps: u64, minor_steps: u64, mut steps: u64) -> u64 {
        let Self { mut major, mut minor, mut upper, mut lower, mut below_upper, mut above_lower } = *self;
        loop {
            let rest = minor_steps & steps;
            // 0 after the last one.
            let minor_step = rest & rest.wrapping_neg();
            let run = steps & minor_step.wrapping_sub(1);
            let length = i64::from(run.count_ones());
            let above = above_lower - lower.1 * length;
            if above < 0 {
                break;
            }
            (major, above_lower) = (major + length, above);
            below_upper += upper.1 * length;
            if below_upper > TOLERANCE * upper.0 {
                (upper, below_upper) = ((major, minor + TOLERANCE), TOLERANCE * major);
            }
            steps ^= run;
            if minor_step == 0 {
                break;
            }
            let by_major = i64::from(major_steps & minor_step != 0);
            let below = below_upper + (upper.1 & -by_major) - upper.0;
            if below < 0 {
                break;
            }
            steps ^= minor_step;
            below_upper = below;
            above_lower += lower.0 - (lower.1 & -by_major);
            (major, minor) = (major + by_major, minor + 1);
            if above_lower > TOLERANCE * lower.0 {
                (lower, above_lower) = ((major, minor - TOLERANCE), TOLERANCE * major);
            }
        }
        *self = Self { major, minor, upper, lower, below_upper, above_lower };
        steps
    }
}

/// Returns the steps of an axis against its direction, which its first step sets.
#[inline]
fn reversed(sign: &mut i64, steps: u64, negative: u64) -> u64 {
    if *sign == 0 && steps != 0 {
        *sign = if steps & steps.wrapping_neg() & negative == 0 { 1 } else { -1 };
    }
    steps & if *sign < 0 { !negative } else { negative }
}
