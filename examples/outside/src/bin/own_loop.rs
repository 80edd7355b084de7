//! A message loop of its own over the queues of a `WsClient`: it answers each action of a local service with events of
//! its own, across a lost connection, until the service's script is done.

use std::error::Error;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use gf_emulator_core::local_service::{LocalService, Outcome, Script, Seen};
use gf_emulator_core::{Config, MachineQueues, Outgoing, Secret, WsClient};
use serde_json::{Value, json};

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// Two greetings, with the connection lost between them, and one action that the loop does not know.
const SCRIPT: &str = r#"[
    {"send": {"id": 1, "action_type": "greet", "status": "ready", "settings": {"NAME": "Ada"}}},
    {"await": "greet:hello", "action_id": 1, "timeout_s": 10},
    {"await": "greet:completed", "action_id": 1, "timeout_s": 10},
    {"drop": true},
    {"send": {"id": 2, "action_type": "greet", "status": "ready", "settings": {"NAME": "Grace"}}, "timeout_s": 10},
    {"await": "greet:completed", "action_id": 2, "timeout_s": 10},
    {"send": {"id": 3, "action_type": "dance", "status": "ready"}},
    {"await": "dance:failed", "action_id": 3, "timeout_s": 10}
]"#;

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
    let (client, queues) = WsClient::connect(&config(&service))?;

    // The loop ends when the client has stopped: rx is disconnected then.
    let (outcome, answered) = thread::scope(|scope| -> Result<(Option<Outcome>, u32)> {
        let message_loop = scope.spawn(|| answer_all(&queues));
        let outcome = service.outcome(Duration::from_secs(30));
        let stopped = client.stop();
        let answered = message_loop.join().map_err(|_| "the message loop panicked")??;
        stopped?;
        Ok((outcome, answered))
    })?;

    match outcome {
        Some(Outcome::Done) => {}
        Some(Outcome::Failed { step, reason }) => return Err(format!("step {step} of the script: {reason}").into()),
        None => return Err("the script did not end in time".into()),
    }
    let seen = service.seen();
    let connections = seen.iter().filter(|seen| matches!(seen, Seen::WsOpened { .. })).count();
    let events: Vec<String> = seen.iter().filter_map(Seen::event).collect();
    println!("{answered} actions, {connections} connections, the service got {}", events.join(", "));
    let expected =
        ["greet:starting", "greet:hello", "greet:completed", "greet:starting", "greet:hello", "greet:completed"];
    if answered != 3 || connections != 2 || events[..] != [&expected[..], &["dance:failed"]].concat() {
        return Err("that is not what was expected".into());
    }
    Ok(())
}

/// Reads frames until the client has stopped, and answers their actions. Returns how many there were.
fn answer_all(queues: &MachineQueues) -> Result<u32> {
    let mut numbers = Numbers::new();
    let mut answered = 0;
    for frame in &queues.rx {
        // A frame has one or more actions, one per line.
        for line in frame.lines() {
            let action: Value = serde_json::from_str(line)?;
            if action["status"] != "ready" {
                continue;
            }
            let kind = action["action_type"].as_str().ok_or("an action without a type")?;
            println!("action {}: {kind}", action["id"]);
            let mut send = |event: &str, settings: Value| {
                queues.tx.send(numbers.event(&action["id"], &format!("{kind}:{event}"), &settings))
            };
            if kind == "greet" {
                send("starting", json!({}))?;
                send(
                    "hello",
                    json!({"text": format!("Hello, {}!", action["settings"]["NAME"].as_str().unwrap_or("you"))}),
                )?;
                send("completed", json!({}))?;
            } else {
                send("failed", json!({}))?;
            }
            answered += 1;
        }
    }
    Ok(answered)
}

/// Numbers messages and gives them the time, as the protocol wants it.
struct Numbers {
    start: Instant,
    next_id: u32,
}

impl Numbers {
    fn new() -> Self {
        Self { start: Instant::now(), next_id: 32 }
    }

    fn event(&mut self, action_id: &Value, event: &str, settings: &Value) -> Outgoing {
        let message = json!({
            "id": self.next_id,
            "timestamp": 3800 + self.start.elapsed().as_millis() / 10,
            "type": "event",
            "version": 1,
            "action_id": action_id,
            "level": "INFO",
            "event": event,
            "settings": settings,
        });
        self.next_id += 1;
        Outgoing::event(format!("{message}\n"))
    }
}

/// A machine for this service, which accepts any serial number and password.
fn config(service: &LocalService) -> Config {
    let mut config = Config::default();
    config.service.server_url = service.http_url().into();
    config.service.status_service_url = service.ws_url();
    config.machine.serial = 12_345_678;
    config.machine.hostname = "OUT-001".into();
    config.machine.password = Secret::new("0123456789abcdef".repeat(4));
    config
}
