//! How long to wait before trying again.
//!
//! Pure: it says how long, and whoever asks waits.

use std::time::Duration;

use rand::RngExt;

const FIRST: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(60);
/// A service may ask for more time than there is.
const LONGEST_ASKED: Duration = Duration::from_secs(3600);

/// Pauses that double from half a second to a minute, each shortened by up to half at random, so that many machines cut
/// off at once do not come back at once.
#[derive(Debug, Clone)]
pub(crate) struct Backoff {
    next: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { next: FIRST }
    }
}

impl Backoff {
    /// The next pause; at least as long as the service has asked for, up to an hour.
    pub(crate) fn pause(&mut self, asked: Option<Duration>) -> Duration {
        let jittered = self.next.mul_f64(rand::rng().random_range(0.5..=1.0));
        self.next = (self.next * 2).min(LONGEST);
        asked.map_or(jittered, |asked| jittered.max(asked.min(LONGEST_ASKED)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows_to_a_minute_and_stays_there() {
        let mut backoff = Backoff::default();
        let pauses: Vec<_> = (0..20).map(|_| backoff.pause(None)).collect();
        assert!(pauses[0] <= FIRST && pauses[0] >= FIRST / 2, "{pauses:?}");
        for (n, pause) in pauses.iter().enumerate() {
            let full = FIRST.saturating_mul(1 << n.min(16)).min(LONGEST);
            assert!(*pause <= full && *pause >= full / 2, "{n}: {pause:?}");
        }
    }

    #[test]
    fn no_two_machines_wait_alike() {
        let first = |_| Backoff::default().pause(None);
        let pauses: std::collections::HashSet<_> = (0..50).map(first).collect();
        assert!(pauses.len() > 10);
    }

    #[test]
    fn waits_as_long_as_the_service_asks() {
        assert_eq!(Backoff::default().pause(Some(Duration::from_secs(7))), Duration::from_secs(7));
        assert!(Backoff::default().pause(Some(Duration::ZERO)) >= FIRST / 2);
        assert_eq!(Backoff::default().pause(Some(Duration::MAX)), LONGEST_ASKED);
    }
}
