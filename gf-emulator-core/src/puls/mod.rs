//! Pulse files (`.puls`), the machine's jobs: reading, measuring, checking, plotting, exporting and creating them.
//!
//! [`Job`] reads a file; [`machine::Job`](crate::machine::Job) is a downloaded file that a machine plays.
//!
//! This module is pure and independent of the rest of the crate: no file system, no network, no clock. Only
//! [`measure`] and [`Job::measure`] may start a thread, which ends before they return.
//!
//! # Format
//! A file starts with a header: one byte (0x80 in every file seen), `GF1`, the header's total length as a little-endian
//! `u32` (a multiple of 8, including these 8 bytes), then records of 8 bytes: a 4-character code and a little-endian
//! `u32`. The rest is the body, one byte per tick, played at `STfr` ticks per second; [`tick`] has the bits. The whole
//! file may be gzip-compressed.
//!
//! The maker has not documented the format. It is known from public work of the `OpenGlow` community and from captured
//! files.
//!
//! # Example
//! ```
//! use gf_emulator_core::puls::{self, Builder, Limits};
//!
//! let file = Builder::new().move_to(10.0, 5.0)?.to_gzip();
//! let measured = puls::measure(&file[..], Limits::default())?;
//! assert_eq!(measured.counts.x_end(), 533); // 53.333 microsteps per millimetre
//! # Ok::<(), puls::Error>(())
//! ```

mod bed;
mod bit_planes;
mod body_rules;
mod check;
mod counts;
mod detail;
mod diff;
#[cfg(feature = "drawing")]
mod drawing;
mod error;
mod export;
mod extents;
mod finding;
mod findings;
mod fire_box;
mod header;
mod header_rules;
mod job;
mod laser_gaps;
pub mod layout;
mod lengths;
mod limit;
mod make;
mod measured;
mod meter;
#[cfg(feature = "plot")]
mod plot;
mod position;
mod reach;
mod sampler;
mod seconds;
mod segment;
mod segmenter;
mod side_by_side;
mod source;
mod span;
mod straight_line;
mod summary;
#[cfg(any(feature = "drawing", feature = "plot"))]
mod svg_options;
pub mod tick;
mod ticks;
mod timeline;
mod tracer;
mod verify;

#[cfg(test)]
mod tests;

pub use bed::{WORK_AREA_MM, off_bed};
pub use check::{Refusal, Remark};
pub use counts::Counts;
pub use diff::{CodeDifference, Difference, DifferenceError, Distance};
#[cfg(feature = "drawing")]
pub use drawing::picture::Picture;
#[cfg(feature = "drawing")]
pub use drawing::raster::{ENGRAVING_DPI, Engraving, MAX_RASTER_PIXELS, Raster, Shading};
#[cfg(feature = "drawing")]
pub use drawing::{
    Contour, DrawingKind, FillRule, LayerSettings, Layers, MAX_DRAWING_BYTES, Placement, Treatment, cut, gcode, order,
    read_drawing, svg, svgpath, travel_mm,
};
pub use error::{Error, Result};
pub use export::{Format, export};
pub use extents::Extents;
pub use finding::{Finding, Severity};
pub use findings::{CheckOptions, Findings, check};
pub use fire_box::FireBox;
pub use header::{Code, Header, Record, code};
pub use job::{Job, Limits};
pub use make::{
    Builder, Laser, MADE_FREQUENCIES_HZ, MAX_COORDINATE_MM, MAX_LENS_MM, MAX_TICKS, MIN_LENS_MM, Move, Power,
};
pub use measured::{Dose, Dots, Measured};
pub use meter::Meter;
#[cfg(feature = "plot")]
pub use plot::{MAX_DISTANCE_MM, Plot, PlotOptions, View, WIDTHS_PX};
pub use position::Position;
pub use seconds::Seconds;
pub use segment::Segment;
pub use side_by_side::measure;
pub use source::Encoding;
pub use span::Span;
pub use summary::{JobRow, Summary};
pub use ticks::{Segments, Tick, Ticks};
pub use timeline::{Bin, Timeline};
pub use tracer::Tracer;
pub use verify::refusal_reasons;
