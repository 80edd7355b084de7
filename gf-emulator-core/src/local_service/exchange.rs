//! One HTTP request and its response.

use std::io::{self, Read, Write};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::core::{Bodies, Core};
use super::fault::Failure;
use super::fault_plan::RequestTreatment;
use super::frame_queue::time_of;
use super::machine::RemoteMachine;
use super::protocol::{SIGN_IN_PATH, WS_TOKEN_PATH};
use super::routes::{self, AuthorizedRoute, OTHER_MACHINE, Route};
use super::seen::{Bearer, Request, Seen, redacted_header};
use super::urls::marked_machine;
use crate::http_server::request::{BodyLength, HttpConnection, RequestError, RequestHead};
use crate::http_server::response::Response;
use crate::http_server::socket::ServerSocket;

/// Maximum size of a body that is held in memory while its request is answered, in bytes: events, reports, sign-ins.
const SMALL_BODY_BYTES: usize = 64 * 1024;
/// Maximum size of a body of sensor data. Longer ones are rejected with 413.
const SENSOR_BODY_BYTES: u64 = 1 << 20;
/// The same as [`SMALL_BODY_BYTES`] for a picture that the observer gets.
const PICTURE_BYTES: usize = 2 << 20;
/// Maximum size of all such pictures that are held at a time, over all connections.
const HELD_LIMIT_BYTES: usize = 32 << 20;

/// The largest piece of a body that is sent at a time if a bandwidth limits it.
const PIECE_LIMIT_BYTES: usize = 16 * 1024;
/// The machine that requests count as, if nothing says whose they are.
const FIRST_MACHINE: u64 = 1;

/// What happens to a connection after a request.
pub(super) enum Next {
    /// Another request.
    Request,
    /// It is closed in order.
    Close,
    /// It is cut.
    Cut,
    /// It becomes this machine's WebSocket, with this handshake response.
    WebSocket(Arc<RemoteMachine>, Response),
}

/// The part of a request body that is held in memory.
struct Body<'a> {
    core: &'a Core,
    bytes: Vec<u8>,
    /// Maximum size; a longer body is not held at all.
    limit: usize,
    /// How much of it counts towards [`HELD_LIMIT_BYTES`].
    counted: usize,
}

impl<'a> Body<'a> {
    fn new(core: &'a Core, limit: usize) -> Self {
        Self { core, bytes: Vec::new(), limit, counted: 0 }
    }

    fn extend(&mut self, more: &[u8]) {
        let length = self.bytes.len() + more.len();
        if length > self.limit || !self.may_hold(length) {
            self.limit = 0;
            self.bytes = Vec::new();
            self.release();
            return;
        }
        self.bytes.extend_from_slice(more);
    }

    /// Returns whether `length` bytes may be held. Small bodies are bounded by the number of connections, and
    /// [`Bodies::Kept`] has no limit here.
    fn may_hold(&mut self, length: usize) -> bool {
        if length <= SMALL_BODY_BYTES || self.core.settings.bodies == Bodies::Kept {
            return true;
        }
        let more = length - self.counted;
        self.counted = length;
        self.core.held_bytes.fetch_add(more, Ordering::Relaxed) + more <= HELD_LIMIT_BYTES
    }

    fn release(&mut self) {
        self.core.held_bytes.fetch_sub(std::mem::take(&mut self.counted), Ordering::Relaxed);
    }
}

impl Drop for Body<'_> {
    fn drop(&mut self) {
        self.release();
    }
}

/// Reads one request and answers it.
pub(super) fn exchange(
    core: &Core,
    connection: &mut HttpConnection,
    socket: &Arc<ServerSocket>,
) -> Result<Next, RequestError> {
    let head = connection.read_head()?;
    let is_upgrade = head.method == "GET" && head.header_has("upgrade", "websocket");
    let path = if is_upgrade { WS_TOKEN_PATH } else { head.path.as_str() };
    let (mut bearer, mut machine) = routes::bearer(core, &head);
    if bearer == Bearer::Good {
        core.connections.mark_authenticated(socket);
    }
    let is_sign_in = head.method == "POST" && path == SIGN_IN_PATH;
    let mut treatment = RequestTreatment::default();
    // Whose sign-in it is, only its body says.
    if !is_sign_in {
        let waiting = if is_upgrade { core.machines.by_ws_token(ws_token(&head)) } else { None };
        let owner = machine.as_ref().or(waiting.as_ref());
        treatment = decide(core, &head, path, number_of(core, &head, owner), owner.is_some());
        if let Some(owner) = owner.filter(|_| treatment.expires_tokens) {
            core.machines.expire_tokens_of(owner);
            (bearer, machine) = routes::bearer(core, &head);
        }
    }
    let record = |body: &[u8], body_len: u64, status: u16| {
        core.history.record(Seen::Http(seen_request(&head, path, bearer, (body, body_len), status)));
    };
    let record_rejection = |error: RequestError| {
        if let RequestError::Rejected { status, .. } = error {
            record(&[], 0, status);
        }
        error
    };

    let length = BodyLength::of(&head).map_err(record_rejection)?;
    let replay = core.replay().filter(|_| !is_upgrade);
    let recorded = replay.and_then(|replay| routes::take_recorded(core, replay, &head, bearer));
    let route = Route::of(core, &head, bearer);
    let receive = |connection: &mut HttpConnection, bytes_per_s: Option<u64>| {
        if head.header_has("expect", "100-continue") {
            connection.stream().write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        let routed = if is_upgrade { None } else { route.as_ref().ok() };
        let (limit, held_bytes) = body_limits(core, routed, bearer, recorded.is_some());
        let mut body = Body::new(core, held_bytes);
        let mut pace = Pace::new(core, bytes_per_s);
        let mut take = |bytes: &[u8]| {
            pace.wait(bytes.len());
            body.extend(bytes);
        };
        let body_len = connection.read_body_to(length, limit, &mut take).map_err(record_rejection)?;
        Ok::<_, RequestError>((body, body_len))
    };
    let mut received = None;
    if is_sign_in {
        let (body, _) = received.insert(receive(connection, None)?);
        let serial = routes::serial_of(&head, &body.bytes);
        let number = serial.map_or(FIRST_MACHINE, |serial| core.faults.number_of(&serial));
        treatment = decide(core, &head, path, number, false);
    }
    let fault = treatment.failure.clone().or_else(|| routes::recorded_failure(recorded.as_ref()?));
    if let (Err(response), false, None, None) = (&route, is_upgrade, &recorded, &fault) {
        core.faults.pause(treatment.delay);
        return reject(connection, &head, length, response, record);
    }
    if fault == Some(Failure::CutRequest) {
        let body = if received.is_some() { Vec::new() } else { read_half(core, connection, length) };
        record(&body, body.len() as u64, 0);
        return Ok(Next::Cut);
    }
    let (body, body_len) = match received {
        Some(received) => received,
        None => receive(connection, treatment.bytes_per_s)?,
    };
    core.faults.pause(treatment.delay);
    if fault == Some(Failure::Hold) {
        core.faults.hold(|| core.history.record(Seen::Held { method: head.method.clone(), path: path.to_owned() }));
    }

    let (response, opened) = match &fault {
        Some(Failure::Status { status, headers }) => {
            (Response { headers: headers.clone(), ..Response::new(*status) }, None)
        }
        _ if is_upgrade => open_websocket(core, &head),
        _ => match (recorded.zip(replay), route) {
            (Some((recorded, replay)), _) => (routes::respond_recorded(core, replay, recorded), None),
            (None, Ok(route)) => (routes::respond(core, route, &head, &body.bytes), None),
            (None, Err(response)) => (response, None),
        },
    };
    let event = if response.status == 200 { routes::event(&head, &body.bytes) } else { None };
    record(&body.bytes, body_len, response.status);
    drop(body);
    if let (Some(event), Bearer::Good, Some(machine)) = (event, bearer, machine) {
        core.count_posted_event(&machine, &event);
        machine.push_event(event);
    }
    if matches!(fault, Some(Failure::CutAnswer | Failure::ShortBody | Failure::Stall | Failure::EndlessBody)) {
        write_broken(core, connection, &response, fault.as_ref())?;
        return Ok(Next::Cut);
    }
    if let Some(machine) = opened {
        core.connections.mark_authenticated(socket);
        return Ok(Next::WebSocket(machine, response));
    }
    write_paced(core, connection, &response, treatment.bytes_per_s)?;
    Ok(if head.keeps_alive() && !is_upgrade { Next::Request } else { Next::Close })
}

/// Returns the maximum size of a body, and of what is held of it in memory.
fn body_limits(core: &Core, route: Option<&Route>, bearer: Bearer, is_recorded: bool) -> (u64, usize) {
    let settings = &core.settings;
    let limit = match route {
        Some(Route::SignIn) => settings.body_limit.min(SMALL_BODY_BYTES as u64),
        Some(Route::Authorized(AuthorizedRoute::Sensor)) => settings.body_limit.min(SENSOR_BODY_BYTES),
        _ => settings.body_limit,
    };
    let held = match (settings.bodies, route) {
        (Bodies::Kept, _) => usize::MAX,
        (Bodies::Observed, Some(route)) if route.is_upload() => PICTURE_BYTES,
        (Bodies::Small, Some(route)) if route.is_upload() && !is_recorded => 0,
        (_, Some(Route::SignIn)) => SMALL_BODY_BYTES,
        _ if bearer == Bearer::Good || is_recorded => SMALL_BODY_BYTES,
        _ => 0,
    };
    (limit, held)
}

/// Answers a request that has no route. A small body is read, so that the connection can be reused; otherwise it is
/// closed.
fn reject(
    connection: &mut HttpConnection,
    head: &RequestHead,
    length: BodyLength,
    response: &Response,
    record: impl Fn(&[u8], u64, u16),
) -> Result<Next, RequestError> {
    let waits = head.header_has("expect", "100-continue");
    let small = match length {
        BodyLength::Known(count) => {
            Some(count).filter(|count| *count == 0 || (*count <= SMALL_BODY_BYTES as u64 && !waits))
        }
        BodyLength::Chunked => None,
    };
    if let Some(count) = small {
        connection.read_body_to(length, count, &mut |_| ())?;
    }
    record(&[], small.unwrap_or_default(), response.status);
    if small.is_some() && head.keeps_alive() {
        connection.write(response)?;
        return Ok(Next::Request);
    }
    let response = response.clone().with_header("Connection", "close");
    connection.write(&response)?;
    Ok(Next::Close)
}

fn ws_token(head: &RequestHead) -> &str {
    head.path.strip_prefix('/').unwrap_or_default()
}

/// Returns the number of the machine that makes a request: the one that its token or URL names, otherwise the first.
fn number_of(core: &Core, head: &RequestHead, owner: Option<&Arc<RemoteMachine>>) -> u64 {
    if let Some(machine) = owner {
        return core.faults.number_of(&machine.serial);
    }
    let marked = head.query.as_deref().and_then(marked_machine);
    marked.filter(|number| core.faults.has_machine(*number)).unwrap_or(FIRST_MACHINE)
}

/// Decides which faults happen to a request, and reports them.
fn decide(core: &Core, head: &RequestHead, path: &str, machine: u64, has_token: bool) -> RequestTreatment {
    let treatment = core.faults.request(machine, &head.method, path, has_token);
    let expired = treatment.expires_tokens.then_some(Failure::ExpireTokens);
    for failure in expired.iter().chain(&treatment.failure) {
        core.report_fault(machine, &format!("{} {path}: {failure}", head.method));
    }
    treatment
}

/// Returns a request as it is recorded, with what was read of its body.
fn seen_request(
    head: &RequestHead,
    path: &str,
    bearer: Bearer,
    (body, body_len): (&[u8], u64),
    status: u16,
) -> Request {
    let is_secret = path == SIGN_IN_PATH;
    Request {
        method: head.method.clone(),
        path: path.to_owned(),
        has_query: head.query.is_some(),
        headers: head.headers.iter().map(redacted_header).collect(),
        bearer,
        body_len: usize::try_from(body_len).unwrap_or(usize::MAX),
        body: if is_secret { Arc::default() } else { body.into() },
        status,
    }
}

/// Reads half of a body, before the connection is cut.
fn read_half(core: &Core, connection: &mut HttpConnection, length: BodyLength) -> Vec<u8> {
    let half = if let BodyLength::Known(count) = length { count.min(core.settings.body_limit) / 2 } else { 0 };
    connection.read_body(BodyLength::Known(half), half).unwrap_or_default()
}

/// Keeps the transfer of a body to a bandwidth.
struct Pace<'a> {
    core: &'a Core,
    bytes_per_s: Option<u64>,
    started: Instant,
    moved: u64,
}

impl<'a> Pace<'a> {
    fn new(core: &'a Core, bytes_per_s: Option<u64>) -> Self {
        Self { core, bytes_per_s, started: Instant::now(), moved: 0 }
    }

    /// Waits for as long as so many more bytes take, or until the service stops.
    fn wait(&mut self, bytes: usize) {
        self.moved += bytes as u64;
        if let Some(rate) = self.bytes_per_s {
            self.core.faults.pause_until(self.started + time_of(self.moved, rate));
        }
    }
}

/// Sends a response, in small pieces if a bandwidth limits it.
fn write_paced(
    core: &Core,
    connection: &mut HttpConnection,
    response: &Response,
    bytes_per_s: Option<u64>,
) -> io::Result<()> {
    let Some(rate) = bytes_per_s else { return connection.write(response) };
    let mut pace = Pace::new(core, bytes_per_s);
    let stream = connection.stream();
    stream.write_all(&response.head(&response.content_length()))?;
    // About ten pieces per second.
    let piece_bytes = usize::try_from(rate / 10).unwrap_or(PIECE_LIMIT_BYTES).clamp(1, PIECE_LIMIT_BYTES);
    for piece in response.body.chunks(piece_bytes) {
        pace.wait(piece.len());
        stream.write_all(piece)?;
    }
    Ok(())
}

/// Answers a WebSocket handshake. The token in its path is consumed even if the handshake fails.
fn open_websocket(core: &Core, head: &RequestHead) -> (Response, Option<Arc<RemoteMachine>>) {
    let machine = core.machines.redeem_ws_token(ws_token(head));
    let Some(key) = head.header("sec-websocket-key").filter(|_| head.header("sec-websocket-version") == Some("13"))
    else {
        return (Response::text(400, "not a WebSocket handshake of version 13"), None);
    };
    let Some(machine) = machine else {
        return (Response::text(401, "the token is unknown, used or expired"), None);
    };
    if core.replay().is_some_and(|replay| !replay.claim(&machine.serial)) {
        return (Response::text(401, OTHER_MACHINE), None);
    }
    let accept = tungstenite::handshake::derive_accept_key(key.as_bytes());
    let mut response = Response::new(101)
        .with_header("Upgrade", "websocket")
        .with_header("Connection", "Upgrade")
        .with_header("Sec-WebSocket-Accept", &accept);
    if head.header_has("sec-websocket-protocol", "glowforge") {
        response = response.with_header("Sec-WebSocket-Protocol", "glowforge");
    }
    (response, Some(machine))
}

/// Sends a response with a fault. The caller cuts the connection afterwards.
fn write_broken(
    core: &Core,
    connection: &mut HttpConnection,
    response: &Response,
    fault: Option<&Failure>,
) -> io::Result<()> {
    let stream = connection.stream();
    match fault {
        // Half of an empty body would be complete, so nothing is sent.
        Some(Failure::CutAnswer) if response.body.is_empty() => Ok(()),
        Some(Failure::CutAnswer) => {
            stream.write_all(&response.head(&response.content_length()))?;
            stream.write_all(&response.body[..response.body.len() / 2])
        }
        Some(Failure::ShortBody | Failure::Stall) => {
            stream.write_all(&response.head(&format!("Content-Length: {}\r\n", response.body.len() + 1000)))?;
            stream.write_all(&response.body)?;
            if fault == Some(&Failure::Stall) {
                // Until the peer disconnects or the read times out.
                let _ = stream.read(&mut [0])?;
            }
            Ok(())
        }
        _ => {
            stream.write_all(&response.head("Transfer-Encoding: chunked\r\n"))?;
            if !response.body.is_empty() {
                stream.write_all(format!("{:x}\r\n", response.body.len()).as_bytes())?;
                stream.write_all(&response.body)?;
                stream.write_all(b"\r\n")?;
            }
            let mut chunk = b"4000\r\n".to_vec();
            chunk.resize(chunk.len() + 0x4000, 0);
            chunk.extend_from_slice(b"\r\n");
            while !core.connections.is_stopping() {
                stream.write_all(&chunk)?;
            }
            Ok(())
        }
    }
}
