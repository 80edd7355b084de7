//! The machines that have signed in, and their tokens.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use super::link::Link;
use super::machine::RemoteMachine;
use crate::Secret;
use crate::sync::{lock, wait};

/// Maximum number of tokens of one kind that a machine has. The oldest are revoked first.
const TOKENS_LIMIT: usize = 8;

/// Who may sign in, and how long tokens are valid.
#[derive(Debug, Clone)]
pub(super) struct SignInRules {
    /// Maximum number of machines. For a new one, the least recently seen is evicted.
    pub(super) machines: usize,
    /// Without the leading `S`; `None` for any.
    pub(super) serial: Option<String>,
    pub(super) password: Option<Secret>,
    pub(super) token_life: Duration,
    pub(super) ws_token_life: Duration,
    /// How long a machine may be disconnected and silent before it counts as gone.
    pub(super) gone_after: Duration,
}

/// The two tokens of a sign-in.
pub(super) struct Tokens {
    pub(super) auth: String,
    pub(super) ws: String,
}

/// Every machine that has signed in.
pub(super) struct Machines {
    rules: SignInRules,
    registry: Mutex<Registry>,
    latest: Mutex<Latest>,
    connected: Condvar,
    /// A machine was evicted, which is logged once.
    has_evicted: AtomicBool,
}

#[derive(Default)]
struct Registry {
    auth_tokens: TokenTable,
    ws_tokens: TokenTable,
    by_serial: HashMap<String, Arc<RemoteMachine>>,
}

/// Tokens of one kind, each with its machine and when it expires.
#[derive(Default)]
struct TokenTable(HashMap<String, (Arc<RemoteMachine>, Instant)>);

impl TokenTable {
    fn issue(&mut self, token: &str, machine: &Arc<RemoteMachine>, now: Instant, life: Duration) {
        self.0.retain(|_, (_, expires)| *expires > now);
        let theirs = self.0.iter().filter(|(_, (owner, _))| Arc::ptr_eq(owner, machine));
        let (count, oldest) = (theirs.clone().count(), theirs.min_by_key(|(_, (_, expires))| *expires));
        if let Some(oldest) = oldest.filter(|_| count >= TOKENS_LIMIT).map(|(token, _)| token.clone()) {
            self.0.remove(&oldest);
        }
        self.0.insert(token.to_owned(), (Arc::clone(machine), now + life));
    }

    fn revoke(&mut self, machine: &Arc<RemoteMachine>) {
        self.0.retain(|_, (owner, _)| !Arc::ptr_eq(owner, machine));
    }
}

impl Registry {
    /// Removes the least recently seen machine, preferably one without a WebSocket.
    fn evict(&mut self) -> Option<Arc<RemoteMachine>> {
        let oldest = self.by_serial.values().min_by_key(|machine| machine.eviction_order()).cloned()?;
        self.by_serial.remove(&oldest.serial);
        self.auth_tokens.revoke(&oldest);
        self.ws_tokens.revoke(&oldest);
        Some(oldest)
    }
}

/// The machine that connected last, with its link.
#[derive(Default)]
struct Latest {
    connected: Option<(Arc<RemoteMachine>, Arc<Link>)>,
    stopping: bool,
}

impl Machines {
    pub(super) fn new(rules: SignInRules) -> Self {
        Self {
            rules,
            registry: Mutex::default(),
            latest: Mutex::default(),
            connected: Condvar::new(),
            has_evicted: AtomicBool::default(),
        }
    }

    /// Returns the maximum number of machines.
    pub(super) fn limit(&self) -> usize {
        self.rules.machines
    }

    /// Signs a machine in, evicting another if the limit is reached. Returns `None` if the rules do not allow it.
    pub(super) fn sign_in(&self, serial: &str, password: &str) -> Option<Tokens> {
        let bare = serial.strip_prefix('S')?;
        let serial_ok = !bare.is_empty() && self.rules.serial.as_deref().is_none_or(|wanted| wanted == bare);
        let password_ok = self.rules.password.as_ref().is_none_or(|wanted| wanted.reveal() == password);
        if !serial_ok || !password_ok {
            return None;
        }
        let mut registry = lock(&self.registry);
        let is_new = !registry.by_serial.contains_key(serial);
        let evicted = if is_new && registry.by_serial.len() >= self.rules.machines { registry.evict() } else { None };
        let machine = registry.by_serial.entry(serial.to_owned());
        let machine = machine.or_insert_with(|| Arc::new(RemoteMachine::new(serial, self.rules.gone_after)));
        let machine = Arc::clone(machine);
        machine.touch();
        // Looks like a JSON Web Token with an empty set of claims. Only this service checks it.
        let auth = format!("eyJhbGciOiJIUzI1NiJ9.e30.{}", random_text());
        let tokens = Tokens { auth, ws: random_text() };
        let now = Instant::now();
        registry.auth_tokens.issue(&tokens.auth, &machine, now, self.rules.token_life);
        registry.ws_tokens.issue(&tokens.ws, &machine, now, self.rules.ws_token_life);
        drop(registry);
        if evicted.is_some() && !self.has_evicted.swap(true, Ordering::Relaxed) {
            log::warn!(
                "local service: there are more than {} machines: for each new one, another is signed out; allow more \
                 (`serve --machines`)",
                self.rules.machines
            );
        }
        if let Some(machine) = evicted
            && let Some(link) = machine.stop()
        {
            self.detach(&machine, &link);
            link.abandon();
        }
        Some(tokens)
    }

    /// Returns the machine of a valid `auth_token`.
    pub(super) fn by_auth_token(&self, token: &str) -> Option<Arc<RemoteMachine>> {
        let registry = lock(&self.registry);
        let (machine, expires) = registry.auth_tokens.0.get(token)?;
        let machine = (*expires > Instant::now()).then(|| Arc::clone(machine))?;
        machine.touch();
        Some(machine)
    }

    /// Consumes a `ws_token`. Returns its machine if it was valid.
    pub(super) fn redeem_ws_token(&self, token: &str) -> Option<Arc<RemoteMachine>> {
        let mut registry = lock(&self.registry);
        let (machine, expires) = registry.ws_tokens.0.remove(token)?;
        (expires > Instant::now()).then_some(machine)
    }

    /// Returns the machine of a `ws_token`, without consuming it.
    pub(super) fn by_ws_token(&self, token: &str) -> Option<Arc<RemoteMachine>> {
        lock(&self.registry).ws_tokens.0.get(token).map(|(machine, _)| Arc::clone(machine))
    }

    /// Invalidates all tokens of one machine.
    pub(super) fn expire_tokens_of(&self, machine: &Arc<RemoteMachine>) {
        let mut registry = lock(&self.registry);
        registry.auth_tokens.revoke(machine);
        registry.ws_tokens.revoke(machine);
    }

    pub(super) fn expire_auth_tokens(&self) {
        lock(&self.registry).auth_tokens.0.clear();
    }

    /// Registers an open link of a machine. Returns the machine's previous link. A machine that was evicted since it was
    /// given the link's token loses the link at once.
    pub(super) fn attach(&self, machine: &Arc<RemoteMachine>, link: &Arc<Link>) -> Option<Arc<Link>> {
        let Ok(previous) = machine.attach(link) else {
            link.abandon();
            return None;
        };
        lock(&self.latest).connected = Some((Arc::clone(machine), Arc::clone(link)));
        self.connected.notify_all();
        previous
    }

    /// Unregisters a link: nothing more can be sent on it.
    pub(super) fn detach(&self, machine: &RemoteMachine, link: &Arc<Link>) {
        machine.detach(link);
        drop(lock(&self.latest).connected.take_if(|(_, held)| Arc::ptr_eq(held, link)));
    }

    /// Returns the machine that connected last and its link, waiting up to `timeout` for one.
    pub(super) fn latest(&self, timeout: Duration) -> Option<(Arc<RemoteMachine>, Arc<Link>)> {
        let deadline = Instant::now() + timeout;
        let mut latest = lock(&self.latest);
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if latest.connected.is_some() || latest.stopping || left.is_zero() {
                return latest.connected.clone();
            }
            latest = wait(&self.connected, latest, Some(left));
        }
    }

    pub(super) fn stop(&self) {
        let machines: Vec<_> = lock(&self.registry).by_serial.values().cloned().collect();
        for machine in machines {
            machine.stop();
        }
        lock(&self.latest).stopping = true;
        self.connected.notify_all();
    }
}

/// Returns 128 random bits as hexadecimal text.
fn random_text() -> String {
    format!("{:032x}", rand::random::<u128>())
}
