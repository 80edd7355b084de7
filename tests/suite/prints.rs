//! A print in all its phases: withdrawn, stopped, let down by its machine.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};
use gf_emulator_core::config::{Button, Generation};
use gf_emulator_core::local_service::{Failure, Fault, Seen};
use gf_emulator_core::machine::{Capture, Controls, End, Halt, Job, Machine, Moment};
use gf_emulator_tests::{Bench, LIMIT, Setup, endings_of, endless_job, events_of, square};
use serde_json::{Value, json};

pub(crate) const BOTH: [Generation; 2] = [Generation::V1, Generation::V2];
pub(crate) const PRINT: i64 = 7;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// The service has not answered yet.
    Asking,
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
        Self::Asking,
        Self::Downloading,
        Self::Button,
        Self::WarmUp,
        Self::Running,
        Self::Paused,
        Self::Parking,
        Self::Resting,
    ];

    /// Whether the head has moved by then.
    pub(crate) fn has_run(self) -> bool {
        matches!(self, Self::Running | Self::Paused | Self::Parking | Self::Resting)
    }

    /// Whether the job's file has come.
    fn has_file(self) -> bool {
        !matches!(self, Self::Asking | Self::Downloading)
    }
}

/// A machine that is not done parking before somebody wants it to end.
struct SlowToPark {
    parking: Sender<()>,
}

impl Machine for SlowToPark {
    fn capture(&mut self, _: &Capture<'_>) -> Result<Vec<u8>, Halt> {
        Ok(vec![0; 10])
    }

    fn play(&mut self, _: &Job, _: &Controls, _: &mut dyn FnMut(Moment)) -> Result<(), Halt> {
        Ok(())
    }

    fn park(&mut self, controls: &Controls) -> Result<(), Halt> {
        let _ = self.parking.send(());
        match controls.pause(LIMIT) {
            Err(End::Stopped) => Err(Halt::Ended(End::Stopped)),
            // It is on its way home already.
            Err(End::Cancelled | End::LidOpened) => Ok(()),
            Ok(()) => Err(Halt::Failed("nobody has ended it".into())),
        }
    }
}

/// A machine that is in this phase of a print.
pub(crate) fn in_phase(generation: Generation, phase: Phase) -> Bench {
    const LONG: Duration = Duration::from_hours(2400);
    let job = if phase == Phase::Resting { square() } else { endless_job() };
    let (parking, parks): (_, Receiver<()>) = bounded(8);
    let mut setup = Setup::new(generation).service(|service| service.puls(job)).config(move |config| {
        // So little that only what is long by itself takes any time.
        config.emulator.time_scale = 0.001;
        config.emulator.warm_up = if phase == Phase::WarmUp { LONG } else { Duration::ZERO };
        config.emulator.cool_down = LONG;
        config.emulator.button = if phase == Phase::Button { Button::Wait } else { Button::Auto };
        config.motion.refuse_bytes = 1 << 40;
    });
    if phase == Phase::Parking {
        setup = setup.machine(SlowToPark { parking });
    }
    let bench = setup.start();
    match phase {
        Phase::Asking => bench.service.fault(Fault::new(Failure::Hold).on("GET", "/dl/")),
        Phase::Downloading => bench.service.fault(Fault::new(Failure::EndlessBody).on("GET", "/dl/")),
        _ => {}
    }
    bench.ask(PRINT, "print");
    let by_generation = |v1: &'static str, v2: &'static str| if generation == Generation::V1 { v1 } else { v2 };
    match phase {
        Phase::Asking => bench.wait("a held answer", |seen| seen.iter().any(|s| matches!(s, Seen::Held { .. }))),
        Phase::Downloading => wait_for_bytes(&bench.folder().join("motion")),
        Phase::Button => bench.wait_event(by_generation("print:waiting", "print:download:completed"), Some(PRINT)),
        Phase::WarmUp => bench.wait_event("print:warmup:starting", Some(PRINT)),
        Phase::Running => wait_for_progress(&bench),
        Phase::Paused => {
            wait_for_progress(&bench);
            bench.handle.press_button();
            bench.wait_event("print:paused", Some(PRINT));
        }
        Phase::Parking => parks.recv_timeout(LIMIT).unwrap(),
        Phase::Resting => {
            bench.wait_event(by_generation("print:resting", "print:return_to_home:succeeded"), Some(PRINT));
        }
    }
    bench
}

pub(crate) fn progress_of(seen: &[Seen]) -> Vec<Value> {
    let progress = |seen: &Seen| match seen {
        Seen::WsMessage { message, .. } if message["progress"] == "print:progress" => Some(message.clone()),
        _ => None,
    };
    seen.iter().filter_map(progress).collect()
}

fn wait_for_progress(bench: &Bench) {
    bench.wait("progress", |seen| !progress_of(seen).is_empty());
}

/// Until some of a file has arrived in this folder.
fn wait_for_bytes(folder: &Path) {
    let end = Instant::now() + LIMIT;
    let arriving = || {
        let mut entries = fs::read_dir(folder).into_iter().flatten().flatten();
        entries.any(|entry| entry.metadata().is_ok_and(|metadata| metadata.len() > 0))
    };
    while !arriving() {
        assert!(Instant::now() < end, "nothing arrives");
        thread::yield_now();
    }
}

pub(crate) fn count(events: &[String], event: &str) -> usize {
    events.iter().filter(|have| *have == event).count()
}

/// The print's file and its description, or nothing: never a part.
fn check_files(bench_folder: &Path, whole: bool) {
    let names = |extension: &str| {
        let entries = fs::read_dir(bench_folder.join("motion")).into_iter().flatten().flatten();
        entries.filter(|e| e.path().extension().is_some_and(|have| have == extension)).count()
    };
    let all = fs::read_dir(bench_folder.join("motion")).into_iter().flatten().count();
    let expected = usize::from(whole);
    assert_eq!((names("puls"), names("info"), all), (expected, expected, 2 * expected));
}

fn cancelled_in(phase: Phase) {
    for generation in BOTH {
        let bench = in_phase(generation, phase);
        bench.send(PRINT, "print", "cancelled", &json!({}));
        bench.wait_event("print:cancelled", Some(PRINT));
        bench.service.release();
        bench.expect(8, "settings", "completed");
        bench.expect(9, "lid_image", "completed");
        let events = bench.events();
        assert_eq!(bench.endings(PRINT, "print"), ["print:cancelled (7)"], "{phase:?} {events:#?}");
        let home = count(&events, "print:return_to_home:succeeded (7)");
        assert_eq!(home, usize::from(phase.has_run()), "{phase:?} of {generation}: {events:#?}");
        let place = |event: &str| events.iter().position(|have| have == event);
        if phase.has_run() {
            assert!(place("print:return_to_home:succeeded (7)") < place("print:cancelled (7)"), "{events:#?}");
        }
        check_files(bench.folder(), phase.has_file());
        bench.stop().2.unwrap();
    }
}

#[test]
fn cancelled_before_the_download_is_answered() {
    cancelled_in(Phase::Asking);
}

#[test]
fn cancelled_in_mid_download() {
    cancelled_in(Phase::Downloading);
}

#[test]
fn cancelled_while_it_waits_for_the_button() {
    cancelled_in(Phase::Button);
}

#[test]
fn cancelled_in_warm_up() {
    cancelled_in(Phase::WarmUp);
}

#[test]
fn cancelled_while_it_runs() {
    cancelled_in(Phase::Running);
}

#[test]
fn cancelled_while_it_is_paused() {
    cancelled_in(Phase::Paused);
}

#[test]
fn cancelled_while_it_parks() {
    cancelled_in(Phase::Parking);
}

#[test]
fn cancelled_while_it_rests() {
    cancelled_in(Phase::Resting);
}

#[test]
fn stopped_in_every_phase_it_ends_in_order() {
    let stopped = |generation, phase| {
        let bench = in_phase(generation, phase);
        let begun = Instant::now();
        let (service, folder, ended) = bench.stop();
        // Whatever it waits for takes hours: a stop that is not heard takes as long.
        assert!(begun.elapsed() < LIMIT, "{phase:?}: {:?}", begun.elapsed());
        ended.unwrap();
        let closed = |seen: &Seen| matches!(seen, Seen::WsClosed { code: Some(_) });
        assert!(service.wait_for(|seen| seen.iter().any(closed), LIMIT), "{phase:?}: {:#?}", service.seen());
        let seen = service.seen();
        assert_eq!(endings_of(&seen, PRINT, "print"), ["print:cancelled (7)"], "{phase:?} {:#?}", events_of(&seen));
        check_files(folder.path(), phase.has_file());
    };
    // At once: what takes its time is the service's side of a connection that it holds back.
    thread::scope(|scope| {
        for (generation, phase) in BOTH.into_iter().flat_map(|g| Phase::ALL.map(|phase| (g, phase))) {
            scope.spawn(move || stopped(generation, phase));
        }
    });
}

#[test]
fn a_cancel_of_what_is_not_there_says_nothing() {
    for generation in BOTH {
        let bench = Setup::new(generation).start();
        bench.expect(1, "print", "completed");
        bench.expect(2, "settings", "completed");
        let before = bench.events();
        for (id, action) in [(1, "print"), (2, "settings"), (99, "print"), (98, "no_such_action")] {
            bench.send(id, action, "cancelled", &json!({}));
        }
        bench.expect(3, "hunt", "completed");
        let (service, _folder, ended) = bench.stop();
        ended.unwrap();
        let after = events_of(&service.seen());
        let more = &after[before.len()..];
        let foreign: Vec<_> = more.iter().filter(|event| event.contains('(') && !event.contains("(3)")).collect();
        // 1.x still says settings:reset after what was waited for.
        assert!(foreign.iter().all(|event| *event == "settings:reset (2)"), "{foreign:?}");
    }
}

#[test]
fn one_that_waits_is_cancelled_while_another_goes_on() {
    for (generation, method, path) in [(Generation::V1, "POST", "/api/machines/"), (Generation::V2, "PUT", "/up/")] {
        let bench = Setup::new(generation).start();
        bench.service.fault(Fault::new(Failure::Hold).on(method, path));
        bench.ask(1, "lid_image");
        bench.wait("a held upload", |seen| seen.iter().any(|s| matches!(s, Seen::Held { .. })));
        bench.ask(PRINT, "print");
        bench.send(PRINT, "print", "cancelled", &json!({}));
        bench.wait_event("print:cancelled", Some(PRINT));
        assert_eq!(bench.endings(1, "lid_image"), [""; 0], "it is not done yet");
        bench.service.release();
        bench.wait_event("lid_image:completed", Some(1));
        bench.expect(2, "print", "completed");
        assert_eq!(bench.endings(PRINT, "print"), ["print:cancelled (7)"]);
        assert_eq!(bench.endings(1, "lid_image"), ["lid_image:completed (1)"]);
        let events = bench.events();
        assert_eq!(count(&events, "print:starting (7)"), 0, "{events:#?}");
    }
}

#[test]
fn progress_tells_how_far_of_what() {
    let whole = gf_emulator_core::puls::measure(&square()[..], gf_emulator_core::puls::Limits::default()).unwrap();
    for generation in BOTH {
        let bench = Setup::new(generation).config(|config| config.emulator.time_scale = 0.001).start();
        bench.expect(PRINT, "print", "completed");
        let progress = progress_of(&bench.service.seen());
        assert_eq!(progress.len(), 2, "at its beginning and at its end: {progress:#?}");
        let keys: Vec<_> = progress[0].as_object().unwrap().keys().map(String::as_str).collect();
        let common = ["id", "timestamp", "type", "version", "action_id", "progress", "current", "units", "total"];
        assert_eq!(keys[..9], common);
        for message in &progress {
            assert_eq!((&message["type"], &message["version"]), (&json!("progress"), &json!(1)));
            assert_eq!((&message["action_id"], &message["units"]), (&json!(PRINT), &json!("steps")));
            assert_eq!(message["total"], whole.ticks);
            if generation == Generation::V2 {
                let values = &message["settings"]["values"];
                assert_eq!((&values["CCbp"], &values["CCst"]), (&message["current"], &json!(1)));
                assert!(values["CCxp"].is_i64() && values["CCyp"].is_i64(), "{values}");
            } else {
                assert_eq!(keys.len(), 9);
            }
        }
        assert!(progress[0]["current"].as_u64().unwrap() <= whole.ticks);
        assert_eq!(progress[1]["current"], whole.ticks);
    }
}

/// A machine that lets one down.
struct Faulty(&'static str);

impl Faulty {
    fn at(&self, place: &str) -> Result<(), Halt> {
        match self.0.split_once(' ') {
            Some((where_to, "panics")) if where_to == place => panic!("as the test wants it"),
            Some((where_to, "fails")) if where_to == place => Err(Halt::Failed("a belt is torn".into())),
            Some((where_to, "refuses")) if where_to == place => Err(Halt::Refused("not today".into())),
            _ => Ok(()),
        }
    }
}

impl Machine for Faulty {
    fn capture(&mut self, _: &Capture<'_>) -> Result<Vec<u8>, Halt> {
        self.at("capture").map(|()| vec![0; 10])
    }

    fn load(&mut self, _: &Job) -> Result<(), Halt> {
        self.at("load")
    }

    fn wait_for_button(&mut self, _: &Job, _: &Controls) -> Result<(), Halt> {
        self.at("button")
    }

    fn warm_up(&mut self, _: &Job, _: &Controls) -> Result<(), Halt> {
        self.at("warm_up")
    }

    fn play(&mut self, _: &Job, _: &Controls, _: &mut dyn FnMut(Moment)) -> Result<(), Halt> {
        self.at("play")
    }

    fn park(&mut self, _: &Controls) -> Result<(), Halt> {
        self.at("park")
    }

    fn rest(&mut self, _: &Controls) -> Result<(), Halt> {
        self.at("rest")
    }
}

#[test]
fn a_machine_that_lets_one_down_still_ends_every_action_once() {
    let home = "print:return_to_home:succeeded (7)";
    for generation in BOTH {
        for (fault, ending, comes_home) in [
            ("nothing goes wrong", "completed", 1),
            ("load refuses", "cancelled", 0),
            ("load fails", "failed", 0),
            ("load panics", "failed", 0),
            ("button refuses", "cancelled", 0),
            ("button panics", "failed", 0),
            ("warm_up refuses", "cancelled", 0),
            ("warm_up fails", "failed", 0),
            ("play refuses", "cancelled", 1),
            ("play fails", "failed", 1),
            // What is left of a machine that has panicked is not to be moved.
            ("play panics", "failed", 0),
            ("park fails", "failed", 0),
            ("park panics", "failed", 0),
            ("rest fails", "failed", 1),
            ("rest panics", "failed", 1),
        ] {
            let bench = Setup::new(generation).machine(Faulty(fault)).start();
            bench.expect(PRINT, "print", ending);
            bench.expect(8, "lid_image", "completed");
            bench.expect(9, "settings", "completed");
            assert_eq!(bench.endings(PRINT, "print"), [format!("print:{ending} (7)")], "{fault}");
            assert_eq!(count(&bench.events(), home), comes_home, "{fault}: {:#?}", bench.events());
            bench.stop().2.unwrap();
        }
        for (fault, ending) in
            [("capture panics", "failed"), ("capture fails", "failed"), ("capture refuses", "cancelled")]
        {
            let bench = Setup::new(generation).machine(Faulty(fault)).start();
            bench.expect(8, "lid_image", ending);
            bench.expect(PRINT, "print", "completed");
            assert_eq!(bench.endings(8, "lid_image"), [format!("lid_image:{ending} (8)")], "{fault}");
        }
    }
}
