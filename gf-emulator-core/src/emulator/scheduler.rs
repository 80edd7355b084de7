//! [`Scheduler`]: decides which action runs now, which wait, and what happens to one that arrives.
//!
//! Pure: messages in, decisions out; the event loop carries them out. One action runs at a time, in the order of
//! arrival. Of the actions that play a pulse file ("jobs") only one is accepted at a time: another that arrives while
//! one runs or waits is refused, as the real machine does (from the protocol's description, not measured). Offline,
//! jobs wait like all others.

use std::collections::VecDeque;

use crate::actions::{Action, Status, Table};

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
    /// Cancel the running action.
    CancelRunning,
    /// This one was removed from the queue: send its `cancelled` event.
    CancelWaiting(Action),
}

/// The actions that were accepted and have not ended.
#[derive(Debug, Default)]
pub(crate) struct Scheduler {
    /// Whether a job may wait behind another job.
    jobs_wait: bool,
    /// Whether the worker has an action, or still sends the last messages of one.
    busy: bool,
    /// The running action, and whether it is a job. `None` once its ending is decided.
    running: Option<(i64, bool)>,
    waiting: VecDeque<(Action, bool)>,
}

impl Scheduler {
    /// Creates a scheduler that accepts any number of jobs: for input that does not wait for terminal events.
    pub(crate) fn with_waiting_jobs() -> Self {
        Self { jobs_wait: true, ..Self::default() }
    }

    pub(crate) fn take(&mut self, action: Action, table: &Table) -> Decision {
        let is_running = self.running.is_some_and(|(id, _)| id == action.id);
        let waiting = self.waiting.iter().position(|(waiting, _)| waiting.id == action.id);
        match action.status {
            Status::Other => Decision::Ignore("only the statuses \"ready\" and \"cancelled\" have a meaning"),
            Status::Cancelled if is_running => Decision::CancelRunning,
            Status::Cancelled => match waiting.and_then(|at| self.waiting.remove(at)) {
                Some((cancelled, _)) => Decision::CancelWaiting(cancelled),
                None => Decision::Ignore("it is neither running nor waiting"),
            },
            Status::Ready => {
                let Some(row) = table.row(&action.action_type) else {
                    return Decision::Refuse("the actions table does not have it");
                };
                let is_job = row.is_job();
                let has_job = self.running.iter().any(|(_, job)| *job) || self.waiting.iter().any(|(_, job)| *job);
                if is_running || waiting.is_some() {
                    Decision::Ignore("it is already running or waiting")
                } else if is_job && has_job && !self.jobs_wait {
                    Decision::Refuse("another job is running or waiting")
                } else if self.waiting.len() >= MAX_WAITING {
                    Decision::Refuse("the queue is full")
                } else {
                    self.waiting.push_back((action, is_job));
                    Decision::Accept
                }
            }
        }
    }

    /// Returns the next action if nothing is running, and marks it as running.
    pub(crate) fn next(&mut self) -> Option<Action> {
        if self.busy {
            return None;
        }
        let (action, is_job) = self.waiting.pop_front()?;
        self.busy = true;
        self.running = Some((action.id, is_job));
        Some(action)
    }

    /// Marks the running action as ended. Its terminal event is about to be sent: it can no longer be cancelled, and the
    /// next job is accepted.
    pub(crate) fn ending_decided(&mut self) {
        self.running = None;
    }

    /// Marks the worker as idle.
    pub(crate) fn worker_idle(&mut self) {
        self.running = None;
        self.busy = false;
    }

    pub(crate) fn is_busy(&self) -> bool {
        self.busy
    }

    /// Removes all waiting actions.
    pub(crate) fn drain(&mut self) -> impl Iterator<Item = Action> + '_ {
        self.waiting.drain(..).map(|(action, _)| action)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::test_runner::TestRunner;

    use super::*;
    use crate::Config;

    fn table() -> Table {
        Table::load(&Config::default()).unwrap()
    }

    fn action(id: i64, kind: &str, status: &str) -> Action {
        Action::parse(&format!(r#"{{"id":{id},"action_type":"{kind}","status":"{status}"}}"#)).unwrap()
    }

    #[test]
    fn does_one_at_a_time_in_order() {
        let (table, mut scheduler) = (table(), Scheduler::default());
        assert_eq!(scheduler.take(action(1, "settings", "ready"), &table), Decision::Accept);
        assert_eq!(scheduler.take(action(2, "lid_image", "ready"), &table), Decision::Accept);
        assert_eq!(scheduler.next().unwrap().id, 1);
        assert_eq!(scheduler.next(), None);
        scheduler.worker_idle();
        assert_eq!(scheduler.next().unwrap().id, 2);
    }

    #[test]
    fn refuses_a_second_job_and_duplicates() {
        let (table, mut scheduler) = (table(), Scheduler::default());
        let ignored = |decision| matches!(decision, Decision::Ignore(_) | Decision::Refuse(_));
        assert_eq!(scheduler.take(action(1, "print", "ready"), &table), Decision::Accept);
        assert!(ignored(scheduler.take(action(2, "motion", "ready"), &table)), "one waits");
        scheduler.next().unwrap();
        assert!(ignored(scheduler.take(action(2, "hunt", "ready"), &table)), "one runs");
        assert!(ignored(scheduler.take(action(1, "print", "ready"), &table)), "the same again");
        assert_eq!(scheduler.take(action(3, "lid_image", "ready"), &table), Decision::Accept);
        assert!(ignored(scheduler.take(action(3, "lid_image", "ready"), &table)), "the same again");
        scheduler.worker_idle();
        assert_eq!(scheduler.take(action(2, "motion", "ready"), &table), Decision::Accept);
    }

    #[test]
    fn jobs_wait_offline() {
        let (table, mut scheduler) = (table(), Scheduler::with_waiting_jobs());
        for id in 1..=3 {
            assert_eq!(scheduler.take(action(id, "print", "ready"), &table), Decision::Accept);
        }
        for id in 1..=3 {
            assert_eq!(scheduler.next().unwrap().id, id);
            assert_eq!(scheduler.next(), None);
            scheduler.worker_idle();
        }
    }

    #[test]
    fn only_ready_starts_and_only_known_actions_can_be_cancelled() {
        let (table, mut scheduler) = (table(), Scheduler::default());
        for status in ["new", "started", "success", "failure", "cancelled"] {
            assert!(matches!(scheduler.take(action(1, "print", status), &table), Decision::Ignore(_)), "{status}");
        }
        for kind in ["focus", "", "no_such_thing"] {
            assert!(matches!(scheduler.take(action(1, kind, "ready"), &table), Decision::Refuse(_)), "{kind}");
        }
        scheduler.take(action(1, "settings", "ready"), &table);
        scheduler.take(action(2, "print", "ready"), &table);
        scheduler.next().unwrap();
        assert_eq!(scheduler.take(action(1, "settings", "cancelled"), &table), Decision::CancelRunning);
        assert!(matches!(scheduler.take(action(2, "x", "cancelled"), &table), Decision::CancelWaiting(a) if a.id == 2));
        assert!(matches!(scheduler.take(action(2, "print", "cancelled"), &table), Decision::Ignore(_)));
        scheduler.worker_idle();
        assert_eq!(scheduler.next(), None);
    }

    #[test]
    fn accepts_a_job_once_the_ending_of_the_last_is_decided() {
        let (table, mut scheduler) = (table(), Scheduler::default());
        scheduler.take(action(1, "print", "ready"), &table);
        scheduler.next().unwrap();
        scheduler.ending_decided();
        assert!(matches!(scheduler.take(action(1, "print", "cancelled"), &table), Decision::Ignore(_)));
        assert_eq!(scheduler.take(action(2, "print", "ready"), &table), Decision::Accept);
        assert_eq!(scheduler.next(), None, "the worker still sends the last messages");
        scheduler.worker_idle();
        assert_eq!(scheduler.next().unwrap().id, 2);
    }

    #[test]
    fn the_queue_is_bounded() {
        let (table, mut scheduler) = (table(), Scheduler::default());
        let taken = (0..1000).filter(|id| scheduler.take(action(*id, "settings", "ready"), &table) == Decision::Accept);
        assert_eq!(taken.count(), MAX_WAITING);
    }

    #[derive(Debug, Clone, Copy)]
    enum Op {
        Ready(i64, &'static str),
        Cancel(i64),
        Next,
        EndingDecided,
        WorkerIdle,
        Drain,
    }

    fn ops() -> impl Strategy<Value = Vec<Op>> {
        let kinds = prop::sample::select(vec!["settings", "lid_image", "print", "motion", "no_such_thing"]);
        let op = prop_oneof![
            4 => (0..12_i64, kinds).prop_map(|(id, kind)| Op::Ready(id, kind)),
            2 => (0..12_i64).prop_map(Op::Cancel),
            3 => Just(Op::Next),
            2 => Just(Op::EndingDecided),
            3 => Just(Op::WorkerIdle),
            1 => Just(Op::Drain),
        ];
        prop::collection::vec(op, 0..40)
    }

    /// Runs random schedules against a plain model: a queue, and the action that runs.
    #[test]
    fn each_accepted_action_runs_or_is_cancelled_once_in_order() {
        let table = table();
        let cases = ProptestConfig { cases: 20_000, failure_persistence: None, ..ProptestConfig::default() };
        let strategy = (ops(), any::<bool>());
        let outcome = TestRunner::new(cases).run(&strategy, |(ops, jobs_wait)| {
            let mut scheduler = if jobs_wait { Scheduler::with_waiting_jobs() } else { Scheduler::default() };
            let (mut waiting, mut running, mut busy) = (VecDeque::<(i64, bool)>::new(), None::<(i64, bool)>, false);
            for op in ops {
                match op {
                    Op::Ready(id, kind) => {
                        let is_job = matches!(kind, "print" | "motion");
                        let known = waiting.iter().chain(&running);
                        let duplicate = known.clone().any(|(other, _)| *other == id);
                        let second_job = is_job && !jobs_wait && known.clone().any(|(_, is_job)| *is_job);
                        let expected = kind != "no_such_thing" && !duplicate && !second_job;
                        let accepted = scheduler.take(action(id, kind, "ready"), &table) == Decision::Accept;
                        prop_assert_eq!(accepted, expected, "{} {}", kind, id);
                        if accepted {
                            waiting.push_back((id, is_job));
                        }
                    }
                    Op::Cancel(id) => {
                        let decision = scheduler.take(action(id, "settings", "cancelled"), &table);
                        let position = waiting.iter().position(|(other, _)| *other == id);
                        match decision {
                            Decision::CancelRunning => prop_assert!(running.is_some_and(|(other, _)| other == id)),
                            Decision::CancelWaiting(cancelled) => {
                                prop_assert_eq!(cancelled.id, id);
                                waiting.remove(position.expect("it waits"));
                            }
                            _ => prop_assert!(position.is_none() && running.is_none_or(|(other, _)| other != id)),
                        }
                    }
                    Op::Next => {
                        let expected = if busy { None } else { waiting.pop_front() };
                        prop_assert_eq!(scheduler.next().map(|action| action.id), expected.map(|(id, _)| id));
                        if expected.is_some() {
                            (running, busy) = (expected, true);
                        }
                    }
                    Op::EndingDecided => {
                        scheduler.ending_decided();
                        running = None;
                    }
                    Op::WorkerIdle => {
                        scheduler.worker_idle();
                        (running, busy) = (None, false);
                    }
                    Op::Drain => {
                        let drained: Vec<_> = scheduler.drain().map(|action| action.id).collect();
                        prop_assert_eq!(drained, waiting.drain(..).map(|(id, _)| id).collect::<Vec<_>>());
                    }
                }
                prop_assert_eq!(scheduler.is_busy(), busy);
            }
            Ok(())
        });
        outcome.unwrap_or_else(|e| panic!("{e}"));
    }
}
