//! Pulse files.

/// What is wrong with a pulse file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {}
