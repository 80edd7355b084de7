//! The segment that goes on: which steps still belong to it, and where it ends.

#![expect(clippy::inline_always, reason = "to be compiled for the processor that the caller is compiled for")]

use super::cone::Cone;
use super::planes::{BLOCK_TICKS, Planes};
use super::{Position, Segment, tick};

/// How many steps back a corner is looked for: a shallow one shows only after some.
const RECENT: usize = 8;
/// How far the stairs of a line are from it at most, in microsteps, with a little to spare.
const STAIR: f64 = 1.25;

/// What moves in a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Moves {
    Nothing,
    Head,
    Lens,
    Both,
}

/// The segment that goes on, and where in the body it has got to.
#[derive(Debug, Clone)]
pub(super) struct Trace {
    rest_ticks: u64,
    lens_rest_ticks: u64,

    /// The first tick of the block at hand.
    tick: u64,
    /// Fire ticks before it.
    fires: u64,
    laser: bool,
    power: Option<u8>,
    /// The last blocks with steps, the one at hand included, in turn.
    past: [Block; RECENT],
    next_past: usize,

    start: Visit,
    moves: Moves,
    /// Where the head has got to since.
    cone: Cone,
    z: i64,
    /// Which way the lens goes: 1 or -1, and 0 before it has moved.
    lens: i64,
    /// The moment behind the last step. Its fires are brought up to date with the block.
    still_from: Moment,
}

/// A tick, and how often the laser has fired before it.
#[derive(Debug, Clone, Copy, Default)]
struct Moment {
    tick: u64,
    fires: u64,
}

/// Where a step led, and the moment behind it.
#[derive(Debug, Clone, Copy, Default)]
struct Visit {
    at: Position,
    moment: Moment,
}

/// A block, and where in the body it is.
#[derive(Debug, Clone, Copy, Default)]
struct Block {
    from: Moment,
    planes: Planes,
}

impl Block {
    #[inline(always)]
    fn moment(&self, i: u32) -> Moment {
        let fires = (self.planes.fire & below(i)).count_ones();
        Moment { tick: self.from.tick + u64::from(i), fires: self.from.fires + u64::from(fires) }
    }
}

impl Trace {
    pub(super) fn new(rest_ticks: u64, lens_rest_ticks: u64) -> Self {
        Self {
            rest_ticks,
            lens_rest_ticks,
            tick: 0,
            fires: 0,
            laser: false,
            power: None,
            past: [Block::default(); RECENT],
            next_past: 0,
            start: Visit::default(),
            moves: Moves::Nothing,
            cone: Cone::default(),
            z: 0,
            lens: 0,
            still_from: Moment::default(),
        }
    }

    /// Lets that many ticks go by in which nothing happens, with the laser off.
    pub(super) fn pass(&mut self, ticks: u64) {
        self.tick += ticks;
    }

    /// Whether the laser is on at the end of the block before.
    pub(super) fn laser(&self) -> bool {
        self.laser
    }

    /// Ends the body, so many ticks before the end of the last block.
    pub(super) fn finish(&mut self, over: u64, each: &mut dyn FnMut(&Segment)) {
        self.close(Moment { tick: self.tick - over, fires: self.fires }, each);
    }

    /// Where the head is.
    fn at(&self) -> Position {
        let (x, y) = self.cone.way();
        Position { x: self.start.at.x + x, y: self.start.at.y + y, z: self.z }
    }

    /// Goes through the next block, in which the laser is on in those ticks.
    #[inline(always)]
    pub(super) fn block(
        &mut self,
        planes: Planes,
        ticks: &[u8; BLOCK_TICKS],
        laser: u64,
        each: &mut dyn FnMut(&Segment),
    ) {
        let block = Block { from: Moment { tick: self.tick, fires: self.fires }, planes };
        let steps = planes.steps();
        if steps != 0 {
            self.past[self.next_past % RECENT] = block;
            self.next_past += 1;
        }
        let switches = laser ^ (laser << 1 | u64::from(self.laser));
        let mut marks = switches | planes.power;
        let mut from = 0;
        loop {
            let i = marks.trailing_zeros();
            let part = steps & !below(from) & below(i);
            if part != 0 {
                self.steps(&block, part, each);
            }
            if marks == 0 {
                break;
            }
            marks &= marks - 1;
            from = i;
            let power = if planes.power & (1 << i) == 0 { self.power } else { Some(ticks[i as usize] & tick::LEVEL) };
            if switches & (1 << i) != 0 || power != self.power {
                self.split(block.moment(i), each);
                self.laser = laser & (1 << i) != 0;
                self.power = power;
            }
        }
        if steps != 0 {
            self.still_from = block.moment(behind(steps));
        }
        self.fires += u64::from(planes.fire.count_ones());
        self.tick += BLOCK_TICKS as u64;
    }

    /// Makes those steps of a block, which are some.
    #[inline(always)]
    fn steps(&mut self, block: &Block, steps: u64, each: &mut dyn FnMut(&Segment)) {
        if block.planes.z_step & steps == 0 {
            self.go(block, steps, Moves::Head, each);
        } else {
            self.steps_with_lens(block, steps, each);
        }
    }

    #[cold]
    fn steps_with_lens(&mut self, block: &Block, mut steps: u64, each: &mut dyn FnMut(&Segment)) {
        while steps != 0 {
            let i = steps.trailing_zeros();
            steps &= steps - 1;
            let step = block.planes.step(i);
            let moves = match ((step.x, step.y) != (0, 0), step.z != 0) {
                (true, true) => Moves::Both,
                (true, false) => Moves::Head,
                (false, _) => Moves::Lens,
            };
            if step.z != 0 && self.lens == -step.z {
                self.split(block.moment(i), each);
            }
            self.go(block, 1 << i, moves, each);
            if step.z != 0 {
                self.lens = step.z;
                self.z += step.z;
            }
        }
    }

    /// Makes steps that move the same: in the segment at hand, or in new ones.
    #[inline(always)]
    fn go(&mut self, block: &Block, steps: u64, moves: Moves, each: &mut dyn FnMut(&Segment)) {
        let first = steps.trailing_zeros();
        let tick = block.from.tick + u64::from(first);
        let goes_on = match self.moves {
            // Standing so far: a short pause belongs to what follows it.
            Moves::Nothing => tick - self.start.moment.tick <= self.rest_after(moves),
            so_far => so_far == moves && tick - self.still_from.tick <= self.rest_after(so_far),
        };
        if !goes_on {
            self.split(block.moment(first), each);
        }
        self.moves = moves;
        // Within a block nothing stands, so that only the way can make them another segment's.
        let mut left = self.cone.take(&block.planes, steps);
        while left != 0 {
            left = self.bend(block, steps, left, each);
            self.moves = moves;
        }
        self.still_from.tick = block.from.tick + u64::from(behind(steps));
    }

    /// Goes on behind a turn, of those steps with what is left of them. Leaves what is behind the next turn.
    #[cold]
    fn bend(&mut self, block: &Block, steps: u64, left: u64, each: &mut dyn FnMut(&Segment)) -> u64 {
        let i = left.trailing_zeros();
        let made = steps & below(i);
        if made != 0 {
            self.still_from.tick = block.from.tick + u64::from(behind(made));
        }
        self.turn(block, i, each);
        let still_left = self.cone.take(&block.planes, left);
        if still_left != left {
            return still_left;
        }
        self.split(block.moment(i), each);
        self.cone.take(&block.planes, left)
    }

    /// Ends the segment where the way turned with that step of the block: at the place farthest from the line to where
    /// the step leads, which is one of the last few. Those behind it begin the next segment.
    fn turn(&mut self, block: &Block, i: u32, each: &mut dyn FnMut(&Segment)) {
        let mut recent = [Visit::default(); RECENT];
        let visits = self.visits(block, i, &mut recent);
        let recent = &recent[..visits];
        let (start, end, step) = (self.start.at, self.at(), block.planes.step(i));
        let to = (end.x + step.x - start.x, end.y + step.y - start.y);
        let off = |visit: &Visit| cross(to, (visit.at.x - start.x, visit.at.y - start.y)).abs();
        // The latest of those that are equally far.
        let Some(mut corner) = (0..visits).rev().max_by_key(|&i| off(&recent[i])) else { return };
        // The stairs of a slanted line are no corner: then it turns where it is.
        if off(&recent[corner]) as f64 <= STAIR * (to.0 as f64).hypot(to.1 as f64) {
            corner = 0;
        }
        let (moves, lens) = (self.moves, self.lens);
        // In a segment nothing stands, so that what ends here has no rest at its end.
        self.hand_over(recent[corner], each);
        self.begin(recent[corner]);
        if corner == 0 {
            return;
        }
        (self.moves, self.lens) = (moves, lens);
        for i in (0..corner).rev() {
            let (before, now) = (recent[i + 1], recent[i]);
            let (x, y) = (now.at.x - before.at.x, now.at.y - before.at.y);
            if !self.cone.include(x, y) {
                // More than one turn in so few steps: nobody's drawing, but it must be told right all the same.
                self.hand_over(before, each);
                self.begin(before);
                (self.moves, self.lens) = (moves, lens);
                let _ = self.cone.include(x, y);
            }
            self.z = now.at.z;
        }
    }

    /// Where the segment's last steps before that tick of the block led, the latest in front. Says how many there are.
    fn visits(&self, block: &Block, i: u32, visits: &mut [Visit; RECENT]) -> usize {
        let (mut at, mut found, mut until) = (self.at(), 0, block.from.tick + u64::from(i));
        for age in 1..=RECENT.min(self.next_past) {
            let past = &self.past[(self.next_past - age) % RECENT];
            let bits_from = |tick: u64| below(u32::try_from(tick.saturating_sub(past.from.tick)).unwrap_or(64));
            let mut steps = past.planes.steps() & bits_from(until) & !bits_from(self.start.moment.tick);
            while steps != 0 && found < RECENT {
                let i = steps.ilog2();
                steps ^= 1 << i;
                visits[found] = Visit { at, moment: past.moment(i + 1) };
                found += 1;
                let step = past.planes.step(i);
                at = Position { x: at.x - step.x, y: at.y - step.y, z: at.z - step.z };
            }
            until = past.from.tick;
        }
        found
    }

    fn rest_after(&self, moves: Moves) -> u64 {
        match moves {
            Moves::Lens => self.lens_rest_ticks,
            Moves::Nothing | Moves::Head | Moves::Both => self.rest_ticks,
        }
    }

    /// Ends the segment at hand, and begins one here.
    fn split(&mut self, moment: Moment, each: &mut dyn FnMut(&Segment)) {
        self.close(moment, each);
        self.begin(Visit { at: self.at(), moment });
    }

    fn begin(&mut self, start: Visit) {
        self.start = start;
        self.moves = Moves::Nothing;
        self.cone = Cone::default();
        self.z = start.at.z;
        self.lens = 0;
    }

    /// Hands over what there is up to that moment: where the head has stood for long, as two.
    fn close(&mut self, moment: Moment, each: &mut dyn FnMut(&Segment)) {
        let at = self.at();
        if self.moves != Moves::Nothing && moment.tick - self.still_from.tick > self.rest_after(self.moves) {
            let still = Visit { at, moment: self.still_from };
            self.hand_over(still, each);
            self.begin(still);
        }
        self.hand_over(Visit { at, moment }, each);
    }

    fn hand_over(&self, end: Visit, each: &mut dyn FnMut(&Segment)) {
        let (from, to) = (self.start.moment, end.moment);
        if to.tick > from.tick {
            each(&Segment {
                start_tick: from.tick,
                ticks: to.tick - from.tick,
                start: self.start.at,
                end: end.at,
                laser: self.laser,
                fire_ticks: to.fires - from.fires,
                power: self.power,
            });
        }
    }
}

/// The bits below that one; all of them for 64.
const fn below(i: u32) -> u64 {
    if i >= 64 { u64::MAX } else { (1 << i) - 1 }
}

/// The bit behind the last one.
const fn behind(bits: u64) -> u32 {
    64 - bits.leading_zeros()
}

/// Positive where the second direction is steeper than the first one.
const fn cross(from: (i64, i64), to: (i64, i64)) -> i64 {
    from.0 * to.1 - from.1 * to.0
}
