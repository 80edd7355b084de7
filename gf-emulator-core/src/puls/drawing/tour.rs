//! Shortens the travel of an order: 2-opt and or-opt, which reverse and move parts of it.

use std::collections::{HashMap, VecDeque};

use rstar::RTree;
use rstar::primitives::GeomWithData;

use super::contour::{distance, is_same};
use super::nesting::Nesting;

/// Each end of a contour is joined with this many others near it.
const NEIGHBOURS: usize = 8;
/// The longest part that is moved as a whole.
const MAX_MOVED: usize = 3;
/// The longest part that is reversed or passed over.
const MAX_CHANGED: usize = 25_000;
/// The number of stops that are looked at or moved, which bounds the time.
const BUDGET: usize = 100_000_000;
/// A gain below this, in mm, is rounding.
const MIN_GAIN_MM: f64 = 1e-6;

/// A contour in an order: where its cut starts and ends.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Stop {
    /// The contour's index.
    pub(super) contour: usize,
    pub(super) entry: [f64; 2],
    pub(super) exit: [f64; 2],
}

/// Shortens the travel from a start and between the stops. What has to be before something else stays before it.
pub(super) fn shorten(stops: &mut Vec<Stop>, start: [f64; 2], nesting: &Nesting) {
    let mut places = vec![0; nesting.outer.len()];
    for (place, stop) in stops.iter().enumerate() {
        places[stop.contour] = place;
    }
    let neighbours = neighbours(stops, nesting.outer.len());
    let mut queue: VecDeque<usize> = stops.iter().map(|stop| stop.contour).collect();
    let mut is_queued = vec![true; nesting.outer.len()];
    let mut tour = Tour { stops, places, start, nesting, budget: BUDGET };
    while let Some(contour) = queue.pop_front() {
        is_queued[contour] = false;
        if tour.budget == 0 {
            break;
        }
        let changed = neighbours[contour].iter().find_map(|&neighbour| tour.join(contour, neighbour));
        for place in changed.into_iter().flatten() {
            for place in [place.wrapping_sub(1), place] {
                if let Some(stop) = tour.stops.get(place)
                    && !std::mem::replace(&mut is_queued[stop.contour], true)
                {
                    queue.push_back(stop.contour);
                }
            }
        }
    }
}

/// Returns, for each contour, the contours that have an end near one of its ends.
fn neighbours(stops: &[Stop], contours: usize) -> Vec<Vec<usize>> {
    let ends = |stop: &Stop| [Some(stop.entry), (!is_same(stop.exit, stop.entry)).then_some(stop.exit)];
    // Each point once, with a few of the contours that end there, so that many may end at the same one.
    let mut places: Vec<([f64; 2], Vec<usize>)> = Vec::new();
    let mut by_bits: HashMap<[u64; 2], usize> = HashMap::new();
    for stop in stops {
        for end in ends(stop).into_iter().flatten() {
            let place = *by_bits.entry(end.map(f64::to_bits)).or_insert(places.len());
            if place == places.len() {
                places.push((end, Vec::new()));
            }
            if places[place].1.len() <= NEIGHBOURS {
                places[place].1.push(stop.contour);
            }
        }
    }
    let index =
        RTree::bulk_load(places.iter().enumerate().map(|(index, place)| GeomWithData::new(place.0, index)).collect());
    let mut neighbours = vec![Vec::new(); contours];
    for stop in stops {
        let near: &mut Vec<usize> = &mut neighbours[stop.contour];
        for end in ends(stop).into_iter().flatten() {
            let others = index.nearest_neighbor_iter(&end).flat_map(|place| places[place.data].1.iter().copied());
            near.extend(others.filter(|&other| other != stop.contour).take(NEIGHBOURS));
        }
        near.sort_unstable();
        near.dedup();
    }
    neighbours
}

struct Tour<'a> {
    stops: &'a mut Vec<Stop>,
    /// By contour: its place in the tour.
    places: Vec<usize>,
    start: [f64; 2],
    nesting: &'a Nesting,
    budget: usize,
}

impl Tour<'_> {
    /// Tries to make two contours follow each other. Returns places around which the tour has changed.
    fn join(&mut self, contour: usize, neighbour: usize) -> Option<[usize; 4]> {
        let (low, high) =
            (self.places[contour].min(self.places[neighbour]), self.places[contour].max(self.places[neighbour]));
        self.spend(1);
        for (from, to) in [(low + 1, high + 1), (low, high)] {
            if self.reverse(from, to) {
                return Some([from, from + 1, to, to + 1]);
            }
        }
        let (place, other) = (self.places[contour], self.places[neighbour]);
        for length in 1..=MAX_MOVED {
            for from in [Some(place), (place + 1).checked_sub(length).filter(|_| length > 1)].into_iter().flatten() {
                for gap in [other, other + 1] {
                    if self.move_part(from, from + length, gap) {
                        return Some([from, from + length, gap, gap + length]);
                    }
                }
            }
        }
        None
    }

    fn spend(&mut self, stops: usize) {
        self.budget = self.budget.saturating_sub(stops);
    }

    fn exit_before(&self, place: usize) -> [f64; 2] {
        place.checked_sub(1).map_or(self.start, |before| self.stops[before].exit)
    }

    /// Returns the way from a point to a place. The way after the last stop does not count.
    fn way(&self, from: [f64; 2], place: usize) -> f64 {
        self.stops.get(place).map_or(0.0, |stop| distance(from, stop.entry))
    }

    /// Reverses a part of the tour if that makes it shorter.
    fn reverse(&mut self, from: usize, to: usize) -> bool {
        let Some(length) = to.checked_sub(from).filter(|length| (1..=MAX_CHANGED).contains(length)) else {
            return false;
        };
        let before = self.exit_before(from);
        let (first, last) = (self.stops[from], self.stops[to - 1]);
        let gain = distance(before, first.entry) + self.way(last.exit, to)
            - distance(before, last.exit)
            - self.way(first.entry, to);
        if gain < MIN_GAIN_MM || self.has_nested(from, to) {
            return false;
        }
        self.spend(length);
        self.stops[from..to].reverse();
        self.turn(from, to);
        self.update(from, to);
        true
    }

    /// Moves a part of the tour to the gap before a place, in the direction that fits better, if that makes it shorter.
    fn move_part(&mut self, from: usize, to: usize, gap: usize) -> bool {
        if to > self.stops.len() || (from..=to).contains(&gap) || gap.abs_diff(from) > MAX_CHANGED {
            return false;
        }
        let (first, last) = (self.stops[from], self.stops[to - 1]);
        let (before, before_gap) = (self.exit_before(from), self.exit_before(gap));
        let saved =
            distance(before, first.entry) + self.way(last.exit, to) - self.way(before, to) + self.way(before_gap, gap);
        let ahead = distance(before_gap, first.entry) + self.way(last.exit, gap);
        let back = distance(before_gap, last.exit) + self.way(first.entry, gap);
        if saved - ahead.min(back) < MIN_GAIN_MM
            || self.is_bound(from, to, gap)
            || back < ahead && self.has_nested(from, to)
        {
            return false;
        }
        if back < ahead {
            self.stops[from..to].reverse();
            self.turn(from, to);
        }
        let (low, high) = (from.min(gap), to.max(gap));
        self.spend(high - low);
        if gap < from {
            self.stops[gap..to].rotate_right(to - from);
        } else {
            self.stops[from..gap].rotate_left(to - from);
        }
        self.update(low, high);
        true
    }

    /// Returns whether a part has a contour with another one inside it.
    fn has_nested(&mut self, from: usize, to: usize) -> bool {
        self.spend(to - from);
        self.stops[from..to]
            .iter()
            .flat_map(|stop| &self.nesting.outer[stop.contour])
            .any(|&outer| (from..to).contains(&self.places[outer]))
    }

    /// Returns whether something between a part and a gap has to stay before or after the part.
    fn is_bound(&mut self, from: usize, to: usize, gap: usize) -> bool {
        let (passed, bounds) =
            if gap < from { (gap..from, &self.nesting.inner) } else { (to..gap, &self.nesting.outer) };
        let bounds: Vec<&Vec<usize>> = self.stops[from..to].iter().map(|stop| &bounds[stop.contour]).collect();
        self.budget = self.budget.saturating_sub(bounds.iter().map(|bounds| bounds.len()).sum());
        bounds.into_iter().flatten().any(|&other| passed.contains(&self.places[other]))
    }

    fn turn(&mut self, from: usize, to: usize) {
        for stop in &mut self.stops[from..to] {
            std::mem::swap(&mut stop.entry, &mut stop.exit);
        }
    }

    fn update(&mut self, from: usize, to: usize) {
        for place in from..to {
            self.places[self.stops[place].contour] = place;
        }
    }
}
