//! Your own hardware behind the protocol: implement `Machine`, and add an action with a custom step.
//!
//! `cargo run --example own_machine` runs it against a local service.

use std::process::ExitCode;
use std::time::Duration;

use gf_emulator_core::actions::Table;
use gf_emulator_core::config::Generation;
use gf_emulator_core::local_service::{LocalService, Script, Seen};
use gf_emulator_core::machine::{Capture, Controls, CustomStep, Job, Machine, MachineError, PlayEvent, PlayUpdate};
use gf_emulator_core::{Config, Emulator, Secret};
use serde_json::{Value, json};

/// A machine that prints jobs to the terminal.
struct Terminal;

impl Machine for Terminal {
    fn capture(&mut self, request: &Capture<'_>) -> Result<Vec<u8>, MachineError> {
        println!("picture of the {:?} camera", request.camera);
        // Start and end of a JPEG: enough for the local service.
        Ok(vec![0xff, 0xd8, 0xff, 0xd9])
    }

    fn play(
        &mut self,
        job: &Job,
        controls: &Controls,
        on_update: &mut dyn FnMut(PlayUpdate),
    ) -> Result<(), MachineError> {
        let measured = &job.measured;
        println!("{}: {} ticks, {} of them with the laser on", job.action, measured.ticks, measured.counts.le);
        // Returns early if the action is cancelled, the lid is opened or the emulator shuts down.
        controls.sleep(Duration::from_millis(1))?;
        on_update(PlayUpdate::new(PlayEvent::Progress, measured.ticks, [0; 3]));
        Ok(())
    }

    fn custom(&mut self, step: &CustomStep<'_>, _: &Controls) -> Result<Value, MachineError> {
        match step.name {
            "temperature" => Ok(json!({"sensor": step.arguments["sensor"], "celsius": 21.5})),
            other => Err(MachineError::Refused(format!("unknown custom step {other}"))),
        }
    }
}

/// Returns the built-in table with another action, `temperature`, whose first message has the custom step's result.
fn table() -> Result<Table, Box<dyn std::error::Error>> {
    let mut table: Value = serde_json::from_str(Table::builtin_text(Generation::V2))?;
    table["templates"]["reading"] = json!({"channel": "ws", "message": {
        "id": "<ID>", "timestamp": "<TIMESTAMP>", "type": "event", "version": 1, "action_id": "<ACTION_ID>",
        "event": "temperature:measured", "celsius": "<RESULT.temperature.celsius>"
    }});
    table["actions"]["temperature"] = json!({
        "steps": [
            {"do": "custom", "name": "temperature", "arguments": {"sensor": "lid"}, "fields": ["celsius"]},
            {"send": "reading"}
        ],
        "completed": [{"send": "event", "event": "temperature:completed"}],
        "cancelled": [{"send": "event", "event": "temperature:cancelled"}],
        "failed": [{"send": "event", "event": "temperature:failed"}]
    });
    Ok(Table::from_text("own_machine", &table.to_string())?)
}

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
    let service = LocalService::builder().tls(false).script(Script::default()).start()?;
    let jobs = std::env::temp_dir().join("own_machine_jobs");

    let mut config = Config::default();
    config.service.server_url = service.http_url().into();
    config.service.status_service_url = service.ws_url();
    config.machine.serial = 12_345_678;
    config.machine.hostname = "my-machine".into();
    config.machine.password = Secret::new("0123456789abcdef".repeat(4));
    config.motion.dir.clone_from(&jobs);

    let table = table()?;
    let mut emulator = Emulator::new(config)?.with_table(table).with_machine(Terminal);
    emulator.connect()?;
    let handle = emulator.handle();
    let machine = std::thread::spawn(move || emulator.run());

    println!("{:?}", service.outcome(Duration::from_secs(60)));
    service.send(json!({"id": 2000, "action_type": "temperature", "status": "ready"}))?;
    service.wait_for(
        |seen| seen.iter().any(|seen| seen.is_event("temperature:completed", Some(2000))),
        Duration::from_secs(60),
    );
    for event in service.seen().iter().filter_map(Seen::event).filter(|event| event.starts_with("temperature")) {
        println!("{event}");
    }
    handle.stop();
    machine.join().map_err(|_| "the emulator panicked")??;
    println!("the jobs are in {}", jobs.display());
    Ok(())
}
