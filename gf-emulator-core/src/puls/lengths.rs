//! The lengths of segments.

use super::{Header, Segment};

/// How many steps on an axis are short.
const SHORT_STEPS: usize = 16;

/// The lengths of short segments, which can be as many as there are ticks.
#[derive(Debug, Clone)]
pub(super) struct Lengths {
    /// In millimetres, by the steps of X and then of Y.
    short_mm: Box<[[f64; SHORT_STEPS]; SHORT_STEPS]>,
}

impl Lengths {
    pub(super) fn new(header: &Header) -> Self {
        let steps = |i: usize| i64::try_from(i).unwrap_or_default();
        let length_mm = |x: usize, y: usize| header.x_mm(steps(x)).hypot(header.y_mm(steps(y)));
        Self { short_mm: Box::new(std::array::from_fn(|x| std::array::from_fn(|y| length_mm(x, y)))) }
    }

    /// Returns the length of a few steps of X and Y.
    pub(super) fn of(&self, x: usize, y: usize) -> f64 {
        self.short_mm[x][y]
    }

    /// Returns exactly [`Segment::length_mm`].
    #[inline]
    pub(super) fn length_mm(&self, segment: &Segment, header: &Header) -> f64 {
        let index = |from: i64, to: i64| usize::try_from(to.abs_diff(from)).unwrap_or(usize::MAX);
        let (x, y) = (index(segment.start.x, segment.end.x), index(segment.start.y, segment.end.y));
        match self.short_mm.get(x).and_then(|row| row.get(y)) {
            Some(&mm) => mm,
            None => segment.length_mm(header),
        }
    }
}
