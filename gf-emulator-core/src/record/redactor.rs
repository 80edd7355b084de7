//! What must not be in a recording, and how it is taken out of an entry.
//!
//! Names and URLs are always looked at: what is called a password is one, and so is the query of a presigned URL. Values are
//! looked for in the line as it will be written; only where one is found is everything in the entry gone through again.

use serde_json::{Map, Value};

use super::entry::{About, Event, Exchange, Message, Part};
use crate::Secret;
use crate::secrets::{HIDDEN, Secrets, is_secret_name, without_named, without_queries};

/// Fields that say which machine it is: of actions, and of settings reports.
const SERIALS: [&str; 5] = ["machine_serial", "serial", "MCsn", "HEsn", "head_serial"];
/// The names in a sign-in and in its answer. Whatever else is called something there may be a secret itself.
const SIGN_IN_NAMES: [&str; 4] = ["serial", "password", "ws_token", "auth_token"];
/// Values of a sign-in that are taken note of.
const MOST_CREDENTIALS: usize = 16;

/// Takes secrets out of entries.
#[derive(Default)]
pub(super) struct Redactor {
    secrets: Secrets,
    serials: Vec<u32>,
    hides_serials: bool,
}

impl Redactor {
    /// One that hides these serial numbers (0 is nobody's), and what is called one.
    pub(super) fn new(serials: &[i64], password: &Secret) -> Self {
        let serials: Vec<i64> = serials.iter().copied().filter(|&serial| serial != 0).collect();
        let secrets = Secrets::default();
        secrets.keep(password);
        for serial in &serials {
            secrets.keep(&Secret::new(serial.to_string()));
        }
        let hides_serials = !serials.is_empty();
        Self { secrets, serials: serials.into_iter().filter_map(|n| u32::try_from(n).ok()).collect(), hides_serials }
    }

    /// One for machines that are not known yet: it hides whatever is called a serial number.
    pub(super) fn of_strangers() -> Self {
        Self { hides_serials: true, ..Self::default() }
    }

    /// Everything whose value is looked for.
    pub(super) fn secrets(&self) -> &Secrets {
        &self.secrets
    }

    /// The serial numbers that are to be hidden.
    pub(super) fn serials(&self) -> &[u32] {
        &self.serials
    }

    /// Takes out what is secret by its name or as part of a URL.
    pub(super) fn hide_named(&self, event: &mut Event) {
        each(event, &|text| *text = without_queries(text), &|json| self.json(json));
    }

    /// Takes out the known values.
    pub(super) fn hide_values(&self, event: &mut Event) {
        let matcher = self.secrets.matcher();
        let hide = |text: &mut String| {
            if let Some(clean) = matcher.replace(text, HIDDEN) {
                *text = clean;
            }
        };
        each(event, &hide, &|json| values(json, &hide));
    }

    /// Whether any known value is in a text.
    pub(super) fn finds_values(&self, text: &str) -> bool {
        self.secrets.matcher().is_in(text)
    }

    /// A text that is not JSON, without everything.
    pub(super) fn text(&self, text: &str) -> String {
        self.secrets.hide(&without_named(text))
    }

    /// Takes out of JSON what is secret by its name or as part of a URL.
    pub(super) fn json(&self, value: &mut Value) {
        match value {
            Value::String(text) => {
                if text.contains(['?', '@', '#']) {
                    *text = without_queries(text);
                }
            }
            Value::Array(items) => items.iter_mut().for_each(|item| self.json(item)),
            Value::Object(fields) => {
                rename(fields, &|name| {
                    if name.contains(['?', '@', '#']) {
                        *name = without_queries(name);
                    }
                });
                for (name, value) in fields.iter_mut() {
                    if is_secret_name(name) || (self.hides_serials && SERIALS.contains(&name.as_str())) {
                        *value = Value::from(HIDDEN);
                    } else {
                        self.json(value);
                    }
                }
            }
            Value::Number(_) | Value::Bool(_) | Value::Null => {}
        }
    }

    /// What has the authority of URLs in a message is looked for from now on, and so are serial numbers.
    pub(super) fn learn_from(&self, value: &Value) {
        match value {
            Value::String(text) if text.contains("://") => {
                if let Some((_, query)) = text.split_once('?') {
                    self.secrets.learn_query(query.split('#').next().unwrap_or_default());
                }
            }
            Value::Array(items) => items.iter().for_each(|item| self.learn_from(item)),
            Value::Object(fields) => {
                for (name, value) in fields {
                    let serial = value.as_str().filter(|_| self.hides_serials && SERIALS.contains(&name.as_str()));
                    match serial.and_then(digits) {
                        Some(serial) => self.secrets.learn(&Secret::new(serial)),
                        None => self.learn_from(value),
                    }
                }
            }
            _ => {}
        }
    }

    /// A sign-in or its answer: of its names those that are in every one, and its values are looked for from now on.
    pub(super) fn confidential(&self, bytes: &[u8]) -> Value {
        let Ok(Value::Object(fields)) = serde_json::from_slice(bytes) else { return Value::from(HIDDEN) };
        for value in fields.values().filter_map(Value::as_str).take(MOST_CREDENTIALS) {
            match digits(value) {
                Some(serial) if self.hides_serials => self.secrets.learn(&Secret::new(serial)),
                Some(_) => {}
                None => self.secrets.learn(&Secret::new(value)),
            }
        }
        let shown = |name: &String| SIGN_IN_NAMES.contains(&name.as_str());
        let names = fields.into_iter().map(|(name, _)| if shown(&name) { name } else { HIDDEN.to_owned() });
        names.map(|name| (name, Value::from(HIDDEN))).collect()
    }
}

/// The number in a serial number, as `S123` or without the letter.
fn digits(serial: &str) -> Option<&str> {
    let number = serial.strip_prefix('S').unwrap_or(serial);
    (!number.is_empty() && number.bytes().all(|c| c.is_ascii_digit())).then_some(number)
}

/// Calls `text` with every text of an event that came from outside, and `json` with every message or body in it.
fn each(event: &mut Event, text: &dyn Fn(&mut String), json: &dyn Fn(&mut Value)) {
    match event {
        Event::Session(About { format: _, recorder: _, side: _, generation, firmware, serial: _, service }) => {
            [generation, firmware, service].into_iter().flatten().for_each(text);
        }
        Event::Http(exchange) => {
            let Exchange { method, url, has_query: _, status: _, error, duration_s: _, request, response } =
                &mut **exchange;
            [method, url].into_iter().chain(error).for_each(text);
            for Part { headers, bytes: _, json: body, file: _ } in [request, response] {
                rename(headers, text);
                headers.values_mut().for_each(|value| strings(value, text));
                body.iter_mut().for_each(json);
            }
        }
        Event::In(message) | Event::Out(message) => {
            let Message { bytes: _, json: body, text: line } = message;
            body.iter_mut().for_each(json);
            line.iter_mut().for_each(text);
        }
        Event::Opened { url: words } | Event::Closed { reason: words } => text(words),
        Event::State { state, detail, .. } => {
            text(state);
            detail.iter_mut().for_each(text);
        }
    }
}

fn strings(value: &mut Value, text: &dyn Fn(&mut String)) {
    if let Value::String(value) = value {
        text(value);
    }
}

/// Every string, name and number of JSON: a service may say a serial number as any of them.
fn values(value: &mut Value, hide: &dyn Fn(&mut String)) {
    match value {
        Value::String(text) => hide(text),
        Value::Number(number) => {
            let mut text = number.to_string();
            hide(&mut text);
            if text != number.to_string() {
                *value = Value::from(HIDDEN);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| values(item, hide)),
        Value::Object(fields) => {
            rename(fields, hide);
            fields.values_mut().for_each(|value| values(value, hide));
        }
        Value::Bool(_) | Value::Null => {}
    }
}

/// Changes names, and leaves the order of the others as it is.
fn rename(fields: &mut Map<String, Value>, change: &dyn Fn(&mut String)) {
    let changed = |name: &String| {
        let mut new = name.clone();
        change(&mut new);
        (new != *name).then_some((name.clone(), new))
    };
    let names: Vec<_> = fields.keys().filter_map(changed).collect();
    for (old, new) in names {
        if let Some(value) = fields.shift_remove(&old) {
            fields.insert(new, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn redacted(redactor: &Redactor, json: Value) -> Value {
        let mut event = Event::In(Message { bytes: 0, json: Some(json), text: None });
        redactor.hide_named(&mut event);
        redactor.hide_values(&mut event);
        let Event::In(Message { json: Some(json), .. }) = event else { unreachable!() };
        json
    }

    #[test]
    fn secrets_are_hidden_by_name_and_by_value() {
        let redactor = Redactor::new(&[12_345_678, 0], &Secret::default());
        redactor.secrets().learn(&Secret::new("wstoken-1"));
        let message = json!({
            "id": 1, "machine_serial": "S12345678", "n": 12_345_678, "f": 12_345_678.5, "password": ["x"],
            "Auth_Token": 7, "deep": [{"url": "https://h/wstoken-1/x?y", "wstoken-1": 1}],
        });
        let expected = json!({
            "id": 1, "machine_serial": "***", "n": "***", "f": "***", "password": "***", "Auth_Token": "***",
            "deep": [{"url": "https://h/***/x?***", "***": 1}],
        });
        assert_eq!(redacted(&redactor, message), expected);
    }

    #[test]
    fn the_serial_number_stays_where_that_is_asked_for() {
        let message = json!({"machine_serial": "S12345678", "n": 12_345_678});
        assert_eq!(redacted(&Redactor::default(), message.clone()), message);
    }

    #[test]
    fn of_a_sign_in_only_names_are_shown_that_every_one_has() {
        let redactor = Redactor::default();
        let body = json!({"serial": "S12345678", "password": "hunter2!", "hunter2!": 1});
        let shown = redactor.confidential(body.to_string().as_bytes());
        assert_eq!(shown, json!({"serial": "***", "password": "***", "***": "***"}));
        assert_eq!(redactor.confidential(b"hunter2!"), json!("***"));
        assert_eq!(redactor.text("hunter2! S12345678"), "*** S12345678");
    }

    #[test]
    fn the_query_of_a_url_in_a_message_is_looked_for() {
        let redactor = Redactor::default();
        redactor.learn_from(&json!({"a": ["https://h/x?X-Sig=a-presigned-secret#f"], "b": "?no=url-at-all-here"}));
        assert_eq!(redactor.text("a-presigned-secret url-at-all-here"), "*** url-at-all-here");
    }
}
