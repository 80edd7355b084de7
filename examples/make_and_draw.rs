//! Builds a pulse file, measures it and plots it, without a machine.
//!
//! `cargo run -p gf-emulator-examples --example make_and_draw -- flower.png`

use std::f64::consts::TAU;
use std::process::ExitCode;

use gf_emulator_core::puls::{Builder, Error, Job, Laser, Move, Plot, PlotOptions, View};

fn main() -> ExitCode {
    // Returned from `main`, an error would be printed in its form for debugging.
    run().map_or_else(
        |error| {
            eprintln!("{error}");
            ExitCode::FAILURE
        },
        |()| ExitCode::SUCCESS,
    )
}

fn run() -> Result<(), Box<dyn std::error::Error>> {
    let file = flower()?;
    let plot = Plot::from_job(Job::open(&file[..])?)?;
    let measured = plot.measured();
    println!("{} ticks, {:.0} mm cut", measured.ticks, measured.cut_mm);

    let mut options = PlotOptions::new("flower");
    options.view = View::Job;
    match std::env::args().nth(1) {
        Some(path) => std::fs::write(path, plot.to_png(&options)?)?,
        None => println!("{} bytes of SVG; give a file name to write a PNG", plot.to_svg(&options).len()),
    }
    Ok(())
}

/// Returns a job that cuts twelve petals in one path, which slows down only in curves.
fn flower() -> Result<Vec<u8>, Error> {
    let point = |step: u32| {
        let angle = TAU * f64::from(step) / 720.0;
        let radius_mm = 40.0 + 15.0 * (12.0 * angle).sin();
        (100.0 + radius_mm * angle.cos(), 80.0 + radius_mm * angle.sin())
    };
    let petals: Vec<Move> = (1..=720)
        .map(|step| {
            let (x_mm, y_mm) = point(step);
            // The same energy per millimetre at any speed.
            Move::new(x_mm, y_mm, 80.0, Laser::Dynamic(3.0 / 7.0))
        })
        .collect();
    let (x_mm, y_mm) = point(0);
    let mut job = Builder::new();
    job.move_to(x_mm, y_mm)?.path(&petals)?.move_to(0.0, 0.0)?;
    Ok(job.to_gzip())
}
