//! Iterators over the ticks and the segments of a body.

use std::collections::VecDeque;
use std::io::Read;

use super::{Job, Position, Result, Segment, Tracer, tick};

/// The number of ticks traced at a time, each of which could be a segment.
const PIECE_TICKS: usize = 4096;

/// One tick and the state after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Tick {
    /// The number of the tick, counted from the start.
    pub index: u64,
    /// The byte in the file; [`tick`] has its bits.
    pub byte: u8,
    /// The position after the tick.
    pub position: Position,
    /// Whether the laser fires.
    pub fires: bool,
    /// The power level after the tick, 0 to 127; `None` before the first power byte.
    pub power: Option<u8>,
}

/// An iterator over the ticks of a body, from [`Job::ticks`].
#[derive(Debug)]
pub struct Ticks<'a, R> {
    job: &'a mut Job<R>,
    /// The offset in the current chunk.
    next: usize,
    index: u64,
    position: Position,
    power: Option<u8>,
    /// Whether the last tick was a power byte.
    after_power: bool,
    ended: bool,
}

/// An iterator over the segments of a body, from [`Job::segments`].
#[derive(Debug)]
pub struct Segments<'a, R> {
    job: &'a mut Job<R>,
    /// The offset in the current chunk.
    next: usize,
    /// `None` at the end, or after an error.
    tracer: Option<Tracer>,
    ready: VecDeque<Segment>,
}

impl<R: Read> Job<R> {
    /// Iterates over the ticks that have not been read yet. Indices and positions start at 0.
    ///
    /// Ends after an error of [`Job::next_chunk`].
    ///
    /// ```
    /// use gf_emulator_core::puls::{Builder, Job};
    ///
    /// let file = Builder::new().move_to(3.0, 0.0)?.to_bytes();
    /// let last = Job::open(&file[..])?.ticks().last().unwrap()?;
    /// assert_eq!(last.position.x, 160);
    /// # Ok::<(), gf_emulator_core::puls::Error>(())
    /// ```
    pub fn ticks(&mut self) -> Ticks<'_, R> {
        // The current chunk has been read by the caller.
        let next = self.chunk().len();
        Ticks {
            job: self,
            next,
            index: 0,
            position: Position::default(),
            power: None,
            after_power: false,
            ended: false,
        }
    }

    /// Iterates over the [`Segment`]s of the ticks that have not been read yet. Ticks and positions start at 0.
    ///
    /// Ends after an error of [`Job::next_chunk`], which follows all complete segments.
    ///
    /// ```
    /// use gf_emulator_core::puls::{Builder, Job};
    ///
    /// let file = Builder::new().move_to(3.0, 0.0)?.move_to(3.0, 2.0)?.to_bytes();
    /// let mut job = Job::open(&file[..])?;
    /// let header = job.header().clone();
    /// let lengths_mm = job.segments().map(|segment| Ok(segment?.length_mm(&header).round()));
    /// assert_eq!(lengths_mm.collect::<Result<Vec<_>, gf_emulator_core::puls::Error>>()?, [3.0, 2.0]);
    /// # Ok::<(), gf_emulator_core::puls::Error>(())
    /// ```
    pub fn segments(&mut self) -> Segments<'_, R> {
        let (next, tracer) = (self.chunk().len(), Tracer::new(self.header()));
        Segments { job: self, next, tracer: Some(tracer), ready: VecDeque::new() }
    }
}

impl<R: Read> Iterator for Ticks<'_, R> {
    type Item = Result<Tick>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        if self.next == self.job.chunk().len() {
            let more = self.job.next_chunk().map(|chunk| chunk.is_some());
            self.next = 0;
            if !matches!(more, Ok(true)) {
                self.ended = true;
                return more.err().map(Err);
            }
        }
        let byte = self.job.chunk()[self.next];
        self.next += 1;
        let fires = self.position.advance(byte);
        let is_power = byte & tick::POWER != 0;
        // Of power bytes in a row, only the first counts.
        if !std::mem::replace(&mut self.after_power, is_power) && is_power {
            self.power = Some(byte & tick::LEVEL);
        }
        let tick = Tick { index: self.index, byte, position: self.position, fires, power: self.power };
        self.index += 1;
        Some(Ok(tick))
    }
}

impl<R: Read> Iterator for Segments<'_, R> {
    type Item = Result<Segment>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(segment) = self.ready.pop_front() {
                return Some(Ok(segment));
            }
            let tracer = self.tracer.as_mut()?;
            let mut collect = |segment: &Segment| self.ready.push_back(*segment);
            if self.next < self.job.chunk().len() {
                let rest = &self.job.chunk()[self.next..];
                let piece = &rest[..rest.len().min(PIECE_TICKS)];
                self.next += piece.len();
                tracer.add(piece, &mut collect);
                continue;
            }
            self.next = 0;
            match self.job.next_chunk() {
                Ok(Some(_)) => {}
                Ok(None) => {
                    if let Some(tracer) = self.tracer.take() {
                        tracer.finish(&mut collect);
                    }
                }
                Err(error) => {
                    self.tracer = None;
                    return Some(Err(error));
                }
            }
        }
    }
}
