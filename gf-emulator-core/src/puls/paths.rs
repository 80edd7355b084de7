//! From ticks to segments: where the head goes straight, where it stands, where the laser is on.
//!
//! Ticks are taken in blocks of 64, as bit planes. A block waits until the next one is there, since whether the laser is
//! on in its last ticks depends on when it fires again. Idle blocks go by all at once.

#![expect(clippy::inline_always, reason = "to be compiled for the processor that the caller is compiled for")]

use super::avx2;
use super::meter::Samples;
use super::planes::{BLOCK_TICKS, Planes};
use super::trace::Trace;
use super::{Header, Segment};

/// The laser is on across gaps of up to this many ticks without fire: two periods of the dither.
const LASER_GAP_TICKS: u32 = 14;
/// The head stands after so many parts of a second without a step. Slow starts have gaps of up to 35 ms.
const REST_PARTS_OF_SECOND: u64 = 20;
/// The lens steps as rarely as eight times a second, and stands after a quarter of one.
const LENS_REST_PARTS_OF_SECOND: u64 = 4;
/// What is assumed where a header has no step frequency: that of prints.
const DEFAULT_HZ: u64 = 10_000;

/// Cuts a body into its [`Segment`]s, however it is handed over.
///
/// ```
/// use gf_emulator_core::puls::{Builder, Segment, Tracer};
///
/// let mut job = Builder::new();
/// job.move_to(10.0, 0.0)?.cut_to(10.0, 5.0, 50.0, 3.0 / 7.0)?;
///
/// let mut tracer = Tracer::new(job.header());
/// let mut cuts = Vec::new();
/// let mut keep = |segment: &Segment| if segment.laser { cuts.push(*segment) };
/// tracer.add(job.body(), &mut keep);
/// tracer.finish(&mut keep);
/// assert_eq!(cuts.len(), 1);
/// assert_eq!((cuts[0].end.x, cuts[0].end.y), (533, 267));
/// # Ok::<(), gf_emulator_core::puls::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Tracer {
    /// Ticks that are not yet a whole block.
    partial: [u8; BLOCK_TICKS],
    partial_ticks: usize,
    /// The block before: its laser cannot be told without the next one's.
    held: Option<Held>,
    trace: Trace,
}

/// A block that waits.
#[derive(Debug, Clone, Copy)]
struct Held {
    planes: Planes,
    /// The levels of its power bytes are in here.
    ticks: [u8; BLOCK_TICKS],
    /// Its fire, each tick of it drawn out over the gap that the laser stays on for.
    drawn_out: u64,
}

impl Tracer {
    /// For the body of a file with that header: what counts as standing depends on its step frequency (10 kHz is taken
    /// where it has none).
    #[must_use]
    pub fn new(header: &Header) -> Self {
        let hz = header.step_frequency_hz().map_or(DEFAULT_HZ, u64::from);
        // Within a block nothing counts as standing, which is what lets blocks go by as a whole.
        let rest = |parts: u64| (hz / parts).max(BLOCK_TICKS as u64);
        Self {
            partial: [0; BLOCK_TICKS],
            partial_ticks: 0,
            held: None,
            trace: Trace::new(rest(REST_PARTS_OF_SECOND), rest(LENS_REST_PARTS_OF_SECOND)),
        }
    }

    /// Goes through some more ticks, and hands over every segment that ends in them.
    pub fn add(&mut self, ticks: &[u8], each: &mut dyn FnMut(&Segment)) {
        self.trace(ticks, None, each);
    }

    /// Goes through some more ticks, for whoever takes samples as well.
    pub(super) fn trace(&mut self, ticks: &[u8], mut samples: Option<&mut Samples>, each: &mut dyn FnMut(&Segment)) {
        if !avx2::trace(self, ticks, samples.as_deref_mut(), each) {
            self.trace_here(ticks, samples, each);
        }
    }

    /// The same, compiled for the processor that the caller is compiled for.
    #[inline(always)]
    pub(super) fn trace_here(
        &mut self,
        mut ticks: &[u8],
        mut samples: Option<&mut Samples>,
        each: &mut dyn FnMut(&Segment),
    ) {
        if self.partial_ticks > 0 {
            let taken = ticks.len().min(BLOCK_TICKS - self.partial_ticks);
            let (now, later) = ticks.split_at(taken);
            self.partial[self.partial_ticks..][..taken].copy_from_slice(now);
            self.partial_ticks += taken;
            ticks = later;
            if self.partial_ticks < BLOCK_TICKS {
                return;
            }
            self.partial_ticks = 0;
            let block = self.partial;
            self.block(&block, Planes::of(&block), samples.as_deref_mut(), each);
        }
        let (blocks, rest) = ticks.as_chunks::<BLOCK_TICKS>();
        let mut blocks = blocks.iter();
        while let Some(block) = blocks.next() {
            self.block(block, Planes::of(block), samples.as_deref_mut(), each);
            if self.is_quiet() {
                // Of a hunt, nearly everything.
                let idle = blocks.as_slice().iter().take_while(|block| is_idle(block)).count();
                let ticks = idle as u64 * BLOCK_TICKS as u64;
                self.trace.pass(ticks);
                if let Some(samples) = &mut samples {
                    samples.pass(ticks);
                }
                blocks = blocks.as_slice()[idle..].iter();
            }
        }
        self.partial[..rest.len()].copy_from_slice(rest);
        self.partial_ticks = rest.len();
    }

    /// Ends the body, and hands over what is left. With what was handed over before it is every tick.
    pub fn finish(self, each: &mut dyn FnMut(&Segment)) {
        self.finish_with(None, each);
    }

    /// The same, for whoever takes samples as well.
    pub(super) fn finish_with(mut self, samples: Option<&mut Samples>, each: &mut dyn FnMut(&Segment)) {
        let last = self.partial_ticks;
        if last > 0 {
            self.partial[last..].fill(0);
            let block = self.partial;
            let planes = Planes::of(&block);
            if let Some(samples) = samples {
                samples.add(&planes, last as u64);
            }
            self.block(&block, planes, None, each);
        }
        let over = BLOCK_TICKS - if last > 0 { last } else { BLOCK_TICKS };
        // The laser goes off behind the last tick; that block is there for this one to be told.
        self.block(&[0; BLOCK_TICKS], Planes::default(), None, each);
        self.trace.finish(over as u64, each);
    }

    /// Whether idle blocks would change nothing but the time.
    fn is_quiet(&self) -> bool {
        !self.trace.laser() && self.held.is_some_and(|held| held.planes == Planes::default() && held.drawn_out == 0)
    }

    #[inline(always)]
    fn block(
        &mut self,
        ticks: &[u8; BLOCK_TICKS],
        planes: Planes,
        samples: Option<&mut Samples>,
        each: &mut dyn FnMut(&Segment),
    ) {
        if let Some(samples) = samples {
            samples.add(&planes, BLOCK_TICKS as u64);
        }
        let before = self.held.map_or(0, |held| held.planes.fire);
        let drawn_out = high(draw_out(both(before, planes.fire)));
        if let Some(held) = self.held.replace(Held { planes, ticks: *ticks, drawn_out }) {
            // On from a tick that fires to the next one, unless the fire drawn out over the gap does not reach it.
            let off = !both(held.drawn_out, drawn_out);
            let laser = !low(draw_back(off));
            self.trace.block(held.planes, &held.ticks, laser, each);
        }
    }
}

fn is_idle(block: &[u8; BLOCK_TICKS]) -> bool {
    block.iter().fold(0, |met, byte| met | byte) == 0
}

/// Two blocks side by side, the first one in the low bits.
const fn both(first: u64, second: u64) -> u128 {
    first as u128 | (second as u128) << 64
}

#[expect(clippy::cast_possible_truncation, reason = "half of it is what is wanted")]
const fn low(both: u128) -> u64 {
    both as u64
}

const fn high(both: u128) -> u64 {
    low(both >> 64)
}

/// Sets the bits behind every set bit, as many as the gap has ticks.
const fn draw_out(mut bits: u128) -> u128 {
    bits |= bits << 1;
    bits |= bits << 2;
    bits |= bits << 4;
    bits | bits << (LASER_GAP_TICKS - 7)
}

/// Sets the bits before every set bit, as many as the gap has ticks.
const fn draw_back(mut bits: u128) -> u128 {
    bits |= bits >> 1;
    bits |= bits >> 2;
    bits |= bits >> 4;
    bits | bits >> (LASER_GAP_TICKS - 7)
}
