//! Exports a job as CSV, JSON or G-code, streaming in constant memory.

use std::io::{self, Read, Write};

use serde_json::json;

use super::{Error, Header, Job, Measured, Meter, Result, Segment};

/// An export format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Format {
    /// One row per segment after a header row: times in seconds, positions in millimetres from the start of the job (+Y
    /// to the front), speed in mm/s. Times and speed are empty if the header has no step frequency, power before the
    /// first power byte.
    Csv,
    /// One object: `source`, `segments` (an array, with positions in steps and times in ticks), `info` (a serialized
    /// [`Measured`]) and `timeline` (`bin_ticks`, and `bins` of `ticks`, `fire_ticks`, `peak_mm_s`).
    Json,
    /// For GRBL in laser mode (`$32=1`, and `$30=1000`, its default): `G0` with the laser off, `G1` under `M4` with the
    /// laser on, `S` for fire density from 0 to 1000, `F` in mm/min, `G4` for rests. Coordinates are the machine's:
    /// millimetres from the start of the job, +X to the right, +Y to the front, +Z up.
    Gcode,
}

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
    let mut exporter = Exporter { writer, header: &header, format, modal: ModalState::default(), error: None };
    exporter.attempt(|exporter| exporter.begin(source));
    let mut meter = Meter::new(&header);
    while let Some(chunk) = job.next_chunk()? {
        meter.add(chunk, &mut |segment| exporter.attempt(|exporter| exporter.segment(segment)));
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
    modal: ModalState,
    /// The first error of the writer.
    error: Option<io::Error>,
}

/// The number of segments written, and the G-code values in force.
#[derive(Default)]
struct ModalState {
    segments: u64,
    motion: Option<&'static str>,
    s: Option<u64>,
    f: Option<String>,
}

/// The step frequency of prints, for G-code if a header has none.
const DEFAULT_HZ: f64 = 10_000.0;
/// The `S` at which the laser fires in every tick: GRBL's default.
const FULL_S: u64 = 1000;
/// The longest name: controllers take lines of 80 bytes.
const NAME_CHARS: usize = 60;

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
            Format::Csv => writeln!(
                self.writer,
                "start_tick,ticks,start_s,duration_s,x_mm,y_mm,z_mm,to_x_mm,to_y_mm,to_z_mm,length_mm,speed_mm_s,laser,\
                 fire_ticks,fire_density,power"
            ),
            Format::Json => write!(self.writer, "{{\"source\":{},\"segments\":[", json!(source)),
            Format::Gcode => {
                // The name is untrusted: it must not end the comment, or have real-time commands of a controller.
                let plain = |c: char| if c.is_ascii_graphic() && !"();!~?$%".contains(c) { c } else { '_' };
                let name: String = source.chars().take(NAME_CHARS).map(plain).collect();
                writeln!(
                    self.writer,
                    "; from {name}\n\
                     ; mm, X to the right, Y to the front, from where the job begins\n\
                     ; for GRBL in laser mode ($32=1); S0 to S1000 ($30=1000)\n\
                     G21 G90 G94\nM4 S0"
                )
            }
        }
    }

    fn segment(&mut self, segment: &Segment) -> io::Result<()> {
        let first = self.modal.segments == 0;
        self.modal.segments += 1;
        match self.format {
            Format::Csv => self.csv(segment),
            Format::Json => {
                self.writer.write_all(if first { b"\n" } else { b",\n" })?;
                serde_json::to_writer(&mut *self.writer, segment).map_err(io::Error::from)
            }
            Format::Gcode => self.gcode(segment),
        }
    }

    fn end(&mut self, measured: &Measured) -> io::Result<()> {
        match self.format {
            Format::Csv => Ok(()),
            Format::Json => {
                let timeline = json!({"bin_ticks": measured.timeline.bin_ticks(), "bins": measured.timeline.bins()});
                self.writer.write_all(b"\n],\n\"info\":")?;
                serde_json::to_writer(&mut *self.writer, measured)?;
                writeln!(self.writer, ",\n\"timeline\":{timeline}}}")
            }
            Format::Gcode => writeln!(self.writer, "M5 S0\nM2"),
        }
    }

    fn csv(&mut self, segment: &Segment) -> io::Result<()> {
        let Segment { start_tick, ticks, start, end, laser, fire_ticks, power } = segment;
        let header = self.header;
        let hz = header.step_frequency_hz();
        write!(self.writer, "{start_tick},{ticks},")?;
        match hz.map(f64::from) {
            Some(hz) => write!(self.writer, "{:.6},{:.6},", *start_tick as f64 / hz, *ticks as f64 / hz)?,
            None => self.writer.write_all(b",,")?,
        }
        for at in [start, end] {
            // Five decimals: a microstep is 0.01875 mm.
            write!(self.writer, "{:.5},{:.5},{:.5},", header.x_mm(at.x), header.y_mm(at.y), header.z_mm(at.z))?;
        }
        write!(self.writer, "{:.5},", segment.length_mm(header))?;
        if let Some(speed) = segment.speed_mm_s(header) {
            write!(self.writer, "{speed:.3}")?;
        }
        write!(self.writer, ",{},{fire_ticks},{:.4},", u8::from(*laser), segment.fire_density())?;
        if let Some(power) = power {
            write!(self.writer, "{power}")?;
        }
        writeln!(self.writer)
    }

    fn gcode(&mut self, segment: &Segment) -> io::Result<()> {
        let header = self.header;
        let hz = header.step_frequency_hz().map_or(DEFAULT_HZ, f64::from);
        let duration_s = segment.ticks as f64 / hz;
        let s = ((segment.fire_ticks * FULL_S + segment.ticks / 2) / segment.ticks).max(u64::from(segment.laser));
        if segment.is_rest() {
            return if segment.laser {
                // M4 turns the laser off at rest, and so does G0.
                self.modal.s = None;
                self.modal.motion = Some("G1");
                let f = self.modal.f.get_or_insert_with(|| "600".to_owned());
                writeln!(self.writer, "G1 F{f} M3 S{s}\nG4 P{duration_s:.4}\nM4 S0")
            } else {
                writeln!(self.writer, "G4 P{duration_s:.4}")
            };
        }
        let motion = if segment.laser { "G1" } else { "G0" };
        let mut words = String::new();
        if self.modal.motion.replace(motion) != Some(motion) {
            words.push_str(motion);
        }
        let axes = [
            ('X', segment.start.x, segment.end.x, header.x_mm(segment.end.x)),
            ('Y', segment.start.y, segment.end.y, header.y_mm(segment.end.y)),
            ('Z', segment.start.z, segment.end.z, header.z_mm(segment.end.z)),
        ];
        for (axis, from, to, mm) in axes {
            if from != to {
                push_word(&mut words, axis, &decimal(mm));
            }
        }
        if segment.laser {
            let length_mm = segment.length_mm(header).hypot(header.z_mm(segment.end.z - segment.start.z));
            let f = format!("{:.0}", (length_mm / duration_s * 60.0).max(1.0));
            if self.modal.f.as_ref() != Some(&f) {
                push_word(&mut words, 'F', &f);
                self.modal.f = Some(f);
            }
            if self.modal.s.replace(s) != Some(s) {
                push_word(&mut words, 'S', &s.to_string());
            }
        }
        writeln!(self.writer, "{words}")
    }
}

fn push_word(words: &mut String, letter: char, value: &str) {
    if !words.is_empty() {
        words.push(' ');
    }
    words.push(letter);
    words.push_str(value);
}

/// Formats a number with up to three decimals.
fn decimal(value: f64) -> String {
    let text = format!("{value:.3}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0".to_owned() } else { text.to_owned() }
}
