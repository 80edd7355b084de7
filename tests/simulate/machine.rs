//! [`FaultyMachine`]: the canned machine, which fails, refuses, panics or takes long at any call.

use std::rc::Rc;
use std::time::Duration;

use gf_emulator_core::machine::{CannedMachine, Capture, Controls, Job, Machine, MachineError, PlayUpdate};
use serde_json::Value;

use crate::session;
use crate::world::World;

/// What its cameras see: the start and the end of a JPEG.
pub(crate) const PICTURE: &[u8] = b"\xff\xd8\xff\xe0 a simulated picture \xff\xd9";
/// The message of its panics, which are not printed.
pub(crate) const PANIC: &str = "the simulated machine panics";
/// How long it is busy at most when it takes long.
const LONGEST: Duration = Duration::from_secs(90);

pub(crate) struct FaultyMachine(pub(crate) CannedMachine);

impl FaultyMachine {
    fn may_fail(call: &str, controls: Option<&Controls>) -> Result<(), MachineError> {
        let Some(world) = session::current() else { return Ok(()) };
        if !world.chance(world.service.borrow().faults.machine) {
            return Ok(());
        }
        let kind = world.pick(0..4);
        world.note(format_args!("machine: {call} has fault {kind}"));
        match (kind, controls) {
            (0, _) => Err(MachineError::Failed("simulated".into())),
            (1, _) => Err(MachineError::Refused("simulated".into())),
            (2, Some(controls)) => Self::take_long(&world, controls),
            _ => panic!("{PANIC}"),
        }
    }

    fn take_long(world: &Rc<World>, controls: &Controls) -> Result<(), MachineError> {
        controls.sleep(world.time_below(LONGEST)).map_err(MachineError::Stopped)
    }
}

impl Machine for FaultyMachine {
    fn readings(&mut self) -> Vec<(String, Value)> {
        // A machine that cannot be read has no way to say so but a panic.
        let world = session::current().filter(|world| world.chance(world.service.borrow().faults.machine / 4));
        assert!(world.is_none(), "{PANIC}");
        self.0.readings()
    }

    fn capture(&mut self, _: &Capture<'_>) -> Result<Vec<u8>, MachineError> {
        Self::may_fail("capture", None)?;
        Ok(PICTURE.to_vec())
    }

    fn load(&mut self, job: &Job) -> Result<(), MachineError> {
        Self::may_fail("load", None)?;
        self.0.load(job)
    }

    fn wait_for_button(&mut self, job: &Job, controls: &Controls) -> Result<(), MachineError> {
        Self::may_fail("wait_for_button", Some(controls))?;
        self.0.wait_for_button(job, controls)
    }

    fn warm_up(&mut self, job: &Job, controls: &Controls) -> Result<(), MachineError> {
        Self::may_fail("warm_up", Some(controls))?;
        self.0.warm_up(job, controls)
    }

    fn play(
        &mut self,
        job: &Job,
        controls: &Controls,
        on_update: &mut dyn FnMut(PlayUpdate),
    ) -> Result<(), MachineError> {
        Self::may_fail("play", Some(controls))?;
        self.0.play(job, controls, on_update)
    }

    fn park(&mut self, controls: &Controls, on_update: &mut dyn FnMut(PlayUpdate)) -> Result<(), MachineError> {
        Self::may_fail("park", Some(controls))?;
        self.0.park(controls, on_update)
    }

    fn rest(&mut self, controls: &Controls) -> Result<(), MachineError> {
        Self::may_fail("rest", Some(controls))?;
        self.0.rest(controls)
    }
}
