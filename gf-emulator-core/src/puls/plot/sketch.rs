//! A job sorted by how it is drawn: travel and cuts as lines, engravings as a raster of dose.
//!
//! An engraving is drawn in sweeps: along X, one beside the other. What tells a sweep from a cut that happens to go along
//! X is its neighbour, so that one is held back until the next one is there.

use super::super::{Header, Position, Segment};
use super::dose::Dose;
use super::marks::{Mark, Marks, step};

/// Sweeps are neighbours up to this far from each other.
const NEIGHBOURS_MM: f64 = 0.5;
/// How much may happen between two neighbours: a turn of a few segments.
const MOST_BETWEEN: usize = 16;
/// A sweep of more segments than this, or more marks, is an engraving without a neighbour. The bed is 6600 marks wide.
const MOST_SEGMENTS: usize = 10_000;
const MOST_MARKS: usize = 100_000;
/// Lines of more points than this in all would make a picture that nobody can open: further cuts are drawn as a raster.
const MOST_CUT_POINTS: usize = 200_000;
/// The same for travel; what is more is left out.
const MOST_TRAVEL_POINTS: usize = 100_000;

/// Lines one behind the other, drawn alike. At least one point; a single one is a dot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    /// How many ticks of seven fire, rounded; `None` where the laser is off.
    pub(super) sevenths: Option<u8>,
    /// In microsteps from where the job begins.
    pub(super) points: Vec<(i32, i32)>,
}

/// What there is to draw.
#[derive(Debug)]
pub(super) struct Sketch {
    pub(super) travel: Vec<Line>,
    pub(super) cuts: Vec<Line>,
    pub(super) dose: Dose,
    /// Some travel is not in here.
    pub(super) travel_left_out: bool,
    /// Some cuts are in the dose.
    pub(super) cuts_in_dose: bool,
    travel_points: usize,
    cut_points: usize,
    neighbours_steps: i64,
    sorter: Sorter,
}

/// What is not yet known to be one or the other.
#[derive(Debug, Default)]
struct Sorter {
    sweep: Option<Sweep>,
    /// The last one that was lit.
    held: Option<Held>,
    /// What came since.
    between: Vec<Piece>,
    /// Whether the laser was on in the segment before.
    was_lit: bool,
}

/// A segment with where it fires.
#[derive(Debug)]
struct Piece {
    segment: Segment,
    marks: Vec<Mark>,
}

/// Segments along X, all in one direction.
#[derive(Debug)]
struct Sweep {
    direction: i64,
    /// It begins with the laser off.
    begins_dark: bool,
    pieces: Vec<Piece>,
    /// Of all pieces.
    marks: usize,
}

/// A sweep that has ended.
#[derive(Debug)]
struct Held {
    y: i64,
    lit: [i64; 2],
    begins_dark: bool,
    /// Empty where it is an engraving and has been drawn.
    pieces: Vec<Piece>,
}

impl Sweep {
    fn is_long(&self) -> bool {
        self.pieces.len() >= MOST_SEGMENTS || self.marks > MOST_MARKS
    }
}

impl Sketch {
    pub(super) fn new(header: &Header) -> Self {
        Self {
            travel: Vec::new(),
            cuts: Vec::new(),
            dose: Dose::default(),
            travel_left_out: false,
            cuts_in_dose: false,
            travel_points: 0,
            cut_points: 0,
            #[expect(clippy::cast_possible_truncation, reason = "saturates")]
            neighbours_steps: (NEIGHBOURS_MM / header.y_mm(1)) as i64,
            sorter: Sorter::default(),
        }
    }

    /// Takes the next segment, with where it fires.
    pub(super) fn add(&mut self, segment: &Segment, marks: &mut Marks) {
        let mut fired = Vec::new();
        marks.take_until(segment.start_tick + segment.ticks, &mut fired);
        let piece = Piece { segment: *segment, marks: fired };
        let was_lit = std::mem::replace(&mut self.sorter.was_lit, segment.laser);
        let Some(direction) = along_x(segment) else {
            self.end_sweep();
            if !segment.is_rest() || segment.laser {
                self.other(piece);
            }
            return;
        };
        if self.sorter.sweep.as_ref().is_some_and(|sweep| sweep.direction != direction || sweep.is_long()) {
            self.end_sweep();
        }
        let begins_dark = !segment.laser || !was_lit;
        let new = || Sweep { direction, begins_dark, pieces: Vec::new(), marks: 0 };
        let sweep = self.sorter.sweep.get_or_insert_with(new);
        sweep.marks += piece.marks.len();
        sweep.pieces.push(piece);
    }

    /// Draws what was held back.
    pub(super) fn finish(&mut self) {
        self.end_sweep();
        self.let_go();
    }

    fn end_sweep(&mut self) {
        let Some(sweep) = self.sorter.sweep.take() else { return };
        let lit = sweep.pieces.iter().filter(|piece| piece.segment.laser).map(|piece| piece.segment);
        let Some(lit) = lit.fold(None, |ends: Option<[i64; 2]>, Segment { start, end, .. }| {
            let [least, most] = ends.unwrap_or([start.x, start.x]);
            Some([least.min(start.x).min(end.x), most.max(start.x).max(end.x)])
        }) else {
            sweep.pieces.into_iter().for_each(|piece| self.other(piece));
            return;
        };
        let y = sweep.pieces.first().map_or(0, |piece| piece.segment.start.y);
        let long = sweep.is_long();
        let mut held = Held { y, lit, begins_dark: sweep.begins_dark, pieces: sweep.pieces };
        let neighbour = self.sorter.held.as_ref().is_some_and(|last| {
            let apart = last.y.abs_diff(held.y);
            (1..=self.neighbours_steps.unsigned_abs()).contains(&apart)
                && last.begins_dark
                && held.begins_dark
                && last.lit[0] <= held.lit[1]
                && held.lit[0] <= last.lit[1]
        });
        if neighbour {
            // The way from one to the other is part of the engraving.
            self.sorter.between.clear();
            if let Some(last) = self.sorter.held.take() {
                self.engrave(&last.pieces);
            }
        } else {
            self.let_go();
        }
        if neighbour || long {
            self.engrave(&held.pieces);
            held.pieces = Vec::new();
        }
        self.sorter.held = Some(held);
    }

    /// What is no sweep: drawn at once, unless it may be on the way from one to the next.
    fn other(&mut self, piece: Piece) {
        if self.sorter.held.is_none() {
            self.draw(&piece);
            return;
        }
        let cuts = piece.segment.laser;
        self.sorter.between.push(piece);
        if cuts || self.sorter.between.len() > MOST_BETWEEN {
            self.let_go();
        }
    }

    /// Draws the sweep that was held, which has no neighbour behind it, and what came since.
    fn let_go(&mut self) {
        if let Some(held) = self.sorter.held.take() {
            held.pieces.iter().for_each(|piece| self.draw(piece));
        }
        for piece in std::mem::take(&mut self.sorter.between) {
            self.draw(&piece);
        }
    }

    fn engrave(&mut self, pieces: &[Piece]) {
        for mark in pieces.iter().flat_map(|piece| &piece.marks) {
            self.dose.add(mark);
        }
    }

    fn draw(&mut self, piece: &Piece) {
        let Segment { start, end, laser, .. } = piece.segment;
        if laser {
            if self.cut_points < MOST_CUT_POINTS {
                self.cut_points += append(&mut self.cuts, Some(piece.segment.sevenths()), start, end);
            } else {
                self.cuts_in_dose = true;
                piece.marks.iter().for_each(|mark| self.dose.add(mark));
            }
        } else if (start.x, start.y) != (end.x, end.y) {
            if self.travel_points < MOST_TRAVEL_POINTS {
                self.travel_points += append(&mut self.travel, None, start, end);
            } else {
                self.travel_left_out = true;
            }
        }
    }
}

/// Which way a segment goes along X, if it goes along X and nowhere else.
fn along_x(segment: &Segment) -> Option<i64> {
    let Segment { start, end, .. } = segment;
    (start.y == end.y && start.z == end.z && start.x != end.x).then(|| (end.x - start.x).signum())
}

/// Draws on where the last line has got to, if it is alike, or begins one. Says how many points that took.
fn append(lines: &mut Vec<Line>, sevenths: Option<u8>, start: Position, end: Position) -> usize {
    let point = |at: Position| (step(at.x), step(at.y));
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
    lines.push(Line { sevenths, points });
    count
}
