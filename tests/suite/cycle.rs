//! Whole cycles, and what they look like on the wire.

use gf_emulator_core::config::Generation;
use gf_emulator_core::local_service::{Outcome, Script};
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
