//! A recorded session's service, once more: what it said, when, and how it answered.
//!
//! No clock decides. Each thing is said again when the machine has said and asked for as much as it had in the recording
//! by then, however long that takes; only a machine that never does is given up, after a time. What a session is made
//! of is read elsewhere: this is plain data, and walks it.

use std::collections::{HashMap, HashSet, VecDeque};
use std::fs::File;
use std::io::Read;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::control_socket::Cut;
use super::fault::Failure;
use super::http::{Answer, Head};
use super::lock;
use super::machines::{Machine, Waited};
use super::routes;
use super::script::Outcome;
use super::seen::{Bearer, Seen};
use super::server::Core;

/// What a URL that had a query when it was recorded has in its place: a machine sees that it is presigned.
const QUERY: &str = "replay";
/// No longer body is read back.
const MOST_BYTES: u64 = 256 << 20;

/// What a service says and answers, as it was recorded. One machine is taken through it: the first that signs in.
///
/// Every URL in what it says leads to the service that says it now, whatever host was recorded; a recorded query, which
/// no recording has, becomes `?replay`.
#[derive(Debug, Clone, Default)]
pub struct Replay {
    /// What happened, in order.
    pub cues: Vec<Cue>,
    /// Answers by method and path, each used once in this order; the last one is for all that come after it. Where there
    /// is none, the service answers as it always does.
    pub answers: HashMap<(String, String), VecDeque<Reply>>,
}

/// One thing that happened in a recorded session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cue {
    /// The service said this: it says it again.
    Say {
        /// A frame's text.
        text: String,
        /// How long to wait for a machine to be connected.
        timeout: Duration,
    },
    /// The connection ended: it is cut again.
    Cut {
        /// How long to wait for a machine to be connected.
        timeout: Duration,
    },
    /// The machine said something on the control socket: what follows waits until it has said one message more of that
    /// action, or, without one, of its own accord. Progress does not count.
    Message {
        /// The action.
        action: Option<i64>,
        /// The event, for whoever reads that it did not come.
        event: String,
        /// How long to wait.
        timeout: Duration,
    },
    /// The machine made a request: what follows waits until it has made one more like it. Sign-ins do not count.
    Request {
        /// The action that it was made for, where that is known.
        action: Option<i64>,
        /// The HTTP method.
        method: String,
        /// The path, without a query.
        path: String,
        /// How long to wait.
        timeout: Duration,
    },
}

/// How a request was answered.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Reply {
    /// The HTTP status; 200 where it is not known.
    pub status: Option<u16>,
    /// When the machine may ask again, as the service had said it.
    pub retry_after: Option<String>,
    /// What came with it.
    pub body: ReplyBody,
    /// How it ended.
    pub end: ReplyEnd,
}

/// How an answer ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ReplyEnd {
    /// Whole.
    #[default]
    Whole,
    /// The connection ends before it does.
    Broken,
    /// It does not: the machine ends it, because what it is for is withdrawn.
    Open,
}

/// What comes with a [`Reply`].
#[derive(Debug, Clone, PartialEq, Default)]
pub enum ReplyBody {
    /// Nothing.
    #[default]
    Empty,
    /// JSON, in which URLs lead here.
    Json(Value),
    /// What is in this file.
    File(PathBuf),
    /// The service's own pulse file: what was sent is not known.
    Job,
    /// The service's own firmware.
    Firmware,
}

/// A text in which every URL of the web has another origin and, where it had a query, this one.
///
/// `home` is asked with whether the URL is a WebSocket's.
pub(crate) fn rehomed(text: &str, home: impl Fn(bool) -> String, query: &str) -> String {
    let ends = |c: char| c.is_whitespace() || c.is_control() || "\"'<>\\`".contains(c);
    let (mut moved, mut rest) = (String::with_capacity(text.len()), text);
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at);
        let scheme = before.rfind(|c: char| !c.is_ascii_alphanumeric()).map_or(before, |end| {
            let next = before[end..].chars().next().map_or(0, char::len_utf8);
            &before[end + next..]
        });
        let web = ["http", "https", "ws", "wss"].iter().any(|known| scheme.eq_ignore_ascii_case(known));
        if !web {
            moved.push_str(before);
            moved.push_str("://");
            rest = &after[3..];
            continue;
        }
        moved.push_str(&before[..before.len() - scheme.len()]);
        let url = &after[3..];
        let (url, tail) = url.split_at(url.find(ends).unwrap_or(url.len()));
        let url = &url[url.find(['/', '?', '#']).unwrap_or(url.len())..];
        let (path, has_query) = url.find(['?', '#']).map_or((url, false), |at| (&url[..at], true));
        moved.push_str(&home(scheme[..1].eq_ignore_ascii_case("w")));
        moved.push_str(path);
        if has_query {
            moved.push('?');
            moved.push_str(query);
        }
        rest = tail;
    }
    moved.push_str(rest);
    moved
}

/// A replay under way.
pub(super) struct Playing {
    cues: Vec<Cue>,
    answers: Mutex<HashMap<(String, String), VecDeque<Reply>>>,
    serial: OnceLock<String>,
}

impl Playing {
    pub(super) fn new(replay: Replay) -> Self {
        Self { cues: replay.cues, answers: Mutex::new(replay.answers), serial: OnceLock::new() }
    }

    /// Whether this is the machine that it is played to: the first that asks.
    pub(super) fn is_for(&self, serial: &str) -> bool {
        self.serial.get_or_init(|| serial.to_owned()) == serial
    }

    /// How a request is to be answered, where the recording knows.
    pub(super) fn reply(&self, head: &Head, bearer: Bearer) -> Option<Reply> {
        // Whether a token holds is for this service to say.
        if routes::wants_bearer(&head.path) && bearer != Bearer::Good {
            return None;
        }
        let mut answers = lock(&self.answers);
        let replies = answers.get_mut(&(head.method.clone(), head.path.clone()))?;
        if replies.len() > 1 { replies.pop_front() } else { replies.front().cloned() }
    }
}

impl Reply {
    /// How it goes wrong on purpose.
    pub(super) fn failure(&self) -> Option<Failure> {
        match self.end {
            ReplyEnd::Whole => None,
            ReplyEnd::Open => Some(Failure::Stall),
            ReplyEnd::Broken if self.status.is_none() || self.body == ReplyBody::Empty => Some(Failure::CutAnswer),
            ReplyEnd::Broken => Some(Failure::ShortBody),
        }
    }

    pub(super) fn answer(self, core: &Core) -> Answer {
        let octets = |body: Arc<[u8]>| Answer::new(200).with("Content-Type", "application/octet-stream").holding(body);
        let mut answer = match self.body {
            ReplyBody::Empty => Answer::new(200),
            ReplyBody::Json(mut json) => {
                core.bring_home(&mut json, None);
                Answer::json(&json)
            }
            ReplyBody::Job => octets(Arc::clone(&core.settings.puls)),
            ReplyBody::Firmware => octets(Arc::clone(&core.settings.firmware)),
            ReplyBody::File(path) => {
                let mut bytes = Vec::new();
                let read = File::open(&path).and_then(|file| file.take(MOST_BYTES).read_to_end(&mut bytes));
                if let Err(error) = read {
                    log::error!("local service: cannot read {} to send it: {error}", path.display());
                    return Answer::text(500, "the recorded body cannot be read");
                }
                octets(bytes.into())
            }
        };
        // One that ends an exchange: a recording may hold anything.
        answer.status = self.status.filter(|status| (200..600).contains(status)).unwrap_or(200);
        match self.retry_after.filter(|when| !when.contains(char::is_control)) {
            Some(when) => answer.with("Retry-After", &when),
            None => answer,
        }
    }
}

impl Core {
    /// Has every URL lead here, and, where it is asked for, a serial number that was hidden be that of this machine.
    fn bring_home(&self, value: &mut Value, serial: Option<&str>) {
        match value {
            Value::String(text) => *text = self.text_at_home(text),
            Value::Array(items) => items.iter_mut().for_each(|item| self.bring_home(item, serial)),
            Value::Object(fields) => {
                for (name, field) in fields {
                    match serial {
                        Some(serial) if name == "machine_serial" && field == "***" => *field = Value::from(serial),
                        _ => self.bring_home(field, serial),
                    }
                }
            }
            _ => {}
        }
    }

    fn text_at_home(&self, text: &str) -> String {
        let http = &self.settings.http_url;
        rehomed(text, |is_ws| if is_ws { http.replacen("http", "ws", 1) } else { http.clone() }, QUERY)
    }
}

/// How much the machine has said and asked for.
#[derive(Default)]
struct Tally {
    /// How many of the things seen are counted.
    counted: usize,
    messages: HashMap<Option<i64>, u64>,
    requests: HashMap<(String, String), u64>,
    /// Actions that have ended as they had not in the recording: nothing more is to come of them.
    ended: HashSet<i64>,
}

impl Tally {
    fn count(&mut self, seen: &[Seen], endings: &HashSet<(i64, String)>) {
        for seen in &seen[self.counted.min(seen.len())..] {
            match seen {
                Seen::WsMessage { message, .. } if message.get("progress").is_none() => {
                    let action = message["action_id"].as_i64();
                    *self.messages.entry(action).or_default() += 1;
                    if let (Some(id), Some(event)) = (action, message["event"].as_str())
                        && is_ending(event)
                        && !endings.contains(&(id, event.to_owned()))
                    {
                        self.ended.insert(id);
                    }
                }
                Seen::Http(request) if !is_opening(&request.path) => {
                    *self.requests.entry((request.method.clone(), request.path.clone())).or_default() += 1;
                }
                _ => {}
            }
        }
        self.counted = seen.len();
    }
}

/// Whether an event is an action's last word: `print:completed` and not `print:download:completed`.
pub(crate) fn is_ending(event: &str) -> bool {
    event.split_once(':').is_some_and(|(_, end)| ["completed", "cancelled", "failed"].contains(&end))
}

/// Whether a request is part of getting connected, which is the machine's own affair.
pub(crate) fn is_opening(path: &str) -> bool {
    path == "/machines/sign_in" || path == "/<ws_token>"
}

/// The messages or the requests of one kind, of which there are to be so many.
#[derive(PartialEq, Eq, Hash, Clone)]
enum Kind {
    Messages(Option<i64>),
    Requests(String, String),
}

/// Walks the session with one machine. Nothing comes back where the service stopped first.
pub(super) fn run(playing: &Playing, core: &Core, machine: &Arc<Machine>) -> Option<Outcome> {
    let mut endings = HashSet::new();
    for cue in &playing.cues {
        if let Cue::Message { action: Some(id), event, .. } = cue
            && is_ending(event)
        {
            endings.insert((*id, event.clone()));
        }
    }
    let (mut tally, mut wanted, mut given_up) = (Tally::default(), HashMap::<Kind, u64>::new(), HashSet::new());
    let mut first_failure = None;
    // Until there is a machine, there is no hurry.
    machine.wait_link(None).ok()?;
    for (index, cue) in playing.cues.iter().enumerate() {
        let (done, what) = match cue {
            Cue::Say { text, timeout } => {
                (say(core, machine, text, *timeout), "the machine was not connected".to_owned())
            }
            Cue::Cut { timeout } => {
                let linked = machine.wait_link(Some(Instant::now() + *timeout));
                if linked.is_ok() {
                    core.cut(machine, Cut::Drain);
                }
                (linked.map(drop), "the machine was not connected, to be cut off".to_owned())
            }
            Cue::Message { action, timeout, .. } | Cue::Request { action, timeout, .. } => {
                let (kind, what) = match cue {
                    Cue::Request { method, path, .. } => {
                        (Kind::Requests(method.clone(), path.clone()), format!("{method} {path}"))
                    }
                    Cue::Message { event, .. } => (Kind::Messages(*action), event.clone()),
                    _ => continue,
                };
                let count = wanted.entry(kind.clone()).or_default();
                *count += 1;
                if given_up.contains(&kind) {
                    continue;
                }
                let deadline = Instant::now() + *timeout;
                let done = core.log.follow(deadline, |seen| {
                    tally.count(seen, &endings);
                    let had = match &kind {
                        Kind::Messages(action) => tally.messages.get(action).copied(),
                        Kind::Requests(method, path) => tally.requests.get(&(method.clone(), path.clone())).copied(),
                    };
                    had.unwrap_or_default() >= *count || action.is_some_and(|id| tally.ended.contains(&id))
                });
                if done == Err(Waited::TooLong) {
                    given_up.insert(kind);
                }
                let of = action.map(|id| format!(" of action {id}")).unwrap_or_default();
                let what = format!("{what} (number {count} in the recording{of})");
                (done, format!("{what} did not come within {timeout:?}"))
            }
        };
        match done {
            Ok(()) => {}
            Err(Waited::TooLong) => {
                first_failure.get_or_insert(Outcome::Failed { step: index + 1, reason: what });
            }
            Err(_) => return None,
        }
    }
    Some(first_failure.unwrap_or(Outcome::Done))
}

fn say(core: &Core, machine: &Arc<Machine>, text: &str, timeout: Duration) -> Result<(), Waited> {
    let text = match serde_json::from_str::<Value>(text) {
        Ok(mut json) => {
            core.bring_home(&mut json, Some(&machine.serial));
            json.to_string()
        }
        Err(_) => core.text_at_home(text),
    };
    let deadline = Instant::now() + timeout;
    loop {
        let link = machine.wait_link(Some(deadline))?;
        if core.send_text(&link, &text).is_ok() {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn moved(text: &str) -> String {
        rehomed(text, |is_ws| if is_ws { "{ws}".into() } else { "{http}".into() }, "q")
    }

    #[test]
    fn every_url_leads_home() {
        for (text, expected) in [
            ("", ""),
            ("no URL: //x ://", "no URL: //x ://"),
            ("https://a.b:1", "{http}"),
            ("https://a.b:1/c/d", "{http}/c/d"),
            ("HTTP://a.b/c?***", "{http}/c?q"),
            ("see wss://a.b?x=1, and http://c/d#e ok", "see {ws}?q and {http}/d?q ok"),
            ("\u{e9}https://me:secret@a.b/c", "\u{e9}{http}/c"),
            ("file:///tmp/https://a/b", "file:///tmp/{http}/b"),
            ("<https://a/b>https://c", "<{http}/b>{http}"),
        ] {
            assert_eq!(moved(text), expected, "{text}");
        }
    }

    #[test]
    fn endings_are_told_from_other_events() {
        assert!(["print:completed", "x:failed", ":cancelled"].into_iter().all(is_ending));
        assert!(["print:download:completed", "completed", "print:reset", ""].into_iter().all(|e| !is_ending(e)));
    }

    proptest! {
        #[test]
        fn no_text_is_too_odd(text in "\\PC{0,60}", scheme in "(https?|wss?|file|)") {
            let once = moved(&format!("{text}{scheme}://{text}"));
            prop_assert_eq!(moved(&once), once);
        }
    }
}
