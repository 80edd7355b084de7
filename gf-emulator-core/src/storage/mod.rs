//! What the machine keeps on disk: atomic files, and the collected jobs and pictures.

mod atomic_file;
pub(crate) mod jobs;
pub use atomic_file::AtomicFile;
