//! Button and lid, before, during and after what they act upon.

use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};
use gf_emulator_core::Config;
use gf_emulator_core::config::{Button, Generation};
use gf_emulator_core::machine::{CannedMachine, Capture, Controls, Halt, Job, Machine, Moment};
use gf_emulator_tests::{Bench, LIMIT, Setup, endings_of};
use serde_json::json;

use crate::prints::{BOTH, PRINT, Phase, count, in_phase, progress_of};

#[test]
fn the_lid_stops_what_runs_and_what_warms_up() {
    for (generation, phase) in
        BOTH.into_iter().flat_map(|g| [Phase::WarmUp, Phase::Running, Phase::Paused].map(|p| (g, p)))
    {
        let bench = in_phase(generation, phase);
        bench.handle.open_lid();
        bench.handle.open_lid();
        bench.wait_event("print:cancelled", Some(PRINT));
        bench.handle.close_lid();
        bench.handle.close_lid();
        bench.expect(8, "lid_image", "completed");
        let events = bench.events();
        assert_eq!(bench.endings(PRINT, "print"), ["print:cancelled (7)"]);
        for (event, times) in
            [("lid:opened", 1), ("lid:closed", 1), ("print:return_to_home:succeeded (7)", usize::from(phase.has_run()))]
        {
            assert_eq!(count(&events, event), times, "{event} {phase:?}: {events:#?}");
        }
    }
}

#[test]
fn the_lid_does_not_end_what_only_waits_or_rests() {
    for (generation, phase) in BOTH.into_iter().flat_map(|g| [Phase::Button, Phase::Resting].map(|phase| (g, phase))) {
        let bench = in_phase(generation, phase);
        bench.handle.open_lid();
        bench.wait_event("lid:opened", None);
        bench.handle.close_lid();
        bench.wait_event("lid:closed", None);
        assert_eq!(bench.endings(PRINT, "print"), [""; 0], "{phase:?}");
        bench.send(PRINT, "print", "cancelled", &json!({}));
        bench.wait_event("print:cancelled", Some(PRINT));
    }
}

#[test]
fn no_print_starts_under_an_open_lid() {
    for generation in BOTH {
        let bench = Setup::new(generation).start();
        bench.handle.open_lid();
        bench.ask(PRINT, "print");
        bench.wait_event("print:download:completed", Some(PRINT));
        bench.handle.press_button();
        bench.handle.close_lid();
        bench.wait_event("print:completed", Some(PRINT));
        let events = bench.events();
        let place = |event: &str| events.iter().position(|have| have == event).unwrap();
        assert!(place("lid:closed") < place("print:warmup:starting (7)"), "{events:#?}");
    }
}

#[test]
fn the_button_pauses_and_resumes() {
    for generation in BOTH {
        let bench = in_phase(generation, Phase::Paused);
        bench.handle.press_button();
        bench.wait_event("print:resumed", Some(PRINT));
        bench.wait("progress at start, pause and resumption", |seen| progress_of(seen).len() == 3);
        let progress = progress_of(&bench.service.seen());
        let ticks = progress[0]["total"].as_u64().unwrap();
        for message in &progress {
            assert_eq!(message["units"], "steps");
            assert_eq!(message["total"], ticks);
            assert!(message["current"].as_u64().unwrap() <= ticks);
        }
        assert_eq!(progress[1]["current"], progress[2]["current"], "it goes on from where it has backed up to");
        let events: Vec<_> =
            bench.events().into_iter().filter(|e| e.starts_with("button") || e.contains("ed (7)")).collect();
        assert_eq!((count(&events, "print:paused (7)"), count(&events, "print:resumed (7)")), (1, 1), "{events:#?}");
        if generation == Generation::V2 {
            // In 1.x they are part of the sequence of a print.
            assert_eq!((count(&events, "button:pressed"), count(&events, "button:released")), (2, 2), "{events:#?}");
        }
        bench.send(PRINT, "print", "cancelled", &json!({}));
        bench.wait_event("print:cancelled", Some(PRINT));
    }
}

#[test]
fn a_press_starts_a_print_that_waits_and_one_from_before_does_not() {
    for generation in BOTH {
        let bench = Setup::new(generation).config(|config| config.emulator.button = Button::Wait).start();
        bench.handle.press_button();
        bench.ask(PRINT, "print");
        bench.wait_event("print:download:completed", Some(PRINT));
        assert_eq!(bench.endings(PRINT, "print"), [""; 0]);
        // It may not be waiting yet, and forgets then: a person presses again.
        while !bench.service.wait_for(|seen| !endings_of(seen, PRINT, "print").is_empty(), Duration::from_millis(20)) {
            bench.handle.press_button();
        }
        assert_eq!(bench.endings(PRINT, "print"), ["print:completed (7)"]);
    }
}

/// The canned machine, held up at the beginning of one of its calls until the test lets it go on.
struct HeldUp {
    inner: CannedMachine,
    before: &'static str,
    reached: Sender<()>,
    go_on: Receiver<()>,
}

impl HeldUp {
    fn at(&self, call: &str) {
        if call == self.before {
            let _ = self.reached.send(());
            let _ = self.go_on.recv_timeout(LIMIT);
        }
    }
}

impl Machine for HeldUp {
    fn capture(&mut self, request: &Capture<'_>) -> Result<Vec<u8>, Halt> {
        self.inner.capture(request)
    }

    fn warm_up(&mut self, job: &Job, controls: &Controls) -> Result<(), Halt> {
        self.at("warm_up");
        self.inner.warm_up(job, controls)
    }

    fn play(&mut self, job: &Job, controls: &Controls, watch: &mut dyn FnMut(Moment)) -> Result<(), Halt> {
        self.at("play");
        self.inner.play(job, controls, watch)
    }
}

/// A machine that takes a thousandth of its time, held up before `call` of the action that it is asked for.
fn held_up(generation: Generation, action: &str, before: &'static str) -> (Bench, Sender<()>) {
    let ((reached, arrivals), (lets_go, go_on)) = (bounded(1), bounded(1));
    let mut config = Config::default();
    config.emulator.time_scale = 0.001;
    let machine = HeldUp { inner: CannedMachine::new(&config), before, reached, go_on };
    let bench = Setup::new(generation).config(|config| config.emulator.time_scale = 0.001).machine(machine).start();
    bench.ask(PRINT, action);
    arrivals.recv_timeout(LIMIT).unwrap();
    (bench, lets_go)
}

#[test]
fn a_press_in_warm_up_pauses_the_run_as_it_begins() {
    for generation in BOTH {
        let (bench, lets_go) = held_up(generation, "print", "warm_up");
        bench.handle.press_button();
        lets_go.send(()).unwrap();
        bench.wait_event("print:paused", Some(PRINT));
        assert_eq!(bench.endings(PRINT, "print"), [""; 0]);
        bench.handle.press_button();
        bench.wait_event("print:completed", Some(PRINT));
        let events = bench.events();
        let place = |event: &str| events.iter().position(|have| have == event).expect(event);
        assert!(place("print:running (7)") < place("print:paused (7)"), "{events:#?}");
        assert!(place("print:paused (7)") < place("print:resumed (7)"), "{events:#?}");
    }
}

#[test]
fn the_button_pauses_neither_a_hunt_nor_a_motion() {
    for (generation, action) in [(Generation::V1, "motion"), (Generation::V2, "motion"), (Generation::V2, "hunt")] {
        let (bench, lets_go) = held_up(generation, action, "play");
        bench.handle.press_button();
        lets_go.send(()).unwrap();
        bench.wait_event(&format!("{action}:completed"), Some(PRINT));
        if generation == Generation::V2 {
            assert_eq!(count(&bench.events(), "button:pressed"), 1, "it is told all the same");
        }
        // And it is forgotten by then. Nothing holds the machine up any more.
        drop(lets_go);
        bench.expect(8, "print", "completed");
        assert_eq!(count(&bench.events(), "print:paused (8)"), 0, "{:#?}", bench.events());
    }
}
