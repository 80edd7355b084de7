//! The real service, or whatever the configuration names: go online, and keep every pulse file that comes.
//!
//! `cargo run --example collect_jobs -- gf-machine-emulator.cfg`; Enter ends it.

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
        println!("Enter stops the machine");
        // At the end of the input, too.
        let _ = std::io::stdin().read_line(&mut String::new());
        handle.stop();
    });
    emulator.connect()?;
    emulator.run()
}
