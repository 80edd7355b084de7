//! How long to wait before trying again.
//!
//! Pure: it says how long, and whoever asks waits.

use std::time::Duration;

use rand::RngExt;

const FIRST: Duration = Duration::from_millis(500);
/// A service may ask for more time than there is.
const LONGEST_ASKED: Duration = Duration::from_secs(3600);

/// Why something is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RetryReason {
    /// A connection came about and was lost.
    Lost,
    /// Nothing came about: nobody there, a service that is busy or broken.
    Failed,
    /// The service does not take this machine's sign-in.
    Refused,
}

impl RetryReason {
    /// The longest pause.
    fn longest(self) -> Duration {
        Duration::from_secs(match self {
            Self::Lost => 15,
            Self::Failed => 60,
            Self::Refused => 300,
        })
    }
}

/// Pauses that double from half a second up to the longest of their [`RetryReason`], each shortened by up to half at random,
/// so that many machines cut off at once do not come back at once.
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
    pub(crate) fn pause(&mut self, reason_kind: RetryReason, asked: Option<Duration>) -> Duration {
        let full = self.next.min(reason_kind.longest());
        let jittered = full.mul_f64(rand::rng().random_range(0.5..=1.0));
        self.next = full * 2;
        asked.map_or(jittered, |asked| jittered.max(asked.min(LONGEST_ASKED)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows_to_its_longest_and_stays_there() {
        for (reason_kind, longest) in [(RetryReason::Lost, 15), (RetryReason::Failed, 60), (RetryReason::Refused, 300)]
        {
            let mut backoff = Backoff::default();
            let pauses: Vec<_> = (0..20).map(|_| backoff.pause(reason_kind, None)).collect();
            for (n, pause) in pauses.iter().enumerate() {
                let full = FIRST.saturating_mul(1 << n.min(16)).min(Duration::from_secs(longest));
                assert!(*pause <= full && *pause >= full / 2, "{reason_kind:?}, {n}: {pause:?}");
            }
        }
    }

    #[test]
    fn another_trouble_goes_on_from_where_it_is() {
        let mut backoff = Backoff::default();
        (0..20).for_each(|_| _ = backoff.pause(RetryReason::Refused, None));
        assert!(backoff.pause(RetryReason::Lost, None) <= Duration::from_secs(15));
        let next = backoff.pause(RetryReason::Failed, None);
        assert!(next >= Duration::from_secs(15) && next <= Duration::from_secs(30), "{next:?}");
    }

    #[test]
    fn no_two_machines_wait_alike() {
        let first = |_| Backoff::default().pause(RetryReason::Lost, None);
        let pauses: std::collections::HashSet<_> = (0..50).map(first).collect();
        assert!(pauses.len() > 10);
    }

    #[test]
    fn waits_as_long_as_the_service_asks() {
        let pause = |asked| Backoff::default().pause(RetryReason::Failed, Some(asked));
        assert_eq!(pause(Duration::from_secs(7)), Duration::from_secs(7));
        assert!(pause(Duration::ZERO) >= FIRST / 2);
        assert_eq!(pause(Duration::MAX), LONGEST_ASKED);
    }
}
