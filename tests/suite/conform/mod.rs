//! `conform`: this emulator passes every scenario, and a machine that is wrong on purpose fails those that it should.

mod wrong_machine;

use std::thread;
use std::time::Duration;

use gf_emulator_core::config::Generation;
use gf_emulator_core::config::{self, Button};
use gf_emulator_core::conform::{Conformance, OperatorTask, Options, Outcome, Report, Scenario};
use gf_emulator_core::local_service::LocalService;
use gf_emulator_core::{Emulator, Handle};
use gf_emulator_tests::{config, folder, point_at};

/// The timeout of each step: longer than any of this emulator's own, so that only a hang reaches it.
const TIMEOUT: Duration = Duration::from_secs(100);

/// How many machines share the scenarios.
const MACHINES: usize = 10;

/// Runs scenarios with this emulator, with somebody at its button and lid.
fn run(generation: Generation, scenarios: &[Scenario], adjust: impl FnOnce(&mut gf_emulator_core::Config)) -> Report {
    let mut options = Options::default();
    (options.generation, options.timeout) = (generation, TIMEOUT);
    let mut conformance = Conformance::start(LocalService::builder().tls(false), options).unwrap();
    let folder = folder();
    let of_machine = if generation == Generation::V1 { config::Generation::V1 } else { config::Generation::V2 };
    let mut config = config(folder.path(), of_machine);
    point_at(&mut config, conformance.service(), folder.path());
    // The long job runs until something ends it; nothing else takes any time.
    config.emulator.time_scale = 1.0;
    config.emulator.button = Button::Wait;
    (config.emulator.warm_up, config.emulator.cool_down) = (Duration::ZERO, Duration::ZERO);
    config.motion.refuse_bytes = 4 << 20;
    adjust(&mut config);
    let mut emulator = Emulator::new(config).unwrap();
    let handle = emulator.handle();
    let machine = thread::spawn(move || {
        emulator.connect()?;
        emulator.run()
    });
    assert!(conformance.wait_for_machine(TIMEOUT));
    let ask = &mut |task| operate(&handle, task);
    let verdicts = scenarios.iter().map(|scenario| conformance.run(scenario, ask)).collect();
    handle.stop();
    machine.join().unwrap().unwrap();
    Report::new(verdicts)
}

fn operate(handle: &Handle, task: OperatorTask) {
    match task {
        OperatorTask::OpenLid => handle.open_lid(),
        OperatorTask::CloseLid => handle.close_lid(),
        OperatorTask::StartPrint | OperatorTask::PressButton => handle.press_button(),
        _ => {}
    }
}

/// What must last until something ends it, for a scenario to find the machine there.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lasting {
    Nothing,
    WarmUp,
    Rest,
}

impl Lasting {
    fn of(scenario: &Scenario) -> Self {
        match scenario.name() {
            "print-cancelled-in-warm-up" | "lid-opened-in-warm-up" => Self::WarmUp,
            "print-cancelled-at-rest" => Self::Rest,
            _ => Self::Nothing,
        }
    }
}

/// Runs all scenarios of a generation that need the same. They are dealt out to machines that run at the same time: some
/// take 30 s, and pauses grow with each connection that a machine loses.
fn assert_all_pass(generation: Generation, lasting: Lasting) {
    const LONG: Duration = Duration::from_secs(3600);
    let mut scenarios = Scenario::built_in();
    scenarios.retain(|scenario| scenario.is_for(generation) && Lasting::of(scenario) == lasting);
    assert!(!scenarios.is_empty());
    let (scenarios, machines) = (&scenarios, MACHINES.min(scenarios.len()));
    let run_part = |part: usize| {
        let mine: Vec<_> = scenarios.iter().skip(part).step_by(machines).cloned().collect();
        run(generation, &mine, |config| match lasting {
            Lasting::Nothing => {}
            Lasting::WarmUp => config.emulator.warm_up = LONG,
            // In 2.6 a cancel does not end the rest.
            Lasting::Rest if generation == Generation::V2 => config.emulator.cool_down = Duration::from_secs(1),
            Lasting::Rest => config.emulator.cool_down = LONG,
        })
    };
    let verdicts: Vec<_> = thread::scope(|scope| {
        let machines: Vec<_> = (0..machines).map(|part| scope.spawn(move || run_part(part))).collect();
        machines.into_iter().flat_map(|machine| machine.join().unwrap().verdicts().to_vec()).collect()
    });
    assert_eq!(verdicts.len(), scenarios.len());
    let failed: Vec<_> = verdicts.iter().filter(|verdict| verdict.outcome != Outcome::Passed).collect();
    assert!(failed.is_empty(), "{} of {}: {failed:#?}", failed.len(), scenarios.len());
}

#[test]
fn this_emulator_passes_every_2_6_scenario() {
    assert_all_pass(Generation::V2, Lasting::Nothing);
}

#[test]
fn this_emulator_passes_the_2_6_scenarios_in_a_long_warm_up_and_rest() {
    assert_all_pass(Generation::V2, Lasting::WarmUp);
    assert_all_pass(Generation::V2, Lasting::Rest);
}

#[test]
fn this_emulator_passes_every_1_x_scenario() {
    assert_all_pass(Generation::V1, Lasting::Nothing);
    assert_all_pass(Generation::V1, Lasting::WarmUp);
    assert_all_pass(Generation::V1, Lasting::Rest);
}
