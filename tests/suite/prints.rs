//! A print that is cancelled, stopped or fails in each of its phases.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};
use gf_emulator_core::actions::Table;
use gf_emulator_core::config::{Button, Generation};
use gf_emulator_core::local_service::{Failure, Fault, Seen};
use gf_emulator_core::machine::{Capture, Controls, Job, Machine, MachineError, PlayUpdate, StopReason};
use gf_emulator_tests::{Harness, LIMIT, Setup, endings_of, endless_job, events_of, square};
use serde_json::{Value, json};

pub(crate) const BOTH: [Generation; 2] = [Generation::V1, Generation::V2];
pub(crate) const PRINT: i64 = 7;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// The download is requested and not answered.
    Requesting,
    Downloading,
    Button,
    WarmUp,
    Running,
    Paused,
    Parking,
    Resting,
}

impl Phase {
    const ALL: [Self; 8] = [
        Self::Requesting,
        Self::Downloading,
        Self::Button,
        Self::WarmUp,
        Self::Running,
        Self::Paused,
        Self::Parking,
        Self::Resting,
    ];

    /// Returns whether a print that ends in this phase reports that the head is home: 2.6 from the wait for the button
    /// on, 1.x once it has moved.
    pub(crate) fn comes_home(self, generation: Generation) -> bool {
        match self {
            Self::Requesting | Self::Downloading => false,
            Self::Button | Self::WarmUp => generation == Generation::V2,
            Self::Running | Self::Paused | Self::Parking | Self::Resting => true,
        }
    }

    /// Returns whether the job has been downloaded.
    fn has_file(self) -> bool {
        !matches!(self, Self::Requesting | Self::Downloading)
    }
}

/// A machine that parks until it is stopped.
struct SlowToPark {
    parking: Sender<()>,
}

impl Machine for SlowToPark {
    fn capture(&mut self, _: &Capture<'_>) -> Result<Vec<u8>, MachineError> {
        Ok(vec![0; 10])
    }

    fn play(&mut self, _: &Job, _: &Controls, _: &mut dyn FnMut(PlayUpdate)) -> Result<(), MachineError> {
        Ok(())
    }

    fn park(&mut self, controls: &Controls, _: &mut dyn FnMut(PlayUpdate)) -> Result<(), MachineError> {
        let _ = self.parking.send(());
        match controls.sleep(LIMIT) {
            Err(StopReason::Shutdown) => Err(MachineError::Stopped(StopReason::Shutdown)),
            // Neither a cancel nor the lid stops parking.
            Err(_) => Ok(()),
            Ok(()) => Err(MachineError::Failed("not stopped".into())),
        }
    }
}

/// Starts a machine and brings it to a phase of a print.
pub(crate) fn in_phase(generation: Generation, phase: Phase) -> Harness {
    const LONG: Duration = Duration::from_secs(2400 * 3600);
    let job = if phase == Phase::Resting { square() } else { endless_job() };
    let (parking, parks): (_, Receiver<()>) = bounded(8);
    let mut setup = Setup::new(generation).service(|service| service.puls(job)).config(move |config| {
        // Only the phases with the long duration below take any time.
        config.emulator.time_scale = 0.001;
        config.emulator.warm_up = if phase == Phase::WarmUp { LONG } else { Duration::ZERO };
        config.emulator.cool_down = if phase == Phase::Resting { LONG } else { Duration::ZERO };
        config.emulator.button = if phase == Phase::Button { Button::Wait } else { Button::Auto };
        config.motion.refuse_bytes = 1 << 40;
    });
    if phase == Phase::Parking {
        setup = setup.machine(SlowToPark { parking });
    }
    let harness = setup.start();
    match phase {
        Phase::Requesting => harness.service.fault(Fault::new(Failure::Hold).on("GET", "/dl/")),
        Phase::Downloading => harness.service.fault(Fault::new(Failure::EndlessBody).on("GET", "/dl/")),
        _ => {}
    }
    harness.start_action(PRINT, "print");
    let by_generation = |v1: &'static str, v2: &'static str| if generation == Generation::V1 { v1 } else { v2 };
    match phase {
        Phase::Requesting => harness.wait("a held answer", |seen| seen.iter().any(|s| matches!(s, Seen::Held { .. }))),
        Phase::Downloading => wait_for_bytes(&harness.folder().join("motion")),
        Phase::Button => harness.wait_event(by_generation("print:waiting", "print:download:completed"), Some(PRINT)),
        Phase::WarmUp => harness.wait_event("print:warmup:starting", Some(PRINT)),
        Phase::Running => wait_for_progress(&harness),
        Phase::Paused => {
            wait_for_progress(&harness);
            harness.handle.press_button();
            harness.wait_event("print:paused", Some(PRINT));
        }
        Phase::Parking => parks.recv_timeout(LIMIT).unwrap(),
        Phase::Resting => {
            harness.wait_event(by_generation("print:resting", "print:return_to_home:succeeded"), Some(PRINT));
        }
    }
    harness
}

pub(crate) fn progress_of(seen: &[Seen]) -> Vec<Value> {
    let progress = |seen: &Seen| match seen {
        Seen::WsMessage { message, .. } if message["progress"] == "print:progress" => Some(message.clone()),
        _ => None,
    };
    seen.iter().filter_map(progress).collect()
}

fn wait_for_progress(harness: &Harness) {
    harness.wait("progress", |seen| !progress_of(seen).is_empty());
}

/// Waits until part of a file has arrived in a folder.
fn wait_for_bytes(folder: &Path) {
    let end = Instant::now() + LIMIT;
    let arriving = || {
        let mut entries = fs::read_dir(folder).into_iter().flatten().flatten();
        entries.any(|entry| entry.metadata().is_ok_and(|metadata| metadata.len() > 0))
    };
    while !arriving() {
        assert!(Instant::now() < end, "no bytes arrive");
        thread::yield_now();
    }
}

pub(crate) fn count(events: &[String], event: &str) -> usize {
    events.iter().filter(|have| *have == event).count()
}

/// Checks that the job and its description are complete, or that there are no files.
fn check_files(folder: &Path, expect_files: bool) {
    let names = |extension: &str| {
        let entries = fs::read_dir(folder.join("motion")).into_iter().flatten().flatten();
        entries.filter(|e| e.path().extension().is_some_and(|have| have == extension)).count()
    };
    let all = fs::read_dir(folder.join("motion")).into_iter().flatten().count();
    let expected = usize::from(expect_files);
    assert_eq!((names("puls"), names("info"), all), (expected, expected, 2 * expected));
}

fn check_cancel_in(phase: Phase) {
    // In 2.6 a cancel does not end the rest.
    for generation in BOTH.into_iter().filter(|generation| (*generation, phase) != (Generation::V2, Phase::Resting)) {
        let harness = in_phase(generation, phase);
        harness.send(PRINT, "print", "cancelled", &json!({}));
        harness.wait_event("print:cancelled", Some(PRINT));
        harness.service.release();
        harness.expect(8, "settings", "completed");
        harness.expect(9, "lid_image", "completed");
        let events = harness.events();
        assert_eq!(harness.endings(PRINT, "print"), ["print:cancelled (7)"], "{phase:?} {events:#?}");
        let home = count(&events, "print:return_to_home:succeeded (7)");
        assert_eq!(home, usize::from(phase.comes_home(generation)), "{phase:?} of {generation}: {events:#?}");
        let place = |event: &str| events.iter().position(|have| have == event);
        if phase.comes_home(generation) {
            assert!(place("print:return_to_home:succeeded (7)") < place("print:cancelled (7)"), "{events:#?}");
        }
        check_files(harness.folder(), phase.has_file());
        harness.stop().2.unwrap();
    }
}

#[test]
fn cancelled_before_the_download_is_answered() {
    check_cancel_in(Phase::Requesting);
}

#[test]
fn cancelled_during_the_download() {
    check_cancel_in(Phase::Downloading);
}

#[test]
fn cancelled_during_the_wait_for_the_button() {
    check_cancel_in(Phase::Button);
}

/// The service cannot see when the machine begins to wait: only that the job has been downloaded.
#[test]
fn cancelled_before_the_wait_for_the_button_ends_as_in_it() {
    let mut table: Value = serde_json::from_str(Table::builtin_text(Generation::V2)).unwrap();
    let steps = table["actions"]["print"]["steps"].as_array_mut().unwrap();
    let button = steps.iter_mut().find(|step| step["do"] == "button").unwrap();
    button["delay_s"] = json!(3600);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("actions.json");
    fs::write(&path, table.to_string()).unwrap();
    let harness = Setup::new(Generation::V2)
        .config(move |config| {
            config.service.actions_file = Some(path);
            config.emulator.time_scale = 1.0;
            config.emulator.cool_down = Duration::ZERO;
        })
        .start();
    harness.start_action(PRINT, "print");
    harness.wait_event("print:download:completed", Some(PRINT));
    harness.send(PRINT, "print", "cancelled", &json!({}));
    harness.wait_event("print:cancelled", Some(PRINT));
    let events = events_of(&harness.service.seen());
    assert!(events.contains(&format!("print:return_to_home:succeeded ({PRINT})")), "{events:?}");
}

#[test]
fn cancelled_during_warm_up() {
    check_cancel_in(Phase::WarmUp);
}

#[test]
fn cancelled_while_playing() {
    check_cancel_in(Phase::Running);
}

#[test]
fn cancelled_while_paused() {
    check_cancel_in(Phase::Paused);
}

#[test]
fn cancelled_while_parking() {
    check_cancel_in(Phase::Parking);
}

#[test]
fn cancelled_while_resting() {
    check_cancel_in(Phase::Resting);
}

#[test]
fn a_stop_in_any_phase_cancels_the_print_and_closes_the_websocket() {
    let check_stop_in = |generation, phase| {
        let harness = in_phase(generation, phase);
        let begun = Instant::now();
        let (service, folder, ended) = harness.stop();
        // Each phase takes hours: without the stop, so would this.
        assert!(begun.elapsed() < LIMIT, "{phase:?}: {:?}", begun.elapsed());
        ended.unwrap();
        let closed = |seen: &Seen| matches!(seen, Seen::WsClosed { code: Some(_) });
        assert!(service.wait_for(|seen| seen.iter().any(closed), LIMIT), "{phase:?}: {:#?}", service.seen());
        let seen = service.seen();
        assert_eq!(endings_of(&seen, PRINT, "print"), ["print:cancelled (7)"], "{phase:?} {:#?}", events_of(&seen));
        check_files(folder.path(), phase.has_file());
    };
    // In parallel: each waits for the service's side of a held connection.
    thread::scope(|scope| {
        for (generation, phase) in BOTH.into_iter().flat_map(|g| Phase::ALL.map(|phase| (g, phase))) {
            scope.spawn(move || check_stop_in(generation, phase));
        }
    });
}

#[test]
fn cancelling_an_unknown_action_sends_nothing() {
    for generation in BOTH {
        let harness = Setup::new(generation).start();
        harness.expect(1, "print", "completed");
        harness.expect(2, "settings", "completed");
        let before = harness.events();
        for (id, action) in [(1, "print"), (2, "settings"), (99, "print"), (98, "no_such_action")] {
            harness.send(id, action, "cancelled", &json!({}));
        }
        harness.expect(3, "hunt", "completed");
        let (service, _folder, ended) = harness.stop();
        ended.unwrap();
        let after = events_of(&service.seen());
        let more = &after[before.len()..];
        let foreign: Vec<_> = more.iter().filter(|event| event.contains('(') && !event.contains("(3)")).collect();
        // 1.x sends settings:reset after settings:completed.
        assert!(foreign.iter().all(|event| *event == "settings:reset (2)"), "{foreign:?}");
    }
}

#[test]
fn a_waiting_action_is_cancelled_while_another_runs() {
    for (generation, method, path) in [(Generation::V1, "POST", "/api/machines/"), (Generation::V2, "PUT", "/up/")] {
        let harness = Setup::new(generation).start();
        harness.service.fault(Fault::new(Failure::Hold).on(method, path));
        harness.start_action(1, "lid_image");
        harness.wait("a held upload", |seen| seen.iter().any(|s| matches!(s, Seen::Held { .. })));
        harness.start_action(PRINT, "print");
        harness.send(PRINT, "print", "cancelled", &json!({}));
        harness.wait_event("print:cancelled", Some(PRINT));
        assert_eq!(harness.endings(1, "lid_image"), [""; 0], "not ended yet");
        harness.service.release();
        harness.wait_event("lid_image:completed", Some(1));
        harness.expect(2, "print", "completed");
        assert_eq!(harness.endings(PRINT, "print"), ["print:cancelled (7)"]);
        assert_eq!(harness.endings(1, "lid_image"), ["lid_image:completed (1)"]);
        let events = harness.events();
        assert_eq!(count(&events, "print:starting (7)"), 0, "{events:#?}");
    }
}

#[test]
fn progress_frame_carries_the_run_and_its_values() {
    let measured = gf_emulator_core::puls::measure(&square()[..], gf_emulator_core::puls::Limits::default()).unwrap();
    for generation in BOTH {
        let harness = Setup::new(generation).config(|config| config.emulator.time_scale = 0.001).start();
        harness.expect(PRINT, "print", "completed");
        let progress = progress_of(&harness.service.seen());
        assert_eq!(progress.len(), 2, "at the start and at the end: {progress:#?}");
        let keys: Vec<_> = progress[0].as_object().unwrap().keys().map(String::as_str).collect();
        let common = ["id", "timestamp", "type", "version", "action_id", "progress", "current", "units", "total"];
        assert_eq!(keys[..9], common);
        for (message, running) in progress.iter().zip([1, 0]) {
            assert_eq!((&message["type"], &message["version"]), (&json!("progress"), &json!(1)));
            assert_eq!((&message["action_id"], &message["units"]), (&json!(PRINT), &json!("steps")));
            assert_eq!(message["total"], measured.ticks);
            if generation == Generation::V2 {
                let values = &message["settings"]["values"];
                let codes: Vec<_> = values.as_object().unwrap().keys().map(String::as_str).collect();
                assert_eq!(codes, ["CAid", "CCbp", "CCst", "CCxp", "CCyp"]);
                assert_eq!((&values["CAid"], &values["CCst"]), (&json!(PRINT), &json!(running)));
                assert_eq!(values["CCbp"], message["current"]);
                assert!(values["CCxp"].is_i64() && values["CCyp"].is_i64(), "{values}");
            } else {
                assert_eq!(keys.len(), 9);
            }
        }
        assert!(progress[0]["current"].as_u64().unwrap() <= measured.ticks);
        assert_eq!(progress[1]["current"], measured.ticks);
    }
}

#[test]
fn a_transfer_reports_bytes_and_no_total() {
    let harness = Setup::new(Generation::V2).start();
    let actions = ["hunt", "motion", "print", "lid_image", "user_image", "head_image", "lidar_image"];
    for (id, action) in (1..).zip(actions) {
        harness.expect(id, action, "completed");
    }
    let seen = harness.service.seen();
    for (id, action) in (1..).zip(actions) {
        let phase = if action.ends_with("image") { "upload" } else { "download" };
        let of_action = |seen: &&Seen| matches!(seen, Seen::WsMessage { message, .. } if message["action_id"] == id);
        let messages: Vec<&Value> = seen
            .iter()
            .filter(of_action)
            .filter_map(|seen| if let Seen::WsMessage { message, .. } = seen { Some(message) } else { None })
            .collect();
        let at = messages.iter().position(|m| m["progress"] == format!("{action}:{phase}")).expect(action);
        let before = if phase == "upload" { "upload:starting" } else { "starting" };
        assert_eq!(messages[at - 1]["event"], format!("{action}:{before}"), "at the start of the transfer");
        let fields = messages[at].as_object().unwrap();
        let keys: Vec<_> = fields.keys().map(String::as_str).collect();
        assert_eq!(keys, ["id", "timestamp", "type", "version", "action_id", "progress", "current", "units"]);
        assert_eq!((&fields["current"], &fields["units"]), (&json!(0), &json!("bytes")));
    }
}

#[test]
fn at_time_scale_0_a_print_of_2_6_reports_its_start_and_its_end() {
    let harness = Setup::new(Generation::V2).start();
    harness.expect(PRINT, "print", "completed");
    let progress = progress_of(&harness.service.seen());
    let run: Vec<_> =
        progress.iter().map(|m| (m["current"] == m["total"], m["settings"]["values"]["CCst"].clone())).collect();
    assert_eq!(run, [(false, json!(1)), (true, json!(0))], "{progress:#?}");
}

/// A machine with a fault: `<call> panics`, `<call> fails` or `<call> refuses`.
struct Faulty(&'static str);

impl Faulty {
    fn at(&self, place: &str) -> Result<(), MachineError> {
        match self.0.split_once(' ') {
            Some((call, "panics")) if call == place => panic!("injected fault"),
            Some((call, "fails")) if call == place => Err(MachineError::Failed("injected fault".into())),
            Some((call, "refuses")) if call == place => Err(MachineError::Refused("injected refusal".into())),
            _ => Ok(()),
        }
    }
}

impl Machine for Faulty {
    fn capture(&mut self, _: &Capture<'_>) -> Result<Vec<u8>, MachineError> {
        self.at("capture").map(|()| vec![0; 10])
    }

    fn load(&mut self, _: &Job) -> Result<(), MachineError> {
        self.at("load")
    }

    fn wait_for_button(&mut self, _: &Job, _: &Controls) -> Result<(), MachineError> {
        self.at("button")
    }

    fn warm_up(&mut self, _: &Job, _: &Controls) -> Result<(), MachineError> {
        self.at("warm_up")
    }

    fn play(&mut self, _: &Job, _: &Controls, _: &mut dyn FnMut(PlayUpdate)) -> Result<(), MachineError> {
        self.at("play")
    }

    fn park(&mut self, _: &Controls, _: &mut dyn FnMut(PlayUpdate)) -> Result<(), MachineError> {
        self.at("park")
    }

    fn rest(&mut self, _: &Controls) -> Result<(), MachineError> {
        self.at("rest")
    }
}

#[test]
fn every_action_of_a_faulty_machine_ends_once() {
    let home = "print:return_to_home:succeeded (7)";
    for generation in BOTH {
        // In 2.6 the head is home, and reported so, from the wait for the button on.
        let at_home = usize::from(generation == Generation::V2);
        for (fault, ending, parked) in [
            ("no fault", "completed", 1),
            ("load refuses", "cancelled", 0),
            ("load fails", "failed", 0),
            ("load panics", "failed", 0),
            ("button refuses", "cancelled", at_home),
            ("button panics", "failed", 0),
            ("warm_up refuses", "cancelled", at_home),
            ("warm_up fails", "failed", at_home),
            ("play refuses", "cancelled", 1),
            ("play fails", "failed", 1),
            // A machine that has panicked is not asked to park.
            ("play panics", "failed", 0),
            ("park fails", "failed", 0),
            ("park panics", "failed", 0),
            ("rest fails", "failed", 1),
            ("rest panics", "failed", 1),
        ] {
            let harness = Setup::new(generation).machine(Faulty(fault)).start();
            harness.expect(PRINT, "print", ending);
            harness.expect(8, "lid_image", "completed");
            harness.expect(9, "settings", "completed");
            assert_eq!(harness.endings(PRINT, "print"), [format!("print:{ending} (7)")], "{fault}");
            assert_eq!(count(&harness.events(), home), parked, "{fault}: {:#?}", harness.events());
            harness.stop().2.unwrap();
        }
        for (fault, ending) in
            [("capture panics", "failed"), ("capture fails", "failed"), ("capture refuses", "cancelled")]
        {
            let harness = Setup::new(generation).machine(Faulty(fault)).start();
            harness.expect(8, "lid_image", ending);
            harness.expect(PRINT, "print", "completed");
            assert_eq!(harness.endings(8, "lid_image"), [format!("lid_image:{ending} (8)")], "{fault}");
        }
    }
}
