//! What each path does: sign-in, firmware, status and events, uploads, downloads.

use std::sync::Arc;

use serde_json::{Value, json};

use super::machines::{Event, Machine};
use super::seen::{Bearer, Seen};
use super::server::Core;
use crate::Secret;
use crate::http_server::request::{Answer, Head};

/// Where the pulse file is.
pub(super) const PULS_PATH: &str = "/dl/job.puls";
/// The Content-Type of a form.
const FORM: &str = "application/x-www-form-urlencoded";
/// Longest serial number taken, its `S` included, in bytes.
const SERIAL_LIMIT_BYTES: usize = 64;
const WRONG_SERIAL: &str = "serial is not the letter S followed by the number, such as \"S12345\"";
/// Where the firmware is.
pub(super) const FIRMWARE_PATH: &str = "/dl/firmware";

/// Whom a request's `Authorization` header speaks for.
pub(super) fn bearer(core: &Core, head: &Head) -> (Bearer, Option<Arc<Machine>>) {
    let Some(value) = head.header("authorization") else { return (Bearer::Absent, None) };
    let machine = value.strip_prefix("Bearer ").and_then(|token| core.machines.bearer(token));
    (if machine.is_some() { Bearer::Good } else { Bearer::Bad }, machine)
}

/// What a request is for that opens no control socket.
#[derive(Clone, Copy)]
pub(super) enum Route {
    SignIn,
    Puls,
    Firmware,
    /// A presigned upload.
    Storage,
    Service(Service),
}

/// The routes that want a bearer token.
#[derive(Clone, Copy)]
pub(super) enum Service {
    Firmware,
    Event,
    Status,
    Upload,
}

impl Route {
    /// Where a request leads, or the answer where it leads nowhere: its body does not matter then.
    pub(super) fn of(head: &Head, bearer: Bearer) -> Result<Self, Answer> {
        let (wanted, route) = find(&head.path).ok_or_else(|| Answer::text(404, "there is nothing here"))?;
        if head.method != wanted {
            return Err(Answer::text(405, "not with this method"));
        }
        match route {
            // A presigned URL is an authority of its own; storage takes no second one beside it.
            Self::Storage if bearer != Bearer::Absent => {
                Err(Answer::text(400, "only one way to authorize a request is allowed"))
            }
            Self::Service(_) if bearer != Bearer::Good => Err(Answer::text(401, "sign in first")),
            _ => Ok(route),
        }
    }

    /// Whether a request brings a picture.
    pub(super) fn is_upload(self) -> bool {
        matches!(self, Self::Storage | Self::Service(Service::Upload))
    }
}

/// The one method that a path is for, and what it is.
fn find(path: &str) -> Option<(&'static str, Route)> {
    Some(match path {
        "/machines/sign_in" => ("POST", Route::SignIn),
        FIRMWARE_PATH => ("GET", Route::Firmware),
        "/update/current" => ("GET", Route::Service(Service::Firmware)),
        "/api/event" => ("POST", Route::Service(Service::Event)),
        "/api/machines/status" => ("PUT", Route::Service(Service::Status)),
        _ if job_of(path).is_some() => ("GET", Route::Puls),
        _ if path.strip_prefix("/up/").is_some_and(|name| !name.is_empty()) => ("PUT", Route::Storage),
        _ => {
            let (action, id) = path.strip_prefix("/api/machines/")?.split_once('/')?;
            let is_upload = !action.is_empty() && id.parse::<i64>().is_ok();
            is_upload.then_some(("POST", Route::Service(Service::Upload)))?
        }
    })
}

/// Returns the action type in the path of a pulse file, or `job`.
pub(super) fn job_of(path: &str) -> Option<&str> {
    path.strip_prefix("/dl/")?.strip_suffix(".puls")
}

/// The answer to a request that leads somewhere.
pub(super) fn answer(core: &Core, route: Route, head: &Head, body: &[u8]) -> Answer {
    match route {
        Route::SignIn => sign_in(core, head, body),
        Route::Puls if head.path == PULS_PATH => octets(&core.settings.puls),
        Route::Puls => {
            let job = job_of(&head.path).and_then(|action_type| core.settings.jobs.get(action_type));
            job.map_or_else(|| Answer::text(404, "there is nothing here"), octets)
        }
        Route::Firmware => octets(&core.settings.firmware),
        Route::Service(Service::Firmware) => {
            let download_url = format!("{}{FIRMWARE_PATH}", core.settings.http_url);
            Answer::json(&json!({"version": core.settings.firmware_version, "download_url": download_url}))
        }
        Route::Storage | Route::Service(Service::Event | Service::Status | Service::Upload) => Answer::new(200),
    }
}

/// The event that a request brings, if it does. Machines of the first generation are known to send bodies that are no
/// JSON: taken, and left at that.
pub(super) fn event(head: &Head, body: &[u8]) -> Option<Event> {
    let posted = head.method == "POST" && head.path == "/api/event";
    Event::of(&posted.then(|| serde_json::from_slice(body).ok())??)
}

/// Whether requests to this path are for machines that have signed in.
pub(super) fn wants_bearer(path: &str) -> bool {
    matches!(find(path), Some((_, Route::Service(_))))
}

fn octets(body: &Arc<[u8]>) -> Answer {
    Answer::new(200).with("Content-Type", "application/octet-stream").holding(Arc::clone(body))
}

fn sign_in(core: &Core, head: &Head, body: &[u8]) -> Answer {
    let is_form = head.header("content-type").is_some_and(|kind| kind.starts_with(FORM));
    let credentials = if is_form { from_form(body) } else { from_json(head, body) };
    let signed_in = credentials.and_then(|(serial, password)| {
        check_serial(&serial)?;
        if core.playing().is_some_and(|playing| !playing.may_be_for(&serial)) {
            return Err(Refused(401, "the replay is for another machine: the first that has connected".to_owned()));
        }
        core.secrets.learn(&Secret::new(password.as_str()));
        let wrong = || Refused(401, "serial or password is wrong".to_owned());
        core.machines.sign_in(&serial, &password).ok_or_else(wrong)
    });
    core.log.record(Seen::SignIn { ok: signed_in.is_ok(), json: !is_form });
    match signed_in {
        Ok(tokens) => {
            for token in [&tokens.ws, &tokens.auth] {
                core.secrets.learn(&Secret::new(token.as_str()));
            }
            Answer::json(&json!({"ws_token": tokens.ws, "auth_token": tokens.auth}))
        }
        Err(Refused(status, reason)) => Answer::text(status, &reason),
    }
}

/// Why nobody is signed in: the status, and words for whoever writes a client.
struct Refused(u16, String);

impl Refused {
    fn malformed(reason: impl Into<String>) -> Self {
        Self(400, reason.into())
    }
}

fn check_serial(serial: &str) -> Result<(), Refused> {
    let good = serial.strip_prefix('S').is_some_and(|number| !number.is_empty()) && serial.len() <= SERIAL_LIMIT_BYTES;
    if good { Ok(()) } else { Err(Refused::malformed(WRONG_SERIAL)) }
}

fn from_json(head: &Head, body: &[u8]) -> Result<(String, String), Refused> {
    let value: Value = serde_json::from_slice(body).map_err(|error| {
        Refused::malformed(match head.header("content-type") {
            None => format!("there is no Content-Type, so JSON is expected, and the body is not JSON ({error}); a form has Content-Type: {FORM}"),
            Some(kind) if kind.starts_with("application/json") => format!("the body is not JSON: {error}"),
            Some(_) => format!("the Content-Type is neither application/json nor {FORM}, and the body is not JSON ({error})"),
        })
    })?;
    let fields = value
        .as_object()
        .ok_or_else(|| Refused::malformed("the body is not a JSON object with serial and password"))?;
    match (fields.get("serial"), fields.get("password")) {
        (Some(Value::String(serial)), Some(Value::String(password))) => Ok((serial.clone(), password.clone())),
        (None, _) => Err(Refused::malformed("the body has no serial")),
        (Some(Value::String(_)), None) => Err(Refused::malformed("the body has no password")),
        (Some(Value::String(_)), Some(_)) => Err(Refused::malformed("password is not a string")),
        (Some(_), _) => Err(Refused::malformed(WRONG_SERIAL)),
    }
}

fn from_form(body: &[u8]) -> Result<(String, String), Refused> {
    let body = std::str::from_utf8(body).map_err(|_| Refused::malformed("the body is not text"))?;
    if body.trim_start().starts_with('{') {
        return Err(Refused::malformed(
            "the Content-Type says that this is a form, and the body looks like JSON: that has Content-Type: application/json",
        ));
    }
    let field = |name: &str| {
        let mut fields = body.trim().split('&').filter_map(|field| field.split_once('='));
        let value = fields.find(|(have, _)| *have == name).and_then(|(_, value)| percent_decoded(value));
        value.ok_or_else(|| Refused::malformed(format!("the form has no {name}, or it is not percent-encoded")))
    };
    Ok((field("serial")?, field("password")?))
}

fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        rest = tail;
        bytes.push(match first {
            b'+' => b' ',
            b'%' => {
                let (digits, tail) = rest.split_at_checked(2)?;
                rest = tail;
                let digits = std::str::from_utf8(digits).ok().filter(|d| d.bytes().all(|b| b.is_ascii_hexdigit()))?;
                u8::from_str_radix(digits, 16).ok()?
            }
            other => *other,
        });
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_are_decoded() {
        let read = |text: &str| from_form(text.as_bytes()).ok();
        let pair = |a: &str, b: &str| Some((a.to_owned(), b.to_owned()));
        assert_eq!(read("serial=S1&password=ab"), pair("S1", "ab"));
        assert_eq!(read("password=a%2Bb+c&x=1&serial=S%31"), pair("S1", "a+b c"));
        for wrong in ["", "serial=S1", "serial=S1&password=%", "serial=S1&password=%2", "serial=S1&password=%+1"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
