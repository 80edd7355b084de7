//! What a HAR file reveals of secrets, found before the first line of the recording is written.

use std::io;

use percent_encoding::percent_decode_str;

use super::{MAX_SERIALS, SIGN_IN_PATH, sign_in_fields, sign_in_serials};
use crate::Secret;
use crate::record::har::Header;
use crate::secrets::{Secrets, is_secret_name};

/// The most different passwords.
const MAX_PASSWORDS: usize = 64;
/// The most fields of a sign-in whose values are secrets.
const MAX_FIELDS: usize = 16;
/// A shorter value of a cookie, or part of a WebSocket's path, is not a secret.
const MIN_TOKEN_CHARS: usize = 12;

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
    /// Adds what a WebSocket's handshake reveals: its path is a token.
    pub(super) fn learn_web_socket(&self, url: &str, headers: Vec<Header>) {
        let (path, query) = url.split_once('?').unwrap_or((url, ""));
        self.learn_query(query);
        for part in path.split('/').skip(3).filter(|part| part.len() >= MIN_TOKEN_CHARS) {
            self.secrets.add_token(&Secret::new(part));
        }
        for Header { name, value } in headers {
            self.learn_header(&name.unwrap_or_default().into_string(), &value.unwrap_or_default().into_string());
        }
    }

    pub(super) fn learn_query(&self, query: &str) {
        if !query.is_empty() {
            self.secrets.add_query(query);
        }
    }

    /// Adds the secrets in a header of a request or a response. `name` may have upper-case letters.
    pub(super) fn learn_header(&self, name: &str, value: &str) {
        let name = name.to_ascii_lowercase();
        match name.as_str() {
            "cookie" | "set-cookie" => {
                for (_, value) in value.split(';').filter_map(|cookie| cookie.split_once('=')) {
                    if value.len() >= MIN_TOKEN_CHARS {
                        self.secrets.add_token(&Secret::new(value.trim()));
                    }
                }
            }
            "authorization" | "proxy-authorization" => {
                let value = value.split_once(' ').map_or(value, |(_, value)| value);
                self.secrets.add_token(&Secret::new(value.trim()));
            }
            "location" | "referer" => {
                if let Some((_, query)) = value.split_once('?') {
                    self.learn_query(query);
                }
            }
            _ if is_secret_name(&name) || name.ends_with("token") || name.ends_with("key") => {
                self.secrets.add_token(&Secret::new(value));
            }
            _ => {}
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
