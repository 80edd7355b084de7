//! What passes between a machine and the local service, a line each, as it happens.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded, select, unbounded};
use gf_emulator_core::local_service::{LocalService, Outcome, Request, Seen};
use gf_emulator_core::record::Recorder;
use gf_emulator_core::replay::{Comparer, Comparison};
use serde_json::Value;

use crate::logging;
use crate::output::say;

/// A script's own time limits are what ends it: this is only far away.
const A_YEAR: Duration = Duration::from_hours(365 * 24);
/// How much of a name that comes from outside is shown.
const LONGEST_NAME: usize = 60;
/// How much is shown of what a replay waits for.
const LONGEST_WAIT: usize = 200;
/// Most lines that wait to be printed. Where standard output is slower than what happens, lines are left out.
const LINES_LIMIT: usize = 10_000;
/// About how many bytes a recording of `serve` may take: anybody who reaches the port writes into it.
pub(crate) const RECORDING_LIMIT_BYTES: u64 = 1 << 30;

/// Lines on their way to standard output.
pub(crate) struct Lines {
    started: Instant,
    sender: Sender<String>,
    receiver: Receiver<String>,
    left_out: AtomicUsize,
}

impl Lines {
    pub(crate) fn new() -> Arc<Self> {
        let (sender, receiver) = unbounded();
        Arc::new(Self { started: Instant::now(), sender, receiver, left_out: AtomicUsize::new(0) })
    }

    /// Adds a line with the time, unless too many wait.
    fn add(&self, line: &str) {
        if self.sender.len() >= LINES_LIMIT {
            self.left_out.fetch_add(1, Ordering::Relaxed);
            return;
        }
        self.note_left_out();
        self.add_always(format!("{:>8.3} s  {line}", self.started.elapsed().as_secs_f64()));
    }

    fn add_always(&self, line: String) {
        // This holds the receiver, too, so it cannot fail.
        let _ = self.sender.send(line);
    }

    fn note_left_out(&self) {
        let left_out = self.left_out.swap(0, Ordering::Relaxed);
        if left_out > 0 {
            self.add_always(format!("({left_out} lines are left out: standard output is too slow)"));
        }
    }
}

/// A recording that [`observer`] writes, up to a limit.
pub(crate) struct Recording {
    /// Set once it is known; nothing where there is none after all.
    pub(crate) recorder: OnceLock<Option<Recorder>>,
    bytes: AtomicU64,
    limit_bytes: u64,
}

impl Recording {
    pub(crate) fn new(limit_bytes: u64) -> Arc<Self> {
        Arc::new(Self { recorder: OnceLock::new(), bytes: AtomicU64::new(0), limit_bytes })
    }

    /// Records something, unless the recording is full. Says so where it is full from now on.
    fn observe(&self, seen: &Seen) -> bool {
        // Whoever connects before there is a recording waits for it.
        let Some(recorder) = self.recorder.wait() else { return false };
        let before = self.bytes.fetch_add(recorded_bytes(seen), Ordering::Relaxed);
        if before < self.limit_bytes {
            recorder.observe(seen);
        }
        before < self.limit_bytes && self.bytes.load(Ordering::Relaxed) >= self.limit_bytes
    }
}

/// About how much a recording has of this. Text may be twice as long as JSON.
fn recorded_bytes(seen: &Seen) -> u64 {
    let text = match seen {
        Seen::Http(request) => {
            let headers = request.headers.iter().map(|(name, value)| name.len() + value.len());
            request.path.len() + request.body.len() + headers.sum::<usize>()
        }
        Seen::WsMessage { text, .. } | Seen::WsSent(text) => text.len(),
        _ => 0,
    };
    2 * text as u64 + 300
}

/// What a replay is compared with, while it goes on.
pub(crate) struct Comparing(Mutex<(Comparer, usize)>);

impl Comparing {
    pub(crate) fn new(comparer: Comparer) -> Arc<Self> {
        Arc::new(Self(Mutex::new((comparer, 0))))
    }

    fn observe(&self, seen: &Seen, lines: &Lines) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (comparer, told) = &mut *state;
        for difference in comparer.push(seen) {
            // Never left out: there is an end of them.
            lines.add_always(logging::clean(&difference.to_string()));
            *told += 1;
        }
    }

    /// What came of it, and how many of the differences were told before. To be called once nothing more is seen.
    pub(crate) fn finish(&self, empty: Comparer) -> (Comparison, usize) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (comparer, told) = std::mem::replace(&mut *state, (empty, 0));
        (comparer.finish(), told)
    }
}

/// What the service calls with everything it sees: adds a line for [`follow`] to print, records it where there is to be
/// a recording, and compares it where there is something to compare it with.
pub(crate) fn observer(
    lines: Arc<Lines>,
    recording: Option<Arc<Recording>>,
    comparing: Option<Arc<Comparing>>,
) -> impl Fn(&Seen) + Send + Sync + 'static {
    move |seen| {
        if recording.as_ref().is_some_and(|recording| recording.observe(seen)) {
            lines.add_always("the recording is full: what comes from now on is not recorded".to_owned());
        }
        if let Some(line) = describe(seen) {
            lines.add(&line);
        }
        if let Some(comparing) = &comparing {
            comparing.observe(seen, &lines);
        }
    }
}

/// Prints lines until the script has ended, or something comes out of `stop`; then calls `at_end` with whether it was
/// stopped, stops the service and prints what came meanwhile. Gives the script's outcome where there was one.
pub(crate) fn follow(
    service: &LocalService,
    lines: &Lines,
    stop: &Receiver<()>,
    at_end: impl FnOnce(bool),
) -> Option<Outcome> {
    thread::scope(|scope| {
        let (tell, told) = bounded(1);
        // Ends with the service at the latest.
        scope.spawn(move || tell.send(service.script_outcome(A_YEAR)));
        let (outcome, stopped) = loop {
            select! {
                recv(lines.receiver) -> line => line.iter().for_each(say),
                recv(told) -> outcome => break (outcome.ok().flatten(), false),
                recv(stop) -> _ => break (None, true),
            }
        };
        at_end(stopped);
        service.stop();
        lines.note_left_out();
        lines.receiver.try_iter().for_each(say);
        outcome
    })
}

/// One line on what was seen; nothing where another line says it.
fn describe(seen: &Seen) -> Option<String> {
    const IN: &str = "machine > service";
    const OUT: &str = "service > machine";
    const STORAGE: &str = "machine > storage";
    const REPLAY: &str = "           replay";
    let (way, what) = match seen {
        // That it was opened says more.
        Seen::Http(request) if request.path == "/<ws_token>" && request.status == 101 => return None,
        Seen::Http(request) if is_storage(&request.path) => (STORAGE, describe_request(request)),
        Seen::Http(request) => (IN, describe_request(request)),
        Seen::WsOpened { .. } => (IN, "WebSocket opened".into()),
        Seen::WsMessage { message, text } => (IN, describe_message(message).unwrap_or_else(|| plain(text))),
        Seen::WsLeftOut { lines } => (IN, format!("{lines} more lines in the same frame, left out")),
        Seen::Waiting { what, at_most } => {
            let what = cut(what, LONGEST_WAIT);
            (REPLAY, format!("waits for {what}, for {:.0} s more at most", at_most.as_secs_f64().ceil()))
        }
        Seen::GivenUp { what } => (REPLAY, cut(what, LONGEST_WAIT)),
        Seen::WsBinary(bytes) => (IN, format!("a binary frame, {}", size(*bytes))),
        Seen::WsPing => (IN, "ping".into()),
        Seen::WsSent(text) => (OUT, describe_action(text).unwrap_or_else(|| plain(text))),
        Seen::WsClosed { code: Some(code) } => (IN, format!("WebSocket closed ({code})")),
        Seen::WsClosed { code: None } => (IN, "WebSocket cut".into()),
        _ => return None,
    };
    Some(format!("{way}  {what}"))
}

fn is_storage(path: &str) -> bool {
    path.starts_with("/up/") || path.starts_with("/dl/")
}

fn describe_request(request: &Request) -> String {
    let mut line = format!("{} {}", plain(&request.method), plain(&request.path));
    if let Some(event) = Seen::Http(request.clone()).event() {
        let _ = write!(line, " {}", plain(&event));
    } else if is_picture(request) {
        let _ = write!(line, " image/jpeg {}", size(request.body_len));
    }
    let _ = match request.status {
        0 => write!(line, " -> cut off"),
        status => write!(line, " -> {status}"),
    };
    line
}

/// Whether this brings a picture.
pub(crate) fn is_picture(request: &Request) -> bool {
    request.header("content-type") == Some("image/jpeg")
}

fn describe_message(message: &Value) -> Option<String> {
    let id = |of: &Value| of["action_id"].as_i64().map(|id| format!(" ({id})")).unwrap_or_default();
    if let Some(event) = message["event"].as_str() {
        return Some(format!("{}{}", plain(event), id(message)));
    }
    let progress = plain(message["progress"].as_str()?);
    Some(format!("{progress} {}/{}{}", message["current"].as_u64()?, message["total"].as_u64()?, id(message)))
}

fn describe_action(text: &str) -> Option<String> {
    let action: Value = serde_json::from_str(text).ok()?;
    let [kind, status] = [action["action_type"].as_str()?, action["status"].as_str()?].map(plain);
    Some(format!("{kind} {} {status}", action["id"].as_i64()?))
}

/// A name from outside, as it may reach a terminal.
fn plain(text: &str) -> String {
    cut(text, LONGEST_NAME)
}

/// Text from outside, as it may reach a terminal: one line, not too long, no control characters, no secrets.
fn cut(text: &str, limit: usize) -> String {
    // Before it is cut: half a secret is not known for one.
    let text = logging::clean(text.trim_end());
    let mut shown: String = text.chars().take(limit).map(|c| if c.is_control() { '?' } else { c }).collect();
    if text.chars().nth(limit).is_some() {
        shown.push_str("...");
    }
    shown
}

/// A number of bytes for people.
pub(crate) fn size(bytes: usize) -> String {
    match bytes {
        0..1000 => format!("{bytes} B"),
        1000..1_000_000 => format!("{:.0} kB", bytes as f64 / 1e3),
        _ => format!("{:.1} MB", bytes as f64 / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use gf_emulator_core::{Secret, Secrets};
    use serde_json::json;

    use super::*;

    fn message(message: Value) -> String {
        let text = message.to_string();
        describe(&Seen::WsMessage { message, text }).unwrap()
    }

    #[test]
    fn messages_of_the_machine_are_told_by_event_and_action() {
        assert_eq!(
            message(json!({"event": "lid_image:completed", "action_id": 7})),
            "machine > service  lid_image:completed (7)"
        );
        assert_eq!(message(json!({"event": "button:pressed"})), "machine > service  button:pressed");
        let progress = json!({"progress": "print:progress", "current": 5, "total": 10, "action_id": 7});
        assert_eq!(message(progress), "machine > service  print:progress 5/10 (7)");
    }

    #[test]
    fn what_the_service_says_is_told_by_what_it_asks() {
        let sent =
            Seen::WsSent(r#"{"id":1002,"action_type":"lid_image","status":"ready","endpoint":"u?secret"}"#.into());
        assert_eq!(describe(&sent).unwrap(), "service > machine  lid_image 1002 ready");
        assert_eq!(describe(&Seen::WsSent("{oops".into())).unwrap(), "service > machine  {oops");
    }

    #[test]
    fn what_comes_from_outside_cannot_steer_a_terminal() {
        let nasty = message(json!({"event": format!("\u{1b}[2J\r\n{}", "x".repeat(1000))}));
        assert!(!nasty.contains(char::is_control), "{nasty:?}");
        assert!(nasty.len() < 100, "{nasty}");
        assert_eq!(message(json!(["\u{7f}"])), "machine > service  [\"?\"]");
    }

    #[test]
    fn what_a_machine_repeats_of_its_secrets_is_not_shown() {
        let secrets = Secrets::default();
        logging::hide(secrets.clone());
        let password = "conversation-".repeat(6);
        secrets.add(&Secret::new(password.as_str()));
        for line in [
            message(json!({"event": format!("{password}:completed"), "action_id": 7})),
            message(json!({"event": format!("{}{password}", "x".repeat(LONGEST_NAME / 2))})),
            message(json!(["not an event", password])),
            describe(&Seen::WsSent(format!("no JSON {password}"))).unwrap(),
            describe(&Seen::GivenUp { what: format!("{password} has not come") }).unwrap(),
        ] {
            assert!(line.contains("***") && !line.contains("conversation-"), "{line}");
        }
    }

    #[test]
    fn lines_that_nobody_prints_are_counted_and_not_kept() {
        let lines = Lines::new();
        let observer = observer(Arc::clone(&lines), None, None);
        for _ in 0..LINES_LIMIT + 5 {
            observer(&Seen::WsPing);
        }
        assert_eq!(lines.receiver.len(), LINES_LIMIT);
        lines.note_left_out();
        assert_eq!(
            lines.receiver.iter().take(LINES_LIMIT + 1).last().unwrap(),
            "(5 lines are left out: standard output is too slow)"
        );
    }

    #[test]
    fn a_recording_has_an_end() {
        let folder = tempfile::tempdir().unwrap();
        let lines = Lines::new();
        let recording = Recording::new(100_000);
        let recorder = Recorder::of_service(folder.path(), "http://localhost").unwrap();
        recording.recorder.set(Some(recorder)).unwrap();
        let observer = observer(Arc::clone(&lines), Some(Arc::clone(&recording)), None);
        for _ in 0..1000 {
            observer(&Seen::WsSent("x".repeat(1000)));
        }
        drop((observer, recording));
        let size = std::fs::metadata(folder.path().join("session.jsonl")).unwrap().len();
        assert!((20_000..200_000).contains(&size), "{size}");
        let full = lines.receiver.try_iter().filter(|line| line.starts_with("the recording is full")).count();
        assert_eq!(full, 1);
    }

    #[test]
    fn every_way_to_close_has_its_words() {
        let [closed, cut] = [Some(1000), None].map(|code| describe(&Seen::WsClosed { code }).unwrap());
        assert_eq!(
            [closed.as_str(), &cut],
            ["machine > service  WebSocket closed (1000)", "machine > service  WebSocket cut"]
        );
        assert_eq!(describe(&Seen::SignIn { ok: true, json: true }), None);
    }

    #[test]
    fn sizes_are_for_people() {
        assert_eq!([0, 999, 1000, 23_400, 1_500_000].map(size), ["0 B", "999 B", "1 kB", "23 kB", "1.5 MB"]);
    }
}
