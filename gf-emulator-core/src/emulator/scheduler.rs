//! [`Scheduler`]: decides which action runs now, which wait, and what happens to one that arrives.
//!
//! Pure: messages in, decisions out; the event loop carries them out. Actions that need the machine run one at a time, in
//! the order of arrival. Of the actions that play a pulse file ("jobs") only one is accepted at a time: another that
//! arrives while one runs or waits is refused, as the real machine does (from the protocol's description, not measured).
//! Offline, jobs wait like all others.
//!
//! Actions that do not need the machine ("immediate" ones: [`Row::is_immediate`]) run one at a time as well, in their
//! order of arrival, and do not wait for the others: while one of those runs, a second worker takes them.

use std::collections::VecDeque;

use crate::actions::{Action, Row, Status, Table};

/// More than a service has ever sent at once. An action takes less than 32 KiB, so the queue takes less than 2 MiB.
const MAX_WAITING: usize = 64;

/// What to do about an action that has arrived.
#[derive(Debug, PartialEq)]
pub(crate) enum Decision {
    /// Ignore it, for this reason. Expected.
    Ignore(&'static str),
    /// Reject it, for this reason. The service may wait for a result that never comes.
    Refuse(&'static str),
    /// It was queued.
    Accept,
    /// Cancel the action that this worker runs.
    CancelRunning(WorkerId),
    /// This one was removed from the queue: send its `cancelled` event.
    CancelWaiting(Action),
}

/// A thread that runs actions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WorkerId {
    /// Has the machine, and runs all kinds of actions.
    Main,
    /// Runs immediate actions while the main worker runs one that is not.
    Second,
}

impl WorkerId {
    pub(crate) fn thread_name(self) -> &'static str {
        match self {
            Self::Main => "gf-worker",
            Self::Second => "gf-worker-2",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Job,
    Immediate,
    /// Needs the machine, but plays nothing: a picture.
    Other,
}

/// What a worker does.
#[derive(Debug, Default)]
struct WorkerState {
    /// The kind of its action, until it has sent the last messages of it. `None`: it is idle.
    busy: Option<Kind>,
    /// The id of its action. `None` once the ending is decided.
    running: Option<i64>,
    /// The machine has been read for its action.
    machine_read: bool,
}

/// The actions that were accepted and have not ended.
#[derive(Debug, Default)]
pub(crate) struct Scheduler {
    /// Whether a job may wait behind another job.
    jobs_wait: bool,
    /// Whether the second worker can make requests.
    second_requests: bool,
    main: WorkerState,
    second: WorkerState,
    waiting: VecDeque<(Action, Kind)>,
}

impl Scheduler {
    /// Creates a scheduler. With `jobs_wait` it accepts any number of jobs: for input that does not wait for terminal
    /// events. Without `second_requests`, actions that make requests are not immediate.
    pub(crate) fn new(jobs_wait: bool, second_requests: bool) -> Self {
        Self { jobs_wait, second_requests, ..Self::default() }
    }

    pub(crate) fn take(&mut self, action: Action, table: &Table) -> Decision {
        let running = [(&self.main, WorkerId::Main), (&self.second, WorkerId::Second)]
            .into_iter()
            .find_map(|(state, worker)| (state.running == Some(action.id)).then_some(worker));
        let waiting = self.waiting.iter().position(|(waiting, _)| waiting.id == action.id);
        match (action.status, running) {
            (Status::Other, _) => Decision::Ignore("only the statuses \"ready\" and \"cancelled\" have a meaning"),
            (Status::Cancelled, Some(worker)) => Decision::CancelRunning(worker),
            (Status::Cancelled, None) => match waiting.and_then(|at| self.waiting.remove(at)) {
                Some((cancelled, _)) => Decision::CancelWaiting(cancelled),
                None => Decision::Ignore("it is neither running nor waiting"),
            },
            (Status::Ready, _) => {
                let Some(row) = table.row(&action.action_type) else {
                    return Decision::Refuse("the actions table does not have it");
                };
                let kind = self.kind(row);
                if running.is_some() || waiting.is_some() {
                    Decision::Ignore("it is already running or waiting")
                } else if kind == Kind::Job && self.has_job() && !self.jobs_wait {
                    Decision::Refuse("another job is running or waiting")
                } else if self.waiting.len() >= MAX_WAITING {
                    Decision::Refuse("the queue is full")
                } else {
                    self.waiting.push_back((action, kind));
                    Decision::Accept
                }
            }
        }
    }

    fn kind(&self, row: &Row) -> Kind {
        if row.is_job() {
            Kind::Job
        } else if row.is_immediate() && (self.second_requests || !row.makes_requests()) {
            Kind::Immediate
        } else {
            Kind::Other
        }
    }

    fn has_job(&self) -> bool {
        (self.main.busy == Some(Kind::Job) && self.main.running.is_some())
            || self.waiting.iter().any(|(_, kind)| *kind == Kind::Job)
    }

    /// Returns the next action and the worker for it, and marks it as running. `None` if nothing can start now.
    ///
    /// The second worker starts nothing before the machine has been read for the main worker's action: a settings report
    /// has those readings. An immediate action that arrives after the ending of the main worker's action is decided waits for
    /// that worker: it runs after all that belongs to the ended action.
    pub(crate) fn next(&mut self) -> Option<(WorkerId, Action)> {
        let Self { main, second, .. } = &*self;
        let has_immediate = second.busy.is_some() || main.busy == Some(Kind::Immediate);
        let can_start = |kind: Kind| match kind {
            Kind::Immediate => !has_immediate && (main.busy.is_none() || (main.machine_read && main.running.is_some())),
            Kind::Job | Kind::Other => main.busy.is_none(),
        };
        let at = self.waiting.iter().position(|(_, kind)| can_start(*kind))?;
        let worker = if main.busy.is_none() { WorkerId::Main } else { WorkerId::Second };
        let (action, kind) = self.waiting.remove(at)?;
        *self.state(worker) = WorkerState { busy: Some(kind), running: Some(action.id), machine_read: false };
        Some((worker, action))
    }

    fn state(&mut self, worker: WorkerId) -> &mut WorkerState {
        match worker {
            WorkerId::Main => &mut self.main,
            WorkerId::Second => &mut self.second,
        }
    }

    /// Marks the machine as read for the action of the main worker.
    pub(crate) fn machine_read(&mut self) {
        self.main.machine_read = true;
    }

    /// Marks a worker's action as ended. Its terminal event is about to be sent: it can no longer be cancelled, and the
    /// next job is accepted.
    pub(crate) fn ending_decided(&mut self, worker: WorkerId) {
        self.state(worker).running = None;
    }

    /// Marks a worker as idle.
    pub(crate) fn worker_idle(&mut self, worker: WorkerId) {
        *self.state(worker) = WorkerState::default();
    }

    pub(crate) fn is_busy(&self) -> bool {
        self.main.busy.is_some() || self.second.busy.is_some()
    }

    /// Removes all waiting actions.
    pub(crate) fn drain(&mut self) -> impl Iterator<Item = Action> + '_ {
        self.waiting.drain(..).map(|(action, _)| action)
    }
}

#[cfg(test)]
mod tests;
