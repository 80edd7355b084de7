//! The local service's default behaviour, seen from the machine's side: homing, prints, the lid, reconnections, and several
//! machines at once.

use std::collections::BTreeSet;
use std::time::Duration;

use gf_emulator_core::config::{Button, Generation};
use gf_emulator_core::local_service::{
    Behaviour, BehaviourChange, Cut, Failure, Fault, LocalService, Outcome, PrintState, Seen,
};
use gf_emulator_core::puls::{Limits, measure};
use gf_emulator_tests::{Harness, LIMIT, Setup, endless_job, run_machine, square};
use serde_json::Value;

/// The actions of homing after the settings.
const HOMING: [&str; 8] = ["hunt", "lid_image", "motion", "lid_image", "motion", "lid_image", "motion", "lid_image"];

/// Without delays.
fn behaviour() -> Behaviour {
    Behaviour::new().time_scale(0.0)
}

/// Returns the types of the actions that the service has sent.
fn sent(seen: &[Seen]) -> Vec<String> {
    let action_type = |seen: &Seen| match seen {
        Seen::WsSent(text) => {
            Some(serde_json::from_str::<Value>(text).unwrap()["action_type"].as_str().unwrap().to_owned())
        }
        _ => None,
    };
    seen.iter().filter_map(action_type).collect()
}

/// Returns what was seen after the first event with this name.
fn after<'a>(seen: &'a [Seen], event: &str) -> &'a [Seen] {
    let at = seen.iter().position(|seen| seen.is_event(event, None));
    at.map_or(&[], |at| &seen[at..])
}

fn has_change(seen: &[Seen], machine: &str, wanted: &BehaviourChange) -> bool {
    seen.iter()
        .any(|seen| matches!(seen, Seen::Behaviour { serial, change, .. } if serial == machine && change == wanted))
}

fn count_events(seen: &[Seen], event: &str) -> usize {
    seen.iter().filter(|seen| seen.is_event(event, None)).count()
}

fn wait_until_homed(harness: &Harness) {
    harness.wait("homing", |seen| has_change(seen, "S12345678", &BehaviourChange::Homed));
    harness.wait("the last picture", |seen| count_events(seen, "lid_image:completed") == 4);
}

#[test]
fn homes_a_machine_and_prints_a_queue() {
    let behaviour = behaviour().print("one", square()).print("two", square()).once();
    let harness = Setup::new(Generation::V2).service(|service| service.behaviour(behaviour)).start();
    assert_eq!(harness.service.outcome(LIMIT), Some(Outcome::Done), "{:#?}", harness.events());
    let seen = harness.service.seen();
    let expected: Vec<_> = ["settings"].into_iter().chain(HOMING).chain(["print", "hunt", "print", "hunt"]).collect();
    assert_eq!(sent(&seen), expected);
    for number in [1, 2] {
        let states = [PrintState::Queued, PrintState::Sent, PrintState::WaitingForButton, PrintState::Running];
        for state in states.into_iter().chain([PrintState::Completed]) {
            assert!(has_change(&seen, "S12345678", &BehaviourChange::Print { number, state }), "{number} {state}");
        }
    }
    // The jobs as the machine has received them: the hunt, then the motions.
    let ends = harness.jobs().into_iter().filter(|path| path.extension().is_some_and(|e| e == "puls"));
    let ends = ends.map(|path| measure(std::fs::File::open(path).unwrap(), Limits::default()).unwrap());
    let ends: Vec<_> = ends.map(|job| (job.counts.x_end(), job.counts.y_end(), job.ticks)).collect();
    assert_eq!(ends.len(), 8);
    for job in [(0, 0, 15_874), (12_939, 7402, 22_740), (159, 5, 1222), (-13_096, -7400, 47_243)] {
        assert!(ends.contains(&job), "no {job:?}: {ends:?}");
    }
    harness.stop().2.unwrap();
}

#[test]
fn a_machine_that_bypasses_homing_is_not_homed() {
    let behaviour = behaviour().print("one", square()).once();
    let setup = Setup::new(Generation::V2).service(|service| service.behaviour(behaviour));
    let harness = setup.config(|config| config.emulator.bypass_homing = true).start();
    assert_eq!(harness.service.outcome(LIMIT), Some(Outcome::Done));
    assert_eq!(sent(&harness.service.seen()), ["settings", "print", "hunt"]);
    harness.stop().2.unwrap();
}

#[test]
fn a_print_that_the_machine_refuses_fails_the_run() {
    let behaviour = behaviour().print("bad.puls", b"no pulse file".to_vec()).print("good", square()).once();
    let harness = Setup::new(Generation::V2).service(|service| service.behaviour(behaviour)).start();
    let Some(Outcome::Failed { step: 1, reason }) = harness.service.outcome(LIMIT) else {
        panic!("the print did not fail: {:#?}", harness.events())
    };
    assert!(reason.starts_with("the print of bad.puls was not completed: "), "{reason}");
    let good = BehaviourChange::Print { number: 2, state: PrintState::Completed };
    assert!(has_change(&harness.service.seen(), "S12345678", &good));
    harness.stop().2.unwrap();
}

#[test]
fn a_closed_lid_brings_a_lid_picture_and_an_open_one_nothing() {
    let harness = Setup::new(Generation::V2).service(|service| service.behaviour(behaviour())).start();
    wait_until_homed(&harness);
    harness.handle.open_lid();
    harness.wait_event("lid:opened", None);
    harness.handle.close_lid();
    harness.wait("the picture", |seen| count_events(after(seen, "lid:closed"), "lid_image:completed") == 1);
    assert_eq!(sent(after(&harness.service.seen(), "lid:opened")), ["lid_image"]);
    harness.stop().2.unwrap();
}

#[test]
fn the_delay_of_the_lid_picture_is_scaled() {
    // A scale of 0.001 would not be told from none; this one is never reached in a test.
    let slow = Behaviour::new().time_scale(1000.0);
    let harness = Setup::new(Generation::V2).service(|service| service.behaviour(slow)).start();
    wait_until_homed(&harness);
    harness.handle.open_lid();
    harness.handle.close_lid();
    // The answer to an action that is sent after it comes first.
    harness.wait_event("lid:closed", None);
    harness.expect(1, "lid_image", "completed");
    assert_eq!(sent(after(&harness.service.seen(), "lid:closed")), ["lid_image"]);
    harness.stop().2.unwrap();
}

#[test]
fn homing_waits_for_the_lid_and_takes_the_picture_again() {
    let harness = Setup::new(Generation::V2).service(|service| service.behaviour(behaviour()));
    let harness = harness.start_held("/dl/homing-hunt");
    harness.handle.open_lid();
    harness.wait_event("lid:opened", None);
    harness.service.release();
    harness.wait_event("hunt:completed", None);
    harness.handle.close_lid();
    wait_until_homed(&harness);
    let seen = harness.service.seen();
    let opened = after(&seen, "lid:opened");
    let closed = after(opened, "lid:closed");
    assert_eq!(sent(&opened[..opened.len() - closed.len()]), [""; 0], "nothing was sent while the lid was open");
    assert_eq!(sent(closed), HOMING[1..]);
    harness.stop().2.unwrap();
}

#[test]
fn a_print_that_the_lid_stops_brings_a_hunt_and_the_next_print_waits() {
    let behaviour = behaviour().print("endless", endless_job()).print("next", square()).once();
    let setup = Setup::new(Generation::V2).service(|service| service.behaviour(behaviour));
    let harness = setup
        .config(|config| {
            config.emulator.time_scale = 0.001;
            config.emulator.button = Button::Auto;
            config.emulator.warm_up = Duration::ZERO;
            config.emulator.cool_down = Duration::ZERO;
        })
        .start();
    harness.wait_event("print:running", None);
    harness.handle.open_lid();
    harness.wait_event("print:cancelled", None);
    harness.wait("the hunt", |seen| count_events(after(seen, "print:cancelled"), "hunt:completed") == 1);
    assert_eq!(sent(after(&harness.service.seen(), "lid:opened")), ["hunt"]);
    harness.handle.close_lid();
    let outcome = harness.service.outcome(LIMIT);
    assert!(matches!(outcome, Some(Outcome::Failed { step: 1, .. })), "{outcome:?}");
    assert_eq!(sent(after(&harness.service.seen(), "lid:closed")), ["lid_image", "print", "hunt"]);
    harness.stop().2.unwrap();
}

#[test]
fn a_machine_that_reconnects_goes_on_where_it_was() {
    for how in [Cut::Drain, Cut::Hard] {
        let behaviour = behaviour().print("one", square()).once();
        let setup = Setup::new(Generation::V2).service(|service| service.behaviour(behaviour));
        let harness = setup.start_held("/dl/motion-1");
        harness.service.drop_connection(how);
        harness.wait("the reconnection", |seen| {
            seen.iter().filter(|seen| matches!(seen, Seen::WsOpened { .. })).count() == 2
        });
        harness.service.release();
        assert_eq!(harness.service.outcome(LIMIT), Some(Outcome::Done), "{:#?}", harness.events());
        let seen = harness.service.seen();
        assert_eq!(sent(&seen).iter().filter(|action_type| *action_type == "settings").count(), 2);
        // Homing does not begin again. If the cut took its first events, the motion is sent again with the same `id`.
        let completed = seen.iter().filter(|seen| seen.is_event("motion:completed", None));
        let motions: BTreeSet<_> = completed.filter_map(action_id).collect();
        assert_eq!(motions.len(), 3, "{motions:?}");
        let times_sent = sent(&seen).iter().filter(|action_type| *action_type == "motion").count();
        assert!(count_events(&seen, "motion:completed") <= times_sent);
        assert_eq!(count_events(&seen, "print:completed"), 1);
        harness.stop().2.unwrap();
    }
}

fn action_id(seen: &Seen) -> Option<i64> {
    if let Seen::WsMessage { message, .. } = seen { message["action_id"].as_i64() } else { None }
}

#[test]
fn two_machines_at_once_each_have_their_own_state() {
    let behaviour = behaviour().print("one", square()).once();
    let service = LocalService::builder().tls(false).behaviour(behaviour).start().unwrap();
    // The answer to a download of the hunt is held: that machine stays behind.
    service.fault(Fault::new(Failure::Hold).on("GET", "/dl/homing-hunt").machine(1));
    let (first, second) = (run_machine(&service, 1), run_machine(&service, 2));
    let completed = BehaviourChange::Print { number: 1, state: PrintState::Completed };
    let done = |seen: &[Seen]| ["S1", "S2"].map(|serial| has_change(seen, serial, &completed));
    assert!(service.wait_for(|seen| done(seen).contains(&true), LIMIT), "{:#?}", service.seen());
    assert!(done(&service.seen()).contains(&false));
    service.release();
    assert_eq!(service.outcome(LIMIT), Some(Outcome::Done));
    let seen = service.seen();
    assert_eq!(done(&seen), [true, true]);
    let per_machine = ["settings"].into_iter().chain(HOMING).chain(["print", "hunt"]).count();
    assert_eq!(sent(&seen).len(), 2 * per_machine);
    first.stop();
    second.stop();
}
