//! Removes secrets from entries.
//!
//! Fields with a secret name and the queries of URLs are always redacted. Known values are searched in the serialised
//! line; only if one is found is the entry redacted by value.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::entry::{About, Event, Exchange, Message, Part};
use crate::Secret;
use crate::secrets::{MASK, Secrets, is_secret_name, redact_named, redacted_urls};

/// Fields of actions and settings reports that hold serial numbers.
const SERIAL_FIELDS: [&str; 5] = ["machine_serial", "serial", "MCsn", "HEsn", "head_serial"];
/// The field names of a sign-in and its response. Any other name there may itself be a secret.
const SIGN_IN_FIELDS: [&str; 4] = ["serial", "password", "ws_token", "auth_token"];
/// The maximum number of values learned from a sign-in.
const MAX_CREDENTIALS: usize = 16;

/// Removes secrets from entries.
#[derive(Default)]
pub(super) struct Redactor {
    secrets: Secrets,
    serials: Arc<[u32]>,
    hides_serials: bool,
}

impl Redactor {
    /// Creates a redactor for a machine or several. Serial numbers of 0 are unset; if `serials` has no others, fields with
    /// serial numbers are not redacted.
    pub(super) fn new<'a>(serials: &[i64], passwords: impl IntoIterator<Item = &'a Secret>) -> Self {
        let serials: Vec<i64> = serials.iter().copied().filter(|&serial| serial != 0).collect();
        let secrets = Secrets::default();
        for password in passwords {
            secrets.add(password);
        }
        for serial in &serials {
            secrets.add(&Secret::new(serial.to_string()));
        }
        let hides_serials = !serials.is_empty();
        Self { secrets, serials: serials.into_iter().filter_map(|n| u32::try_from(n).ok()).collect(), hides_serials }
    }

    /// Creates a redactor for machines that are not known yet: it redacts all fields with serial numbers.
    pub(super) fn for_unknown_machines() -> Self {
        Self { hides_serials: true, ..Self::default() }
    }

    /// Returns the known values.
    pub(super) fn secrets(&self) -> &Secrets {
        &self.secrets
    }

    /// Returns the serial numbers to redact.
    pub(super) fn serials(&self) -> Arc<[u32]> {
        Arc::clone(&self.serials)
    }

    /// Redacts fields with a secret name, and parts of URLs.
    pub(super) fn redact_names(&self, event: &mut Event) {
        visit(event, &redacted_urls, &|json| self.redact_json(json));
    }

    /// Redacts known values.
    pub(super) fn redact_values(&self, event: &mut Event) {
        let matcher = self.secrets.matcher();
        let hide = |text: &str| matcher.replace(text, MASK);
        visit(event, &hide, &|json| visit_values(json, &hide));
    }

    /// Returns whether `text` contains a known value.
    pub(super) fn has_values(&self, text: &str) -> bool {
        self.secrets.matcher().is_match(text)
    }

    /// Redacts a text that is not JSON, by name, URL and value.
    pub(super) fn redact_text(&self, text: &str) -> String {
        self.secrets.redact(&redact_named(text))
    }

    /// Redacts JSON by name and URL.
    pub(super) fn redact_json(&self, value: &mut Value) {
        match value {
            Value::String(text) => replace(text, &redacted_urls),
            Value::Array(items) => items.iter_mut().for_each(|item| self.redact_json(item)),
            Value::Object(fields) => {
                rename(fields, &redacted_urls);
                for (name, value) in fields.iter_mut() {
                    if is_secret_name(name) || (self.hides_serials && SERIAL_FIELDS.contains(&name.as_str())) {
                        *value = Value::from(MASK);
                    } else {
                        self.redact_json(value);
                    }
                }
            }
            Value::Number(_) | Value::Bool(_) | Value::Null => {}
        }
    }

    /// Adds the URL queries and serial numbers of a message to the known values.
    pub(super) fn learn_from(&self, value: &Value) {
        match value {
            Value::String(text) if text.contains("://") => {
                if let Some((_, query)) = text.split_once('?') {
                    self.secrets.add_query(query.split('#').next().unwrap_or_default());
                }
            }
            Value::Array(items) => items.iter().for_each(|item| self.learn_from(item)),
            Value::Object(fields) => {
                for (name, value) in fields {
                    let serial =
                        value.as_str().filter(|_| self.hides_serials && SERIAL_FIELDS.contains(&name.as_str()));
                    match serial.and_then(digits) {
                        Some(serial) => self.secrets.add_token(&Secret::new(serial)),
                        None => self.learn_from(value),
                    }
                }
            }
            _ => {}
        }
    }

    /// Returns what is recorded of a sign-in or its response: the usual field names. Adds its values to the known ones.
    pub(super) fn redact_sign_in(&self, bytes: &[u8]) -> Value {
        let Ok(Value::Object(fields)) = serde_json::from_slice(bytes) else { return Value::from(MASK) };
        for value in fields.values().filter_map(Value::as_str).take(MAX_CREDENTIALS) {
            match digits(value) {
                Some(serial) if self.hides_serials => self.secrets.add_token(&Secret::new(serial)),
                Some(_) => {}
                None => self.secrets.add_token(&Secret::new(value)),
            }
        }
        let shown = |name: &String| SIGN_IN_FIELDS.contains(&name.as_str());
        let names = fields.into_iter().map(|(name, _)| if shown(&name) { name } else { MASK.to_owned() });
        names.map(|name| (name, Value::from(MASK))).collect()
    }
}

/// Returns the digits of a serial number such as `S123` or `123`.
fn digits(serial: &str) -> Option<&str> {
    let number = serial.strip_prefix('S').unwrap_or(serial);
    (!number.is_empty() && number.bytes().all(|c| c.is_ascii_digit())).then_some(number)
}

/// Returns what replaces a text, or `None` to keep it.
type Change<'a> = &'a dyn Fn(&str) -> Option<String>;

fn replace(text: &mut String, change: Change<'_>) {
    if let Some(new) = change(text) {
        *text = new;
    }
}

/// Changes every text of an event that came from outside, and calls `json` for every message or body.
fn visit(event: &mut Event, change: Change<'_>, json: &dyn Fn(&mut Value)) {
    let text = |text: &mut String| replace(text, change);
    match event {
        Event::Session(About {
            format: _,
            recorder: _,
            side: _,
            generation,
            firmware,
            serial: _,
            service,
            machines: _,
        }) => {
            [generation, firmware, service].into_iter().flatten().for_each(text);
        }
        Event::Http(exchange) => {
            let Exchange { method, url, has_query: _, status: _, error, duration_s: _, request, response } =
                &mut **exchange;
            [method, url].into_iter().chain(error).for_each(text);
            for Part { headers, bytes: _, json: body, file: _ } in [request, response] {
                rename(headers, change);
                for value in headers.values_mut() {
                    if let Value::String(value) = value {
                        text(value);
                    }
                }
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

/// Hides values in every string, name and number of JSON: a service may send a serial number as any of them.
fn visit_values(value: &mut Value, hide: Change<'_>) {
    match value {
        Value::String(text) => replace(text, hide),
        Value::Number(number) => {
            if hide(&number.to_string()).is_some() {
                *value = Value::from(MASK);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| visit_values(item, hide)),
        Value::Object(fields) => {
            rename(fields, hide);
            fields.values_mut().for_each(|value| visit_values(value, hide));
        }
        Value::Bool(_) | Value::Null => {}
    }
}

/// Changes field names. Fields with unchanged names keep their order.
fn rename(fields: &mut Map<String, Value>, change: Change<'_>) {
    let changed = |name: &String| {
        let new = change(name).filter(|new| new != name)?;
        Some((name.clone(), new))
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
        redactor.redact_names(&mut event);
        redactor.redact_values(&mut event);
        let Event::In(Message { json: Some(json), .. }) = event else { unreachable!() };
        json
    }

    #[test]
    fn redacts_by_name_and_by_value() {
        let redactor = Redactor::new(&[12_345_678, 0], []);
        redactor.secrets().add_token(&Secret::new("wstoken-1"));
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
    fn keeps_the_serial_number_if_not_asked_to_hide_it() {
        let message = json!({"machine_serial": "S12345678", "n": 12_345_678});
        assert_eq!(redacted(&Redactor::default(), message.clone()), message);
    }

    #[test]
    fn records_only_the_usual_field_names_of_a_sign_in() {
        let redactor = Redactor::default();
        let body = json!({"serial": "S12345678", "password": "hunter2!", "hunter2!": 1});
        let shown = redactor.redact_sign_in(body.to_string().as_bytes());
        assert_eq!(shown, json!({"serial": "***", "password": "***", "***": "***"}));
        assert_eq!(redactor.redact_sign_in(b"hunter2!"), json!("***"));
        assert_eq!(redactor.redact_text("hunter2! S12345678"), "*** S12345678");
    }

    #[test]
    fn learns_the_queries_of_urls_in_messages() {
        let redactor = Redactor::default();
        redactor.learn_from(&json!({"a": ["https://h/x?X-Sig=a-presigned-secret#f"], "b": "?no=url-at-all-here"}));
        assert_eq!(redactor.redact_text("a-presigned-secret url-at-all-here"), "*** url-at-all-here");
    }
}
