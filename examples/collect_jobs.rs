//! Connects to the configured service and stores every pulse file that it sends.
//!
//! `cargo run --example collect_jobs -- gf-machine-emulator.cfg`; press Enter to stop.

use gf_emulator_core::{Emulator, Error};

fn main() {
    match collect() {
        Ok(()) | Err(Error::Interrupted) => println!("stopped"),
        Err(e) => eprintln!("{e}"),
    }
}

fn collect() -> Result<(), Error> {
    let path = std::env::args().nth(1).unwrap_or_else(|| "gf-machine-emulator.cfg".into());
    let mut emulator = Emulator::from_file(path)?;
    let handle = emulator.handle();
    std::thread::spawn(move || {
        println!("press Enter to stop");
        // Also returns at EOF.
        let _ = std::io::stdin().read_line(&mut String::new());
        handle.stop();
    });
    emulator.connect()?;
    emulator.run()
}
