//! [`Seen`] as JSON for programs.

use serde_json::{Map, Value, json};

use super::behaviour::BehaviourChange;
use super::display::{LONG_LIMIT, Text};
use super::seen::{Request, Seen};

/// The fields of a machine's message that are shown.
const MESSAGE_FIELDS: [&str; 6] = ["event", "progress", "action_id", "current", "total", "units"];
/// The fields of an action that are shown, and the names they get.
const ACTION_FIELDS: [(&str, &str); 3] = [("action_type", "action"), ("id", "id"), ("status", "status")];

impl Seen {
    /// Returns it as JSON: an object with `kind`, and what belongs to it.
    ///
    /// | `kind` | fields |
    /// |---|---|
    /// | `request` | `method`, `path`, `status` (null if the connection was cut), `bytes` of the body; `event` if it has one |
    /// | `held` | `method`, `path` |
    /// | `sign_in` | `accepted` |
    /// | `opened`, `closed` | `closed`: `code`, null if the connection was cut |
    /// | `message` | `event` or `progress`, `action_id`, `current`, `total`, `units`; another message: `text` |
    /// | `action` | `action`, `id`, `status`; another frame: `text` |
    /// | `left_out` | `lines` |
    /// | `waiting`, `given_up` | `what`; `waiting`: `at_most_s` |
    /// | `service` | `serial`, `change`; of a print: `print`, `number`, `state` |
    /// | `fault` | `machine`, `what` |
    /// | `binary` | `bytes` |
    /// | `ping`, `pong` | |
    ///
    /// `redact` is applied to everything that a peer chose. Long texts are cut, as in [`to_line`](Self::to_line).
    #[must_use]
    pub fn to_json(&self, redact: impl Fn(&str) -> String) -> Value {
        let text = Text(&redact);
        match self {
            Self::Http(request) => text.request_json(request),
            Self::Held { method, path } => {
                json!({"kind": "held", "method": text.name(method), "path": text.name(path)})
            }
            Self::SignIn { ok, .. } => json!({"kind": "sign_in", "accepted": ok}),
            Self::WsOpened { .. } => json!({"kind": "opened"}),
            Self::WsMessage { message, text: raw } => {
                let shown = MESSAGE_FIELDS.map(|field| (field, message.get(field)));
                text.fields("message", shown).unwrap_or_else(|| text.other("message", raw))
            }
            Self::WsLeftOut { lines } => json!({"kind": "left_out", "lines": lines}),
            Self::Waiting { what, at_most } => {
                json!({"kind": "waiting", "what": text.cut(what, LONG_LIMIT), "at_most_s": at_most.as_secs_f64()})
            }
            Self::GivenUp { what } => json!({"kind": "given_up", "what": text.cut(what, LONG_LIMIT)}),
            Self::Behaviour { serial, change, print } => {
                let what = text.change(change, print.as_deref());
                let mut object = json!({"kind": "service", "serial": text.name(serial), "change": what});
                if let BehaviourChange::Print { number, state } = change {
                    object["print"] = text.name(print.as_deref().unwrap_or_default()).into();
                    object["number"] = (*number).into();
                    object["state"] = state.to_string().into();
                }
                object
            }
            Self::Fault { machine, what } => {
                json!({"kind": "fault", "machine": machine, "what": text.cut(what, LONG_LIMIT)})
            }
            Self::WsBinary(bytes) => json!({"kind": "binary", "bytes": bytes}),
            Self::WsPing => json!({"kind": "ping"}),
            Self::WsPong => json!({"kind": "pong"}),
            Self::WsSent(raw) => {
                let action: Value = serde_json::from_str(raw).unwrap_or_default();
                let shown = ACTION_FIELDS.map(|(field, name)| (name, action.get(field)));
                text.fields("action", shown).unwrap_or_else(|| text.other("action", raw))
            }
            Self::WsClosed { code } => json!({"kind": "closed", "code": code}),
        }
    }
}

impl Text<'_> {
    fn request_json(&self, request: &Request) -> Value {
        let status = Some(request.status).filter(|status| *status != 0);
        let mut object = json!({
            "kind": "request",
            "method": self.name(&request.method),
            "path": self.name(&request.path),
            "status": status,
            "bytes": request.body_len,
        });
        if let Some(event) = Seen::Http(request.clone()).event() {
            object["event"] = self.name(&event).into();
        }
        object
    }

    /// Returns an object with those of the fields that are texts or numbers, or `None` if none is.
    fn fields<'v>(&self, kind: &str, shown: impl IntoIterator<Item = (&'v str, Option<&'v Value>)>) -> Option<Value> {
        let mut object = Map::from_iter([("kind".to_owned(), json!(kind))]);
        for (name, value) in shown {
            match value {
                Some(Value::String(text)) => _ = object.insert(name.to_owned(), self.name(text).into()),
                Some(number @ Value::Number(_)) => _ = object.insert(name.to_owned(), number.clone()),
                _ => {}
            }
        }
        (object.len() > 1).then_some(Value::Object(object))
    }

    fn other(&self, kind: &str, raw: &str) -> Value {
        json!({"kind": kind, "text": self.cut(raw, LONG_LIMIT)})
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Secret, Secrets};

    #[test]
    fn messages_and_actions_have_their_names_and_numbers() {
        let message = json!({"type": "event", "event": "print:completed", "action_id": 7, "data": {"a": 1}});
        let text = message.to_string();
        for (seen, expected) in [
            (Seen::WsMessage { message, text }, json!({"kind": "message", "event": "print:completed", "action_id": 7})),
            (
                Seen::WsSent(r#"{"id":7,"action_type":"print","status":"ready","motion_url":"x"}"#.to_owned()),
                json!({"kind": "action", "action": "print", "id": 7, "status": "ready"}),
            ),
            (Seen::WsSent("no JSON".to_owned()), json!({"kind": "action", "text": "no JSON"})),
            (Seen::WsClosed { code: None }, json!({"kind": "closed", "code": null})),
        ] {
            assert_eq!(seen.to_json(str::to_owned), expected);
        }
    }

    #[test]
    fn everything_that_a_peer_chose_is_redacted_and_cut() {
        let secrets = Secrets::default();
        secrets.add(&Secret::new("password-1"));
        let text = format!("{}password-1", "x".repeat(195));
        let change = BehaviourChange::Print { number: 1, state: super::super::PrintState::Queued };
        for seen in [
            Seen::WsSent(text.clone()),
            Seen::WsSent(json!({"action_type": text}).to_string()),
            Seen::WsMessage { message: json!({"event": text}), text: text.clone() },
            Seen::WsMessage { message: Value::Null, text: text.clone() },
            Seen::Held { method: text.clone(), path: text.clone() },
            Seen::Waiting { what: text.clone(), at_most: std::time::Duration::ZERO },
            Seen::GivenUp { what: text.clone() },
            Seen::Fault { machine: 1, what: text.clone() },
            Seen::Behaviour { serial: text.clone(), change, print: Some(text.clone()) },
        ] {
            let line = seen.to_json(|text| secrets.redact(text)).to_string();
            assert!(!line.contains("password") && line.len() < 600, "{line}");
        }
    }
}
