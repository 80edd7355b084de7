//! What each path does: sign-in, firmware, status and events, uploads, downloads.

use std::sync::Arc;

use serde_json::{Value, json};

use super::http::{Answer, Head};
use super::machines::{Event, Machine};
use super::seen::{Bearer, Seen};
use super::server::Core;
use crate::Secret;

/// Where the pulse file is.
pub(super) const PULS_PATH: &str = "/dl/job.puls";
/// Where the firmware is.
pub(super) const FIRMWARE_PATH: &str = "/dl/firmware";

/// Whom a request's `Authorization` header speaks for.
pub(super) fn bearer(core: &Core, head: &Head) -> (Bearer, Option<Arc<Machine>>) {
    let Some(value) = head.header("authorization") else { return (Bearer::Absent, None) };
    let machine = value.strip_prefix("Bearer ").and_then(|token| core.machines.bearer(token));
    (if machine.is_some() { Bearer::Good } else { Bearer::Bad }, machine)
}

/// The answer to a request that opens no control socket.
pub(super) fn answer(core: &Core, head: &Head, bearer: &(Bearer, Option<Arc<Machine>>), body: &[u8]) -> Answer {
    let (method, path) = (head.method.as_str(), head.path.as_str());
    match (method, path) {
        ("POST", "/machines/sign_in") => sign_in(core, head, body),
        ("GET", PULS_PATH) => octets(&core.settings.puls),
        ("GET", FIRMWARE_PATH) => octets(&core.settings.firmware),
        ("PUT", _) if path.len() > 4 && path.starts_with("/up/") => {
            // A presigned URL is an authority of its own; storage takes no second one beside it.
            if bearer.0 == Bearer::Absent {
                Answer::new(200)
            } else {
                Answer::text(400, "only one way to authorize a request is allowed")
            }
        }
        _ => match service_route(method, path) {
            Route::Unknown => Answer::text(404, "there is nothing here"),
            Route::OtherMethod => Answer::text(405, "not with this method"),
            Route::Known(route) => match &bearer.1 {
                None => Answer::text(401, "sign in first"),
                Some(_) => service_answer(core, route),
            },
        },
    }
}

/// The event that a request brings, if it does. Machines of the first generation are known to send bodies that are no
/// JSON: taken, and left at that.
pub(super) fn event(head: &Head, body: &[u8]) -> Option<Event> {
    let posted = head.method == "POST" && head.path == "/api/event";
    Event::of(&posted.then(|| serde_json::from_slice(body).ok())??)
}

enum Route {
    Known(Service),
    OtherMethod,
    Unknown,
}

/// The routes that want a bearer token.
#[derive(Clone, Copy)]
enum Service {
    Firmware,
    Event,
    Status,
    Upload,
}

fn service_route(method: &str, path: &str) -> Route {
    let (wanted, route) = match path {
        "/update/current" => ("GET", Service::Firmware),
        "/api/event" => ("POST", Service::Event),
        "/api/machines/status" => ("PUT", Service::Status),
        _ => {
            let parts = path.strip_prefix("/api/machines/").and_then(|rest| rest.split_once('/'));
            match parts {
                Some((action, id)) if !action.is_empty() && id.parse::<i64>().is_ok() => ("POST", Service::Upload),
                _ if ["/machines/sign_in", PULS_PATH, FIRMWARE_PATH].contains(&path) => return Route::OtherMethod,
                _ => return Route::Unknown,
            }
        }
    };
    if method == wanted { Route::Known(route) } else { Route::OtherMethod }
}

/// Whether requests to this path are for machines that have signed in.
pub(super) fn wants_bearer(path: &str) -> bool {
    ["GET", "POST", "PUT"].iter().any(|method| matches!(service_route(method, path), Route::Known(_)))
}

fn service_answer(core: &Core, route: Service) -> Answer {
    match route {
        Service::Firmware => {
            let download_url = format!("{}{FIRMWARE_PATH}", core.settings.http_url);
            Answer::json(&json!({"version": core.settings.firmware_version, "download_url": download_url}))
        }
        Service::Event | Service::Status | Service::Upload => Answer::new(200),
    }
}

fn octets(body: &Arc<[u8]>) -> Answer {
    Answer::new(200).with("Content-Type", "application/octet-stream").holding(Arc::clone(body))
}

fn sign_in(core: &Core, head: &Head, body: &[u8]) -> Answer {
    let form = head.header("content-type").is_some_and(|kind| kind.starts_with("application/x-www-form-urlencoded"));
    let credentials = if form { from_form(body) } else { from_json(body) };
    let welcome = |serial: &str| core.playing().is_none_or(|playing| playing.is_for(serial));
    let credentials = credentials.filter(|(serial, _)| welcome(serial));
    let signed_in = credentials.and_then(|(serial, password)| {
        core.secrets.learn(&Secret::new(password.as_str()));
        core.machines.sign_in(&serial, &password)
    });
    core.log.record(Seen::SignIn { ok: signed_in.is_some(), json: !form });
    let Some((tokens, machine, is_new)) = signed_in else {
        return Answer::text(401, "serial or password is wrong");
    };
    for token in [&tokens.ws, &tokens.auth] {
        core.secrets.learn(&Secret::new(token.as_str()));
    }
    if is_new {
        core.start_task(&machine);
    }
    Answer::json(&json!({"ws_token": tokens.ws, "auth_token": tokens.auth}))
}

fn from_json(body: &[u8]) -> Option<(String, String)> {
    let value: Value = serde_json::from_slice(body).ok()?;
    let field = |name: &str| value.get(name).and_then(Value::as_str).map(str::to_owned);
    Some((field("serial")?, field("password")?))
}

fn from_form(body: &[u8]) -> Option<(String, String)> {
    let body = std::str::from_utf8(body).ok()?;
    let field = |name: &str| {
        let mut fields = body.trim().split('&').filter_map(|field| field.split_once('='));
        fields.find(|(have, _)| *have == name).and_then(|(_, value)| percent_decoded(value))
    };
    Some((field("serial")?, field("password")?))
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
        let read = |text: &str| from_form(text.as_bytes());
        let pair = |a: &str, b: &str| Some((a.to_owned(), b.to_owned()));
        assert_eq!(read("serial=S1&password=ab"), pair("S1", "ab"));
        assert_eq!(read("password=a%2Bb+c&x=1&serial=S%31"), pair("S1", "a+b c"));
        for wrong in ["", "serial=S1", "serial=S1&password=%", "serial=S1&password=%2", "serial=S1&password=%+1"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
