//! Outgoing WebSocket messages: numbers, timestamps and enqueues them in order.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Instant, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::Config;
use crate::actions::{Channel, Emit, Signal, Table, Values, Variable, settings};
use crate::sync::lock;
use crate::system;
use crate::websocket::queues::{Outgoing, Tx};

/// The number of the first message. As in Glowforge-Utilities, whose messages the service accepts; not confirmed on
/// hardware.
const FIRST_ID: u64 = 32;
/// The time a machine takes to boot, in 1/100 s. As in Glowforge-Utilities; not confirmed on hardware.
const BOOT_TIME: u128 = 3800;

/// Numbers, timestamps and enqueues outgoing messages.
#[derive(Debug)]
pub(crate) struct MessageSender {
    started: Instant,
    /// The values of the machine's variables.
    machine: Values,
    /// Held while a send waits for room in the queue.
    state: Mutex<SenderState>,
    signals: Mutex<Signals>,
}

#[derive(Debug)]
struct SenderState {
    next_id: u64,
    line_end: String,
    /// `None` once closed.
    tx: Option<Tx>,
}

#[derive(Debug)]
struct Signals {
    table: Arc<Table>,
    /// Messages of signals that are not queued yet.
    pending: VecDeque<Emit>,
}

impl MessageSender {
    pub(crate) fn new(config: &Config, tx: Tx, table: Arc<Table>) -> Self {
        let state = SenderState { next_id: FIRST_ID, line_end: table.line_end.clone(), tx: Some(tx) };
        let signals = Signals { table, pending: VecDeque::new() };
        let machine = machine_values(config);
        Self { started: system::now(), machine, state: Mutex::new(state), signals: Mutex::new(signals) }
    }

    /// Returns the values of the machine's variables.
    pub(crate) fn machine_values(&self) -> &Values {
        &self.machine
    }

    /// Uses the line end and the signals of another table.
    pub(crate) fn set_table(&self, table: Arc<Table>) {
        self.state().line_end.clone_from(&table.line_end);
        self.signals().table = table;
    }

    /// Fills in a message and enqueues it after pending signals. Blocks while the queue is full.
    ///
    /// A message is numbered and enqueued under one lock, so that numbers are in order across threads.
    pub(crate) fn send(&self, emit: &Emit, values: &Values) {
        let mut state = self.state();
        self.send_pending(&mut state);
        self.enqueue(&mut state, emit, values);
    }

    /// Adds the messages of a signal, to be sent before any other message. Never blocks on a full queue;
    /// [`flush`](Self::flush) must follow.
    pub(crate) fn signal(&self, signal: Signal) {
        let Signals { table, pending } = &mut *self.signals();
        pending.extend(table.signal(signal).iter().cloned());
    }

    /// Enqueues pending signals. Blocks while the queue is full.
    pub(crate) fn flush(&self) {
        let mut state = self.state();
        self.send_pending(&mut state);
    }

    fn send_pending(&self, state: &mut SenderState) {
        loop {
            // A statement of its own, so that the lock is released before `enqueue` blocks.
            let next = self.signals().pending.pop_front();
            match next {
                Some(emit) => self.enqueue(state, &emit, &Values::new()),
                None => return,
            }
        }
    }

    fn enqueue(&self, state: &mut SenderState, emit: &Emit, values: &Values) {
        let SenderState { next_id, line_end, tx: Some(tx) } = state else {
            return log::debug!("message dropped: the emulator has stopped");
        };
        let own = Values::from([
            (Variable::Id, json!(*next_id)),
            (Variable::Timestamp, self.timestamp()),
            (Variable::MilliEpoch, json!(milli_epoch())),
        ]);
        *next_id += 1;
        let text = emit.message.fill(&[&own, values, &self.machine]) + line_end;
        let label = label(emit, values);
        if emit.channel == Channel::Event {
            log::info!("{label}");
        }
        if let Err(unsent) = tx.send(Outgoing::new(text, label, emit.channel == Channel::Progress)) {
            log::error!("message dropped (the WebSocket client has stopped): {}", unsent.0.label());
        }
    }

    fn state(&self) -> MutexGuard<'_, SenderState> {
        system::lock(&self.state)
    }

    fn signals(&self) -> MutexGuard<'_, Signals> {
        lock(&self.signals)
    }

    /// Drops the sending end of the queue: later messages are dropped, and the receiver sees a disconnect.
    pub(crate) fn close(&self) {
        self.state().tx = None;
    }

    fn timestamp(&self) -> Value {
        let hundredths = BOOT_TIME + (system::now() - self.started).as_millis() / 10;
        json!(u64::try_from(hundredths).unwrap_or(u64::MAX))
    }
}

fn machine_values(config: &Config) -> Values {
    let machine = &config.machine;
    let app_version = machine.app_version.clone().unwrap_or_else(|| settings::default_app_version(config.generation()));
    Values::from([
        (Variable::Firmware, json!(machine.firmware)),
        (Variable::AppVersion, json!(app_version)),
        (Variable::IpAddress, json!(machine.ip_address)),
        (Variable::Serial, json!(machine.serial)),
        (Variable::Hostname, json!(machine.hostname)),
    ])
}

/// Describes a message for the log. The action's id is the only value in it that comes from the service.
fn label(emit: &Emit, values: &Values) -> String {
    let (kind, name) = match emit.message.fixed_text("event") {
        Some(event) => ("event", event),
        None => ("progress", emit.message.fixed_text("progress").unwrap_or_default()),
    };
    match values.get(&Variable::ActionId) {
        Some(action_id) => format!("{kind} {name} (action {action_id})"),
        None => format!("{kind} {name}"),
    }
}

/// Returns the Unix time in milliseconds.
pub(crate) fn milli_epoch() -> u64 {
    let elapsed = system::wall_clock().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX)
}
