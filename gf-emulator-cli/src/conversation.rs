//! What machines and the local service send each other, printed line by line as it happens.

use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded, select, unbounded};
use gf_emulator_core::local_service::{LocalService, Outcome, Request, Seen};
use gf_emulator_core::replay::{LimitedRecorder, SharedComparer};
use serde_json::Value;

use crate::logging;
use crate::output::print;

/// Far away: a script ends by its own timeouts.
const A_YEAR: Duration = Duration::from_hours(365 * 24);
/// The most characters shown of a name from outside.
const NAME_CHARS: usize = 60;
/// The most characters shown of what a replay waits for.
const WAIT_CHARS: usize = 200;
/// The most lines that wait to be printed. More are dropped, if stdout is slower than the conversation.
const LINES_LIMIT: usize = 10_000;

/// A bounded queue of lines for stdout.
pub(crate) struct LineQueue {
    started: Instant,
    sender: Sender<String>,
    receiver: Receiver<String>,
    dropped: AtomicUsize,
}

impl LineQueue {
    pub(crate) fn new() -> Arc<Self> {
        let (sender, receiver) = unbounded();
        Arc::new(Self { started: Instant::now(), sender, receiver, dropped: AtomicUsize::new(0) })
    }

    /// Adds a line with the time, or drops it if the queue is full.
    fn add(&self, line: &str) {
        if self.sender.len() >= LINES_LIMIT {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        self.report_dropped();
        self.add_always(format!("{:>8.3} s  {line}", self.started.elapsed().as_secs_f64()));
    }

    /// Adds a line of which there are few.
    fn add_always(&self, line: String) {
        // Cannot fail: `self` holds the receiver.
        let _ = self.sender.send(line);
    }

    fn report_dropped(&self) {
        let dropped = self.dropped.swap(0, Ordering::Relaxed);
        if dropped > 0 {
            self.add_always(format!("({dropped} lines dropped: standard output is too slow)"));
        }
    }
}

/// Returns the service's observer: it queues a line for [`print_until_done`], records, and compares.
pub(crate) fn observer(
    lines: Arc<LineQueue>,
    recorder: Option<Arc<LimitedRecorder>>,
    comparer: Option<Arc<SharedComparer>>,
) -> impl Fn(&Seen) + Send + Sync + 'static {
    move |seen| {
        if recorder.as_ref().is_some_and(|recorder| recorder.observe(seen)) {
            lines.add_always("the recording is full: nothing more is recorded".to_owned());
        }
        if let Some(line) = describe(seen) {
            lines.add(&line);
        }
        if let Some(comparer) = &comparer {
            // Never dropped: their number is limited.
            comparer.observe(seen, |difference| lines.add_always(logging::clean(&difference.to_string())));
        }
    }
}

/// Prints queued lines until the script has ended or `stop` receives a message. Then calls `at_end` with whether it was
/// stopped, stops the service, and prints the rest. Returns the script's outcome, if any.
pub(crate) fn print_until_done(
    service: &LocalService,
    lines: &LineQueue,
    stop: &Receiver<()>,
    at_end: impl FnOnce(bool),
) -> Option<Outcome> {
    thread::scope(|scope| {
        let (done, is_done) = bounded(1);
        // Returns when the service stops, at the latest.
        scope.spawn(move || done.send(service.script_outcome(A_YEAR)));
        let (outcome, stopped) = loop {
            select! {
                recv(lines.receiver) -> line => line.iter().for_each(print),
                recv(is_done) -> outcome => break (outcome.ok().flatten(), false),
                recv(stop) -> _ => break (None, true),
            }
        };
        at_end(stopped);
        service.stop();
        lines.report_dropped();
        lines.receiver.try_iter().for_each(print);
        outcome
    })
}

/// Describes what was seen in one line, or returns `None` if another line covers it.
fn describe(seen: &Seen) -> Option<String> {
    const IN: &str = "machine > service";
    const OUT: &str = "service > machine";
    const STORAGE: &str = "machine > storage";
    const REPLAY: &str = "           replay";
    let (way, what) = match seen {
        // `WsOpened` covers it.
        Seen::Http(request) if request.path == "/<ws_token>" && request.status == 101 => return None,
        Seen::Http(request) if is_storage(&request.path) => (STORAGE, describe_request(request)),
        Seen::Http(request) => (IN, describe_request(request)),
        Seen::WsOpened { .. } => (IN, "WebSocket opened".into()),
        Seen::WsMessage { message, text } => (IN, describe_message(message).unwrap_or_else(|| plain(text))),
        Seen::WsLeftOut { lines } => (IN, format!("{lines} more lines in the same frame, not shown")),
        Seen::Waiting { what, at_most } => {
            let what = cut(what, WAIT_CHARS);
            (REPLAY, format!("waits for {what}, for {:.0} s more at most", at_most.as_secs_f64().ceil()))
        }
        Seen::GivenUp { what } => (REPLAY, cut(what, WAIT_CHARS)),
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

/// Returns whether this uploads a picture.
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

/// Sanitizes a name from outside for a terminal.
fn plain(text: &str) -> String {
    cut(text, NAME_CHARS)
}

/// Sanitizes text from outside for a terminal: one line of limited length without control characters and secrets.
fn cut(text: &str, limit: usize) -> String {
    // Before it is cut: part of a secret would not be recognised.
    let text = logging::clean(text.trim_end());
    let mut shown: String = text.chars().take(limit).map(|c| if c.is_control() { '?' } else { c }).collect();
    if text.chars().nth(limit).is_some() {
        shown.push_str("...");
    }
    shown
}

/// Formats a number of bytes.
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
    fn shows_messages_as_event_and_action() {
        assert_eq!(
            message(json!({"event": "lid_image:completed", "action_id": 7})),
            "machine > service  lid_image:completed (7)"
        );
        assert_eq!(message(json!({"event": "button:pressed"})), "machine > service  button:pressed");
        let progress = json!({"progress": "print:progress", "current": 5, "total": 10, "action_id": 7});
        assert_eq!(message(progress), "machine > service  print:progress 5/10 (7)");
    }

    #[test]
    fn shows_actions_as_type_id_and_status() {
        let sent =
            Seen::WsSent(r#"{"id":1002,"action_type":"lid_image","status":"ready","endpoint":"u?secret"}"#.into());
        assert_eq!(describe(&sent).unwrap(), "service > machine  lid_image 1002 ready");
        assert_eq!(describe(&Seen::WsSent("{oops".into())).unwrap(), "service > machine  {oops");
    }

    #[test]
    fn removes_control_characters() {
        let nasty = message(json!({"event": format!("\u{1b}[2J\r\n{}", "x".repeat(1000))}));
        assert!(!nasty.contains(char::is_control), "{nasty:?}");
        assert!(nasty.len() < 100, "{nasty}");
        assert_eq!(message(json!(["\u{7f}"])), "machine > service  [\"?\"]");
    }

    #[test]
    fn hides_secrets() {
        let secrets = Secrets::default();
        logging::secrets().follow(&secrets);
        let password = "conversation-".repeat(6);
        secrets.keep(&Secret::new(password.as_str()));
        for line in [
            message(json!({"event": format!("{password}:completed"), "action_id": 7})),
            message(json!({"event": format!("{}{password}", "x".repeat(NAME_CHARS / 2))})),
            message(json!(["not an event", password])),
            describe(&Seen::WsSent(format!("no JSON {password}"))).unwrap(),
            describe(&Seen::GivenUp { what: format!("{password} has not come") }).unwrap(),
        ] {
            assert!(line.contains("***") && !line.contains("conversation-"), "{line}");
        }
    }

    #[test]
    fn drops_and_counts_lines_of_a_full_queue() {
        let lines = LineQueue::new();
        let observer = observer(Arc::clone(&lines), None, None);
        for _ in 0..LINES_LIMIT + 5 {
            observer(&Seen::WsPing);
        }
        assert_eq!(lines.receiver.len(), LINES_LIMIT);
        lines.report_dropped();
        assert_eq!(
            lines.receiver.iter().take(LINES_LIMIT + 1).last().unwrap(),
            "(5 lines dropped: standard output is too slow)"
        );
    }

    #[test]
    fn shows_how_a_websocket_was_closed() {
        let [closed, cut] = [Some(1000), None].map(|code| describe(&Seen::WsClosed { code }).unwrap());
        assert_eq!(
            [closed.as_str(), &cut],
            ["machine > service  WebSocket closed (1000)", "machine > service  WebSocket cut"]
        );
        assert_eq!(describe(&Seen::SignIn { ok: true, json: true }), None);
    }

    #[test]
    fn formats_sizes() {
        assert_eq!([0, 999, 1000, 23_400, 1_500_000].map(size), ["0 B", "999 B", "1 kB", "23 kB", "1.5 MB"]);
    }
}
