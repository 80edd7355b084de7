//! The WebSocket is lost during every action of the default script, by a cut or a Close.
//!
//! The machine reconnects with a new sign-in, and its messages keep their order and arrive at most once; only a hard cut
//! may lose some.

use std::thread;

use gf_emulator_core::config::Generation;
use gf_emulator_core::local_service::{Cut, Failure, Fault, Outcome, Script, ScriptStep, Seen};
use gf_emulator_tests::{Harness, LIMIT, Setup, without_and_with_tls};
use serde_json::{Map, Value};

/// How the WebSocket is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Loss {
    Drain,
    Hard,
    Close,
}

/// The request that an action makes before its terminal event: method and path.
fn request_of(generation: Generation, action: &str) -> Option<(&'static str, &'static str)> {
    match (generation, action) {
        (Generation::V1, "settings") => Some(("PUT", "/api/machines/status")),
        (Generation::V1, "lid_image" | "head_image") => Some(("POST", "/api/machines/")),
        (Generation::V2, "lid_image" | "head_image") => Some(("PUT", "/up/")),
        (Generation::V1, "hunt") | (Generation::V2, "settings") => None,
        (_, "hunt" | "motion" | "print") => Some(("GET", "/dl/")),
        _ => panic!("the default script has no {action}"),
    }
}

fn lose(harness: &Harness, how: Loss) {
    match how {
        Loss::Drain => harness.service.drop_connection(Cut::Drain),
        Loss::Hard => harness.service.drop_connection(Cut::Hard),
        Loss::Close => harness.service.close(1001),
    }
}

fn held_requests(seen: &[Seen]) -> usize {
    seen.iter().filter(|seen| matches!(seen, Seen::Held { .. })).count()
}

fn connections(seen: &[Seen]) -> usize {
    seen.iter().filter(|seen| matches!(seen, Seen::WsOpened { .. })).count()
}

fn messages(seen: &[Seen]) -> Vec<&Value> {
    seen.iter()
        .filter_map(|seen| if let Seen::WsMessage { message, .. } = seen { Some(message) } else { None })
        .collect()
}

/// Returns the events of an action, without its progress.
fn events_of_action(seen: &[Seen], id: i64) -> Vec<String> {
    let of_action = seen.iter().filter(|seen| seen.event().is_some_and(|event| seen.is_event(&event, Some(id))));
    of_action.filter_map(Seen::event).collect()
}

/// Loses the WebSocket in each action of the default script, each with its own machine: the pauses grow with each lost
/// connection.
fn lose_in_every_action(generation: Generation, tls: bool, how: Loss) {
    let harness = Setup::new(generation).service(|service| service.tls(tls).script(Script::default())).start();
    assert_eq!(harness.service.outcome(LIMIT), Some(Outcome::Done));
    let (service, _folder, ended) = harness.stop();
    ended.unwrap();
    let undisturbed = service.seen();
    for step in Script::default().steps() {
        if let ScriptStep::Send { action, .. } = step {
            let id = action["id"].as_i64().unwrap();
            lose_in_action(generation, tls, how, action, &events_of_action(&undisturbed, id));
        }
    }
}

fn lose_in_action(generation: Generation, tls: bool, how: Loss, action: &Map<String, Value>, undisturbed: &[String]) {
    let harness = Setup::new(generation).service(|service| service.tls(tls)).start();
    let id = action["id"].as_i64().unwrap();
    let kind = action["action_type"].as_str().unwrap();
    let request = request_of(generation, kind);
    if let Some((method, path)) = request {
        harness.service.fault(Fault::new(Failure::Hold).on(method, path));
    }
    harness.service.send(Value::Object(action.clone())).unwrap();
    if request.is_some() {
        harness.wait("the action's request", |seen| held_requests(seen) == 1);
    } else if how != Loss::Drain {
        // The loss may affect the action itself: wait until it has arrived.
        harness.wait("the action's first event", |seen| messages(seen).iter().any(|m| m["action_id"] == id));
    }
    lose(&harness, how);
    let reconnected = |seen: &[Seen]| connections(seen) == 2;
    if how == Loss::Hard {
        // What the machine sends before it notices the cut is lost: let it send nothing until it has reconnected.
        harness.wait("the reconnection", reconnected);
        harness.service.release();
    } else {
        harness.service.release();
        harness.wait("the reconnection", reconnected);
    }
    // A hard cut may lose the terminal event of an action that was not held.
    let may_lose_terminal_event = how == Loss::Hard && request.is_none();
    if !may_lose_terminal_event {
        harness.wait_event(&format!("{kind}:completed"), Some(id));
    }
    harness.expect(2000, "settings", "completed");
    let (service, _folder, ended) = harness.stop();
    ended.unwrap();
    assert!(service.wait_for(|seen| matches!(seen.last(), Some(Seen::WsClosed { .. })), LIMIT));
    let seen = service.seen();

    let sign_ins = seen.iter().filter(|seen| matches!(seen, Seen::SignIn { ok: true, .. })).count();
    assert_eq!((sign_ins, connections(&seen)), (2, 2), "one sign-in per connection");

    let messages = messages(&seen);
    let ids: Vec<i64> = messages.iter().map(|message| message["id"].as_i64().unwrap()).collect();
    // A hard cut may lose the first one.
    assert!(ids[0] == 32 || how == Loss::Hard, "{ids:?}");
    assert!(ids.is_sorted_by(|one, next| one < next), "repeated or out of order: {messages:#?}");
    // Only progress may be dropped when the connection is lost.
    assert!(how == Loss::Hard || events_of_action(&seen, id) == undisturbed, "{messages:#?}");
    let terminal_events = gf_emulator_tests::endings_of(&seen, id, kind);
    if may_lose_terminal_event {
        assert!(terminal_events.len() <= 1, "{terminal_events:?}");
    } else {
        assert_eq!(terminal_events, [format!("{kind}:completed ({id})")]);
    }
}

/// Both generations, plain and over TLS, at once: most of the time is spent in pauses before reconnecting.
fn lose_all_ways(how: Loss) {
    thread::scope(|scope| {
        for generation in [Generation::V1, Generation::V2] {
            for tls in without_and_with_tls() {
                scope.spawn(move || lose_in_every_action(generation, tls, how));
            }
        }
    });
}

#[test]
fn reconnects_after_a_draining_cut_during_every_action() {
    lose_all_ways(Loss::Drain);
}

#[test]
fn reconnects_after_a_close_during_every_action() {
    lose_all_ways(Loss::Close);
}

#[test]
fn reconnects_after_a_hard_cut_during_every_action() {
    lose_all_ways(Loss::Hard);
}
