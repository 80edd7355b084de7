//! Sample jobs: a hunt, a motion and a print that differ as those of the cloud do.

use std::f64::consts::{FRAC_PI_2, TAU};

use crate::puls::{Builder, Laser, Move, Power, Result};

/// The length of a hunt, captured from the cloud with firmware 2.6: 15874 ticks at 10 kHz.
const HUNT_S: f64 = 1.5874;
/// The step frequency of travel, captured with firmware 2.6.
pub(super) const TRAVEL_HZ: u32 = 28_160;
/// The travel to the back left corner at the end of homing, captured with firmware 2.6: -13096 and -7400 microsteps.
const TO_CORNER_MM: (f64, f64) = (-245.55, -138.75);

/// A hunt lowers the lens: 4 full steps in a captured hunt.
const HUNT_STEPS: i64 = -4;
/// The material in a print: assumed.
const MATERIAL_MM: f64 = 3.0;
const MARGIN_MM: f64 = 20.0;
const SQUARE_MM: f64 = 40.0;
const STAR_RADIUS_MM: f64 = 16.0;
const DISC_RADIUS_MM: f64 = 5.0;
const MIDDLE_MM: f64 = MARGIN_MM + SQUARE_MM / 2.0;
/// The square: measured on hardware for a cut at full power.
const CUT_SPEED_MM_S: f64 = 9.44;
/// The star: assumed.
const STAR_SPEED_MM_S: f64 = 60.0;
const STAR_POWER: Power = Power::Setting(50.0);
/// The disc: the speed of a captured print and the fire density of a measured engraving. The line distance is assumed.
const ENGRAVING_SPEED_MM_S: f64 = 145.0;
const ENGRAVING_DENSITY: f64 = 0.065;
const LINE_DISTANCE_MM: f64 = 0.3;
/// Where a line may speed up and slow down: 145 mm/s takes 15 mm at 700 mm/s2.
const OVERSCAN_MM: f64 = 15.5;

/// The lens 4 full steps down, then at rest; no laser and no X or Y.
pub(super) fn hunt() -> Result<Vec<u8>> {
    let mut job = Builder::new();
    job.lens_to(job.header().z_mm(HUNT_STEPS))?;
    let lens_s = job.body().len() as f64 / 10_000.0;
    Ok(job.dwell(HUNT_S - lens_s)?.to_bytes())
}

/// Travel without the laser, at a higher step frequency.
pub(super) fn motion() -> Result<Vec<u8>> {
    let mut job = Builder::with_step_frequency(TRAVEL_HZ)?;
    Ok(job.move_to(TO_CORNER_MM.0, TO_CORNER_MM.1)?.to_bytes())
}

/// An engraved disc in a star in a square.
pub(super) fn print() -> Result<Vec<u8>> {
    let mut job = Builder::new();
    job.focus(MATERIAL_MM)?;
    engrave_disc(&mut job)?;
    // Every other one of five corners: the strokes of a star.
    let star = (0..=5).map(|corner| {
        let angle = TAU * f64::from(corner * 2) / 5.0 - FRAC_PI_2;
        (MIDDLE_MM + STAR_RADIUS_MM * angle.cos(), MIDDLE_MM + STAR_RADIUS_MM * angle.sin())
    });
    cut(&mut job, star, STAR_SPEED_MM_S, STAR_POWER)?;
    let (near, far) = (MARGIN_MM, MARGIN_MM + SQUARE_MM);
    let square = [(near, near), (far, near), (far, far), (near, far), (near, near)];
    cut(&mut job, square.into_iter(), CUT_SPEED_MM_S, Power::Full)?;
    Ok(job.home()?.to_bytes())
}

fn cut(job: &mut Builder, mut corners: impl Iterator<Item = (f64, f64)>, speed_mm_s: f64, power: Power) -> Result<()> {
    if let Some((x_mm, y_mm)) = corners.next() {
        job.move_to(x_mm, y_mm)?;
    }
    let laser = Laser::Print(power.density());
    let strokes: Vec<_> = corners.map(|(x_mm, y_mm)| Move::new(x_mm, y_mm, speed_mm_s, laser)).collect();
    job.path(&strokes)?;
    Ok(())
}

/// Fills a disc line by line, back and forth.
fn engrave_disc(job: &mut Builder) -> Result<()> {
    let mut direction = 1.0;
    let mut down_mm = -DISC_RADIUS_MM + LINE_DISTANCE_MM / 2.0;
    while down_mm < DISC_RADIUS_MM {
        let y_mm = MIDDLE_MM + down_mm;
        let half_mm = (DISC_RADIUS_MM * DISC_RADIUS_MM - down_mm * down_mm).sqrt();
        let to = |mm: f64, laser| Move::new(MIDDLE_MM + direction * mm, y_mm, ENGRAVING_SPEED_MM_S, laser);
        job.move_to(MIDDLE_MM - direction * (half_mm + OVERSCAN_MM), y_mm)?;
        job.path(&[
            to(-half_mm, Laser::Off),
            to(half_mm, Laser::Constant(ENGRAVING_DENSITY)),
            to(half_mm + OVERSCAN_MM, Laser::Off),
        ])?;
        direction = -direction;
        down_mm += LINE_DISTANCE_MM;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::puls::{CheckOptions, Job, Limits, check, measure};

    use super::*;

    #[test]
    fn the_jobs_differ_and_run_on_any_machine() {
        let [hunt, motion, print] = [hunt, motion, print].map(|make| {
            let file = make().unwrap();
            let options = CheckOptions { serial: Some(12_345_678), ..CheckOptions::default() };
            assert_eq!(check(Job::open(&file[..]).unwrap(), &options).unwrap().findings, []);
            measure(&file[..], Limits::default()).unwrap()
        });
        assert_eq!((hunt.ticks, hunt.counts.zn, hunt.counts.x_total(), hunt.counts.le), (15_874, 4, 0, 0));
        assert_eq!((motion.counts.x_end(), motion.counts.y_end(), motion.counts.le), (-13_096, -7400, 0));
        assert!(motion.peak_mm_s.unwrap() > 190.0, "{motion:?}");
        assert_eq!((print.counts.x_end(), print.counts.y_end(), print.counts.z_end()), (0, 0, 0));
        let doses = [0, 3, 7].map(|sevenths| print.densities[sevenths].mm);
        assert!(doses.iter().all(|mm| *mm > 100.0), "{print:?}");
        assert!(print.ticks < 600_000, "{}", print.ticks);
    }
}
