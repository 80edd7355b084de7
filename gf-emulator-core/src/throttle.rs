//! Rate limit for log lines whose cause is controlled by someone else.

use std::time::{Duration, Instant};

/// Allows a number of lines per period, and counts the suppressed ones. The time is an argument.
#[derive(Debug, Clone)]
pub(crate) struct Throttle {
    limit: u32,
    period: Duration,
    period_start: Option<Instant>,
    passed: u32,
    suppressed: u64,
    due: Option<Instant>,
}

impl Throttle {
    /// Creates a throttle that allows `limit` lines per `period`. A period starts with the first line after the
    /// previous one.
    #[must_use]
    pub(crate) const fn new(limit: u32, period: Duration) -> Self {
        Self { limit, period, period_start: None, passed: 0, suppressed: 0, due: None }
    }

    /// Returns whether a line may be logged at `now`. Counts it if not.
    pub(crate) fn passes(&mut self, now: Instant) -> bool {
        let began = match self.period_start {
            Some(began) if now.saturating_duration_since(began) < self.period => began,
            _ => {
                self.passed = 0;
                *self.period_start.insert(now)
            }
        };
        let passes = self.passed < self.limit;
        if passes {
            self.passed += 1;
        } else {
            self.suppressed = self.suppressed.saturating_add(1);
            self.due = self.due.or_else(|| began.checked_add(self.period));
        }
        passes
    }

    /// Returns when to report the suppressed lines: at the end of the period of the first one. `None` if there are
    /// none.
    #[must_use]
    pub(crate) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Returns and resets the number of suppressed lines if a report is due at `now`; otherwise returns 0.
    pub(crate) fn take_due(&mut self, now: Instant) -> u64 {
        if self.due.is_some_and(|due| due <= now) { self.take_suppressed() } else { 0 }
    }

    /// Returns and resets the number of suppressed lines.
    pub(crate) fn take_suppressed(&mut self) -> u64 {
        self.due = None;
        std::mem::take(&mut self.suppressed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_every_line_once() {
        let mut throttle = Throttle::new(5, Duration::from_secs(1));
        let start = Instant::now();
        assert_eq!(throttle.due(), None);
        let (mut passed, mut suppressed) = (0, 0);
        for ms in (0..10_000).step_by(7) {
            let now = start + Duration::from_millis(ms);
            suppressed += throttle.take_due(now);
            passed += u64::from(throttle.passes(now));
        }
        suppressed += throttle.take_suppressed();
        assert_eq!((passed, passed + suppressed), (50, 10_000_u64.div_ceil(7)));
        assert_eq!(throttle.due(), None);
    }

    #[test]
    fn the_report_is_not_postponed_by_more_lines() {
        let mut throttle = Throttle::new(1, Duration::from_secs(1));
        let start = Instant::now();
        for ms in (0..5000).step_by(100) {
            throttle.passes(start + Duration::from_millis(ms));
        }
        assert_eq!(throttle.due(), Some(start + Duration::from_secs(1)));
        assert_eq!((throttle.take_suppressed(), throttle.due()), (45, None));
    }

    #[test]
    fn tolerates_a_clock_that_goes_back() {
        let mut throttle = Throttle::new(1, Duration::from_secs(1));
        let start = Instant::now() + Duration::from_secs(9);
        assert!(throttle.passes(start));
        assert!(!throttle.passes(start.checked_sub(Duration::from_secs(5)).unwrap()));
    }
}
