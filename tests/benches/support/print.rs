//! A synthetic print of any length, with about these shares of ticks:
//!
//! | share | what |
//! |---|---|
//! | 35 % | engraving: lines along X at 140 to 180 mm/s between two ramps, with the laser on and off as for a picture |
//! | 40 % | cuts: curves in all directions at 10 to 60 mm/s, with 3 of 7 ticks firing |
//! | 10 % | travel: straight in any direction at up to 180 mm/s, laser off |
//! | 15 % | idle, as between homing moves |
//!
//! Deterministic.

use std::f64::consts::TAU;

use gf_emulator_core::puls::{Builder, tick};

/// Microsteps per millimetre.
const STEPS_PER_MM: f64 = 8.0 / 0.15;
const HZ: f64 = 10_000.0;
const FIRE_PERIOD_TICKS: usize = 7;
/// The machine's acceleration in X, in mm/s2.
const ACCELERATION: f64 = 700.0;

/// Creates a body of that many ticks.
pub(crate) fn body(ticks: usize) -> Vec<u8> {
    let mut print = Print { body: Vec::with_capacity(ticks + 200_000), x: 0.0, y: 0.0, random: 0x2545_f491_4f6c_dd1d };
    print.body.push(tick::POWER | 127);
    while print.body.len() < ticks {
        print.engrave();
        print.cut();
        print.travel();
        let idle = 2_000 + print.below(8_000);
        print.body.resize(print.body.len() + idle, 0);
    }
    print.body.truncate(ticks);
    print.body
}

/// Creates a file with that body.
pub(crate) fn file(body: &[u8]) -> Vec<u8> {
    let mut file = Builder::new().header().encode();
    file.extend_from_slice(body);
    file
}

struct Print {
    body: Vec<u8>,
    /// The fraction of a step on each axis.
    x: f64,
    y: f64,
    random: u64,
}

impl Print {
    /// Marsaglia's xorshift generator.
    fn random(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.random() % limit as u64).unwrap_or_default()
    }

    /// Returns a random number from 0 to 1.
    fn fraction(&mut self) -> f64 {
        self.below(1 << 20) as f64 / f64::from(1 << 20)
    }

    /// Appends a tick, at a speed in mm/s on each axis.
    fn tick(&mut self, x_mm_s: f64, y_mm_s: f64, fires: bool) {
        let mut byte = if fires { tick::FIRE } else { 0 };
        self.x += x_mm_s * STEPS_PER_MM / HZ;
        self.y += y_mm_s * STEPS_PER_MM / HZ;
        if self.x.abs() >= 1.0 {
            byte |= if self.x > 0.0 { tick::X_STEP } else { tick::X_STEP | tick::X_NEGATIVE };
            self.x -= self.x.signum();
        }
        if self.y.abs() >= 1.0 {
            byte |= if self.y > 0.0 { tick::Y_STEP | tick::Y_POSITIVE } else { tick::Y_STEP };
            self.y -= self.y.signum();
        }
        self.body.push(byte);
    }

    /// Moves in a direction: accelerates, makes `ticks` ticks at full speed, and decelerates.
    fn ramped(
        &mut self,
        speed: f64,
        (x, y): (f64, f64),
        ticks: usize,
        mut fires: impl FnMut(&mut Self, usize) -> bool,
    ) {
        let mut now = 0.0;
        while now < speed {
            self.tick(now * x, now * y, false);
            now += ACCELERATION / HZ;
        }
        for i in 0..ticks {
            let fires = fires(self, i);
            self.tick(speed * x, speed * y, fires);
        }
        while now > 0.0 {
            self.tick(now * x, now * y, false);
            now -= ACCELERATION / HZ;
        }
    }

    fn engrave(&mut self) {
        let speed = 140.0 + 40.0 * self.fraction();
        for line in 0..3 {
            let direction = if line % 2 == 0 { 1.0 } else { -1.0 };
            let (mut lit, mut left) = (false, 0);
            self.ramped(speed, (direction, 0.0), 2_000, |print, _| {
                // Strokes and gaps of 0.1 to 3 mm.
                if left == 0 {
                    lit = !lit;
                    left = 6 + print.below(200);
                }
                left -= 1;
                lit
            });
            // To the next line, at a distance of 0.2 mm.
            for _ in 0..40 {
                self.tick(0.0, 50.0, false);
            }
        }
    }

    fn cut(&mut self) {
        let (mut angle, bend) = (self.fraction() * TAU, (self.fraction() - 0.5) / 4_000.0);
        let speed = 10.0 + 50.0 * self.fraction();
        for i in 0..18_000 {
            angle += bend;
            self.tick(speed * angle.cos(), speed * angle.sin(), i % FIRE_PERIOD_TICKS < 3);
        }
    }

    fn travel(&mut self) {
        let angle = self.fraction() * TAU;
        let ticks = self.below(1_000);
        self.ramped(180.0, (angle.cos(), angle.sin()), ticks, |_, _| false);
    }
}
