//! A look-ahead planner: the fastest trapezoidal speed profile along a path, from rest to rest.
//!
//! Corner speeds follow GRBL's junction deviation: the speed of an arc that leaves the corner by no more than
//! [`JUNCTION_DEVIATION_MM`]. For a curve made of short moves this rule alone would allow more speed the shorter the
//! moves are, so the radius of the curve limits the speed as well.

/// GRBL's default. Corners are not actually rounded; this only determines their speed.
const JUNCTION_DEVIATION_MM: f64 = 0.01;
/// The sharpest turn between moves that count as a curve, in radians: 45 degrees.
const MAX_CURVE_TURN: f64 = std::f64::consts::FRAC_PI_4;
/// Shorter moves are dropped: far less than a microstep, but long enough to have a direction.
const MIN_LENGTH_MM: f64 = 1e-6;

/// Limits for a whole path.
#[derive(Debug, Clone, Copy)]
pub(in crate::puls) struct Limits {
    /// Of X and Y, in mm/s2.
    pub(in crate::puls) acceleration: [f64; 2],
    /// The speed of an axis that steps in every tick.
    pub(in crate::puls) axis_mm_s: f64,
    /// The speed of the head in any direction.
    pub(in crate::puls) head_mm_s: f64,
}

impl Limits {
    /// Returns the length of the longest vector in a direction whose X and Y are within limits.
    fn along([x, y]: [f64; 2], [x_limit, y_limit]: [f64; 2]) -> f64 {
        // A component of 0 gives infinity, which is no limit.
        (x_limit / x.abs()).min(y_limit / y.abs())
    }
}

/// A straight move with its trapezoidal speed profile.
#[derive(Debug, Clone, Copy)]
pub(in crate::puls) struct PlannedMove {
    /// The index of the requested move.
    pub(in crate::puls) index: usize,
    from: [f64; 2],
    direction: [f64; 2],
    pub(in crate::puls) length_mm: f64,
    pub(in crate::puls) acceleration: f64,
    /// The speed limit.
    limit_mm_s: f64,
    pub(in crate::puls) entry_mm_s: f64,
    peak_mm_s: f64,
    pub(in crate::puls) exit_mm_s: f64,
    acceleration_s: f64,
    acceleration_mm: f64,
    deceleration_s: f64,
    duration_s: f64,
}

impl PlannedMove {
    fn new(index: usize, from: [f64; 2], to: [f64; 2], speed_mm_s: f64, limits: &Limits) -> Option<Self> {
        let way = [to[0] - from[0], to[1] - from[1]];
        let length_mm = way[0].hypot(way[1]);
        (length_mm > MIN_LENGTH_MM).then(|| {
            let direction = way.map(|mm| mm / length_mm);
            Self {
                index,
                from,
                direction,
                length_mm,
                acceleration: Limits::along(direction, limits.acceleration),
                limit_mm_s: speed_mm_s.min(limits.head_mm_s).min(Limits::along(direction, [limits.axis_mm_s; 2])),
                entry_mm_s: 0.0,
                peak_mm_s: 0.0,
                exit_mm_s: 0.0,
                acceleration_s: 0.0,
                acceleration_mm: 0.0,
                deceleration_s: 0.0,
                duration_s: 0.0,
            }
        })
    }

    /// Returns the speed limit: that requested, as far as the machine allows it in this direction.
    pub(super) fn limit_mm_s(&self) -> f64 {
        self.limit_mm_s
    }

    /// Returns the speed limit of the corner to the next move.
    fn corner_mm_s(&self, next: &Self, limits: &Limits) -> f64 {
        let [a, b] = [self.direction, next.direction];
        let change = [b[0] - a[0], b[1] - a[1]];
        let changed = change[0].hypot(change[1]);
        let limit = self.limit_mm_s.min(next.limit_mm_s);
        // Half of the change is the sine of half of the angle.
        let sine = (changed / 2.0).min(1.0);
        if sine < 1e-6 {
            return limit;
        }
        let acceleration = Limits::along(change.map(|part| part / changed), limits.acceleration);
        let cosine = (1.0 - sine * sine).sqrt();
        // junction deviation: a d s/(1-s), written so that slight turns lose no precision.
        let arc = acceleration * JUNCTION_DEVIATION_MM * cosine * (1.0 + cosine) / (sine * sine);
        let turn = sine.asin() * 2.0;
        let curve = if turn < MAX_CURVE_TURN {
            acceleration * f64::midpoint(self.length_mm, next.length_mm) / turn
        } else {
            f64::INFINITY
        };
        limit.min(arc.min(curve).sqrt())
    }

    /// Returns the fastest speed at one end for a speed at the other.
    fn reachable_mm_s(&self, other_end_mm_s: f64) -> f64 {
        (other_end_mm_s * other_end_mm_s + 2.0 * self.acceleration * self.length_mm).sqrt()
    }

    /// Computes the profile between two end speeds.
    fn set_profile(&mut self, entry_mm_s: f64, exit_mm_s: f64) {
        let squares = entry_mm_s * entry_mm_s + exit_mm_s * exit_mm_s;
        let reached = self.acceleration.mul_add(self.length_mm, squares / 2.0).sqrt();
        // Rounding could leave the peak a bit below an end speed.
        self.peak_mm_s = self.limit_mm_s.min(reached).max(entry_mm_s).max(exit_mm_s);
        (self.entry_mm_s, self.exit_mm_s) = (entry_mm_s, exit_mm_s);
        self.acceleration_s = (self.peak_mm_s - self.entry_mm_s) / self.acceleration;
        self.acceleration_mm = f64::midpoint(self.entry_mm_s, self.peak_mm_s) * self.acceleration_s;
        self.deceleration_s = (self.peak_mm_s - self.exit_mm_s) / self.acceleration;
        let down_mm = f64::midpoint(self.exit_mm_s, self.peak_mm_s) * self.deceleration_s;
        let along_mm = (self.length_mm - self.acceleration_mm - down_mm).max(0.0);
        self.duration_s = self.acceleration_s + along_mm / self.peak_mm_s + self.deceleration_s;
    }

    pub(in crate::puls) fn duration_s(&self) -> f64 {
        self.duration_s
    }

    /// Returns position and speed after a time.
    pub(in crate::puls) fn at(&self, time_s: f64) -> ([f64; 2], f64) {
        let remaining_s = self.duration_s - time_s;
        let (way_mm, speed_mm_s) = if remaining_s <= 0.0 {
            (self.length_mm, self.exit_mm_s)
        } else if remaining_s < self.deceleration_s {
            let speed_mm_s = self.exit_mm_s + self.acceleration * remaining_s;
            (self.length_mm - f64::midpoint(self.exit_mm_s, speed_mm_s) * remaining_s, speed_mm_s)
        } else if time_s < self.acceleration_s {
            let speed_mm_s = self.entry_mm_s + self.acceleration * time_s;
            (f64::midpoint(self.entry_mm_s, speed_mm_s) * time_s, speed_mm_s)
        } else {
            (self.acceleration_mm + self.peak_mm_s * (time_s - self.acceleration_s), self.peak_mm_s)
        };
        let way_mm = way_mm.clamp(0.0, self.length_mm);
        let coordinate = |axis: usize| self.from[axis] + self.direction[axis] * way_mm;
        ([coordinate(0), coordinate(1)], speed_mm_s)
    }
}

/// Plans a path through all `targets`, each a position and the requested speed on the way there. Drops moves without
/// length.
pub(in crate::puls) fn plan(
    start: [f64; 2],
    targets: impl Iterator<Item = ([f64; 2], f64)>,
    limits: &Limits,
) -> Vec<PlannedMove> {
    let mut from = start;
    let mut moves: Vec<_> = targets
        .enumerate()
        .filter_map(|(leg, (to, speed_mm_s))| {
            let planned = PlannedMove::new(leg, from, to, speed_mm_s, limits)?;
            from = to;
            Some(planned)
        })
        .collect();
    // Backward pass: no move starts faster than it can slow down from.
    let mut exit_mm_s = 0.0_f64;
    for at in (0..moves.len()).rev() {
        let corner = at.checked_sub(1).map_or(0.0, |before| moves[before].corner_mm_s(&moves[at], limits));
        let planned = &mut moves[at];
        planned.exit_mm_s = exit_mm_s;
        exit_mm_s = corner.min(planned.reachable_mm_s(exit_mm_s));
    }
    // Forward pass: no move ends faster than it can accelerate to.
    let mut entry_mm_s = 0.0_f64;
    for planned in &mut moves {
        let exit_mm_s = planned.exit_mm_s.min(planned.reachable_mm_s(entry_mm_s));
        planned.set_profile(entry_mm_s, exit_mm_s);
        entry_mm_s = exit_mm_s;
    }
    moves
}

#[cfg(test)]
mod tests {
    use std::f64::consts::TAU;

    use super::*;

    const LIMITS: Limits = Limits { acceleration: [700.0, 590.0], axis_mm_s: 187.5, head_mm_s: 500.0 };

    fn planned(speed_mm_s: f64, positions: &[[f64; 2]]) -> Vec<PlannedMove> {
        plan([0.0, 0.0], positions.iter().map(|&position| (position, speed_mm_s)), &LIMITS)
    }

    fn total_s(moves: &[PlannedMove]) -> f64 {
        moves.iter().map(PlannedMove::duration_s).sum()
    }

    fn is_close(value: f64, expected: f64) -> bool {
        (value - expected).abs() <= expected.abs() * 1e-6 + 1e-9
    }

    #[test]
    fn long_lines_are_trapezoids_and_short_ones_triangles() {
        let diagonal = 590.0 * 2.0_f64.sqrt();
        for (to, speed, peak, duration) in [
            ([100.0, 0.0], 100.0, 100.0, 1.0 + 100.0 / 700.0),
            ([0.0, -100.0], 100.0, 100.0, 1.0 + 100.0 / 590.0),
            ([7.0, 0.0], 100.0, 70.0, 0.2),
            ([100.0, 0.0], 500.0, 187.5, 100.0 / 187.5 + 187.5 / 700.0),
            // Along a diagonal both axes accelerate; the weaker one is the limit.
            ([100.0, 100.0], 100.0, 100.0, 2.0_f64.sqrt() + 100.0 / diagonal),
        ] {
            let moves = planned(speed, &[to]);
            assert_eq!(moves.len(), 1);
            assert!(is_close(moves[0].peak_mm_s, peak), "{to:?}: {moves:?}");
            assert!(is_close(total_s(&moves), duration), "{to:?}: {moves:?}");
        }
    }

    #[test]
    fn corner_speeds_follow_junction_deviation() {
        // Right angle: a*d*s/(1-s) with s = sin 45 degrees, and 590 along a diagonal.
        let s = 0.5_f64.sqrt();
        let right_angle = (590.0 / s * 0.01 * s / (1.0 - s)).sqrt();
        for (third, expected) in
            [([100.0, 0.0], 100.0), ([50.0, 50.0], right_angle), ([50.0, -50.0], right_angle), ([0.0, 0.0], 0.0)]
        {
            let moves = planned(100.0, &[[50.0, 0.0], third]);
            assert!(is_close(moves[0].exit_mm_s, expected), "{third:?}: {}", moves[0].exit_mm_s);
            assert!(is_close(moves[1].entry_mm_s, expected), "{third:?}: {moves:?}");
        }
    }

    #[test]
    fn decelerates_over_many_short_moves() {
        // 100 moves of 0.1 mm, then back: the stop needs many of them.
        let there = (1..=100).map(|n| [f64::from(n) / 10.0, 0.0]);
        let positions: Vec<_> = there.chain([[0.0, 0.0]]).collect();
        let moves = planned(150.0, &positions);
        assert_eq!(moves.len(), 101);
        // As fast as one move there and one back.
        assert!(is_close(total_s(&moves), total_s(&planned(150.0, &[[10.0, 0.0], [0.0, 0.0]]))));
        assert!(moves[99].exit_mm_s < 1e-3, "{:?}", moves[99]);
        for pair in moves.windows(2) {
            assert!(is_close(pair[0].exit_mm_s, pair[1].entry_mm_s), "{pair:?}");
            let change = pair[0].exit_mm_s.powi(2) - pair[0].entry_mm_s.powi(2);
            assert!(change.abs() <= 2.0 * 700.0 * 0.1 + 1e-6, "{pair:?}");
        }
    }

    #[test]
    fn curve_speed_depends_on_radius_and_not_on_chord_length() {
        for chords in [70, 200, 2_000, 20_000] {
            let angle = |n: u32| TAU * f64::from(n) / f64::from(chords);
            let circle = (1..=chords).map(|n| [10.0 * (1.0 - angle(n).cos()), 10.0 * angle(n).sin()]);
            let moves = planned(170.0, &circle.collect::<Vec<_>>());
            let fastest = moves.iter().map(|planned| planned.peak_mm_s).fold(0.0, f64::max);
            // sqrt(a r), with a between that of Y and that of both axes together, plus acceleration between corners.
            assert!((73.0..=98.0).contains(&fastest), "{chords}: {fastest}");
        }
    }

    #[test]
    fn ignores_moves_without_length() {
        let with = planned(80.0, &[[0.0, 0.0], [10.0, 0.0], [10.0, 0.0], [10.0, 1e-9], [20.0, 0.0], [20.0, 0.0]]);
        let without = planned(80.0, &[[10.0, 0.0], [20.0, 0.0]]);
        assert_eq!(with.iter().map(|planned| planned.index).collect::<Vec<_>>(), [1, 4]);
        assert!(is_close(total_s(&with), total_s(&without)));
        assert!(planned(80.0, &[[0.0, 0.0]]).is_empty() && planned(80.0, &[]).is_empty());
    }

    #[test]
    fn position_and_speed_are_continuous() {
        let positions = [[30.0, 4.0], [31.0, 4.0], [31.0, 5.0], [60.0, 6.0], [0.0, 0.0]];
        for planned in planned(90.0, &positions) {
            let steps = 1000;
            let dt = planned.duration_s() / f64::from(steps);
            let mut before = planned.at(0.0);
            for n in 1..=steps {
                let now = planned.at(dt * f64::from(n));
                let way = (now.0[0] - before.0[0]).hypot(now.0[1] - before.0[1]);
                let mean = f64::midpoint(now.1, before.1);
                assert!((way / dt - mean).abs() < 1e-2 * planned.peak_mm_s + 1e-6, "{n}: {way} {mean} {planned:?}");
                assert!((now.1 - before.1).abs() <= planned.acceleration * dt * 1.000_001, "{n}: {planned:?}");
                before = now;
            }
            let end = positions[planned.index];
            assert!((before.0[0] - end[0]).abs() < 1e-9 && (before.0[1] - end[1]).abs() < 1e-9, "{planned:?}");
        }
    }
}
