//! What a HAR file reveals of secrets, found before the first line of the recording is written.

use std::io;

use percent_encoding::percent_decode_str;

use serde_json::Value;

use super::{MAX_SERIALS, SIGN_IN_PATH, origin, sign_in_fields, sign_in_serials};
use crate::Secret;
use crate::record::entry::parse_json;
use crate::record::har::Header;
use crate::secrets::{Secrets, is_secret_name};

/// The most different passwords.
const MAX_PASSWORDS: usize = 64;
/// The most fields of a sign-in whose values are secrets.
const MAX_FIELDS: usize = 16;
/// A shorter value of a cookie, or part of a WebSocket's path, is not a secret.
const MIN_TOKEN_CHARS: usize = 12;

/// Longer JSON is not searched for secrets. A recording leaves a longer message out.
const MAX_JSON_BYTES: usize = 1 << 20;

/// Returns whether the value of a header or of a JSON field is probably a secret. `name` is in lower case.
fn is_probably_secret(name: &str) -> bool {
    let ends = ["token", "secret", "password", "api_key", "api-key", "apikey", "_session"];
    is_secret_name(name) || ends.iter().any(|end| name.ends_with(end))
}

/// Adds the values of fields with the names of secrets, in JSON or in lines of JSON. Browsers also record what a person
/// does, and other services than a machine's have names of their own.
pub(super) fn learn_json(secrets: &Secrets, text: &[u8]) {
    const WORDS: [&str; 6] = ["token", "secret", "passw", "key", "_session", "auth"];
    let Some(text) = std::str::from_utf8(text).ok().filter(|text| text.len() <= MAX_JSON_BYTES) else { return };
    let lower = text.to_ascii_lowercase();
    if !WORDS.iter().any(|word| lower.contains(word)) {
        return;
    }
    match parse_json(text.as_bytes()) {
        Some(json) => learn_value(secrets, &json),
        None => {
            text.lines().filter_map(|line| parse_json(line.as_bytes())).for_each(|json| learn_value(secrets, &json));
        }
    }
}

fn learn_value(secrets: &Secrets, json: &Value) {
    match json {
        Value::Array(items) => items.iter().for_each(|item| learn_value(secrets, item)),
        Value::Object(fields) => {
            for (name, value) in fields {
                match value {
                    Value::String(text) if is_probably_secret(&name.to_ascii_lowercase()) => {
                        secrets.add_token(&Secret::new(text.as_str()));
                    }
                    _ => learn_value(secrets, value),
                }
            }
        }
        _ => {}
    }
}

/// What the requests of a HAR file reveal.
#[derive(Default)]
pub(super) struct Known {
    pub(super) secrets: Secrets,
    /// The machine's serial numbers, from its sign-in.
    pub(super) serials: Vec<i64>,
    pub(super) firmware: Option<String>,
    /// The base URL of the service.
    pub(super) service: Option<String>,
    passwords: Vec<Secret>,
}

/// The error for more than `max` of something.
pub(super) fn too_many(what: &str, max: usize) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("more than {max} {what}"))
}

impl Known {
    /// Adds the secrets in a URL: its password, query and fragment.
    pub(super) fn learn_url(&self, url: &str) {
        if let Some((_, query)) = url.split_once(['?', '#']) {
            query.split(['?', '#']).filter(|query| !query.is_empty()).for_each(|query| self.secrets.add_query(query));
        }
        let user = origin(url).and_then(|base| base.split_once("://")?.1.rsplit_once('@'));
        if let Some((_, password)) = user.and_then(|(user, _)| user.split_once(':')) {
            let decoded = percent_decode_str(password).decode_utf8().unwrap_or(password.into());
            self.secrets.add_token(&Secret::new(decoded));
        }
    }

    /// Adds what a WebSocket's handshake reveals: its path is a token.
    pub(super) fn learn_web_socket(&self, url: &str, headers: Vec<Header>) {
        self.learn_url(url);
        let path = url.split(['?', '#']).next().unwrap_or_default();
        for part in path.split('/').skip(3).filter(|part| part.len() >= MIN_TOKEN_CHARS) {
            self.secrets.add_token(&Secret::new(part));
        }
        for Header { name, value } in headers {
            self.learn_header(&name.unwrap_or_default().into_string(), &value.unwrap_or_default().into_string());
        }
    }

    /// Adds the secrets in a header of a request or a response. `name` may have upper-case letters.
    pub(super) fn learn_header(&self, name: &str, value: &str) {
        let name = name.to_ascii_lowercase();
        match name.as_str() {
            "cookie" => value.split(';').for_each(|cookie| self.learn_cookie(cookie)),
            // Behind the cookie are its attributes, such as the domain.
            "set-cookie" => self.learn_cookie(value.split(';').next().unwrap_or_default()),
            "authorization" | "proxy-authorization" => {
                let value = value.split_once(' ').map_or(value, |(_, value)| value);
                self.secrets.add_token(&Secret::new(value.trim()));
            }
            "location" | "referer" => self.learn_url(value),
            _ if is_probably_secret(&name) || name.ends_with("key") => {
                self.secrets.add_token(&Secret::new(value));
            }
            _ => {}
        }
    }

    fn learn_cookie(&self, cookie: &str) {
        if let Some((_, value)) = cookie.split_once('=')
            && value.trim().len() >= MIN_TOKEN_CHARS
        {
            self.secrets.add_token(&Secret::new(value.trim()));
        }
    }

    /// Adds the values of a sign-in or its response.
    pub(super) fn learn_sign_in(&mut self, path: &str, body: &str) -> io::Result<()> {
        let fields = sign_in_fields(body);
        if path == SIGN_IN_PATH {
            for serial in sign_in_serials(&fields) {
                if !self.serials.contains(&serial) {
                    self.serials.push(serial);
                }
            }
        }
        // A redactor knows the serial numbers, and whether to hide them.
        for (name, value) in fields.iter().filter(|(name, _)| name != "serial").take(MAX_FIELDS) {
            let Some(value) = value.as_str() else { continue };
            // In a form, values are encoded.
            let decoded = percent_decode_str(value).decode_utf8().unwrap_or(value.into());
            for secret in [value, &decoded].map(Secret::new) {
                self.secrets.add_token(&secret);
                if name.contains("password") && !self.passwords.contains(&secret) {
                    self.secrets.add(&secret);
                    self.passwords.push(secret);
                }
            }
        }
        if self.serials.len() > MAX_SERIALS {
            return Err(too_many("serial numbers", MAX_SERIALS));
        }
        if self.passwords.len() > MAX_PASSWORDS {
            return Err(too_many("passwords", MAX_PASSWORDS));
        }
        Ok(())
    }
}
