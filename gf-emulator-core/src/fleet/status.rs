//! [`Status`]: what a fleet has done and how it is, in numbers; as a table for people and as JSON.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde_json::{Value, json};

use super::histogram::Histogram;
use super::process::ProcessFigures;

/// How a machine of a fleet is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum MachineState {
    /// It was not connected yet, or not since it was created anew.
    Starting,
    /// Its WebSocket is open.
    Connected,
    /// It has lost its WebSocket, and tries to reconnect.
    Reconnecting,
    /// It could not sign in, and tries again after a pause.
    Failed,
    /// It was stopped.
    Stopped,
}

impl MachineState {
    /// All states.
    pub const ALL: [Self; 5] = [Self::Starting, Self::Connected, Self::Reconnecting, Self::Failed, Self::Stopped];

    /// Returns its name, in lower case.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Connected => "connected",
            Self::Reconnecting => "reconnecting",
            Self::Failed => "failed",
            Self::Stopped => "stopped",
        }
    }
}

/// How many actions a fleet has done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Actions {
    /// Accepted: each has one ending, now or later.
    pub accepted: u64,
    /// Ended as completed.
    pub completed: u64,
    /// Ended as cancelled.
    pub cancelled: u64,
    /// Ended as failed.
    pub failed: u64,
    /// Ended a second time, or ended without having been accepted: always 0, unless the emulator has a fault.
    pub surplus_endings: u64,
    /// Accepted by a machine that has stopped, and not ended: always 0, unless the emulator has a fault.
    pub without_ending: u64,
}

impl Actions {
    /// Returns how many were accepted and have not ended yet.
    #[must_use]
    pub fn running(&self) -> u64 {
        self.accepted.saturating_sub(self.completed + self.cancelled + self.failed + self.without_ending)
    }
}

/// How many HTTP requests a fleet has made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Requests {
    /// Those that were answered, by the status of the answer.
    pub by_status: BTreeMap<u16, u64>,
    /// Those without an answer.
    pub failed: u64,
}

impl Requests {
    /// Returns how many there were.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.by_status.values().sum::<u64>() + self.failed
    }
}

/// How long things took.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Latencies {
    /// From the request of a sign-in to its answer.
    pub sign_in: Histogram,
    /// From any other request to its answer.
    pub request: Histogram,
    /// From the arrival of an action to its ending.
    pub action: Histogram,
    /// From the loss of a connection until the machine is connected again.
    pub reconnect: Histogram,
}

impl Latencies {
    /// Returns all, each with its name.
    #[must_use]
    pub fn all(&self) -> [(&'static str, &Histogram); 4] {
        [
            ("sign_in", &self.sign_in),
            ("request", &self.request),
            ("action", &self.action),
            ("reconnect", &self.reconnect),
        ]
    }
}

/// A fleet in numbers. [`Display`](fmt::Display) is a table for people.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Status {
    /// Since the start.
    pub elapsed: Duration,
    /// How many machines are in each state, in the order of [`MachineState::ALL`].
    pub machines: [usize; 5],
    /// While the fleet runs, how many machines are not connected; after that, how many were not when it was told to stop.
    pub not_connected: usize,
    /// Machines whose thread could not be started, or has panicked.
    pub without_thread: usize,
    /// Attempts to sign in that failed while a machine was not connected.
    pub failed_starts: u64,
    /// Connections that were lost.
    pub losses: u64,
    /// Actions.
    pub actions: Actions,
    /// HTTP requests, sign-ins included.
    pub requests: Requests,
    /// Latencies.
    pub latencies: Latencies,
    /// What the process uses, with everything that runs in it.
    pub process: ProcessFigures,
}

impl Status {
    /// Returns how many machines are in this state.
    #[must_use]
    pub fn in_state(&self, state: MachineState) -> usize {
        self.machines[state as usize]
    }

    /// Returns what went wrong, if anything did: a machine was not connected, or an action has not had exactly one ending.
    /// Call it on what [`Fleet::stop`](super::Fleet::stop) returns: before that, machines that are not connected yet are
    /// problems.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        let Actions { surplus_endings, without_ending, .. } = self.actions;
        [
            (self.not_connected as u64, "machines were not connected at the end"),
            (self.without_thread as u64, "machines had no thread"),
            (without_ending, "accepted actions had no ending"),
            (surplus_endings, "endings were surplus"),
        ]
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{count} {what}"))
        .collect()
    }

    /// Returns it as JSON, with times in seconds.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let machines: serde_json::Map<_, _> =
            MachineState::ALL.iter().map(|&state| (state.name().to_owned(), self.in_state(state).into())).collect();
        let by_status: serde_json::Map<_, _> =
            self.requests.by_status.iter().map(|(status, count)| (status.to_string(), (*count).into())).collect();
        let latencies = self.latencies.all().map(|(name, times)| {
            let json = json!({
                "count": times.count(), "p50_s": seconds(times.percentile(50.0)), "p99_s": seconds(times.percentile(99.0)),
                "max_s": seconds(times.max()),
            });
            (name.to_owned(), json)
        });
        let Actions { accepted, completed, cancelled, failed, surplus_endings, without_ending } = self.actions;
        json!({
            "elapsed_s": seconds(self.elapsed),
            "machines": machines,
            "not_connected": self.not_connected,
            "without_thread": self.without_thread,
            "failed_starts": self.failed_starts,
            "losses": self.losses,
            "actions": {
                "accepted": accepted, "completed": completed, "cancelled": cancelled, "failed": failed,
                "running": self.actions.running(), "surplus_endings": surplus_endings, "without_ending": without_ending,
            },
            "requests": {"by_status": by_status, "failed": self.requests.failed},
            "latencies": serde_json::Map::from_iter(latencies),
            "process": self.process.to_json(),
        })
    }
}

fn seconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e6
}

/// Formats a time with three digits: `1.23 ms`.
fn short(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    let (number, unit) = match seconds {
        ..1e-3 => (seconds * 1e6, "us"),
        ..1.0 => (seconds * 1e3, "ms"),
        _ => (seconds, "s"),
    };
    let digits = match number {
        ..10.0 => 2,
        ..100.0 => 1,
        _ => 0,
    };
    format!("{number:.digits$} {unit}")
}

/// A table of at most 80 columns, without a line feed at the end.
impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let total: usize = self.machines.iter().sum();
        write!(f, "machines  {total}:")?;
        for state in MachineState::ALL.into_iter().filter(|&state| self.in_state(state) > 0) {
            write!(f, " {} {}", self.in_state(state), state.name())?;
        }
        write!(f, " after {}", short(self.elapsed))?;
        if self.failed_starts > 0 {
            write!(f, "\n          {} failed attempts to start", self.failed_starts)?;
        }
        if self.losses > 0 {
            write!(f, "\n          {} lost connections", self.losses)?;
        }
        let Actions { accepted, completed, cancelled, failed, .. } = self.actions;
        write!(
            f,
            "\nactions   {accepted} accepted: {completed} completed, {cancelled} cancelled, {failed} failed, {} running",
            self.actions.running()
        )?;
        write!(f, "\nrequests  {}:", self.requests.total())?;
        for (status, count) in &self.requests.by_status {
            write!(f, " {count} x {status},")?;
        }
        write!(f, " {} failed", self.requests.failed)?;
        write!(f, "\nlatency   {:<10}{:>10}{:>12}{:>12}{:>12}", "", "count", "p50", "p99", "max")?;
        for (name, times) in self.latencies.all() {
            let [p50, p99, max] = match times.count() {
                0 => ["-"; 3].map(str::to_owned),
                _ => [times.percentile(50.0), times.percentile(99.0), times.max()].map(short),
            };
            write!(f, "\n          {:<10}{:>10}{p50:>12}{p99:>12}{max:>12}", name.replace('_', "-"), times.count())?;
        }
        self.process.to_string().lines().try_for_each(|line| write!(f, "\nprocess   {line}"))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A status with a number in each field.
    pub(in super::super) fn example() -> Status {
        let mut latencies = Latencies::default();
        latencies.sign_in.add(Duration::from_micros(1500));
        latencies.request.add(Duration::from_micros(70));
        latencies.reconnect.add(Duration::from_secs(75));
        Status {
            elapsed: Duration::from_millis(12_345),
            machines: [1, 20, 3, 0, 0],
            not_connected: 4,
            without_thread: 0,
            failed_starts: 2,
            losses: 5,
            actions: Actions { accepted: 9, completed: 4, cancelled: 2, failed: 1, ..Actions::default() },
            requests: Requests { by_status: [(200, 30), (503, 1)].into(), failed: 6 },
            latencies,
            process: ProcessFigures {
                resident_kib: Some(2048),
                peak_kib: Some(4096),
                threads: Some(61),
                files: Some(99),
            },
        }
    }

    #[test]
    fn the_table_has_all_numbers_in_80_columns() {
        assert_eq!(
            example().to_string(),
            "machines  24: 1 starting 20 connected 3 reconnecting after 12.3 s\n\
             \x20         2 failed attempts to start\n\
             \x20         5 lost connections\n\
             actions   9 accepted: 4 completed, 2 cancelled, 1 failed, 2 running\n\
             requests  37: 30 x 200, 1 x 503, 6 failed\n\
             latency                  count         p50         p99         max\n\
             \x20         sign-in            1     1.50 ms     1.50 ms     1.50 ms\n\
             \x20         request            1     70.0 us     70.0 us     70.0 us\n\
             \x20         action             0           -           -           -\n\
             \x20         reconnect          1      75.0 s      75.0 s      75.0 s\n\
             process   2.0 MiB resident (4.0 MiB at most), 61 threads, 99 files"
        );
    }

    #[test]
    fn problems_are_what_must_not_happen() {
        let mut status = example();
        assert_eq!(status.problems(), ["4 machines were not connected at the end"]);
        status.not_connected = 0;
        assert!(status.problems().is_empty());
        status.actions.without_ending = 2;
        status.actions.surplus_endings = 1;
        assert_eq!(status.problems(), ["2 accepted actions had no ending", "1 endings were surplus"]);
        assert_eq!(status.actions.running(), 0);
    }

    #[test]
    fn the_json_has_the_same_numbers() {
        let json = example().to_json();
        assert_eq!(json["machines"]["reconnecting"], 3);
        assert_eq!(json["actions"]["running"], 2);
        assert_eq!(json["requests"]["by_status"]["503"], 1);
        assert_eq!(json["latencies"]["reconnect"], json!({"count": 1, "p50_s": 75.0, "p99_s": 75.0, "max_s": 75.0}));
        assert_eq!(json["process"]["threads"], 61);
    }
}
