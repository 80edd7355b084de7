//! The order in which contours are cut.

use std::collections::{BTreeSet, HashMap};

use rstar::RTree;
use rstar::primitives::GeomWithData;

use super::contour::{Contour, distance, is_same};
use super::nesting::Nesting;
use super::tour::{Stop, shorten};

/// A closed contour may start at this many of its points, or fewer if there are many contours.
const MAX_STARTS: usize = 64;
/// The number of points at which a contour may start, in all.
const MAX_ALL_STARTS: usize = 400_000;
/// More contours than these are put nearest first, and no more: improving their order would take minutes.
const MAX_IMPROVED: usize = 200_000;
/// How often the order is improved. Each time, closed contours start at another point.
const ROUNDS: usize = 2;

/// Orders contours so that what lies inside a closed contour is cut before it, while the piece is still held, and the travel
/// between them is short. `start` is where the head is before, in mm as the points. Open contours may be reversed, and
/// closed ones start at another point. Contours without points are dropped. A line of three points or more that ends within
/// 0.01 mm of its start counts as closed.
///
/// The travel is not the shortest one possible, and longer if there are more than 200,000 contours. The same contours always
/// get the same order. 100,000 contours take seconds.
///
/// ```
/// use gf_emulator_core::puls::{Contour, order};
///
/// let square = |x: f64, side: f64| Contour::new(vec![[x, x], [x + side, x], [x + side, x + side], [x, x + side]], true);
/// let ordered = order(vec![square(0.0, 50.0), square(60.0, 5.0), square(20.0, 10.0)], [0.0, 0.0]);
/// assert_eq!(ordered[0].points[0], [20.0, 20.0]); // inside the square of 50 mm
/// assert_eq!(ordered[1].length_mm(), 200.0);
/// assert_eq!(ordered[1].points[0], [50.0, 50.0]); // the corner where the next one is near
/// assert_eq!(ordered[2].points[0], [60.0, 60.0]);
/// ```
#[must_use]
pub fn order(contours: Vec<Contour>, start: [f64; 2]) -> Vec<Contour> {
    let tagged = contours.into_iter().map(|contour| (contour, ())).collect();
    order_tagged(tagged, start).into_iter().map(|(contour, ())| contour).collect()
}

/// Orders contours as [`order`] does, each with what belongs to it.
pub(super) fn order_tagged<T: Copy>(mut tagged: Vec<(Contour, T)>, start: [f64; 2]) -> Vec<(Contour, T)> {
    let is_finite = |contour: &Contour| contour.points.iter().flatten().all(|value| value.is_finite());
    tagged.retain(|(contour, _)| !contour.points.is_empty() && is_finite(contour));
    for (contour, _) in &mut tagged {
        contour.close_if_ends_meet();
    }
    let (mut contours, tags): (Vec<_>, Vec<_>) = tagged.into_iter().unzip();
    let nesting = Nesting::of(&contours);
    let mut stops = nearest_first(&contours, &nesting, start);
    let rounds = if stops.len() > MAX_IMPROVED { 0 } else { ROUNDS };
    for _ in 0..rounds {
        shorten(&mut stops, start, &nesting);
        move_starts(&mut stops, &contours, start);
    }
    let mut ordered = Vec::with_capacity(contours.len());
    for stop in stops {
        let mut contour = std::mem::take(&mut contours[stop.contour]);
        if contour.is_closed {
            let first = contour.points.iter().position(|&point| is_same(point, stop.entry));
            contour.points.rotate_left(first.unwrap_or_default());
        } else if !is_same(contour.points[0], stop.entry) {
            contour.points.reverse();
        }
        ordered.push((contour, tags[stop.contour]));
    }
    ordered
}

/// Returns the length of the travel to and between contours in mm, in the given order. The head begins at `start`, in mm.
///
/// ```
/// use gf_emulator_core::puls::{Contour, travel_mm};
///
/// let line = Contour::new(vec![[10.0, 0.0], [20.0, 0.0]], false);
/// assert_eq!(travel_mm(&[line.clone(), line], [0.0, 0.0]), 20.0);
/// ```
#[must_use]
pub fn travel_mm(contours: &[Contour], start: [f64; 2]) -> f64 {
    let ends = contours.iter().filter_map(Contour::ends);
    ends.fold((0.0, start), |(sum, at), [first, last]| (sum + distance(at, first), last)).0
}

/// Goes to the nearest contour of those that nothing inside is left of, again and again.
fn nearest_first(contours: &[Contour], nesting: &Nesting, start: [f64; 2]) -> Vec<Stop> {
    let mut starts = Starts::default();
    let per_contour = (MAX_ALL_STARTS / contours.len().max(1)).clamp(1, MAX_STARTS);
    let mut waits_for: Vec<usize> = nesting.inner.iter().map(Vec::len).collect();
    let places: Vec<Vec<usize>> = contours.iter().map(|contour| starts.places(contour, per_contour)).collect();
    let ready = (0..contours.len()).filter(|&contour| waits_for[contour] == 0);
    for contour in ready {
        for &place in &places[contour] {
            starts.contours[place].insert(contour);
        }
    }
    let used = starts.points.iter().enumerate().filter(|(place, _)| !starts.contours[*place].is_empty());
    let mut index = RTree::bulk_load(used.map(|(place, &point)| GeomWithData::new(point, place)).collect());
    let mut stops = Vec::with_capacity(contours.len());
    let mut at = start;
    while let Some(nearest) = index.nearest_neighbor(&at) {
        let entry = *nearest.geom();
        let Some(&contour) = starts.contours[nearest.data].first() else { break };
        let [first, last] = contours[contour].ends().unwrap_or([entry; 2]);
        at = if contours[contour].is_closed {
            entry
        } else if is_same(entry, first) {
            last
        } else {
            first
        };
        stops.push(Stop { contour, entry, exit: at });
        for &place in &places[contour] {
            if starts.contours[place].remove(&contour) && starts.contours[place].is_empty() {
                index.remove(&GeomWithData::new(starts.points[place], place));
            }
        }
        for &outer in &nesting.outer[contour] {
            waits_for[outer] -= 1;
            if waits_for[outer] == 0 {
                for &place in &places[outer] {
                    if starts.contours[place].is_empty() {
                        index.insert(GeomWithData::new(starts.points[place], place));
                    }
                    starts.contours[place].insert(outer);
                }
            }
        }
    }
    stops
}

/// The points at which contours may start, each once, so that many contours may start at the same one.
#[derive(Default)]
struct Starts {
    points: Vec<[f64; 2]>,
    by_bits: HashMap<[u64; 2], usize>,
    /// By point: the contours that may be next.
    contours: Vec<BTreeSet<usize>>,
}

impl Starts {
    fn places(&mut self, contour: &Contour, max: usize) -> Vec<usize> {
        let points = &contour.points;
        let step = if contour.is_closed { points.len().div_ceil(max) } else { (points.len() - 1).max(1) };
        points.iter().step_by(step).map(|&point| self.place(point)).collect()
    }

    fn place(&mut self, point: [f64; 2]) -> usize {
        // Adding 0 makes -0 the same point as 0.
        *self.by_bits.entry(point.map(|value| (value + 0.0).to_bits())).or_insert_with(|| {
            self.points.push(point);
            self.contours.push(BTreeSet::new());
            self.points.len() - 1
        })
    }
}

/// Starts closed contours at the point with the shortest way from the one before and to the one after.
fn move_starts(stops: &mut [Stop], contours: &[Contour], start: [f64; 2]) {
    let mut at = start;
    for index in 0..stops.len() {
        let next = stops.get(index + 1).map(|next| next.entry);
        let stop = &mut stops[index];
        let contour = &contours[stop.contour];
        if contour.is_closed {
            let way = |point: [f64; 2]| distance(at, point) + next.map_or(0.0, |next| distance(point, next));
            let nearest = contour.points.iter().copied().min_by(|&a, &b| way(a).total_cmp(&way(b)));
            stop.entry = nearest.unwrap_or(stop.entry);
            stop.exit = stop.entry;
        }
        at = stop.exit;
    }
}
