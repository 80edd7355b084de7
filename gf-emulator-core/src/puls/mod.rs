//! Pulse files (`.puls`): what a job is made of, byte by byte.
//!
//! This room owns the format: its header, its steps, how it is compressed, what can be measured in it, how it looks, and
//! how one is made, by hand or from a drawing. It is pure and can be used without the rest of the crate: it opens no file,
//! knows no network and no clock, and reads only from what the caller hands it.
//!
//! # The format
//! A file begins with a header: one byte (0x80 in every file seen), `GF1`, the header's whole length as a
//! little-endian `u32` (a multiple of 8, these 8 bytes included), then records of 8 bytes: a 4-character code and a
//! little-endian `u32`. Everything after it is the body, one byte a tick, played at `STfr` ticks a second. What the bits
//! of a tick mean is in [`tick`]. The file may come gzip-compressed as a whole.
//!
//! The format is undocumented by its maker. What is known of it comes from the `OpenGlow` community's public work.
//!
//! # Measure one
//! ```
//! use gf_emulator_core::puls::{self, Builder, Limits};
//!
//! let file = Builder::new().move_to(10.0, 5.0)?.to_gzip();
//! let measured = puls::measure(&file[..], Limits::default())?;
//! assert_eq!(measured.counts.x_end(), 533); // 53.333 microsteps a millimetre
//! # Ok::<(), puls::Error>(())
//! ```

mod avx2;
mod check;
mod cone;
mod counts;
mod drawing;
mod error;
mod export;
mod extents;
mod header;
mod job;
mod make;
mod measured;
mod meter;
mod paths;
mod planes;
#[cfg(feature = "plot")]
mod plot;
mod position;
mod seconds;
mod segment;
mod source;
mod steps;
mod summary;
pub mod tick;
mod timeline;
mod trace;
mod verify;

#[cfg(test)]
mod tests;

pub use check::{Refusal, Remark};
pub use counts::Counts;
pub use drawing::{MAX_DRAWING_BYTES, Placement, gcode, svgpath};
pub use error::{Error, Result};
pub use export::{Format, export};
pub use extents::{Extents, FireBox, Span};
pub use header::{Code, Header, Record, code, field};
pub use job::{Job, Limits};
pub use make::{Builder, Laser, Leg, MAX_COORDINATE_MM, MAX_LENS_MM, MAX_TICKS};
pub use measured::{Dose, Measured, measure};
pub use meter::Meter;
pub use paths::Tracer;
#[cfg(feature = "plot")]
pub use plot::{FARTHEST_MM, Plot, Sheet, View, WIDTHS_PX, WORK_AREA_MM};
pub use position::Position;
pub use seconds::Seconds;
pub use segment::Segment;
pub use source::Kind;
pub use steps::{Paths, Step, Steps};
#[cfg(feature = "plot")]
pub use summary::off_bed;
pub use summary::{JobRow, Summary};
pub use timeline::{Bin, Timeline};
pub use verify::refusal_reasons;
