//! What is wrong with a pulse file: what, at which byte, and what was expected there.

use std::io;

use super::header::field;

/// The result of reading or making a pulse file.
pub type Result<T> = std::result::Result<T, Error>;

/// What is wrong with a pulse file, or with what was asked of [`Builder`](super::Builder), or with a
/// drawing that one is made from.
///
/// Offsets count from 0. Those of the header and the body are in the pulse file itself, after any inflating; those of the
/// `Gzip` variants and of [`Error::Io`] are in what was read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file does not have `GF1` where every pulse file has it.
    #[error("not a pulse file: \"{}\" at byte {}, expected \"GF1\"", found.escape_ascii(), field::MAGIC.start)]
    Magic {
        /// What is there; shorter than three bytes where the file ends before that.
        found: Vec<u8>,
    },

    /// The header gives itself a length that no header can have.
    #[error(
        "the header's length at byte {} is {length_bytes}, expected a multiple of {} from {} to {}",
        field::LENGTH.start, field::RECORD_BYTES, field::PREFIX_BYTES, field::MAX_BYTES
    )]
    HeaderLength {
        /// The length as it stands in the file (or as it would have to, for a header being made).
        length_bytes: u64,
    },

    /// The file ends inside its header.
    #[error("the file ends at byte {offset}, inside its header, expected {expected_bytes} bytes of header")]
    HeaderCut {
        /// How many bytes there are.
        offset: u64,
        /// How many the header has; 8 where the file ends before it says so.
        expected_bytes: u64,
    },

    /// A gzip member's own header is not one.
    #[error("the gzip header at byte {offset} of the compressed file is wrong: {problem}")]
    GzipHeader {
        /// Where that member begins.
        offset: u64,
        /// What was found and expected.
        problem: &'static str,
    },

    /// The compressed data are damaged.
    #[error("the gzip data are damaged near byte {offset} of the compressed file: expected valid deflate data")]
    GzipDamaged {
        /// About where.
        offset: u64,
    },

    /// The compressed file ends too early.
    #[error("the compressed file ends at byte {offset}, expected {expected}")]
    GzipCut {
        /// How long it is.
        offset: u64,
        /// What should have followed.
        expected: &'static str,
    },

    /// The checksum at the end of a gzip member is not that of its data.
    #[error(
        "the gzip checksum at byte {offset} of the compressed file is {found:#010x}, expected {expected:#010x} for the \
         data before it"
    )]
    GzipChecksum {
        /// Where the checksum is.
        offset: u64,
        /// What it says.
        found: u32,
        /// What the data give.
        expected: u32,
    },

    /// The length at the end of a gzip member is not that of its data.
    #[error(
        "the gzip length at byte {offset} of the compressed file is {found}, expected {expected} for the data before it"
    )]
    GzipLength {
        /// Where the length is.
        offset: u64,
        /// What it says (modulo 4 GiB).
        found: u32,
        /// What the data give (modulo 4 GiB).
        expected: u32,
    },

    /// Something follows the last gzip member that is not another one.
    #[error("there is something behind the gzip data, at byte {offset} of the compressed file, expected its end")]
    GzipTrailing {
        /// Where it begins.
        offset: u64,
    },

    /// The body is longer than [`Limits::body_bytes`](super::Limits::body_bytes) allows.
    #[error("the body, from byte {offset} on, is longer than the limit of {limit_bytes} bytes: stopped reading")]
    TooLarge {
        /// Where the body begins.
        offset: u64,
        /// The limit.
        limit_bytes: u64,
    },

    /// The compressed file is longer than what any body within [`Limits::body_bytes`](super::Limits::body_bytes) is
    /// compressed to.
    #[error("the compressed file is too long for a body within the limit of {limit_bytes} bytes: stopped reading")]
    CompressedTooLarge {
        /// The limit on the body.
        limit_bytes: u64,
    },

    /// What the file is read from failed.
    #[error("reading failed at byte {offset}: {source}")]
    Io {
        /// How many bytes had been read.
        offset: u64,
        /// Why.
        source: io::Error,
    },

    /// What is made of a file could not be written.
    #[error("writing failed: {source}")]
    Write {
        /// Why.
        source: io::Error,
    },

    /// A picture could not be rendered.
    #[error("cannot render the picture: {problem}")]
    Picture {
        /// Why.
        problem: String,
    },

    /// A [`Builder`](super::Builder) was asked for something that cannot be made.
    #[error("cannot make a job with {what} {value}: expected {expected}")]
    Make {
        /// Which value.
        what: &'static str,
        /// What it was.
        value: f64,
        /// What it may be.
        expected: &'static str,
    },

    /// A drawing has something that is not understood, or that cannot be made.
    #[error("line {line}, column {column}: {found}, expected {expected}")]
    Drawing {
        /// In which line, counted from 1.
        line: u64,
        /// At which byte of that line, counted from 1.
        column: u64,
        /// What stands there.
        found: String,
        /// What could have.
        expected: String,
    },
}

impl Error {
    /// Whether a machine refuses the file before anything moves: it is no pulse file at all, or longer than the limit.
    /// Everything else is a file that was damaged, or cut short, on its way.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        matches!(self, Self::Magic { .. } | Self::HeaderLength { .. } | Self::HeaderCut { .. }) || self.is_too_large()
    }

    /// Whether reading ended at the limit on the body: [`Error::TooLarge`] or [`Error::CompressedTooLarge`].
    #[must_use]
    pub fn is_too_large(&self) -> bool {
        matches!(self, Self::TooLarge { .. } | Self::CompressedTooLarge { .. })
    }
}
