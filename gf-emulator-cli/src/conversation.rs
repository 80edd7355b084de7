//! What machines and the local service send each other, one line each.

use std::fmt::Write;

use gf_emulator_core::local_service::{Request, Seen};
use serde_json::Value;

use crate::logging;

/// The most characters shown of a name from outside.
const NAME_CHARS: usize = 60;
/// The most characters shown of what a replay waits for.
const WAIT_CHARS: usize = 200;

/// Describes what was seen in one line, or returns `None` if another line covers it.
pub(crate) fn describe(seen: &Seen) -> Option<String> {
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
fn is_picture(request: &Request) -> bool {
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
fn size(bytes: usize) -> String {
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
