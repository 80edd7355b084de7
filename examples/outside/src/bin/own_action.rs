//! An action of its own: a table with a `custom` step, a machine that does the step, and a message that has its result.

use std::error::Error;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use gf_emulator_core::actions::Table;
use gf_emulator_core::local_service::{LocalService, Outcome, Script, Seen};
use gf_emulator_core::machine::{Capture, Controls, CustomStep, Job, Machine, MachineError, PlayUpdate};
use gf_emulator_core::{Config, Emulator, Secret};
use serde_json::{Value, json};

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// One action, `weigh`. Its reading has the result of the custom step: as a whole, one field, and within a text.
const TABLE: &str = r#"{
    "line_end": "\n",
    "templates": {
        "event": {"channel": "ws", "message": {
            "id": "<ID>", "timestamp": "<TIMESTAMP>", "type": "event", "version": 1, "action_id": "<ACTION_ID>",
            "level": "INFO", "event": "<event>"
        }},
        "reading": {"channel": "ws", "message": {
            "id": "<ID>", "timestamp": "<TIMESTAMP>", "type": "event", "version": 1, "action_id": "<ACTION_ID>",
            "level": "INFO", "event": "weigh:reading", "grams": "<RESULT.scale.grams>", "all": "<RESULT.scale>",
            "text": "<RESULT.scale.grams> g on the <RESULT.scale.place>"
        }}
    },
    "actions": {"weigh": {
        "steps": [
            {"send": "event", "event": "weigh:starting"},
            {"do": "custom", "name": "scale", "arguments": {"place": "tray"}, "fields": ["grams", "place"]},
            {"send": "reading"}
        ],
        "completed": [{"send": "event", "event": "weigh:completed"}],
        "cancelled": [{"send": "event", "event": "weigh:cancelled"}],
        "failed": [{"send": "event", "event": "weigh:failed"}]
    }}
}"#;

/// The second action asks for more than the scale can bear: the machine fails, and so does the action. The third is refused.
const SCRIPT: &str = r#"[
    {"send": {"id": 1, "action_type": "weigh", "status": "ready", "settings": {"LOAD": 250}}},
    {"await": "weigh:completed", "action_id": 1, "timeout_s": 10},
    {"send": {"id": 2, "action_type": "weigh", "status": "ready", "settings": {"LOAD": 9000}}},
    {"await": "weigh:failed", "action_id": 2, "timeout_s": 10},
    {"send": {"id": 3, "action_type": "weigh", "status": "ready"}},
    {"await": "weigh:cancelled", "action_id": 3, "timeout_s": 10}
]"#;

/// A machine that has a scale, and neither a camera nor a laser.
struct Scale;

impl Machine for Scale {
    fn custom(&mut self, step: &CustomStep<'_>, controls: &Controls) -> std::result::Result<Value, MachineError> {
        if step.name != "scale" {
            return Err(MachineError::Refused(format!("unknown step {}", step.name)));
        }
        let Some(load) = step.settings.get("LOAD").and_then(Value::as_u64) else {
            return Err(MachineError::Refused("nothing to weigh".into()));
        };
        controls.sleep(Duration::from_millis(50))?; // until the scale is at rest, or the action is cancelled
        if load > 5000 {
            return Err(MachineError::Failed(format!("{load} g are too much")));
        }
        Ok(json!({"grams": load, "place": step.arguments["place"]}))
    }

    fn capture(&mut self, _: &Capture<'_>) -> std::result::Result<Vec<u8>, MachineError> {
        Err(MachineError::Refused("no camera".into()))
    }

    fn play(&mut self, _: &Job, _: &Controls, _: &mut dyn FnMut(PlayUpdate)) -> std::result::Result<(), MachineError> {
        Err(MachineError::Refused("no motors".into()))
    }
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

fn run() -> Result<()> {
    let service = LocalService::builder().tls(false).script(Script::from_json(SCRIPT)?).start()?;
    let config = config(&service);
    let table = Table::from_text("weighing", TABLE)?;
    let mut emulator = Emulator::new(config)?.with_table(table).with_machine(Scale);
    emulator.connect()?;

    // The emulator runs on this thread; another waits for the end of the script, and stops it.
    let handle = emulator.handle();
    let outcome = thread::scope(|scope| -> Result<Option<Outcome>> {
        let script = scope.spawn(|| {
            let outcome = service.outcome(Duration::from_secs(30));
            handle.stop();
            outcome
        });
        emulator.run()?;
        script.join().map_err(|_| "the wait for the script panicked".into())
    })?;
    match outcome {
        Some(Outcome::Done) => {}
        Some(Outcome::Failed { step, reason }) => return Err(format!("step {step} of the script: {reason}").into()),
        None => return Err("the script did not end in time".into()),
    }

    // What the service got of the machine.
    let messages: Vec<Value> = service
        .seen()
        .into_iter()
        .filter_map(|seen| if let Seen::WsMessage { message, .. } = seen { Some(message) } else { None })
        .collect();
    for message in &messages {
        println!("{message}");
    }
    let readings: Vec<&Value> = messages.iter().filter(|message| message["event"] == "weigh:reading").collect();
    let [reading] = readings[..] else {
        return Err(format!("{} readings and not one", readings.len()).into());
    };
    let expected = json!({"grams": 250, "all": {"grams": 250, "place": "tray"}, "text": "250 g on the tray"});
    if ["grams", "all", "text"].iter().any(|&key| reading[key] != expected[key]) {
        return Err(format!("the reading is {reading} and not {expected}").into());
    }
    Ok(())
}

/// A machine for this service, which accepts any serial number and password.
fn config(service: &LocalService) -> Config {
    let mut config = Config::default();
    config.service.server_url = service.http_url().into();
    config.service.status_service_url = service.ws_url();
    config.machine.serial = 12_345_678;
    config.machine.hostname = "OUT-002".into();
    config.machine.password = Secret::new("0123456789abcdef".repeat(4));
    config
}
