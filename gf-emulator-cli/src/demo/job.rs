//! The demo's job: a square with a star in it.

use std::f64::consts::{FRAC_PI_2, TAU};

use gf_emulator_core::puls::{Builder, Laser, Move, Result};

const SIDE_MM: f64 = 40.0;
/// From the origin, back left, to the square's nearest corner.
const MARGIN_MM: f64 = 20.0;
const STAR_RADIUS_MM: f64 = 16.0;
const CUT_SPEED_MM_S: f64 = 60.0;
/// Three ticks of seven fire: what a machine's own jobs cut thin wood with.
const FIRE_DENSITY: f64 = 3.0 / 7.0;

/// The file.
pub(super) fn make() -> Result<Vec<u8>> {
    let (near, far, middle) = (MARGIN_MM, MARGIN_MM + SIDE_MM, MARGIN_MM + SIDE_MM / 2.0);
    // Every second of five corners: five strokes, one behind the other.
    let star = (0..=5).map(|corner| {
        let angle = TAU * f64::from(corner * 2) / 5.0 - FRAC_PI_2;
        (middle + STAR_RADIUS_MM * angle.cos(), middle + STAR_RADIUS_MM * angle.sin())
    });
    let square = [(near, near), (far, near), (far, far), (near, far), (near, near)];

    let mut job = Builder::new();
    job.power(127)?;
    cut(&mut job, star)?;
    cut(&mut job, square.into_iter())?;
    job.move_to(0.0, 0.0)?;
    Ok(job.to_bytes())
}

fn cut(job: &mut Builder, mut corners: impl Iterator<Item = (f64, f64)>) -> Result<()> {
    if let Some((x_mm, y_mm)) = corners.next() {
        job.move_to(x_mm, y_mm)?;
    }
    let laser = Laser::Constant(FIRE_DENSITY);
    let strokes: Vec<_> = corners.map(|(x_mm, y_mm)| Move::new(x_mm, y_mm, CUT_SPEED_MM_S, laser)).collect();
    job.path(&strokes)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use gf_emulator_core::puls::{Limits, measure};

    use super::*;

    #[test]
    fn comes_back_to_where_it_began_and_runs_on_any_machine() {
        let file = make().unwrap();
        let measured = measure(&file[..], Limits::default()).unwrap();
        assert_eq!(measured.header.check(Some(12_345_678)), []);
        assert_eq!((measured.counts.x_end(), measured.counts.y_end(), measured.counts.lp), (0, 0, 1));
        assert!(measured.counts.le > 1000 && measured.ticks < 200_000, "{measured:?}");
    }
}
