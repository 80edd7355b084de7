//! A moment of a job: what is before it, what comes after, and where the head is.

use super::super::{Header, Position, Segment, tick};
use super::fire_spots::FireSpots;
use super::layers::Layers;

/// A moment, between two ticks.
#[derive(Debug)]
pub(super) struct Moment {
    /// The number of ticks before it, which may be more than the job has.
    pub(super) tick: u64,
    pub(super) head: Position,
    /// The number of firing ticks before it.
    pub(super) fire_ticks: u64,
    /// Whether the laser is on in the tick after it.
    pub(super) laser: bool,
}

impl Moment {
    /// Returns where the head is, in mm from the start of the job.
    pub(super) fn head_mm(&self, header: &Header) -> (f64, f64) {
        (header.x_mm(self.head.x), header.y_mm(self.head.y))
    }
}

/// Sorts a job into what is before a moment and what comes after it.
pub(super) struct Parts {
    pub(super) layers: Layers,
    /// What comes after the moment.
    pub(super) rest: Option<Layers>,
    pub(super) moment: Option<Moment>,
    spots: FireSpots,
}

impl Parts {
    pub(super) fn new(header: &Header, at_tick: Option<u64>) -> Self {
        let moment = |tick| Moment { tick, head: Position::default(), fire_ticks: 0, laser: false };
        Self {
            layers: Layers::new(header),
            rest: at_tick.map(|_| Layers::new(header)),
            moment: at_tick.map(moment),
            spots: FireSpots::default(),
        }
    }

    /// Adds ticks, before the segments that they complete.
    pub(super) fn add_ticks(&mut self, ticks: &[u8]) {
        let Some(moment) = &mut self.moment else { return self.spots.add(ticks) };
        let left = usize::try_from(moment.tick.saturating_sub(self.spots.tick())).unwrap_or(usize::MAX);
        let (before, after) = ticks.split_at(left.min(ticks.len()));
        self.spots.add(before);
        if !before.is_empty() {
            moment.head = self.spots.position();
            moment.fire_ticks +=
                before.iter().filter(|&byte| byte & (tick::POWER | tick::FIRE) == tick::FIRE).count() as u64;
        }
        self.spots.add(after);
    }

    /// Adds a segment, divided if the moment is in it.
    pub(super) fn add(&mut self, segment: &Segment) {
        let sevenths = segment.sevenths();
        let (Some(moment), Some(rest)) = (&mut self.moment, &mut self.rest) else {
            return self.layers.add(segment, sevenths, &mut self.spots);
        };
        let before = moment.tick.saturating_sub(segment.start_tick).min(segment.ticks);
        if before == segment.ticks {
            return self.layers.add(segment, sevenths, &mut self.spots);
        }
        if moment.tick >= segment.start_tick {
            moment.laser = segment.laser;
        }
        if before == 0 {
            return rest.add(segment, sevenths, &mut self.spots);
        }
        let first = Segment { ticks: before, end: moment.head, ..*segment };
        self.layers.add(&first, sevenths, &mut self.spots);
        let last = Segment { start_tick: moment.tick, ticks: segment.ticks - before, start: moment.head, ..*segment };
        rest.add(&last, sevenths, &mut self.spots);
    }

    /// Draws everything that is pending.
    pub(super) fn finish(&mut self) {
        self.layers.finish();
        if let Some(rest) = &mut self.rest {
            rest.finish();
        }
    }
}
