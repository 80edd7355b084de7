//! How fast the head is where: from rest to rest over any number of legs, as fast as axes and corners let it.
//!
//! Corners are taken at the speed that GRBL takes them at: that of an arc which leaves the corner by no more than
//! [`DEVIATION_MM`]. Where short legs make up a curve, that rule alone would have it faster the finer the legs are, so
//! the curve's own radius counts as well.

/// How far a corner may be thought to be rounded, which it is not: it is only what its speed comes from.
const DEVIATION_MM: f64 = 0.01;
/// The sharpest turn of legs that make up a curve, in radians: 45 degrees.
const CURVE_TURN: f64 = std::f64::consts::FRAC_PI_4;
/// What is no longer than this is no leg: far less than a microstep, and enough to have a direction.
const SHORTEST_MM: f64 = 1e-6;

/// What holds for a whole path.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// In mm/s2, of X and of Y.
    pub(super) acceleration: [f64; 2],
    /// What an axis can do with a step in every tick, in mm/s.
    pub(super) axis_mm_s: f64,
}

impl Limits {
    /// What a vector along that direction may be, where X and Y of it are limited.
    fn along([x, y]: [f64; 2], [x_limit, y_limit]: [f64; 2]) -> f64 {
        // An axis without a part in it gives an infinity, which limits nothing.
        (x_limit / x.abs()).min(y_limit / y.abs())
    }
}

/// A stretch of straight way: speeding up, going along, slowing down.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stretch {
    /// Which of the legs that were asked for it is.
    pub(super) leg: usize,
    from: [f64; 2],
    direction: [f64; 2],
    length_mm: f64,
    acceleration: f64,
    /// As fast as it may get.
    cap_mm_s: f64,
    /// At its beginning, at its fastest, at its end.
    entry_mm_s: f64,
    peak_mm_s: f64,
    exit_mm_s: f64,
    /// How long it speeds up, how far it gets in that time, and how long it slows down.
    up_s: f64,
    up_mm: f64,
    down_s: f64,
    duration_s: f64,
}

impl Stretch {
    fn new(leg: usize, from: [f64; 2], to: [f64; 2], speed_mm_s: f64, limits: &Limits) -> Option<Self> {
        let way = [to[0] - from[0], to[1] - from[1]];
        let length_mm = way[0].hypot(way[1]);
        (length_mm > SHORTEST_MM).then(|| {
            let direction = way.map(|mm| mm / length_mm);
            Self {
                leg,
                from,
                direction,
                length_mm,
                acceleration: Limits::along(direction, limits.acceleration),
                cap_mm_s: speed_mm_s.min(Limits::along(direction, [limits.axis_mm_s; 2])),
                entry_mm_s: 0.0,
                peak_mm_s: 0.0,
                exit_mm_s: 0.0,
                up_s: 0.0,
                up_mm: 0.0,
                down_s: 0.0,
                duration_s: 0.0,
            }
        })
    }

    /// As fast as the corner between two stretches may be taken.
    fn corner_mm_s(&self, next: &Self, limits: &Limits) -> f64 {
        let [a, b] = [self.direction, next.direction];
        let change = [b[0] - a[0], b[1] - a[1]];
        let changed = change[0].hypot(change[1]);
        let cap = self.cap_mm_s.min(next.cap_mm_s);
        // Half of the change is the sine of half of the turn.
        let sine = (changed / 2.0).min(1.0);
        if sine < 1e-6 {
            return cap;
        }
        let acceleration = Limits::along(change.map(|part| part / changed), limits.acceleration);
        let cosine = (1.0 - sine * sine).sqrt();
        // The cosine over one less the cosine, written so that a slight turn loses no digits.
        let arc = acceleration * DEVIATION_MM * cosine * (1.0 + cosine) / (sine * sine);
        let turn = sine.asin() * 2.0;
        let curve = if turn < CURVE_TURN {
            acceleration * f64::midpoint(self.length_mm, next.length_mm) / turn
        } else {
            f64::INFINITY
        };
        cap.min(arc.min(curve).sqrt())
    }

    /// As fast as it may be at one end for that speed at the other.
    fn reachable_mm_s(&self, other_end_mm_s: f64) -> f64 {
        (other_end_mm_s * other_end_mm_s + 2.0 * self.acceleration * self.length_mm).sqrt()
    }

    /// How it goes, now that it is known how it begins and ends.
    fn settle(&mut self, entry_mm_s: f64, exit_mm_s: f64) {
        let squares = entry_mm_s * entry_mm_s + exit_mm_s * exit_mm_s;
        let reached = self.acceleration.mul_add(self.length_mm, squares / 2.0).sqrt();
        // By a last bit of rounding, a stretch that speeds up all the way could end faster than its fastest.
        self.peak_mm_s = self.cap_mm_s.min(reached).max(entry_mm_s).max(exit_mm_s);
        (self.entry_mm_s, self.exit_mm_s) = (entry_mm_s, exit_mm_s);
        self.up_s = (self.peak_mm_s - self.entry_mm_s) / self.acceleration;
        self.up_mm = f64::midpoint(self.entry_mm_s, self.peak_mm_s) * self.up_s;
        self.down_s = (self.peak_mm_s - self.exit_mm_s) / self.acceleration;
        let down_mm = f64::midpoint(self.exit_mm_s, self.peak_mm_s) * self.down_s;
        let along_mm = (self.length_mm - self.up_mm - down_mm).max(0.0);
        self.duration_s = self.up_s + along_mm / self.peak_mm_s + self.down_s;
    }

    /// How long it takes.
    pub(super) fn duration_s(&self) -> f64 {
        self.duration_s
    }

    /// Where the head is after that time, and how fast.
    pub(super) fn at(&self, time_s: f64) -> ([f64; 2], f64) {
        let left_s = self.duration_s - time_s;
        let (way_mm, speed_mm_s) = if left_s <= 0.0 {
            (self.length_mm, self.exit_mm_s)
        } else if left_s < self.down_s {
            let speed_mm_s = self.exit_mm_s + self.acceleration * left_s;
            (self.length_mm - f64::midpoint(self.exit_mm_s, speed_mm_s) * left_s, speed_mm_s)
        } else if time_s < self.up_s {
            let speed_mm_s = self.entry_mm_s + self.acceleration * time_s;
            (f64::midpoint(self.entry_mm_s, speed_mm_s) * time_s, speed_mm_s)
        } else {
            (self.up_mm + self.peak_mm_s * (time_s - self.up_s), self.peak_mm_s)
        };
        let way_mm = way_mm.clamp(0.0, self.length_mm);
        let place = |axis: usize| self.from[axis] + self.direction[axis] * way_mm;
        ([place(0), place(1)], speed_mm_s)
    }
}

/// Plans a path through all `targets`, each a place and the speed that is asked for on the way to it. Legs without a
/// length are left out.
pub(super) fn plan(start: [f64; 2], targets: impl Iterator<Item = ([f64; 2], f64)>, limits: &Limits) -> Vec<Stretch> {
    let mut from = start;
    let mut stretches: Vec<_> = targets
        .enumerate()
        .filter_map(|(leg, (to, speed_mm_s))| {
            let stretch = Stretch::new(leg, from, to, speed_mm_s, limits)?;
            from = to;
            Some(stretch)
        })
        .collect();
    // Backwards: nothing begins faster than it can slow down from.
    let mut exit_mm_s = 0.0_f64;
    for at in (0..stretches.len()).rev() {
        let corner = at.checked_sub(1).map_or(0.0, |before| stretches[before].corner_mm_s(&stretches[at], limits));
        let stretch = &mut stretches[at];
        stretch.exit_mm_s = exit_mm_s;
        exit_mm_s = corner.min(stretch.reachable_mm_s(exit_mm_s));
    }
    // Forwards: nothing ends faster than it can get.
    let mut entry_mm_s = 0.0_f64;
    for stretch in &mut stretches {
        let exit_mm_s = stretch.exit_mm_s.min(stretch.reachable_mm_s(entry_mm_s));
        stretch.settle(entry_mm_s, exit_mm_s);
        entry_mm_s = exit_mm_s;
    }
    stretches
}

#[cfg(test)]
mod tests {
    use std::f64::consts::TAU;

    use super::*;

    const LIMITS: Limits = Limits { acceleration: [700.0, 590.0], axis_mm_s: 187.5 };

    fn planned(speed_mm_s: f64, places: &[[f64; 2]]) -> Vec<Stretch> {
        plan([0.0, 0.0], places.iter().map(|&place| (place, speed_mm_s)), &LIMITS)
    }

    fn total_s(stretches: &[Stretch]) -> f64 {
        stretches.iter().map(Stretch::duration_s).sum()
    }

    /// To a millionth part.
    fn about(value: f64, expected: f64) -> bool {
        (value - expected).abs() <= expected.abs() * 1e-6 + 1e-9
    }

    #[test]
    fn a_line_is_a_trapezoid_and_a_short_one_a_triangle() {
        let diagonal = 590.0 * 2.0_f64.sqrt();
        for (to, speed, peak, duration) in [
            ([100.0, 0.0], 100.0, 100.0, 1.0 + 100.0 / 700.0),
            ([0.0, -100.0], 100.0, 100.0, 1.0 + 100.0 / 590.0),
            ([7.0, 0.0], 100.0, 70.0, 0.2),
            ([100.0, 0.0], 500.0, 187.5, 100.0 / 187.5 + 187.5 / 700.0),
            // Both axes at once are faster, and the weaker of the two decides.
            ([100.0, 100.0], 100.0, 100.0, 2.0_f64.sqrt() + 100.0 / diagonal),
        ] {
            let stretches = planned(speed, &[to]);
            assert_eq!(stretches.len(), 1);
            assert!(about(stretches[0].peak_mm_s, peak), "{to:?}: {stretches:?}");
            assert!(about(total_s(&stretches), duration), "{to:?}: {stretches:?}");
        }
    }

    #[test]
    fn corners_decide_how_fast_they_are_taken() {
        // Right angle: a*d*s/(1-s) with s = sin 45 degrees, and 590 along a diagonal.
        let s = 0.5_f64.sqrt();
        let right_angle = (590.0 / s * 0.01 * s / (1.0 - s)).sqrt();
        for (third, expected) in
            [([100.0, 0.0], 100.0), ([50.0, 50.0], right_angle), ([50.0, -50.0], right_angle), ([0.0, 0.0], 0.0)]
        {
            let stretches = planned(100.0, &[[50.0, 0.0], third]);
            assert!(about(stretches[0].exit_mm_s, expected), "{third:?}: {}", stretches[0].exit_mm_s);
            assert!(about(stretches[1].entry_mm_s, expected), "{third:?}: {stretches:?}");
        }
    }

    #[test]
    fn lookahead_slows_down_in_time_over_many_short_legs() {
        // A hundred legs of 0.1 mm, then back: the stop has to be prepared over many of them.
        let there = (1..=100).map(|n| [f64::from(n) / 10.0, 0.0]);
        let places: Vec<_> = there.chain([[0.0, 0.0]]).collect();
        let stretches = planned(150.0, &places);
        assert_eq!(stretches.len(), 101);
        // As one leg there and one back.
        assert!(about(total_s(&stretches), total_s(&planned(150.0, &[[10.0, 0.0], [0.0, 0.0]]))));
        assert!(stretches[99].exit_mm_s < 1e-3, "{:?}", stretches[99]);
        for pair in stretches.windows(2) {
            assert!(about(pair[0].exit_mm_s, pair[1].entry_mm_s), "{pair:?}");
            let change = pair[0].exit_mm_s.powi(2) - pair[0].entry_mm_s.powi(2);
            assert!(change.abs() <= 2.0 * 700.0 * 0.1 + 1e-6, "{pair:?}");
        }
    }

    #[test]
    fn a_curve_is_as_fast_as_its_radius_allows_however_fine_its_legs() {
        for chords in [70, 200, 2_000, 20_000] {
            let angle = |n: u32| TAU * f64::from(n) / f64::from(chords);
            let circle = (1..=chords).map(|n| [10.0 * (1.0 - angle(n).cos()), 10.0 * angle(n).sin()]);
            let stretches = planned(170.0, &circle.collect::<Vec<_>>());
            let fastest = stretches.iter().map(|stretch| stretch.peak_mm_s).fold(0.0, f64::max);
            // sqrt(a r), with a from that of Y to what both axes give together, and a little between the corners.
            assert!((73.0..=98.0).contains(&fastest), "{chords}: {fastest}");
        }
    }

    #[test]
    fn legs_without_a_length_change_nothing() {
        let with = planned(80.0, &[[0.0, 0.0], [10.0, 0.0], [10.0, 0.0], [10.0, 1e-9], [20.0, 0.0], [20.0, 0.0]]);
        let without = planned(80.0, &[[10.0, 0.0], [20.0, 0.0]]);
        assert_eq!(with.iter().map(|stretch| stretch.leg).collect::<Vec<_>>(), [1, 4]);
        assert!(about(total_s(&with), total_s(&without)));
        assert!(planned(80.0, &[[0.0, 0.0]]).is_empty() && planned(80.0, &[]).is_empty());
    }

    #[test]
    fn places_and_speeds_follow_time_without_a_jump() {
        let places = [[30.0, 4.0], [31.0, 4.0], [31.0, 5.0], [60.0, 6.0], [0.0, 0.0]];
        for stretch in planned(90.0, &places) {
            let steps = 1000;
            let dt = stretch.duration_s() / f64::from(steps);
            let mut before = stretch.at(0.0);
            for n in 1..=steps {
                let now = stretch.at(dt * f64::from(n));
                let way = (now.0[0] - before.0[0]).hypot(now.0[1] - before.0[1]);
                let mean = f64::midpoint(now.1, before.1);
                assert!((way / dt - mean).abs() < 1e-2 * stretch.peak_mm_s + 1e-6, "{n}: {way} {mean} {stretch:?}");
                assert!((now.1 - before.1).abs() <= stretch.acceleration * dt * 1.000_001, "{n}: {stretch:?}");
                before = now;
            }
            let end = places[stretch.leg];
            assert!((before.0[0] - end[0]).abs() < 1e-9 && (before.0[1] - end[1]).abs() < 1e-9, "{stretch:?}");
        }
    }
}
