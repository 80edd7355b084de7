//! The scheduler: single cases, and random schedules against a plain model.

use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use super::*;
use crate::Config;

fn table() -> Table {
    Table::builtin(Config::default().generation()).unwrap()
}

fn action(id: i64, kind: &str, status: &str) -> Action {
    Action::parse(&format!(r#"{{"id":{id},"action_type":"{kind}","status":"{status}"}}"#)).unwrap()
}

#[test]
fn does_one_at_a_time_in_order() {
    let (table, mut scheduler) = (table(), Scheduler::new(false, true));
    assert_eq!(scheduler.take(action(1, "settings", "ready"), &table), Decision::Accept);
    assert_eq!(scheduler.take(action(2, "lid_image", "ready"), &table), Decision::Accept);
    assert_eq!(scheduler.next().unwrap().1.id, 1);
    assert_eq!(scheduler.next(), None);
    scheduler.worker_idle(WorkerId::Main);
    assert_eq!(scheduler.next().unwrap().1.id, 2);
}

#[test]
fn refuses_a_second_job_and_duplicates() {
    let (table, mut scheduler) = (table(), Scheduler::new(false, true));
    let ignored = |decision| matches!(decision, Decision::Ignore(_) | Decision::Refuse(_));
    assert_eq!(scheduler.take(action(1, "print", "ready"), &table), Decision::Accept);
    assert!(ignored(scheduler.take(action(2, "motion", "ready"), &table)), "one waits");
    scheduler.next().unwrap();
    assert!(ignored(scheduler.take(action(2, "hunt", "ready"), &table)), "one runs");
    assert!(ignored(scheduler.take(action(1, "print", "ready"), &table)), "the same again");
    assert_eq!(scheduler.take(action(3, "lid_image", "ready"), &table), Decision::Accept);
    assert!(ignored(scheduler.take(action(3, "lid_image", "ready"), &table)), "the same again");
    scheduler.worker_idle(WorkerId::Main);
    assert_eq!(scheduler.take(action(2, "motion", "ready"), &table), Decision::Accept);
}

#[test]
fn jobs_wait_offline() {
    let (table, mut scheduler) = (table(), Scheduler::new(true, true));
    for id in 1..=3 {
        assert_eq!(scheduler.take(action(id, "print", "ready"), &table), Decision::Accept);
    }
    for id in 1..=3 {
        assert_eq!(scheduler.next().unwrap().1.id, id);
        assert_eq!(scheduler.next(), None);
        scheduler.worker_idle(WorkerId::Main);
    }
}

#[test]
fn only_ready_starts_and_only_known_actions_can_be_cancelled() {
    let (table, mut scheduler) = (table(), Scheduler::new(false, true));
    for status in ["new", "started", "success", "failure", "cancelled"] {
        assert!(matches!(scheduler.take(action(1, "print", status), &table), Decision::Ignore(_)), "{status}");
    }
    for kind in ["focus", "", "no_such_thing"] {
        assert!(matches!(scheduler.take(action(1, kind, "ready"), &table), Decision::Refuse(_)), "{kind}");
    }
    scheduler.take(action(1, "settings", "ready"), &table);
    scheduler.take(action(2, "print", "ready"), &table);
    scheduler.next().unwrap();
    assert_eq!(scheduler.take(action(1, "settings", "cancelled"), &table), Decision::CancelRunning(WorkerId::Main));
    assert!(matches!(scheduler.take(action(2, "x", "cancelled"), &table), Decision::CancelWaiting(a) if a.id == 2));
    assert!(matches!(scheduler.take(action(2, "print", "cancelled"), &table), Decision::Ignore(_)));
    scheduler.worker_idle(WorkerId::Main);
    assert_eq!(scheduler.next(), None);
}

#[test]
fn accepts_a_job_once_the_ending_of_the_last_is_decided() {
    let (table, mut scheduler) = (table(), Scheduler::new(false, true));
    scheduler.take(action(1, "print", "ready"), &table);
    scheduler.next().unwrap();
    scheduler.ending_decided(WorkerId::Main);
    assert!(matches!(scheduler.take(action(1, "print", "cancelled"), &table), Decision::Ignore(_)));
    assert_eq!(scheduler.take(action(2, "print", "ready"), &table), Decision::Accept);
    assert_eq!(scheduler.next(), None, "the worker still sends the last messages");
    scheduler.worker_idle(WorkerId::Main);
    assert_eq!(scheduler.next().unwrap().1.id, 2);
}

#[test]
fn the_queue_is_bounded() {
    let (table, mut scheduler) = (table(), Scheduler::new(false, true));
    let taken = (0..1000).filter(|id| scheduler.take(action(*id, "settings", "ready"), &table) == Decision::Accept);
    assert_eq!(taken.count(), MAX_WAITING);
}

/// Returns the worker and the id of the next action.
fn next(scheduler: &mut Scheduler) -> Option<(WorkerId, i64)> {
    scheduler.next().map(|(worker, action)| (worker, action.id))
}

#[test]
fn sync_actions_are_the_ones_with_no_job() {
    let table = table();
    for kind in ["settings", "update_check", "factory_reset", "head_firmware_update"] {
        for running in ["print", "motion", "hunt", "lid_image", "head_image"] {
            let mut scheduler = Scheduler::new(false, true);
            scheduler.take(action(1, running, "ready"), &table);
            scheduler.take(action(2, "user_image", "ready"), &table);
            scheduler.take(action(3, kind, "ready"), &table);
            assert_eq!(next(&mut scheduler), Some((WorkerId::Main, 1)));
            assert_eq!(next(&mut scheduler), None, "the machine has not been read");
            scheduler.machine_read();
            assert_eq!(next(&mut scheduler), Some((WorkerId::Second, 3)), "{kind} while {running} runs");
            assert_eq!(next(&mut scheduler), None);
            let cancelled = |id, worker| (action(id, kind, "cancelled"), Decision::CancelRunning(worker));
            for (cancel, decision) in [cancelled(1, WorkerId::Main), cancelled(3, WorkerId::Second)] {
                assert_eq!(scheduler.take(cancel, &table), decision);
            }
            assert!(matches!(scheduler.take(action(3, kind, "ready"), &table), Decision::Ignore(_)), "the same again");
        }
    }
}

#[test]
fn an_action_that_makes_requests_waits_for_a_worker_that_can() {
    let (table, mut scheduler) = (table(), Scheduler::new(false, false));
    for (id, kind) in [(1, "print"), (2, "update_check"), (3, "settings")] {
        assert_eq!(scheduler.take(action(id, kind, "ready"), &table), Decision::Accept);
    }
    assert_eq!(next(&mut scheduler), Some((WorkerId::Main, 1)));
    scheduler.machine_read();
    assert_eq!(next(&mut scheduler), Some((WorkerId::Second, 3)));
    scheduler.worker_idle(WorkerId::Main);
    assert_eq!(next(&mut scheduler), Some((WorkerId::Main, 2)));
    scheduler.worker_idle(WorkerId::Second);
    assert_eq!(scheduler.take(action(4, "settings", "ready"), &table), Decision::Accept);
    assert_eq!(next(&mut scheduler), None, "the machine is not read for an update check");
}

#[test]
fn an_immediate_action_runs_after_everything_that_belongs_to_an_ended_one() {
    let (table, mut scheduler) = (table(), Scheduler::new(false, true));
    scheduler.take(action(1, "print", "ready"), &table);
    scheduler.next().unwrap();
    scheduler.machine_read();
    scheduler.ending_decided(WorkerId::Main);
    assert_eq!(scheduler.take(action(2, "settings", "ready"), &table), Decision::Accept);
    assert_eq!(next(&mut scheduler), None);
    scheduler.worker_idle(WorkerId::Main);
    assert_eq!(next(&mut scheduler), Some((WorkerId::Main, 2)));
}

#[derive(Debug, Clone, Copy)]
enum Op {
    Ready(i64, &'static str),
    Cancel(i64),
    Next,
    MachineRead,
    EndingDecided(WorkerId),
    WorkerIdle(WorkerId),
    Drain,
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let kinds = prop::sample::select(vec![
        "settings",
        "update_check",
        "factory_reset",
        "lid_image",
        "print",
        "motion",
        "no_such_thing",
    ]);
    let worker = prop::sample::select(vec![WorkerId::Main, WorkerId::Second]);
    let op = prop_oneof![
        4 => (0..12_i64, kinds).prop_map(|(id, kind)| Op::Ready(id, kind)),
        2 => (0..12_i64).prop_map(Op::Cancel),
        4 => Just(Op::Next),
        3 => Just(Op::MachineRead),
        2 => worker.clone().prop_map(Op::EndingDecided),
        3 => worker.prop_map(Op::WorkerIdle),
        1 => Just(Op::Drain),
    ];
    prop::collection::vec(op, 0..40)
}

/// What a plain model knows of an action: its id and type.
type Known = (i64, &'static str);

/// A plain model: a queue of all that waits, and what each worker has.
#[derive(Default)]
struct Model {
    waiting: Vec<Known>,
    /// The action of the main and of the second worker, and whether it can still be cancelled.
    workers: [Option<(Known, bool)>; 2],
    machine_read: bool,
    second_requests: bool,
}

impl Model {
    fn is_immediate(&self, kind: &str) -> bool {
        matches!(kind, "settings" | "factory_reset") || (kind == "update_check" && self.second_requests)
    }

    /// Returns the worker that runs the action and can be told to cancel it.
    fn running(&self, id: i64) -> Option<usize> {
        self.workers.iter().position(|worker| worker.is_some_and(|((running, _), open)| open && running == id))
    }

    /// Returns the place in the queue of what starts next, and its worker.
    fn next(&self) -> Option<(usize, usize)> {
        let [main, second] = self.workers;
        let first = |immediate: bool| self.waiting.iter().position(|(_, kind)| self.is_immediate(kind) == immediate);
        let immediate_runs = second.is_some() || main.is_some_and(|((_, kind), _)| self.is_immediate(kind));
        match main {
            None if immediate_runs => first(false).map(|at| (at, 0)),
            None => (!self.waiting.is_empty()).then_some((0, 0)),
            Some((_, true)) if self.machine_read && !immediate_runs => first(true).map(|at| (at, 1)),
            Some(_) => None,
        }
    }
}

fn index(worker: WorkerId) -> usize {
    usize::from(worker == WorkerId::Second)
}

/// Runs random schedules against the model.
#[test]
fn each_accepted_action_runs_or_is_cancelled_once_in_order() {
    let table = table();
    let cases = ProptestConfig { cases: 20_000, failure_persistence: None, ..ProptestConfig::default() };
    let strategy = (ops(), any::<bool>(), any::<bool>());
    let outcome = TestRunner::new(cases).run(&strategy, |(ops, jobs_wait, second_requests)| {
        let mut scheduler = Scheduler::new(jobs_wait, second_requests);
        let mut model = Model { second_requests, ..Model::default() };
        let is_job = |kind: &str| matches!(kind, "print" | "motion");
        for op in ops {
            match op {
                Op::Ready(id, kind) => {
                    let open = model.workers.iter().flatten().filter(|(_, open)| *open).map(|(known, _)| known);
                    let known: Vec<_> = model.waiting.iter().chain(open).collect();
                    let duplicate = known.iter().any(|(other, _)| *other == id);
                    let second_job = is_job(kind) && !jobs_wait && known.iter().any(|(_, kind)| is_job(kind));
                    let expected = kind != "no_such_thing" && !duplicate && !second_job;
                    let accepted = scheduler.take(action(id, kind, "ready"), &table) == Decision::Accept;
                    prop_assert_eq!(accepted, expected, "{} {}", kind, id);
                    if accepted {
                        model.waiting.push((id, kind));
                    }
                }
                Op::Cancel(id) => {
                    let decision = scheduler.take(action(id, "settings", "cancelled"), &table);
                    let position = model.waiting.iter().position(|(other, _)| *other == id);
                    match decision {
                        Decision::CancelRunning(worker) => prop_assert_eq!(model.running(id), Some(index(worker))),
                        Decision::CancelWaiting(cancelled) => {
                            prop_assert_eq!(cancelled.id, id);
                            model.waiting.remove(position.expect("it waits"));
                        }
                        _ => prop_assert!(position.is_none() && model.running(id).is_none()),
                    }
                }
                Op::Next => {
                    let expected = model.next().map(|(at, worker)| (worker, model.waiting.remove(at)));
                    let got = next(&mut scheduler).map(|(worker, id)| (index(worker), id));
                    prop_assert_eq!(got, expected.map(|(worker, (id, _))| (worker, id)));
                    if let Some((worker, known)) = expected {
                        model.workers[worker] = Some((known, true));
                        model.machine_read &= worker != 0;
                    }
                    // The machine is never used by two actions, and there is no third.
                    let second = model.workers[1].map(|((_, kind), _)| kind);
                    prop_assert!(second.is_none_or(|kind| model.is_immediate(kind)));
                }
                Op::MachineRead => {
                    scheduler.machine_read();
                    model.machine_read = true;
                }
                Op::EndingDecided(worker) => {
                    scheduler.ending_decided(worker);
                    if let Some((_, open)) = &mut model.workers[index(worker)] {
                        *open = false;
                    }
                }
                Op::WorkerIdle(worker) => {
                    scheduler.worker_idle(worker);
                    model.workers[index(worker)] = None;
                }
                Op::Drain => {
                    let drained: Vec<_> = scheduler.drain().map(|action| action.id).collect();
                    prop_assert_eq!(drained, model.waiting.drain(..).map(|(id, _)| id).collect::<Vec<_>>());
                }
            }
            prop_assert_eq!(scheduler.is_busy(), model.workers.iter().any(Option::is_some));
        }
        Ok(())
    });
    outcome.unwrap_or_else(|e| panic!("{e}"));
}
