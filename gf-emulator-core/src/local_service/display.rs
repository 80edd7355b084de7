//! [`Seen`] as a line for people.

use std::fmt::{self, Write};

use serde_json::Value;

use super::behaviour::BehaviourChange;
use super::protocol::{SENSOR_PATH, SIGN_IN_PATH, WS_TOKEN_PATH};
use super::seen::{Request, Seen};
use crate::words::size;

/// Maximum length of a name that a peer chose, in characters; longer ones are cut.
const NAME_LIMIT: usize = 60;
/// Maximum length of a replay's status text or of a log message of a machine.
pub(super) const LONG_LIMIT: usize = 200;
/// Who sends to whom.
const FROM_MACHINE: &str = "machine > service";
const TO_MACHINE: &str = "service > machine";
const TO_STORAGE: &str = "machine > storage";
const REPLAY: &str = "           replay";
const SERVICE: &str = "          service";
const FAULT: &str = "            fault";

/// One line, safe to print on a terminal: control characters become `?`, and long names are cut. Peers choose part of
/// it, so it may contain their secrets: see [`Seen::to_line`].
impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_line(str::to_owned))
    }
}

impl Seen {
    /// Returns whether another event reports the same: a sign-in and a held request are followed by their
    /// [`Http`](Self::Http), a successful handshake by [`WsOpened`](Self::WsOpened).
    #[must_use]
    pub fn is_redundant(&self) -> bool {
        match self {
            Self::SignIn { .. } | Self::Held { .. } => true,
            Self::Http(request) => request.path == WS_TOKEN_PATH && request.status == 101,
            _ => false,
        }
    }

    /// As [`Display`](fmt::Display), with `redact` applied to everything that a peer chose.
    ///
    /// `redact` gets the text before it is cut: half a secret would not be recognised.
    ///
    /// ```
    /// use gf_emulator_core::local_service::Seen;
    /// use gf_emulator_core::{Secret, Secrets};
    ///
    /// let secrets = Secrets::default();
    /// secrets.add(&Secret::new("password-1"));
    /// let sent = Seen::WsSent("a text with password-1".to_owned());
    /// assert_eq!(sent.to_line(|text| secrets.redact(text)), "service > machine  a text with ***");
    /// ```
    #[must_use]
    pub fn to_line(&self, redact: impl Fn(&str) -> String) -> String {
        let text = Text(&redact);
        let (direction, what) = match self {
            Self::Http(request) if request.path.starts_with("/up/") || request.path.starts_with("/dl/") => {
                (TO_STORAGE, text.request(request))
            }
            Self::Http(request) => (FROM_MACHINE, text.request(request)),
            Self::Held { method, path } => {
                (FROM_MACHINE, format!("{} {}: the response is held back", text.name(method), text.name(path)))
            }
            Self::SignIn { ok, .. } => {
                (FROM_MACHINE, format!("{SIGN_IN_PATH}: {}", if *ok { "accepted" } else { "refused" }))
            }
            Self::WsOpened { .. } => (FROM_MACHINE, "WebSocket opened".to_owned()),
            Self::WsMessage { message, text: raw } => {
                let known = text.log(message, raw).or_else(|| text.message(message));
                (FROM_MACHINE, known.unwrap_or_else(|| text.name(raw)))
            }
            Self::WsLeftOut { lines } => (FROM_MACHINE, format!("{lines} more lines in the same frame, left out")),
            Self::Waiting { what, at_most } => {
                let (what, left_s) = (text.cut(what, LONG_LIMIT), at_most.as_secs_f64().ceil());
                (REPLAY, format!("waiting for {what}, at most {left_s:.0} s more"))
            }
            Self::GivenUp { what } => (REPLAY, text.cut(what, LONG_LIMIT)),
            Self::Behaviour { serial, change, print } => {
                (SERVICE, format!("{}: {}", text.name(serial), text.change(change, print.as_deref())))
            }
            Self::Fault { machine, what } => (FAULT, format!("machine {machine}: {}", text.cut(what, LONG_LIMIT))),
            Self::WsBinary(bytes) => (FROM_MACHINE, format!("a binary frame, {}", size(*bytes as u64))),
            Self::WsPing => (FROM_MACHINE, "ping".to_owned()),
            Self::WsPong => (FROM_MACHINE, "pong".to_owned()),
            Self::WsSent(raw) => (TO_MACHINE, text.action(raw).unwrap_or_else(|| text.name(raw))),
            Self::WsClosed { code: Some(code) } => (FROM_MACHINE, format!("WebSocket closed ({code})")),
            Self::WsClosed { code: None } => (FROM_MACHINE, "WebSocket cut".to_owned()),
        };
        format!("{direction}  {what}")
    }
}

/// Renders text from peers with this redaction.
pub(super) struct Text<'a>(pub(super) &'a dyn Fn(&str) -> String);

impl Text<'_> {
    fn request(&self, request: &Request) -> String {
        let mut line = format!("{} {}", self.name(&request.method), self.name(&request.path));
        if let Some(event) = Seen::Http(request.clone()).event() {
            let _ = write!(line, " {}", self.name(&event));
        } else if request.is_picture() {
            let _ = write!(line, " image/jpeg {}", size(request.body_len as u64));
        } else if request.path == SENSOR_PATH {
            let _ = write!(line, " {}", size(request.body_len as u64));
        }
        let _ = match request.status {
            0 => write!(line, " -> cut off"),
            status => write!(line, " -> {status}"),
        };
        line
    }

    fn message(&self, message: &Value) -> Option<String> {
        let id = message["action_id"].as_i64().map(|id| format!(" ({id})")).unwrap_or_default();
        if let Some(event) = message["event"].as_str() {
            return Some(format!("{}{id}", self.name(event)));
        }
        let progress = self.name(message["progress"].as_str()?);
        let current = message["current"].as_u64()?;
        // Without a total, the length of a transfer is not known.
        Some(match (message["total"].as_u64(), message["units"].as_str()) {
            (Some(total), _) => format!("{progress} {current}/{total}{id}"),
            (None, units) => format!("{progress} {current} {}{id}", self.name(units.unwrap_or_default())),
        })
    }

    /// A message of the type `log`. None of its fields are known, so it is shown as it is.
    fn log(&self, message: &Value, raw: &str) -> Option<String> {
        (message["type"].as_str() == Some("log")).then(|| format!("log {}", self.cut(raw, LONG_LIMIT)))
    }

    pub(super) fn change(&self, change: &BehaviourChange, print: Option<&str>) -> String {
        match change {
            BehaviourChange::HomingStarted => "homing has started".to_owned(),
            BehaviourChange::HomingSkipped => "no homing: its settings report is empty".to_owned(),
            BehaviourChange::Homed => "homing is over".to_owned(),
            BehaviourChange::WaitingForLid => {
                "waiting for lid:closed: an action has failed or was cancelled, as if the lid were open: open it, and close it"
                    .to_owned()
            }
            BehaviourChange::Print { number, state } => {
                format!("print {number} ({}): {state}", self.name(print.unwrap_or_default()))
            }
        }
    }

    fn action(&self, text: &str) -> Option<String> {
        let action: Value = serde_json::from_str(text).ok()?;
        let [action_type, status] = [&action["action_type"], &action["status"]].map(Value::as_str);
        Some(format!("{} {} {}", self.name(action_type?), action["id"].as_i64()?, self.name(status?)))
    }

    pub(super) fn name(&self, text: &str) -> String {
        self.cut(text, NAME_LIMIT)
    }

    pub(super) fn cut(&self, text: &str, limit: usize) -> String {
        let text = (self.0)(text.trim_end());
        let mut shown: String = text.chars().take(limit).map(|c| if c.is_control() { '?' } else { c }).collect();
        if text.chars().nth(limit).is_some() {
            shown.push_str("...");
        }
        shown
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{Secret, Secrets};

    fn message(message: Value) -> Seen {
        let text = message.to_string();
        Seen::WsMessage { message, text }
    }

    #[test]
    fn shows_the_event_and_action_of_a_message() {
        for (json, line) in [
            (json!({"event": "lid_image:completed", "action_id": 7}), "machine > service  lid_image:completed (7)"),
            (json!({"event": "button:pressed"}), "machine > service  button:pressed"),
            (
                json!({"progress": "print:progress", "current": 5, "total": 10, "action_id": 7}),
                "machine > service  print:progress 5/10 (7)",
            ),
            (
                json!({"progress": "motion:download", "current": 5, "units": "bytes", "action_id": 7}),
                "machine > service  motion:download 5 bytes (7)",
            ),
            (
                json!({"type": "progress", "progress": "lid_image:upload", "current": 5, "units": "bytes"}),
                "machine > service  lid_image:upload 5 bytes",
            ),
            (json!({"id": 7, "type": "log"}), "machine > service  log {\"id\":7,\"type\":\"log\"}"),
            (json!(["\u{7f}"]), "machine > service  [\"?\"]"),
        ] {
            assert_eq!(message(json).to_string(), line);
        }
    }

    #[test]
    fn shows_the_type_id_and_status_of_an_action() {
        let action = r#"{"id":1002,"action_type":"lid_image","status":"ready","endpoint":"u?secret"}"#;
        for (text, line) in [(action, "service > machine  lid_image 1002 ready"), ("{oops", "service > machine  {oops")]
        {
            assert_eq!(Seen::WsSent(text.to_owned()).to_string(), line);
        }
    }

    #[test]
    fn tells_a_close_from_a_cut() {
        let [closed, cut] = [Some(1000), None].map(|code| Seen::WsClosed { code }.to_string());
        assert_eq!(
            [closed.as_str(), &cut],
            ["machine > service  WebSocket closed (1000)", "machine > service  WebSocket cut"]
        );
    }

    #[test]
    fn is_one_short_line_whatever_a_peer_sends() {
        let line = message(json!({"event": format!("\u{1b}[2J\r\n{}", "x".repeat(1000))})).to_string();
        assert!(!line.contains(char::is_control), "{line:?}");
        assert!(line.len() < 100, "{line}");
    }

    #[test]
    fn redacts_secrets_before_it_cuts() {
        let secrets = Secrets::default();
        let password = "conversation-".repeat(6);
        secrets.add(&Secret::new(password.as_str()));
        for seen in [
            message(json!({"event": format!("{password}:completed"), "action_id": 7})),
            message(json!({"event": format!("{}{password}", "x".repeat(NAME_LIMIT / 2))})),
            message(json!(["not an event", password])),
            Seen::WsSent(format!("no JSON {password}")),
            Seen::GivenUp { what: format!("{password} did not arrive") },
        ] {
            let line = seen.to_line(|text| secrets.redact(text));
            assert!(line.contains("***") && !line.contains("conversation-"), "{line}");
        }
    }
}
