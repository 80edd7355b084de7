//! Any table that passes the check sends exactly one ending an action, whatever goes wrong on the way.

use std::cell::Cell;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::{Config as Cases, TestRunner};
use serde_json::{Value, json};

use super::{Action, Runner, SessionState, Table};
use crate::actions::messages::MessageSender;
use crate::machine::{Capture, Controls, Event, Halt, Job, Machine, Moment};
use crate::net::CancelToken;
use crate::puls::Builder;
use crate::record::RecorderSlot;
use crate::service::{FirmwareOffer, Uplink, Upload};
use crate::storage::{Download, DownloadEnd, JobStore};
use crate::websocket::queues::MachineQueues;
use crate::{Config, Error, Result};

/// What happens at one of the calls of machine and service.
#[derive(Debug, Clone, Copy)]
enum Trouble {
    Fails,
    Refuses,
    Panics,
    Cancelled,
    LidOpened,
    Stopped,
}

/// Machine and service of an action, of whose calls one goes wrong.
struct World {
    calls: AtomicUsize,
    wrong: usize,
    trouble: Trouble,
    controls: Controls,
    cancel: CancelToken,
    /// What was said over HTTP.
    bodies: Mutex<Vec<String>>,
}

impl World {
    fn call(&self) -> std::result::Result<(), Halt> {
        if self.calls.fetch_add(1, Ordering::Relaxed) != self.wrong {
            return Ok(());
        }
        match self.trouble {
            Trouble::Fails => return Err(Halt::Failed("as the test wants it".into())),
            Trouble::Refuses => return Err(Halt::Refused("as the test wants it".into())),
            // Without the message that a panic prints.
            Trouble::Panics => std::panic::resume_unwind(Box::new("as the test wants it")),
            Trouble::Cancelled => self.controls.cancel(),
            Trouble::LidOpened => self.controls.open_lid(),
            Trouble::Stopped => self.controls.stop(),
        }
        self.cancel.cancel();
        self.controls.end().map_or(Ok(()), |end| Err(end.into()))
    }

    fn request(&self) -> Result<()> {
        self.call().map_err(|halt| match halt {
            Halt::Ended(_) => Error::Interrupted,
            Halt::Refused(reason) => Error::JobRefused { reason },
            Halt::Failed(reason) => Error::Unreachable { host: "the service".into(), reason },
        })
    }
}

impl Machine for Arc<World> {
    fn capture(&mut self, _: &Capture<'_>) -> std::result::Result<Vec<u8>, Halt> {
        self.call().map(|()| vec![0; 10])
    }

    fn load(&mut self, _: &Job) -> std::result::Result<(), Halt> {
        self.call()
    }

    fn wait_for_button(&mut self, _: &Job, _: &Controls) -> std::result::Result<(), Halt> {
        self.call()
    }

    fn warm_up(&mut self, _: &Job, _: &Controls) -> std::result::Result<(), Halt> {
        self.call()
    }

    fn play(&mut self, _: &Job, _: &Controls, watch: &mut dyn FnMut(Moment)) -> std::result::Result<(), Halt> {
        for event in [Event::Progress, Event::Paused, Event::Resumed, Event::Progress] {
            self.call()?;
            watch(Moment { event, tick: 1, position: [1, 2, 3] });
        }
        Ok(())
    }

    fn park(&mut self, _: &Controls) -> std::result::Result<(), Halt> {
        self.call()
    }

    fn rest(&mut self, _: &Controls) -> std::result::Result<(), Halt> {
        self.call()
    }
}

impl Uplink for World {
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

/// A step that says something: mostly what anybody may say, now and then what ends an action.
fn emits() -> impl Strategy<Value = Value> {
    let event = prop_oneof![
        30 => Just("a:starting"),
        5 => Just("a:upload:failed"),
        1 => Just("a:completed"),
        1 => Just("a:cancelled"),
        1 => Just("a:failed"),
        1 => Just("b:completed"),
    ];
    let template =
        prop_oneof![20 => Just("event"), 1 => Just("far"), 1 => Just("web"), 1 => Just("offer"), 1 => Just("report")];
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
        json!({"do": "download", "progress": "far"}),
    ]);
    let step = prop_oneof![3 => emits(), 2 => play, 1 => upload, 4 => plain];
    (step, prop::bool::weighted(0.2)).prop_map(|(mut step, optional)| {
        step["optional"] = json!(optional);
        step
    })
}

/// What ends an action in this way, between other words.
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

/// All that an action of this table says.
fn said(table: &Table, config: &Config, wrong: usize, trouble: Trouble) -> Vec<String> {
    let controls = Controls::default();
    let world = Arc::new(World {
        calls: AtomicUsize::new(0),
        wrong,
        trouble,
        controls: controls.clone(),
        cancel: CancelToken::default(),
        bodies: Mutex::default(),
    });
    let (connection, peer) = MachineQueues::in_memory();
    let messages = MessageSender::new(connection.tx, &table.line_end);
    let mut runner = Runner {
        config,
        table,
        messages: &messages,
        tap: &RecorderSlot::default(),
        uplink: &*world,
        jobs: &JobStore::new(config),
        controls: &controls,
        machine: &mut Arc::clone(&world),
        kept: &mut SessionState::default(),
        on_job: &mut |_| (),
    };
    let line = r#"{"id":1,"action_type":"a","status":"ready","motion_url":"https://storage/job"}"#;
    runner.run(&Action::parse(line).unwrap(), &|| ());
    messages.close();
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
fn a_table_that_passes_the_check_ends_every_action_once() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path());
    let trouble = prop::sample::select(vec![
        Trouble::Fails,
        Trouble::Refuses,
        Trouble::Panics,
        Trouble::Cancelled,
        Trouble::LidOpened,
        Trouble::Stopped,
    ]);
    let (taken, refused) = (Cell::new(0), Cell::new(0));
    let cases = Cases { cases: 1000, failure_persistence: None, ..Cases::default() };
    let outcome = TestRunner::new(cases).run(&(table(), 0..14_usize, trouble), |(text, wrong, trouble)| {
        let table = match Table::parse("generated", &text.to_string(), &config) {
            Ok(table) => table,
            Err(e) => {
                let reasons = ["a second time", "in place of one", "has no value", "here one only"];
                prop_assert!(reasons.iter().any(|reason| e.to_string().contains(reason)), "{}", e);
                refused.set(refused.get() + 1);
                return Ok(());
            }
        };
        taken.set(taken.get() + 1);
        let said = said(&table, &config, wrong, trouble);
        let messages: Vec<Value> = said.iter().map(|text| serde_json::from_str(text).unwrap()).collect();
        let is_ending = |message: &&Value| {
            let event = message["event"].as_str().unwrap_or_default();
            message["action_id"] == 1
                && matches!(event.split_once(':'), Some(("a" | "b", "completed" | "cancelled" | "failed")))
        };
        prop_assert_eq!(messages.iter().filter(is_ending).count(), 1, "{:#?}", said);
        let has_values = |message: &Value| message.as_object().unwrap().values().all(|value| !value.is_null());
        prop_assert!(messages.iter().all(has_values), "a placeholder without a value: {:#?}", said);
        Ok(())
    });
    outcome.unwrap();
    // More than a tenth are taken: chance does not make that fewer than 20.
    assert!(taken.get() > 20 && refused.get() > 20, "{} tables taken, {} refused", taken.get(), refused.get());
}
