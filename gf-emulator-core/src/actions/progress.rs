//! Progress messages: of a transfer at intervals, and of what plays.

use std::time::{Duration, Instant};

use serde_json::json;

use super::messages::MessageSender;
use super::{Emit, Values, Variable};
use crate::machine::{PlayEvent, PlayUpdate};
use crate::system;

/// Interval of a transfer's progress messages, measured on hardware (firmware 2.6).
const INTERVAL: Duration = Duration::from_secs(30);

/// Sends the progress of a transfer. Its start is not reported here: that is a step of its own.
pub(super) struct TransferProgress<'a> {
    messages: &'a MessageSender,
    /// `None`: nothing is reported.
    template: Option<&'a Emit>,
    values: Values,
    next: Instant,
}

impl<'a> TransferProgress<'a> {
    pub(super) fn new(messages: &'a MessageSender, template: Option<&'a Emit>, values: &Values) -> Self {
        Self { messages, template, values: values.clone(), next: system::now() + INTERVAL }
    }

    /// Reports how many bytes have been transferred, if a message is due.
    pub(super) fn report(&mut self, bytes: u64) {
        self.report_at(system::now(), bytes);
    }

    fn report_at(&mut self, now: Instant, bytes: u64) {
        let Some(template) = self.template.filter(|_| now >= self.next) else { return };
        self.next = now + INTERVAL;
        self.values.insert(Variable::Current, json!(bytes));
        self.messages.send(template, &self.values);
    }
}

/// Sends the progress of what plays: of `length` ticks, unless the update has a length of its own.
pub(super) fn send_play_progress(
    messages: &MessageSender,
    template: Option<&Emit>,
    update: &PlayUpdate,
    length: u64,
    values: &mut Values,
) {
    let Some(template) = template else { return };
    let total = update.total.unwrap_or(length);
    let current = update.tick.min(total);
    let halted = matches!(update.event, PlayEvent::Paused | PlayEvent::Stopped);
    let [x, y, z] = update.position;
    values.extend([
        (Variable::Current, json!(current)),
        (Variable::Total, json!(total)),
        (Variable::Played, json!(update.played)),
        (Variable::Running, json!(u8::from(!halted && current < total))),
        (Variable::X, json!(x)),
        (Variable::Y, json!(y)),
        (Variable::Z, json!(z)),
    ]);
    messages.send(template, values);
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::Value;

    use super::*;
    use crate::Config;
    use crate::actions::{StepKind, Table};
    use crate::websocket::queues::MachineQueues;

    #[test]
    fn a_transfer_reports_every_30_s_and_catches_up_with_one_message() {
        let table = Table::load(&Config::default()).unwrap();
        let (connection, peer) = MachineQueues::in_memory();
        let messages = MessageSender::new(&Config::default(), connection.tx, Arc::clone(&table));
        let upload = table.row("lid_image").unwrap().steps.iter().find_map(|step| match &step.kind {
            StepKind::Upload { progress, .. } => progress.as_ref(),
            _ => None,
        });
        let mut progress = TransferProgress::new(&messages, upload, &Values::from([(Variable::ActionId, json!(1001))]));
        let start = progress.next.checked_sub(INTERVAL).unwrap();
        for (seconds, bytes) in [(0, 1), (29, 2), (30, 3), (59, 4), (155, 5), (156, 6), (184, 7), (185, 8)] {
            progress.report_at(start + Duration::from_secs(seconds), bytes);
        }
        messages.close();
        let sent: Vec<Value> = peer.rx.iter().map(|message| serde_json::from_str(message.text()).unwrap()).collect();
        assert_eq!(sent.iter().map(|message| message["current"].as_u64().unwrap()).collect::<Vec<_>>(), [3, 5, 8]);
        assert_eq!((&sent[0]["progress"], &sent[0]["action_id"]), (&json!("lid_image:upload"), &json!(1001)));
    }
}
