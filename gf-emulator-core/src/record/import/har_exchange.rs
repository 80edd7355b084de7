//! Converts a request and its response, and keeps them in the spool until all are sorted.

use std::io;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tungstenite::Bytes;

use super::har_bodies::Bodies;
use super::har_secrets::{Known, learn_json};
use super::spool::{Kind, Spool};
use super::{SIGN_IN_PATH, origin, sign_in_fields};
use crate::Secret;
use crate::record::entry::{Exchange, Part, read_json};
use crate::record::exchange::PUBLIC_HEADERS;
use crate::record::file_writer::BodyKind;
use crate::record::har::{Content, Header, PostData, Request, Response, Text};
use crate::record::unredacted::{Body, Unredacted};
use crate::secrets::{MASK, PUBLIC_REQUEST_HEADERS, Secrets};

/// The most characters of a method.
const MAX_METHOD_CHARS: usize = 32;

/// What is stored before the bodies.
#[derive(Serialize, Deserialize)]
struct Head {
    exchange: Exchange,
    query: Option<String>,
    /// The values of `authorization` headers.
    tokens: Vec<String>,
    /// Both bodies are secret as a whole: a sign-in.
    is_confidential: bool,
    request_bytes: usize,
}

/// A request and its response, with their secrets and bodies.
pub(super) struct StoredExchange {
    head: Head,
    request: Vec<u8>,
    response: Vec<u8>,
}

impl StoredExchange {
    /// Converts an entry. `time_ms` is how long it took. Adds its secrets to the known ones.
    pub(super) fn new(
        url: &str,
        request: Request,
        response: Response,
        time_ms: Option<f64>,
        mut bodies: Bodies<'_>,
        known: &mut Known,
    ) -> io::Result<Self> {
        known.learn_url(url);
        let url = url.split('#').next().unwrap_or_default();
        let (address, query) = url.split_once('?').map_or((url, None), |(address, query)| (address, Some(query)));
        let path = origin(address).map_or("", |base| &address[base.len()..]);
        let mut tokens = Vec::new();
        let mut convert_headers = |headers: Vec<Header>, public: &[&str], is_request: bool| {
            let mut converted = Map::new();
            for Header { name, value } in headers {
                let name = name.unwrap_or_default().into_string().to_ascii_lowercase();
                let value = value.unwrap_or_default().into_string();
                known.learn_header(&name, &value);
                if name == "authorization" {
                    tokens.extend(value.split(' ').next_back().map(str::to_owned));
                }
                if public.contains(&name.as_str()) {
                    converted.insert(name, value.into());
                } else if is_request && !name.is_empty() && !name.starts_with(':') {
                    converted.insert(name, MASK.into());
                }
            }
            converted
        };
        let Request { method, headers, post_data, body_size, .. } = request;
        let request_headers = convert_headers(headers, &PUBLIC_REQUEST_HEADERS[..], true);
        let Response { status, headers, content, body_size: response_size, error } = response;
        let response_headers = convert_headers(headers, &PUBLIC_HEADERS[..], false);

        let PostData { text, encoding, file } = post_data.unwrap_or_default();
        let mut sent = bodies.read(text, encoding, file, body_size);
        let Content { size, text, encoding, file } = content.unwrap_or_default();
        let received = bodies.read(text, encoding, file, size);
        let (sent_bytes, received_bytes) =
            (length(body_size, &sent), length(response_size.filter(|size| *size > 0.0).or(size), &received));

        let is_confidential = path.ends_with("/sign_in");
        if path == SIGN_IN_PATH {
            known.service = known.service.take().or(origin(address).map(str::to_owned));
            let agent = request_headers.get("user-agent").and_then(Value::as_str);
            let version = agent.and_then(|agent| agent.split_once('/')).map(|(_, version)| version.to_owned());
            known.firmware = known.firmware.take().or(version);
        }
        if is_confidential {
            known.learn_sign_in(path, &String::from_utf8_lossy(&sent))?;
            // It may be a page instead of JSON.
            if received.trim_ascii_start().starts_with(b"{") {
                known.learn_sign_in(path, &String::from_utf8_lossy(&received))?;
            }
        } else {
            if is_form(&request_headers) || is_other_text(&sent) {
                sent = Vec::new();
            }
            learn_json(&known.secrets, &sent);
            learn_json(&known.secrets, &received);
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the range is checked")]
        let status = status.filter(|status| (100.0..1000.0).contains(status)).map(|status| status as u16);
        let error = error.map(Text::into_string).filter(|error| !error.is_empty());
        let error = error.or_else(|| status.is_none().then(|| "no response".to_owned()));
        let mut method = method.unwrap_or_default().into_string();
        method.retain(|c| c.is_ascii_graphic());
        method.truncate(MAX_METHOD_CHARS);
        let exchange = Exchange {
            method: if method.is_empty() { "GET".to_owned() } else { method },
            url: address.to_owned(),
            has_query: query.is_some(),
            status,
            error,
            duration_s: time_ms.map(|ms| (ms * 1e3).round() / 1e6),
            request: Part { headers: request_headers, bytes: sent_bytes, ..Part::default() },
            response: Part { headers: response_headers, bytes: received_bytes, ..Part::default() },
        };
        let query = query.map(str::to_owned);
        let head = Head { exchange, query, tokens, is_confidential, request_bytes: sent.len() };
        Ok(Self { head, request: sent, response: received })
    }

    /// Adds the exchange to the spool. `ended_us` is when the response was complete.
    pub(super) fn store(&self, spool: &mut Spool, ended_us: i64, line: u64) -> io::Result<()> {
        let head = serde_json::to_vec(&self.head).map_err(io::Error::other)?;
        let length = (head.len() as u64).to_le_bytes();
        spool.push(ended_us, Kind::Exchange, line, &[&length, &head, &self.request, &self.response])
    }

    /// Reads what [`store`](Self::store) has written.
    pub(super) fn load(data: &[u8]) -> io::Result<Self> {
        let broken = || io::Error::other("the temp file has changed");
        let (length, rest) = data.split_first_chunk().ok_or_else(broken)?;
        let length = usize::try_from(u64::from_le_bytes(*length)).map_err(io::Error::other)?;
        let (head, bodies) = rest.split_at_checked(length).ok_or_else(broken)?;
        let head: Head = serde_json::from_slice(head).map_err(io::Error::other)?;
        let (request, response) = bodies.split_at_checked(head.request_bytes).ok_or_else(broken)?;
        let (request, response) = (request.to_vec(), response.to_vec());
        Ok(Self { head, request, response })
    }

    /// Returns the exchange as a recorder gets it. Adds its secrets to `secrets`: older ones may have been forgotten.
    pub(super) fn into_unredacted(self, secrets: &Secrets) -> Unredacted {
        let Self { head, request, response } = self;
        if let Some(query) = &head.query {
            secrets.add_query(query);
        }
        for token in head.tokens {
            secrets.add_token(&Secret::new(token));
        }
        learn_json(secrets, &request);
        learn_json(secrets, &response);
        let body = |bytes: Vec<u8>| match bytes {
            bytes if bytes.is_empty() => Body::None,
            bytes if head.is_confidential => Body::Confidential(confidential(&bytes)),
            bytes => Body::Bytes(bytes.into()),
        };
        Unredacted::Http(Box::new(head.exchange), body(request), body(response))
    }
}

/// Returns a sign-in as JSON.
fn confidential(bytes: &[u8]) -> Bytes {
    let fields = sign_in_fields(&String::from_utf8_lossy(bytes));
    fields.into_iter().collect::<Map<String, Value>>().into_iter().collect::<Value>().to_string().into()
}

/// Returns the length of a body: as the HAR file says, or as it is.
fn length(size: Option<f64>, body: &[u8]) -> u64 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the range is checked")]
    let size = size.filter(|size| (0.0..1e15).contains(size)).map(|size| size as u64);
    size.unwrap_or(body.len() as u64)
}

/// Returns whether a body is a form, also with files: like [other text](is_other_text), but its parts may be binary.
fn is_form(headers: &Map<String, Value>) -> bool {
    let kind = headers.get("content-type").and_then(Value::as_str).unwrap_or_default().to_ascii_lowercase();
    kind.starts_with("multipart/") || kind.starts_with("application/x-www-form-urlencoded")
}

/// Returns whether a body is text, but not JSON: it may have secrets that could not be recognised.
fn is_other_text(body: &[u8]) -> bool {
    BodyKind::of(body) == BodyKind::Other
        && std::str::from_utf8(body).is_ok_and(|text| !text.contains('\0'))
        && read_json(body).is_none()
}
