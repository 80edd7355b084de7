//! A body as an iterator: over its ticks, and over its segments.

use std::collections::VecDeque;
use std::io::Read;

use super::{Job, Position, Result, Segment, Tracer, tick};

/// How many ticks are traced at a time: each could be a segment.
const PIECE_TICKS: usize = 4096;

/// One tick: what the machine does in it, and where that leaves it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// Which one, counted from the body's beginning.
    pub tick: u64,
    /// The byte as it stands in the file; its bits are in [`tick`].
    pub byte: u8,
    /// Where the head is after it.
    pub position: Position,
    /// Whether the laser fires during it.
    pub fires: bool,
    /// The power level in force after it, 0 to 127; `None` before the first power byte.
    pub power: Option<u8>,
}

/// The ticks of a body, from [`Job::steps`].
#[derive(Debug)]
pub struct Steps<'a, R> {
    job: &'a mut Job<R>,
    next: usize,
    tick: u64,
    position: Position,
    power: Option<u8>,
    over: bool,
}

/// The segments of a body, from [`Job::paths`].
#[derive(Debug)]
pub struct Paths<'a, R> {
    job: &'a mut Job<R>,
    next: usize,
    /// `None` once the body is over, or broken.
    tracer: Option<Tracer>,
    ready: VecDeque<Segment>,
}

impl<R: Read> Job<R> {
    /// The ticks that have not been read yet, each with the position that it leads to, counted from here.
    ///
    /// After an error, which is one of [`Job::next_chunk`]'s, there is nothing more.
    ///
    /// ```
    /// use gf_emulator_core::puls::{Builder, Job};
    ///
    /// let file = Builder::new().move_to(3.0, 0.0)?.to_bytes();
    /// let last = Job::open(&file[..])?.steps().last().unwrap()?;
    /// assert_eq!(last.position.x, 160);
    /// # Ok::<(), gf_emulator_core::puls::Error>(())
    /// ```
    pub fn steps(&mut self) -> Steps<'_, R> {
        // What was handed out before belongs to whoever asked for it.
        let next = self.chunk().len();
        Steps { job: self, next, tick: 0, position: Position::default(), power: None, over: false }
    }

    /// What has not been read yet as [`Segment`]s, with ticks and places counted from here.
    ///
    /// After an error, which is one of [`Job::next_chunk`]'s, there is nothing more; all that was whole before it has
    /// been handed out.
    ///
    /// ```
    /// use gf_emulator_core::puls::{Builder, Job};
    ///
    /// let file = Builder::new().move_to(3.0, 0.0)?.move_to(3.0, 2.0)?.to_bytes();
    /// let mut job = Job::open(&file[..])?;
    /// let header = job.header().clone();
    /// let lengths_mm = job.paths().map(|segment| Ok(segment?.length_mm(&header).round()));
    /// assert_eq!(lengths_mm.collect::<Result<Vec<_>, gf_emulator_core::puls::Error>>()?, [3.0, 2.0]);
    /// # Ok::<(), gf_emulator_core::puls::Error>(())
    /// ```
    pub fn paths(&mut self) -> Paths<'_, R> {
        let (next, tracer) = (self.chunk().len(), Tracer::new(self.header()));
        Paths { job: self, next, tracer: Some(tracer), ready: VecDeque::new() }
    }
}

impl<R: Read> Iterator for Steps<'_, R> {
    type Item = Result<Step>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.over {
            return None;
        }
        if self.next == self.job.chunk().len() {
            let more = self.job.next_chunk().map(|chunk| chunk.is_some());
            self.next = 0;
            if !matches!(more, Ok(true)) {
                self.over = true;
                return more.err().map(Err);
            }
        }
        let byte = self.job.chunk()[self.next];
        self.next += 1;
        let fires = self.position.advance(byte);
        if byte & tick::POWER != 0 {
            self.power = Some(byte & tick::LEVEL);
        }
        let step = Step { tick: self.tick, byte, position: self.position, fires, power: self.power };
        self.tick += 1;
        Some(Ok(step))
    }
}

impl<R: Read> Iterator for Paths<'_, R> {
    type Item = Result<Segment>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(segment) = self.ready.pop_front() {
                return Some(Ok(segment));
            }
            let tracer = self.tracer.as_mut()?;
            let mut keep = |segment: &Segment| self.ready.push_back(*segment);
            if self.next < self.job.chunk().len() {
                let rest = &self.job.chunk()[self.next..];
                let piece = &rest[..rest.len().min(PIECE_TICKS)];
                self.next += piece.len();
                tracer.add(piece, &mut keep);
                continue;
            }
            self.next = 0;
            match self.job.next_chunk() {
                Ok(Some(_)) => {}
                Ok(None) => {
                    if let Some(tracer) = self.tracer.take() {
                        tracer.finish(&mut keep);
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
