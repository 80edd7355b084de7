//! The segment being built: which steps still belong to it, and where it ends.

use super::bit_planes::{BLOCK_TICKS, BitPlanes, bits_below};
use super::straight_line::StraightLine;
use super::{Position, Segment, tick};

/// How many steps before a corner is noticed it is searched for: a shallow one shows late.
const RECENT: usize = 8;
/// The greatest distance of a slanted line's stairs from that line in microsteps, with a margin.
const STAIR: f64 = 1.25;

/// What moves in a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Motion {
    None,
    Head,
    Lens,
    Both,
}

/// Builds [`Segment`]s from blocks of ticks.
#[derive(Debug, Clone)]
pub(super) struct Segmenter {
    rest_ticks: u64,
    lens_rest_ticks: u64,

    /// The end of the last block, which is the start of the block being added.
    now: Moment,
    laser: bool,
    power: Option<u8>,
    /// Whether the last tick of the last block is a power byte.
    ends_with_power: bool,
    /// A ring buffer of the last blocks with steps, including the one being added.
    recent_blocks: [Block; RECENT],
    blocks_with_steps: usize,

    start: Waypoint,
    motion: Motion,
    line: StraightLine,
    z: i64,
    /// 1 or -1, 0 before the lens has moved.
    lens_direction: i64,
    /// The end of the last step. Its fire count is only valid at the end of a block.
    last_step_end: Moment,
}

/// A boundary between two ticks: how many ticks, and how many firing ticks, are before it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Moment {
    pub(super) tick: u64,
    pub(super) fire_ticks: u64,
}

/// Where the head is at a moment.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Waypoint {
    pub(super) position: Position,
    pub(super) moment: Moment,
}

#[derive(Debug, Clone, Copy, Default)]
struct Block {
    start: Moment,
    planes: BitPlanes,
}

impl Block {
    /// Returns the moment before tick `i`.
    #[inline]
    fn moment(&self, i: u32) -> Moment {
        let fire_ticks = (self.planes.fire & bits_below(i)).count_ones();
        Moment { tick: self.start.tick + u64::from(i), fire_ticks: self.start.fire_ticks + u64::from(fire_ticks) }
    }
}

impl Segmenter {
    pub(super) fn new(rest_ticks: u64, lens_rest_ticks: u64) -> Self {
        Self {
            rest_ticks,
            lens_rest_ticks,
            now: Moment::default(),
            laser: false,
            power: None,
            ends_with_power: false,
            recent_blocks: [Block::default(); RECENT],
            blocks_with_steps: 0,
            start: Waypoint::default(),
            motion: Motion::None,
            line: StraightLine::default(),
            z: 0,
            lens_direction: 0,
            last_step_end: Moment::default(),
        }
    }

    /// Advances the time by ticks in which nothing happens and the laser is off.
    pub(super) fn skip_idle(&mut self, ticks: u64) {
        self.now.tick += ticks;
    }

    /// Returns whether the laser was on at the end of the last block.
    pub(super) fn laser(&self) -> bool {
        self.laser
    }

    /// Returns where the head is at the end of the last block.
    pub(super) fn now(&self) -> Waypoint {
        Waypoint { position: self.position(), moment: self.now }
    }

    /// Ends the body `padding` ticks before the end of the last block. Returns where the head is there.
    pub(super) fn finish(mut self, padding: u64, on_segment: &mut dyn FnMut(&Segment)) -> Waypoint {
        self.now.tick -= padding;
        self.close(self.now, on_segment);
        self.now()
    }

    #[inline]
    pub(super) fn position(&self) -> Position {
        let (x, y) = self.line.displacement();
        Position { x: self.start.position.x + x, y: self.start.position.y + y, z: self.z }
    }

    /// Adds the next block. `laser` has the ticks in which the laser is on.
    #[inline]
    pub(super) fn add_block(
        &mut self,
        planes: &BitPlanes,
        ticks: &[u8; BLOCK_TICKS],
        laser: u64,
        on_segment: &mut dyn FnMut(&Segment),
    ) {
        let block = Block { start: self.now, planes: *planes };
        let steps = planes.steps();
        if steps != 0 {
            self.recent_blocks[self.blocks_with_steps % RECENT] = block;
            self.blocks_with_steps += 1;
        }
        let switches = laser ^ (laser << 1 | u64::from(self.laser));
        // Of power bytes in a row, only the first counts.
        let first_power = planes.power & !(planes.power << 1 | u64::from(self.ends_with_power));
        self.ends_with_power = planes.power >> (BLOCK_TICKS - 1) != 0;
        let mut changes = switches | first_power;
        let mut from = 0;
        loop {
            let i = changes.trailing_zeros();
            let until_change = steps & !bits_below(from) & bits_below(i);
            if until_change != 0 {
                self.add_steps(&block, until_change, on_segment);
            }
            if changes == 0 {
                break;
            }
            changes &= changes - 1;
            from = i;
            let power = if first_power & (1 << i) == 0 { self.power } else { Some(ticks[i as usize] & tick::LEVEL) };
            if switches & (1 << i) != 0 || power != self.power {
                self.split(block.moment(i), on_segment);
                self.laser = laser & (1 << i) != 0;
                self.power = power;
            }
        }
        if steps != 0 {
            self.last_step_end = block.moment(last_bit_end(steps));
        }
        self.now.fire_ticks += u64::from(planes.fire.count_ones());
        self.now.tick += BLOCK_TICKS as u64;
    }

    /// Adds steps of a block; there is at least one.
    #[inline]
    fn add_steps(&mut self, block: &Block, steps: u64, on_segment: &mut dyn FnMut(&Segment)) {
        if block.planes.z_step & steps == 0 {
            self.extend(block, steps, Motion::Head, on_segment);
        } else {
            self.add_steps_with_lens(block, steps, on_segment);
        }
    }

    #[cold]
    fn add_steps_with_lens(&mut self, block: &Block, mut steps: u64, on_segment: &mut dyn FnMut(&Segment)) {
        while steps != 0 {
            let i = steps.trailing_zeros();
            steps &= steps - 1;
            let step = block.planes.step(i);
            let motion = match ((step.x, step.y) != (0, 0), step.z != 0) {
                (true, true) => Motion::Both,
                (true, false) => Motion::Head,
                (false, _) => Motion::Lens,
            };
            if step.z != 0 && self.lens_direction == -step.z {
                self.split(block.moment(i), on_segment);
            }
            self.extend(block, 1 << i, motion, on_segment);
            if step.z != 0 {
                self.lens_direction = step.z;
                self.z += step.z;
            }
        }
    }

    /// Adds steps of one kind of motion, to the current segment or to new ones.
    #[inline]
    fn extend(&mut self, block: &Block, steps: u64, motion: Motion, on_segment: &mut dyn FnMut(&Segment)) {
        let first = steps.trailing_zeros();
        let tick = block.start.tick + u64::from(first);
        let continues = match self.motion {
            // At rest so far: a short pause belongs to the segment after it.
            Motion::None => tick - self.start.moment.tick <= self.rest_after(motion),
            current => current == motion && tick - self.last_step_end.tick <= self.rest_after(current),
        };
        if !continues {
            self.split(block.moment(first), on_segment);
        }
        self.motion = motion;
        // No pause within a block is a rest, so only a corner can end the segment here.
        let mut left = self.line.extend(&block.planes, steps);
        while left != 0 {
            left = self.extend_past_corner(block, steps, left, on_segment);
            self.motion = motion;
        }
        self.last_step_end.tick = block.start.tick + u64::from(last_bit_end(steps));
    }

    /// Ends the segment before the first of the `left` steps and continues with them. Returns those after the next
    /// corner.
    #[cold]
    fn extend_past_corner(
        &mut self,
        block: &Block,
        steps: u64,
        left: u64,
        on_segment: &mut dyn FnMut(&Segment),
    ) -> u64 {
        let i = left.trailing_zeros();
        let added = steps & bits_below(i);
        if added != 0 {
            self.last_step_end.tick = block.start.tick + u64::from(last_bit_end(added));
        }
        self.split_at_corner(block, i, on_segment);
        let still_left = self.line.extend(&block.planes, left);
        if still_left != left {
            return still_left;
        }
        self.split(block.moment(i), on_segment);
        self.line.extend(&block.planes, left)
    }

    /// Ends the segment at the corner that step `i` of the block reveals: of the last few waypoints, the one farthest
    /// from the line to where the step leads. Steps after the corner start the next segment.
    fn split_at_corner(&mut self, block: &Block, i: u32, on_segment: &mut dyn FnMut(&Segment)) {
        let mut recent = [Waypoint::default(); RECENT];
        let found = self.recent_waypoints(block, i, &mut recent);
        let recent = &recent[..found];
        let (start, end, step) = (self.start.position, self.position(), block.planes.step(i));
        let target = (end.x + step.x - start.x, end.y + step.y - start.y);
        let distance =
            |waypoint: &Waypoint| cross(target, (waypoint.position.x - start.x, waypoint.position.y - start.y)).abs();
        // Of equally distant ones, the latest.
        let Some(mut corner) = (0..found).rev().max_by_key(|&i| distance(&recent[i])) else { return };
        // The stairs of a slanted line are no corner: end where the head is.
        if distance(&recent[corner]) as f64 <= STAIR * (target.0 as f64).hypot(target.1 as f64) {
            corner = 0;
        }
        let (motion, lens_direction) = (self.motion, self.lens_direction);
        // The segment has no rest at its end, so `close` is not needed.
        self.emit(recent[corner], on_segment);
        self.begin(recent[corner]);
        if corner == 0 {
            return;
        }
        (self.motion, self.lens_direction) = (motion, lens_direction);
        for i in (0..corner).rev() {
            let (previous, current) = (recent[i + 1], recent[i]);
            let (x, y) = (current.position.x - previous.position.x, current.position.y - previous.position.y);
            if !self.line.push(x, y) {
                // A second corner within a few steps: unlikely in a drawing, but possible in any bytes.
                self.emit(previous, on_segment);
                self.begin(previous);
                (self.motion, self.lens_direction) = (motion, lens_direction);
                let _ = self.line.push(x, y);
            }
            self.z = current.position.z;
        }
    }

    /// Collects the ends of the segment's last steps before tick `i` of the block, the latest first. Returns their
    /// number.
    fn recent_waypoints(&self, block: &Block, i: u32, waypoints: &mut [Waypoint; RECENT]) -> usize {
        let (mut position, mut found, mut until) = (self.position(), 0, block.start.tick + u64::from(i));
        for age in 1..=RECENT.min(self.blocks_with_steps) {
            let past = &self.recent_blocks[(self.blocks_with_steps - age) % RECENT];
            let bits_before = |tick: u64| bits_below(u32::try_from(tick.saturating_sub(past.start.tick)).unwrap_or(64));
            let mut steps = past.planes.steps() & bits_before(until) & !bits_before(self.start.moment.tick);
            while steps != 0 && found < RECENT {
                let i = steps.ilog2();
                steps ^= 1 << i;
                waypoints[found] = Waypoint { position, moment: past.moment(i + 1) };
                found += 1;
                let step = past.planes.step(i);
                position = Position { x: position.x - step.x, y: position.y - step.y, z: position.z - step.z };
            }
            until = past.start.tick;
        }
        found
    }

    /// Returns how many ticks without a step make a rest.
    fn rest_after(&self, motion: Motion) -> u64 {
        match motion {
            Motion::Lens => self.lens_rest_ticks,
            Motion::None | Motion::Head | Motion::Both => self.rest_ticks,
        }
    }

    /// Ends the current segment and begins another.
    fn split(&mut self, moment: Moment, on_segment: &mut dyn FnMut(&Segment)) {
        self.close(moment, on_segment);
        self.begin(Waypoint { position: self.position(), moment });
    }

    fn begin(&mut self, start: Waypoint) {
        self.start = start;
        self.motion = Motion::None;
        self.line = StraightLine::default();
        self.z = start.position.z;
        self.lens_direction = 0;
    }

    /// Emits the current segment up to a moment, as two if it ends with a rest.
    fn close(&mut self, moment: Moment, on_segment: &mut dyn FnMut(&Segment)) {
        let position = self.position();
        if self.motion != Motion::None && moment.tick - self.last_step_end.tick > self.rest_after(self.motion) {
            let rest_start = Waypoint { position, moment: self.last_step_end };
            self.emit(rest_start, on_segment);
            self.begin(rest_start);
        }
        self.emit(Waypoint { position, moment }, on_segment);
    }

    fn emit(&self, end: Waypoint, on_segment: &mut dyn FnMut(&Segment)) {
        let (from, to) = (self.start.moment, end.moment);
        if to.tick > from.tick {
            on_segment(&Segment {
                start_tick: from.tick,
                ticks: to.tick - from.tick,
                start: self.start.position,
                end: end.position,
                laser: self.laser,
                fire_ticks: to.fire_ticks - from.fire_ticks,
                power: self.power,
            });
        }
    }
}

/// Returns the index after the highest set bit.
const fn last_bit_end(bits: u64) -> u32 {
    64 - bits.leading_zeros()
}

/// Returns the cross product, positive if the second vector is steeper.
const fn cross(from: (i64, i64), to: (i64, i64)) -> i64 {
    from.0 * to.1 - from.1 * to.0
}
