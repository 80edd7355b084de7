//! What decides: hears the service, the worker and the handle, and says whose turn it is.

use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, at, never, select};

use crate::actions::messages::MessageSender;
use crate::actions::{Action, Ending, Table, initial_values, printable, send_ending};
use crate::emulator::scheduler::{Decision, Scheduler};
use crate::machine::Controls;
use crate::record::Tap;
use crate::service::uplink::Uplink;
use crate::{Secrets, Throttle};

/// What the worker tells the desk.
#[derive(Clone, Copy)]
pub(crate) enum WorkerEvent {
    /// The action's ending is settled, and about to be sent.
    EndingDecided,
    /// It is done with the action.
    Idle,
}

/// What decides: it hears the service, the worker and the handle, and sleeps until one of them has something.
pub(crate) struct EventLoop<'a> {
    pub(crate) table: &'a Table,
    pub(crate) messages: &'a MessageSender,
    pub(crate) controls: &'a Controls,
    pub(crate) tap: &'a Tap,
    pub(crate) secrets: &'a Secrets,
    pub(crate) uplink: &'a dyn Uplink,
    pub(crate) rx: &'a Receiver<String>,
    pub(crate) stopped: &'a Receiver<()>,
    pub(crate) to_worker: Sender<Action>,
    pub(crate) worker_events: Receiver<WorkerEvent>,
    pub(crate) scheduler: Scheduler,
    /// Of log lines about lines that are no actions.
    pub(crate) unreadable: Throttle,
    /// Of log lines about actions that change nothing.
    pub(crate) unwanted: Throttle,
    pub(crate) online: bool,
    /// Nothing more is accepted.
    pub(crate) ending: bool,
}

impl EventLoop<'_> {
    /// A service decides how many lines it sends: so many of a kind are logged in ten seconds, and the rest is counted.
    pub(crate) fn throttle() -> Throttle {
        Throttle::new(20, Duration::from_secs(10))
    }

    pub(crate) fn run(&mut self) {
        self.serve();
        self.sum_up(None);
    }

    /// Until everything is done.
    fn serve(&mut self) {
        let (mut rx, mut stopped) = (self.rx.clone(), self.stopped.clone());
        loop {
            if !self.scheduler.is_busy() {
                match self.scheduler.next() {
                    Some(action) => self.give(action),
                    None if self.ending => return,
                    None => {}
                }
            }
            if self.ending {
                rx = never();
            }
            select! {
                recv(rx) -> frame => match frame {
                    Ok(frame) => {
                        // It may answer to what the worker has said, and the worker took note before it said so.
                        while let Ok(note) = self.worker_events.try_recv() {
                            self.heed(note);
                        }
                        self.hear(&frame);
                    }
                    // Online that is the end of the connection for good: nobody would hear of what is done.
                    Err(_) if self.online => self.stop(),
                    // Offline it is the end of the input: what has been accepted is still done.
                    Err(_) => self.ending = true,
                },
                recv(self.worker_events) -> note => match note {
                    Ok(note) => self.heed(note),
                    Err(_) => return,
                },
                recv(stopped) -> _ => {
                    // Disconnected, which would be heard again and again.
                    stopped = never();
                    self.stop();
                }
                recv(self.summary()) -> now => self.sum_up(now.ok()),
            }
        }
    }

    fn heed(&mut self, note: WorkerEvent) {
        match note {
            WorkerEvent::EndingDecided => self.scheduler.over(),
            WorkerEvent::Idle => self.scheduler.finished(),
        }
    }

    /// When it is time to say how many lines were not logged.
    fn summary(&self) -> Receiver<Instant> {
        let due = self.unreadable.due().into_iter().chain(self.unwanted.due()).min();
        due.map_or_else(never, at)
    }

    /// Says how many lines were not logged: at `now`, of those whose time has come; at the end, of all.
    fn sum_up(&mut self, now: Option<Instant>) {
        for (throttle, what) in
            [(&mut self.unreadable, "lines that are no actions"), (&mut self.unwanted, "actions that change nothing")]
        {
            tell_held_back(throttle, what, now);
        }
    }

    /// A frame is one or more lines; a bad one never costs the good ones beside it.
    fn hear(&mut self, frame: &str) {
        for line in frame.lines().map(str::trim).filter(|line| !line.is_empty()) {
            match Action::parse(line) {
                Ok(action) => self.take(action),
                Err(reason) if self.unreadable.passes(Instant::now()) => {
                    log::warn!("ignored a line of {} bytes: {reason}", line.len());
                }
                Err(_) => {}
            }
        }
    }

    fn take(&mut self, action: Action) {
        let (id, what) = (action.id, self.secrets.hide(&printable(&action.action_type)));
        match self.scheduler.take(action, self.table) {
            Decision::Accepted => {}
            Decision::Ignore(_) | Decision::Refuse(_) if !self.unwanted.passes(Instant::now()) => {}
            Decision::Ignore(reason) => log::info!("ignored {what} {id}: {reason}"),
            Decision::Refuse(reason) => log::warn!("ignored {what} {id}: {reason}"),
            Decision::CancelRunning => {
                log::info!("{what} {id} is withdrawn");
                self.controls.cancel();
                self.uplink.cancel_token().cancel();
            }
            Decision::CancelWaiting(action) => self.withdraw(&action),
        }
    }

    /// Ends an action that never began.
    fn withdraw(&self, action: &Action) {
        if let Some(row) = self.table.row(&action.action_type) {
            log::info!("{} {} is withdrawn before its turn", action.action_type, action.id);
            if let Some(recorder) = self.tap.recorder() {
                recorder.ended(action.id, "cancelled", "withdrawn before its turn".to_owned());
            }
            send_ending(row, Ending::Cancelled, self.messages, &initial_values(action), &mut |_| Ok(()));
        }
    }

    fn give(&self, action: Action) {
        self.controls.begin();
        self.uplink.cancel_token().reset();
        if self.controls.is_stopped() {
            self.uplink.cancel_token().cancel();
        }
        if self.to_worker.send(action).is_err() {
            log::error!("the worker is gone");
        }
    }

    fn stop(&mut self) {
        self.ending = true;
        self.controls.stop();
        self.uplink.cancel_token().cancel();
        let withdrawn: Vec<_> = self.scheduler.drain().collect();
        for action in &withdrawn {
            self.withdraw(action);
        }
    }
}

/// Logs how many lines about `what` were not logged, where it is time for that: at once where there is no `now`.
fn tell_held_back(throttle: &mut Throttle, what: &str, now: Option<Instant>) {
    // Not among the arguments of the macro: where this level is not logged, those are not evaluated.
    let held_back = match now {
        Some(now) => throttle.take_due(now),
        None => throttle.take_held_back(),
    };
    if held_back > 0 {
        log::warn!("ignored {held_back} more {what}: not logged");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_is_over_once_it_is_due_whether_or_not_it_is_logged() {
        let start = Instant::now();
        let (period, mut throttle) = (Duration::from_secs(10), EventLoop::throttle());
        while throttle.passes(start) {}
        tell_held_back(&mut throttle, "lines", Some(start));
        assert_eq!(throttle.due(), Some(start + period));
        assert_eq!(log::max_level(), log::LevelFilter::Off, "no test of this crate has a logger");
        tell_held_back(&mut throttle, "lines", Some(start + period));
        assert_eq!(throttle.due(), None, "it would be due again and again");
    }
}
