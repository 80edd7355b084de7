//! The machine's messages on their way into the tx queue: numbered, dated, in order.
//!
//! `id` counts up by one for each message of a machine's life, the first being 32. `timestamp` is in hundredths of a
//! second since it was started, plus 3800: the time that a machine takes to boot.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::actions::{Channel, Emit, Values, Variable};
use crate::websocket::queues::{Outgoing, Tx};

const FIRST_ID: u64 = 32;
const BOOT_HUNDREDTHS: u128 = 3800;

/// Says things on the WebSocket.
#[derive(Debug)]
pub(crate) struct MessageSender {
    line_end: String,
    started: Instant,
    state: Mutex<SenderState>,
    /// What [`defer`](MessageSender::defer) was given and is not queued yet.
    deferred: Mutex<VecDeque<Emit>>,
}

#[derive(Debug)]
struct SenderState {
    next_id: u64,
    /// None once nothing more is said.
    tx: Option<Tx>,
}

impl MessageSender {
    pub(crate) fn new(tx: Tx, line_end: &str) -> Self {
        let state = Mutex::new(SenderState { next_id: FIRST_ID, tx: Some(tx) });
        Self { line_end: line_end.to_owned(), started: Instant::now(), state, deferred: Mutex::default() }
    }

    /// Fills in the message and queues it, behind what was deferred; waits while the queue is full. The number is taken
    /// and the message queued in one step, so that numbers go out in order whoever speaks.
    pub(crate) fn say(&self, say: &Emit, values: &Values) {
        let mut state = self.state();
        self.send_deferred(&mut state);
        self.queue(&mut state, say, values);
    }

    /// Has this said before anything else that is said from now on, and does not wait for it: for what has to take effect
    /// though the queue is full. [`flush`](Self::flush) follows.
    pub(crate) fn defer(&self, says: &[Emit]) {
        self.deferred().extend(says.iter().cloned());
    }

    /// Queues what was deferred; waits while the queue is full.
    pub(crate) fn flush(&self) {
        let mut state = self.state();
        self.send_deferred(&mut state);
    }

    fn send_deferred(&self, state: &mut SenderState) {
        loop {
            // A statement of its own: the lock must not be held while the message waits for room.
            let next = self.deferred().pop_front();
            match next {
                Some(say) => self.queue(state, &say, &Values::new()),
                None => return,
            }
        }
    }

    fn queue(&self, state: &mut SenderState, say: &Emit, values: &Values) {
        let mut own = Values::from([(Variable::Timestamp, self.timestamp()), (Variable::MilliEpoch, milli_epoch())]);
        let SenderState { next_id, tx: Some(tx) } = state else {
            return log::debug!("nothing is said any more: the machine has stopped");
        };
        own.insert(Variable::Id, json!(*next_id));
        *next_id += 1;
        let text = say.message.fill(&[&own, values]) + &self.line_end;
        let label = label(say, values);
        if say.channel == Channel::Event {
            log::info!("{label}");
        }
        if let Err(unsent) = tx.send(Outgoing::new(text, label, say.channel == Channel::Progress)) {
            log::error!("dropped (nobody carries messages any more): {}", unsent.0.label());
        }
    }

    fn state(&self) -> MutexGuard<'_, SenderState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn deferred(&self) -> MutexGuard<'_, VecDeque<Emit>> {
        self.deferred.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets go of the queue: whoever reads its other end hears that nothing more will come, however many handles are
    /// still about.
    pub(crate) fn close(&self) {
        self.state().tx = None;
    }

    fn timestamp(&self) -> Value {
        let hundredths = BOOT_HUNDREDTHS + self.started.elapsed().as_millis() / 10;
        json!(u64::try_from(hundredths).unwrap_or(u64::MAX))
    }
}

/// What a log may say of a message: nothing in it is the service's word but the action's number.
fn label(say: &Emit, values: &Values) -> String {
    let (kind, name) = match say.message.fixed_text("event") {
        Some(event) => ("event", event),
        None => ("progress", say.message.fixed_text("progress").unwrap_or_default()),
    };
    match values.get(&Variable::ActionId) {
        Some(action_id) => format!("{kind} {name} (action {action_id})"),
        None => format!("{kind} {name}"),
    }
}

/// Milliseconds since 1970.
pub(crate) fn milli_epoch() -> Value {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    json!(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
