//! [`EventLoop`]: waits for the service, the workers and the handle, and gives the workers their next actions.

use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Select, Sender, TryRecvError, never};

use super::scheduler::{Decision, Scheduler, WorkerId};
use super::workers::WorkerEvent;
use crate::Throttle;
use crate::actions::{Action, Shared, Table, initial_values, printable, send_ending};
use crate::events::{EmulatorEvent, Ending};
use crate::service::Uplink;
use crate::system;

/// Rate limit for log lines that the service can cause: this many of a kind per period; the rest are counted.
const LOG_LINES: u32 = 20;
const LOG_PERIOD: Duration = Duration::from_secs(10);
const BEFORE_START: &str = "cancelled before it started";

/// What the event loop has of a worker: its next action, and the means to cancel it.
pub(crate) struct Worker<'a> {
    pub(crate) shared: &'a Shared,
    /// `None`: its actions make no requests.
    pub(crate) uplink: Option<&'a dyn Uplink>,
    pub(crate) actions: Sender<Action>,
}

impl Worker<'_> {
    fn start(&self, action: Action) {
        self.shared.controls.begin();
        if let Some(uplink) = self.uplink {
            uplink.reset();
        }
        if self.shared.controls.is_stopped() {
            self.cancel_requests();
        }
        if self.actions.send(action).is_err() {
            log::error!("a worker thread has ended");
        }
    }

    fn cancel(&self) {
        self.shared.controls.cancel();
        self.cancel_requests();
    }

    fn stop(&self) {
        self.shared.controls.stop();
        self.cancel_requests();
    }

    fn cancel_requests(&self) {
        if let Some(uplink) = self.uplink {
            uplink.cancel();
        }
    }
}

/// The loop of [`Emulator::run`](crate::Emulator::run).
pub(crate) struct EventLoop<'a> {
    pub(crate) shared: &'a Shared,
    pub(crate) table: &'a Table,
    pub(crate) rx: &'a Receiver<String>,
    pub(crate) stopped: &'a Receiver<()>,
    pub(crate) main_worker: Worker<'a>,
    pub(crate) second_worker: Worker<'a>,
    pub(crate) worker_events: Receiver<(WorkerId, WorkerEvent)>,
    pub(crate) scheduler: Scheduler,
    /// Limits log lines about lines that are not actions.
    pub(crate) invalid_lines: Throttle,
    /// Limits log lines about actions that are ignored.
    pub(crate) ignored_actions: Throttle,
    pub(crate) online: bool,
    /// Whether nothing more is accepted.
    pub(crate) stopping: bool,
}

/// What the event loop waits for.
enum Input {
    Worker(WorkerId, WorkerEvent),
    /// No worker is left.
    NoWorkers,
    Stop,
    Frame(String),
    /// Nothing more comes from rx.
    End,
}

impl EventLoop<'_> {
    pub(crate) fn throttle() -> Throttle {
        Throttle::new(LOG_LINES, LOG_PERIOD)
    }

    pub(crate) fn run(&mut self) {
        self.run_until_idle();
        self.log_suppressed(None);
    }

    /// Runs until it is stopped, or offline until the input has ended, and all actions have ended.
    fn run_until_idle(&mut self) {
        let (mut rx, mut stopped) = (self.rx.clone(), self.stopped.clone());
        loop {
            while let Some((worker, action)) = self.scheduler.next() {
                self.worker(worker).start(action);
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
                Some(Input::NoWorkers) => return,
                None => {}
            }
        }
    }

    /// Waits for what comes first. `None`: a summary of suppressed log lines is due.
    fn wait_for_input(&self, rx: &Receiver<String>, stopped: &Receiver<()>) -> Option<Input> {
        let mut select = Select::new();
        select.recv(&self.worker_events);
        select.recv(stopped);
        select.recv(rx);
        system::wait_for(select, self.summary_due(), || {
            match self.worker_events.try_recv() {
                Ok((worker, event)) => return Some(Input::Worker(worker, event)),
                Err(TryRecvError::Disconnected) => return Some(Input::NoWorkers),
                Err(TryRecvError::Empty) => {}
            }
            if stopped.try_recv() == Err(TryRecvError::Disconnected) {
                return Some(Input::Stop);
            }
            match rx.try_recv() {
                Ok(frame) => Some(Input::Frame(frame)),
                Err(TryRecvError::Disconnected) => Some(Input::End),
                Err(TryRecvError::Empty) => None,
            }
        })
    }

    fn on_worker_event(&mut self, worker: WorkerId, event: WorkerEvent) {
        match event {
            WorkerEvent::MachineRead => self.scheduler.machine_read(),
            WorkerEvent::EndingDecided => self.scheduler.ending_decided(worker),
            WorkerEvent::Idle => self.scheduler.worker_idle(worker),
        }
    }

    fn worker(&self, worker: WorkerId) -> &Worker<'_> {
        match worker {
            WorkerId::Main => &self.main_worker,
            WorkerId::Second => &self.second_worker,
        }
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

    /// Ends an action that never started.
    fn cancel_waiting(&self, action: &Action) {
        if let Some(row) = self.table.row(&action.action_type) {
            log::info!("{} {} was cancelled before it started", action.action_type, action.id);
            if let Some(recorder) = self.shared.telemetry.recorder() {
                recorder.record_ending(action.id, "cancelled", BEFORE_START.to_owned());
            }
            send_ending(row, Ending::Cancelled, &self.shared.messages, &initial_values(action), &mut |_| Ok(()));
            self.shared.action_ended(action, Ending::Cancelled, Some(BEFORE_START.to_owned()));
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
