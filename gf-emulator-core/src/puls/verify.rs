//! Whether machines run a file.

use super::{Limits, Result, measure};

/// Reads a file to its end and checks it. Returns the reasons for which every machine would refuse it, separated by `; `.
/// A lock to one machine is no such reason.
///
/// ```
/// use gf_emulator_core::puls::{Builder, code, refusal_reasons};
///
/// let mut job = Builder::new();
/// assert_eq!(refusal_reasons(&job.to_bytes())?, None);
/// job.set(code::DATA_FORMAT, 7)?;
/// assert!(refusal_reasons(&job.to_bytes())?.is_some_and(|reasons| reasons.contains("PDfm")));
/// # Ok::<(), gf_emulator_core::puls::Error>(())
/// ```
///
/// # Errors
///
/// As [`measure`].
pub fn refusal_reasons(file: &[u8]) -> Result<Option<String>> {
    Ok(measure(file, Limits::default())?.refusal_reasons(None))
}
