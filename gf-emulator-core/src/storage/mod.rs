//! Files on disk: atomic writes, a command's output, lines of bounded length, downloads and temp files.

mod atomic_file;
mod download;
mod jobs;
mod lines;
mod output;
mod temp_registry;
mod writable;

pub use atomic_file::AtomicFile;
pub use download::{Download, DownloadEnd};
pub(crate) use jobs::{JobStore, local_timestamp, remove_leftovers_of};
pub use lines::{UnusableLine, read_line};
pub use output::{Output, check_not_an_input};
pub use temp_registry::{TempGuard, TempLock, TempRegistry};
pub use writable::unwritable;

pub use crate::temp_file::remove_leftovers;
