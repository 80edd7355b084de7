//! Sorts the segments of a job into layers: travel and cuts as lines, engravings as a dose raster.
//!
//! An engraving consists of neighbouring sweeps along X. Only a neighbour tells a sweep from a cut along X, so a sweep
//! stays pending until the next one.

use super::super::{Header, Position, Segment};
use super::dose_raster::DoseRaster;
use super::fire_spots::{FireSpot, FireSpots, to_i32};

/// The greatest distance of neighbouring sweeps.
const MAX_NEIGHBOUR_MM: f64 = 0.5;
/// The longest dot in a sweep: two periods of the dither.
const MAX_DOT_TICKS: u64 = 14;
/// The maximum number of segments between neighbouring sweeps, which make the turn.
const MAX_TURN_SEGMENTS: usize = 16;
/// A sweep with this many segments, or with more spots than below, is an engraving without a neighbour. The bed is 6600
/// spots wide.
const LONG_SWEEP_SEGMENTS: usize = 10_000;
const LONG_SWEEP_SPOTS: usize = 100_000;
/// The maximum number of points in cuts, so that viewers can open the SVG. Further cuts are added to the raster.
const MAX_CUT_POINTS: usize = 200_000;
/// The maximum number of points in travel. The rest is dropped.
const MAX_TRAVEL_POINTS: usize = 100_000;

/// Consecutive lines in one style. A single point is a dot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Polyline {
    /// The fire density in sevenths, rounded; `None` if the laser is off.
    pub(super) sevenths: Option<u8>,
    /// In microsteps from the start of the job.
    pub(super) points: Vec<(i32, i32)>,
}

/// The layers of a plot.
#[derive(Debug)]
pub(super) struct Layers {
    pub(super) travel: Vec<Polyline>,
    pub(super) cuts: Vec<Polyline>,
    pub(super) dose: DoseRaster,
    /// Whether some travel was dropped.
    pub(super) travel_dropped: bool,
    /// Whether some cuts were added to the raster.
    pub(super) cuts_in_dose: bool,
    travel_points: usize,
    cut_points: usize,
    max_neighbour_steps: i64,
    sweep: Option<Sweep>,
    pending: Option<PendingSweep>,
    /// What follows the pending sweep.
    after_pending: Vec<TracedSegment>,
    /// Whether the laser was on in the last segment.
    was_lit: bool,
}

/// A segment and where the laser fires in it.
#[derive(Debug)]
struct TracedSegment {
    segment: Segment,
    sevenths: u8,
    spots: Vec<FireSpot>,
}

/// Consecutive segments along X in one direction.
#[derive(Debug)]
struct Sweep {
    direction: i64,
    starts_dark: bool,
    segments: Vec<TracedSegment>,
    /// The number of spots in all segments.
    spots: usize,
}

/// A complete sweep with the laser on in some part.
#[derive(Debug)]
struct PendingSweep {
    y: i64,
    /// The range of X in which the laser is on. Of a sweep that is dark at both ends, the whole range: one row of an
    /// engraving may have a single dot on the left, and the next a single one on the right.
    range: [i64; 2],
    starts_dark: bool,
    /// Empty if they have been drawn as an engraving.
    segments: Vec<TracedSegment>,
}

impl Sweep {
    fn is_long(&self) -> bool {
        self.segments.len() >= LONG_SWEEP_SEGMENTS || self.spots > LONG_SWEEP_SPOTS
    }
}

impl Layers {
    pub(super) fn new(header: &Header) -> Self {
        Self {
            travel: Vec::new(),
            cuts: Vec::new(),
            dose: DoseRaster::default(),
            travel_dropped: false,
            cuts_in_dose: false,
            travel_points: 0,
            cut_points: 0,
            #[expect(clippy::cast_possible_truncation, reason = "saturates")]
            max_neighbour_steps: (MAX_NEIGHBOUR_MM / header.y_mm(1)) as i64,
            sweep: None,
            pending: None,
            after_pending: Vec::new(),
            was_lit: false,
        }
    }

    /// Adds the next segment, which has that fire density in sevenths, and takes its spots.
    pub(super) fn add(&mut self, segment: &Segment, sevenths: u8, fire_spots: &mut FireSpots) {
        let mut spots = Vec::new();
        fire_spots.take_until(segment.start_tick + segment.ticks, &mut spots);
        let traced = TracedSegment { segment: *segment, sevenths, spots };
        let was_lit = std::mem::replace(&mut self.was_lit, segment.laser);
        let dot = self.sweep.as_ref().filter(|_| is_dot(segment)).map(|sweep| sweep.direction);
        let Some(direction) = along_x(segment).or(dot) else {
            self.end_sweep();
            if !segment.is_rest() || segment.laser {
                self.add_outside_sweep(traced);
            }
            return;
        };
        if self.sweep.as_ref().is_some_and(|sweep| sweep.direction != direction || sweep.is_long()) {
            self.end_sweep();
        }
        let starts_dark = !segment.laser || !was_lit;
        let new = || Sweep { direction, starts_dark, segments: Vec::new(), spots: 0 };
        let sweep = self.sweep.get_or_insert_with(new);
        sweep.spots += traced.spots.len();
        sweep.segments.push(traced);
    }

    /// Draws everything that is pending.
    pub(super) fn finish(&mut self) {
        self.end_sweep();
        self.draw_pending();
    }

    fn end_sweep(&mut self) {
        let Some(sweep) = self.sweep.take() else { return };
        if !sweep.segments.iter().any(|traced| traced.segment.laser) {
            sweep.segments.into_iter().for_each(|traced| self.add_outside_sweep(traced));
            return;
        }
        let is_dark = |traced: Option<&TracedSegment>| traced.is_some_and(|traced| !traced.segment.laser);
        let has_dark_ends = is_dark(sweep.segments.first()) && is_dark(sweep.segments.last());
        let parts = sweep.segments.iter().filter(|traced| traced.segment.laser || has_dark_ends);
        let range = parts.flat_map(|traced| [traced.segment.start.x, traced.segment.end.x]);
        let range = range.fold([i64::MAX, i64::MIN], |[min, max], x| [min.min(x), max.max(x)]);
        let y = sweep.segments.first().map_or(0, |traced| traced.segment.start.y);
        let is_long = sweep.is_long();
        let mut current = PendingSweep { y, range, starts_dark: sweep.starts_dark, segments: sweep.segments };
        let is_neighbour = self.pending.as_ref().is_some_and(|last| {
            let distance = last.y.abs_diff(current.y);
            (1..=self.max_neighbour_steps.unsigned_abs()).contains(&distance)
                && last.starts_dark
                && current.starts_dark
                && last.range[0] <= current.range[1]
                && current.range[0] <= last.range[1]
        });
        if is_neighbour {
            // The turn between sweeps is part of the engraving.
            self.after_pending.clear();
            if let Some(last) = self.pending.take() {
                self.engrave(&last.segments);
            }
        } else {
            self.draw_pending();
        }
        if is_neighbour || is_long {
            self.engrave(&current.segments);
            current.segments = Vec::new();
        }
        self.pending = Some(current);
    }

    /// Draws a segment that is not part of a sweep, unless it may be a turn between two sweeps.
    fn add_outside_sweep(&mut self, traced: TracedSegment) {
        if self.pending.is_none() {
            self.draw(&traced);
            return;
        }
        let is_cut = traced.segment.laser;
        self.after_pending.push(traced);
        if is_cut || self.after_pending.len() > MAX_TURN_SEGMENTS {
            self.draw_pending();
        }
    }

    /// Draws the pending sweep as lines, since it has no neighbour, and what follows it.
    fn draw_pending(&mut self) {
        if let Some(pending) = self.pending.take() {
            pending.segments.iter().for_each(|traced| self.draw(traced));
        }
        for traced in std::mem::take(&mut self.after_pending) {
            self.draw(&traced);
        }
    }

    fn engrave(&mut self, segments: &[TracedSegment]) {
        for spot in segments.iter().flat_map(|traced| &traced.spots) {
            self.dose.add(spot);
        }
    }

    fn draw(&mut self, traced: &TracedSegment) {
        let Segment { start, end, laser, .. } = traced.segment;
        if laser {
            if self.cut_points < MAX_CUT_POINTS {
                self.cut_points += append(&mut self.cuts, Some(traced.sevenths), start, end);
            } else {
                self.cuts_in_dose = true;
                traced.spots.iter().for_each(|spot| self.dose.add(spot));
            }
        } else if (start.x, start.y) != (end.x, end.y) {
            if self.travel_points < MAX_TRAVEL_POINTS {
                self.travel_points += append(&mut self.travel, None, start, end);
            } else {
                self.travel_dropped = true;
            }
        }
    }
}

/// Returns whether the laser fires for so short a time that the head, which moves, has made no step.
fn is_dot(segment: &Segment) -> bool {
    segment.laser && segment.is_rest() && segment.ticks <= MAX_DOT_TICKS
}

/// Returns the direction of a segment along X; `None` if it is not along X.
fn along_x(segment: &Segment) -> Option<i64> {
    let Segment { start, end, .. } = segment;
    (start.y == end.y && start.z == end.z && start.x != end.x).then(|| (end.x - start.x).signum())
}

/// Appends a line to the last polyline if they connect, or to a new one. Returns the number of points added.
fn append(lines: &mut Vec<Polyline>, sevenths: Option<u8>, start: Position, end: Position) -> usize {
    let point = |at: Position| (to_i32(at.x), to_i32(at.y));
    let (from, to) = (point(start), point(end));
    if let Some(last) = lines.last_mut()
        && last.sevenths == sevenths
        && last.points.last() == Some(&from)
    {
        if from == to {
            return 0;
        }
        last.points.push(to);
        return 1;
    }
    let points = if from == to { vec![from] } else { vec![from, to] };
    let count = points.len();
    lines.push(Polyline { sevenths, points });
    count
}
