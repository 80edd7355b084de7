//! A recorded session's service, once more: what it said, when, and how it answered.
//!
//! No clock decides. Each thing is said again when the machine has said and asked for as much as it had in the recording
//! by then, however long that takes; only a machine that never does is given up, after a time.

use std::collections::{HashMap, HashSet, VecDeque};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::control_socket::{Cut, Link};
use super::fault::Failure;
use super::machines::{Machine, Waited};
use super::plan::{Cue, Replay, Reply, ReplyBody, ReplyEnd};
use super::routes;
use super::script::{Ended, Outcome};
use super::seen::{Bearer, Observer, Seen};
use super::server::Core;
use crate::files;
use crate::http_server::request::{Answer, Head};
use crate::sync::lock;

/// What a URL that had a query when it was recorded has in its place: a machine sees that it is presigned.
const QUERY: &str = "replay";
/// No longer body is read back: a machine would refuse it.
const MOST_BYTES: u64 = 128 << 20;
/// How long something is waited for before that is announced.
const QUIET: Duration = Duration::from_secs(2);

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
    /// The machine that it is played to, once it has opened a control socket.
    serial: OnceLock<String>,
    tally: Arc<Mutex<Tally>>,
    /// Files that are being sent, so that many who ask for one share it.
    files: Mutex<HashMap<PathBuf, Weak<[u8]>>>,
}

impl Playing {
    pub(super) fn new(replay: Replay) -> Self {
        let tally = Arc::new(Mutex::new(Tally::of(&replay.cues)));
        let (answers, files) = (Mutex::new(replay.answers), Mutex::default());
        Self { cues: replay.cues, answers, serial: OnceLock::new(), tally, files }
    }

    /// Counts what it is called with.
    pub(super) fn counter(&self) -> Observer {
        let tally = Arc::clone(&self.tally);
        Box::new(move |seen| lock(&tally).count(seen))
    }

    /// Whether this may be the machine that it is played to: another one has not connected yet.
    pub(super) fn may_be_for(&self, serial: &str) -> bool {
        self.serial.get().is_none_or(|theirs| theirs == serial)
    }

    /// Whether this is the machine that it is played to: the first that connects.
    pub(super) fn is_for(&self, serial: &str) -> bool {
        self.serial.get_or_init(|| serial.to_owned()) == serial
    }

    fn file(&self, path: &PathBuf) -> crate::Result<Arc<[u8]>> {
        let mut files = lock(&self.files);
        if let Some(bytes) = files.get(path).and_then(Weak::upgrade) {
            return Ok(bytes);
        }
        let bytes: Arc<[u8]> = files::read(path, MOST_BYTES)?.into();
        files.insert(path.clone(), Arc::downgrade(&bytes));
        Ok(bytes)
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

    pub(super) fn answer(self, core: &Core, playing: &Playing) -> Answer {
        let octets = |body: Arc<[u8]>| Answer::new(200).with("Content-Type", "application/octet-stream").holding(body);
        let mut answer = match self.body {
            ReplyBody::Empty => Answer::new(200),
            ReplyBody::Json(mut json) => {
                core.bring_home(&mut json, None);
                Answer::json(&json)
            }
            ReplyBody::Job => octets(Arc::clone(&core.settings.puls)),
            ReplyBody::Firmware => octets(Arc::clone(&core.settings.firmware)),
            ReplyBody::File(path) => match playing.file(&path) {
                Ok(bytes) => octets(bytes),
                Err(error) => {
                    log::error!("local service: cannot send a recorded body: {error}");
                    return Answer::text(500, "the recorded body cannot be read");
                }
            },
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

    /// What the service had said, as it says it to this machine.
    fn said_at_home(&self, text: &str, serial: &str) -> String {
        match serde_json::from_str::<Value>(text) {
            Ok(mut json) => {
                self.bring_home(&mut json, Some(serial));
                json.to_string()
            }
            Err(_) => self.text_at_home(text),
        }
    }

    fn text_at_home(&self, text: &str) -> String {
        let http = &self.settings.http_url;
        rehomed(text, |is_ws| if is_ws { http.replacen("http", "ws", 1) } else { http.clone() }, QUERY)
    }
}

/// How much the machine has said and asked for, of what the recording has.
struct Tally {
    counts: HashMap<Kind, u64>,
    /// The endings of the recording.
    endings: HashSet<(i64, String)>,
    /// Actions of the recording that have ended as they had not there: nothing more is to come of them.
    ended: HashSet<i64>,
}

impl Tally {
    fn of(cues: &[Cue]) -> Self {
        let counts = cues.iter().filter_map(Kind::of).map(|kind| (kind, 0)).collect();
        let ending = |cue: &Cue| match cue {
            Cue::Message { action: Some(id), event, .. } if is_ending(event) => Some((*id, event.clone())),
            _ => None,
        };
        Self { counts, endings: cues.iter().filter_map(ending).collect(), ended: HashSet::new() }
    }

    fn count(&mut self, seen: &Seen) {
        let kind = match seen {
            Seen::WsMessage { message, .. } if message.get("progress").is_none() => {
                let action = message["action_id"].as_i64();
                if let (Some(id), Some(event)) = (action, message["event"].as_str())
                    && is_ending(event)
                    && self.counts.contains_key(&Kind::Messages(action))
                    && !self.endings.contains(&(id, event.to_owned()))
                {
                    self.ended.insert(id);
                }
                Kind::Messages(action)
            }
            Seen::Http(request) if !is_opening(&request.path) => {
                Kind::Requests(request.method.clone(), request.path.clone())
            }
            _ => return,
        };
        // What the recording has not is nothing that is waited for.
        if let Some(count) = self.counts.get_mut(&kind) {
            *count += 1;
        }
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

impl Kind {
    fn of(cue: &Cue) -> Option<Self> {
        match cue {
            Cue::Message { action, .. } => Some(Self::Messages(*action)),
            Cue::Request { method, path, .. } => Some(Self::Requests(method.clone(), path.clone())),
            Cue::Say { .. } | Cue::Cut { .. } => None,
        }
    }
}

/// Walks the session with one machine that has just connected.
pub(super) fn run(playing: &Playing, core: &Core, machine: &Arc<Machine>) -> Ended {
    let mut walk = Walk { playing, core, machine, wanted: HashMap::new(), given_up: HashSet::new(), failure: None };
    for (index, cue) in playing.cues.iter().enumerate() {
        match walk.cue(cue) {
            Ok(()) => {}
            Err(Missed::InVain(reason)) => walk.fail(index, reason),
            Err(Missed::Left(reason)) => {
                walk.fail(index, reason);
                break;
            }
            Err(Missed::Stopped) => return Ended::Stopped,
        }
    }
    Ended::With(walk.failure.unwrap_or(Outcome::Done))
}

/// Why a cue has no effect.
enum Missed {
    /// It was waited for in vain.
    InVain(String),
    /// The machine has left.
    Left(String),
    /// The service has stopped.
    Stopped,
}

struct Walk<'a> {
    playing: &'a Playing,
    core: &'a Core,
    machine: &'a Arc<Machine>,
    /// How many of each kind the recording has so far.
    wanted: HashMap<Kind, u64>,
    /// What did not come once is not waited for again.
    given_up: HashSet<Kind>,
    failure: Option<Outcome>,
}

impl Walk<'_> {
    fn fail(&mut self, index: usize, reason: String) {
        self.core.log.record(Seen::GivenUp { what: reason.clone() });
        self.failure.get_or_insert(Outcome::Failed { step: index + 1, reason });
    }

    fn cue(&mut self, cue: &Cue) -> Result<(), Missed> {
        match cue {
            Cue::Say { text, timeout } => loop {
                let link = self.link(*timeout)?;
                if self.core.send_text(&link, &self.core.said_at_home(text, &self.machine.serial)).is_ok() {
                    return Ok(());
                }
            },
            Cue::Cut { timeout } => {
                self.link(*timeout)?;
                self.core.cut(self.machine, Cut::Drain);
                Ok(())
            }
            Cue::Message { action, event, timeout } => self.await_one(cue, *action, event, *timeout),
            Cue::Request { action, method, path, timeout } => {
                self.await_one(cue, *action, &format!("{method} {path}"), *timeout)
            }
        }
    }

    /// Waits for one message or request more.
    fn await_one(&mut self, cue: &Cue, action: Option<i64>, what: &str, timeout: Duration) -> Result<(), Missed> {
        let Some(kind) = Kind::of(cue) else { return Ok(()) };
        let count = self.wanted.entry(kind.clone()).or_default();
        *count += 1;
        let count = *count;
        // An action that does not go on makes no requests either.
        let has_stopped = action.is_some() && self.given_up.contains(&Kind::Messages(action));
        if self.given_up.contains(&kind) || has_stopped {
            return Ok(());
        }
        let of = action.map(|id| format!(" of action {id}")).unwrap_or_default();
        let what = format!("{what} (number {count} in the recording{of})");
        let has_come = || {
            let tally = lock(&self.playing.tally);
            let had = tally.counts.get(&kind).copied().unwrap_or_default();
            had >= count || action.is_some_and(|id| tally.ended.contains(&id))
        };
        let done = self.wait(&what, timeout, |deadline| self.core.log.follow(deadline, has_come));
        match done {
            Ok(()) => Ok(()),
            Err(Waited::TooLong) => {
                // Nothing can come of one that is away. It may be about to come back.
                self.link(timeout)?;
                self.given_up.insert(kind);
                Err(Missed::InVain(format!("{what} did not come within {timeout:?}")))
            }
            Err(_) => Err(Missed::Stopped),
        }
    }

    /// The control socket, which may be away for so long.
    fn link(&self, timeout: Duration) -> Result<Arc<Link>, Missed> {
        let what = "the machine, which has left";
        match self.wait(what, timeout, |deadline| self.machine.wait_link(deadline, timeout)) {
            Ok(link) => Ok(link),
            Err(Waited::Stopped) => Err(Missed::Stopped),
            Err(_) => Err(Missed::Left(format!("the machine has left and did not come back within {timeout:?}"))),
        }
    }

    /// Waits; says what for where that takes a while.
    fn wait<T>(
        &self,
        what: &str,
        timeout: Duration,
        mut until: impl FnMut(Instant) -> Result<T, Waited>,
    ) -> Result<T, Waited> {
        let (now, quiet) = (Instant::now(), QUIET.min(timeout / 2));
        match until(now + quiet) {
            Err(Waited::TooLong) => {
                let at_most = timeout.saturating_sub(quiet);
                self.core.log.record(Seen::Waiting { what: what.to_owned(), at_most });
                until(now + timeout)
            }
            done => done,
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
