//! What the service does with one machine by default, as a state machine: events and the time go in, actions and the next
//! deadline come out.
//!
//! It follows a session of the cloud with a machine of firmware 2.6 (measured on hardware): settings, hunt, lid picture,
//! three motions with a lid picture after each, then silence. Times are durations since any fixed moment.

use std::time::Duration;

use super::behaviour::{BehaviourChange, PrintState};
use super::homing_jobs::MOTION_COUNT;
use super::machine::ReceivedEvent;

/// From `lid:closed` to the lid picture (measured on hardware).
const LID_DELAY: Duration = Duration::from_millis(290);
/// From the end of a print to the hunt (measured on hardware).
const HUNT_DELAY: Duration = Duration::from_millis(440);
/// The `id` of a machine's first action.
const FIRST_ID: i64 = 1001;

/// The actions of homing, in their order. Each motion has a picture before and after it.
const HOMING: [Kind; 2 + 2 * MOTION_COUNT] = [
    Kind::Hunt,
    Kind::LidImage,
    Kind::Motion(0),
    Kind::LidImage,
    Kind::Motion(1),
    Kind::LidImage,
    Kind::Motion(2),
    Kind::LidImage,
];

/// The kinds of actions that the service sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Settings,
    Hunt,
    LidImage,
    /// One of the motions of homing, counted from 0.
    Motion(usize),
    /// One of the prints, counted from 0.
    Print(usize),
}

impl Kind {
    pub(super) fn action_type(self) -> &'static str {
        match self {
            Self::Settings => "settings",
            Self::Hunt => "hunt",
            Self::LidImage => "lid_image",
            Self::Motion(_) => "motion",
            Self::Print(_) => "print",
        }
    }
}

/// What the caller has to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Output {
    /// Send this action. If the machine is not connected, or the connection breaks, nothing else needs to be done.
    Send { id: i64, kind: Kind },
    /// Report this change to observers.
    Report(BehaviourChange),
}

/// An action that the machine has not ended.
struct Pending {
    id: i64,
    kind: Kind,
    /// The machine has sent an event of it.
    has_begun: bool,
    /// The lid was closed since it was sent.
    lid_closed: bool,
}

/// The state of one machine.
pub(super) struct Reactions {
    lid_delay: Duration,
    hunt_delay: Duration,
    prints: usize,
    next_id: i64,
    /// The settings report that the current connection begins with.
    awaited_report: Option<i64>,
    /// A report with values has come that has not been acted on.
    has_full_report: bool,
    /// At least one report has come.
    is_known: bool,
    pending: Option<Pending>,
    /// The lid is open, or an action has failed as it does under an open lid.
    lid_open: bool,
    picture_at: Option<Duration>,
    hunt_at: Option<Duration>,
    /// How many actions of [`HOMING`] are done.
    homing: usize,
    /// The print that is next, or pending.
    print: usize,
    print_state: PrintState,
    outputs: Vec<Output>,
}

impl Reactions {
    /// `time_scale` multiplies the delays.
    pub(super) fn new(prints: usize, time_scale: f64) -> Self {
        Self {
            lid_delay: LID_DELAY.mul_f64(time_scale),
            hunt_delay: HUNT_DELAY.mul_f64(time_scale),
            prints,
            next_id: FIRST_ID,
            awaited_report: None,
            has_full_report: false,
            is_known: false,
            pending: None,
            lid_open: false,
            picture_at: None,
            hunt_at: None,
            homing: 0,
            print: 0,
            print_state: PrintState::Queued,
            outputs: Vec::new(),
        }
    }

    /// The machine has opened a WebSocket, for the first time or again.
    pub(super) fn connected(&mut self) -> Vec<Output> {
        self.awaited_report = Some(self.send(Kind::Settings));
        self.take_outputs()
    }

    /// The machine has sent an event.
    pub(super) fn event(&mut self, now: Duration, event: &ReceivedEvent) -> Vec<Output> {
        match event.name.as_str() {
            "lid:opened" => {
                self.lid_open = true;
                self.picture_at = None;
            }
            "lid:closed" => {
                self.lid_open = false;
                self.picture_at = Some(now + self.lid_delay);
                if let Some(pending) = &mut self.pending {
                    pending.lid_closed = true;
                }
            }
            "settings:completed" => {
                self.has_full_report |= event.has_values;
                if event.action_id.is_some() && event.action_id == self.awaited_report {
                    self.awaited_report = None;
                    self.reported();
                }
            }
            name => self.action_event(now, name, event.action_id),
        }
        self.advance(now);
        self.take_outputs()
    }

    /// The deadline has passed.
    pub(super) fn time_passed(&mut self, now: Duration) -> Vec<Output> {
        self.advance(now);
        self.take_outputs()
    }

    /// Returns when [`time_passed`](Self::time_passed) has to be called.
    pub(super) fn deadline(&self) -> Option<Duration> {
        if !self.may_send() {
            return None;
        }
        self.hunt_at.or_else(|| self.picture_at.filter(|_| !self.lid_open))
    }

    /// Returns whether the machine is homed and nothing is left to do until it sends an event of its own.
    pub(super) fn is_idle(&self) -> bool {
        let waits = self.hunt_at.is_some() || self.picture_at.is_some();
        self.may_send() && self.homing == HOMING.len() && self.print == self.prints && !waits
    }

    /// Returns the number of the print that is next or pending, counted from 1.
    pub(super) fn print_number(&self) -> usize {
        self.print + 1
    }

    fn may_send(&self) -> bool {
        self.is_known && self.awaited_report.is_none() && self.pending.is_none()
    }

    /// The machine has reported its settings on the current connection.
    fn reported(&mut self) {
        let is_first = !std::mem::replace(&mut self.is_known, true);
        if is_first {
            (0..self.prints).for_each(|print| self.report_print(print, PrintState::Queued));
        }
        // A program reports values once, then nothing: with values it has just started, and knows nothing of earlier
        // actions.
        if std::mem::take(&mut self.has_full_report) {
            if let Some(Pending { kind: Kind::Print(_), .. }) = self.pending.take() {
                self.set_print_state(PrintState::Failed);
                self.print += 1;
            }
            (self.lid_open, self.picture_at, self.hunt_at, self.homing) = (false, None, None, 0);
            self.report(BehaviourChange::HomingStarted);
        } else if is_first {
            self.homing = HOMING.len();
            self.report(BehaviourChange::HomingSkipped);
        } else if let Some(&Pending { id, kind, has_begun: false, .. }) = self.pending.as_ref() {
            let lid_comes_first = kind != Kind::Hunt && (self.lid_open || self.picture_at.is_some());
            if lid_comes_first {
                self.pending = None;
            } else {
                // Either the action was lost with the connection, or only its first events. With the same `id`, a
                // machine that is doing it ignores it, and its events count in both cases.
                self.outputs.push(Output::Send { id, kind });
            }
        }
    }

    /// An event that may belong to the pending action.
    fn action_event(&mut self, now: Duration, name: &str, action_id: Option<i64>) {
        let Some(pending) = self.pending.as_mut().filter(|pending| action_id == Some(pending.id)) else { return };
        let Some(phase) = name.strip_prefix(pending.kind.action_type()).and_then(|rest| rest.strip_prefix(':')) else {
            return;
        };
        pending.has_begun = true;
        let (kind, lid_closed) = (pending.kind, pending.lid_closed);
        if let Kind::Print(_) = kind
            && let Some(state) = PrintState::of_phase(phase)
        {
            self.set_print_state(state);
        }
        let is_completed = match phase {
            "completed" => true,
            "cancelled" | "failed" => false,
            _ => return,
        };
        self.pending = None;
        match kind {
            Kind::Print(_) => {
                self.print += 1;
                self.hunt_at = Some(now + self.hunt_delay);
            }
            Kind::Hunt if self.homing > 0 => {}
            Kind::Hunt => self.homing += 1,
            Kind::LidImage | Kind::Motion(_) if !is_completed => {
                // As under an open lid, whether or not the machine has said that it is open.
                if !lid_closed {
                    self.lid_open = true;
                    self.report(BehaviourChange::WaitingForLid);
                }
            }
            Kind::LidImage | Kind::Motion(_) if HOMING.get(self.homing) == Some(&kind) => {
                self.homing += 1;
                if self.homing == HOMING.len() {
                    self.report(BehaviourChange::Homed);
                }
            }
            Kind::Settings | Kind::LidImage | Kind::Motion(_) => {}
        }
    }

    /// Sends the next action, if it is time for one.
    fn advance(&mut self, now: Duration) {
        if !self.may_send() {
            return;
        }
        let next = HOMING.get(self.homing).copied();
        if next == Some(Kind::Hunt) {
            return self.start(Kind::Hunt);
        }
        // A hunt does not need a closed lid.
        if let Some(at) = self.hunt_at {
            if now >= at {
                self.hunt_at = None;
                self.start(Kind::Hunt);
            }
            return;
        }
        if self.lid_open {
            if let Some(Kind::Motion(_)) = next {
                self.homing -= 1;
            }
            return;
        }
        if let Some(at) = self.picture_at {
            // The head may have been moved by hand: the picture before a motion is taken again.
            if let Some(Kind::Motion(_)) = next {
                self.homing -= 1;
            }
            if now >= at {
                self.picture_at = None;
                self.start(Kind::LidImage);
            }
            return;
        }
        if let Some(kind) = next {
            self.start(kind);
        } else if self.print < self.prints {
            self.print_state = PrintState::Queued;
            self.start(Kind::Print(self.print));
            self.set_print_state(PrintState::Sent);
        }
    }

    fn start(&mut self, kind: Kind) {
        let id = self.send(kind);
        self.pending = Some(Pending { id, kind, has_begun: false, lid_closed: false });
    }

    fn send(&mut self, kind: Kind) -> i64 {
        let id = self.next_id;
        self.next_id += 1;
        self.outputs.push(Output::Send { id, kind });
        id
    }

    /// Reports the state of the current print, if it is new.
    fn set_print_state(&mut self, state: PrintState) {
        if self.print_state != state {
            self.print_state = state;
            self.report_print(self.print, state);
        }
    }

    fn report_print(&mut self, print: usize, state: PrintState) {
        self.report(BehaviourChange::Print { number: print + 1, state });
    }

    fn report(&mut self, change: BehaviourChange) {
        self.outputs.push(Output::Report(change));
    }

    fn take_outputs(&mut self) -> Vec<Output> {
        std::mem::take(&mut self.outputs)
    }
}

#[cfg(test)]
mod tests;
