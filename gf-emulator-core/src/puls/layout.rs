//! Offsets and sizes of a pulse file's header.

use std::ops::Range;

/// The first byte of every file seen. No known client checks it.
pub const LEAD: u8 = 0x80;
/// The offset of the magic.
pub const MAGIC: Range<usize> = 1..4;
/// The magic.
pub const MAGIC_BYTES: &[u8; 3] = b"GF1";
/// The offset of the header's total length, a little-endian `u32`.
pub const LENGTH: Range<usize> = 4..8;
/// The size of lead byte, magic and length, before the first record.
pub const PREFIX_BYTES: usize = 8;
/// The size of a record: a 4-character code and a little-endian `u32`.
pub const RECORD_BYTES: usize = 8;
/// The longest header that is accepted. Those seen are shorter than 2 KiB.
pub const MAX_HEADER_BYTES: usize = 64 * 1024;
