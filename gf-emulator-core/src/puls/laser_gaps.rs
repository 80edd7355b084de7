//! Decides in which gaps between firing ticks the laser counts as on.
//!
//! [`Segment`](super::Segment) has the rule. A short gap is decided by the next block of ticks. A longer one depends on
//! the gaps before and after it, so the blocks that it lies in wait here until those are known, at most about two thousand
//! ticks.

use std::collections::VecDeque;

use super::bit_planes::{BLOCK_TICKS, BitPlanes, bits_below};

/// The longest gap without fire in which the laser is always on: two periods of the dither.
pub(super) const SHORT_GAP_TICKS: u32 = 14;
/// The longest time from one firing tick to the next in a line: a density of 0.1 %, the least that whole numbers of S ask for
/// in G-code with 1000 for full power.
const MAX_INTERVAL_TICKS: u64 = 1024;

/// A block of ticks.
#[derive(Debug, Clone)]
pub(super) struct LaserBlock {
    pub(super) planes: BitPlanes,
    /// Has the levels of power bytes.
    pub(super) ticks: [u8; BLOCK_TICKS],
    /// The ticks in which the laser is on.
    pub(super) laser: u64,
    /// The power bytes directly before a firing tick, which are on as well.
    pub(super) power_before_fire: u64,
}

/// The ticks from one firing tick to the next one.
#[derive(Debug, Clone, Copy)]
struct Interval {
    from: u64,
    to: u64,
}

impl Interval {
    fn ticks(self) -> u64 {
        self.to - self.from
    }
}

/// Blocks that wait until it is known where the laser is on.
#[derive(Debug, Clone, Default)]
pub(super) struct LaserGaps {
    waiting: VecDeque<LaserBlock>,
    /// The start of the first block that waits, or else of the next one.
    start: u64,
    last_fire: Option<u64>,
    /// The one that ends at the last firing tick.
    last: Option<Interval>,
    /// The same, if its gap is long and only the next interval can tell whether the laser is on in it.
    undecided: Option<Interval>,
    /// Whether the last block ends in a short gap or a firing tick.
    ends_lit: bool,
}

impl LaserGaps {
    /// Returns whether no block waits, and a block without fire would not.
    pub(super) fn is_idle(&self) -> bool {
        self.waiting.is_empty() && !self.may_go_on()
    }

    /// Advances the time by ticks without fire, while [`is_idle`](Self::is_idle).
    pub(super) fn skip(&mut self, ticks: u64) {
        self.start += ticks;
    }

    /// Adds the next block, in which the laser is on in short gaps only. Returns whether it can be used at once; else,
    /// [`pop`](Self::pop) returns it later.
    #[inline]
    pub(super) fn add(&mut self, block: &LaserBlock) -> bool {
        let fire = block.planes.fire;
        let is_decided = block.laser == u64::MAX || fire == 0 && !self.may_go_on();
        if is_decided && self.waiting.is_empty() {
            self.end_run(self.start, fire);
            self.ends_lit = fire != 0;
            self.start += BLOCK_TICKS as u64;
            return true;
        }
        self.enqueue(block.clone());
        false
    }

    /// Removes the first block that waits, if it is decided.
    #[inline]
    pub(super) fn pop(&mut self) -> Option<LaserBlock> {
        let open = self.last_fire.filter(|_| !self.ends_lit && self.may_go_on());
        let undecided_from = self.undecided.map(|interval| interval.from).or(open);
        let end = self.start + BLOCK_TICKS as u64;
        // The gap begins after the firing tick.
        if undecided_from.is_some_and(|from| from + 1 < end) {
            return None;
        }
        let block = self.waiting.pop_front()?;
        self.start = end;
        Some(block)
    }

    /// Ends the body: no further tick fires.
    pub(super) fn finish(&mut self) {
        (self.last_fire, self.undecided) = (None, None);
    }

    /// Returns the end of the last block.
    fn end(&self) -> u64 {
        self.start + (self.waiting.len() * BLOCK_TICKS) as u64
    }

    /// Returns whether a line may go on from the last firing tick to one after the last block.
    fn may_go_on(&self) -> bool {
        self.last_fire.is_some_and(|last| self.end() <= last + MAX_INTERVAL_TICKS)
    }

    #[cold]
    fn enqueue(&mut self, block: LaserBlock) {
        let (start, mut fire, laser) = (self.end(), block.planes.fire, block.laser);
        self.waiting.push_back(block);
        while fire != 0 {
            let i = fire.trailing_zeros();
            fire &= fire - 1;
            self.add_fire(start + u64::from(i));
            if self.undecided.is_none() {
                // Until the laser is off, there are short gaps only.
                let run = fire & bits_below(i + (!laser >> i).trailing_zeros());
                fire ^= run;
                self.end_run(start, run);
            }
        }
        self.ends_lit = laser >> (BLOCK_TICKS - 1) != 0;
        if self.undecided.is_some() && !self.may_go_on() {
            self.undecided = None;
        }
    }

    /// Adds the firing ticks of a block that follow each other, and the last one before them, with short gaps only.
    #[inline]
    fn end_run(&mut self, start: u64, fire: u64) {
        if fire != 0 {
            let last = fire.ilog2();
            let others = fire ^ 1 << last;
            let before = if others == 0 { self.last_fire } else { Some(start + u64::from(others.ilog2())) };
            let to = start + u64::from(last);
            self.last = before.map(|from| Interval { from, to });
            self.last_fire = Some(to);
        }
    }

    fn add_fire(&mut self, to: u64) {
        let Some(from) = self.last_fire.replace(to) else { return };
        let interval = Interval { from, to };
        let before = self.last.replace(interval);
        if let Some(undecided) =
            self.undecided.take().filter(|undecided| are_alike(undecided.ticks(), interval.ticks()))
        {
            self.join(undecided);
        }
        let is_long = interval.ticks() > u64::from(SHORT_GAP_TICKS) + 1;
        if is_long && interval.ticks() <= MAX_INTERVAL_TICKS {
            if before.is_some_and(|before| are_alike(before.ticks(), interval.ticks())) {
                self.join(interval);
            } else {
                self.undecided = Some(interval);
            }
        }
    }

    /// Turns the laser on between two firing ticks.
    fn join(&mut self, Interval { from, to }: Interval) {
        let start = self.start;
        for (block, ticks) in self.waiting.iter_mut().zip(masks(start, from + 1, to)) {
            block.laser |= ticks;
        }
    }
}

/// Returns whether neither time from one firing tick to the next is longer than in a line, or more than half as long again
/// as the other.
pub(super) fn are_alike(one: u64, two: u64) -> bool {
    let (short, long) = (one.min(two), one.max(two));
    long <= MAX_INTERVAL_TICKS && 2 * long <= 3 * short
}

/// Returns the ticks from one to before another in each block, the first of which begins at `start`.
fn masks(start: u64, from: u64, to: u64) -> impl Iterator<Item = u64> {
    let below = |start: u64, tick: u64| bits_below(u32::try_from(tick.saturating_sub(start)).unwrap_or(u32::MAX));
    (start..).step_by(BLOCK_TICKS).map(move |start| below(start, to) & !below(start, from))
}
