//! The simulation of one seed.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use gf_emulator_core::config::Generation;
use gf_emulator_core::machine::CannedMachine;
use gf_emulator_core::record::Recorder;
use gf_emulator_core::simulation::{self, System};
use gf_emulator_core::{Config, Emulator, Handle};
use gf_simulated_system::outside;
use serde_json::json;

use crate::log_capture;
use crate::machine::FaultyMachine;
use crate::memory;
use crate::model::Demands;
use crate::scenario::{HOUR, LAST_ACTION, RECORDING, Scenario};
use crate::service;
use crate::world::{End, Trace, World};

/// The longest pause between attempts to connect is five minutes, and an outage may last for hours.
const LIMIT: Duration = Duration::from_secs(8 * 3600);
/// A day is over after its actions, and some time for the machine to recover.
const LIMIT_OF_A_DAY: Duration = Duration::from_secs(26 * 3600);
/// The hours of a day in which the memory of the emulator is compared.
const COMPARED_HOURS: [u32; 2] = [2, 23];
/// How much more memory the emulator may need in the second of them, after a thousand actions.
const MAX_GROWTH_BYTES: i64 = 100 << 10;
/// How long the machine has to connect and answer after everything works again: the longest pause, and some requests
/// that time out.
const RECOVERY: Duration = Duration::from_secs(15 * 60);

thread_local! {
    static CURRENT: RefCell<Option<Rc<World>>> = const { RefCell::new(None) };
    static HANDLE: RefCell<Option<Handle>> = const { RefCell::new(None) };
}

/// Returns the world of the simulation that runs in this thread.
pub(crate) fn current() -> Option<Rc<World>> {
    CURRENT.with_borrow(Clone::clone)
}

/// How a simulation ended.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// The promises that were broken.
    pub(crate) failures: Vec<String>,
    /// Everything that happened, as text, if the trace was not off.
    pub(crate) trace: String,
    /// How long the simulated session took.
    pub(crate) simulated: Duration,
    /// How many bytes more the emulator needs at the end of a day than at its beginning.
    pub(crate) growth_bytes: i64,
}

/// The least memory that the emulator uses in each of the compared hours. What an action needs for a while does not count.
#[derive(Clone)]
struct LeastMemory([Rc<Cell<i64>>; 2]);

impl LeastMemory {
    /// Plans to look once a minute.
    fn plan(world: &Rc<World>) -> Self {
        let least = Self([(); 2].map(|()| Rc::new(Cell::new(i64::MAX))));
        for (hour, least) in COMPARED_HOURS.into_iter().zip(&least.0) {
            for minute in 0..60 {
                let least = Rc::clone(least);
                let look = move |_: &Rc<World>| least.set(least.get().min(memory::used()));
                world.after(HOUR * hour + Duration::from_secs(60) * minute, look);
            }
        }
        least
    }

    fn growth(&self) -> i64 {
        let [early, late] = self.0.each_ref().map(|least| least.get());
        late - early
    }
}

/// Simulates the session of a seed: some minutes with many faults, or a day with a cut every hour.
pub(crate) fn run(seed: u64, is_day: bool, trace: Trace) -> Outcome {
    let world = World::new(seed, trace);
    CURRENT.set(Some(Rc::clone(&world)));
    let guard = simulation::enter(Rc::clone(&world) as Rc<dyn System>);
    let scenario = if is_day { Scenario::plan_day(&world) } else { Scenario::plan(&world) };
    let memory = is_day.then(|| LeastMemory::plan(&world));
    world.note(format_args!("seed {seed}: {:?}, faults until {:?}", scenario.generation, scenario.faults_end));
    let config = scenario.config.clone();
    world.threads.spawn("machine", Box::new(move || machine(&config)));
    if !is_day {
        plan_operator(&world, scenario.faults_end);
    }
    match scenario.stop {
        Some(at) => world.after(at, stop),
        None => world.after(scenario.faults_end, wait_for_recovery),
    }
    let end = world.run(if is_day { LIMIT_OF_A_DAY } else { LIMIT });
    let growth_bytes = memory.map_or(0, |memory| memory.growth());
    let what = format!("the emulator needs {growth_bytes} bytes more after a day");
    world.model.borrow_mut().demand(growth_bytes <= MAX_GROWTH_BYTES, &what);
    let demands = Demands {
        arrives: if scenario.all_arrive { scenario.actions.clone() } else { Vec::new() },
        completes: (scenario.stop.is_none() && world.model.borrow().was_stopped()).then_some(LAST_ACTION),
        ends_with_terminal: scenario.generation == Generation::V2,
    };
    world.model.borrow_mut().check_end(&world, end, &demands);
    if end != End::Finished {
        world.abandon();
    }
    let simulated = world.elapsed();
    let failures = world.model.borrow_mut().take_failures();
    HANDLE.set(None);
    log_capture::set_secrets(None);
    world.abandon();
    drop(guard);
    CURRENT.set(None);
    Outcome { failures, trace: world.take_trace(), simulated, growth_bytes }
}

/// The machine: a whole life of an emulator.
fn machine(config: &Config) {
    let Some(world) = current() else { return };
    let folder = std::path::Path::new(RECORDING).parent().unwrap_or(std::path::Path::new("/"));
    let ended = Emulator::new(config.clone()).and_then(|emulator| {
        let mut emulator = emulator.with_machine(FaultyMachine(CannedMachine::new(config)));
        log_capture::set_secrets(Some(emulator.secrets()));
        emulator.on_event(|event| {
            if let Some(world) = current() {
                let _outside = outside();
                let text = format!("{event:?}");
                world.note(format_args!("event: {text}"));
                world.model.borrow_mut().on_event(&world, event, &text);
            }
        });
        let recorder = Recorder::of_machine(folder, config)?;
        emulator.record(&recorder);
        drop(recorder);
        HANDLE.set(Some(emulator.handle()));
        let ended = emulator.connect().and_then(|()| emulator.run());
        world.model.borrow_mut().on_return(world.elapsed());
        HANDLE.set(None);
        drop(emulator);
        ended
    });
    let text = ended.map_or_else(|e| format!("{e} {e:?}"), |()| "stopped".into());
    world.note(format_args!("the emulator returns: {text}"));
    world.model.borrow_mut().demand(!text.contains(service::SECRET), "a secret in an error");
}

/// Someone presses the button and moves the lid.
fn plan_operator(world: &Rc<World>, until: Duration) {
    for _ in 0..world.pick(0..8) {
        let what = world.index(4);
        world.after(world.time_below(until), move |world| {
            world.threads.spawn(
                "operator",
                Box::new(move || {
                    let (Some(handle), Some(world)) = (HANDLE.with_borrow(Clone::clone), current()) else { return };
                    world.note(format_args!(
                        "operator: {}",
                        ["button", "button", "opens the lid", "closes the lid"][what]
                    ));
                    match what {
                        0 | 1 => handle.press_button(),
                        2 => handle.open_lid(),
                        _ => handle.close_lid(),
                    }
                }),
            );
        });
    }
}

fn stop(world: &Rc<World>) {
    world.threads.spawn(
        "stop",
        Box::new(|| {
            let (Some(handle), Some(world)) = (HANDLE.with_borrow(Clone::clone), current()) else { return };
            world.note(format_args!("operator: stops the emulator"));
            world.model.borrow_mut().on_stop(world.elapsed());
            handle.stop();
        }),
    );
}

/// Waits for a connection, asks for the settings, and stops the machine when they should have come.
fn wait_for_recovery(world: &Rc<World>) {
    world.threads.spawn(
        "close the lid",
        Box::new(|| {
            if let Some(handle) = HANDLE.with_borrow(Clone::clone) {
                handle.close_lid();
            }
        }),
    );
    world.after(RECOVERY, |world| {
        let action = json!({"id": LAST_ACTION, "action_type": "settings", "status": "ready"});
        world.model.borrow_mut().demand(
            service::is_connected(world) || HANDLE.with_borrow(Option::is_none),
            "the machine does not connect after everything works again",
        );
        service::send_line(world, &action.to_string());
        world.after(Duration::from_secs(200), stop);
    });
}
