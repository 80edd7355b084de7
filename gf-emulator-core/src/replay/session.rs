//! A recorded session, read whole: what the service does, and what the machine did.

use std::collections::{HashMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::account::{Account, Asked, Owners, path_of};
use super::comparison::{Comparer, Comparison, Recorded};
use crate::local_service::{Cue, Replay, Reply, ReplyBody, ReplyEnd, Seen, is_ending, is_opening};
use crate::record::{Event, Exchange, Message, Recording, SESSION_FILE, SkippedLine, read_json};
use crate::{Error, Result};

/// How long a machine may take for what it had done in the recording, beyond the time that it had taken then.
const PATIENCE: Duration = Duration::from_secs(60);
/// No wait is longer: a year.
const LONGEST_S: f64 = 365.0 * 86_400.0;
/// A longer body of a request is no JSON that is compared: the service does not hold it.
const LONGEST_BODY: u64 = 64 << 10;
/// Where the service tells its firmware.
const FIRMWARE: &str = "/update/current";
/// A version that is no machine's, for when a machine had fetched one and nothing tells which.
const ANOTHER_VERSION: &str = "9.9.9-1";

/// A session as it was recorded, ready to be given again. Its messages are in memory, its pictures and jobs are not.
///
/// ```no_run
/// use gf_emulator_core::local_service::LocalService;
/// use gf_emulator_core::replay::Session;
/// use std::sync::{Arc, Mutex};
/// use std::time::Duration;
///
/// let session = Session::open("a-recording")?;
/// let comparer = Arc::new(Mutex::new(session.comparer()));
/// let comparing = Arc::clone(&comparer);
/// let observer = move |seen: &_| {
///     for difference in comparing.lock().unwrap().take(seen) {
///         println!("{difference}");
///     }
/// };
/// let service = LocalService::builder().replay(session.plan()).observer(observer).start().unwrap();
/// println!("point a machine at {} and {}", service.http_url(), service.ws_url());
/// service.script_outcome(Duration::from_secs(3600));
/// service.close(1000); // what it still has to say comes before it goes
/// service.stop();
/// let comparer = std::mem::replace(&mut *comparer.lock().unwrap(), session.comparer());
/// println!("{}", comparer.finish());
/// # Ok::<(), gf_emulator_core::Error>(())
/// ```
#[derive(Debug)]
pub struct Session {
    plan: Replay,
    recorded: Arc<Recorded>,
    skipped: Vec<SkippedLine>,
}

impl Session {
    /// Reads the recording in a folder, of either side.
    ///
    /// # Errors
    ///
    /// As [`Recording::open`]; [`Error::Recording`] where the service says nothing in it.
    pub fn open(folder: impl AsRef<Path>) -> Result<Self> {
        Self::open_with(folder, PATIENCE)
    }

    /// The same, with another time that a machine may take beyond what it had taken when it was recorded.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub fn open_with(folder: impl AsRef<Path>, patience: Duration) -> Result<Self> {
        let mut recording = Recording::open(folder)?;
        let firmware = recording.about().firmware.clone();
        let mut reader = Reader { patience, ..Reader::default() };
        while let Some(entry) = recording.next() {
            let entry = entry?;
            reader.take(entry.t, entry.event, &recording);
        }
        if reader.owners.said == 0 {
            let reason = "the service says nothing in this recording: there is nothing to replay".to_owned();
            return Err(Error::Recording { path: recording.folder().join(SESSION_FILE), line: 1, reason });
        }
        Ok(reader.finish(firmware, recording.skipped().to_vec()))
    }

    /// What the service has to say and to answer.
    #[must_use]
    pub fn plan(&self) -> Replay {
        self.plan.clone()
    }

    /// The lines of the recording that could not be read.
    #[must_use]
    pub fn skipped(&self) -> &[SkippedLine] {
        &self.skipped
    }

    /// Compares what a service sees that goes through the plan with what was recorded, while it goes on. The
    /// documentation of [the module](super) says what is compared.
    #[must_use]
    pub fn comparer(&self) -> Comparer {
        Comparer::new(Arc::clone(&self.recorded))
    }

    /// Compares what a service has seen that went through the plan, with the bodies of its requests
    /// ([`keep_bodies`](crate::local_service::Builder::keep_bodies)).
    #[must_use]
    pub fn compare(&self, seen: &[Seen]) -> Comparison {
        let mut comparer = self.comparer();
        for seen in seen {
            comparer.take(seen);
        }
        comparer.finish()
    }
}

/// A request, until it is known whose it is: that takes all that the service says.
struct Requested {
    cue: usize,
    /// Which one of its method and path.
    answer: usize,
    said: usize,
    content_type: Option<String>,
    json: Option<Value>,
}

/// A session on its way in.
#[derive(Default)]
struct Reader {
    patience: Duration,
    cues: Vec<Cue>,
    /// When each of them was: requests are noted at their end, and what counts is when they were made.
    times: Vec<f64>,
    clock: f64,
    answers: HashMap<(String, String), VecDeque<Reply>>,
    recorded: Account,
    owners: Owners,
    counts: (usize, usize, usize),
    requests: Vec<Requested>,
    /// When the last cue was.
    t: f64,
    /// How many control sockets are open, and whether the last cue may be a cut: it is, where another one is opened.
    open: usize,
    may_be_cut: Option<usize>,
    /// What the machine's requests tell of the firmware, where the answers are not known.
    version: Option<String>,
    agent: Option<String>,
    fetched: Option<String>,
}

impl Reader {
    fn take(&mut self, t: f64, event: Event, recording: &Recording) {
        let since = Duration::from_secs_f64((t - self.t).clamp(0.0, LONGEST_S));
        let timeout = self.patience.saturating_add(since);
        let before = self.cues.len();
        match event {
            Event::In(message) => self.say(message, timeout),
            Event::Out(message) => {
                let text = message.text.unwrap_or_default();
                if let Some((action, event)) = self.recorded.take_message(message.json, &text) {
                    self.counts.1 += 1;
                    if let Some(id) = action.filter(|_| is_ending(&event)) {
                        self.owners.end(id);
                    }
                    self.cues.push(Cue::Message { action, event, timeout });
                }
            }
            Event::Http(exchange) => {
                let began = t - exchange.duration_s.unwrap_or_default();
                self.exchange(*exchange, recording, timeout);
                self.times.resize(self.cues.len(), began);
            }
            Event::Opened { .. } => {
                // One that takes the place of another, which is seen to have ended later.
                if self.open > 0 {
                    self.cues.push(Cue::Cut { timeout });
                }
                self.open += 1;
                self.may_be_cut = None;
            }
            Event::Closed { .. } if self.open > 0 => {
                self.open -= 1;
                if self.open == 0 {
                    self.may_be_cut = Some(self.cues.len());
                    self.cues.push(Cue::Cut { timeout });
                }
            }
            _ => {}
        }
        // The order of the entries is the order of what happened, whatever their times.
        self.clock = self.clock.max(t);
        self.times.resize(self.cues.len(), self.clock);
        if self.cues.len() > before {
            self.t = t.clamp(0.0, LONGEST_S);
        }
    }

    fn say(&mut self, message: Message, timeout: Duration) {
        let Message { json, text, .. } = message;
        self.counts.0 += usize::from(json.as_ref().is_some_and(|json| json.get("action_type").is_some()));
        self.owners.say(json.as_ref());
        let text = json.map(|json| json.to_string()).or(text).unwrap_or_default();
        self.cues.push(Cue::Say { text, timeout });
    }

    fn exchange(&mut self, exchange: Exchange, recording: &Recording, timeout: Duration) {
        let Some(path) = path_of(&exchange.url).map(str::to_owned) else { return };
        if is_opening(&path) {
            return;
        }
        let Exchange { method, status, error, request, response, .. } = exchange;
        let header =
            |headers: &serde_json::Map<String, Value>, name: &str| headers.get(name)?.as_str().map(str::to_owned);
        // A link would be another's file.
        let is_file = |path: &PathBuf| path.symlink_metadata().is_ok_and(|data| data.is_file());
        let file = |name: &str| recording.file(name).filter(is_file);
        // What is no JSON is beside the recording, and that may be a body with a placeholder in it.
        let small = |name: &String| {
            let path = file(name).filter(|path| path.metadata().is_ok_and(|data| data.len() <= LONGEST_BODY))?;
            read_json(&std::fs::read(path).ok()?)
        };
        let json = request.json.or_else(|| small(request.file.as_ref()?));
        let content_type = header(&request.headers, "content-type");
        let agent = header(&request.headers, "user-agent");
        let agent = agent.as_deref().and_then(|agent| agent.split_once('/')).map(|(_, version)| version.to_owned());
        self.agent = self.agent.take().or(agent);
        let told = json.as_ref().and_then(|json| json["remote"].as_str().or(json["version"].as_str()));
        self.version = self.version.take().or(told.filter(|_| path == "/api/event").map(str::to_owned));
        if method == "GET" && path != FIRMWARE && !self.owners.names(&path) && self.fetched.is_none() {
            self.fetched = Some(path.clone());
        }

        let body = match (response.json, response.file.as_deref().and_then(file)) {
            (Some(json), _) => ReplyBody::Json(json),
            (None, Some(path)) => ReplyBody::File(path),
            (None, None) if method == "GET" && status.is_none_or(|status| status < 300) => {
                if self.fetched.as_ref() == Some(&path) { ReplyBody::Firmware } else { ReplyBody::Job }
            }
            (None, None) => ReplyBody::Empty,
        };
        let retry_after = header(&response.headers, "retry-after");
        let end = if error.is_some() { ReplyEnd::Broken } else { ReplyEnd::Whole };
        let replies = self.answers.entry((method.clone(), path.clone())).or_default();
        let answer = replies.len();
        replies.push_back(Reply { status, retry_after, body, end });

        self.counts.2 += 1;
        self.requests.push(Requested { cue: self.cues.len(), answer, said: self.owners.said, content_type, json });
        self.cues.push(Cue::Request { action: None, method, path, timeout });
    }

    fn finish(mut self, firmware: Option<String>, skipped: Vec<SkippedLine>) -> Session {
        for Requested { cue, answer, said, content_type, json } in self.requests {
            if let Some(Cue::Request { action, method, path, .. }) = self.cues.get_mut(cue) {
                let asked = Asked { method, path, content_type: content_type.as_deref(), json };
                *action = self.recorded.take_request(&self.owners, said, asked);
                let reply = self.answers.get_mut(&(method.clone(), path.clone())).and_then(|all| all.get_mut(answer));
                // What the machine itself broke off would be a failure if the service did it.
                let withdrawn = action.is_some_and(|id| self.owners.withdrawn.contains(&id));
                if let Some(reply) = reply.filter(|reply| withdrawn && reply.end == ReplyEnd::Broken) {
                    reply.end = ReplyEnd::Open;
                }
            }
        }
        if let Some(at) = self.may_be_cut {
            self.cues.remove(at);
            self.times.remove(at);
        }
        let mut cues: Vec<_> = self.times.into_iter().zip(self.cues).collect();
        cues.sort_by(|(a, _), (b, _)| a.total_cmp(b));
        let cues = cues.into_iter().map(|(_, cue)| cue).collect();
        // Where the answers were not recorded, what the machine did tells what they were.
        let told = self.version.or(self.fetched.as_ref().map(|_| ANOTHER_VERSION.to_owned()));
        let version = told.or(self.agent).or(firmware);
        let home = self.fetched.as_deref().unwrap_or("/dl/firmware");
        let answer = json!({"version": version, "download_url": format!("https://recorded.invalid{home}")});
        for reply in self.answers.get_mut(&("GET".to_owned(), FIRMWARE.to_owned())).into_iter().flatten() {
            if reply.body == ReplyBody::Job && version.is_some() {
                reply.body = ReplyBody::Json(answer.clone());
            }
        }
        Session {
            plan: Replay { cues, answers: self.answers },
            recorded: Arc::new(Recorded { account: self.recorded, owners: self.owners, counts: self.counts }),
            skipped,
        }
    }
}
