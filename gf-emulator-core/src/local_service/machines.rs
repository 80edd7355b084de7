//! The machines that the service knows: who may sign in, which tokens hold, and what each machine said that nobody
//! has awaited yet.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::control_socket::Link;
use super::{lock, wait};
use crate::Secret;

/// Events kept for an await that may come; the oldest go first.
const INBOX_LIMIT: usize = 10_000;

/// Who may sign in, and how long tokens hold.
#[derive(Debug, Clone)]
pub(super) struct Rules {
    /// Without the leading `S`; any, where there is none.
    pub(super) serial: Option<String>,
    pub(super) password: Option<Secret>,
    pub(super) token_life: Duration,
    pub(super) ws_token_life: Duration,
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
    auth: HashMap<String, (Arc<Machine>, Instant)>,
    ws: HashMap<String, (Arc<Machine>, Instant)>,
    machines: HashMap<String, Arc<Machine>>,
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

    /// Signs in whoever the rules allow; says whether this machine is new here.
    pub(super) fn sign_in(&self, serial: &str, password: &str) -> Option<(Tokens, Arc<Machine>, bool)> {
        let bare = serial.strip_prefix('S')?;
        let serial_good = !bare.is_empty() && self.rules.serial.as_deref().is_none_or(|wanted| wanted == bare);
        let password_good = self.rules.password.as_ref().is_none_or(|wanted| wanted.reveal() == password);
        if !serial_good || !password_good {
            return None;
        }
        let mut desk = self.desk.write().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        desk.auth.retain(|_, (_, end)| *end > now);
        desk.ws.retain(|_, (_, end)| *end > now);
        let is_new = !desk.machines.contains_key(serial);
        let machine = desk.machines.entry(serial.to_owned()).or_insert_with(|| Arc::new(Machine::new(serial)));
        let machine = Arc::clone(machine);
        // The form of a JSON Web Token with an empty set of claims; only the service itself ever checks it.
        let auth = format!("eyJhbGciOiJIUzI1NiJ9.e30.{}", random_text());
        let tokens = Tokens { auth, ws: random_text() };
        desk.auth.insert(tokens.auth.clone(), (Arc::clone(&machine), now + self.rules.token_life));
        desk.ws.insert(tokens.ws.clone(), (Arc::clone(&machine), now + self.rules.ws_token_life));
        Some((tokens, machine, is_new))
    }

    /// The machine that an `auth_token` was given to, while it holds.
    pub(super) fn bearer(&self, token: &str) -> Option<Arc<Machine>> {
        let desk = self.desk.read().unwrap_or_else(PoisonError::into_inner);
        let (machine, end) = desk.auth.get(token)?;
        (*end > Instant::now()).then(|| Arc::clone(machine))
    }

    /// Uses up a `ws_token`.
    pub(super) fn redeem(&self, token: &str) -> Option<Arc<Machine>> {
        let mut desk = self.desk.write().unwrap_or_else(PoisonError::into_inner);
        let (machine, end) = desk.ws.remove(token)?;
        (end > Instant::now()).then_some(machine)
    }

    pub(super) fn expire_tokens(&self) {
        self.desk.write().unwrap_or_else(PoisonError::into_inner).auth.clear();
    }

    /// A control socket is open: it takes the place of the machine's former one, which is handed back.
    pub(super) fn link(&self, link: &Arc<Link>) -> Option<Arc<Link>> {
        let former = lock(&link.machine.side).link.replace(Arc::clone(link));
        link.machine.changed.notify_all();
        lock(&self.current).link = Some(Arc::clone(link));
        self.connected.notify_all();
        former
    }

    /// Nothing is to be sent on this control socket any more.
    pub(super) fn unlink(&self, link: &Arc<Link>) {
        let same = |held: &mut Arc<Link>| Arc::ptr_eq(held, link);
        drop(lock(&link.machine.side).link.take_if(same));
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
            lock(&machine.side).stopping = true;
            machine.changed.notify_all();
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
    side: Mutex<Side>,
    changed: Condvar,
}

#[derive(Default)]
struct Side {
    link: Option<Arc<Link>>,
    inbox: VecDeque<Event>,
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
        let name = message.get("event")?.as_str()?.to_owned();
        Some(Self { name, action_id: message.get("action_id").and_then(Value::as_i64) })
    }
}

/// Why a wait ended with nothing.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Waited {
    TooLong,
    Stopped,
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
    fn new(serial: &str) -> Self {
        Self { serial: serial.to_owned(), side: Mutex::default(), changed: Condvar::new() }
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

    /// Waits until `take` finds what it wants; without a deadline, for ever.
    fn wait_until<T>(
        &self,
        deadline: Option<Instant>,
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
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                return Err(Waited::TooLong);
            }
            side = wait(&self.changed, side, left);
        }
    }

    /// The machine's control socket.
    pub(super) fn wait_link(&self, deadline: Option<Instant>) -> Result<Arc<Link>, Waited> {
        self.wait_until(deadline, |side| side.link.clone())
    }

    /// The machine's control socket, if it has one at this moment.
    pub(super) fn link_now(&self) -> Option<Arc<Link>> {
        lock(&self.side).link.clone()
    }

    /// Takes the first such event out of what nobody awaited yet.
    pub(super) fn wait_event(
        &self,
        name: &str,
        action_id: Option<i64>,
        deadline: Option<Instant>,
    ) -> Result<(), Waited> {
        let of_action = |event: &Event| action_id.is_none() || event.action_id == action_id;
        let ended_otherwise = |event: &Event| {
            action_id.is_some() && event.action_id == action_id && event.name != name && same_end(&event.name, name)
        };
        self.wait_until(deadline, |side| {
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
        match self.wait_until::<()>(Some(until), |_| None) {
            Err(Waited::Stopped) => Err(Waited::Stopped),
            _ => Ok(()),
        }
    }

    /// The names of the last few events that nobody awaited, for a message to people.
    pub(super) fn unawaited(&self) -> String {
        let side = lock(&self.side);
        let names: Vec<_> = side.inbox.iter().rev().take(5).map(|event| event.name.as_str()).collect();
        if names.is_empty() { "none".to_owned() } else { names.join(", ") }
    }
}
