//! Whole cycles, and what they look like on the wire.

use gf_emulator_core::config::Generation;
use gf_emulator_core::local_service::{Outcome, Script, Seen};
use gf_emulator_tests::{LIMIT, Setup};

fn default_script(generation: Generation, tls: bool) {
    let bench = Setup::new(generation).service(|service| service.tls(tls).script(Script::default())).start();
    let outcome = bench.service.script_outcome(LIMIT);
    assert_eq!(outcome, Some(Outcome::Done), "{:#?}", bench.events());
    let (_, _, ended) = bench.stop();
    ended.unwrap();
}

#[test]
fn the_default_script_2_6_over_tls() {
    default_script(Generation::V2, true);
}

#[test]
fn the_default_script_1_x_over_tls() {
    default_script(Generation::V1, true);
}

#[test]
fn the_default_script_plain() {
    default_script(Generation::V2, false);
    default_script(Generation::V1, false);
}

#[test]
fn a_script_learns_at_once_that_an_action_has_ended_otherwise() {
    let script = r#"[{"send": {"id": 1, "action_type": "factory_reset", "status": "ready"}},
                     {"await": "factory_reset:completed", "action_id": 1, "timeout_s": 3600}]"#;
    let script = Script::from_json(script).unwrap();
    let bench = Setup::new(Generation::V2).service(|service| service.script(script)).start();
    let outcome = bench.service.script_outcome(LIMIT);
    let reason = "the action ended with factory_reset:failed".to_owned();
    assert_eq!(outcome, Some(Outcome::Failed { step: 2, reason }));
    bench.stop().2.unwrap();
}

#[test]
fn a_script_that_begins_with_a_close_waits_for_somebody_to_close() {
    for first in [r#"{"close": 1000}"#, r#"{"drop": true}"#] {
        let script = format!(
            r#"[{first}, {{"send": {{"id": 1, "action_type": "settings", "status": "ready"}}}},
                {{"await": "settings:completed", "action_id": 1}}]"#
        );
        let script = Script::from_json(&script).unwrap();
        let bench = Setup::new(Generation::V2).service(|service| service.script(script)).start();
        assert_eq!(bench.service.script_outcome(LIMIT), Some(Outcome::Done));
        let opened = bench.service.seen().iter().filter(|seen| matches!(seen, Seen::WsOpened { .. })).count();
        assert_eq!(opened, 2, "{first}");
        bench.stop().2.unwrap();
    }
}
