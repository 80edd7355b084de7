//! Button and lid in each phase of an action.

use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};
use gf_emulator_core::Config;
use gf_emulator_core::config::{Button, Generation};
use gf_emulator_core::machine::{CannedMachine, Capture, Controls, Job, Machine, MachineError, PlayUpdate};
use gf_emulator_tests::{Harness, LIMIT, Setup, endings_of};
use serde_json::json;

use crate::prints::{BOTH, PRINT, Phase, count, in_phase, progress_of};

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
        for (event, times) in
            [("lid:opened", 1), ("lid:closed", 1), ("print:return_to_home:succeeded (7)", usize::from(phase.has_run()))]
        {
            assert_eq!(count(&events, event), times, "{event} {phase:?}: {events:#?}");
        }
    }
}

#[test]
fn the_lid_does_not_stop_a_print_that_waits_for_the_button_or_rests() {
    for (generation, phase) in BOTH.into_iter().flat_map(|g| [Phase::Button, Phase::Resting].map(|phase| (g, phase))) {
        let harness = in_phase(generation, phase);
        harness.handle.open_lid();
        harness.wait_event("lid:opened", None);
        harness.handle.close_lid();
        harness.wait_event("lid:closed", None);
        assert_eq!(harness.endings(PRINT, "print"), [""; 0], "{phase:?}");
        harness.send(PRINT, "print", "cancelled", &json!({}));
        harness.wait_event("print:cancelled", Some(PRINT));
    }
}

#[test]
fn no_print_starts_while_the_lid_is_open() {
    for generation in BOTH {
        let harness = Setup::new(generation).start();
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

#[test]
fn only_a_press_during_the_wait_starts_a_print() {
    for generation in BOTH {
        let harness = Setup::new(generation).config(|config| config.emulator.button = Button::Wait).start();
        harness.handle.press_button();
        harness.start_action(PRINT, "print");
        harness.wait_event("print:download:completed", Some(PRINT));
        assert_eq!(harness.endings(PRINT, "print"), [""; 0]);
        // A press before the wait has begun is lost: press again.
        while !harness.service.wait_for(|seen| !endings_of(seen, PRINT, "print").is_empty(), Duration::from_millis(20))
        {
            harness.handle.press_button();
        }
        assert_eq!(harness.endings(PRINT, "print"), ["print:completed (7)"]);
    }
}

/// The canned machine, blocked at the start of one call until the test releases it.
struct Blocked {
    inner: CannedMachine,
    before: &'static str,
    reached: Sender<()>,
    release: Receiver<()>,
}

impl Blocked {
    fn at(&self, call: &str) {
        if call == self.before {
            let _ = self.reached.send(());
            let _ = self.release.recv_timeout(LIMIT);
        }
    }
}

impl Machine for Blocked {
    fn capture(&mut self, request: &Capture<'_>) -> Result<Vec<u8>, MachineError> {
        self.inner.capture(request)
    }

    fn warm_up(&mut self, job: &Job, controls: &Controls) -> Result<(), MachineError> {
        self.at("warm_up");
        self.inner.warm_up(job, controls)
    }

    fn play(
        &mut self,
        job: &Job,
        controls: &Controls,
        on_update: &mut dyn FnMut(PlayUpdate),
    ) -> Result<(), MachineError> {
        self.at("play");
        self.inner.play(job, controls, on_update)
    }
}

/// Starts an action on a machine that blocks before a call; dropping or using the sender releases it.
fn start_blocked(generation: Generation, action: &str, before: &'static str) -> (Harness, Sender<()>) {
    let ((reached, arrivals), (releaser, release)) = (bounded(1), bounded(1));
    let mut config = Config::default();
    config.emulator.time_scale = 0.001;
    let machine = Blocked { inner: CannedMachine::new(&config), before, reached, release };
    let harness = Setup::new(generation).config(|config| config.emulator.time_scale = 0.001).machine(machine).start();
    harness.start_action(PRINT, action);
    arrivals.recv_timeout(LIMIT).unwrap();
    (harness, releaser)
}

#[test]
fn a_press_during_warm_up_pauses_the_job_as_it_starts() {
    for generation in BOTH {
        let (harness, releaser) = start_blocked(generation, "print", "warm_up");
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
    for (generation, action) in [(Generation::V1, "motion"), (Generation::V2, "motion"), (Generation::V2, "hunt")] {
        let (harness, releaser) = start_blocked(generation, action, "play");
        harness.handle.press_button();
        releaser.send(()).unwrap();
        harness.wait_event(&format!("{action}:completed"), Some(PRINT));
        if generation == Generation::V2 {
            assert_eq!(count(&harness.events(), "button:pressed"), 1, "the event is sent nevertheless");
        }
        // The press must not pause the next job.
        drop(releaser);
        harness.expect(8, "print", "completed");
        assert_eq!(count(&harness.events(), "print:paused (8)"), 0, "{:#?}", harness.events());
    }
}
