//! Lines with few firing ticks: where they begin, and which lines have the same density.

use std::ops::Range;

use super::super::header::STEP_FREQUENCY_HZ;
use super::super::laser_gaps::SHORT_GAP_TICKS;
use super::super::make::TRAVEL_SPEED;
use super::super::make::planner::PlannedMove;
use super::gcode_speed::Line;
use super::tick_watch::LaserMode;

const HZ: f64 = STEP_FREQUENCY_HZ as f64;
/// Lines of a lower density have long gaps between firing ticks.
const SPARSE: f64 = 1.0 / (SHORT_GAP_TICKS + 1) as f64;
/// The greatest distance of the end of a line from the straight way to the end of the next one, if both are one line:
/// about a microstep.
const STRAIGHT_MM: f64 = 0.02;
/// A dark line that is longer than the way between two firing ticks by less than this part is no longer.
const SAME_LENGTH: f64 = 1.1;
/// By how many firing ticks a line may differ from the lines before it that have the same density.
const SAME_FIRE_TICKS: f64 = 2.0;

/// Lets each run of sparse lines among `lines[range]` begin as far before its first firing tick as the others are from
/// each other, because the dither of a controller fires first after that time. Lines that are straight on become one.
/// Returns how many lines fewer there are.
pub(super) fn begin_before_first_fire(start: [f64; 2], lines: &mut Vec<Line>, range: Range<usize>) -> usize {
    let begins_run = |i: &usize| lines[*i].laser && !lines[i - 1].laser;
    let begins: Vec<_> = (range.start + 1..range.end).filter(begins_run).collect();
    // From the last one, because lines are removed.
    begins.into_iter().rev().filter(|&i| begin_before(start, lines, i)).count()
}

/// Lets the run of lines from line `i` begin earlier, if it is sparse. Returns whether the line before it is removed.
fn begin_before(start: [f64; 2], lines: &mut Vec<Line>, i: usize) -> bool {
    let from = |i: usize| i.checked_sub(1).map_or(start, |before| lines[before].to);
    let length_mm = |i: usize| distance(from(i), lines[i].to);
    let run = i..lines[i..].iter().position(|line| !line.laser).map_or(lines.len(), |count| i + count);
    let fire_ticks = lines[run.clone()].iter().map(|line| line.fire_s).sum::<f64>() * HZ;
    let seconds: f64 = lines[run.clone()].iter().map(|line| line.seconds).sum();
    if fire_ticks < 1.5 || fire_ticks > SPARSE * seconds * HZ {
        return false;
    }
    let run_mm: f64 = run.map(length_mm).sum();
    let lead_mm = run_mm / (fire_ticks - 1.0);
    let (before, dark_mm) = (from(i - 1), length_mm(i - 1));
    let is_straight = is_straight(before, lines[i - 1].to, lines[i].to);
    if dark_mm <= SAME_LENGTH * lead_mm {
        if is_straight {
            lines[i].seconds += lines[i - 1].seconds;
            lines.remove(i - 1);
        } else {
            lines[i - 1].laser = true;
        }
        return is_straight;
    }
    let lead_s = lead_mm * seconds / run_mm;
    let (left_mm, left_s) = (dark_mm - lead_mm, lines[i - 1].seconds - lead_s);
    if is_straight && left_mm < SAME_LENGTH * TRAVEL_SPEED * left_s {
        let part = left_mm / dark_mm;
        let to = lines[i - 1].to;
        lines[i - 1].to = [0, 1].map(|axis| before[axis] + (to[axis] - before[axis]) * part);
        lines[i - 1].seconds = left_s;
        lines[i].seconds += lead_s;
    }
    false
}

/// Returns whether a corner is none.
fn is_straight(from: [f64; 2], corner: [f64; 2], to: [f64; 2]) -> bool {
    let [one, two] = [[corner[0] - from[0], corner[1] - from[1]], [to[0] - corner[0], to[1] - corner[1]]];
    let cross = one[0] * two[1] - one[1] * two[0];
    one[0] * two[0] + one[1] * two[1] > 0.0 && cross.abs() <= STRAIGHT_MM * distance(from, to)
}

fn distance(one: [f64; 2], two: [f64; 2]) -> f64 {
    (two[0] - one[0]).hypot(two[1] - one[1])
}

/// Firing ticks, and the ticks that would fire at full density.
#[derive(Clone, Copy, Default)]
struct Sum {
    fire_ticks: f64,
    parts: f64,
}

impl Sum {
    fn plus(self, other: Self) -> Self {
        Self { fire_ticks: self.fire_ticks + other.fire_ticks, parts: self.parts + other.parts }
    }

    fn density(self) -> f64 {
        self.fire_ticks / self.parts.max(1e-9)
    }
}

/// Returns for each line the density of the consecutive lines that have about the same. That of a dark line is 0.
pub(super) fn mean_densities(lines: &[Line], plan: &[PlannedMove], mode: LaserMode) -> Vec<f64> {
    let mut sums = vec![Sum::default(); lines.len()];
    for planned in plan {
        let line = &lines[planned.index];
        let seconds = match (mode, line.speed_mm_s) {
            (LaserMode::Dynamic, Some(speed_mm_s)) => planned.length_mm / speed_mm_s,
            _ => planned.duration_s(),
        };
        sums[planned.index] = Sum { fire_ticks: line.fire_s * HZ, parts: seconds * HZ };
    }
    let mut densities = vec![0.0; lines.len()];
    let (mut first, mut group) = (0, Sum::default());
    for (i, &sum) in sums.iter().enumerate() {
        let joined = group.plus(sum);
        let is_like_group = (sum.fire_ticks - joined.density() * sum.parts).abs() <= SAME_FIRE_TICKS;
        if i == first || lines[i].laser && lines[i - 1].laser && is_like_group {
            group = joined;
            continue;
        }
        densities[first..i].fill(group.density());
        (first, group) = (i, sum);
    }
    densities[first..].fill(group.density());
    densities
}
