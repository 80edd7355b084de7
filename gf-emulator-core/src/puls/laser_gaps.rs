//! Decides in which gaps between firing ticks the laser counts as on.
//!
//! [`Segment`](super::Segment) has the rule. A short gap is decided by the next block of ticks. A longer one depends on
//! the gaps before and after it, so the blocks that it lies in wait here until those are known, at most about two thousand
//! ticks.

use super::bit_planes::{BLOCK_TICKS, BitPlanes, bits_below};

/// The longest gap without fire in which the laser is always on: two periods of the dither.
pub(super) const SHORT_GAP_TICKS: u32 = 14;
/// The longest time from one firing tick to the next in a line: a density of 0.1 %, the least that whole numbers of S ask for
/// in G-code with 1000 for full power.
const MAX_INTERVAL_TICKS: u64 = 1024;
/// The size of the ring buffer: two intervals, the blocks that they begin and end in, and the last one. A power of two.
const RING: usize = 64;

/// A block of ticks.
#[derive(Debug, Clone, Copy)]
pub(super) struct LaserBlock {
    pub(super) planes: BitPlanes,
    /// Has the levels of power bytes.
    pub(super) ticks: [u8; BLOCK_TICKS],
    /// The ticks in which the laser is on. In the last block, the firing ticks and up to [`SHORT_GAP_TICKS`] after each.
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
#[derive(Debug, Clone)]
pub(super) struct LaserGaps {
    /// A ring buffer. Blocks stay where they are until they are used.
    blocks: Box<[LaserBlock; RING]>,
    /// The index of the first block in use.
    first: usize,
    /// How many blocks are in use. The last one always waits for the next.
    length: usize,
    /// The start of the first block.
    start: u64,
    last_fire: Option<u64>,
    /// The one that ends at the last firing tick.
    last: Option<Interval>,
    /// The same, if its gap is long and only the next interval can tell whether the laser is on in it.
    undecided: Option<Interval>,
    /// Whether the last block but one ends in a short gap or a firing tick.
    ends_lit: bool,
}

impl Default for LaserGaps {
    fn default() -> Self {
        let empty =
            LaserBlock { planes: BitPlanes::default(), ticks: [0; BLOCK_TICKS], laser: 0, power_before_fire: 0 };
        Self {
            blocks: Box::new([empty; RING]),
            first: 0,
            length: 0,
            start: 0,
            last_fire: None,
            last: None,
            undecided: None,
            ends_lit: false,
        }
    }
}

impl LaserGaps {
    /// Returns whether further blocks without bits change nothing but the time.
    pub(super) fn is_idle(&self) -> bool {
        let last = &self.blocks[self.first % RING];
        self.length == 1 && last.laser == 0 && last.planes == BitPlanes::default() && !self.may_go_on()
    }

    /// Advances the time by ticks without fire, while [`is_idle`](Self::is_idle).
    pub(super) fn skip(&mut self, ticks: u64) {
        self.start += ticks;
    }

    /// Adds the next block, which shows where the laser is on in short gaps of the block before. Returns whether the
    /// first block is decided.
    #[inline]
    pub(super) fn add(&mut self, ticks: &[u8; BLOCK_TICKS]) -> bool {
        let planes = BitPlanes::of(ticks);
        let last = (self.first + self.length).wrapping_sub(1) % RING;
        let fire_before = if self.length == 0 { 0 } else { self.blocks[last].planes.fire };
        let laser = gaps_after(fire_before, planes.fire);
        let block = &mut self.blocks[(self.first + self.length) % RING];
        (block.planes, block.ticks, block.laser) = (planes, *ticks, laser);
        self.length += 1;
        if self.length == 1 {
            return false;
        }
        let before = &mut self.blocks[last];
        before.laser = without_ends(before.laser, laser);
        before.power_before_fire = before.planes.power & (before.planes.fire >> 1 | planes.fire << (BLOCK_TICKS - 1));
        let (fire, laser) = (before.planes.fire, before.laser);
        let is_decided = laser == u64::MAX || fire == 0 && !self.may_go_on();
        if is_decided && self.length == 2 {
            self.end_run(self.start, fire);
            self.ends_lit = fire != 0;
            return true;
        }
        self.decide(fire, laser);
        self.is_first_decided()
    }

    /// Returns the first block.
    pub(super) fn first(&self) -> &LaserBlock {
        &self.blocks[self.first % RING]
    }

    /// Removes the first block.
    #[inline]
    pub(super) fn remove_first(&mut self) {
        self.first = (self.first + 1) % RING;
        self.length -= 1;
        self.start += BLOCK_TICKS as u64;
    }

    /// Returns whether it is known where the laser is on in the first block.
    pub(super) fn is_first_decided(&self) -> bool {
        let open = self.last_fire.filter(|_| !self.ends_lit && self.may_go_on());
        let undecided_from = self.undecided.map(|interval| interval.from).or(open);
        // The gap begins after the firing tick.
        self.length > 1 && undecided_from.is_none_or(|from| from + 1 >= self.start + BLOCK_TICKS as u64)
    }

    /// Ends the body: no further tick fires.
    pub(super) fn finish(&mut self) {
        (self.last_fire, self.undecided) = (None, None);
    }

    /// Returns the start of the last block.
    fn end(&self) -> u64 {
        self.start + (self.length.saturating_sub(1) * BLOCK_TICKS) as u64
    }

    /// Returns whether a line may go on from the last firing tick to one after the last block.
    fn may_go_on(&self) -> bool {
        self.last_fire.is_some_and(|last| self.end() <= last + MAX_INTERVAL_TICKS)
    }

    /// Decides what the last block but one shows about gaps.
    #[inline(never)]
    fn decide(&mut self, mut fire: u64, laser: u64) {
        let start = self.end() - BLOCK_TICKS as u64;
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
        let below = |start: u64, tick: u64| bits_below(u32::try_from(tick.saturating_sub(start)).unwrap_or(u32::MAX));
        let mut start = self.start;
        for i in 0..self.length - 1 {
            self.blocks[(self.first + i) % RING].laser |= below(start, to) & !below(start, from + 1);
            start += BLOCK_TICKS as u64;
        }
    }
}

/// Returns whether neither time from one firing tick to the next is longer than in a line, or more than half as long again
/// as the other.
pub(super) fn are_alike(one: u64, two: u64) -> bool {
    let (short, long) = (one.min(two), one.max(two));
    long <= MAX_INTERVAL_TICKS && 2 * long <= 3 * short
}

/// Returns the firing ticks of a block, and up to [`SHORT_GAP_TICKS`] after each, and after those of the block before.
#[inline]
const fn gaps_after(fire_before: u64, fire: u64) -> u64 {
    let mut gaps = fire | fire << 1;
    gaps |= gaps << 2;
    gaps |= gaps << 4;
    gaps |= gaps << (SHORT_GAP_TICKS - 7);
    // That is 0 if no tick of it fires.
    gaps | bits_below(SHORT_GAP_TICKS.saturating_sub(fire_before.leading_zeros()))
}

/// Returns the ticks in which the laser is on in short gaps: `gaps` without those that no firing tick ends.
#[inline]
const fn without_ends(gaps: u64, gaps_of_next: u64) -> u64 {
    let mut off = !gaps | !gaps >> 1;
    off |= off >> 2;
    off |= off >> 4;
    off |= off >> (SHORT_GAP_TICKS - 7);
    let ticks = SHORT_GAP_TICKS.saturating_sub((!gaps_of_next).trailing_zeros());
    !(off | !bits_below(u64::BITS - ticks))
}
