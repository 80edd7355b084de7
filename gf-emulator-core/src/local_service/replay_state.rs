//! A replay in progress: the responses that are left, and how much of the recording the machine has done.

use std::collections::{HashMap, HashSet, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, Weak};

use super::history::Observer;
use super::plan::{RecordedResponse, ReplayPlan, ReplayStep};
use super::protocol::{is_connecting, is_ending};
use super::seen::Seen;
use crate::files;
use crate::sync::lock;

/// Maximum size of a recorded body, in bytes. The emulator refuses larger files.
const FILE_LIMIT_BYTES: u64 = 128 << 20;

/// A replay in progress.
pub(super) struct ReplayState {
    pub(super) steps: Vec<ReplayStep>,
    responses: Mutex<HashMap<(String, String), VecDeque<RecordedResponse>>>,
    /// The machine of the replay: the first that opened a WebSocket.
    serial: OnceLock<String>,
    counts: Arc<Mutex<Counts>>,
    /// Files that are being sent, shared by concurrent requests.
    files: Mutex<HashMap<PathBuf, Weak<[u8]>>>,
}

impl ReplayState {
    pub(super) fn new(plan: ReplayPlan) -> Self {
        let counts = Arc::new(Mutex::new(Counts::of(&plan.steps)));
        let (responses, files) = (Mutex::new(plan.responses), Mutex::default());
        Self { steps: plan.steps, responses, serial: OnceLock::new(), counts, files }
    }

    /// Returns the observer that counts messages and requests.
    pub(super) fn observer(&self) -> Observer {
        let counts = Arc::clone(&self.counts);
        Box::new(move |seen| lock(&counts).add(seen))
    }

    /// Returns whether a machine may sign in: no other machine has opened a WebSocket.
    pub(super) fn may_be_for(&self, serial: &str) -> bool {
        self.serial.get().is_none_or(|theirs| theirs == serial)
    }

    /// Claims the replay for the machine that opens a WebSocket. Returns whether the replay is for this machine.
    pub(super) fn claim(&self, serial: &str) -> bool {
        self.serial.get_or_init(|| serial.to_owned()) == serial
    }

    /// Returns how many messages or requests the machine has sent of this kind.
    pub(super) fn count(&self, counted: &Counted) -> u64 {
        lock(&self.counts).by_kind.get(counted).copied().unwrap_or_default()
    }

    /// Returns whether an action ended with another event than in the recording, so that no more will come of it.
    pub(super) fn has_ended_otherwise(&self, action: i64) -> bool {
        lock(&self.counts).ended_otherwise.contains(&action)
    }

    pub(super) fn file(&self, path: &Path) -> crate::Result<Arc<[u8]>> {
        let mut files = lock(&self.files);
        if let Some(bytes) = files.get(path).and_then(Weak::upgrade) {
            return Ok(bytes);
        }
        let bytes: Arc<[u8]> = files::read(path, FILE_LIMIT_BYTES)?.into();
        files.insert(path.to_owned(), Arc::downgrade(&bytes));
        Ok(bytes)
    }

    /// Takes the next recorded response to such a request; the last one is repeated.
    pub(super) fn next_response(&self, method: &str, path: &str) -> Option<RecordedResponse> {
        let mut responses = lock(&self.responses);
        let queue = responses.get_mut(&(method.to_owned(), path.to_owned()))?;
        if queue.len() > 1 { queue.pop_front() } else { queue.front().cloned() }
    }
}

/// A kind of messages or requests that is counted.
#[derive(PartialEq, Eq, Hash, Clone)]
pub(super) enum Counted {
    /// Messages of this action or, without one, of no action.
    Messages(Option<i64>),
    /// Requests with this method and path.
    Requests(String, String),
}

impl Counted {
    /// Returns what a step waits for.
    pub(super) fn of(step: &ReplayStep) -> Option<Self> {
        match step {
            ReplayStep::AwaitMessage { action, .. } => Some(Self::Messages(*action)),
            ReplayStep::AwaitRequest { method, path, .. } => Some(Self::Requests(method.clone(), path.clone())),
            ReplayStep::Send { .. } | ReplayStep::Cut { .. } => None,
        }
    }
}

/// How many messages and requests the machine has sent, of the kinds in the recording.
struct Counts {
    by_kind: HashMap<Counted, u64>,
    /// The endings in the recording.
    endings: HashSet<(i64, String)>,
    /// Actions that ended with another event than in the recording.
    ended_otherwise: HashSet<i64>,
}

impl Counts {
    fn of(steps: &[ReplayStep]) -> Self {
        let by_kind = steps.iter().filter_map(Counted::of).map(|counted| (counted, 0)).collect();
        let ending = |step: &ReplayStep| match step {
            ReplayStep::AwaitMessage { action: Some(id), event, .. } if is_ending(event) => Some((*id, event.clone())),
            _ => None,
        };
        Self { by_kind, endings: steps.iter().filter_map(ending).collect(), ended_otherwise: HashSet::new() }
    }

    fn add(&mut self, seen: &Seen) {
        let counted = match seen {
            Seen::WsMessage { message, .. } if message.get("progress").is_none() => {
                let action = message["action_id"].as_i64();
                if let (Some(id), Some(event)) = (action, message["event"].as_str())
                    && is_ending(event)
                    && self.by_kind.contains_key(&Counted::Messages(action))
                    && !self.endings.contains(&(id, event.to_owned()))
                {
                    self.ended_otherwise.insert(id);
                }
                Counted::Messages(action)
            }
            Seen::Http(request) if !is_connecting(&request.path) => {
                Counted::Requests(request.method.clone(), request.path.clone())
            }
            _ => return,
        };
        // Other kinds are never awaited, so counting them would only take memory.
        if let Some(count) = self.by_kind.get_mut(&counted) {
            *count += 1;
        }
    }
}
