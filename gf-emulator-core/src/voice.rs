//! The machine's messages on their way into the tx queue: numbered, dated, in order.
//!
//! `id` counts up by one for each message of a machine's life, the first being 32. `timestamp` is in hundredths of a
//! second since it was started, plus 3800: the time that a machine takes to boot.

use std::sync::{Mutex, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::actions::{Channel, Say, Values, Variable};
use crate::connection::{Outgoing, Tx};

const FIRST_ID: u64 = 32;
const BOOT_HUNDREDTHS: u128 = 3800;

/// Says things on the WebSocket.
#[derive(Debug)]
pub(crate) struct Voice {
    line_end: String,
    started: Instant,
    speech: Mutex<Speech>,
}

#[derive(Debug)]
struct Speech {
    next_id: u64,
    /// None once nothing more is said.
    tx: Option<Tx>,
}

impl Voice {
    pub(crate) fn new(tx: Tx, line_end: &str) -> Self {
        let speech = Mutex::new(Speech { next_id: FIRST_ID, tx: Some(tx) });
        Self { line_end: line_end.to_owned(), started: Instant::now(), speech }
    }

    /// Fills in the message and queues it. The number is taken and the message queued in one step, so that numbers go
    /// out in order whoever speaks.
    pub(crate) fn say(&self, say: &Say, values: &Values) {
        let mut values = values.clone();
        values.insert(Variable::Timestamp, self.timestamp());
        values.insert(Variable::MilliEpoch, milli_epoch());
        let mut speech = self.speech.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(tx) = speech.tx.clone() else {
            return log::debug!("nothing is said any more: the machine has stopped");
        };
        values.insert(Variable::Id, json!(speech.next_id));
        speech.next_id += 1;
        let message = say.message.fill(&values);
        if let Some(event) = message.get("event").and_then(Value::as_str) {
            match values.get(&Variable::ActionId) {
                Some(action_id) => log::info!("event {event} (action {action_id})"),
                None => log::info!("event {event}"),
            }
        }
        let message = Outgoing::new(format!("{message}{}", self.line_end), say.channel == Channel::Progress);
        if let Err(unsent) = tx.send(message) {
            log::error!("dropped (nobody carries messages any more): {}", unsent.0.label());
        }
    }

    /// Lets go of the queue: whoever reads its other end hears that nothing more will come, however many handles are
    /// still about.
    pub(crate) fn close(&self) {
        self.speech.lock().unwrap_or_else(PoisonError::into_inner).tx = None;
    }

    fn timestamp(&self) -> Value {
        let hundredths = BOOT_HUNDREDTHS + self.started.elapsed().as_millis() / 10;
        json!(u64::try_from(hundredths).unwrap_or(u64::MAX))
    }
}

/// Milliseconds since 1970.
pub(crate) fn milli_epoch() -> Value {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    json!(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
