//! Which action is done now, which wait, and what becomes of one that comes.
//!
//! Pure: messages in, decisions out; the emulator carries them out. One action is done at a time, in the order in which
//! they came. Of those that play a pulse file only one may be under way at all: another is not started while one runs or
//! waits, as with the real machine. Offline they wait like all others.

use std::collections::VecDeque;

use crate::actions::{Action, Status, Table};

/// More than a service has ever sent at once. An action takes less than 32 KiB, so that all of them take less than 2 MiB.
const MOST_WAITING: usize = 64;

/// What to do about a message.
#[derive(Debug, PartialEq)]
pub(crate) enum Decision {
    /// Nothing, for this reason: as it should be.
    Ignore(&'static str),
    /// Nothing, for this reason: the service may wait for what will not come.
    Refuse(&'static str),
    /// It waits its turn. Where nothing is under way, the turn is now: see [`Scheduler::next`].
    Accepted,
    /// The action that is under way is to end.
    CancelRunning,
    /// One that waited is withdrawn: it has its ending to be sent.
    CancelWaiting(Action),
}

/// The actions that have been accepted and are not over.
#[derive(Debug, Default)]
pub(crate) struct Scheduler {
    /// A job that comes while another is under way waits, too: for input that does not listen for endings.
    jobs_wait: bool,
    /// The worker has something to do, be it only the last messages of an action that is over.
    busy: bool,
    /// The action that is being done, and whether it is a job; none from the moment in which its ending is settled.
    running: Option<(i64, bool)>,
    waiting: VecDeque<(Action, bool)>,
}

impl Scheduler {
    pub(crate) fn where_jobs_wait() -> Self {
        Self { jobs_wait: true, ..Self::default() }
    }

    pub(crate) fn take(&mut self, action: Action, table: &Table) -> Decision {
        let is_running = self.running.is_some_and(|(id, _)| id == action.id);
        let waiting = self.waiting.iter().position(|(waiting, _)| waiting.id == action.id);
        match action.status {
            Status::Other => Decision::Ignore("only \"ready\" and \"cancelled\" mean anything"),
            Status::Cancelled if is_running => Decision::CancelRunning,
            Status::Cancelled => match waiting.and_then(|at| self.waiting.remove(at)) {
                Some((withdrawn, _)) => Decision::CancelWaiting(withdrawn),
                None => Decision::Ignore("it is not under way"),
            },
            Status::Ready => {
                let Some(row) = table.row(&action.action_type) else {
                    return Decision::Refuse("the actions table does not have it");
                };
                let is_job = row.is_job();
                let a_job_is_under_way =
                    self.running.iter().any(|(_, job)| *job) || self.waiting.iter().any(|(_, job)| *job);
                if is_running || waiting.is_some() {
                    Decision::Ignore("it is under way already")
                } else if is_job && a_job_is_under_way && !self.jobs_wait {
                    Decision::Refuse("another job is under way")
                } else if self.waiting.len() >= MOST_WAITING {
                    Decision::Refuse("too many actions wait")
                } else {
                    self.waiting.push_back((action, is_job));
                    Decision::Accepted
                }
            }
        }
    }

    /// The action whose turn it is, where nothing is under way. It is under way from here on.
    pub(crate) fn next(&mut self) -> Option<Action> {
        if self.busy {
            return None;
        }
        let (action, is_job) = self.waiting.pop_front()?;
        self.busy = true;
        self.running = Some((action.id, is_job));
        Some(action)
    }

    /// The action that was under way has come to its ending, which is about to be sent: it can be withdrawn no more, and
    /// the next job is welcome.
    pub(crate) fn over(&mut self) {
        self.running = None;
    }

    /// The worker has done with the action.
    pub(crate) fn finished(&mut self) {
        self.running = None;
        self.busy = false;
    }

    pub(crate) fn is_busy(&self) -> bool {
        self.busy
    }

    /// Withdraws whatever waits.
    pub(crate) fn drain(&mut self) -> impl Iterator<Item = Action> + '_ {
        self.waiting.drain(..).map(|(action, _)| action)
    }
}

#[cfg(test)]
mod tests {
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
        assert_eq!(scheduler.take(action(1, "settings", "ready"), &table), Decision::Accepted);
        assert_eq!(scheduler.take(action(2, "lid_image", "ready"), &table), Decision::Accepted);
        assert_eq!(scheduler.next().unwrap().id, 1);
        assert_eq!(scheduler.next(), None);
        scheduler.finished();
        assert_eq!(scheduler.next().unwrap().id, 2);
    }

    #[test]
    fn starts_no_second_job_and_none_twice() {
        let (table, mut scheduler) = (table(), Scheduler::default());
        let ignored = |decision| matches!(decision, Decision::Ignore(_) | Decision::Refuse(_));
        assert_eq!(scheduler.take(action(1, "print", "ready"), &table), Decision::Accepted);
        assert!(ignored(scheduler.take(action(2, "motion", "ready"), &table)), "one waits");
        scheduler.next().unwrap();
        assert!(ignored(scheduler.take(action(2, "hunt", "ready"), &table)), "one runs");
        assert!(ignored(scheduler.take(action(1, "print", "ready"), &table)), "the same again");
        assert_eq!(scheduler.take(action(3, "lid_image", "ready"), &table), Decision::Accepted);
        assert!(ignored(scheduler.take(action(3, "lid_image", "ready"), &table)), "the same again");
        scheduler.finished();
        assert_eq!(scheduler.take(action(2, "motion", "ready"), &table), Decision::Accepted);
    }

    #[test]
    fn jobs_wait_where_nobody_listens_for_their_ends() {
        let (table, mut scheduler) = (table(), Scheduler::where_jobs_wait());
        for id in 1..=3 {
            assert_eq!(scheduler.take(action(id, "print", "ready"), &table), Decision::Accepted);
        }
        for id in 1..=3 {
            assert_eq!(scheduler.next().unwrap().id, id);
            assert_eq!(scheduler.next(), None);
            scheduler.finished();
        }
    }

    #[test]
    fn only_ready_starts_and_only_what_is_there_can_be_cancelled() {
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
        scheduler.finished();
        assert_eq!(scheduler.next(), None);
    }

    #[test]
    fn a_job_may_come_as_soon_as_the_one_before_is_over() {
        let (table, mut scheduler) = (table(), Scheduler::default());
        scheduler.take(action(1, "print", "ready"), &table);
        scheduler.next().unwrap();
        scheduler.over();
        assert!(matches!(scheduler.take(action(1, "print", "cancelled"), &table), Decision::Ignore(_)));
        assert_eq!(scheduler.take(action(2, "print", "ready"), &table), Decision::Accepted);
        assert_eq!(scheduler.next(), None, "the worker has its last messages to send");
        scheduler.finished();
        assert_eq!(scheduler.next().unwrap().id, 2);
    }

    #[test]
    fn holds_no_more_than_it_says() {
        let (table, mut scheduler) = (table(), Scheduler::default());
        let taken =
            (0..1000).filter(|id| scheduler.take(action(*id, "settings", "ready"), &table) == Decision::Accepted);
        assert_eq!(taken.count(), MOST_WAITING);
    }
}
