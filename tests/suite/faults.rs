//! The emulator under the faults of the local service: it recovers, and the same seed gives the same session.

use gf_emulator_core::config::Generation;
use gf_emulator_core::local_service::{Builder, FaultProfile, Outcome, Script, Seen};
use gf_emulator_tests::{Harness, LIMIT, Setup};

/// A machine that goes through the default script with these faults.
fn run(seed: u64, faults: &[&str]) -> Harness {
    let faults: Vec<_> = faults.iter().map(|text| text.parse().unwrap()).collect();
    Setup::new(Generation::V2)
        .service(move |builder| {
            let builder = builder.script(Script::default()).seed(seed);
            faults.into_iter().fold(builder, Builder::fault)
        })
        .start()
}

fn lines<'a>(seen: &'a [Seen], of_kind: impl Fn(&Seen) -> bool + 'a) -> Vec<String> {
    seen.iter().filter(|seen| of_kind(seen)).map(ToString::to_string).collect()
}

#[test]
fn nothing_is_lost_if_faults_are_ones_that_a_machine_recovers_from() {
    for faults in [
        &["cut=rst skip=1 times=1", "cut=fin skip=2 times=1", "cut=close skip=4 times=1"][..],
        &["frame=split parts=7"],
        &[
            "status=503 retry_after_s=0 on=GET:/<ws_token> times=1",
            "status=429 retry_after_s=0 on=POST:/machines/ times=1",
        ],
        &["tokens=expired on=/<ws_token> times=1", "tokens=expired on=GET:/update/ times=1"],
        &["delay_s=lognormal:0.005,1", "bytes_per_s=1000000"],
        &["cut=fin event=print:running"],
    ] {
        let harness = run(1, faults);
        assert_eq!(harness.service.outcome(LIMIT), Some(Outcome::Done), "{faults:?}");
        harness.stop().2.unwrap();
    }
}

#[test]
fn the_same_seed_gives_the_same_session() {
    let session = |seed| {
        let harness =
            run(seed, &["status=503 retry_after_s=0 on=POST:/machines/ p=0.5", "frame=split p=0.5", "delay_s=0..0.01"]);
        assert_eq!(harness.service.outcome(LIMIT), Some(Outcome::Done));
        let (service, _folder, ended) = harness.stop();
        ended.unwrap();
        let seen = service.seen();
        // Requests and messages come from different threads of the machine, so only the order of each kind is fixed.
        [
            lines(&seen, |seen| matches!(seen, Seen::Http(_))),
            lines(&seen, |seen| matches!(seen, Seen::WsMessage { .. }) && seen.event().is_some()),
            lines(&seen, |seen| matches!(seen, Seen::WsSent(_))),
            lines(&seen, |seen| matches!(seen, Seen::Fault { .. }) && seen.to_string().contains("POST ")),
            lines(&seen, |seen| matches!(seen, Seen::Fault { .. }) && seen.to_string().contains("frame")),
        ]
    };
    let first = session(11);
    assert!(!first[4].is_empty(), "{first:?}");
    assert_eq!(first, session(11));
    assert_ne!(first, session(12));
}

#[test]
fn a_machine_connects_under_every_profile() {
    for profile in FaultProfile::all() {
        let faults = FaultProfile::faults(&format!("{}:0.001", profile.name)).unwrap();
        let add = move |builder: Builder| faults.into_iter().fold(builder.seed(3), Builder::fault);
        let harness = Setup::new(Generation::V2).service(add).start();
        harness.wait(&profile.name, |seen| seen.iter().any(|seen| matches!(seen, Seen::WsOpened { .. })));
        // The stop may interrupt an attempt to connect again.
        drop(harness.stop());
    }
}
