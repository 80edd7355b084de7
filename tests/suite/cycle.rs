//! The default script from sign-in to the last action, and scripts that fail or reconnect.

use gf_emulator_core::config::Generation;
use gf_emulator_core::local_service::{Outcome, Script, Seen};
use gf_emulator_tests::{LIMIT, Setup};

fn run_default_script(generation: Generation, tls: bool) {
    let harness = Setup::new(generation).service(|service| service.tls(tls).script(Script::default())).start();
    let outcome = harness.service.outcome(LIMIT);
    assert_eq!(outcome, Some(Outcome::Done), "{:#?}", harness.events());
    let (_, _, ended) = harness.stop();
    ended.unwrap();
}

#[test]
fn completes_the_default_script_2_6_over_tls() {
    run_default_script(Generation::V2, true);
}

#[test]
fn completes_the_default_script_1_x_over_tls() {
    run_default_script(Generation::V1, true);
}

#[test]
fn completes_the_default_script_plain() {
    run_default_script(Generation::V2, false);
    run_default_script(Generation::V1, false);
}

#[test]
fn a_script_fails_at_once_if_an_action_has_another_ending() {
    let script = r#"[{"send": {"id": 1, "action_type": "factory_reset", "status": "ready"}},
                     {"await": "factory_reset:completed", "action_id": 1, "timeout_s": 3600}]"#;
    let script = Script::from_json(script).unwrap();
    let harness = Setup::new(Generation::V2).service(|service| service.script(script)).start();
    let outcome = harness.service.outcome(LIMIT);
    let reason = "the action ended with factory_reset:failed".to_owned();
    assert_eq!(outcome, Some(Outcome::Failed { step: 2, reason }));
    harness.stop().2.unwrap();
}

#[test]
fn a_script_that_begins_with_a_disconnect_waits_for_a_machine() {
    for first in [r#"{"close": 1000}"#, r#"{"drop": true}"#] {
        let script = format!(
            r#"[{first}, {{"send": {{"id": 1, "action_type": "settings", "status": "ready"}}}},
                {{"await": "settings:completed", "action_id": 1}}]"#
        );
        let script = Script::from_json(&script).unwrap();
        let harness = Setup::new(Generation::V2).service(|service| service.script(script)).start();
        assert_eq!(harness.service.outcome(LIMIT), Some(Outcome::Done));
        let opened = harness.service.seen().iter().filter(|seen| matches!(seen, Seen::WsOpened { .. })).count();
        assert_eq!(opened, 2, "{first}");
        harness.stop().2.unwrap();
    }
}
