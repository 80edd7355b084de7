//! Many machines in one process, for tests of services.
//!
//! A [`Fleet`] brings up the machines of [`Members`] at a rate, keeps each of them connected, counts what they do, and does
//! to all of them what a [`Command`] says: cuts their network, or restarts them in groups.

// | file | what it owns |
// |---|---|
// | `members` | `Members`: the machines, from a template and a number or a table |
// | `slice` | `Slice`: the part of a fleet that a process has |
// | `machines` | the threads of the machines: sign in, run, try again, restart |
// | `gate` | what these threads wait for: their turn to connect, pauses, the stop |
// | `tally` | counts what machines do, and knows how each of them is |
// | `status`, `histogram`, `process` | what was counted; as a table and as JSON |
// | `notice` | what happens to the fleet as a whole |
// | `command` | what a fleet is told to do, and when |
// | `limits` | whether the computer allows as many files and threads |
// | `open_metrics`, `metrics_server` | the `Status` for programs that collect metrics |

mod command;
mod gate;
mod histogram;
mod limits;
mod machines;
mod members;
mod metrics_server;
mod notice;
mod open_metrics;
mod process;
mod slice;
mod status;
mod tally;

use std::fmt;
use std::num::NonZeroU32;
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};

pub use self::command::{Command, Scheduled};
use self::gate::Gate;
pub use self::histogram::Histogram;
pub use self::limits::{LimitReached, Limits, raise_file_limit};
use self::machines::Machines;
pub use self::members::Members;
pub use self::metrics_server::MetricsServer;
pub use self::notice::Notice;
pub use self::process::ProcessFigures;
pub use self::slice::Slice;
pub use self::status::{Actions, Latencies, MachineState, Requests, Status};
use crate::actions::Table;
use crate::config::Problems;
use crate::record::Recorder;
use crate::sync::lock;
use crate::system::{self, Thread};
use crate::{Error, Link, Result, Secrets, Tls};

/// How many commands may wait for the one that is carried out.
const COMMANDS: usize = 100;
/// A rolling restart stops this part of the machines at a time.
const RESTARTED_AT_ONCE: usize = 10;

/// How a [`Fleet`] is brought up, and what is done to it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Options {
    /// How many machines are started in a second: more than 0; infinity starts all at once. Default: 50.
    pub rate: f64,
    /// How many machines may sign in at the same time when they start. Reconnecting machines are not limited. Default: 32.
    pub connecting: NonZeroU32,
    /// Commands for certain times. Default: none.
    pub schedule: Vec<Scheduled>,
    /// Set that receives the secrets of all machines, for a logger. Default: a new one.
    pub secrets: Secrets,
    /// Records all machines together: a [`Recorder::of_machines`]. Then none has a recording of its own. Default: `None`.
    pub recorder: Option<Recorder>,
}

impl Default for Options {
    fn default() -> Self {
        let connecting = NonZeroU32::MIN.saturating_add(31);
        Self { rate: 50.0, connecting, schedule: Vec::new(), secrets: Secrets::default(), recorder: None }
    }
}

/// Many machines in one process. Dropping it stops them.
///
/// ```
/// # #[cfg(feature = "local-service")]
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use gf_emulator_core::config::Template;
/// use gf_emulator_core::fleet::{Command, Fleet, Members, Notice, Options, Slice};
/// use gf_emulator_core::local_service::LocalService;
///
/// let service = LocalService::builder().tls(false).start()?;
/// let template = Template::new("example", &format!(
///     "{}\n[MACHINE]\nserial: 1000\nhostname: M-%(serial)s\npassword: {}%(serial)s\n",
///     service.config_section(None), "0123456789ab".repeat(5),
/// ));
/// let members = Members::counted(&template, 3, Slice::WHOLE)?;
/// let fleet = Fleet::start(members, Options::default())?;
/// for notice in fleet.notices() {
///     match notice {
///         Notice::AllConnected { .. } => _ = fleet.order(Command::Stop),
///         Notice::Stopping => break,
///         _ => {}
///     }
/// }
/// assert!(fleet.stop().problems().is_empty());
/// # Ok(())
/// # }
/// # #[cfg(not(feature = "local-service"))]
/// # fn main() {}
/// ```
pub struct Fleet {
    shared: Arc<Shared>,
    threads: Vec<Thread<()>>,
}

/// What the threads of a fleet share.
struct Shared {
    machines: Machines,
    gate: Gate,
    link: Link,
    /// `None` once the fleet stops.
    commands: Mutex<Option<Sender<Command>>>,
}

impl Fleet {
    /// Starts bringing the machines up. All use one TLS connector and one actions table, with the `ca_file` and the
    /// `actions_file` of the first.
    ///
    /// `retry_for_s` is not used: a machine that cannot sign in tries again until the fleet stops, with growing pauses.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] if there is no machine, or the rate is not more than 0; [`Error::Tls`], [`Error::Table`],
    /// [`Error::File`] or [`Error::TooLarge`] if one of these files cannot be used; [`Error::Thread`] if a thread cannot be
    /// started.
    pub fn start(members: Members, options: Options) -> Result<Self> {
        let Options { rate, connecting, schedule, secrets, recorder } = options;
        let wrong = |what: &str| Error::Config(Problems::one("the fleet", None, what));
        let first = members.configs.first().ok_or_else(|| wrong("it has no machine"))?;
        if rate.is_nan() || rate <= 0.0 {
            return Err(wrong("its rate must be more than 0 machines a second"));
        }
        let (tls, table) = (Tls::new(first.service.ca_file.as_deref())?, Table::load(first)?);
        let (to_commands, commands) = bounded(COMMANDS);
        let link = Link::default();
        let shared = Arc::new(Shared {
            machines: Machines::new(
                members.configs,
                machines::Shared { tls, table, link: link.clone(), secrets },
                recorder,
            ),
            gate: Gate::new(connecting),
            link,
            commands: Mutex::new(Some(to_commands)),
        });
        let mut fleet = Self { shared, threads: Vec::new() };
        fleet.spawn("gf-fleet-commands", move |shared| {
            for command in commands {
                shared.carry_out(command);
            }
        })?;
        fleet.spawn("gf-fleet-starter", move |shared| shared.start_machines(rate))?;
        if !schedule.is_empty() {
            fleet.spawn("gf-fleet-schedule", move |shared| shared.follow(schedule))?;
        }
        Ok(fleet)
    }

    fn spawn(&mut self, name: &'static str, run: impl FnOnce(&Arc<Shared>) + Send + 'static) -> Result<()> {
        let shared = Arc::clone(&self.shared);
        let thread = system::spawn(name, move || run(&shared));
        self.threads.push(thread.map_err(|e| Error::no_thread(name, &e))?);
        Ok(())
    }

    /// Returns the channel of notices. The last one is [`Notice::Stopping`]. Each notice is received once, whatever the
    /// number of receivers. At most 1024 wait: then the oldest one is dropped for each new one.
    #[must_use]
    pub fn notices(&self) -> Receiver<Notice> {
        self.shared.machines.tally.notices()
    }

    /// Returns a remote control for other threads.
    #[must_use]
    pub fn control(&self) -> Control {
        Control(Arc::clone(&self.shared))
    }

    /// As [`Control::order`].
    #[must_use]
    pub fn order(&self, command: Command) -> bool {
        self.shared.order(command)
    }

    /// Returns the network of all machines, which can be cut.
    #[must_use]
    pub fn link(&self) -> &Link {
        &self.shared.link
    }

    /// Returns how the fleet is.
    #[must_use]
    pub fn status(&self) -> Status {
        self.shared.machines.tally.status()
    }

    /// Stops all machines at the same time, and waits until they have stopped: about two seconds at most, more on a
    /// computer that is busy. Running actions are cancelled. Returns what all of them have done.
    #[must_use]
    pub fn stop(mut self) -> Status {
        self.join();
        self.status()
    }

    fn join(&mut self) {
        self.shared.stop();
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                log::error!("a thread of the fleet panicked");
            }
        }
        self.shared.machines.join();
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        self.join();
    }
}

impl fmt::Debug for Fleet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fleet").field("machines", &self.shared.machines.len()).finish_non_exhaustive()
    }
}

/// Controls a [`Fleet`] from any thread. Clones control the same one.
#[derive(Clone)]
pub struct Control(Arc<Shared>);

impl Control {
    /// Does what `command` says. `stop` and `status` take effect at once; others are carried out one after the other, and
    /// this does not wait for them. Returns false if 100 others wait, or if the fleet is stopping: then nothing is done.
    #[must_use]
    pub fn order(&self, command: Command) -> bool {
        self.0.order(command)
    }

    /// Returns how the fleet is.
    #[must_use]
    pub fn status(&self) -> Status {
        self.0.machines.tally.status()
    }
}

impl fmt::Debug for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Control")
    }
}

impl Shared {
    fn order(&self, command: Command) -> bool {
        match command {
            Command::Stop => self.stop(),
            Command::Status => return self.tell(Notice::Status(Box::new(self.machines.tally.status()))),
            other => {
                let commands = lock(&self.commands);
                return commands.as_ref().is_some_and(|commands| commands.try_send(other).is_ok());
            }
        }
        true
    }

    /// As [`Tally::tell`](tally::Tally::tell). Records when a command begins and ends.
    fn tell(&self, notice: Notice) -> bool {
        if let (Notice::Began(_) | Notice::Ended(_), Some(recorder)) = (&notice, self.machines.recorder()) {
            recorder.state("fleet", Some(notice.to_string()));
        }
        self.machines.tally.tell(notice)
    }

    fn carry_out(&self, command: Command) {
        if self.gate.is_stopping() {
            return;
        }
        self.tell(Notice::Began(command));
        match command {
            Command::Storm => {
                self.link.cut();
                return self.link.restore();
            }
            Command::Blackout(time) => {
                self.link.cut();
                self.gate.pause(system::now() + time);
                self.link.restore();
            }
            Command::RollingRestart => {
                for group in groups(self.machines.len()) {
                    self.machines.restart(group, &self.gate);
                }
            }
            Command::Status | Command::Stop => {}
        }
        self.tell(Notice::Ended(command));
    }

    /// Starts the machines at `rate` a second, until the fleet stops.
    fn start_machines(self: &Arc<Self>, rate: f64) {
        let started = system::now();
        for index in 0..self.machines.len() {
            let after = Duration::try_from_secs_f64(index as f64 / rate).unwrap_or(Duration::MAX);
            let Some(due) = started.checked_add(after) else { return };
            if !self.gate.pause(due) {
                return;
            }
            let shared = Arc::clone(self);
            self.machines.spawn(index, move || shared.machines.run(index, &shared.gate));
        }
    }

    /// Orders commands at their times, until the fleet stops.
    fn follow(&self, mut schedule: Vec<Scheduled>) {
        let started = system::now();
        schedule.sort_by_key(|scheduled| scheduled.after);
        for Scheduled { after, command } in schedule {
            let Some(due) = started.checked_add(after) else { return };
            if !self.gate.pause(due) {
                return;
            }
            if !self.order(command) {
                self.tell(Notice::LeftOut(command));
            }
        }
    }

    fn stop(&self) {
        // Ends the thread of commands.
        if lock(&self.commands).take().is_some() {
            self.machines.tally.stop();
            self.gate.stop();
            self.machines.stop();
        }
    }
}

/// Divides this many machines into groups that are restarted together.
fn groups(machines: usize) -> impl Iterator<Item = Range<usize>> {
    let size = machines.div_ceil(RESTARTED_AT_ONCE).max(1);
    (0..machines).step_by(size).map(move |begin| begin..(begin + size).min(machines))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Template;

    #[test]
    fn a_fleet_without_machines_or_with_a_wrong_rate_is_refused() {
        let mut text = "[MACHINE]\nserial: 7\nhostname: A\npassword: ".to_owned();
        text.push_str(&"ab".repeat(32));
        let template = Template::new("t.cfg", &text);
        let start = |count, rate| {
            let members = Members::counted(&template, count, Slice::WHOLE).unwrap();
            Fleet::start(members, Options { rate, ..Options::default() }).unwrap_err().to_string()
        };
        assert_eq!(start(0, 50.0), "the fleet: it has no machine");
        for rate in [0.0, -0.0, -1.0, f64::NAN, f64::NEG_INFINITY] {
            assert_eq!(start(1, rate), "the fleet: its rate must be more than 0 machines a second");
        }
    }

    #[test]
    fn a_scheduled_command_that_is_left_out_is_told() {
        // A queue without room.
        let (to_commands, _commands) = bounded(0);
        let machines = Machines::new(Vec::new(), machines::Shared::for_test(), None);
        let shared = Shared {
            machines,
            gate: Gate::new(NonZeroU32::MIN),
            link: Link::default(),
            commands: Mutex::new(Some(to_commands)),
        };
        let storm = vec![Scheduled { after: Duration::ZERO, command: Command::Storm }];
        shared.follow(storm.clone());
        shared.stop();
        assert!(!shared.order(Command::Status), "it stops");
        shared.follow(storm);
        let told: Vec<_> = shared.machines.tally.notices().try_iter().collect();
        let told: Vec<_> = told.iter().map(ToString::to_string).collect();
        assert_eq!(told, ["storm is left out: too many commands wait", "stopping"]);
    }

    #[test]
    fn groups_are_a_tenth_and_have_every_machine_once() {
        for machines in [0, 1, 9, 10, 11, 99, 1000] {
            let groups: Vec<_> = groups(machines).collect();
            assert_eq!(groups.iter().cloned().flatten().collect::<Vec<_>>(), (0..machines).collect::<Vec<_>>());
            assert!(
                groups.len() <= RESTARTED_AT_ONCE && groups.iter().all(|group| group.len() <= machines.div_ceil(10))
            );
        }
    }
}
