//! Limits in builds for fuzzing.

/// Returns a limit of memory or time, or a smaller one in builds for fuzzing, where an input should take milliseconds.
pub(in crate::puls) const fn limit(limit: usize) -> usize {
    const IN_FUZZING: usize = 1 << 18;
    if cfg!(fuzzing) && limit > IN_FUZZING { IN_FUZZING } else { limit }
}
