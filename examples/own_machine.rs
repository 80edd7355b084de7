//! Hardware of your own behind the protocol: implement `Machine`, and no line of protocol code changes.
//!
//! `cargo run --example own_machine` runs it against a service on this machine for one cycle.

use std::time::Duration;

use gf_emulator_core::local_service::{LocalService, Script};
use gf_emulator_core::machine::{Capture, Controls, Event, Halt, Job, Machine, Moment};
use gf_emulator_core::{Config, Emulator, Secret};

/// A machine that draws jobs on the terminal.
struct Terminal;

impl Machine for Terminal {
    fn capture(&mut self, request: &Capture<'_>) -> Result<Vec<u8>, Halt> {
        println!("click: the {:?} camera", request.camera);
        // The shortest thing that calls itself a JPEG.
        Ok(vec![0xff, 0xd8, 0xff, 0xd9])
    }

    fn play(&mut self, job: &Job, controls: &Controls, watch: &mut dyn FnMut(Moment)) -> Result<(), Halt> {
        let measured = &job.measured;
        println!("{}: {} ticks, {} of them with the laser on", job.action, measured.ticks, measured.counts.le);
        // Whatever takes its time heeds the controls: a cancel, an open lid, the end of the program.
        controls.pause(Duration::from_millis(1))?;
        watch(Moment { event: Event::Progress, tick: measured.ticks, position: [0; 3] });
        Ok(())
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let service = LocalService::builder().tls(false).script(Script::default()).start()?;
    let jobs = std::env::temp_dir().join("own_machine_jobs");

    let mut config = Config::default();
    config.service.server_url = service.http_url().into();
    config.service.status_service_url = service.ws_url();
    config.machine.serial = 12_345_678;
    config.machine.hostname = "my-machine".into();
    config.machine.password = Secret::new("0123456789abcdef".repeat(4));
    config.motion.dir.clone_from(&jobs);

    let mut emulator = Emulator::new(config)?.with_machine(Terminal);
    emulator.connect()?;
    let handle = emulator.handle();
    let machine = std::thread::spawn(move || emulator.run());
    println!("{:?}", service.script_outcome(Duration::from_secs(60)));
    handle.stop();
    machine.join().map_err(|_| "the machine panicked")??;
    println!("the jobs are in {}", jobs.display());
    Ok(())
}
