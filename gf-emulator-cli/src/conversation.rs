//! What passes between a machine and the local service, a line each, as it happens.

use std::fmt::Write;
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded, select};
use gf_emulator_core::local_service::{LocalService, Outcome, Request, Seen};
use gf_emulator_core::record::Recorder;
use serde_json::Value;

use crate::output::say;

/// A script's own time limits are what ends it: this is only far away.
const A_YEAR: Duration = Duration::from_hours(365 * 24);
/// How much of a name that comes from outside is shown.
const LONGEST_NAME: usize = 60;

/// What the service calls with everything it sees: puts a line into the queue, for [`follow`] to print, and into a
/// recording, where there is to be one.
pub(crate) fn observer(
    lines: Sender<String>,
    recorder: Option<Arc<OnceLock<Recorder>>>,
) -> impl Fn(&Seen) + Send + Sync + 'static {
    let started = Instant::now();
    move |seen| {
        if let Some(recorder) = &recorder {
            recorder.wait().observe(seen);
        }
        if let Some(line) = describe(seen) {
            // Nobody prints any more where the program is about to end.
            let _ = lines.send(format!("{:>8.3} s  {line}", started.elapsed().as_secs_f64()));
        }
    }
}

/// Prints lines until the script has ended, or something comes out of `stop`; then calls `at_end`, stops the service and
/// prints what came meanwhile. Gives the script's outcome where there was one.
pub(crate) fn follow(
    service: &LocalService,
    lines: &Receiver<String>,
    stop: &Receiver<()>,
    at_end: impl FnOnce(),
) -> Option<Outcome> {
    thread::scope(|scope| {
        let (tell, told) = bounded(1);
        // Ends with the service at the latest.
        scope.spawn(move || tell.send(service.script_outcome(A_YEAR)));
        let outcome = loop {
            select! {
                recv(lines) -> line => line.iter().for_each(say),
                recv(told) -> outcome => break outcome.ok().flatten(),
                recv(stop) -> _ => break None,
            }
        };
        at_end();
        service.stop();
        lines.try_iter().for_each(say);
        outcome
    })
}

/// One line on what was seen; nothing where another line says it.
fn describe(seen: &Seen) -> Option<String> {
    const IN: &str = "machine > service";
    const OUT: &str = "service > machine";
    const STORAGE: &str = "machine > storage";
    let (way, what) = match seen {
        // That it was opened says more.
        Seen::Http(request) if request.path == "/<ws_token>" && request.status == 101 => return None,
        Seen::Http(request) if is_storage(&request.path) => (STORAGE, describe_request(request)),
        Seen::Http(request) => (IN, describe_request(request)),
        Seen::WsOpened { .. } => (IN, "WebSocket opened".into()),
        Seen::WsMessage { message, text } => (IN, describe_message(message).unwrap_or_else(|| plain(text))),
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

/// Text from outside, as it may reach a terminal: one line, not too long, no control characters.
fn plain(text: &str) -> String {
    let text = text.trim_end();
    let mut shown: String = text.chars().take(LONGEST_NAME).map(|c| if c.is_control() { '?' } else { c }).collect();
    if text.chars().nth(LONGEST_NAME).is_some() {
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
