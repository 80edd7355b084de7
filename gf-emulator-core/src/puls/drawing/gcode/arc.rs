//! Arcs in the XY plane, and the chords that they are drawn with.

use std::f64::consts::TAU;

use super::super::TOLERANCE_MM;

/// Returns the centre of an arc from the origin to a position. A negative radius selects the longer arc.
pub(super) fn centre_from_radius([x, y]: [f64; 2], radius: f64, turn: f64) -> Option<[f64; 2]> {
    let chord = x.hypot(y);
    let half = chord / 2.0;
    // The radius of a half circle may have been rounded down.
    let height = if half <= radius.abs() {
        (radius * radius - half * half).sqrt()
    } else if half <= radius.abs() + 0.005 {
        0.0
    } else {
        return None;
    };
    let side = if (radius < 0.0) == (turn < 0.0) { height } else { -height };
    (chord > 0.0).then(|| [x / 2.0 - y / chord * side, y / 2.0 + x / chord * side])
}

/// An arc that starts at the origin.
pub(super) struct Arc {
    centre: [f64; 2],
    from_angle: f64,
    sweep: f64,
    pub(super) from_radius: f64,
    pub(super) to_radius: f64,
}

impl Arc {
    /// Creates an arc around a centre to a position, which is a full circle if that is the origin. `turn` is 1 for
    /// counterclockwise, -1 for clockwise.
    pub(super) fn new([i, j]: [f64; 2], [x, y]: [f64; 2], turn: f64) -> Self {
        let (from_radius, to_radius) = (i.hypot(j), (x - i).hypot(y - j));
        let from_angle = (-j).atan2(-i);
        let sweep = ((y - j).atan2(x - i) - from_angle) * turn;
        let sweep = sweep.rem_euclid(TAU);
        let is_closed = x.hypot(y) < 1e-6;
        let sweep = if is_closed { TAU } else { sweep } * turn;
        Self { centre: [i, j], from_angle, sweep, from_radius, to_radius }
    }

    /// Returns whether the radius changes along the arc by no more than GRBL tolerates: 0.005 mm, or 0.1 % up to 0.5 mm.
    pub(super) fn is_round(&self) -> bool {
        let difference = (self.from_radius - self.to_radius).abs();
        self.from_radius > 0.0 && difference <= (self.from_radius / 1000.0).clamp(0.005, 0.5)
    }

    pub(super) fn length(&self) -> f64 {
        self.sweep.abs() * self.from_radius
    }

    /// Returns the corners of its chords, without start and end.
    pub(super) fn chords(&self) -> impl Iterator<Item = [f64; 2]> {
        let radius = self.from_radius.max(self.to_radius);
        let part = 2.0 * (1.0 - TOLERANCE_MM / radius).clamp(0.0, 1.0).acos();
        // At most a quarter turn, so that a tiny circle is still drawn.
        let part = part.clamp(1e-5, TAU / 4.0);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at most a few hundred thousand")]
        let parts = (self.sweep.abs() / part).ceil() as u32;
        (1..parts).map(move |n| {
            let way = f64::from(n) / f64::from(parts);
            let angle = self.from_angle + self.sweep * way;
            let radius = self.from_radius + (self.to_radius - self.from_radius) * way;
            [self.centre[0] + radius * angle.cos(), self.centre[1] + radius * angle.sin()]
        })
    }
}
