//! The control socket is lost in the middle of every action of the default script, in every way there is.
//!
//! Whatever happens to the socket, the machine comes back with a fresh sign-in, its messages keep their order, and none
//! comes twice. None is lost either, unless the cut was one that loses what is on its way.

use std::thread;

use gf_emulator_core::config::Generation;
use gf_emulator_core::local_service::{Cut, Failure, Fault, Script, ScriptStep, Seen};
use gf_emulator_tests::{Bench, LIMIT, Setup};
use serde_json::{Map, Value};

/// How a socket is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Loss {
    Drain,
    Hard,
    Close,
}

/// The request that an action makes, where it makes one before it is over: method and path.
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

fn lose(bench: &Bench, how: Loss) {
    match how {
        Loss::Drain => bench.service.drop_connection(Cut::Drain),
        Loss::Hard => bench.service.drop_connection(Cut::Hard),
        Loss::Close => bench.service.close(1001),
    }
}

fn held(seen: &[Seen]) -> usize {
    seen.iter().filter(|seen| matches!(seen, Seen::Held { .. })).count()
}

fn opened(seen: &[Seen]) -> usize {
    seen.iter().filter(|seen| matches!(seen, Seen::WsOpened { .. })).count()
}

fn messages(seen: &[Seen]) -> Vec<&Value> {
    seen.iter()
        .filter_map(|seen| if let Seen::WsMessage { message, .. } = seen { Some(message) } else { None })
        .collect()
}

/// Loses the socket in the middle of each action of the default script, each with a machine of its own: connections that
/// are lost one after the other are made again more and more slowly.
fn lost_in_every_action(generation: Generation, tls: bool, how: Loss) {
    for step in Script::default().steps() {
        if let ScriptStep::Send { action, .. } = step {
            lost_in(generation, tls, how, action);
        }
    }
}

fn lost_in(generation: Generation, tls: bool, how: Loss, action: &Map<String, Value>) {
    let bench = Setup::new(generation).service(|service| service.tls(tls)).start();
    let id = action["id"].as_i64().unwrap();
    let kind = action["action_type"].as_str().unwrap();
    let request = request_of(generation, kind);
    if let Some((method, path)) = request {
        bench.service.fault(Fault::new(Failure::Hold).on(method, path));
    }
    bench.service.send(Value::Object(action.clone())).unwrap();
    if request.is_some() {
        bench.wait("the action to be in its middle", |seen| held(seen) == 1);
    } else if how != Loss::Drain {
        // What was sent may be lost as well: until the action has certainly come.
        bench.wait("the action's first event", |seen| messages(seen).iter().any(|m| m["action_id"] == id));
    }
    lose(&bench, how);
    let back = |seen: &[Seen]| opened(seen) == 2;
    if how == Loss::Hard {
        // What the machine says before it has noticed is lost: it says nothing before it is back.
        bench.wait("the machine to come back", back);
        bench.service.release();
    } else {
        bench.service.release();
        bench.wait("the machine to come back", back);
    }
    // A hard cut may lose the ending of what was not held.
    let may_lose_ending = how == Loss::Hard && request.is_none();
    if !may_lose_ending {
        bench.wait_event(&format!("{kind}:completed"), Some(id));
    }
    bench.expect(2000, "settings", "completed");
    let (service, _folder, ended) = bench.stop();
    ended.unwrap();
    assert!(service.wait_for(|seen| matches!(seen.last(), Some(Seen::WsClosed { .. })), LIMIT));
    let seen = service.seen();

    let sign_ins = seen.iter().filter(|seen| matches!(seen, Seen::SignIn { ok: true, .. })).count();
    assert_eq!((sign_ins, opened(&seen)), (2, 2), "one for each connection");

    let messages = messages(&seen);
    let ids: Vec<i64> = messages.iter().map(|message| message["id"].as_i64().unwrap()).collect();
    // A hard cut may lose the first one, too.
    assert!(ids[0] == 32 || how == Loss::Hard, "{ids:?}");
    for (two, pair) in messages.windows(2).zip(ids.windows(2)) {
        let gap = pair[1] - pair[0];
        assert!(gap >= 1, "twice or out of order: {two:#?}");
        // Progress is perishable: a message about a moment that has passed may be missing.
        let may_lack_progress = two[0]["action_id"] == 1013;
        assert!(how == Loss::Hard || gap == 1 || (gap == 2 && may_lack_progress), "lost between: {two:#?}");
    }
    let endings = gf_emulator_tests::endings_of(&seen, id, kind);
    if may_lose_ending {
        assert!(endings.len() <= 1, "{endings:?}");
    } else {
        assert_eq!(endings, [format!("{kind}:completed ({id})")]);
    }
}

/// Both generations at once, plain and over TLS: what takes its time is the wait before a new connection.
fn lost_by_all(how: Loss) {
    thread::scope(|scope| {
        for generation in [Generation::V1, Generation::V2] {
            for tls in [false, true] {
                scope.spawn(move || lost_in_every_action(generation, tls, how));
            }
        }
    });
}

#[test]
fn cut_in_the_middle_of_every_action() {
    lost_by_all(Loss::Drain);
}

#[test]
fn closed_in_the_middle_of_every_action() {
    lost_by_all(Loss::Close);
}

#[test]
fn cut_hard_in_the_middle_of_every_action() {
    lost_by_all(Loss::Hard);
}
