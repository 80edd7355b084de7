//! Densities for the lines of a path, so that a controller fires as often in each as the job did.

use super::super::make::dither::Dither;

/// A longer line is not simulated: the error of its dither does not matter.
const MAX_SIMULATED_TICKS: u64 = 1 << 16;
/// At a lower density, a period of the dither has at most one firing tick.
const SPARSE: f64 = 1.0 / 7.0;
/// In a shorter line, the place of each firing tick matters.
const SHORT_TICKS: u64 = 200;

/// The dither of the controller, as [`Builder`](super::super::Builder) does it.
#[derive(Debug, Default)]
pub(super) struct FireModel {
    dither: Dither,
    /// The density of the last line; 0 if it was dark.
    density: f64,
    /// The firing ticks that the file lacks so far.
    owed: f64,
}

impl FireModel {
    /// Ends a path: the next line begins a new dither.
    pub(super) fn rest(&mut self) {
        (self.dither, self.density) = (Dither::default(), 0.0);
    }

    /// Passes a dark line: the next line begins a new period of the dither.
    pub(super) fn pass_dark(&mut self) {
        self.density = 0.0;
    }

    /// Chooses the density of a line of some ticks, such that about `fire_ticks` fire. `part` is the share of the
    /// density in a tick, and `parts` its sum. `mean` is the density of the line and those around it that are like it: a
    /// line with a few firing ticks does not tell its density.
    pub(super) fn choose(
        &mut self,
        ticks: u64,
        fire_ticks: f64,
        parts: f64,
        part: &dyn Fn(u64) -> f64,
        mean: f64,
    ) -> f64 {
        let wanted = fire_ticks + self.owed;
        let due = self.owed - self.owed.clamp(-1.0, 1.0);
        let needed = ((fire_ticks + due) / parts.max(1e-9)).clamp(1e-6, 1.0);
        let mut density = rounded(needed);
        if ticks > MAX_SIMULATED_TICKS {
            self.owed = wanted - density * parts;
            self.density = density;
            return density;
        }
        let fired = |density: f64| self.simulate(density, ticks, part).0;
        let is_near = |density: f64, within: f64| (fired(density) - wanted).abs() <= within + 0.001 * wanted;
        if self.density > 0.0 && is_near(self.density, 1.5) {
            density = self.density;
        } else if mean < SPARSE && is_near(rounded(mean), 1.5) {
            density = rounded(mean);
        } else if ticks <= SHORT_TICKS && needed > SPARSE && !is_near(density, 0.5) {
            let (mut low, mut high) = (0.0, 1.0);
            for _ in 0..10 {
                let middle = f64::midpoint(low, high);
                if fired(middle) < wanted - 0.5 { low = middle } else { high = middle }
            }
            density = rounded(high);
        }
        let (fired, dither) = self.simulate(density, ticks, part);
        self.owed = wanted - fired;
        (self.density, self.dither) = (density, dither);
        density
    }

    fn simulate(&self, density: f64, ticks: u64, part: &dyn Fn(u64) -> f64) -> (f64, Dither) {
        let mut dither = self.dither.clone();
        #[expect(clippy::float_cmp, reason = "the same line in the file gives the same value")]
        if self.density != density {
            dither.restart_period();
        }
        let fired = (0..ticks).filter(|&tick| dither.advance(density * part(tick))).count();
        (fired as f64, dither)
    }
}

/// Rounds a density to what a short `S` can say: to 0.1 %.
fn rounded(density: f64) -> f64 {
    let s = density * 1000.0;
    let whole = s.round();
    let s = if (s - whole).abs() <= 0.001 * s {
        whole
    } else if s >= 10.0 {
        (s * 100.0).round() / 100.0
    } else {
        (s * 1e4).round() / 1e4
    };
    s.max(0.001) / 1000.0
}
