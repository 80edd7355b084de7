//! G-code for a laser with a GRBL controller, as [`export`](super::super::export) and laser cutter programs write it.
//!
//! | word | effect |
//! |---|---|
//! | `G0` | travels with the laser off, at the job's travel speed |
//! | `G1` `G2` `G3` | moves straight, clockwise, counterclockwise (around the centre `I` `J`, or with radius `R`) at `F` |
//! | `G4 P` | dwells for `P` seconds; under `M3` the laser fires, unless `G0` is in force |
//! | `G20` `G21` | inches, millimetres (default) |
//! | `G90` `G91` | absolute coordinates (default), relative coordinates |
//! | `G90.1` `G91.1` | arc centres absolute, or relative to the arc's start (default) |
//! | `G93` `G94` | `F` is moves per minute, or mm or inches per minute (default) |
//! | `G92` `G92.1` | sets the origin so that the head is at these coordinates, without a move; undoes that |
//! | `G54` to `G59` | coordinate systems. What a controller has stored is not known: their origins are 0,0, with a remark |
//! | `G10 L2` `G10 L20` | sets the origin of a coordinate system |
//! | `G53` | one line in machine coordinates, which are those from the drawing's origin |
//! | `G28` `G30` | travels to a stored position, at first 0,0 (for `G30` with a remark), by way of those in the line |
//! | `G28.1` `G30.1` | stores that position |
//! | `G43.1` `G49` | shifts Z, ends that |
//! | `M3` `M5` | laser on with constant density, laser off (default) |
//! | `M4` | laser on with constant dose ([`Laser::Dynamic`](super::super::Laser::Dynamic)) |
//! | `P` beside `S` | no effect: a percentage for Snapmaker |
//! | `S` | the density, from 0 to [`Settings::s_max`]; 0 is off, more is taken as the maximum, with a remark |
//! | `F` | the speed in mm or inches per minute; 50 mm/s before the first one, with a remark, if there is a laser |
//! | `X` `Y` `Z` | the target; Z is the lens |
//! | `M2` `M30` | the end of the program; nothing after it is read |
//! | `M0` `M1` `M6` `M60` | pauses and tool changes: ignored with a remark |
//! | `M106` `M107` | fan, ignored with a remark, or the laser: see below |
//! | `M649`, or `B0` and `D` beside a move | the laser of one kind of Marlin, with a remark: see below |
//! | `M105` `M117` `M400` and others of printers | no effect on a job: ignored with their line, with a remark |
//! | lines with `$` | ignored with a remark; `$J` is an error |
//! | `G8` `G15` `G17` `G40` `G43` `G50` `G61` `G64` `G69` `G80` `G97` `G98` `G99` | no effect |
//! | `M7` `M8` `M9` `M48` `M49` `M56`, `D` `H` `L` `N` `O` `Q` `T` | no effect |
//! | `G18` `G19` | accepted; arcs in these planes are an error |
//!
//! `M106` is the laser in a program with `M106 S`, but without `M3`, `M4`, moves of Z under it, `M82`, `M83` and comments
//! of printers: from 0 to 255 whatever [`Settings::s_max`] is, in `G0` as well, with a remark, and `G4 P` is in
//! milliseconds, as for Marlin. In other programs without `M3` and `M4`, it is an error.
//!
//! `M649`, or `B0` and `D` beside a move, sets the laser of one kind of Marlin: `S` is a percentage, 100 at first, whatever
//! [`Settings::s_max`] is, and `G4 P` is in milliseconds. Without `M3` and `M4` in the program, `G1`, `G2` and `G3` fire by
//! themselves. `L` and `P` have no effect; `B1` (pulses), `B2` and `G7` (pictures) are errors.
//!
//! Motion modes are modal. Letters may be lowercase and spaces omitted; `( )` and `;` are comments. Lines end with LF,
//! CR LF or CR. A line that starts with `%`, a `/` at the start of a line, the real-time commands `?` `!` `~`,
//! checksums (`*57`), a byte order mark, and Ctrl-Z or NUL around a line are ignored.
//!
//! Everything else is an error with a position, and with a reason where it is known what the program wants: helical
//! arcs, exponents, splines, drilling cycles, probes, subprograms, variables, other axes, Marlin's inline mode (`M3 I`).
//!
//! Consecutive moves form one path ([`Builder::path`]). The head comes to rest for a dwell, when the laser mode
//! changes, and when the lens moves; the lens moves before the head, with the laser off. Coordinates are the machine's:
//! mm from the start of the job, X to the right, Y to the front. [`Placement`] changes that.

mod arc;
mod block;
mod codes;
mod controller;
mod dialect;
mod lines;
mod remarks;
mod use_of_laser;
mod words;

use super::super::{Builder, Error, Result};
use super::{MoveQueue, Placement, check_length};
use controller::Controller;
pub use remarks::Remark;

/// How G-code is drawn.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Settings {
    /// Where the drawing is placed.
    pub placement: Placement,
    /// The `S` at which the laser fires in every tick: GRBL's `$30`, 1000 by default.
    pub s_max: f64,
}

impl Default for Settings {
    fn default() -> Self {
        Self { placement: Placement::default(), s_max: 1000.0 }
    }
}

/// Adds G-code to a job. Comments may be in any encoding but UTF-16.
///
/// Returns one remark for each kind of thing that is ignored, or that may not be meant so: a laser that never
/// fires, an `S` far from or above the maximum, and which way Y points, unless [`Placement::flip_y`] is set or a comment
/// at the start says `Y to the front`, as exported jobs do.
///
/// ```
/// use gf_emulator_core::puls::{Builder, gcode};
///
/// let mut job = Builder::new();
/// let program = b"G0 X10 Y10\nM4 S430 F1200\nG1 X20\nG2 Y20 J5\nM0";
/// let remarks = gcode::draw(&mut job, program, &gcode::Settings::default())?;
/// assert_eq!((job.position().x, job.position().y), (1067, 1067));
/// assert!(remarks[0].to_string().starts_with("line 5: M0, M1 and M6 wait for a person"));
///
/// let error = gcode::draw(&mut job, b"G0 X10\nG5 X20", &gcode::Settings::default()).unwrap_err();
/// assert!(error.to_string().starts_with("line 2, column 1: \"G5\", a spline, expected straight moves"));
/// # Ok::<(), gf_emulator_core::puls::Error>(())
/// ```
///
/// # Errors
/// The job is unchanged after an error.
/// - [`Error::Drawing`] if a word is unknown or malformed, or leaves the machine's range.
/// - [`Error::Make`] if the job gets too long, the text is longer than
///   [`MAX_DRAWING_BYTES`](super::super::MAX_DRAWING_BYTES), or `s_max` or the placement is out of range.
pub fn draw(job: &mut Builder, gcode: &[u8], settings: &Settings) -> Result<Vec<Remark>> {
    check_length(gcode)?;
    let s_max = settings.s_max;
    if !(s_max > 0.0 && s_max.is_finite()) {
        return Err(Error::Make { what: "a maximum S of", value: s_max, expected: "a number above 0" });
    }
    let mut controller = Controller::new(MoveQueue::new(job, settings.placement)?, s_max);
    let result = controller.run(gcode);
    let Controller { queue, remarks, use_of_laser, s_max, .. } = controller;
    queue.finish(result)?;
    let mut remarks = remarks.0;
    let start = &gcode[..gcode.len().min(1024)];
    remarks.extend(use_of_laser.remarks(s_max, settings.placement, start));
    Ok(remarks)
}

/// Returns whether the first line with words looks like G-code.
pub(super) fn looks_like(text: &[u8]) -> bool {
    let Ok(lines) = lines::lines(text) else { return false };
    let lines = lines.filter(|(_, line)| !line.text.starts_with(b"$"));
    let first = lines.map(|(number, line)| words::Words::new(line, number)).find_map(|mut words| words.next());
    first.is_some_and(|word| word.is_ok_and(|word| word.number.is_some() && b"FGMNOSTXYZ".contains(&word.letter)))
}
