//! Sending frames to a machine and ending its WebSocket, as the faults say.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::core::Core;
use super::fault::Failure;
use super::faults::FrameRoute;
use super::link::{CLOSE_TIMEOUT, Link, LinkClosed, WsEnd};
use super::machine::{ReceivedEvent, RemoteMachine};
use super::seen::Seen;

/// How long a frame that waits is kept for a machine that has no WebSocket.
const KEPT_FOR: Duration = Duration::from_secs(60);

impl Core {
    /// Sends a text frame, or queues it if it is late. Fails if the connection is closed, or if it ends in place of the
    /// frame.
    pub(super) fn send_text(
        &self,
        machine: &Arc<RemoteMachine>,
        link: &Arc<Link>,
        text: &str,
    ) -> Result<(), LinkClosed> {
        let number = self.faults.number_of(&machine.serial);
        let report = |fault| self.report_fault(number, &format!("a frame: {}", Failure::Frame(fault)));
        match self.faults.frame(number, &machine.serial, text, report) {
            FrameRoute::Direct => self.send_frame(machine, link, text, 1),
            FrameRoute::Queued { needs_thread: false } => Ok(()),
            FrameRoute::Queued { needs_thread: true } => {
                let of_machine = Arc::clone(machine);
                let started = self.spawn("gf-service-frames", move |core| core.send_queued(&of_machine));
                started.map_err(|error| {
                    log::warn!("local service: cannot start a thread for late frames: {error}");
                    self.faults.drop_frames(&machine.serial);
                    self.machines.detach(machine, link);
                    link.abandon();
                    LinkClosed
                })
            }
            FrameRoute::End(how) => {
                self.end_websocket(machine, link, how);
                Err(LinkClosed)
            }
            FrameRoute::Stopped => Err(LinkClosed),
        }
    }

    fn send_frame(
        &self,
        machine: &RemoteMachine,
        link: &Arc<Link>,
        text: &str,
        fragments: usize,
    ) -> Result<(), LinkClosed> {
        let sent = link.send(text, fragments, || self.history.record(Seen::WsSent(text.to_owned())));
        if sent.is_err() {
            self.machines.detach(machine, link);
        }
        sent
    }

    /// Sends the frames that wait until there are none. If the connection is lost, the next one gets the rest.
    fn send_queued(&self, machine: &RemoteMachine) {
        while let Some(frame) = self.faults.next_frame(&machine.serial) {
            loop {
                let Ok(link) = machine.wait_link(Instant::now() + KEPT_FOR, machine.gone_after()) else {
                    return self.faults.drop_frames(&machine.serial);
                };
                if self.send_frame(machine, &link, &frame.text, frame.fragments).is_ok() {
                    break;
                }
            }
        }
    }

    /// Ends a machine's WebSocket because of a fault, without waiting until it has ended.
    fn end_websocket(&self, machine: &RemoteMachine, link: &Arc<Link>, how: WsEnd) {
        self.report_fault(self.faults.number_of(&machine.serial), &format!("the WebSocket is {how}"));
        self.machines.detach(machine, link);
        link.begin(how);
        let ending = Arc::clone(link);
        if self.spawn("gf-service-end", move |_| ending.end(CLOSE_TIMEOUT)).is_err() {
            link.abandon();
        }
    }

    /// Counts a message that a machine has sent on its WebSocket, and ends the WebSocket if a fault says so.
    pub(super) fn count_message(
        &self,
        machine: &RemoteMachine,
        link: &Arc<Link>,
        bytes: usize,
        event: Option<&ReceivedEvent>,
    ) {
        let number = self.faults.number_of(&machine.serial);
        if let Some(how) = self.faults.message(number, bytes, event.map(ReceivedEvent::name)) {
            self.end_websocket(machine, link, how);
        }
    }

    /// Ends the WebSocket of a machine if a fault says so, after an event that the machine has sent as a request.
    pub(super) fn count_posted_event(&self, machine: &RemoteMachine, event: &ReceivedEvent) {
        let Some(link) = machine.link() else { return };
        if let Some(how) = self.faults.posted_event(self.faults.number_of(&machine.serial), event.name()) {
            self.end_websocket(machine, &link, how);
        }
    }

    /// Records what happens because of a fault.
    pub(super) fn report_fault(&self, machine: u64, what: &str) {
        self.history.record(Seen::Fault { machine, what: what.to_owned() });
    }
}
