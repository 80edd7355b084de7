//! How a program uses the laser, and what looks wrong about that.

use super::super::Placement;
use super::remarks::Remark;

/// The `S` of full power of many controllers.
const USUAL_S_MAX: [f64; 2] = [1.0, 255.0];
/// What an exported job says in comments.
const Y_TO_THE_FRONT: &[u8] = b"Y to the front";
const FULL_S: &[u8] = b"S0 to S1000 ($30=1000)";

/// What is known of the laser so far.
#[derive(Default)]
pub(super) struct UseOfLaser {
    /// Whether there was an `M3` or `M4`.
    pub(super) is_selected: bool,
    /// The largest `S` of the program, if it has one.
    largest_set: Option<f64>,
    /// The largest `S` that has fired.
    largest_s: f64,
    /// The first line with an `S` above the maximum, and the number of such lines.
    above: Option<(u64, u64)>,
    /// Where it has fired, from and to, in mm of the drawing's Y axis.
    y_mm: Option<[f64; 2]>,
}

impl UseOfLaser {
    pub(super) fn sets_s(&mut self, s: f64, s_max: f64, line: u64) {
        self.largest_set = Some(self.largest_set.map_or(s, |largest| largest.max(s)));
        if s > s_max {
            let (first, count) = self.above.unwrap_or((line, 0));
            self.above = Some((first, count + 1));
        }
    }

    pub(super) fn fires(&mut self, s: f64, y_mm: f64) {
        self.largest_s = self.largest_s.max(s);
        let [from, to] = self.y_mm.unwrap_or([y_mm; 2]);
        self.y_mm = Some([from.min(y_mm), to.max(y_mm)]);
    }

    /// Returns what looks wrong. `start` is the start of the program, with its comments.
    pub(super) fn remarks(&self, s_max: f64, placement: Placement, start: &[u8]) -> Vec<Remark> {
        let says = |text: &[u8]| start.windows(text.len()).any(|found| found.eq_ignore_ascii_case(text));
        let is_for_marlin = says(b"marlin");
        let mut remarks = Vec::new();
        let Some([back, front]) = self.y_mm else {
            return vec![Remark::of_program(format!("the laser never fires: {}", self.why_it_never_fires()))];
        };
        let largest = self.largest_s;
        if let Some((line, count)) = self.above.filter(|_| largest > s_max) {
            let text = format!("S is above {s_max}, full power: taken as that; is --s-max {largest} meant?");
            remarks.push(Remark { text, line: Some(line), count });
        }
        let usual = USUAL_S_MAX.into_iter().find(|&usual| {
            let is_full_power = is_full_power(largest, usual) || is_for_marlin && (1.0..=usual).contains(&largest);
            usual < s_max && is_full_power && !says(FULL_S)
        });
        if let Some(usual) = usual {
            let text = format!("the largest S is {largest} of {s_max}: is --s-max {usual} meant?");
            remarks.push(Remark::of_program(text));
        }
        if !placement.flip_y && !says(Y_TO_THE_FRONT) && front - back > 0.1 {
            let (x, y) = (placement.x_mm, front.ceil());
            let text = format!(
                "Y points to the front, but to the back for GRBL: if this comes out mirrored, use --flip-y --at {x},{y}"
            );
            remarks.push(Remark::of_program(text));
        }
        remarks
    }

    fn why_it_never_fires(&self) -> &'static str {
        match self.largest_set {
            None if self.is_selected => {
                "there is no S, which is 0 then: if it is only on or off, write S1000 in the first line"
            }
            Some(s) if s > 0.0 && !self.is_selected => {
                "there is no M3 or M4: if it fires in G1 without them, write M4 in a line directly before its first G1"
            }
            _ => "there is no M3 or M4, or S is 0, or all moves are G0",
        }
    }
}

/// Returns whether the largest `S` looks like full power where that is `usual`.
fn is_full_power(largest: f64, usual: f64) -> bool {
    if usual > 1.0 { (largest - usual).abs() < 0.5 } else { largest <= usual }
}
