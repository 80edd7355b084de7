//! What was said, on the disk: every request, every message, every picture and job of a session, and when.
//!
//! A [`Recorder`] writes a folder, a [`Recording`] reads one. The format is described in `RECORDING.md` of the repository;
//! its version is in the first line.

mod attachments;
mod entry;
mod exchange;
mod import;
mod queue;
mod recorder;
mod recording;
mod redactor;
mod shortened;
#[cfg(test)]
mod tests;
mod writer;

pub use entry::{About, Entry, Event, Exchange, FORMAT_VERSION, Message, Part, Side};
#[cfg(feature = "local-service")]
pub(crate) use entry::{PLACEHOLDER, read_json};
pub(crate) use exchange::{Pending, Recorded};
pub use import::{Imported, import};
#[cfg(feature = "local-service")]
pub(crate) use recorder::Body;
#[cfg(feature = "follow")]
pub(crate) use recorder::Progress;
pub(crate) use recorder::{Raw, Tap};
pub use recorder::{Recorder, SESSION_FILE};
#[cfg(feature = "report")]
pub(crate) use recording::{Again, Place, Shortened, file_beside};
pub use recording::{MOST_SKIPPED, Recording, Skipped};
