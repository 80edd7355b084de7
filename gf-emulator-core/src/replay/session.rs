//! Reads a recording into a plan for the service and the machine's side to compare with.

use std::collections::{HashMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::comparison::{Comparer, Comparison, RecordedCounts, RecordedSide};
use super::transcript::{ActionIndex, RequestParts, Transcript, path_of};
use crate::local_service::{
    RecordedBody, RecordedResponse, ReplayPlan, ReplayStep, ResponseEnd, Seen, is_connecting, is_ending,
};
use crate::record::{Event, Exchange, Message, Recording, SESSION_FILE, SkippedLine, read_json};
use crate::{Error, Result};

/// How much longer than in the recording a machine may take by default.
const DEFAULT_PATIENCE: Duration = Duration::from_secs(60);
/// The longest wait: a year, in seconds.
const LONGEST_S: f64 = 365.0 * 86_400.0;
/// Maximum size of a request body that is compared, in bytes: the service does not hold longer ones.
const BODY_LIMIT_BYTES: u64 = 64 << 10;
/// Where the machine asks for the current firmware.
const FIRMWARE_CHECK_PATH: &str = "/update/current";
/// A version that no machine has, for a recorded download of an unknown version.
const UNKNOWN_VERSION: &str = "9.9.9-1";

/// A recorded session, ready to replay. Its messages are in memory; its pictures and jobs are not.
///
/// ```no_run
/// use gf_emulator_core::local_service::LocalService;
/// use gf_emulator_core::replay::{Session, SharedComparer};
/// use std::sync::Arc;
/// use std::time::Duration;
///
/// let session = Session::open("a-recording")?;
/// let comparer = SharedComparer::new(session.comparer());
/// let comparing = Arc::clone(&comparer);
/// let observer = move |seen: &_| comparing.observe(seen, |difference| println!("{difference}"));
/// let service = LocalService::builder().replay(session.plan()).observer(observer).start().unwrap();
/// println!("point a machine at {} and {}", service.http_url(), service.ws_url());
/// let is_stopped = service.outcome(Duration::from_secs(3600)).is_none();
/// service.close(1000); // the machine's last messages still arrive
/// service.stop();
/// let (comparison, _) = comparer.finish(session.comparer(), is_stopped);
/// println!("{comparison}");
/// # Ok::<(), gf_emulator_core::Error>(())
/// ```
#[derive(Debug)]
pub struct Session {
    plan: ReplayPlan,
    recorded: Arc<RecordedSide>,
    skipped: Vec<SkippedLine>,
}

impl Session {
    /// Reads the recording in a folder. It may be of either side.
    ///
    /// # Errors
    ///
    /// As [`Recording::open`] and [`read`](Self::read).
    pub fn open(folder: impl AsRef<Path>) -> Result<Self> {
        Self::read(Recording::open(folder)?, DEFAULT_PATIENCE)
    }

    /// Reads the remaining entries of a recording of one machine. `patience` is how much longer than in the recording the
    /// machine may take; [`open`](Self::open) takes 60 s.
    ///
    /// # Errors
    ///
    /// [`Error::File`] if reading fails; [`Error::Recording`] if it contains no messages from the service, or holds
    /// several machines of which none is [chosen](Recording::of_machine).
    pub fn read(recording: Recording, patience: Duration) -> Result<Self> {
        let mut recording = recording.of_machine(None)?;
        let firmware = recording.about().firmware.clone();
        let mut reader = Reader { patience, ..Reader::default() };
        while let Some(entry) = recording.next() {
            let entry = entry?;
            reader.add(entry.t, entry.event, &recording);
        }
        if reader.actions.sent_count == 0 {
            let reason = "the recording contains no messages from the service".to_owned();
            return Err(Error::Recording { path: recording.folder().join(SESSION_FILE), line: 1, reason });
        }
        Ok(reader.finish(firmware, recording.skipped().to_vec()))
    }

    /// Returns the service's side.
    #[must_use]
    pub fn plan(&self) -> ReplayPlan {
        self.plan.clone()
    }

    /// Returns the lines of the recording that could not be read.
    #[must_use]
    pub fn skipped(&self) -> &[SkippedLine] {
        &self.skipped
    }

    /// Returns a comparer for the events of a service that replays the plan, while it runs. See [the module](super) for
    /// what is compared.
    #[must_use]
    pub fn comparer(&self) -> Comparer {
        Comparer::new(Arc::clone(&self.recorded))
    }

    /// Compares what a service that replayed the plan has seen. It must keep the bodies of requests
    /// ([`keep_bodies`](crate::local_service::Builder::keep_bodies)).
    #[must_use]
    pub fn compare(&self, seen: &[Seen]) -> Comparison {
        let mut comparer = self.comparer();
        for seen in seen {
            comparer.push(seen);
        }
        comparer.finish()
    }
}

/// A request whose action is not known yet: that takes all messages of the service.
struct PendingRequest {
    /// The index of its step.
    step: usize,
    /// The index of its response among those to its method and path.
    response: usize,
    sent_count: usize,
    content_type: Option<String>,
    json: Option<Value>,
}

/// Reads a recording entry by entry.
#[derive(Default)]
struct Reader {
    patience: Duration,
    steps: Vec<ReplayStep>,
    /// The time of each step. Requests are recorded when they end, but count when they begin.
    times: Vec<f64>,
    /// The latest time of an entry.
    clock: f64,
    responses: HashMap<(String, String), VecDeque<RecordedResponse>>,
    transcript: Transcript,
    actions: ActionIndex,
    counts: RecordedCounts,
    requests: Vec<PendingRequest>,
    /// The time of the last step.
    last_step_t: f64,
    /// The number of open connections of the WebSocket.
    open_sockets: usize,
    /// The last step, if it is a cut that only counts if another WebSocket is opened.
    pending_cut: Option<usize>,
    /// What the machine's requests reveal of the firmware, for recordings without responses: the version in an event,
    /// the version in `User-Agent`, and the path of a download.
    event_version: Option<String>,
    agent_version: Option<String>,
    fetched: Option<String>,
}

impl Reader {
    fn add(&mut self, t: f64, event: Event, recording: &Recording) {
        let since = Duration::from_secs_f64((t - self.last_step_t).clamp(0.0, LONGEST_S));
        let timeout = self.patience.saturating_add(since);
        let before = self.steps.len();
        match event {
            Event::In(message) => self.add_sent(message, timeout),
            Event::Out(message) => {
                let text = message.text.unwrap_or_default();
                if let Some((action, event)) = self.transcript.add_message(message.json, &text) {
                    self.counts.messages += 1;
                    if let Some(id) = action.filter(|_| is_ending(&event)) {
                        self.actions.end(id);
                    }
                    self.steps.push(ReplayStep::AwaitMessage { action, event, timeout });
                }
            }
            Event::Http(exchange) => {
                let began = t - exchange.duration_s.unwrap_or_default();
                self.add_exchange(*exchange, recording, timeout);
                self.times.resize(self.steps.len(), began);
            }
            Event::Opened { .. } => {
                // A new WebSocket replaces the old one, whose end is recorded later.
                if self.open_sockets > 0 {
                    self.steps.push(ReplayStep::Cut { timeout });
                }
                self.open_sockets += 1;
                self.pending_cut = None;
            }
            Event::Closed { .. } if self.open_sockets > 0 => {
                self.open_sockets -= 1;
                if self.open_sockets == 0 {
                    self.pending_cut = Some(self.steps.len());
                    self.steps.push(ReplayStep::Cut { timeout });
                }
            }
            _ => {}
        }
        // Entries are in order even if their times are not.
        self.clock = self.clock.max(t);
        self.times.resize(self.steps.len(), self.clock);
        if self.steps.len() > before {
            self.last_step_t = t.clamp(0.0, LONGEST_S);
        }
    }

    fn add_sent(&mut self, message: Message, timeout: Duration) {
        let Message { json, text, .. } = message;
        self.counts.actions += usize::from(json.as_ref().is_some_and(|json| json.get("action_type").is_some()));
        self.actions.add_sent(json.as_ref());
        let text = json.map(|json| json.to_string()).or(text).unwrap_or_default();
        self.steps.push(ReplayStep::Send { text, timeout });
    }

    fn add_exchange(&mut self, exchange: Exchange, recording: &Recording, timeout: Duration) {
        let Some(path) = path_of(&exchange.url).map(str::to_owned) else { return };
        if is_connecting(&path) {
            return;
        }
        let Exchange { method, status, error, request, response, .. } = exchange;
        let header =
            |headers: &serde_json::Map<String, Value>, name: &str| headers.get(name)?.as_str().map(str::to_owned);
        // A symbolic link could lead out of the recording.
        let is_file = |path: &PathBuf| path.symlink_metadata().is_ok_and(|data| data.is_file());
        let file = |name: &str| recording.file(name).filter(is_file);
        // A body that is not JSON is in a file; it may be JSON but for a placeholder.
        let small = |name: &String| {
            let path = file(name).filter(|path| path.metadata().is_ok_and(|data| data.len() <= BODY_LIMIT_BYTES))?;
            read_json(&std::fs::read(path).ok()?)
        };
        let json = request.json.or_else(|| small(request.file.as_ref()?));
        let content_type = header(&request.headers, "content-type");
        let agent = header(&request.headers, "user-agent");
        let agent = agent.as_deref().and_then(|agent| agent.split_once('/')).map(|(_, version)| version.to_owned());
        self.agent_version = self.agent_version.take().or(agent);
        let version = json.as_ref().and_then(|json| json["remote"].as_str().or(json["version"].as_str()));
        let version = version.filter(|_| path == "/api/event").map(str::to_owned);
        self.event_version = self.event_version.take().or(version);
        if method == "GET" && path != FIRMWARE_CHECK_PATH && !self.actions.has_path(&path) && self.fetched.is_none() {
            self.fetched = Some(path.clone());
        }

        let body = match (response.json, response.file.as_deref().and_then(file)) {
            (Some(json), _) => RecordedBody::Json(json),
            (None, Some(path)) => RecordedBody::File(path),
            (None, None) if method == "GET" && status.is_none_or(|status| status < 300) => {
                if self.fetched.as_ref() == Some(&path) { RecordedBody::Firmware } else { RecordedBody::Job }
            }
            (None, None) => RecordedBody::Empty,
        };
        let retry_after = header(&response.headers, "retry-after");
        let end = if error.is_some() { ResponseEnd::Cut } else { ResponseEnd::Complete };
        let responses = self.responses.entry((method.clone(), path.clone())).or_default();
        let index = responses.len();
        responses.push_back(RecordedResponse { status, retry_after, body, end });

        self.counts.requests += 1;
        self.requests.push(PendingRequest {
            step: self.steps.len(),
            response: index,
            sent_count: self.actions.sent_count,
            content_type,
            json,
        });
        self.steps.push(ReplayStep::AwaitRequest { action: None, method, path, timeout });
    }

    fn finish(mut self, firmware: Option<String>, skipped: Vec<SkippedLine>) -> Session {
        for PendingRequest { step, response, sent_count, content_type, json } in self.requests {
            if let Some(ReplayStep::AwaitRequest { action, method, path, .. }) = self.steps.get_mut(step) {
                let parts = RequestParts { method, path, content_type: content_type.as_deref(), json };
                *action = self.transcript.add_request(&self.actions, sent_count, parts);
                let responses = self.responses.get_mut(&(method.clone(), path.clone()));
                let recorded = responses.and_then(|responses| responses.get_mut(response));
                // The machine cut this request itself, because its action was cancelled.
                let is_cancelled = action.is_some_and(|id| self.actions.cancelled.contains(&id));
                if let Some(recorded) = recorded.filter(|recorded| is_cancelled && recorded.end == ResponseEnd::Cut) {
                    recorded.end = ResponseEnd::Stalled;
                }
            }
        }
        if let Some(at) = self.pending_cut {
            self.steps.remove(at);
            self.times.remove(at);
        }
        let mut steps: Vec<_> = self.times.into_iter().zip(self.steps).collect();
        steps.sort_by(|(a, _), (b, _)| a.total_cmp(b));
        let steps = steps.into_iter().map(|(_, step)| step).collect();
        // Without recorded responses, what the machine did shows which version the service offered.
        let offered = self.event_version.or(self.fetched.as_ref().map(|_| UNKNOWN_VERSION.to_owned()));
        let version = offered.or(self.agent_version).or(firmware);
        let path = self.fetched.as_deref().unwrap_or("/dl/firmware");
        let answer = json!({"version": version, "download_url": format!("https://recorded.invalid{path}")});
        for response in
            self.responses.get_mut(&("GET".to_owned(), FIRMWARE_CHECK_PATH.to_owned())).into_iter().flatten()
        {
            if response.body == RecordedBody::Job && version.is_some() {
                response.body = RecordedBody::Json(answer.clone());
            }
        }
        Session {
            plan: ReplayPlan { steps, responses: self.responses },
            recorded: Arc::new(RecordedSide {
                transcript: self.transcript,
                actions: self.actions,
                counts: self.counts,
            }),
            skipped,
        }
    }
}
