//! [`EventLoop`]: waits for the service, the workers and the handle, and gives the workers their next actions.

use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, TryRecvError, never};

use super::scheduler::{Decision, Scheduler, WorkerId};
use super::workers::{Worker, WorkerEvent};
use crate::Throttle;
use crate::actions::{Action, Shared, Table, initial_values, printable, send_ending};
use crate::events::{EmulatorEvent, Ending};
use crate::{Error, Result, system};

/// Rate limit for log lines that the service can cause: this many of a kind per period; the rest are counted.
const LOG_LINES: u32 = 20;
const LOG_PERIOD: Duration = Duration::from_secs(10);
/// How long the workers keep their threads and connections for the next action.
const IDLE_TIME: Duration = Duration::from_secs(2);
const BEFORE_START: &str = "cancelled before it started";

/// The loop of [`Emulator::run`](crate::Emulator::run).
pub(crate) struct EventLoop<'a> {
    pub(crate) shared: &'a Shared,
    pub(crate) table: &'a Table,
    pub(crate) rx: &'a Receiver<String>,
    pub(crate) stopped: &'a Receiver<()>,
    pub(super) main_worker: Worker,
    pub(super) second_worker: Worker,
    pub(crate) worker_events: Receiver<(WorkerId, WorkerEvent)>,
    pub(crate) scheduler: Scheduler,
    /// Limits log lines about lines that are not actions.
    pub(crate) invalid_lines: Throttle,
    /// Limits log lines about actions that are ignored.
    pub(crate) ignored_actions: Throttle,
    pub(crate) online: bool,
    /// Whether nothing more is accepted.
    pub(crate) stopping: bool,
    /// When idle workers rest.
    pub(crate) rest_at: Option<Instant>,
    /// A worker panicked.
    pub(crate) panicked: Option<Error>,
}

/// What the event loop waits for.
enum Input {
    Worker(WorkerId, WorkerEvent),
    Stop,
    Frame(String),
    /// Nothing more comes from rx.
    End,
}

impl EventLoop<'_> {
    pub(crate) fn throttle() -> Throttle {
        Throttle::new(LOG_LINES, LOG_PERIOD)
    }

    /// Runs until it is stopped, or offline until the input has ended, and all actions have ended. Then ends the
    /// workers.
    ///
    /// # Errors
    ///
    /// [`Error::Thread`] if a worker panicked, which also stops the loop.
    pub(crate) fn run(mut self) -> Result<()> {
        // The sign-in has left a connection open.
        self.rest_at = Some(system::now() + IDLE_TIME);
        self.run_until_idle();
        self.log_suppressed(None);
        let ended = self.main_worker.rest().and(self.second_worker.rest());
        self.panicked.map_or(ended, Err)
    }

    fn run_until_idle(&mut self) {
        let (mut rx, mut stopped) = (self.rx.clone(), self.stopped.clone());
        loop {
            while let Some((worker, action)) = self.scheduler.next() {
                if let Some((action, error)) = self.worker(worker).start(action) {
                    self.not_started(worker, &action, &error);
                }
            }
            if self.stopping {
                if !self.scheduler.is_busy() {
                    return;
                }
                rx = never();
            }
            if self.summary_due().is_some() {
                self.log_suppressed(Some(system::now()));
            }
            if self.rest_at.is_some_and(|at| at <= system::now()) {
                self.rest_at = None;
                if !self.scheduler.is_busy() {
                    self.rest(WorkerId::Main);
                    self.rest(WorkerId::Second);
                }
            }
            match self.wait_for_input(&rx, &stopped) {
                Some(Input::Worker(worker, event)) => self.on_worker_event(worker, event),
                Some(Input::Stop) => {
                    // A disconnected channel is always ready: do not wait for it again.
                    stopped = never();
                    self.stop();
                }
                Some(Input::Frame(frame)) => {
                    // The frame may answer a terminal event, and the worker reports before it sends one.
                    while let Ok((worker, event)) = self.worker_events.try_recv() {
                        self.on_worker_event(worker, event);
                    }
                    self.on_frame(&frame);
                }
                // Online: the WebSocket thread has ended, so results could not be sent.
                Some(Input::End) if self.online => self.stop(),
                // Offline: the end of the input. Accepted actions still run.
                Some(Input::End) => self.stopping = true,
                None => {}
            }
        }
    }

    /// Waits for what comes first. `None`: a summary of suppressed log lines is due, or the workers have been idle for long
    /// enough.
    fn wait_for_input(&self, rx: &Receiver<String>, stopped: &Receiver<()>) -> Option<Input> {
        let attempt = || {
            // The workers keep its senders, so it is never disconnected.
            if let Ok((worker, event)) = self.worker_events.try_recv() {
                return Some(Input::Worker(worker, event));
            }
            if stopped.try_recv() == Err(TryRecvError::Disconnected) {
                return Some(Input::Stop);
            }
            match rx.try_recv() {
                Ok(frame) => Some(Input::Frame(frame)),
                Err(TryRecvError::Disconnected) => Some(Input::End),
                Err(TryRecvError::Empty) => None,
            }
        };
        let deadline = self.summary_due().into_iter().chain(self.rest_at).min();
        system::wait_for(deadline, attempt, |select| {
            select.recv(&self.worker_events);
            select.recv(stopped);
            select.recv(rx);
        })
    }

    fn on_worker_event(&mut self, worker: WorkerId, event: WorkerEvent) {
        match event {
            WorkerEvent::MachineRead => self.scheduler.machine_read(),
            WorkerEvent::EndingDecided => self.scheduler.ending_decided(worker),
            WorkerEvent::Idle => {
                self.scheduler.worker_idle(worker);
                self.rest_at = Some(system::now() + IDLE_TIME);
            }
            WorkerEvent::Panicked => {
                self.scheduler.worker_idle(worker);
                self.rest(worker);
            }
        }
    }

    /// Lets an idle worker rest. If its thread has panicked, stops.
    fn rest(&mut self, worker: WorkerId) {
        if let Err(error) = self.worker(worker).rest() {
            log::error!("stopping: {error}");
            self.panicked = Some(error);
            self.stop();
        }
    }

    fn worker(&mut self, worker: WorkerId) -> &mut Worker {
        match worker {
            WorkerId::Main => &mut self.main_worker,
            WorkerId::Second => &mut self.second_worker,
        }
    }

    /// Ends an action that could not be given a thread.
    fn not_started(&mut self, worker: WorkerId, action: &Action, error: &Error) {
        log::error!("{} {} failed: {error}", action.action_type, action.id);
        self.scheduler.worker_idle(worker);
        self.end_unstarted(action, Ending::Failed, &error.to_string());
    }

    /// Returns when the next summary of suppressed log lines is due.
    fn summary_due(&self) -> Option<Instant> {
        self.invalid_lines.due().into_iter().chain(self.ignored_actions.due()).min()
    }

    /// Logs how many log lines were suppressed: of the throttles that are due at `now`, or of all.
    fn log_suppressed(&mut self, now: Option<Instant>) {
        let throttles =
            [(&mut self.invalid_lines, "lines that are not actions"), (&mut self.ignored_actions, "actions")];
        for (throttle, what) in throttles {
            log_suppressed(throttle, what, now);
        }
    }

    /// Handles a frame of one or more lines. An invalid line does not affect the others.
    fn on_frame(&mut self, frame: &str) {
        for line in frame.lines().map(str::trim).filter(|line| !line.is_empty()) {
            match Action::parse(line) {
                Ok(action) => self.on_action(action),
                Err(reason) if self.invalid_lines.passes(system::now()) => {
                    log::warn!("ignored a line of {} bytes: {reason}", line.len());
                }
                Err(_) => {}
            }
        }
    }

    fn on_action(&mut self, action: Action) {
        let telemetry = &self.shared.telemetry;
        let (id, what) = (action.id, telemetry.secrets().redact(&printable(&action.action_type)));
        match self.scheduler.take(action, self.table) {
            Decision::Accept => telemetry.emit(|| EmulatorEvent::ActionAccepted { action_id: id, action: what }),
            decision @ (Decision::Ignore(reason) | Decision::Refuse(reason)) => {
                if self.ignored_actions.passes(system::now()) {
                    let is_normal = matches!(decision, Decision::Ignore(_));
                    let level = if is_normal { log::Level::Info } else { log::Level::Warn };
                    log::log!(level, "ignored {what} {id}: {reason}");
                }
                telemetry.emit(|| EmulatorEvent::ActionIgnored { action_id: id, action: what, reason });
            }
            Decision::CancelRunning(worker) => {
                log::info!("the service cancels {what} {id}");
                self.worker(worker).cancel();
            }
            Decision::CancelWaiting(action) => self.cancel_waiting(&action),
        }
    }

    fn cancel_waiting(&self, action: &Action) {
        log::info!("{} {} was cancelled before it started", action.action_type, action.id);
        self.end_unstarted(action, Ending::Cancelled, BEFORE_START);
    }

    /// Sends the ending of an action that never started.
    fn end_unstarted(&self, action: &Action, ending: Ending, reason: &str) {
        if let Some(row) = self.table.row(&action.action_type) {
            if let Some(recorder) = self.shared.telemetry.recorder() {
                recorder.record_ending(action.id, &ending.to_string(), reason.to_owned());
            }
            send_ending(row, ending, &self.shared.messages, &initial_values(action), &mut |_| Ok(()));
            self.shared.action_ended(action, ending, Some(reason.to_owned()));
        }
    }

    fn stop(&mut self) {
        self.stopping = true;
        self.main_worker.stop();
        self.second_worker.stop();
        let cancelled: Vec<_> = self.scheduler.drain().collect();
        for action in &cancelled {
            self.cancel_waiting(action);
        }
    }
}

/// Logs how many lines about `what` were suppressed, if that is due at `now`; without `now`, in any case.
fn log_suppressed(throttle: &mut Throttle, what: &str, now: Option<Instant>) {
    // Not an argument of the macro: if the level is off, arguments are not evaluated.
    let suppressed = match now {
        Some(now) => throttle.take_due(now),
        None => throttle.take_suppressed(),
    };
    if suppressed > 0 {
        log::warn!("{suppressed} more {what} were ignored and not logged");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_is_taken_when_due_even_if_it_is_not_logged() {
        let start = Instant::now();
        let (period, mut throttle) = (Duration::from_secs(10), EventLoop::throttle());
        while throttle.passes(start) {}
        log_suppressed(&mut throttle, "lines", Some(start));
        assert_eq!(throttle.due(), Some(start + period));
        assert_eq!(log::max_level(), log::LevelFilter::Off, "no test of this crate has a logger");
        log_suppressed(&mut throttle, "lines", Some(start + period));
        assert_eq!(throttle.due(), None, "otherwise the loop would spin");
    }
}
