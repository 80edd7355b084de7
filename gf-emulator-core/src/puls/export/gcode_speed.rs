//! Speeds for the lines of a path, so that a controller takes as long for each as the job did.

use super::super::header::STEP_FREQUENCY_HZ;
use super::super::make::planner::{self, Limits, PlannedMove};
use super::super::make::{ACCELERATION, STEPS_PER_MM, TRAVEL_SPEED};

/// The controller for which speeds are chosen: that of [`Builder`](super::super::Builder).
const LIMITS: Limits =
    Limits { acceleration: ACCELERATION, axis_mm_s: STEP_FREQUENCY_HZ as f64 / STEPS_PER_MM, head_mm_s: TRAVEL_SPEED };
/// The fastest speed of a line that is cut, above what an axis can do in any direction.
const MAX_SPEED_MM_S: f64 = 300.0;
/// Travel may take this much longer than at full speed.
const TRAVEL_SLACK_S: f64 = 0.002;
/// How often speeds are chosen anew: they depend on those of the lines before and after.
const ROUNDS: usize = 18;
/// A path that is slower than the job by more than this part is smoothed.
const SLOWER: f64 = 0.002;
/// The most by which the lines of a path are slowed down or sped up to make up for others.
const MAX_SCALE: f64 = 1.25;
/// The sharpest turn in a curve, in radians.
const MAX_TURN: f64 = 0.7;
/// The greatest distance of a curve from the straight run that it replaces: less than the two microsteps by which the run
/// may differ from the job's path.
const MAX_BEND_MM: f64 = 0.03;
/// Less is no curve.
const MIN_BEND_MM: f64 = 0.001;
/// Into how many lines a straight run of a curve is divided.
const PARTS: u32 = 3;

/// A straight line of a path.
#[derive(Debug, Clone, Copy)]
pub(super) struct Line {
    pub(super) to: [f64; 2],
    pub(super) seconds: f64,
    /// How long the laser would fire at full power for the same dose.
    pub(super) fire_s: f64,
    pub(super) laser: bool,
    /// The speed in the file; `None` before it is chosen.
    pub(super) speed_mm_s: Option<f64>,
}

impl Line {
    fn max_speed_mm_s(&self) -> f64 {
        if self.laser { MAX_SPEED_MM_S } else { TRAVEL_SPEED }
    }

    /// Returns whether the line is travel at full speed.
    pub(super) fn is_travel(&self) -> bool {
        !self.laser && self.speed_mm_s.is_some_and(|speed| speed >= TRAVEL_SPEED)
    }
}

/// Chooses the speeds that are not chosen yet, such that the path takes as long as its lines, less `owed_s`. Returns what
/// a controller does. Smooths curves if they would be too slow.
pub(super) fn choose(start: [f64; 2], lines: &mut Vec<Line>, owed_s: f64) -> Vec<PlannedMove> {
    let wanted_s = lines.iter().map(|line| line.seconds).sum::<f64>() - owed_s;
    let (mut plan, mut speeds) = fit(start, lines, wanted_s);
    let excess_s = |plan: &[PlannedMove]| (duration_s(plan) - wanted_s).abs();
    if duration_s(&plan) - wanted_s > SLOWER * wanted_s {
        let smooth = smoothed(start, lines);
        let (smooth_plan, smooth_speeds) = fit(start, &smooth, wanted_s);
        if excess_s(&smooth_plan) < 0.7 * excess_s(&plan) {
            (*lines, plan, speeds) = (smooth, smooth_plan, smooth_speeds);
        }
    }
    for (line, speed) in lines.iter_mut().zip(speeds) {
        line.speed_mm_s = Some(speed);
    }
    plan
}

pub(super) fn duration_s(plan: &[PlannedMove]) -> f64 {
    plan.iter().map(PlannedMove::duration_s).sum()
}

/// Returns the plan and the speeds with which lines take about `wanted_s`.
fn fit(start: [f64; 2], lines: &[Line], wanted_s: f64) -> (Vec<PlannedMove>, Vec<f64>) {
    let plan = |speeds: &[f64]| {
        let targets = lines.iter().zip(speeds).map(|(line, &speed)| (line.to, speed));
        planner::plan(start, targets, &LIMITS)
    };
    let mut speeds: Vec<_> = lines.iter().map(|line| line.speed_mm_s.unwrap_or(line.max_speed_mm_s())).collect();
    let mut planned_moves = plan(&speeds);
    let mut best = (planned_moves.clone(), speeds.clone());
    let mut scale = 1.0;
    for round in 0..ROUNDS {
        for planned in &planned_moves {
            let line = &lines[planned.index];
            if line.speed_mm_s.is_none() {
                let speed =
                    |seconds: f64| speed_mm_s(planned, seconds).unwrap_or(f64::INFINITY).min(line.max_speed_mm_s());
                let travel =
                    Some(TRAVEL_SPEED).filter(|_| !line.laser && speed(line.seconds - TRAVEL_SLACK_S) >= TRAVEL_SPEED);
                speeds[planned.index] = travel.unwrap_or_else(|| speed(line.seconds * scale));
            }
        }
        planned_moves = plan(&speeds);
        let found_s = duration_s(&planned_moves);
        if (found_s - wanted_s).abs() < (duration_s(&best.0) - wanted_s).abs() {
            best = (planned_moves.clone(), speeds.clone());
        }
        if (found_s - wanted_s).abs() * f64::from(STEP_FREQUENCY_HZ) < 0.5 {
            break;
        }
        if round >= ROUNDS / 3 && (found_s - wanted_s).abs() > TRAVEL_SLACK_S + SLOWER * wanted_s {
            // Lines that a controller cannot do as fast are made up for by the others.
            scale = (scale * (wanted_s / found_s).sqrt()).clamp(1.0 / MAX_SCALE, MAX_SCALE);
        }
    }
    best
}

/// Returns the speed at which a move takes some time between its end speeds; `None` if it cannot be that fast.
fn speed_mm_s(planned: &PlannedMove, seconds: f64) -> Option<f64> {
    let acceleration = planned.acceleration;
    let mut ends = [planned.entry_mm_s, planned.exit_mm_s];
    ends.sort_by(f64::total_cmp);
    // An end cannot be faster than the move: those that would be are left out, the fastest first.
    for count in (0..=2_u8).rev() {
        let ends = &ends[..usize::from(count)];
        // The trapezoid's time, as a v2 - b v + c = 0.
        let a = f64::from(count) / (2.0 * acceleration);
        let b = seconds + ends.iter().sum::<f64>() / acceleration;
        let c = planned.length_mm + ends.iter().map(|end| end * end).sum::<f64>() / (2.0 * acceleration);
        let root = b * b - 4.0 * a * c;
        if root < 0.0 {
            return None;
        }
        let speed = 2.0 * c / (b + root.sqrt());
        if ends.last().is_none_or(|&fastest| speed >= fastest) {
            return Some(speed);
        }
    }
    None
}

/// Divides the straight runs of curves into shorter lines with smaller turns, for which a controller brakes less.
fn smoothed(start: [f64; 2], lines: &[Line]) -> Vec<Line> {
    let from = |i: usize| if i == 0 { start } else { lines[i - 1].to };
    let way = |i: usize| {
        let (from, to) = (from(i), lines[i].to);
        [to[0] - from[0], to[1] - from[1]]
    };
    let length = |[x, y]: [f64; 2]| x.hypot(y);
    let unit = |way: [f64; 2]| way.map(|part| part / length(way).max(f64::MIN_POSITIVE));
    // The direction at the end of a line, if it goes on in a curve: that of a circle through the three points.
    let tangent = |i: usize| {
        let [before, after] = [way(i), way(i + 1)];
        let [u, v] = [unit(before), unit(after)];
        let turn = (u[0] * v[1] - u[1] * v[0]).atan2(u[0] * v[0] + u[1] * v[1]);
        let [p, q] = [length(after), length(before)];
        (turn.abs() <= MAX_TURN).then(|| unit([u[0] * p + v[0] * q, u[1] * p + v[1] * q]))
    };
    let mut smooth = Vec::with_capacity(lines.len());
    for (i, line) in lines.iter().enumerate() {
        let (from, way) = (from(i), way(i));
        let chord = unit(way);
        let begin = i.checked_sub(1).and_then(tangent).unwrap_or(chord);
        let end = if i + 1 < lines.len() { tangent(i).unwrap_or(chord) } else { chord };
        let length_mm = length(way);
        let bend_mm = length([begin[0] - end[0], begin[1] - end[1]]) * length_mm / 8.0;
        if line.speed_mm_s.is_some() || !(MIN_BEND_MM..=MAX_BEND_MM).contains(&bend_mm) {
            smooth.push(*line);
            continue;
        }
        let part = 1.0 / f64::from(PARTS);
        for n in 1..=PARTS {
            let t = f64::from(n) * part;
            // A Hermite curve: both directions, as long as the line.
            let out = t * (1.0 - t) * (1.0 - t) * length_mm;
            let back = t * t * (1.0 - t) * length_mm;
            let along = t * t * (3.0 - 2.0 * t);
            let at = |axis: usize| from[axis] + way[axis] * along + begin[axis] * out - end[axis] * back;
            let to = if n == PARTS { line.to } else { [at(0), at(1)] };
            smooth.push(Line { to, seconds: line.seconds * part, fire_s: line.fire_s * part, ..*line });
        }
    }
    smooth
}
