//! The state that all threads of one service share.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Weak};
use std::time::Duration;

use serde_json::Value;

use super::behaviour_state::BehaviourState;
use super::faults::Faults;
use super::history::{History, Observer};
use super::link::{CLOSE_TIMEOUT, Cut, Link, LinkClosed};
use super::machine::RemoteMachine;
use super::machines::Machines;
use super::outcomes::Runs;
use super::protocol::PULS_PATH;
use super::replay_state::ReplayState;
use super::script::{Placeholders, Script};
use super::urls::mark_urls;
use crate::Secrets;
use crate::http_server::connections::Connections;

/// Maximum number of connections for each machine, each with a thread. When all are in use, an older one is evicted for a
/// new one, preferably one without a valid token.
const CONNECTIONS_PER_MACHINE: usize = 4;
/// How long a peer may be silent in or between requests, or leave what is sent to it unread.
pub(super) const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// Which request bodies are held in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bodies {
    /// Small ones, while their request is answered.
    Small,
    /// Pictures as well, for the observer.
    Observed,
    /// All, for as long as their requests are in the history.
    Kept,
}

/// What the service was built with.
pub(super) struct Settings {
    /// The base URL that machines use.
    pub(super) http_url: String,
    pub(super) firmware_version: String,
    pub(super) firmware: Arc<[u8]>,
    pub(super) puls: Arc<[u8]>,
    /// More pulse files, by their name in `/dl/<name>.puls`: those of action types, and those of the behaviour.
    pub(super) jobs: BTreeMap<String, Arc<[u8]>>,
    pub(super) body_limit: u64,
    pub(super) bodies: Bodies,
}

impl Settings {
    /// Returns the base URL of the WebSocket.
    pub(super) fn ws_url(&self) -> String {
        self.http_url.replacen("http", "ws", 1)
    }

    /// Returns the URL of the pulse file.
    pub(super) fn puls_url(&self) -> String {
        format!("{}{PULS_PATH}", self.http_url)
    }
}

/// What the service does on its own.
pub(super) enum Task {
    /// The same with every machine.
    Script(Script),
    /// With every machine, each with its own state.
    Behaviour(BehaviourState),
    /// With one machine.
    Replay(ReplayState),
}

impl Task {
    /// Returns the observer that the task needs.
    pub(super) fn observer(&self) -> Option<Observer> {
        match self {
            Self::Script(_) | Self::Behaviour(_) => None,
            Self::Replay(replay) => Some(replay.observer()),
        }
    }
}

/// The state that all threads of one service share.
pub(super) struct Core {
    me: Weak<Core>,
    pub(super) settings: Settings,
    pub(super) machines: Machines,
    pub(super) history: History,
    pub(super) faults: Faults,
    pub(super) task: Option<Task>,
    pub(super) runs: Runs,
    pub(super) connections: Arc<Connections>,
    /// How many bytes of large bodies are held at the moment.
    pub(super) held_bytes: AtomicUsize,
    pub(super) secrets: Secrets,
}

impl Core {
    pub(super) fn new(
        settings: Settings,
        machines: Machines,
        history: History,
        faults: Faults,
        task: Option<Task>,
        secrets: Secrets,
    ) -> Arc<Self> {
        let limit = machines.limit();
        Arc::new_cyclic(|me| Self {
            me: me.clone(),
            settings,
            machines,
            history,
            faults,
            task,
            runs: Runs::default(),
            connections: Connections::new("local service", CONNECTIONS_PER_MACHINE.saturating_mul(limit), IDLE_TIMEOUT),
            held_bytes: AtomicUsize::new(0),
            secrets,
        })
    }

    /// Runs `work` on a thread that is joined when the service stops.
    pub(super) fn spawn(&self, name: &str, work: impl FnOnce(&Arc<Core>) + Send + 'static) -> io::Result<()> {
        let Some(core) = self.me.upgrade() else { return Err(io::ErrorKind::NotConnected.into()) };
        self.connections.spawn(name, move || work(&core))
    }

    /// Ends every wait and shuts down every socket, so that all threads end.
    pub(super) fn stop(&self) {
        self.connections.stop_accepting();
        self.machines.stop();
        self.faults.stop();
        self.history.stop();
        self.runs.stop();
        self.connections.shutdown_sockets();
    }

    /// Sends an action with its placeholders filled in.
    pub(super) fn send(
        &self,
        machine: &Arc<RemoteMachine>,
        link: &Arc<Link>,
        mut action: Value,
    ) -> Result<(), LinkClosed> {
        let jobs = &self.settings.jobs;
        let puls = match action["action_type"].as_str().filter(|&action_type| jobs.contains_key(action_type)) {
            Some(action_type) => format!("{}/dl/{action_type}.puls", self.settings.http_url),
            None => self.settings.puls_url(),
        };
        Placeholders { http: &self.settings.http_url, puls: &puls, serial: &machine.serial }.fill(&mut action);
        mark_urls(&mut action, &self.settings.http_url, self.faults.number_of(&machine.serial));
        self.send_text(machine, link, &action.to_string())
    }

    /// Returns the replay, if that is the task.
    pub(super) fn replay(&self) -> Option<&ReplayState> {
        match &self.task {
            Some(Task::Replay(replay)) => Some(replay),
            _ => None,
        }
    }

    /// Cuts the machine's WebSocket, if it has one.
    pub(super) fn cut(&self, machine: &RemoteMachine, how: Cut) {
        if let Some(link) = machine.link() {
            self.machines.detach(machine, &link);
            link.cut(how);
        }
    }

    /// Closes the machine's WebSocket, if it has one.
    pub(super) fn close(&self, machine: &RemoteMachine, code: u16) {
        if let Some(link) = machine.link() {
            self.machines.detach(machine, &link);
            link.close(code, CLOSE_TIMEOUT);
        }
    }
}
