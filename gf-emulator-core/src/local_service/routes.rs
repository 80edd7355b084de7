//! The HTTP routes: sign-in, firmware, status and events, uploads, downloads; and recorded responses of a replay.

use std::sync::Arc;

use serde_json::{Value, json};

use super::core::Core;
use super::fault::Failure;
use super::machine::{ReceivedEvent, RemoteMachine};
use super::plan::{RecordedBody, RecordedResponse, ResponseEnd};
use super::protocol::{EVENT_PATH, FIRMWARE_PATH, PULS_PATH, SENSOR_PATH, SIGN_IN_PATH};
use super::replay_state::ReplayState;
use super::seen::{Bearer, Seen};
use super::urls::rebase_json;
use crate::http_server::request::RequestHead;
use crate::http_server::response::Response;
use crate::{Secret, percent};

const FORM_TYPE: &str = "application/x-www-form-urlencoded";
/// Maximum length of a serial number including its `S`, in bytes.
const SERIAL_LIMIT_BYTES: usize = 64;
const WRONG_SERIAL: &str = "serial is not the letter S followed by the number, such as \"S12345\"";
pub(super) const OTHER_MACHINE: &str = "the replay is for another machine: the first that connected";

/// Checks the `Authorization` header.
pub(super) fn bearer(core: &Core, head: &RequestHead) -> (Bearer, Option<Arc<RemoteMachine>>) {
    let Some(value) = head.header("authorization") else { return (Bearer::Absent, None) };
    let machine = value.strip_prefix("Bearer ").and_then(|token| core.machines.by_auth_token(token));
    (if machine.is_some() { Bearer::Good } else { Bearer::Bad }, machine)
}

/// Where a request leads that is not a WebSocket handshake.
#[derive(Clone, Copy)]
pub(super) enum Route {
    SignIn,
    Puls,
    Firmware,
    /// An upload to a presigned URL.
    Storage,
    Authorized(AuthorizedRoute),
}

/// The routes that need a bearer token.
#[derive(Clone, Copy)]
pub(super) enum AuthorizedRoute {
    Firmware,
    Event,
    Sensor,
    Status,
    Upload,
}

impl Route {
    /// Returns the route of a request, or the response if it has none, whatever its body is.
    pub(super) fn of(core: &Core, head: &RequestHead, bearer: Bearer) -> Result<Self, Response> {
        let (allowed, route) = find(core, &head.path).ok_or_else(|| Response::text(404, "no such path"))?;
        if head.method != allowed {
            return Err(Response::text(405, "method not allowed"));
        }
        match route {
            // A presigned URL carries its own authorization; the cloud's storage rejects a second one beside it.
            Self::Storage if bearer != Bearer::Absent => {
                Err(Response::text(400, "only one way to authorize a request is allowed"))
            }
            Self::Authorized(_) if bearer != Bearer::Good => Err(Response::text(401, "sign in first")),
            _ => Ok(route),
        }
    }

    /// Returns whether the request uploads a picture.
    pub(super) fn is_upload(self) -> bool {
        matches!(self, Self::Storage | Self::Authorized(AuthorizedRoute::Upload))
    }
}

/// Returns the method and route of a path.
fn find(core: &Core, path: &str) -> Option<(&'static str, Route)> {
    Some(match path {
        SIGN_IN_PATH => ("POST", Route::SignIn),
        _ if pulse_file(core, path).is_some() => ("GET", Route::Puls),
        FIRMWARE_PATH => ("GET", Route::Firmware),
        "/update/current" => ("GET", Route::Authorized(AuthorizedRoute::Firmware)),
        EVENT_PATH => ("POST", Route::Authorized(AuthorizedRoute::Event)),
        SENSOR_PATH => ("POST", Route::Authorized(AuthorizedRoute::Sensor)),
        "/api/machines/status" => ("PUT", Route::Authorized(AuthorizedRoute::Status)),
        _ if path.strip_prefix("/up/").is_some_and(|name| !name.is_empty()) => ("PUT", Route::Storage),
        _ => {
            let (action, id) = path.strip_prefix("/api/machines/")?.split_once('/')?;
            let is_upload = !action.is_empty() && id.parse::<i64>().is_ok();
            is_upload.then_some(("POST", Route::Authorized(AuthorizedRoute::Upload)))?
        }
    })
}

/// Returns the name in the path of a pulse file: an action type, a name of the behaviour, or `job`.
pub(super) fn job_of(path: &str) -> Option<&str> {
    path.strip_prefix("/dl/")?.strip_suffix(".puls")
}

/// Returns the pulse file at a path.
fn pulse_file<'a>(core: &'a Core, path: &str) -> Option<&'a Arc<[u8]>> {
    if path == PULS_PATH { Some(&core.settings.puls) } else { core.settings.jobs.get(job_of(path)?) }
}

/// Answers a request.
pub(super) fn respond(core: &Core, route: Route, head: &RequestHead, body: &[u8]) -> Response {
    match route {
        Route::SignIn => sign_in(core, head, body),
        Route::Puls => pulse_file(core, &head.path).map_or_else(|| Response::text(404, "no such path"), octets),
        Route::Firmware => octets(&core.settings.firmware),
        Route::Authorized(AuthorizedRoute::Firmware) => {
            let download_url = format!("{}{FIRMWARE_PATH}", core.settings.http_url);
            Response::json(&json!({"version": core.settings.firmware_version, "download_url": download_url}))
        }
        Route::Storage
        | Route::Authorized(
            AuthorizedRoute::Event | AuthorizedRoute::Sensor | AuthorizedRoute::Status | AuthorizedRoute::Upload,
        ) => Response::new(200),
    }
}

/// Returns the event in the body of a request, if any. Some 1.x clients send bodies that are not JSON, which are
/// accepted and ignored (from captured sessions).
pub(super) fn event(head: &RequestHead, body: &[u8]) -> Option<ReceivedEvent> {
    let posted = head.method == "POST" && head.path == EVENT_PATH;
    ReceivedEvent::of(&posted.then(|| serde_json::from_slice(body).ok())??)
}

/// Takes the recorded response to a request. Requests without a valid token are left to the usual route.
pub(super) fn take_recorded(
    core: &Core,
    replay: &ReplayState,
    head: &RequestHead,
    bearer: Bearer,
) -> Option<RecordedResponse> {
    let needs_token = matches!(find(core, &head.path), Some((_, Route::Authorized(_))));
    if needs_token && bearer != Bearer::Good {
        return None;
    }
    replay.next_response(&head.method, &head.path)
}

/// Returns the failure that repeats how a recorded response ended.
pub(super) fn recorded_failure(recorded: &RecordedResponse) -> Option<Failure> {
    match recorded.end {
        ResponseEnd::Complete => None,
        ResponseEnd::Stalled => Some(Failure::Stall),
        ResponseEnd::Cut if recorded.status.is_none() || recorded.body == RecordedBody::Empty => {
            Some(Failure::CutAnswer)
        }
        ResponseEnd::Cut => Some(Failure::ShortBody),
    }
}

/// Answers a request as recorded.
pub(super) fn respond_recorded(core: &Core, replay: &ReplayState, recorded: RecordedResponse) -> Response {
    let mut response = match recorded.body {
        RecordedBody::Empty => Response::new(200),
        RecordedBody::Json(mut json) => {
            rebase_json(&mut json, &core.settings.http_url, None);
            Response::json(&json)
        }
        RecordedBody::Job => octets(&core.settings.puls),
        RecordedBody::Firmware => octets(&core.settings.firmware),
        RecordedBody::File(path) => match replay.file(&path) {
            Ok(bytes) => octets(&bytes),
            Err(error) => {
                log::error!("local service: cannot send a recorded body: {error}");
                return Response::text(500, "the recorded body cannot be read");
            }
        },
    };
    // A recording may contain anything; other statuses are not final responses.
    response.status = recorded.status.filter(|status| (200..600).contains(status)).unwrap_or(200);
    match recorded.retry_after.filter(|value| !value.contains(char::is_control)) {
        Some(value) => response.with_header("Retry-After", &value),
        None => response,
    }
}

fn octets(body: &Arc<[u8]>) -> Response {
    Response::new(200).with_header("Content-Type", "application/octet-stream").with_body(Arc::clone(body))
}

/// Returns the serial number in the body of a sign-in, if it is valid.
pub(super) fn serial_of(head: &RequestHead, body: &[u8]) -> Option<String> {
    let (serial, _) = credentials(head, body).ok()?;
    check_serial(&serial).ok().map(|()| serial)
}

/// Returns whether the body of a sign-in is a form.
fn is_form(head: &RequestHead) -> bool {
    head.header("content-type").is_some_and(|kind| kind.starts_with(FORM_TYPE))
}

fn credentials(head: &RequestHead, body: &[u8]) -> Result<(String, String), SignInError> {
    if is_form(head) { from_form(body) } else { from_json(head, body) }
}

fn sign_in(core: &Core, head: &RequestHead, body: &[u8]) -> Response {
    let signed_in = credentials(head, body).and_then(|(serial, password)| {
        check_serial(&serial)?;
        if core.replay().is_some_and(|replay| !replay.may_be_for(&serial)) {
            return Err(SignInError(401, OTHER_MACHINE.to_owned()));
        }
        core.secrets.add_token(&Secret::new(password.as_str()));
        let wrong = || SignInError(401, "serial or password is wrong".to_owned());
        core.machines.sign_in(&serial, &password).ok_or_else(wrong)
    });
    core.history.record(Seen::SignIn { ok: signed_in.is_ok(), json: !is_form(head) });
    match signed_in {
        Ok(tokens) => {
            for token in [&tokens.ws, &tokens.auth] {
                core.secrets.add_token(&Secret::new(token.as_str()));
            }
            Response::json(&json!({"ws_token": tokens.ws, "auth_token": tokens.auth}))
        }
        Err(SignInError(status, reason)) => Response::text(status, &reason),
    }
}

/// Why a sign-in is refused: the status, and a message for authors of clients.
struct SignInError(u16, String);

impl SignInError {
    fn malformed(reason: impl Into<String>) -> Self {
        Self(400, reason.into())
    }
}

fn check_serial(serial: &str) -> Result<(), SignInError> {
    let good = serial.strip_prefix('S').is_some_and(|number| !number.is_empty()) && serial.len() <= SERIAL_LIMIT_BYTES;
    if good { Ok(()) } else { Err(SignInError::malformed(WRONG_SERIAL)) }
}

fn from_json(head: &RequestHead, body: &[u8]) -> Result<(String, String), SignInError> {
    let value: Value = serde_json::from_slice(body).map_err(|error| {
        SignInError::malformed(match head.header("content-type") {
            None => format!("without a Content-Type the body must be JSON, and it is not ({error}); a form needs Content-Type: {FORM_TYPE}"),
            Some(kind) if kind.starts_with("application/json") => format!("the body is not JSON: {error}"),
            Some(_) => format!("the Content-Type is neither application/json nor {FORM_TYPE}, and the body is not JSON ({error})"),
        })
    })?;
    let fields = value
        .as_object()
        .ok_or_else(|| SignInError::malformed("the body is not a JSON object with serial and password"))?;
    match (fields.get("serial"), fields.get("password")) {
        (Some(Value::String(serial)), Some(Value::String(password))) => Ok((serial.clone(), password.clone())),
        (None, _) => Err(SignInError::malformed("the body has no serial")),
        (Some(Value::String(_)), None) => Err(SignInError::malformed("the body has no password")),
        (Some(Value::String(_)), Some(_)) => Err(SignInError::malformed("password is not a string")),
        (Some(_), _) => Err(SignInError::malformed(WRONG_SERIAL)),
    }
}

fn from_form(body: &[u8]) -> Result<(String, String), SignInError> {
    let body = std::str::from_utf8(body).map_err(|_| SignInError::malformed("the body is not UTF-8"))?;
    if body.trim_start().starts_with('{') {
        return Err(SignInError::malformed(
            "the Content-Type is that of a form, but the body looks like JSON, which needs Content-Type: application/json",
        ));
    }
    let field = |name: &str| {
        let mut fields = body.trim().split('&').filter_map(|field| field.split_once('='));
        let value =
            fields.find(|(have, _)| *have == name).and_then(|(_, value)| percent::decode(&value.replace('+', " ")));
        value.ok_or_else(|| {
            SignInError::malformed(format!("the form has no {name}, or it is not correctly percent-encoded"))
        })
    };
    Ok((field("serial")?, field("password")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decodes_forms() {
        let read = |text: &str| from_form(text.as_bytes()).ok();
        let pair = |a: &str, b: &str| Some((a.to_owned(), b.to_owned()));
        assert_eq!(read("serial=S1&password=ab"), pair("S1", "ab"));
        assert_eq!(read("password=a%2Bb+c&x=1&serial=S%31"), pair("S1", "a+b c"));
        for wrong in ["", "serial=S1", "serial=S1&password=%", "serial=S1&password=%2", "serial=S1&password=%+1"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
