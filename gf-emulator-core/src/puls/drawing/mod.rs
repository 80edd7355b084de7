//! Drawings that other programs make, and how they get onto a job: where they lie, and curves as chords.
//!
//! Each kind of drawing is read by a module of its own; none of them holds more of it than the text that it is handed and
//! some thousands of legs.

pub mod gcode;
mod place;
pub mod svgpath;
mod words;

use super::make::{Mark, check_coordinate};
use super::{Builder, Error, Laser, Leg, Result};

/// The longest drawing that is read, in bytes.
pub const MAX_DRAWING_BYTES: usize = 64 << 20;

/// How far a chord may be from its curve: half of a microstep.
const TOLERANCE_MM: f64 = 0.01;
/// A path is handed over after so many legs at the latest, and comes to rest there.
const MAX_LEGS: usize = 1 << 18;

/// Where on the machine a drawing lies. Its origin is where G-code begins: the head travels there first.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Placement {
    /// Where the drawing's origin is, in mm to the right of where the job begins.
    pub x_mm: f64,
    /// Where the drawing's origin is, in mm to the front of where the job begins.
    pub y_mm: f64,
    /// Whether the drawing's Y goes to the back, as that of most G-code does. The machine's goes to the front, and so
    /// does that of SVG.
    pub flip_y: bool,
}

/// A drawing on its way onto a job: legs that wait until the head has to stop.
struct Route<'a> {
    job: &'a mut Builder,
    before: Mark,
    placement: Placement,
    legs: Vec<Leg>,
}

impl<'a> Route<'a> {
    fn new(job: &'a mut Builder, placement: Placement) -> Result<Self> {
        for value in [placement.x_mm, placement.y_mm] {
            check_coordinate(value)?;
        }
        let before = job.mark();
        Ok(Self { job, before, placement, legs: Vec::new() })
    }

    /// Goes straight to a place in the drawing, in mm.
    fn line_to(&mut self, [x, y]: [f64; 2], speed_mm_s: f64, laser: Laser) -> Result<()> {
        let Placement { x_mm, y_mm, flip_y } = self.placement;
        let leg = Leg { x_mm: x_mm + x, y_mm: if flip_y { y_mm - y } else { y_mm + y }, speed_mm_s, laser };
        check_coordinate(leg.x_mm)?;
        check_coordinate(leg.y_mm)?;
        self.legs.push(leg);
        if self.legs.len() < MAX_LEGS { Ok(()) } else { self.stop() }
    }

    fn travel_to(&mut self, to: [f64; 2]) -> Result<()> {
        self.line_to(to, self.job.travel_speed_mm_s(), Laser::Off)
    }

    /// Comes to rest.
    fn stop(&mut self) -> Result<()> {
        self.job.path(&self.legs)?;
        self.legs.clear();
        Ok(())
    }

    /// Leaves the job as it was before, where something went wrong.
    fn end(mut self, result: Result<()>) -> Result<()> {
        let result = result.and_then(|()| self.stop());
        if result.is_err() {
            self.job.undo(self.before);
        }
        result
    }
}

fn check_length(drawing: &[u8]) -> Result<()> {
    if drawing.len() <= MAX_DRAWING_BYTES {
        return Ok(());
    }
    Err(Error::Make { what: "a drawing in bytes of", value: drawing.len() as f64, expected: "at most 67108864" })
}
