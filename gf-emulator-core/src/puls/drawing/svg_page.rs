//! Whether a drawing reaches outside its page.

use std::sync::Arc;

use super::contour::Contour;
use super::region::{Area, Budget, FillRule, visible_outline};

/// The lines of clip paths that are looked at: a small part of the time that reading takes.
const BUDGET: u64 = 1 << 22;

/// Finds out whether a part of what is drawn is outside the page. What clip paths hide does not count.
pub(super) struct OutsidePage {
    size_mm: [f64; 2],
    is_found: bool,
    budget: Budget,
}

impl OutsidePage {
    pub(super) fn new(size_mm: [f64; 2]) -> Self {
        Self { size_mm, is_found: false, budget: Budget(BUDGET) }
    }

    pub(super) fn is_found(&self) -> bool {
        self.is_found
    }

    /// Looks at lines, all of which are drawn.
    pub(super) fn note(&mut self, lines: &[Contour]) {
        self.is_found = self.is_found || self.is_outside(lines);
    }

    /// Looks at a filled shape, of which clip paths show a part. If it takes too long to find that part, all of the shape
    /// counts.
    pub(super) fn note_fill(&mut self, contours: &[Contour], rule: FillRule, clips: &[Arc<Area>]) {
        if !self.is_found && self.is_outside(contours) {
            let visible = visible_outline(contours, rule, clips, &mut self.budget);
            self.is_found = visible.is_none_or(|visible| self.is_outside(&visible));
        }
    }

    fn is_outside(&self, contours: &[Contour]) -> bool {
        // Rounding.
        const TOLERANCE_MM: f64 = 0.02;
        let is_within = |axis: usize, mm: f64| (-TOLERANCE_MM..=self.size_mm[axis] + TOLERANCE_MM).contains(&mm);
        contours.iter().flat_map(|contour| &contour.points).any(|[x, y]| !is_within(0, *x) || !is_within(1, *y))
    }
}
