//! Recordings: every request, message, picture and job of a session on disk, with its time.
//!
//! A [`Recorder`] writes a folder, a [`Recording`] reads one. `RECORDING.md` in the repository describes the format;
//! its version is in the first line.

mod disk_calls;
mod display;
mod entry;
mod exchange;
mod file_writer;
mod folder;
mod har;
mod import;
mod line_writer;
mod queue;
mod recorder;
mod recording;
mod redactor;
mod telemetry;
#[cfg(test)]
mod tests;
mod unredacted;
mod watched_file;

#[cfg(feature = "report")]
pub(crate) use entry::UNKNOWN_CLOSE;
pub use entry::{About, Entry, Event, Exchange, FORMAT_VERSION, Message, Part, Side};
#[cfg(feature = "local-service")]
pub(crate) use entry::{PLACEHOLDER, read_json};
pub(crate) use exchange::{PendingExchange, RecordedBody, RequestInfo};
pub use folder::SESSION_FILE;
pub use har::{Bodies, ExportSummary, HarError, export_har};
pub use import::{ImportSummary, import, import_with_progress};
pub use recorder::Recorder;
#[cfg(feature = "follow")]
pub(crate) use recorder::WriteProgress;
#[cfg(feature = "report")]
pub(crate) use recording::{DisplayEntry, EntryReader, LineSpan, file_beside};
pub use recording::{MAX_SKIPPED, Recording, SkippedLine};
pub(crate) use telemetry::Telemetry;
#[cfg(feature = "local-service")]
pub(crate) use unredacted::Body;
pub(crate) use unredacted::Unredacted;
