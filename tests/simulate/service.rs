//! The simulated service: signs machines in, answers their requests, sends actions, and does all of that wrongly at times.
//!
//! Written from the protocol's description. It shares no code with the emulator.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use serde_json::{Value, json};
use tungstenite::handshake::derive_accept_key;

use crate::frames;
use crate::machine::PICTURE;
use crate::network::Link;
use crate::scenario::Faults;
use crate::world::World;

/// Part of every secret: no output may contain it.
pub(crate) const SECRET: &str = "5ec2e75ec2e75ec2";
pub(crate) const SERVER: &str = "app.example";
pub(crate) const STATUS: &str = "status.example";
pub(crate) const STORAGE: &str = "storage.example";
/// Where redirects lead to.
const MIRROR: &str = "mirror.example";

/// A connection.
struct Served {
    link: Link,
    received: Vec<u8>,
    is_websocket: bool,
    /// The HTTP request before was not answered, so no other is.
    is_stalled: bool,
}

#[derive(Default)]
pub(crate) struct Service {
    connections: BTreeMap<usize, Served>,
    /// The open WebSocket.
    websocket: Option<usize>,
    tokens: u64,
    /// After so many sign-ins, tokens are repeated. 0: never.
    pub(crate) token_kinds: u64,
    websocket_tokens: BTreeSet<String>,
    bearers: BTreeSet<String>,
    /// The last one that the machine has used.
    used_bearer: String,
    pub(crate) faults: Faults,
    /// Lines that wait for a WebSocket.
    waiting: Vec<String>,
    /// The body of each job, by its path.
    pub(crate) jobs: BTreeMap<String, Vec<u8>>,
}

struct Request {
    method: String,
    path: String,
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

struct Answer {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
}

impl Answer {
    fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self { status, headers: Vec::new(), body: body.into() }
    }
}

/// Tokens expire: the next request with one gets a 401.
pub(crate) fn expire_tokens(world: &Rc<World>) {
    world.note(format_args!("service: all tokens expire"));
    world.service.borrow_mut().bearers.clear();
}

/// Returns whether there is a WebSocket.
pub(crate) fn is_connected(world: &World) -> bool {
    world.service.borrow().websocket.is_some()
}

/// Returns the open WebSocket.
pub(crate) fn websocket(world: &World) -> Option<Link> {
    let service = world.service.borrow();
    service.websocket.and_then(|id| service.connections.get(&id)).map(|served| served.link.clone())
}

pub(crate) fn opened(world: &Rc<World>, link: &Link) {
    let served = Served { link: link.clone(), received: Vec::new(), is_websocket: false, is_stalled: false };
    world.service.borrow_mut().connections.insert(link.id, served);
    let breaks = world.service.borrow().faults.cuts;
    if world.chance(breaks) {
        link.cut_after(world.index(4000));
    }
}

pub(crate) fn closed(world: &Rc<World>, id: usize) {
    let mut service = world.service.borrow_mut();
    service.connections.remove(&id);
    if service.websocket == Some(id) {
        service.websocket = None;
        world.note(format_args!("service: the WebSocket is closed"));
    }
}

pub(crate) fn received(world: &Rc<World>, id: usize, bytes: &[u8]) {
    let is_websocket = {
        let mut service = world.service.borrow_mut();
        let Some(served) = service.connections.get_mut(&id) else { return };
        served.received.extend_from_slice(bytes);
        served.is_websocket
    };
    if is_websocket {
        read_frames(world, id);
    } else {
        while let Some(request) = next_request(world, id) {
            answer(world, id, &request);
        }
    }
}

/// Takes the next complete request of a connection.
fn next_request(world: &World, id: usize) -> Option<Request> {
    let mut service = world.service.borrow_mut();
    let served = service.connections.get_mut(&id).filter(|served| !served.is_websocket && !served.is_stalled)?;
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut parsed = httparse::Request::new(&mut headers);
    let httparse::Status::Complete(start) = parsed.parse(&served.received).ok()? else { return None };
    let headers: BTreeMap<_, _> = parsed
        .headers
        .iter()
        .map(|header| (header.name.to_ascii_lowercase(), String::from_utf8_lossy(header.value).into_owned()))
        .collect();
    let length = headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    let body = served.received.get(start..start + length)?.to_vec();
    let (method, path) = (parsed.method?.to_owned(), parsed.path?.to_owned());
    served.received.drain(..start + length);
    Some(Request { method, path, headers, body })
}

fn answer(world: &Rc<World>, id: usize, request: &Request) {
    let Some(link) = world.network.link(id) else { return };
    let path = request.path.split('?').next().unwrap_or_default().to_owned();
    let shown = if link.host == STATUS && request.headers.contains_key("upgrade") { "/<token>" } else { &path };
    world.note(format_args!("service: {} {} {shown}", link.host, request.method));
    world.model.borrow_mut().on_request(&link.host, &request.headers);
    let bearer = request.headers.get("authorization").and_then(|value| value.strip_prefix("Bearer "));
    if let Some(bearer) = bearer {
        bearer.clone_into(&mut world.service.borrow_mut().used_bearer);
    }
    let is_known = bearer.is_some_and(|bearer| world.service.borrow().bearers.contains(bearer));
    if let Some(key) = request.headers.get("sec-websocket-key") {
        return upgrade(world, &link, &path, key);
    }
    let answer = match (link.host.as_str(), request.method.as_str(), path.as_str()) {
        (SERVER, "POST", "/machines/sign_in") => sign_in(world),
        (SERVER | STATUS, ..) if !is_known => Answer::new(401, "{}"),
        (SERVER, "GET", "/update/current") => Answer::new(200, json!({"version": "2.6.0-2228"}).to_string()),
        (SERVER, "POST", path) if path.starts_with("/api/machines/") => picture(world, request, 200),
        (SERVER, "PUT", "/api/machines/status") => Answer::new(204, ""),
        (STATUS, "POST", "/api/event") => Answer::new(200, "{}"),
        (STORAGE, "GET", path) if world.chance(50) => {
            let location = format!("https://{MIRROR}{path}?X-Amz-Signature={SECRET}-mirror");
            Answer { headers: vec![("Location", location)], ..Answer::new(302, "") }
        }
        (STORAGE | MIRROR, "GET", path) => match world.service.borrow().jobs.get(path) {
            Some(job) => Answer::new(200, job.clone()),
            None => Answer::new(404, "no such job"),
        },
        (STORAGE, "PUT", _) => picture(world, request, 200),
        _ => Answer::new(404, "no such path"),
    };
    send_answer(world, &link, request, answer);
}

fn sign_in(world: &World) -> Answer {
    let mut service = world.service.borrow_mut();
    service.tokens += 1;
    let number = service.tokens.checked_rem(service.token_kinds).unwrap_or(service.tokens);
    let websocket = format!("ws-{SECRET}-{number}");
    let bearer = format!("bearer-{SECRET}-{number}");
    service.websocket_tokens.insert(websocket.clone());
    service.bearers.insert(bearer.clone());
    Answer::new(200, json!({"ws_token": websocket, "auth_token": bearer}).to_string())
}

fn picture(world: &World, request: &Request, status: u16) -> Answer {
    world.model.borrow_mut().demand(request.body == PICTURE, "a picture arrives in part");
    Answer::new(status, "{}")
}

/// Sends an answer, or what a fault makes of it.
fn send_answer(world: &Rc<World>, link: &Link, request: &Request, mut answer: Answer) {
    let path = request.path.split('?').next().unwrap_or_default();
    let faults = world.service.borrow().faults;
    let fault = if world.chance(faults.http) { world.pick(1..9) } else { 0 };
    if fault > 0 {
        world.note(format_args!("service: the answer has fault {fault}"));
    }
    if fault == 1 {
        let statuses = [400, 401, 403, 404, 429, 500, 502, 503];
        answer = Answer::new(statuses[world.index(8)], echo(request));
        answer.headers.push(("X-Echo", echo(request)));
        if world.chance(500) {
            answer.headers.push(("Retry-After", world.pick(0..60).to_string()));
        }
    }
    let mut length = answer.body.len();
    match fault {
        2 => return stall(world, link),
        3 => return link.close(world),
        // The announced length is wrong.
        4 => length += 1 + world.index(1000),
        5 => {
            length = world.index(length + 1);
            // The machine has no way to notice.
            world.model.borrow_mut().allow_job(path, answer.body[..length].to_vec());
        }
        _ => {}
    }
    let mut text = format!("HTTP/1.1 {} Simulated\r\n", answer.status);
    for (name, value) in &answer.headers {
        text = text + name + ": " + value + "\r\n";
    }
    let mut bytes;
    if fault == 0 && answer.status == 200 && world.chance(150) {
        text += "Transfer-Encoding: chunked\r\n\r\n";
        bytes = text.into_bytes();
        let size = 1 + world.index(5000);
        for chunk in answer.body.chunks(size) {
            bytes.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
            bytes.extend_from_slice(chunk);
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(b"0\r\n\r\n");
    } else if fault == 6 {
        // Without a length, the end of the connection is the end of the body, or of a part of it.
        text += "Connection: close\r\n\r\n";
        bytes = text.into_bytes();
        let kept = if world.chance(500) { length } else { world.index(length + 1) };
        bytes.extend_from_slice(&answer.body[..kept]);
    } else {
        bytes = (text + "Content-Length: " + &length.to_string() + "\r\n\r\n").into_bytes();
        bytes.extend_from_slice(&answer.body);
    }
    if answer.status == 200 && !answer.body.is_empty() && link.host != SERVER {
        world.model.borrow_mut().allow_job(path, answer.body);
    }
    match fault {
        7 => {
            let kept = world.index(bytes.len());
            bytes.truncate(kept);
        }
        8 => {
            let at = world.index(12);
            bytes[at] = b'#';
        }
        _ => {}
    }
    send_in_parts(world, link, &bytes, fault == 0 && world.chance(faults.slow));
    if matches!(fault, 4..=8) {
        let later = link.clone();
        world.after(Duration::from_secs(20), move |world| later.close(world));
        stall(world, link);
    }
}

/// Returns what a careless service repeats: the machine's secrets.
fn echo(request: &Request) -> String {
    let bearer = request.headers.get("authorization").map_or("", String::as_str);
    let signature = request.path.rsplit('=').next().unwrap_or_default();
    format!("simulated: {}, {bearer}, {signature}", request.path)
}

/// The connection is not used any more.
fn stall(world: &World, link: &Link) {
    if let Some(served) = world.service.borrow_mut().connections.get_mut(&link.id) {
        served.is_stalled = true;
    }
}

fn send_in_parts(world: &Rc<World>, link: &Link, bytes: &[u8], is_slow: bool) {
    let parts = if is_slow { 2 + world.index(4) } else { 1 + world.index(2) };
    let size = (bytes.len() / parts).max(1);
    let mut delay = Duration::ZERO;
    for part in bytes.chunks(size) {
        let (link, part) = (link.clone(), part.to_vec());
        world.after(delay, move |world| link.send(world, part));
        delay += world.time_below(if is_slow { Duration::from_secs(12) } else { Duration::from_millis(20) });
    }
}

fn upgrade(world: &Rc<World>, link: &Link, path: &str, key: &str) {
    let token = path.trim_start_matches('/');
    let is_valid = world.service.borrow_mut().websocket_tokens.remove(token);
    let fault = if world.chance(world.service.borrow().faults.http) { world.pick(1..4) } else { 0 };
    if !is_valid || fault == 1 {
        world.note(format_args!("service: no WebSocket"));
        link.send(world, b"HTTP/1.1 403 Simulated\r\nContent-Length: 0\r\n\r\n".to_vec());
        return;
    }
    if fault == 2 {
        return stall(world, link);
    }
    let accept = if fault == 3 { "wrong".to_owned() } else { derive_accept_key(key.as_bytes()) };
    let text = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
    );
    link.send(world, text.into_bytes());
    let lines = {
        let mut service = world.service.borrow_mut();
        // Another may still be open, which the machine has given up.
        service.websocket = Some(link.id);
        if let Some(served) = service.connections.get_mut(&link.id) {
            served.is_websocket = true;
            served.received.clear();
        }
        std::mem::take(&mut service.waiting)
    };
    world.note(format_args!("service: the WebSocket is open"));
    world.model.borrow_mut().on_websocket(link);
    for line in lines {
        send_line(world, &line);
    }
}

/// Sends a line, or keeps it until there is a WebSocket.
pub(crate) fn send_line(world: &Rc<World>, line: &str) {
    let Some(to) = websocket(world) else {
        world.service.borrow_mut().waiting.push(line.to_owned());
        return;
    };
    let faults = world.service.borrow().faults;
    let fault = if world.chance(faults.frames) { world.pick(1..5) } else { 0 };
    world.note(format_args!("service: sends {} (fault {fault})", ShownAction(line)));
    let frames = match fault {
        // Two lines in a frame, in two fragments, twice.
        1 => {
            let bearer = world.service.borrow().used_bearer.clone();
            let unknown = json!({"id": 1, "action_type": bearer, "status": "ready"});
            frames::text(&format!("{line}\n{unknown}\n"))
        }
        2 => frames::fragments(line, world.index(line.len())),
        3 => [frames::text(line), frames::text(line)].concat(),
        4 => {
            let bytes = frames::text(line);
            world.after(world.time_below(Duration::from_secs(5)), move |world| to.send(world, bytes));
            return;
        }
        _ => frames::text(line),
    };
    to.send(world, frames);
    if world.chance(faults.cuts) {
        world.after(world.time_below(Duration::from_secs(3)), move |world| to.cut(world));
    }
}

/// Shows a line without its URLs, for the trace.
struct ShownAction<'a>(&'a str);

impl fmt::Display for ShownAction<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut action: Value = serde_json::from_str(self.0).unwrap_or_default();
        if let Some(action) = action.as_object_mut() {
            action.retain(|key, _| matches!(key.as_str(), "id" | "action_type" | "status"));
        }
        write!(f, "{action}")
    }
}

fn read_frames(world: &Rc<World>, id: usize) {
    loop {
        let (link, frame) = {
            let mut service = world.service.borrow_mut();
            let Some(served) = service.connections.get_mut(&id) else { return };
            let Some((frame, used)) = frames::read(&served.received) else { return };
            served.received.drain(..used);
            (served.link.clone(), frame)
        };
        match frame.opcode {
            frames::PING if !world.chance(world.service.borrow().faults.pongs) => {
                link.send(world, frames::encode(frames::PONG, &frame.payload));
            }
            frames::CLOSE => {
                link.send(world, frames::encode(frames::CLOSE, &frame.payload));
                link.close(world);
            }
            frames::TEXT => {
                world.note(format_args!("service: got {}", String::from_utf8_lossy(&frame.payload).trim_end()));
            }
            _ => {}
        }
    }
}
