//! [`Tally`]: counts what the machines of a fleet do, and knows how each of them is.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};

use super::notice::Notice;
use super::process::ProcessFigures;
use super::status::{Actions, Latencies, MachineState, Requests, Status};
use crate::sync::lock;
use crate::{EmulatorEvent, Ending, system};

/// The end of the URL of a sign-in.
const SIGN_IN: &str = "/machines/sign_in";
/// How many reasons why a machine cannot start are told in [`REASONS_PERIOD`], each of them once.
const REASONS: usize = 20;
const REASONS_PERIOD: Duration = Duration::from_secs(10);
/// How many notices may wait to be received.
const NOTICES: usize = 1024;

/// What the machines of a fleet have done.
pub(super) struct Tally {
    inner: Mutex<Inner>,
    /// A machine has another state, or the fleet stops.
    changed: Condvar,
}

struct Inner {
    started: Instant,
    machines: Vec<Machine>,
    by_state: [usize; 5],
    /// Since when not all machines are connected.
    incomplete_since: Option<Instant>,
    /// How many machines were not connected when the fleet was told to stop.
    not_connected_at_stop: Option<usize>,
    without_thread: usize,
    failed_starts: u64,
    losses: u64,
    actions: Actions,
    requests: Requests,
    latencies: Latencies,
    to_reader: Sender<Notice>,
    /// Receives what was sent, to drop the oldest notice when the channel is full.
    notices: Receiver<Notice>,
    /// Why machines could not start, as told since `reasons_since`.
    reasons: HashSet<String>,
    reasons_since: Instant,
}

struct Machine {
    state: MachineState,
    /// How many emulators it has had. Those before the last one no longer change its state.
    emulators: u32,
    lost_at: Option<Instant>,
    /// When each running action was accepted, by its id. An id may be accepted again before the ending of the one before is
    /// told: the endings of an id belong to its actions in their order.
    running: HashMap<i64, VecDeque<Instant>>,
}

impl Tally {
    pub(super) fn new(machines: usize) -> Self {
        let now = system::now();
        let (to_reader, notices) = bounded(NOTICES);
        let machine =
            || Machine { state: MachineState::Starting, emulators: 0, lost_at: None, running: HashMap::new() };
        let inner = Inner {
            started: now,
            machines: (0..machines).map(|_| machine()).collect(),
            by_state: [machines, 0, 0, 0, 0],
            incomplete_since: Some(now),
            not_connected_at_stop: None,
            without_thread: 0,
            failed_starts: 0,
            losses: 0,
            actions: Actions::default(),
            requests: Requests::default(),
            latencies: Latencies::default(),
            to_reader,
            notices,
            reasons: HashSet::new(),
            reasons_since: system::now(),
        };
        Self { inner: Mutex::new(inner), changed: Condvar::new() }
    }

    /// Returns the channel of notices.
    pub(super) fn notices(&self) -> Receiver<Notice> {
        self.lock().notices.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        lock(&self.inner)
    }

    /// A machine gets a new emulator. Returns the number of that, for [`event`](Self::event).
    pub(super) fn begin(&self, index: usize) -> u32 {
        let mut inner = self.lock();
        let machine = &mut inner.machines[index];
        machine.emulators += 1;
        machine.emulators
    }

    /// The machine's emulator is stopped, to be replaced.
    pub(super) fn restart(&self, index: usize) {
        let mut inner = self.lock();
        let machine = &mut inner.machines[index];
        // What the old emulator does from now on does not change the state.
        machine.emulators += 1;
        machine.lost_at = None;
        self.set_state(&mut inner, index, MachineState::Starting);
    }

    /// The machine's emulator is gone: none of its actions runs any more.
    pub(super) fn emulator_ended(&self, index: usize) {
        let mut inner = self.lock();
        let left = std::mem::take(&mut inner.machines[index].running);
        inner.actions.without_ending += left.values().map(|accepted| accepted.len() as u64).sum::<u64>();
    }

    /// The machine could not connect, and will try again.
    pub(super) fn failed(&self, index: usize, serial: u32, reason: String) {
        let mut inner = self.lock();
        inner.failed_starts += 1;
        self.set_state(&mut inner, index, MachineState::Failed);
        inner.tell_failure(system::now(), serial, reason);
    }

    pub(super) fn stopped(&self, index: usize) {
        self.set_state(&mut self.lock(), index, MachineState::Stopped);
    }

    /// The machine has no thread.
    pub(super) fn no_thread(&self, index: usize, serial: u32, reason: String) {
        let mut inner = self.lock();
        inner.without_thread += 1;
        self.set_state(&mut inner, index, MachineState::Failed);
        inner.tell_failure(system::now(), serial, reason);
    }

    /// The fleet is told to stop.
    pub(super) fn stop(&self) {
        let mut inner = self.lock();
        inner.tell(Notice::Stopping);
        let not_connected = inner.not_connected();
        inner.not_connected_at_stop = Some(not_connected);
        self.changed.notify_all();
    }

    /// Waits until each of these machines is connected or has failed, or the fleet stops.
    pub(super) fn wait_settled(&self, machines: &[usize]) {
        let is_waiting = |inner: &mut Inner| {
            let is_settled = |&index: &usize| inner.machines[index].state != MachineState::Starting;
            inner.not_connected_at_stop.is_none() && !machines.iter().all(is_settled)
        };
        drop(system::wait_while(&self.inner, &self.changed, self.lock(), None, is_waiting));
    }

    /// An emulator has done something; `emulator` is its number.
    pub(super) fn event(&self, index: usize, emulator: u32, event: &EmulatorEvent) {
        let now = system::now();
        let mut guard = self.lock();
        let inner = &mut *guard;
        let machine = &mut inner.machines[index];
        let is_current = machine.emulators == emulator;
        match event {
            EmulatorEvent::Connected { .. } if is_current => {
                if let Some(lost_at) = machine.lost_at.take() {
                    inner.latencies.reconnect.add(now - lost_at);
                }
                self.set_state(inner, index, MachineState::Connected);
            }
            EmulatorEvent::Disconnected { .. } if is_current && inner.not_connected_at_stop.is_none() => {
                machine.lost_at = Some(now);
                inner.losses += 1;
                self.set_state(inner, index, MachineState::Reconnecting);
            }
            EmulatorEvent::ActionAccepted { action_id, .. } => {
                inner.actions.accepted += 1;
                machine.running.entry(*action_id).or_default().push_back(now);
            }
            EmulatorEvent::ActionEnded { action_id, ending, .. } => {
                let of_id = machine.running.get_mut(action_id);
                let Some(accepted) = of_id.and_then(VecDeque::pop_front) else {
                    inner.actions.surplus_endings += 1;
                    return;
                };
                if machine.running.get(action_id).is_some_and(VecDeque::is_empty) {
                    machine.running.remove(action_id);
                }
                inner.latencies.action.add(now - accepted);
                let actions = &mut inner.actions;
                *match ending {
                    Ending::Completed => &mut actions.completed,
                    Ending::Cancelled => &mut actions.cancelled,
                    Ending::Failed => &mut actions.failed,
                } += 1;
            }
            EmulatorEvent::RequestMade { url, status, duration, .. } => {
                match status {
                    Some(status) => *inner.requests.by_status.entry(*status).or_default() += 1,
                    None => inner.requests.failed += 1,
                }
                if status.is_some() {
                    let Latencies { sign_in, request, .. } = &mut inner.latencies;
                    if url.ends_with(SIGN_IN) { sign_in } else { request }.add(*duration);
                }
            }
            _ => {}
        }
    }

    /// Changes a machine's state, and tells what that means for the whole.
    fn set_state(&self, inner: &mut Inner, index: usize, state: MachineState) {
        let before = std::mem::replace(&mut inner.machines[index].state, state);
        if before == state {
            return;
        }
        inner.by_state[before as usize] -= 1;
        inner.by_state[state as usize] += 1;
        self.changed.notify_all();
        if inner.not_connected_at_stop.is_some() {
            return;
        }
        if inner.not_connected() > 0 {
            if inner.incomplete_since.is_none() {
                inner.incomplete_since = Some(system::now());
                inner.tell(Notice::ConnectionsLost);
            }
        } else if let Some(since) = inner.incomplete_since.take() {
            let machines = inner.machines.len();
            inner.tell(Notice::AllConnected { machines, after: system::now() - since });
        }
    }

    pub(super) fn status(&self) -> Status {
        let process = ProcessFigures::now();
        let inner = self.lock();
        Status {
            elapsed: system::now() - inner.started,
            machines: inner.by_state,
            not_connected: inner.not_connected_at_stop.unwrap_or_else(|| inner.not_connected()),
            without_thread: inner.without_thread,
            failed_starts: inner.failed_starts,
            losses: inner.losses,
            actions: inner.actions,
            requests: inner.requests.clone(),
            latencies: inner.latencies.clone(),
            process,
        }
    }

    /// Passes on a notice, after those of all that has happened so far. Returns false if the fleet is stopping: then the
    /// notice is dropped.
    pub(super) fn tell(&self, notice: Notice) -> bool {
        self.lock().tell(notice)
    }
}

impl Inner {
    fn not_connected(&self) -> usize {
        self.machines.len() - self.by_state[MachineState::Connected as usize]
    }

    /// As [`Tally::tell`].
    fn tell(&self, mut notice: Notice) -> bool {
        if self.not_connected_at_stop.is_some() {
            return false;
        }
        while let Err(TrySendError::Full(unsent)) = self.to_reader.try_send(notice) {
            // Fails if a reader has just received the last one.
            let _ = self.notices.try_recv();
            notice = unsent;
        }
        true
    }

    fn tell_failure(&mut self, now: Instant, serial: u32, reason: String) {
        if now - self.reasons_since >= REASONS_PERIOD {
            self.reasons.clear();
            self.reasons_since = now;
        }
        if self.reasons.len() < REASONS && self.reasons.insert(reason.clone()) {
            self.tell(Notice::MachineFailed { serial, reason });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(machines: usize) -> (Tally, Receiver<Notice>) {
        let tally = Tally::new(machines);
        let notices = tally.notices();
        (tally, notices)
    }

    fn told(notices: &Receiver<Notice>) -> Vec<String> {
        let kind = |notice: Notice| notice.to_json()["kind"].as_str().unwrap().to_owned();
        notices.try_iter().map(kind).collect()
    }

    fn connected() -> EmulatorEvent {
        EmulatorEvent::Connected { url: String::new() }
    }

    fn lost() -> EmulatorEvent {
        EmulatorEvent::Disconnected { reason: String::new(), is_stopped: false }
    }

    fn accepted(action_id: i64) -> EmulatorEvent {
        EmulatorEvent::ActionAccepted { action_id, action: "print".into() }
    }

    fn ended(action_id: i64, ending: Ending) -> EmulatorEvent {
        EmulatorEvent::ActionEnded { action_id, action: "print".into(), ending, reason: None }
    }

    #[test]
    fn tells_when_all_are_connected_and_when_no_longer() {
        let (tally, notices) = tally(2);
        let emulators = [tally.begin(0), tally.begin(1)];
        tally.event(0, emulators[0], &connected());
        assert!(notices.is_empty());
        tally.failed(1, 7, "refused".into());
        assert_eq!(told(&notices), ["machine_failed"]);
        tally.event(1, emulators[1], &connected());
        assert_eq!(told(&notices), ["all_connected"]);
        tally.event(0, emulators[0], &lost());
        tally.event(1, emulators[1], &lost());
        assert_eq!(told(&notices), ["connections_lost"]);
        tally.event(0, emulators[0], &connected());
        tally.event(1, emulators[1], &connected());
        assert_eq!(told(&notices), ["all_connected"]);
        let status = tally.status();
        assert_eq!((status.losses, status.latencies.reconnect.count(), status.failed_starts), (2, 2, 1));
        tally.stop();
        tally.event(0, emulators[0], &lost());
        tally.stopped(0);
        tally.failed(1, 7, "refused".into());
        tally.no_thread(1, 7, "panicked".into());
        assert!(!tally.tell(Notice::ConnectionsLost));
        assert_eq!(told(&notices), ["stopping"], "nothing follows");
        assert_eq!((tally.status().not_connected, tally.status().losses), (0, 2));
    }

    #[test]
    fn a_restart_is_no_loss_and_the_old_emulator_changes_nothing() {
        let (tally, notices) = tally(1);
        let old = tally.begin(0);
        tally.event(0, old, &connected());
        tally.restart(0);
        tally.event(0, old, &lost());
        tally.event(0, old, &connected());
        assert_eq!(tally.status().in_state(MachineState::Starting), 1);
        let new = tally.begin(0);
        tally.event(0, new, &connected());
        assert_eq!(tally.status().losses, 0);
        assert_eq!(told(&notices), ["all_connected", "connections_lost", "all_connected"]);
    }

    #[test]
    fn each_accepted_action_has_one_ending() {
        let (tally, _notices) = tally(2);
        let emulator = tally.begin(0);
        for id in 1..=4 {
            tally.event(0, emulator, &accepted(id));
        }
        // Another machine has actions with the same ids.
        tally.event(1, emulator, &accepted(1));
        tally.event(0, emulator, &ended(1, Ending::Completed));
        tally.event(0, emulator, &ended(2, Ending::Failed));
        tally.restart(0);
        tally.event(0, emulator, &ended(3, Ending::Cancelled));
        assert_eq!(tally.status().actions.running(), 2);
        assert!(tally.status().actions.surplus_endings == 0 && tally.status().actions.without_ending == 0);
        tally.event(0, emulator, &ended(3, Ending::Cancelled));
        tally.emulator_ended(0);
        let actions = tally.status().actions;
        assert_eq!((actions.surplus_endings, actions.without_ending, actions.running()), (1, 1, 1));
        assert_eq!((actions.completed, actions.cancelled, actions.failed), (1, 1, 1));
    }

    /// The emulator takes the id of an action again before it tells the ending of that.
    #[test]
    fn an_id_that_is_accepted_twice_may_end_twice() {
        let (tally, _notices) = tally(1);
        let emulator = tally.begin(0);
        tally.event(0, emulator, &accepted(1));
        tally.event(0, emulator, &accepted(1));
        assert_eq!(tally.status().actions.running(), 2);
        tally.event(0, emulator, &ended(1, Ending::Cancelled));
        tally.event(0, emulator, &ended(1, Ending::Completed));
        let actions = tally.status().actions;
        assert_eq!((actions.accepted, actions.cancelled, actions.completed, actions.running()), (2, 1, 1, 0));
        assert_eq!(tally.status().latencies.action.count(), 2);
        tally.event(0, emulator, &ended(1, Ending::Completed));
        tally.event(0, emulator, &accepted(2));
        tally.event(0, emulator, &accepted(2));
        tally.emulator_ended(0);
        let actions = tally.status().actions;
        assert_eq!((actions.surplus_endings, actions.without_ending), (1, 2));
    }

    #[test]
    fn the_oldest_notices_are_dropped_if_nobody_reads_them() {
        let (tally, notices) = tally(1);
        let emulator = tally.begin(0);
        tally.event(0, emulator, &connected());
        for _ in 0..NOTICES {
            tally.event(0, emulator, &lost());
            tally.event(0, emulator, &connected());
        }
        tally.stop();
        let told = told(&notices);
        assert_eq!(told.len(), NOTICES);
        assert_eq!(told[NOTICES - 3..], ["connections_lost", "all_connected", "stopping"]);
    }

    #[test]
    fn sign_ins_are_timed_apart_from_other_requests() {
        let (tally, _notices) = tally(1);
        let request = |path: &str, status| EmulatorEvent::RequestMade {
            method: "POST",
            url: format!("https://host{path}"),
            status,
            error: None,
            duration: Duration::from_millis(3),
        };
        tally.event(0, 0, &request(SIGN_IN, Some(200)));
        tally.event(0, 0, &request("/up/1", Some(200)));
        tally.event(0, 0, &request("/up/1", Some(503)));
        tally.event(0, 0, &request(SIGN_IN, None));
        let Status { requests, latencies, .. } = tally.status();
        assert_eq!(requests, Requests { by_status: [(200, 2), (503, 1)].into(), failed: 1 });
        assert_eq!((latencies.sign_in.count(), latencies.request.count()), (1, 2));
    }

    #[test]
    fn every_failure_is_counted_and_each_reason_is_told_once_in_a_period() {
        let (tally, notices) = tally(1000);
        (0..1000).for_each(|index| tally.failed(index, 1, "refused".into()));
        (0..1000).for_each(|index| tally.no_thread(index, 1, "no memory".into()));
        assert_eq!(tally.status().failed_starts, 1000);
        assert!(told(&notices).len() >= 2);
        let fail = |at, reason: &str| tally.lock().tell_failure(at, 1, reason.into());
        let next_period = system::now() + REASONS_PERIOD;
        (0..2).for_each(|_| fail(next_period, "refused"));
        assert_eq!(told(&notices).len(), 1);
        (0..1000).for_each(|number| fail(next_period, &number.to_string()));
        assert_eq!(told(&notices).len(), REASONS - 1);
        fail(next_period + REASONS_PERIOD, "refused");
        assert_eq!(told(&notices).len(), 1);
    }
}
