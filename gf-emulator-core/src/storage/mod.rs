//! Files that the machine writes: atomic files, downloads, and the folders of collected jobs and pictures.

mod atomic_file;
mod download;
mod jobs;

pub use atomic_file::AtomicFile;
pub use download::{Download, DownloadEnd};
pub(crate) use jobs::{JobStore, local_timestamp};
