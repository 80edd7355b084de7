//! Button and lid in each phase of an action.

use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};
use gf_emulator_core::Config;
use gf_emulator_core::config::{Button, Generation};
use gf_emulator_core::local_service::{Failure, Fault, Seen};
use gf_emulator_core::machine::{CannedMachine, Capture, Controls, Job, Machine, MachineError, PlayUpdate, WakeReason};
use gf_emulator_tests::{Harness, LIMIT, Setup, endless_job};
use serde_json::json;

use crate::prints::{BOTH, PRINT, Phase, count, in_phase, progress_of};

const HOME: &str = "print:return_to_home:succeeded (7)";
/// The messages of a print of 2.6 that is cancelled in the wait for the button.
const NOT_STARTED: [&str; 5] =
    ["print:starting (7)", "print:download (7)", "print:download:completed (7)", HOME, "print:cancelled (7)"];

#[test]
fn the_lid_stops_a_print_in_warm_up_and_while_it_plays() {
    for (generation, phase) in
        BOTH.into_iter().flat_map(|g| [Phase::WarmUp, Phase::Running, Phase::Paused].map(|p| (g, p)))
    {
        let harness = in_phase(generation, phase);
        harness.handle.open_lid();
        harness.handle.open_lid();
        harness.wait_event("print:cancelled", Some(PRINT));
        harness.handle.close_lid();
        harness.handle.close_lid();
        harness.expect(8, "lid_image", "completed");
        let events = harness.events();
        assert_eq!(harness.endings(PRINT, "print"), ["print:cancelled (7)"]);
        for (event, times) in [("lid:opened", 1), ("lid:closed", 1), (HOME, usize::from(phase.comes_home(generation)))]
        {
            assert_eq!(count(&events, event), times, "{event} {phase:?}: {events:#?}");
        }
    }
}

#[test]
fn the_lid_does_not_stop_a_print_that_rests_nor_in_1_x_one_that_waits_for_the_button() {
    for (generation, phase) in
        [(Generation::V1, Phase::Button), (Generation::V1, Phase::Resting), (Generation::V2, Phase::Resting)]
    {
        let harness = in_phase(generation, phase);
        harness.handle.open_lid();
        harness.wait_event("lid:opened", None);
        harness.handle.close_lid();
        harness.wait_event("lid:closed", None);
        assert_eq!(harness.endings(PRINT, "print"), [""; 0], "{phase:?}");
        // Only this ends the rest in 2.6.
        harness.stop().2.unwrap();
    }
}

#[test]
fn in_1_x_no_print_starts_while_the_lid_is_open() {
    let harness = Setup::new(Generation::V1).start();
    harness.handle.open_lid();
    harness.start_action(PRINT, "print");
    harness.wait_event("print:download:completed", Some(PRINT));
    harness.handle.press_button();
    harness.handle.close_lid();
    harness.wait_event("print:completed", Some(PRINT));
    let events = harness.events();
    let place = |event: &str| events.iter().position(|have| have == event).unwrap();
    assert!(place("lid:closed") < place("print:warmup:starting (7)"), "{events:#?}");
}

#[test]
fn the_button_pauses_and_resumes() {
    for generation in BOTH {
        let harness = in_phase(generation, Phase::Paused);
        harness.handle.press_button();
        harness.wait_event("print:resumed", Some(PRINT));
        harness.wait("progress at start, pause and resumption", |seen| progress_of(seen).len() == 3);
        let progress = progress_of(&harness.service.seen());
        let ticks = progress[0]["total"].as_u64().unwrap();
        if generation == Generation::V2 {
            let running: Vec<_> = progress.iter().map(|message| &message["settings"]["values"]["CCst"]).collect();
            assert_eq!(running, [1, 0, 1]);
        }
        for message in &progress {
            assert_eq!(message["units"], "steps");
            assert_eq!(message["total"], ticks);
            assert!(message["current"].as_u64().unwrap() <= ticks);
        }
        assert_eq!(progress[1]["current"], progress[2]["current"], "resumes at the position that it backed up to");
        let events: Vec<_> =
            harness.events().into_iter().filter(|e| e.starts_with("button") || e.contains("ed (7)")).collect();
        assert_eq!((count(&events, "print:paused (7)"), count(&events, "print:resumed (7)")), (1, 1), "{events:#?}");
        if generation == Generation::V2 {
            // In 1.x these events are part of a print.
            assert_eq!((count(&events, "button:pressed"), count(&events, "button:released")), (2, 2), "{events:#?}");
        }
        harness.send(PRINT, "print", "cancelled", &json!({}));
        harness.wait_event("print:cancelled", Some(PRINT));
    }
}

/// A machine that refuses a print if the button was pressed before the wait for it.
struct RefusesPresses;

impl Machine for RefusesPresses {
    fn capture(&mut self, _: &Capture<'_>) -> Result<Vec<u8>, MachineError> {
        Ok(vec![0; 10])
    }

    fn wait_for_button(&mut self, _: &Job, controls: &Controls) -> Result<(), MachineError> {
        match controls.wait(Some(Instant::now()))? {
            WakeReason::ButtonPressed => Err(MachineError::Refused("the button was pressed".into())),
            _ => Ok(()),
        }
    }

    fn play(&mut self, _: &Job, _: &Controls, _: &mut dyn FnMut(PlayUpdate)) -> Result<(), MachineError> {
        Ok(())
    }
}

#[test]
fn a_press_before_the_end_of_the_download_is_lost() {
    for generation in BOTH {
        let harness = Setup::new(generation).machine(RefusesPresses).start();
        harness.service.fault(Fault::new(Failure::Hold).on("GET", "/dl/"));
        harness.handle.press_button();
        harness.start_action(PRINT, "print");
        harness.wait("the held download", |seen| seen.iter().any(|seen| matches!(seen, Seen::Held { .. })));
        harness.handle.press_button();
        harness.service.release();
        harness.wait_event("print:completed", Some(PRINT));
    }
}

#[test]
fn a_press_between_the_download_and_the_wait_starts_a_print() {
    for generation in BOTH {
        let (harness, releaser) = start_blocked(generation, "print", "button", 0.001);
        harness.wait_event("print:download:completed", Some(PRINT));
        harness.handle.press_button();
        releaser.send(()).unwrap();
        harness.wait_event("print:completed", Some(PRINT));
        assert_eq!(count(&harness.events(), "print:paused (7)"), 0, "{:#?}", harness.events());
    }
}

/// Blocks at one place until the test releases it.
struct Gate {
    at: &'static str,
    reached: Sender<()>,
    release: Receiver<()>,
}

impl Gate {
    fn pass(&self, place: &str) {
        if place == self.at {
            let _ = self.reached.send(());
            let _ = self.release.recv_timeout(LIMIT);
        }
    }
}

/// The canned machine, blocked at the start of one call, or at the first update of a job (`playing`).
struct Blocked {
    inner: CannedMachine,
    gate: Gate,
}

impl Machine for Blocked {
    fn capture(&mut self, request: &Capture<'_>) -> Result<Vec<u8>, MachineError> {
        self.inner.capture(request)
    }

    fn wait_for_button(&mut self, job: &Job, controls: &Controls) -> Result<(), MachineError> {
        self.gate.pass("button");
        self.inner.wait_for_button(job, controls)
    }

    fn warm_up(&mut self, job: &Job, controls: &Controls) -> Result<(), MachineError> {
        self.gate.pass("warm_up");
        self.inner.warm_up(job, controls)
    }

    fn play(
        &mut self,
        job: &Job,
        controls: &Controls,
        on_update: &mut dyn FnMut(PlayUpdate),
    ) -> Result<(), MachineError> {
        let Self { inner, gate } = self;
        gate.pass("play");
        let mut first = true;
        inner.play(job, controls, &mut |update| {
            on_update(update);
            if std::mem::take(&mut first) {
                gate.pass("playing");
            }
        })
    }

    fn park(&mut self, controls: &Controls, on_update: &mut dyn FnMut(PlayUpdate)) -> Result<(), MachineError> {
        self.gate.pass("park");
        assert_eq!(controls.stop_reason(), None, "on the way home");
        self.inner.park(controls, on_update)
    }

    fn rest(&mut self, controls: &Controls) -> Result<(), MachineError> {
        self.gate.pass("rest");
        self.inner.rest(controls)
    }
}

/// Starts an action on a machine that blocks at a place; dropping or using the sender releases it.
fn start_blocked(generation: Generation, action: &str, at: &'static str, time_scale: f64) -> (Harness, Sender<()>) {
    let ((reached, arrivals), (releaser, release)) = (bounded(1), bounded(1));
    let mut config = Config::default();
    config.emulator.time_scale = time_scale;
    config.emulator.cool_down = Duration::ZERO;
    config.emulator.button = if at == "button" { Button::Wait } else { Button::Auto };
    config.service.protocol = Some(generation);
    let machine = Blocked { inner: CannedMachine::new(&config), gate: Gate { at, reached, release } };
    let setup = Setup::new(generation).config(move |config| config.emulator.time_scale = time_scale);
    let harness = setup.machine(machine).start();
    harness.start_action(PRINT, action);
    arrivals.recv_timeout(LIMIT).unwrap();
    (harness, releaser)
}

#[test]
fn a_press_during_warm_up_pauses_the_job_as_it_starts() {
    for generation in BOTH {
        let (harness, releaser) = start_blocked(generation, "print", "warm_up", 0.001);
        harness.handle.press_button();
        releaser.send(()).unwrap();
        harness.wait_event("print:paused", Some(PRINT));
        assert_eq!(harness.endings(PRINT, "print"), [""; 0]);
        harness.handle.press_button();
        harness.wait_event("print:completed", Some(PRINT));
        let events = harness.events();
        let place = |event: &str| events.iter().position(|have| have == event).expect(event);
        assert!(place("print:running (7)") < place("print:paused (7)"), "{events:#?}");
        assert!(place("print:paused (7)") < place("print:resumed (7)"), "{events:#?}");
    }
}

#[test]
fn the_button_pauses_neither_a_hunt_nor_a_motion() {
    let actions = [(Generation::V1, "motion"), (Generation::V2, "motion"), (Generation::V2, "hunt")];
    let places = [("play", 0.0), ("play", 0.001), ("playing", 0.001), ("playing", 1.0)];
    for ((generation, action), (at, time_scale)) in actions.into_iter().flat_map(|a| places.map(|p| (a, p))) {
        let (harness, releaser) = start_blocked(generation, action, at, time_scale);
        harness.handle.press_button();
        releaser.send(()).unwrap();
        harness.wait_event(&format!("{action}:completed"), Some(PRINT));
        if generation == Generation::V2 {
            assert_eq!(count(&harness.events(), "button:pressed"), 1, "the event is sent nevertheless");
        }
        // The press must not pause the next job.
        drop(releaser);
        if time_scale < 1.0 {
            harness.expect(8, "print", "completed");
            assert_eq!(count(&harness.events(), "print:paused (8)"), 0, "{:#?}", harness.events());
        }
    }
}

#[test]
fn hunt_and_way_home_ignore_the_lid() {
    for (action, at) in [("hunt", "play"), ("hunt", "playing"), ("print", "park"), ("print", "rest")] {
        let (harness, releaser) = start_blocked(Generation::V2, action, at, 0.001);
        harness.handle.open_lid();
        releaser.send(()).unwrap();
        harness.wait_event(&format!("{action}:completed"), Some(PRINT));
        // A hunt can also begin under an open lid.
        drop(releaser);
        harness.expect(8, "hunt", "completed");
    }
}

#[test]
fn a_cancel_does_not_end_the_rest_and_is_reported_after_it() {
    let (harness, releaser) = start_blocked(Generation::V2, "print", "rest", 0.001);
    harness.send(PRINT, "print", "cancelled", &json!({}));
    // Messages are read in order: the answer to this one shows that the cancellation has been read.
    harness.expect(20, "update_check", "completed");
    harness.handle.press_button();
    harness.wait_event("button:released", None);
    assert_eq!(harness.endings(PRINT, "print"), [""; 0]);
    releaser.send(()).unwrap();
    harness.wait_event("print:cancelled", Some(PRINT));
    assert_eq!(count(&harness.events(), HOME), 1, "it does not park again");
}

#[test]
fn the_lid_stops_a_motion_even_if_it_is_opened_for_an_instant() {
    for (at, closes) in [("play", true), ("playing", true), ("playing", false)] {
        let (harness, releaser) = start_blocked(Generation::V2, "motion", at, 1.0);
        harness.handle.open_lid();
        if closes {
            harness.handle.close_lid();
        }
        releaser.send(()).unwrap();
        harness.wait_event("motion:cancelled", Some(PRINT));
        assert_eq!(harness.endings(PRINT, "motion"), ["motion:cancelled (7)"]);
    }
}

#[test]
fn motion_and_print_under_an_open_lid_are_cancelled_and_fetch_nothing() {
    let harness = Setup::new(Generation::V2).start();
    harness.expect(1, "settings", "completed");
    harness.handle.open_lid();
    for (id, action) in [(2, "motion"), (3, "print")] {
        harness.expect(id, action, "cancelled");
    }
    let events: Vec<_> = harness.events().into_iter().filter(|event| !event.starts_with("settings")).collect();
    let expected =
        ["lid:opened", "motion:starting (2)", "motion:cancelled (2)", "print:starting (3)", "print:cancelled (3)"];
    assert_eq!(events, expected);
    let fetched = |seen: &Seen| matches!(seen, Seen::Http(request) if request.path.starts_with("/dl/"));
    assert!(!harness.service.seen().iter().any(fetched));
    // In 1.x they are done, the print once the lid is closed.
    let harness = Setup::new(Generation::V1).start();
    harness.handle.open_lid();
    harness.expect(2, "motion", "completed");
}

#[test]
fn lid_pictures_under_an_open_lid_fail_and_head_pictures_are_taken() {
    let harness = Setup::new(Generation::V2).start();
    harness.handle.open_lid();
    for (id, action, ending) in [
        (1, "lid_image", "failed"),
        (2, "user_image", "failed"),
        (3, "head_image", "completed"),
        (4, "lidar_image", "completed"),
    ] {
        harness.expect(id, action, ending);
        let own: Vec<_> = harness.events().into_iter().filter(|event| event.ends_with(&format!("({id})"))).collect();
        if ending == "failed" {
            assert_eq!(own, [format!("{action}:starting ({id})"), format!("{action}:failed ({id})")]);
        }
    }
    harness.handle.close_lid();
    harness.expect(5, "lid_image", "completed");
}

#[test]
fn lid_in_the_wait_for_the_button_cancels_and_a_press_under_it_does_nothing() {
    for closes in [false, true] {
        let harness = in_phase(Generation::V2, Phase::Button);
        harness.handle.open_lid();
        if closes {
            harness.handle.close_lid();
        } else {
            harness.handle.press_button();
        }
        harness.wait_event("print:cancelled", Some(PRINT));
        let own: Vec<_> = harness.events().into_iter().filter(|event| event.ends_with("(7)")).collect();
        assert_eq!(own, NOT_STARTED);
    }
}

#[test]
fn the_lid_cancels_a_print_during_its_download() {
    for closes in [false, true] {
        let harness = in_phase(Generation::V2, Phase::Downloading);
        harness.handle.open_lid();
        if closes {
            harness.handle.close_lid();
        }
        harness.wait_event("print:cancelled", Some(PRINT));
        let own: Vec<_> = harness.events().into_iter().filter(|event| event.ends_with("(7)")).collect();
        assert_eq!(own, ["print:starting (7)", "print:download (7)", "print:cancelled (7)"]);
        assert_eq!(harness.jobs(), [""; 0].map(std::path::PathBuf::from), "nothing of it is kept");
        harness.handle.close_lid();
        harness.expect(8, "lid_image", "completed");
    }
}

#[test]
fn the_wait_for_the_button_ends_after_the_configured_time() {
    let setup = Setup::new(Generation::V2).config(|config| {
        config.emulator.button = Button::Wait;
        config.emulator.button_timeout = Duration::from_secs(1);
    });
    let harness = setup.start();
    harness.expect(PRINT, "print", "cancelled");
    let own: Vec<_> = harness.events().into_iter().filter(|event| event.ends_with("(7)")).collect();
    assert_eq!(own, NOT_STARTED);
}

#[test]
fn a_print_that_is_stopped_reports_the_stop_and_the_way_home_before_it_is_cancelled() {
    let setup = Setup::new(Generation::V2).service(|service| service.puls(endless_job())).config(|config| {
        // 10,000 ticks a second: the head is away from its start after 4000 ticks.
        config.emulator.time_scale = 0.0001;
    });
    let harness = setup.start();
    harness.start_action(PRINT, "print");
    let (mut pauses, mut ids) = (0, 100..);
    loop {
        harness.wait("progress", |seen| progress_of(seen).len() > 2 * pauses);
        // A pause goes back 2000 ticks, so each run is longer than the one before.
        for id in ids.by_ref().take(1 << pauses) {
            harness.expect(id, "settings", "completed");
        }
        harness.handle.press_button();
        harness.wait("a pause", |seen| progress_of(seen).len() > 2 * pauses + 1);
        if progress_of(&harness.service.seen()).last().unwrap()["settings"]["values"]["CCxp"] != 0 {
            break;
        }
        harness.handle.press_button();
        pauses += 1;
    }
    let before = harness.service.seen().len();
    harness.handle.open_lid();
    harness.wait_event("print:cancelled", Some(PRINT));
    let mut lines = Vec::new();
    for seen in &harness.service.seen()[before..] {
        let Seen::WsMessage { message, .. } = seen else { continue };
        let values = &message["settings"]["values"];
        match message["event"].as_str() {
            Some(event) => lines.push(event.to_owned()),
            None => lines.push(format!("{} running {}", message["current"] == message["total"], values["CCst"])),
        }
    }
    let expected = [
        "lid:opened",
        "false running 0",
        "false running 1",
        "true running 0",
        "print:return_to_home:succeeded",
        "print:cancelled",
    ];
    assert_eq!(lines, expected);
    let progress = progress_of(&harness.service.seen());
    let totals: Vec<_> = progress.iter().rev().take(3).map(|message| message["total"].as_u64().unwrap()).collect();
    // At most 5.01 mm, a whole number of microsteps, at 200 mm/s and 10 kHz.
    assert!(totals[0] == totals[1] && totals[0] <= 251 && totals[2] > 251, "{totals:?}");
    assert_eq!(progress.last().unwrap()["settings"]["values"]["CCxp"], 0);
}
