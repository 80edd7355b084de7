//! How many log lines of one kind there may be: somebody else decides how often their cause comes.

use std::time::{Duration, Instant};

/// Lets a number of lines pass in each period, and counts the others. Pure: the time is an argument.
///
/// ```
/// use std::time::{Duration, Instant};
///
/// use gf_emulator_core::Throttle;
///
/// let mut throttle = Throttle::new(2, Duration::from_secs(10));
/// let start = Instant::now();
/// assert_eq!([1, 2, 3, 4].map(|s| throttle.passes(start + Duration::from_secs(s))), [true, true, false, false]);
/// assert_eq!(throttle.due(), Some(start + Duration::from_secs(11)));
/// assert_eq!(throttle.take_held_back(), 2);
/// assert!(throttle.passes(start + Duration::from_secs(11)));
/// ```
#[derive(Debug, Clone)]
pub struct Throttle {
    most: u32,
    period: Duration,
    began: Option<Instant>,
    passed: u32,
    held_back: u64,
    due: Option<Instant>,
}

impl Throttle {
    /// Lets `most` lines pass in each `period`. A period begins with the first line after the one before.
    #[must_use]
    pub const fn new(most: u32, period: Duration) -> Self {
        Self { most, period, began: None, passed: 0, held_back: 0, due: None }
    }

    /// Whether one more line may be logged at `now`. One that may not is counted.
    pub fn passes(&mut self, now: Instant) -> bool {
        let began = match self.began {
            Some(began) if now.saturating_duration_since(began) < self.period => began,
            _ => {
                self.passed = 0;
                *self.began.insert(now)
            }
        };
        let passes = self.passed < self.most;
        if passes {
            self.passed += 1;
        } else {
            self.held_back = self.held_back.saturating_add(1);
            self.due = self.due.or_else(|| began.checked_add(self.period));
        }
        passes
    }

    /// When to say how many lines were not logged: at the end of the period in which the first of them came. None where
    /// all were logged.
    #[must_use]
    pub fn due(&self) -> Option<Instant> {
        self.due
    }

    /// How many lines were not logged, where it is time to say so at `now`; otherwise 0, and they go on being counted.
    pub fn take_due(&mut self, now: Instant) -> u64 {
        if self.due.is_some_and(|due| due <= now) { self.take_held_back() } else { 0 }
    }

    /// How many lines were not logged since this was last asked.
    pub fn take_held_back(&mut self) -> u64 {
        self.due = None;
        std::mem::take(&mut self.held_back)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_every_line_once_whenever_it_comes() {
        let mut throttle = Throttle::new(5, Duration::from_secs(1));
        let start = Instant::now();
        assert_eq!(throttle.due(), None);
        let (mut passed, mut held_back) = (0, 0);
        for ms in (0..10_000).step_by(7) {
            let now = start + Duration::from_millis(ms);
            held_back += throttle.take_due(now);
            passed += u64::from(throttle.passes(now));
        }
        held_back += throttle.take_held_back();
        assert_eq!((passed, passed + held_back), (50, 10_000_u64.div_ceil(7)));
        assert_eq!(throttle.due(), None);
    }

    #[test]
    fn a_summary_stays_due_however_long_the_lines_go_on() {
        let mut throttle = Throttle::new(1, Duration::from_secs(1));
        let start = Instant::now();
        for ms in (0..5000).step_by(100) {
            throttle.passes(start + Duration::from_millis(ms));
        }
        assert_eq!(throttle.due(), Some(start + Duration::from_secs(1)));
        assert_eq!((throttle.take_held_back(), throttle.due()), (45, None));
    }

    #[test]
    fn a_clock_that_seems_to_go_back_is_no_harm() {
        let mut throttle = Throttle::new(1, Duration::from_secs(1));
        let start = Instant::now() + Duration::from_secs(9);
        assert!(throttle.passes(start));
        assert!(!throttle.passes(start.checked_sub(Duration::from_secs(5)).unwrap()));
    }
}
