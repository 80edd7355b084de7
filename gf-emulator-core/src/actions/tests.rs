//! Property: an action of any loadable table sends exactly one terminal event, whichever call fails and however.
//! Also: the results of custom steps.

use std::cell::Cell;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::{Config as Cases, TestRunner};
use serde_json::{Value, json};

use super::{Action, Runner, SessionState, Shared, Table};
use crate::actions::messages::MessageSender;
use crate::machine::{Capture, Controls, CustomStep, Job, Machine, MachineError, PlayEvent, PlayUpdate};
use crate::net::CancelToken;
use crate::puls::Builder;
use crate::record::Telemetry;
use crate::service::{FirmwareOffer, Uplink, Upload};
use crate::storage::{Download, DownloadEnd, JobStore};
use crate::websocket::queues::MachineQueues;
use crate::{Config, Error, Result};

/// What goes wrong at one of the calls of machine and service.
#[derive(Debug, Clone, Copy)]
enum Fault {
    Fails,
    Refuses,
    Panics,
    Cancelled,
    LidOpened,
    Stopped,
}

/// A machine and a service with a fault at one of their calls.
struct FaultyWorld {
    calls: AtomicUsize,
    faulty_call: usize,
    fault: Fault,
    controls: Controls,
    cancel: CancelToken,
    /// Bodies of HTTP requests.
    bodies: Mutex<Vec<String>>,
}

impl FaultyWorld {
    fn call(&self) -> std::result::Result<(), MachineError> {
        if self.calls.fetch_add(1, Ordering::Relaxed) != self.faulty_call {
            return Ok(());
        }
        match self.fault {
            Fault::Fails => return Err(MachineError::Failed("injected fault".into())),
            Fault::Refuses => return Err(MachineError::Refused("injected fault".into())),
            // Does not print a message, as `panic!` would.
            Fault::Panics => std::panic::resume_unwind(Box::new("injected fault")),
            Fault::Cancelled => self.controls.cancel(),
            Fault::LidOpened => self.controls.open_lid(),
            Fault::Stopped => self.controls.stop(),
        }
        self.cancel.cancel();
        self.controls.stop_reason().map_or(Ok(()), |reason| Err(reason.into()))
    }

    fn request(&self) -> Result<()> {
        self.call().map_err(|e| match e {
            MachineError::Stopped(_) => Error::Interrupted,
            MachineError::Refused(reason) => Error::JobRefused { reason },
            MachineError::Failed(reason) => Error::Unreachable { host: "the service".into(), reason },
        })
    }
}

impl Machine for Arc<FaultyWorld> {
    fn capture(&mut self, _: &Capture<'_>) -> std::result::Result<Vec<u8>, MachineError> {
        self.call().map(|()| vec![0; 10])
    }

    fn load(&mut self, _: &Job) -> std::result::Result<(), MachineError> {
        self.call()
    }

    fn wait_for_button(&mut self, _: &Job, _: &Controls) -> std::result::Result<(), MachineError> {
        self.call()
    }

    fn warm_up(&mut self, _: &Job, _: &Controls) -> std::result::Result<(), MachineError> {
        self.call()
    }

    fn play(
        &mut self,
        _: &Job,
        _: &Controls,
        on_update: &mut dyn FnMut(PlayUpdate),
    ) -> std::result::Result<(), MachineError> {
        for event in [PlayEvent::Progress, PlayEvent::Paused, PlayEvent::Resumed, PlayEvent::Progress] {
            self.call()?;
            on_update(PlayUpdate::new(event, 1, [1, 2, 3]));
        }
        Ok(())
    }

    fn park(&mut self, _: &Controls, on_update: &mut dyn FnMut(PlayUpdate)) -> std::result::Result<(), MachineError> {
        on_update(PlayUpdate::new(PlayEvent::Progress, 0, [1, 2, 3]));
        self.call()
    }

    fn rest(&mut self, _: &Controls) -> std::result::Result<(), MachineError> {
        self.call()
    }

    fn custom(&mut self, step: &CustomStep<'_>, _: &Controls) -> std::result::Result<Value, MachineError> {
        self.call().map(|()| step.arguments.clone())
    }
}

impl Uplink for FaultyWorld {
    fn upload(&self, _: &Upload<'_>) -> Result<()> {
        self.request()
    }

    fn download(&self, url: &str) -> Result<Download> {
        self.request()?;
        let job = Builder::new().to_bytes();
        let end = DownloadEnd::Length(job.len() as u64);
        let cancel = self.cancel.clone();
        Ok(Download::new(url, end, io::Cursor::new(job)).cancelled_by(move || cancel.is_cancelled()))
    }

    fn post_event(&self, body: &str) -> Result<()> {
        self.request()?;
        self.bodies.lock().unwrap().push(body.into());
        Ok(())
    }

    fn put_status(&self, body: &str) -> Result<()> {
        self.post_event(body)
    }

    fn firmware(&self) -> Result<FirmwareOffer> {
        self.request()?;
        Ok(FirmwareOffer::new(Config::default().machine.firmware))
    }

    fn cancel(&self) {
        self.cancel.cancel();
    }

    fn reset(&self) {
        self.cancel.reset();
    }
}

/// A step that sends an event: sometimes a terminal one.
fn emits() -> impl Strategy<Value = Value> {
    let event = prop_oneof![
        30 => Just("a:starting"),
        5 => Just("a:upload:failed"),
        1 => Just("a:completed"),
        1 => Just("a:cancelled"),
        1 => Just("a:failed"),
        1 => Just("b:completed"),
    ];
    let template = prop_oneof![20 => Just("event"), 1 => Just("far"), 1 => Just("web"), 1 => Just("offer"), 1 => Just("report"), 1 => Just("result")];
    (template, event).prop_map(|(template, event)| json!({"send": template, "event": event}))
}

fn list(step: impl Strategy<Value = Value>) -> impl Strategy<Value = Vec<Value>> {
    prop::collection::vec(step, 0..3)
}

fn step() -> impl Strategy<Value = Value> {
    let cleanup = list(prop_oneof![emits(), Just(json!({"do": "park"}))]);
    let play =
        (list(emits()), list(emits()), cleanup, any::<bool>()).prop_map(|(paused, resumed, stopped, progress)| {
            let mut play = json!({"do": "play", "paused": paused, "resumed": resumed, "stopped": stopped});
            if progress {
                play["progress"] = json!("far");
            }
            play
        });
    let upload =
        list(emits()).prop_map(|failed| json!({"do": "upload", "kind": "a", "to": "service", "failed": failed}));
    let plain = prop::sample::select(vec![
        json!({"do": "capture", "camera": "lid"}),
        json!({"do": "button"}),
        json!({"do": "warm_up"}),
        json!({"do": "park"}),
        json!({"do": "rest"}),
        json!({"do": "report_settings"}),
        json!({"do": "probe_firmware"}),
        json!({"do": "download_firmware"}),
        json!({"do": "refuse", "reason": "no"}),
        json!({"do": "custom", "name": "probe", "arguments": {"x": 1.5}, "fields": ["x"]}),
        json!({"do": "custom", "name": "probe", "arguments": {"x": 1.5}, "fields": ["y"]}),
        json!({"do": "custom", "name": "probe"}),
        json!({"do": "download", "progress": "far"}),
    ]);
    let step = prop_oneof![3 => emits(), 2 => play, 1 => upload, 4 => plain];
    (step, prop::bool::weighted(0.2)).prop_map(|(mut step, optional)| {
        step["optional"] = json!(optional);
        step
    })
}

/// An ending: its terminal event among other events.
fn ending(which: &'static str) -> impl Strategy<Value = Vec<Value>> {
    (list(emits()), list(emits())).prop_map(move |(mut before, after)| {
        before.push(json!({"send": "event", "event": format!("a:{which}")}));
        before.extend(after);
        before
    })
}

fn table() -> impl Strategy<Value = Value> {
    let steps = (any::<bool>(), prop::collection::vec(step(), 0..7)).prop_map(|(downloads, mut steps)| {
        if downloads {
            steps.insert(0, json!({"do": "download"}));
        }
        steps
    });
    let rows = (steps, ending("completed"), ending("cancelled"), ending("failed"));
    rows.prop_map(|(steps, completed, cancelled, failed)| {
        let other = |which: &str| json!([{"send": "event", "event": format!("b:{which}")}]);
        json!({
            "line_end": "\n",
            "templates": {
                "event": {"channel": "ws", "message": {"id": "<ID>", "action_id": "<ACTION_ID>", "event": "<event>"}},
                "offer": {"channel": "ws", "message": {"action_id": "<ACTION_ID>", "version": "<AVAILABLE_FIRMWARE>"}},
                "report": {"channel": "ws", "message": {"action_id": "<ACTION_ID>", "settings": "<SETTINGS>"}},
                "result": {"channel": "ws", "message": {"action_id": "<ACTION_ID>", "x": "<RESULT.probe.x>"}},
                "far": {"channel": "progress", "message": {"action_id": "<ACTION_ID>", "current": "<CURRENT>"}},
                "web": {"channel": "web", "message": {"action_id": "<ACTION_ID>", "event": "<event>"}}
            },
            "actions": {
                "a": {"steps": steps, "completed": completed, "cancelled": cancelled, "failed": failed},
                "b": {"steps": [], "completed": other("completed"), "cancelled": other("cancelled"), "failed": other("failed")}
            }
        })
    })
}

/// Returns all messages that action `a` of a table sends.
fn messages_of(table: &Arc<Table>, config: &Config, faulty_call: usize, fault: Fault) -> Vec<String> {
    let controls = Controls::default();
    let world = Arc::new(FaultyWorld {
        calls: AtomicUsize::new(0),
        faulty_call,
        fault,
        controls: controls.clone(),
        cancel: CancelToken::default(),
        bodies: Mutex::default(),
    });
    let (connection, peer) = MachineQueues::in_memory();
    let shared = Arc::new(Shared {
        config: Arc::new(config.clone()),
        messages: Arc::new(MessageSender::new(config, connection.tx, Arc::clone(table))),
        controls,
        telemetry: Telemetry::default(),
    });
    let mut runner = Runner {
        shared: Arc::clone(&shared),
        table: Arc::clone(table),
        uplink: Arc::clone(&world) as Arc<dyn Uplink>,
        jobs: Arc::new(JobStore::new(config)),
        machine: Box::new(Arc::clone(&world)),
        readings: Arc::default(),
        session: SessionState::default(),
    };
    let line = r#"{"id":1,"action_type":"a","status":"ready","motion_url":"https://storage/job"}"#;
    runner.run(&Action::parse(line).unwrap(), &|| ());
    shared.messages.close();
    let bodies = std::mem::take(&mut *world.bodies.lock().unwrap());
    peer.rx.iter().map(|message| message.text().to_owned()).chain(bodies).collect()
}

fn config(folder: &Path) -> Config {
    let mut config = Config::default();
    config.motion.dir = folder.into();
    config.motion.keep = false;
    config.emulator.warm_up = Duration::ZERO;
    config
}

#[test]
fn every_loadable_table_ends_an_action_exactly_once() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path());
    let fault = prop::sample::select(vec![
        Fault::Fails,
        Fault::Refuses,
        Fault::Panics,
        Fault::Cancelled,
        Fault::LidOpened,
        Fault::Stopped,
    ]);
    let (loaded, rejected) = (Cell::new(0), Cell::new(0));
    let cases = Cases { cases: 1000, failure_persistence: None, ..Cases::default() };
    let outcome = TestRunner::new(cases).run(&(table(), 0..14_usize, fault), |(text, faulty_call, fault)| {
        let table = match Table::from_text("generated", &text.to_string()) {
            Ok(table) => Arc::new(table),
            Err(e) => {
                let reasons = ["only allowed in the ending", "once, not", "has no value", "not allowed here"];
                prop_assert!(reasons.iter().any(|reason| e.to_string().contains(reason)), "{}", e);
                rejected.set(rejected.get() + 1);
                return Ok(());
            }
        };
        loaded.set(loaded.get() + 1);
        let texts = messages_of(&table, &config, faulty_call, fault);
        let messages: Vec<Value> = texts.iter().map(|text| serde_json::from_str(text).unwrap()).collect();
        let is_ending = |message: &&Value| {
            let event = message["event"].as_str().unwrap_or_default();
            message["action_id"] == 1
                && matches!(event.split_once(':'), Some(("a" | "b", "completed" | "cancelled" | "failed")))
        };
        prop_assert_eq!(messages.iter().filter(is_ending).count(), 1, "{:#?}", texts);
        let has_values = |message: &Value| message.as_object().unwrap().values().all(|value| !value.is_null());
        prop_assert!(messages.iter().all(has_values), "a placeholder without a value: {:#?}", texts);
        Ok(())
    });
    outcome.unwrap();
    // More than a tenth load on average: fewer than 20 of 1000 are practically impossible.
    assert!(loaded.get() > 20 && rejected.get() > 20, "{} tables loaded, {} rejected", loaded.get(), rejected.get());
}

/// A table whose action `a` has these steps, and templates `result` and `field` for a custom step `probe`.
fn custom_table(steps: &Value) -> Result<Arc<Table>> {
    let ending = |which: &str| json!([{"send": "event", "event": format!("a:{which}")}]);
    let table = json!({
        "line_end": "",
        "templates": {
            "event": {"channel": "ws", "message": {"action_id": "<ACTION_ID>", "event": "<event>"}},
            "result": {"channel": "ws", "message": {"result": "<RESULT.probe>"}},
            "field": {"channel": "ws", "message": {"x": "<RESULT.probe.x>", "text": "x = <RESULT.probe.x>"}},
        },
        "actions": {"a": {
            "steps": steps, "completed": ending("completed"), "cancelled": ending("cancelled"), "failed": ending("failed")
        }}
    });
    Table::from_text("custom", &table.to_string()).map(Arc::new)
}

#[test]
fn templates_use_the_result_of_a_custom_step() {
    let probe = json!({"do": "custom", "name": "probe", "arguments": {"x": 1.5, "y": [2]}, "fields": ["x"]});
    let table = custom_table(&json!([probe, {"send": "result"}, {"send": "field"}])).unwrap();
    let texts = messages_of(&table, &Config::default(), usize::MAX, Fault::Fails);
    let expected = [
        r#"{"result":{"x":1.5,"y":[2]}}"#,
        r#"{"x":1.5,"text":"x = 1.5"}"#,
        r#"{"action_id":1,"event":"a:completed"}"#,
    ];
    assert_eq!(texts, expected);
}

#[test]
fn any_fault_of_a_custom_step_ends_the_action_once() {
    let table = custom_table(&json!([{"do": "custom", "name": "probe"}, {"send": "result"}])).unwrap();
    for (fault, ending) in [
        (Fault::Fails, "failed"),
        (Fault::Panics, "failed"),
        (Fault::Refuses, "cancelled"),
        (Fault::Cancelled, "cancelled"),
        (Fault::Stopped, "cancelled"),
    ] {
        let texts = messages_of(&table, &Config::default(), 0, fault);
        assert_eq!(texts, [format!(r#"{{"action_id":1,"event":"a:{ending}"}}"#)], "{fault:?}");
    }
}

#[test]
fn a_result_without_a_listed_field_fails_the_action() {
    let probe =
        |optional| json!({"do": "custom", "name": "probe", "arguments": 1, "fields": ["x"], "optional": optional});
    for (optional, ending) in [(false, "failed"), (true, "completed")] {
        let table = custom_table(&json!([probe(optional)])).unwrap();
        let texts = messages_of(&table, &Config::default(), usize::MAX, Fault::Fails);
        assert_eq!(texts, [format!(r#"{{"action_id":1,"event":"a:{ending}"}}"#)]);
    }
}

#[test]
fn a_result_cannot_be_used_before_its_step_or_after_an_optional_one() {
    let probe = json!({"do": "custom", "name": "probe", "fields": ["x"]});
    let other = json!({"do": "custom", "name": "other", "fields": ["x"]});
    let optional = json!({"do": "custom", "name": "probe", "fields": ["x"], "optional": true});
    let no_fields = json!({"do": "custom", "name": "probe"});
    for (steps, at, placeholder) in [
        (json!([{"send": "result"}, probe]), 0, "<RESULT.probe>"),
        (json!([other, {"send": "field"}]), 1, "<RESULT.probe.x>"),
        (json!([no_fields, {"send": "field"}]), 1, "<RESULT.probe.x>"),
        (json!([optional, {"send": "result"}]), 1, "<RESULT.probe>"),
    ] {
        let error = custom_table(&steps).unwrap_err().to_string();
        let expected = format!("actions.a.steps[{at}]: {placeholder} has no value at this point");
        assert!(error.ends_with(&expected), "{error}");
    }
}
