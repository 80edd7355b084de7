//! From ticks to segments.
//!
//! Ticks are processed in blocks of 64, as bit planes. A block stays pending until the next one has arrived, because
//! whether the laser is on in its last ticks depends on when it fires next; `laser_gaps` keeps it longer if need be. Runs
//! of idle blocks are skipped.

use super::bit_planes::{BLOCK_TICKS, BitPlanes};
use super::laser_gaps::{LaserBlock, LaserGaps, SHORT_GAP_TICKS};
use super::sampler::Sampler;
use super::segmenter::{Segmenter, Waypoint};
use super::{Header, Segment};

/// The head is at rest after 1/20 s without a step. Slow starts of the machine's own jobs have gaps of up to 35 ms.
const RESTS_PER_SECOND: u64 = 20;
/// The lens, which makes as few as 8 steps per second in the machine's own hunts, is at rest after 1/4 s.
const LENS_RESTS_PER_SECOND: u64 = 4;

/// Splits a body into [`Segment`]s. Takes it in pieces of any size.
///
/// ```
/// use gf_emulator_core::puls::{Builder, Segment, Tracer};
///
/// let mut job = Builder::new();
/// job.move_to(10.0, 0.0)?.cut_to(10.0, 5.0, 50.0, 3.0 / 7.0)?;
///
/// let mut tracer = Tracer::new(job.header());
/// let mut cuts = Vec::new();
/// let mut collect = |segment: &Segment| if segment.laser { cuts.push(*segment) };
/// tracer.add(job.body(), &mut collect);
/// tracer.finish(&mut collect);
/// assert_eq!(cuts.len(), 1);
/// assert_eq!((cuts[0].end.x, cuts[0].end.y), (533, 267));
/// # Ok::<(), gf_emulator_core::puls::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Tracer {
    /// Ticks that do not fill a block yet.
    partial: [u8; BLOCK_TICKS],
    partial_ticks: usize,
    pending: Option<PendingBlock>,
    gaps: LaserGaps,
    segmenter: Segmenter,
}

/// A block that waits for the next one.
#[derive(Debug, Clone)]
struct PendingBlock {
    planes: BitPlanes,
    /// Has the levels of power bytes.
    ticks: [u8; BLOCK_TICKS],
    /// The firing ticks and the gap after each of them.
    fire_and_gaps: u64,
}

impl Tracer {
    /// Creates a tracer for a body with that header. Rests depend on its step frequency (10 kHz if it has none).
    #[must_use]
    pub fn new(header: &Header) -> Self {
        let hz = u64::from(header.assumed_hz());
        // Never within a block, so that blocks can be processed as a whole.
        let rest = |per_second: u64| (hz / per_second).max(BLOCK_TICKS as u64);
        Self {
            partial: [0; BLOCK_TICKS],
            partial_ticks: 0,
            pending: None,
            gaps: LaserGaps::default(),
            segmenter: Segmenter::new(rest(RESTS_PER_SECOND), rest(LENS_RESTS_PER_SECOND)),
        }
    }

    /// Adds ticks. Calls `on_segment` for every segment that they complete.
    pub fn add(&mut self, ticks: &[u8], on_segment: &mut dyn FnMut(&Segment)) {
        self.add_sampled(ticks, None, on_segment);
    }

    /// Adds ticks to a sampler as well.
    pub(super) fn add_sampled<F: FnMut(&Segment) + ?Sized>(
        &mut self,
        mut ticks: &[u8],
        mut sampler: Option<&mut Sampler>,
        on_segment: &mut F,
    ) {
        if self.partial_ticks > 0 {
            let taken = ticks.len().min(BLOCK_TICKS - self.partial_ticks);
            let (head, tail) = ticks.split_at(taken);
            self.partial[self.partial_ticks..][..taken].copy_from_slice(head);
            self.partial_ticks += taken;
            ticks = tail;
            if self.partial_ticks < BLOCK_TICKS {
                return;
            }
            self.partial_ticks = 0;
            self.add_blocks(&[self.partial], sampler.as_deref_mut(), on_segment);
        }
        let (blocks, rest) = ticks.as_chunks();
        self.add_blocks(blocks, sampler, on_segment);
        self.partial[..rest.len()].copy_from_slice(rest);
        self.partial_ticks = rest.len();
    }

    /// Ends the body. Calls `on_segment` for the segments that are left; together, all segments cover every tick.
    pub fn finish(self, on_segment: &mut dyn FnMut(&Segment)) {
        self.finish_sampled(None, on_segment);
    }

    /// Ends the body. Returns where it ends.
    pub(super) fn finish_sampled<F: FnMut(&Segment) + ?Sized>(
        mut self,
        mut sampler: Option<&mut Sampler>,
        on_segment: &mut F,
    ) -> Waypoint {
        let mut padding = 0;
        if self.partial_ticks > 0 {
            self.partial[self.partial_ticks..].fill(0);
            padding = (BLOCK_TICKS - self.partial_ticks) as u64;
            self.add_blocks(&[self.partial], sampler.as_deref_mut(), on_segment);
        }
        // Completes the pending block: the laser is off after the last tick.
        self.add_blocks(&[[0; BLOCK_TICKS]], sampler.as_deref_mut(), on_segment);
        self.gaps.finish();
        self.add_decided(sampler, on_segment);
        self.segmenter.finish(padding, on_segment)
    }

    fn add_blocks<F: FnMut(&Segment) + ?Sized>(
        &mut self,
        blocks: &[[u8; BLOCK_TICKS]],
        mut sampler: Option<&mut Sampler>,
        on_segment: &mut F,
    ) {
        let mut blocks = blocks.iter();
        while let Some(block) = blocks.next() {
            self.add_block(block, sampler.as_deref_mut(), on_segment);
            if self.is_idle() {
                // Most of a hunt.
                let idle = blocks.as_slice().iter().take_while(|block| is_idle(block)).count();
                let ticks = idle as u64 * BLOCK_TICKS as u64;
                self.gaps.skip(ticks);
                self.segmenter.skip_idle(ticks);
                blocks = blocks.as_slice()[idle..].iter();
            }
        }
    }

    /// Returns whether further idle blocks change nothing but the time.
    fn is_idle(&self) -> bool {
        !self.segmenter.laser()
            && self.gaps.is_idle()
            && self
                .pending
                .as_ref()
                .is_some_and(|pending| pending.planes == BitPlanes::default() && pending.fire_and_gaps == 0)
    }

    /// Adds a block, which completes the pending one.
    #[inline]
    fn add_block<F: FnMut(&Segment) + ?Sized>(
        &mut self,
        ticks: &[u8; BLOCK_TICKS],
        sampler: Option<&mut Sampler>,
        on_segment: &mut F,
    ) {
        let planes = BitPlanes::of(ticks);
        let last_fire = self.pending.as_ref().map_or(0, |pending| pending.planes.fire);
        let (next_fire, fire_and_gaps) = (planes.fire, high(extend_up(join(last_fire, planes.fire))));
        let last = self.pending.replace(PendingBlock { planes, ticks: *ticks, fire_and_gaps });
        let Some(PendingBlock { planes, ticks, fire_and_gaps: lit }) = last else { return };
        // Off is what no gap covers, and the gap before it, which no firing tick ends.
        let off = !join(lit, fire_and_gaps);
        let laser = !low(extend_down(off));
        let power_before_fire = planes.power & (planes.fire >> 1 | next_fire << (BLOCK_TICKS - 1));
        let block = LaserBlock { planes, ticks, laser, power_before_fire };
        if self.gaps.add(&block) {
            self.add_lit(&block, sampler, on_segment);
        } else {
            self.add_decided(sampler, on_segment);
        }
    }

    /// Adds the blocks that have waited and are decided.
    fn add_decided<F: FnMut(&Segment) + ?Sized>(&mut self, mut sampler: Option<&mut Sampler>, on_segment: &mut F) {
        while let Some(block) = self.gaps.pop() {
            self.add_lit(&block, sampler.as_deref_mut(), on_segment);
        }
    }

    #[inline]
    fn add_lit<F: FnMut(&Segment) + ?Sized>(
        &mut self,
        block: &LaserBlock,
        sampler: Option<&mut Sampler>,
        on_segment: &mut F,
    ) {
        if let Some(sampler) = sampler {
            sampler.add_block(&block.planes, &self.segmenter);
        }
        self.segmenter.add_block(&block.planes, &block.ticks, block.laser | block.power_before_fire, on_segment);
    }
}

fn is_idle(block: &[u8; BLOCK_TICKS]) -> bool {
    block.iter().fold(0, |bits, byte| bits | byte) == 0
}

/// Joins two blocks, the first one in the low bits.
const fn join(first: u64, second: u64) -> u128 {
    first as u128 | (second as u128) << 64
}

#[expect(clippy::cast_possible_truncation, reason = "the low half is wanted")]
const fn low(blocks: u128) -> u64 {
    blocks as u64
}

const fn high(blocks: u128) -> u64 {
    low(blocks >> 64)
}

/// Sets the [`SHORT_GAP_TICKS`] bits above every set bit.
const fn extend_up(mut bits: u128) -> u128 {
    bits |= bits << 1;
    bits |= bits << 2;
    bits |= bits << 4;
    bits | bits << (SHORT_GAP_TICKS - 7)
}

/// Sets the [`SHORT_GAP_TICKS`] bits below every set bit.
const fn extend_down(mut bits: u128) -> u128 {
    bits |= bits >> 1;
    bits |= bits >> 2;
    bits |= bits >> 4;
    bits | bits >> (SHORT_GAP_TICKS - 7)
}
