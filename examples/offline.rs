//! Runs the emulator without a network: actions and the machine's messages go through queues.
//!
//! `cargo run --example offline`

use std::process::ExitCode;

use gf_emulator_core::{Config, Emulator};

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
    let (mut emulator, peer) = Emulator::offline(Config::default(), std::env::temp_dir())?;
    peer.tx.send(r#"{"id": 1, "action_type": "settings", "status": "ready"}"#.into())?;
    peer.tx.send(r#"{"id": 2, "action_type": "factory_reset", "status": "ready"}"#.into())?;
    // The machine completes its actions and stops.
    drop(peer.tx);
    emulator.run()?;
    for message in peer.rx.try_iter() {
        let text = message.text();
        println!("{:.100}{}", text.trim_end(), if text.len() > 100 { " ..." } else { "" });
    }
    Ok(())
}
