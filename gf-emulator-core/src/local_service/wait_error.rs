//! Why a wait ended without what it waited for.

/// Why a wait ended without what it waited for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum WaitError {
    TimedOut,
    /// The service stopped, or the machine was evicted.
    Stopped,
    /// The machine disconnected and did not come back in time.
    Gone,
    /// The action ended with another event: this one.
    EndedWith(String),
}
