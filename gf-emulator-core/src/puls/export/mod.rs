//! Exports a job as CSV, JSON or G-code, streaming in bounded memory.

mod csv;
mod gcode;
mod gcode_fire;
mod gcode_runs;
mod gcode_speed;
mod json;
mod tick_watch;

use std::io::{self, Read, Write};

use super::{Error, Header, Job, Measured, Meter, Result, Segment};
use gcode::GcodeWriter;

/// An export format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Format {
    /// One row per segment after a header row: times in seconds, positions in millimetres from the start of the job (+Y
    /// to the front), speed in mm/s. Times and speed are empty if the header has no step frequency, power before the
    /// first power byte.
    Csv,
    /// One object: `source`, `segments` (an array, with positions in steps and times in ticks), `info` (a serialized
    /// [`Measured`]) and `timeline` (`bin_ticks`, and `bins` of `ticks`, `fire_ticks`, `peak_mm_s`, `z_max`).
    Json,
    /// For GRBL in laser mode (`$32=1`, and `$30=1000`, its default). Coordinates are the machine's: millimetres from
    /// the start of the job, +X to the right, +Y to the front, +Z up.
    ///
    /// A straight run is one line, `G1` with an `F` in mm/min. Its `S`, from 0 to 1000, is the share of ticks that fire
    /// times the power level, of 127. `F` is chosen so that a controller with the accelerations of the machine's jobs
    /// (700 and 590 mm/s2) takes as long as the job. `G0` is travel at the speed of [`Builder`](super::Builder), 200
    /// mm/s. A path is cut under `M4` if its density follows the speed, else under `M3`; `G4` is a rest.
    ///
    /// `gcode::draw` reads back the same path to 0.05 mm, and time and dose to 1 %, unless the job is faster than such a
    /// controller, such as a curve at more than 0.7 of the speed that these accelerations allow: a comment at the end of
    /// the file says by how much. Comments at its head say what G-code cannot carry.
    Gcode,
}

/// The number of ticks processed at a time.
const PIECE_TICKS: usize = 4096;

/// Exports the part of a job that has not been read yet. `source`, usually the file name, is written to the export.
///
/// ```
/// use gf_emulator_core::puls::{Builder, Format, Job, export};
///
/// let mut made = Builder::new();
/// made.move_to(3.0, 0.0)?.cut_to(3.0, 2.0, 50.0, 0.5)?;
/// let mut gcode = Vec::new();
/// export(Job::open(&made.to_bytes()[..])?, Format::Gcode, "mark.puls", &mut gcode)?;
/// let gcode = String::from_utf8(gcode).unwrap();
/// assert!(gcode.contains("G0 X3\n"), "{gcode}");
/// # Ok::<(), gf_emulator_core::puls::Error>(())
/// ```
///
/// # Errors
/// Those of [`Job::next_chunk`], and [`Error::Write`] if `writer` fails. The output is incomplete then.
pub fn export<R: Read>(mut job: Job<R>, format: Format, source: &str, writer: &mut dyn Write) -> Result<Measured> {
    let header = job.header().clone();
    let mut exporter =
        Exporter { writer, header: &header, format, segments: 0, gcode: GcodeWriter::new(&header), error: None };
    exporter.attempt(|exporter| exporter.begin(source));
    let mut meter = Meter::new(&header);
    while let Some(chunk) = job.next_chunk()? {
        for ticks in chunk.chunks(PIECE_TICKS) {
            if format == Format::Gcode {
                exporter.gcode.add_ticks(ticks);
            }
            meter.add(ticks, &mut |segment| exporter.attempt(|exporter| exporter.segment(segment)));
        }
        exporter.check()?;
    }
    let measured = meter.finish(&mut |segment| exporter.attempt(|exporter| exporter.segment(segment)));
    exporter.attempt(|exporter| exporter.end(&measured));
    exporter.attempt(|exporter| exporter.writer.flush());
    exporter.check()?;
    Ok(measured)
}

/// Writes segments in one format.
struct Exporter<'a> {
    writer: &'a mut dyn Write,
    header: &'a Header,
    format: Format,
    /// How many have been written.
    segments: u64,
    gcode: GcodeWriter,
    /// The first error of the writer.
    error: Option<io::Error>,
}

impl Exporter<'_> {
    /// Writes, unless a write has failed before.
    fn attempt(&mut self, write: impl FnOnce(&mut Self) -> io::Result<()>) {
        if self.error.is_none() {
            self.error = write(self).err();
        }
    }

    fn check(&mut self) -> Result<()> {
        self.error.take().map_or(Ok(()), |source| Err(Error::Write { source }))
    }

    fn begin(&mut self, source: &str) -> io::Result<()> {
        match self.format {
            Format::Csv => csv::begin(self.writer),
            Format::Json => json::begin(self.writer, source),
            Format::Gcode => self.gcode.begin(self.writer, source),
        }
    }

    fn segment(&mut self, segment: &Segment) -> io::Result<()> {
        let is_first = self.segments == 0;
        self.segments += 1;
        match self.format {
            Format::Csv => csv::segment(self.writer, self.header, segment),
            Format::Json => json::segment(self.writer, is_first, segment),
            Format::Gcode => self.gcode.segment(self.writer, segment),
        }
    }

    fn end(&mut self, measured: &Measured) -> io::Result<()> {
        match self.format {
            Format::Csv => Ok(()),
            Format::Json => json::end(self.writer, measured),
            Format::Gcode => self.gcode.end(self.writer),
        }
    }
}
