//! The segment being built: which steps still belong to it, and where it ends.

use super::bit_planes::{BLOCK_TICKS, BitPlanes, bits_below};
use super::detail::Detail;
use super::laser_gaps::LaserBlock;
use super::straight_line::StraightLine;
use super::{Position, Segment, tick};

/// How many steps before a corner is noticed it is searched for: a shallow one shows late.
const RECENT: usize = 8;
/// The greatest distance of a slanted line's stairs from that line in quarters of a microstep, with a margin.
const STAIR_QUARTERS: u64 = 5;
/// The work for the end of a segment, and for each of the last steps before a corner, as [`Detail`] counts it.
const END_WORK: u32 = 16;
const CORNER_WORK: u32 = 6;

/// What becomes of segments and blocks.
pub(super) trait Sink {
    /// Takes a block before it is divided into segments.
    fn block(&mut self, block: &LaserBlock, start: Waypoint);
    /// Takes a block of a dense stretch, in which segments are not measured.
    fn dense_block(&mut self, block: &DenseBlock<'_>);
    /// Takes a segment.
    fn segment(&mut self, segment: &Segment, is_dense: bool);
    /// Returns whether the segments of dense stretches are wanted. If not, each of these stretches is one segment, which
    /// is not straight.
    fn wants_dense_segments(&self) -> bool;
}

/// A block of a dense stretch.
pub(super) struct DenseBlock<'a> {
    pub(super) block: &'a LaserBlock,
    /// The ticks in which the laser is on.
    pub(super) laser: u64,
    /// The power bytes that count.
    pub(super) power_bytes: u64,
    /// The power before the block.
    pub(super) power: Option<u8>,
}

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
    detail: Detail,

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

/// One of the last steps before a corner.
#[derive(Debug, Clone, Copy, Default)]
struct Recent {
    /// Where it ends.
    end: Position,
    /// The index of its block in [`Segmenter::recent_blocks`].
    block: usize,
    /// Its tick in that block.
    tick: u32,
}

impl Segmenter {
    pub(super) fn new(rest_ticks: u64, lens_rest_ticks: u64, most_work: i64) -> Self {
        Self {
            rest_ticks,
            lens_rest_ticks,
            detail: Detail::new(most_work),
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

    /// Advances the time by blocks in which nothing happens, while [`can_skip`](Self::can_skip).
    pub(super) fn skip_idle(&mut self, blocks: u64) {
        self.detail.add_blocks(blocks);
        self.now.tick += blocks * BLOCK_TICKS as u64;
    }

    /// Returns whether idle blocks change nothing but the time.
    pub(super) fn can_skip(&mut self) -> bool {
        self.detail.spend(self.line.take_work());
        !self.laser && !self.detail.is_dense() && !self.detail.has_to_change()
    }

    /// Returns where the head is at the end of the last block.
    pub(super) fn now(&self) -> Waypoint {
        Waypoint { position: self.position(), moment: self.now }
    }

    /// Ends the body `padding` ticks before the end of the last block. Returns where the head is there.
    pub(super) fn finish<S: Sink>(mut self, padding: u64, sink: &mut S) -> Waypoint {
        self.now.tick -= padding;
        self.close(self.now, sink);
        self.now()
    }

    #[inline]
    pub(super) fn position(&self) -> Position {
        let (x, y) = self.line.displacement();
        Position { x: self.start.position.x + x, y: self.start.position.y + y, z: self.z }
    }

    /// Adds the next block.
    #[inline]
    pub(super) fn add_block<S: Sink>(&mut self, block: &LaserBlock, sink: &mut S) {
        sink.block(block, self.now());
        let LaserBlock { planes, ticks, .. } = block;
        let laser = block.laser | block.power_before_fire;
        // Of power bytes in a row, only the first counts.
        let first_power = planes.power & !(planes.power << 1 | u64::from(self.ends_with_power));
        self.ends_with_power = planes.power >> (BLOCK_TICKS - 1) != 0;
        self.detail.spend(self.line.take_work());
        self.detail.add_blocks(1);
        if self.detail.has_to_change() {
            self.split(self.now, sink);
            self.detail.change();
        }
        if self.detail.is_dense() {
            sink.dense_block(&DenseBlock { block, laser, power_bytes: first_power, power: self.power });
            if !sink.wants_dense_segments() {
                self.pass(block, laser, first_power);
                return;
            }
        }
        self.add_in_detail(planes, ticks, laser, first_power, sink);
    }

    /// Adds a block without dividing it.
    fn pass(&mut self, LaserBlock { planes, ticks, .. }: &LaserBlock, laser: u64, first_power: u64) {
        let (by, at) = (planes.displacement(u64::MAX), &mut self.start.position);
        *at = Position { x: at.x + by.x, y: at.y + by.y, z: at.z + by.z };
        self.z = at.z;
        self.laser = laser >> (BLOCK_TICKS - 1) != 0;
        if first_power != 0 {
            self.power = Some(ticks[first_power.ilog2() as usize] & tick::LEVEL);
        }
        self.end_block(planes);
    }

    fn end_block(&mut self, planes: &BitPlanes) {
        self.now.fire_ticks += u64::from(planes.fire.count_ones());
        self.now.tick += BLOCK_TICKS as u64;
    }

    #[inline]
    fn add_in_detail<S: Sink>(
        &mut self,
        planes: &BitPlanes,
        ticks: &[u8; BLOCK_TICKS],
        laser: u64,
        first_power: u64,
        sink: &mut S,
    ) {
        let steps = planes.steps();
        if steps != 0 {
            let recent = &mut self.recent_blocks[self.blocks_with_steps % RECENT];
            (recent.start, recent.planes) = (self.now, *planes);
            self.blocks_with_steps += 1;
        }
        let switches = laser ^ (laser << 1 | u64::from(self.laser));
        let mut changes = switches | first_power;
        let mut from = 0;
        while changes != 0 {
            let i = changes.trailing_zeros();
            changes &= changes - 1;
            let power = if first_power & (1 << i) == 0 { self.power } else { Some(ticks[i as usize] & tick::LEVEL) };
            if switches & (1 << i) == 0 && power == self.power {
                continue;
            }
            let until_change = steps & !bits_below(from) & bits_below(i);
            if until_change != 0 {
                self.add_steps(planes, until_change, sink);
            }
            self.split(self.moment(planes, i), sink);
            self.laser = laser & (1 << i) != 0;
            self.power = power;
            from = i;
        }
        let until_end = steps & !bits_below(from);
        if until_end != 0 {
            self.add_steps(planes, until_end, sink);
        }
        if steps != 0 {
            self.last_step_end = self.moment(planes, last_bit_end(steps));
        }
        self.end_block(planes);
    }

    /// Adds steps of a block; there is at least one.
    #[inline]
    fn add_steps<S: Sink>(&mut self, planes: &BitPlanes, steps: u64, sink: &mut S) {
        if planes.z_step & steps == 0 {
            self.extend(planes, steps, Motion::Head, 0, sink);
        } else {
            self.add_steps_with_lens(planes, steps, sink);
        }
    }

    #[inline(never)]
    fn add_steps_with_lens<S: Sink>(&mut self, planes: &BitPlanes, mut steps: u64, sink: &mut S) {
        let BitPlanes { x_step, y_step, z_step, z_positive, .. } = *planes;
        let head = x_step | y_step;
        while steps != 0 {
            let first = steps & steps.wrapping_neg();
            // The steps of one motion, with the lens in one direction.
            let (with_head, with_lens) = (head & first != 0, z_step & first != 0);
            let same = |plane: u64, is_set: bool| if is_set { plane } else { !plane };
            let mut others = !(same(head, with_head) & same(z_step, with_lens));
            let (mut motion, mut lens_direction) = (Motion::Head, 0);
            if with_lens {
                motion = if with_head { Motion::Both } else { Motion::Lens };
                let is_positive = z_positive & first != 0;
                lens_direction = if is_positive { 1 } else { -1 };
                others |= !same(z_positive, is_positive);
            }
            let others = steps & others;
            let run = steps & (others ^ others.wrapping_sub(1)) & !others;
            steps ^= run;
            if lens_direction != 0 && self.lens_direction == -lens_direction {
                self.split(self.moment(planes, first.trailing_zeros()), sink);
            }
            self.extend(planes, run, motion, lens_direction, sink);
        }
    }

    /// Adds steps of one kind of motion, to the current segment or to new ones.
    #[inline]
    fn extend<S: Sink>(&mut self, planes: &BitPlanes, steps: u64, motion: Motion, lens_direction: i64, sink: &mut S) {
        let first = steps.trailing_zeros();
        let tick = self.now.tick + u64::from(first);
        let continues = match self.motion {
            // At rest so far: a short pause belongs to the segment after it.
            Motion::None => tick - self.start.moment.tick <= self.rest_after(motion),
            current => current == motion && tick - self.last_step_end.tick <= self.rest_after(current),
        };
        if !continues {
            self.split(self.moment(planes, first), sink);
        }
        (self.motion, self.lens_direction) = (motion, lens_direction);
        // No pause within a block is a rest, so only a corner can end the segment here.
        let mut left = self.extend_line(planes, steps);
        while left != 0 {
            left = self.extend_past_corner(planes, steps, left, sink);
        }
        self.last_step_end.tick = self.now.tick + u64::from(last_bit_end(steps));
    }

    /// Extends the line, and moves the lens with it. Returns the steps that are left.
    #[inline]
    fn extend_line(&mut self, planes: &BitPlanes, steps: u64) -> u64 {
        let left = self.line.extend(planes, steps);
        if self.lens_direction != 0 {
            self.z += self.lens_direction * i64::from((planes.z_step & steps & !left).count_ones());
        }
        left
    }

    /// Ends the segment before the first of the `left` steps and continues with them. Returns those after the next
    /// corner.
    fn extend_past_corner<S: Sink>(&mut self, planes: &BitPlanes, steps: u64, left: u64, sink: &mut S) -> u64 {
        let i = left.trailing_zeros();
        let added = steps & bits_below(i);
        if added != 0 {
            self.last_step_end.tick = self.now.tick + u64::from(last_bit_end(added));
        }
        let (motion, lens_direction) = (self.motion, self.lens_direction);
        self.split_at_corner(planes, i, sink);
        (self.motion, self.lens_direction) = (motion, lens_direction);
        let still_left = self.extend_line(planes, left);
        if still_left != left {
            return still_left;
        }
        self.split(self.moment(planes, i), sink);
        (self.motion, self.lens_direction) = (motion, lens_direction);
        self.extend_line(planes, left)
    }

    /// Ends the segment at the corner that step `i` of the block reveals: of the last few waypoints, the one farthest
    /// from the line to where the step leads. Steps after the corner start the next segment.
    fn split_at_corner<S: Sink>(&mut self, planes: &BitPlanes, i: u32, sink: &mut S) {
        let mut recent = [Recent::default(); RECENT];
        let found = self.recent_steps(i, &mut recent);
        let recent = &recent[..found];
        self.detail.spend(CORNER_WORK * u32::try_from(found).unwrap_or_default());
        let (start, end, step) = (self.start.position, self.position(), planes.step(i));
        let target = (end.x + step.x - start.x, end.y + step.y - start.y);
        let distance = |step: &Recent| cross(target, (step.end.x - start.x, step.end.y - start.y)).unsigned_abs();
        // Of equally distant ones, the latest.
        let (mut corner, mut farthest) = (0, 0);
        for (i, step) in recent.iter().enumerate() {
            let distance = distance(step);
            if distance > farthest {
                (corner, farthest) = (i, distance);
            }
        }
        // The stairs of a slanted line are no corner: end where the head is.
        if corner > 0 {
            let square = |value: u64| u128::from(value) * u128::from(value);
            let length = square(target.0.unsigned_abs()) + square(target.1.unsigned_abs());
            if square(4 * farthest) <= square(STAIR_QUARTERS) * length {
                corner = 0;
            }
        }
        let Some(&last) = recent.get(corner) else { return };
        let z = self.z;
        // The segment has no rest at its end, so `close` is not needed.
        let end = self.waypoint(&last);
        self.emit(end, sink);
        self.begin(end);
        for i in (0..corner).rev() {
            let (previous, current) = (recent[i + 1].end, recent[i].end);
            if !self.line.push(current.x - previous.x, current.y - previous.y) {
                // A second corner within a few steps: unlikely in a drawing, but possible in any bytes.
                let end = self.waypoint(&recent[i + 1]);
                self.emit(end, sink);
                self.begin(end);
                let _ = self.line.push(current.x - previous.x, current.y - previous.y);
            }
        }
        self.z = z;
    }

    /// Returns the moment before tick `i` of the block being added.
    #[inline]
    fn moment(&self, planes: &BitPlanes, i: u32) -> Moment {
        moment(self.now, planes, i)
    }

    /// Collects the segment's last steps before tick `i` of the block, the latest first. Returns their number.
    fn recent_steps(&self, i: u32, steps: &mut [Recent; RECENT]) -> usize {
        let (mut end, mut found, mut until) = (self.position(), 0, self.now.tick + u64::from(i));
        for age in 1..=RECENT.min(self.blocks_with_steps) {
            let index = (self.blocks_with_steps - age) % RECENT;
            let past = &self.recent_blocks[index];
            let bits_before = |tick: u64| bits_below(u32::try_from(tick.saturating_sub(past.start.tick)).unwrap_or(64));
            let mut left = past.planes.steps() & bits_before(until) & !bits_before(self.start.moment.tick);
            while left != 0 {
                let i = left.ilog2();
                left ^= 1 << i;
                steps[found] = Recent { end, block: index, tick: i };
                found += 1;
                if found == RECENT {
                    return found;
                }
                let step = past.planes.step(i);
                end = Position { x: end.x - step.x, y: end.y - step.y, z: end.z - step.z };
            }
            until = past.start.tick;
            if until <= self.start.moment.tick {
                break;
            }
        }
        found
    }

    /// Returns where a step ends.
    fn waypoint(&self, step: &Recent) -> Waypoint {
        let Block { start, planes } = &self.recent_blocks[step.block];
        Waypoint { position: step.end, moment: moment(*start, planes, step.tick + 1) }
    }

    /// Returns how many ticks without a step make a rest.
    fn rest_after(&self, motion: Motion) -> u64 {
        match motion {
            Motion::Lens => self.lens_rest_ticks,
            Motion::None | Motion::Head | Motion::Both => self.rest_ticks,
        }
    }

    /// Ends the current segment and begins another.
    #[inline]
    fn split<S: Sink>(&mut self, moment: Moment, sink: &mut S) {
        self.close(moment, sink);
        self.begin(Waypoint { position: self.position(), moment });
    }

    #[inline]
    fn begin(&mut self, start: Waypoint) {
        self.detail.spend(END_WORK + self.line.take_work());
        self.start = start;
        self.motion = Motion::None;
        self.line = StraightLine::default();
        self.z = start.position.z;
        self.lens_direction = 0;
    }

    /// Emits the current segment up to a moment, as two if it ends with a rest.
    #[inline]
    fn close<S: Sink>(&mut self, moment: Moment, sink: &mut S) {
        if self.motion != Motion::None && moment.tick - self.last_step_end.tick > self.rest_after(self.motion) {
            self.end_motion(sink);
        }
        self.emit(Waypoint { position: self.position(), moment }, sink);
    }

    /// Ends the current segment at its last step.
    #[cold]
    fn end_motion<S: Sink>(&mut self, sink: &mut S) {
        let rest_start = Waypoint { position: self.position(), moment: self.last_step_end };
        self.emit(rest_start, sink);
        self.begin(rest_start);
    }

    #[expect(clippy::inline_always, reason = "values that pass through memory take three times as long")]
    #[inline(always)]
    fn emit<S: Sink>(&self, end: Waypoint, sink: &mut S) {
        let (from, to) = (self.start.moment, end.moment);
        if to.tick > from.tick {
            let segment = Segment {
                start_tick: from.tick,
                ticks: to.tick - from.tick,
                start: self.start.position,
                end: end.position,
                laser: self.laser,
                fire_ticks: to.fire_ticks - from.fire_ticks,
                power: self.power,
            };
            sink.segment(&segment, self.detail.is_dense());
        }
    }
}

/// Returns the moment before tick `i` of a block.
#[inline]
fn moment(start: Moment, planes: &BitPlanes, i: u32) -> Moment {
    let fire_ticks = (planes.fire & bits_below(i)).count_ones();
    Moment { tick: start.tick + u64::from(i), fire_ticks: start.fire_ticks + u64::from(fire_ticks) }
}

/// Returns the index after the highest set bit.
const fn last_bit_end(bits: u64) -> u32 {
    64 - bits.leading_zeros()
}

/// Returns the cross product, positive if the second vector is steeper.
const fn cross(from: (i64, i64), to: (i64, i64)) -> i64 {
    from.0 * to.1 - from.1 * to.0
}
