//! A message loop of your own over rx and tx, without the emulator.
//!
//! `cargo run --example own_loop` runs it against a local service until its script is done.

use std::process::ExitCode;
use std::time::Duration;

use gf_emulator_core::local_service::{LocalService, Script};
use gf_emulator_core::{Config, MachineQueues, Outgoing, Secret, WsClient};

const SCRIPT: &str = r#"[{"send": {"id": 1, "action_type": "lid_image", "status": "ready"}},
    {"send": {"id": 2, "action_type": "settings", "status": "ready"}}, {"await": "settings:completed", "action_id": 2}]"#;

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
    let service = LocalService::builder().tls(false).script(Script::from_json(SCRIPT)?).start()?;
    let mut config = Config::default();
    config.service.server_url = service.http_url().into();
    config.service.status_service_url = service.ws_url();
    config.machine.serial = 12_345_678;
    config.machine.hostname = "my-machine".into();
    config.machine.password = Secret::new("0123456789abcdef".repeat(4));

    let (client, MachineQueues { rx, tx, .. }) = WsClient::connect(&config)?;
    let machine = std::thread::spawn(move || {
        // Ends when the client is stopped. A frame has one or more actions, one per line.
        for line in rx.iter().flat_map(|frame| frame.lines().map(str::to_owned).collect::<Vec<_>>()) {
            println!("action: {line}");
            if line.contains("\"settings\"") {
                let event = r#"{"id":32,"event":"settings:completed","action_id":2}"#;
                // Fails once the client is stopped.
                let _ = tx.send(Outgoing::event(format!("{event}\n")));
            }
        }
    });
    println!("{:?}", service.outcome(Duration::from_secs(60)));
    client.stop()?;
    machine.join().map_err(|_| "the loop panicked".into())
}
