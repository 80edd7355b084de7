//! Errors: what was found, at which byte, and what was expected there.

use std::io;

use super::layout;

/// The result of reading or making a pulse file.
pub type Result<T> = std::result::Result<T, Error>;

/// An error in a pulse file, in the arguments of a [`Builder`](super::Builder), or in a drawing.
///
/// Offsets count from 0. Those of header and body refer to the pulse file after decompression; those of the `Gzip`
/// variants and of [`Error::Io`] refer to the bytes read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file does not have `GF1` at byte 1.
    #[error("not a pulse file: \"{}\" at byte {}, expected \"GF1\"", found.escape_ascii(), layout::MAGIC.start)]
    Magic {
        /// The bytes there; fewer than three if the file ends before.
        found: Vec<u8>,
    },

    /// The header has an invalid length.
    #[error(
        "the header length at byte {} is {length_bytes}, expected a multiple of {} from {} to {}",
        layout::LENGTH.start, layout::RECORD_BYTES, layout::PREFIX_BYTES, layout::MAX_HEADER_BYTES
    )]
    HeaderLength {
        /// The length in the file, or that a header being built would get.
        length_bytes: u64,
    },

    /// The file ends inside its header.
    #[error("the file ends at byte {offset}, inside its header, expected a header of {expected_bytes} bytes")]
    HeaderCut {
        /// The length of the file.
        offset: u64,
        /// The length of the header; 8 if the file ends before its length field.
        expected_bytes: u64,
    },

    /// A gzip member has an invalid header.
    #[error("the gzip header at byte {offset} of the compressed file is invalid: {problem}")]
    GzipHeader {
        /// The start of the member.
        offset: u64,
        /// What is wrong with it.
        problem: &'static str,
    },

    /// The compressed data are invalid.
    #[error("the gzip data are damaged near byte {offset} of the compressed file: expected valid deflate data")]
    GzipDamaged {
        /// The approximate place.
        offset: u64,
    },

    /// The compressed file is truncated.
    #[error("the compressed file ends at byte {offset}, expected {expected}")]
    GzipCut {
        /// The length of the file.
        offset: u64,
        /// What is missing.
        expected: &'static str,
    },

    /// The checksum of a gzip member does not match its data.
    #[error(
        "the gzip checksum at byte {offset} of the compressed file is {found:#010x}, expected {expected:#010x} for the \
         data before it"
    )]
    GzipChecksum {
        /// The offset of the checksum.
        offset: u64,
        /// The checksum in the file.
        found: u32,
        /// The checksum of the data.
        expected: u32,
    },

    /// The length of a gzip member does not match its data.
    #[error(
        "the gzip length at byte {offset} of the compressed file is {found}, expected {expected} for the data before it"
    )]
    GzipLength {
        /// The offset of the length.
        offset: u64,
        /// The length in the file (modulo 4 GiB).
        found: u32,
        /// The length of the data (modulo 4 GiB).
        expected: u32,
    },

    /// The last gzip member is followed by other data.
    #[error("unexpected data after the gzip data, at byte {offset} of the compressed file")]
    GzipTrailing {
        /// The start of that data.
        offset: u64,
    },

    /// The body is longer than [`Limits::body_bytes`](super::Limits::body_bytes) allows.
    #[error("the body, from byte {offset} on, is longer than the limit of {limit_bytes} bytes: stopped reading")]
    TooLarge {
        /// The offset of the body.
        offset: u64,
        /// The limit.
        limit_bytes: u64,
    },

    /// The compressed file is longer than any body within [`Limits::body_bytes`](super::Limits::body_bytes) compresses
    /// to.
    #[error("the compressed file is too long for a body within the limit of {limit_bytes} bytes: stopped reading")]
    CompressedTooLarge {
        /// The limit on the body.
        limit_bytes: u64,
    },

    /// The reader failed.
    #[error("reading failed at byte {offset}: {source}")]
    Io {
        /// The number of bytes read before.
        offset: u64,
        /// The cause.
        source: io::Error,
    },

    /// The writer of an export failed.
    #[error("writing failed: {source}")]
    Write {
        /// The cause.
        source: io::Error,
    },

    /// A picture could not be decoded, or a plot could not be rendered.
    #[error("cannot draw the picture: {problem}")]
    Picture {
        /// The cause.
        problem: String,
    },

    /// A [`Builder`](super::Builder) was given a value out of range.
    #[error("cannot make a job with {what} {value}: expected {expected}")]
    Make {
        /// The name of the value.
        what: &'static str,
        /// The value.
        value: f64,
        /// The valid range.
        expected: &'static str,
    },

    /// A drawing has an unknown or malformed element, or leaves the machine's range.
    #[error("line {line}, column {column}: {found}, expected {expected}")]
    Drawing {
        /// The line, counted from 1.
        line: u64,
        /// The byte in the line, counted from 1.
        column: u64,
        /// What was found there.
        found: String,
        /// What was expected.
        expected: String,
    },

    /// Settings of layers are wrong.
    #[error("the settings of layer {layer}: {problem}")]
    Layer {
        /// The name of the layer, or of the file with the settings.
        layer: String,
        /// What is wrong, and what is expected.
        problem: String,
    },

    /// An SVG file cannot be drawn, for a reason without a place in its text.
    #[error("the SVG file has {found}, expected {expected}")]
    Svg {
        /// What was found.
        found: String,
        /// What was expected.
        expected: String,
    },
}

impl Error {
    /// Returns whether a machine refuses the file before anything moves, because it is no pulse file or exceeds the
    /// limit. Other errors mean that the file was damaged or truncated in transit.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        matches!(self, Self::Magic { .. } | Self::HeaderLength { .. } | Self::HeaderCut { .. }) || self.is_too_large()
    }

    /// Returns whether the file exceeds the limit: [`Error::TooLarge`] or [`Error::CompressedTooLarge`].
    #[must_use]
    pub fn is_too_large(&self) -> bool {
        matches!(self, Self::TooLarge { .. } | Self::CompressedTooLarge { .. })
    }
}
