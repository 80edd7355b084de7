//! From ticks to segments.
//!
//! Ticks are processed in blocks of 64, as bit planes. A block stays pending until the next one has arrived, because
//! whether the laser is on in its last ticks depends on when it fires next; `laser_gaps` keeps it longer if need be. Runs
//! of idle blocks are skipped.

use super::bit_planes::BLOCK_TICKS;
use super::laser_gaps::{LaserBlock, LaserGaps};
use super::segmenter::{DenseBlock, Segmenter, Sink, Waypoint};
use super::{Header, Segment, detail};

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
    gaps: LaserGaps,
    segmenter: Segmenter,
}

impl Tracer {
    /// Creates a tracer for a body with that header. Rests depend on its step frequency (10 kHz if it has none).
    #[must_use]
    pub fn new(header: &Header) -> Self {
        Self::with_work(header, detail::MOST)
    }

    /// Creates a tracer that may save up another amount of work, as [`detail`] counts it.
    pub(super) fn with_work(header: &Header, most_work: i64) -> Self {
        let hz = u64::from(header.assumed_hz());
        // Never within a block, so that blocks can be processed as a whole.
        let rest = |per_second: u64| (hz / per_second).max(BLOCK_TICKS as u64);
        Self {
            partial: [0; BLOCK_TICKS],
            partial_ticks: 0,
            gaps: LaserGaps::default(),
            segmenter: Segmenter::new(rest(RESTS_PER_SECOND), rest(LENS_RESTS_PER_SECOND), most_work),
        }
    }

    /// Adds ticks. Calls `on_segment` for every segment that they complete.
    pub fn add(&mut self, ticks: &[u8], on_segment: &mut dyn FnMut(&Segment)) {
        self.add_to(ticks, &mut OnlySegments(on_segment));
    }

    /// Adds ticks, for a sink.
    pub(super) fn add_to<S: Sink>(&mut self, mut ticks: &[u8], sink: &mut S) {
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
            self.add_blocks(&[self.partial], sink);
        }
        let (blocks, rest) = ticks.as_chunks();
        self.add_blocks(blocks, sink);
        self.partial[..rest.len()].copy_from_slice(rest);
        self.partial_ticks = rest.len();
    }

    /// Ends the body. Calls `on_segment` for the segments that are left; together, all segments cover every tick.
    pub fn finish(self, on_segment: &mut dyn FnMut(&Segment)) {
        self.finish_to(&mut OnlySegments(on_segment));
    }

    /// Ends the body. Returns where it ends.
    pub(super) fn finish_to<S: Sink>(mut self, sink: &mut S) -> Waypoint {
        let mut padding = 0;
        if self.partial_ticks > 0 {
            self.partial[self.partial_ticks..].fill(0);
            padding = (BLOCK_TICKS - self.partial_ticks) as u64;
            self.add_blocks(&[self.partial], sink);
        }
        // Completes the pending block: the laser is off after the last tick.
        self.add_blocks(&[[0; BLOCK_TICKS]], sink);
        self.gaps.finish();
        self.add_decided(sink);
        self.segmenter.finish(padding, sink)
    }

    fn add_blocks<S: Sink>(&mut self, blocks: &[[u8; BLOCK_TICKS]], sink: &mut S) {
        let mut blocks = blocks.iter();
        while let Some(block) = blocks.next() {
            if self.gaps.add(block) {
                self.segmenter.add_block(self.gaps.first(), sink);
                self.gaps.remove_first();
                self.add_decided(sink);
            }
            if self.gaps.is_idle() && self.segmenter.can_skip() {
                // Most of a hunt.
                let idle = blocks.as_slice().iter().take_while(|block| is_idle(block)).count();
                self.gaps.skip(idle as u64 * BLOCK_TICKS as u64);
                self.segmenter.skip_idle(idle as u64);
                blocks = blocks.as_slice()[idle..].iter();
            }
        }
    }

    /// Adds the blocks that are decided.
    #[inline]
    fn add_decided<S: Sink>(&mut self, sink: &mut S) {
        while self.gaps.is_first_decided() {
            self.segmenter.add_block(self.gaps.first(), sink);
            self.gaps.remove_first();
        }
    }
}

/// Passes segments on.
struct OnlySegments<'a>(&'a mut dyn FnMut(&Segment));

impl Sink for OnlySegments<'_> {
    fn block(&mut self, _: &LaserBlock, _: Waypoint) {}

    fn dense_block(&mut self, _: &DenseBlock<'_>) {}

    fn segment(&mut self, segment: &Segment, _: bool) {
        (self.0)(segment);
    }

    fn wants_dense_segments(&self) -> bool {
        true
    }
}

fn is_idle(block: &[u8; BLOCK_TICKS]) -> bool {
    block.iter().fold(0, |bits, byte| bits | byte) == 0
}
