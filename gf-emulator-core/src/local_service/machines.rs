//! The machines that the service knows: who may sign in, which tokens hold, and what each machine said that nobody
//! has awaited yet.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::control_socket::Link;
use crate::Secret;
use crate::sync::{lock, wait};

/// Most machines known at a time: for a new one, the one that was heard of the longest ago has to go.
const MACHINES_LIMIT: usize = 64;
/// Most tokens of a kind that a machine has at a time; the oldest go first.
const TOKENS_LIMIT: usize = 8;
/// Events kept for an await that may come; the oldest go first.
const INBOX_LIMIT: usize = 1000;
/// A longer name of an event is nothing that is awaited, in bytes.
const NAME_LIMIT_BYTES: usize = 200;

/// Who may sign in, and how long tokens hold.
#[derive(Debug, Clone)]
pub(super) struct Rules {
    /// Without the leading `S`; any, where there is none.
    pub(super) serial: Option<String>,
    pub(super) password: Option<Secret>,
    pub(super) token_life: Duration,
    pub(super) ws_token_life: Duration,
    /// After how long a machine without a control socket of which nothing is heard has gone.
    pub(super) gone_after: Duration,
}

/// The two tokens that a sign-in brings.
pub(super) struct Tokens {
    pub(super) auth: String,
    pub(super) ws: String,
}

/// Every machine that has signed in.
pub(super) struct Machines {
    rules: Rules,
    desk: RwLock<Desk>,
    current: Mutex<Current>,
    connected: Condvar,
}

#[derive(Default)]
struct Desk {
    auth: Issued,
    ws: Issued,
    machines: HashMap<String, Arc<Machine>>,
}

/// Tokens of one kind, each with the machine that has it and when it ends.
#[derive(Default)]
struct Issued(HashMap<String, (Arc<Machine>, Instant)>);

impl Issued {
    fn issue(&mut self, token: &str, machine: &Arc<Machine>, now: Instant, life: Duration) {
        self.0.retain(|_, (_, end)| *end > now);
        let theirs = self.0.iter().filter(|(_, (owner, _))| Arc::ptr_eq(owner, machine));
        let (count, oldest) = (theirs.clone().count(), theirs.min_by_key(|(_, (_, end))| *end));
        if let Some(oldest) = oldest.filter(|_| count >= TOKENS_LIMIT).map(|(token, _)| token.clone()) {
            self.0.remove(&oldest);
        }
        self.0.insert(token.to_owned(), (Arc::clone(machine), now + life));
    }

    fn revoke(&mut self, machine: &Arc<Machine>) {
        self.0.retain(|_, (owner, _)| !Arc::ptr_eq(owner, machine));
    }
}

impl Desk {
    /// Takes the machine out that was heard of the longest ago, of those without a control socket where there are any.
    fn evict(&mut self) -> Option<Arc<Machine>> {
        let standing = |machine: &Arc<Machine>| {
            let side = lock(&machine.side);
            (side.link.is_some(), side.heard)
        };
        let oldest = self.machines.values().min_by_key(|machine| standing(machine)).cloned()?;
        self.machines.remove(&oldest.serial);
        self.auth.revoke(&oldest);
        self.ws.revoke(&oldest);
        Some(oldest)
    }
}

#[derive(Default)]
struct Current {
    link: Option<Arc<Link>>,
    stopping: bool,
}

impl Machines {
    pub(super) fn new(rules: Rules) -> Self {
        Self { rules, desk: RwLock::default(), current: Mutex::default(), connected: Condvar::new() }
    }

    /// Signs in whoever the rules allow. Where there are too many, another machine has to go.
    pub(super) fn sign_in(&self, serial: &str, password: &str) -> Option<Tokens> {
        let bare = serial.strip_prefix('S')?;
        let serial_good = !bare.is_empty() && self.rules.serial.as_deref().is_none_or(|wanted| wanted == bare);
        let password_good = self.rules.password.as_ref().is_none_or(|wanted| wanted.reveal() == password);
        if !serial_good || !password_good {
            return None;
        }
        let mut desk = self.desk.write().unwrap_or_else(PoisonError::into_inner);
        let is_new = !desk.machines.contains_key(serial);
        let evicted = if is_new && desk.machines.len() >= MACHINES_LIMIT { desk.evict() } else { None };
        let machine = desk.machines.entry(serial.to_owned());
        let machine = Arc::clone(machine.or_insert_with(|| Arc::new(Machine::new(serial, self.rules.gone_after))));
        machine.was_heard();
        // The form of a JSON Web Token with an empty set of claims; only the service itself ever checks it.
        let auth = format!("eyJhbGciOiJIUzI1NiJ9.e30.{}", random_text());
        let tokens = Tokens { auth, ws: random_text() };
        let now = Instant::now();
        desk.auth.issue(&tokens.auth, &machine, now, self.rules.token_life);
        desk.ws.issue(&tokens.ws, &machine, now, self.rules.ws_token_life);
        drop(desk);
        if let Some(link) = evicted.and_then(|machine| machine.dismiss()) {
            self.unlink(&link);
            link.abandon();
        }
        Some(tokens)
    }

    /// The machine that an `auth_token` was given to, while it holds.
    pub(super) fn bearer(&self, token: &str) -> Option<Arc<Machine>> {
        let desk = self.desk.read().unwrap_or_else(PoisonError::into_inner);
        let (machine, end) = desk.auth.0.get(token)?;
        let machine = (*end > Instant::now()).then(|| Arc::clone(machine))?;
        machine.was_heard();
        Some(machine)
    }

    /// Uses up a `ws_token`.
    pub(super) fn redeem(&self, token: &str) -> Option<Arc<Machine>> {
        let mut desk = self.desk.write().unwrap_or_else(PoisonError::into_inner);
        let (machine, end) = desk.ws.0.remove(token)?;
        (end > Instant::now()).then_some(machine)
    }

    pub(super) fn expire_tokens(&self) {
        self.desk.write().unwrap_or_else(PoisonError::into_inner).auth.0.clear();
    }

    /// A control socket is open: it takes the place of the machine's former one, which is handed back.
    pub(super) fn link(&self, link: &Arc<Link>) -> Option<Arc<Link>> {
        let mut side = lock(&link.machine.side);
        side.heard = Instant::now();
        let former = side.link.replace(Arc::clone(link));
        drop(side);
        link.machine.changed.notify_all();
        lock(&self.current).link = Some(Arc::clone(link));
        self.connected.notify_all();
        former
    }

    /// Nothing is to be sent on this control socket any more.
    pub(super) fn unlink(&self, link: &Arc<Link>) {
        let same = |held: &mut Arc<Link>| Arc::ptr_eq(held, link);
        let mut side = lock(&link.machine.side);
        if side.link.take_if(same).is_some() {
            side.heard = Instant::now();
            // Whoever waits has to know from when on it may be gone.
            link.machine.changed.notify_all();
        }
        drop(side);
        drop(lock(&self.current).link.take_if(same));
    }

    /// The control socket that was opened last, waited for as long as that.
    pub(super) fn current(&self, timeout: Duration) -> Option<Arc<Link>> {
        let deadline = Instant::now() + timeout;
        let mut current = lock(&self.current);
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if current.link.is_some() || current.stopping || left.is_zero() {
                return current.link.clone();
            }
            current = wait(&self.connected, current, Some(left));
        }
    }

    pub(super) fn stop(&self) {
        let machines: Vec<_> = {
            let desk = self.desk.read().unwrap_or_else(PoisonError::into_inner);
            desk.machines.values().cloned().collect()
        };
        for machine in machines {
            machine.dismiss();
        }
        lock(&self.current).stopping = true;
        self.connected.notify_all();
    }
}

/// 128 bits from the system's generator, as text.
fn random_text() -> String {
    format!("{:032x}", rand::random::<u128>())
}

/// One machine, over all its connections.
pub(super) struct Machine {
    /// As it signed in, `S` included.
    pub(super) serial: String,
    gone_after: Duration,
    side: Mutex<Side>,
    changed: Condvar,
}

struct Side {
    link: Option<Arc<Link>>,
    inbox: VecDeque<Event>,
    /// When it last signed in, made a request with its token, or had a control socket.
    heard: Instant,
    /// Whether what there is to do with it has begun.
    began: bool,
    stopping: bool,
}

/// As much of an event as an await looks at.
pub(super) struct Event {
    name: String,
    action_id: Option<i64>,
}

impl Event {
    /// The event in a message, where it is one.
    pub(super) fn of(message: &Value) -> Option<Self> {
        let name = message.get("event")?.as_str()?;
        let name = (name.len() <= NAME_LIMIT_BYTES).then(|| name.to_owned())?;
        Some(Self { name, action_id: message.get("action_id").and_then(Value::as_i64) })
    }
}

/// Why a wait ended with nothing.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Waited {
    TooLong,
    Stopped,
    /// The machine has left, and did not come back.
    Gone,
    /// The action that was to end so has ended otherwise: with this event.
    Ended(String),
}

/// Whether both are ends of the same kind of action, of which there is one: `print:failed` and `print:completed`.
fn same_end(one: &str, other: &str) -> bool {
    let action = |event: &str| {
        let (action, end) = event.split_once(':')?;
        ["completed", "cancelled", "failed"].contains(&end).then(|| action.to_owned())
    };
    action(one).is_some() && action(one) == action(other)
}

impl Machine {
    fn new(serial: &str, gone_after: Duration) -> Self {
        let heard = Instant::now();
        let side = Side { link: None, inbox: VecDeque::new(), heard, began: false, stopping: false };
        Self { serial: serial.to_owned(), gone_after, side: Mutex::new(side), changed: Condvar::new() }
    }

    fn was_heard(&self) {
        lock(&self.side).heard = Instant::now();
    }

    /// Ends all that waits for it; gives its control socket.
    fn dismiss(&self) -> Option<Arc<Link>> {
        let mut side = lock(&self.side);
        side.stopping = true;
        self.changed.notify_all();
        side.link.clone()
    }

    /// Says once that what there is to do with it may begin.
    pub(super) fn begin(&self) -> bool {
        !std::mem::replace(&mut lock(&self.side).began, true)
    }

    /// How long it may be away before it counts as gone.
    pub(super) fn gone_after(&self) -> Duration {
        self.gone_after
    }

    /// Keeps an event for whoever awaits it.
    pub(super) fn deliver(&self, event: Event) {
        let mut side = lock(&self.side);
        if side.inbox.len() == INBOX_LIMIT {
            side.inbox.pop_front();
        }
        side.inbox.push_back(event);
        drop(side);
        self.changed.notify_all();
    }

    /// Waits until `take` finds what it wants, or the machine has been away for so long.
    fn wait_until<T>(
        &self,
        deadline: Instant,
        gone_after: Duration,
        mut take: impl FnMut(&mut Side) -> Option<T>,
    ) -> Result<T, Waited> {
        let mut side = lock(&self.side);
        loop {
            if side.stopping {
                return Err(Waited::Stopped);
            }
            if let Some(found) = take(&mut side) {
                return Ok(found);
            }
            let now = Instant::now();
            if deadline <= now {
                return Err(Waited::TooLong);
            }
            let gone_at = if side.link.is_none() { side.heard.checked_add(gone_after) } else { None };
            if gone_at.is_some_and(|at| at <= now) {
                return Err(Waited::Gone);
            }
            let until = gone_at.map_or(deadline, |at| at.min(deadline));
            side = wait(&self.changed, side, Some(until - now));
        }
    }

    /// The machine's control socket.
    pub(super) fn wait_link(&self, deadline: Instant, gone_after: Duration) -> Result<Arc<Link>, Waited> {
        self.wait_until(deadline, gone_after, |side| side.link.clone())
    }

    /// The machine's control socket, if it has one at this moment.
    pub(super) fn link_now(&self) -> Option<Arc<Link>> {
        lock(&self.side).link.clone()
    }

    /// Takes the first such event out of what nobody awaited yet.
    pub(super) fn wait_event(&self, name: &str, action_id: Option<i64>, deadline: Instant) -> Result<(), Waited> {
        let of_action = |event: &Event| action_id.is_none() || event.action_id == action_id;
        let ended_otherwise = |event: &Event| {
            action_id.is_some() && event.action_id == action_id && event.name != name && same_end(&event.name, name)
        };
        self.wait_until(deadline, self.gone_after, |side| {
            if let Some(index) = side.inbox.iter().position(|event| event.name == name && of_action(event)) {
                side.inbox.remove(index);
                return Some(Ok(()));
            }
            let other = side.inbox.iter().find(|event| ended_otherwise(event))?;
            Some(Err(Waited::Ended(other.name.clone())))
        })?
    }

    /// Lets time pass, unless the service stops.
    pub(super) fn sleep(&self, until: Instant) -> Result<(), Waited> {
        match self.wait_until::<()>(until, self.gone_after, |_| None) {
            Err(Waited::TooLong) => Ok(()),
            other => other,
        }
    }

    /// The names of the last few events that nobody awaited, for a message to people.
    pub(super) fn unawaited(&self) -> String {
        let side = lock(&self.side);
        let names: Vec<_> = side.inbox.iter().rev().take(5).map(|event| event.name.as_str()).collect();
        if names.is_empty() { "none".to_owned() } else { names.join(", ") }
    }
}
