//! The default behaviour of a running service, the same for all machines, and its pulse files.

use super::behaviour::{Behaviour, Print};
use super::homing_jobs::{self, MOTION_COUNT};
use super::reactions::Kind;
use crate::puls;

/// A pulse file, with its name in its URL.
pub(super) type NamedFile = (String, Vec<u8>);

/// What the runner needs while the service runs: the behaviour without the contents of its files.
pub(super) struct BehaviourState {
    /// The names of the prints.
    pub(super) prints: Vec<String>,
    pub(super) time_scale: f64,
    pub(super) once: bool,
}

impl BehaviourState {
    /// Splits a behaviour into its state and the pulse files to serve, each with its name in `/dl/<name>.puls`.
    pub(super) fn new(behaviour: Behaviour) -> puls::Result<(Self, Vec<NamedFile>)> {
        let Behaviour { prints, time_scale, once } = behaviour;
        let mut files = vec![(job_name(Kind::Hunt), homing_jobs::hunt())];
        for number in 0..MOTION_COUNT {
            files.push((job_name(Kind::Motion(number)), homing_jobs::motion(number)?));
        }
        let mut names = Vec::new();
        for (index, Print { name, file }) in prints.into_iter().enumerate() {
            files.push((job_name(Kind::Print(index)), file));
            names.push(name);
        }
        Ok((Self { prints: names, time_scale, once }, files))
    }
}

/// Returns the name of a pulse file in its URL.
pub(super) fn job_name(kind: Kind) -> String {
    match kind {
        Kind::Motion(number) | Kind::Print(number) => format!("{}-{}", kind.action_type(), number + 1),
        Kind::Settings | Kind::Hunt | Kind::LidImage => format!("homing-{}", kind.action_type()),
    }
}
