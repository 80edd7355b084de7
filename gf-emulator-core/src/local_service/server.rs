//! What is done with a connection, and what all connections share.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use native_tls::TlsAcceptor;
use serde_json::Value;

use super::control_socket::{CLOSING, Cut, Gone, JSON_LIMIT_BYTES, Link};
use super::fault::{Failure, Faults};
use super::machines::{Machine, Machines};
use super::replay::{self, Playing};
use super::routes::{self, PULS_PATH, Route};
use super::script::{self, Ended, Outcome, Places, Script, Walks};
use super::seen::{Bearer, Log, Observer, Request, Seen, shown};
use crate::Secrets;
use crate::http_server::connections::Visitors;
use crate::http_server::request::{Answer, Broken, Connection, Head, Length};
use crate::http_server::wire::{Stream, Wire};

/// How long a peer may be silent in a TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How long a peer may be silent in or between requests, or not read its answer.
const SILENCE: Duration = Duration::from_secs(30);
/// Most connections at a time, and so most of the threads. For a newcomer an older one has to go, first of those that
/// have shown no token.
const CONNECTIONS_LIMIT: usize = 256;
/// The longest body that is held in memory while its request is answered, in bytes: events, reports, sign-ins.
const SMALL_BODY_BYTES: usize = JSON_LIMIT_BYTES;
/// The same for a picture that the observer is to have.
const PICTURE_BYTES: usize = 2 << 20;
/// Most bytes of such pictures that are held at a time, over all connections.
const HELD_LIMIT_BYTES: usize = 32 << 20;

/// Which bodies of requests are held in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bodies {
    /// Small ones, while their request is answered.
    Small,
    /// Pictures as well, for the observer.
    Observed,
    /// All, for as long as their requests are kept.
    Kept,
}

/// What the service was built with.
pub(super) struct Settings {
    pub(super) http_url: String,
    pub(super) firmware_version: String,
    pub(super) firmware: Arc<[u8]>,
    pub(super) puls: Arc<[u8]>,
    /// Pulse files for actions of one type.
    pub(super) jobs: BTreeMap<String, Arc<[u8]>>,
    pub(super) body_limit: u64,
    pub(super) bodies: Bodies,
    pub(super) cut_every: Option<Duration>,
}

/// What the service does on its own.
pub(super) enum Task {
    /// The same with every machine.
    Script(Script),
    /// With one machine.
    Replay(Playing),
}

impl Task {
    /// What has to be called with everything seen.
    pub(super) fn counter(&self) -> Option<Observer> {
        match self {
            Self::Script(_) => None,
            Self::Replay(playing) => Some(playing.counter()),
        }
    }

    fn run(&self, core: &Core, machine: &Arc<Machine>) -> Ended {
        match self {
            Self::Script(script) => script::run(script, core, machine),
            Self::Replay(playing) => replay::run(playing, core, machine),
        }
    }
}

/// What all threads of one service share.
pub(super) struct Core {
    me: Weak<Core>,
    pub(super) settings: Settings,
    pub(super) machines: Machines,
    pub(super) log: Log,
    pub(super) faults: Faults,
    pub(super) task: Option<Task>,
    pub(super) walks: Walks,
    pub(super) visitors: Arc<Visitors>,
    /// How many bytes of bodies are held at this moment.
    held: AtomicUsize,
    pub(super) secrets: Secrets,
}

impl Core {
    pub(super) fn new(
        settings: Settings,
        machines: Machines,
        log: Log,
        task: Option<Task>,
        secrets: Secrets,
    ) -> Arc<Self> {
        Arc::new_cyclic(|me| Self {
            me: me.clone(),
            settings,
            machines,
            log,
            faults: Faults::default(),
            task,
            walks: Walks::default(),
            visitors: Visitors::new("local service", CONNECTIONS_LIMIT),
            held: AtomicUsize::new(0),
            secrets,
        })
    }

    /// Runs `work` on a thread that is joined at the end.
    fn spawn(&self, name: &str, work: impl FnOnce(&Arc<Core>) + Send + 'static) -> io::Result<()> {
        let Some(core) = self.me.upgrade() else { return Err(io::ErrorKind::NotConnected.into()) };
        self.visitors.spawn(name, move || work(&core))
    }

    /// Has every thread end: what it waits for is over, its socket is shut.
    pub(super) fn stop(&self) {
        self.visitors.close();
        self.machines.stop();
        self.faults.stop();
        self.log.stop();
        self.walks.stop();
        self.visitors.cut();
    }

    /// Starts what there is to do with a machine that is connected, unless that was started before.
    fn start_task(&self, machine: &Arc<Machine>) {
        if self.task.is_none() || !machine.begin() {
            return;
        }
        self.walks.began();
        let machine = Arc::clone(machine);
        let started = self.spawn("gf-service-script", move |core| {
            let ended = core.task.as_ref().map_or(Ended::Stopped, |task| task.run(core, &machine));
            core.walks.ended(ended);
        });
        if let Err(error) = started {
            let reason = format!("cannot start its thread: {error}");
            self.walks.ended(Ended::With(Outcome::Failed { step: 1, reason }));
        }
    }

    /// Sends an action with its placeholders filled.
    pub(super) fn send(&self, link: &Arc<Link>, mut action: Value) -> Result<(), Gone> {
        let job = action["action_type"].as_str().filter(|&action_type| self.settings.jobs.contains_key(action_type));
        let path = job.map_or_else(|| PULS_PATH.to_owned(), |action_type| format!("/dl/{action_type}.puls"));
        let puls = format!("{}{path}", self.settings.http_url);
        Places { http: &self.settings.http_url, puls: &puls, serial: &link.machine.serial }.fill(&mut action);
        self.send_text(link, &action.to_string())
    }

    pub(super) fn send_text(&self, link: &Arc<Link>, text: &str) -> Result<(), Gone> {
        let sent = link.send(text, || self.log.record(Seen::WsSent(text.to_owned())));
        if sent.is_err() {
            self.machines.unlink(link);
        }
        sent
    }

    /// The recorded session, where it is that.
    pub(super) fn playing(&self) -> Option<&Playing> {
        match &self.task {
            Some(Task::Replay(playing)) => Some(playing),
            _ => None,
        }
    }

    /// Cuts the machine's control socket, if it has one.
    pub(super) fn cut(&self, machine: &Machine, how: Cut) {
        if let Some(link) = machine.link_now() {
            self.machines.unlink(&link);
            link.cut(how);
        }
    }

    /// Closes the machine's control socket, if it has one.
    pub(super) fn close(&self, machine: &Machine, code: u16) {
        if let Some(link) = machine.link_now() {
            self.machines.unlink(&link);
            link.close(code, CLOSING);
        }
    }
}

/// Accepts until the service stops. Runs on the listener's thread.
pub(super) fn listen(core: &Arc<Core>, listener: &TcpListener, acceptor: Option<&TlsAcceptor>) {
    let (shared, acceptor) = (Arc::clone(core), acceptor.cloned());
    core.visitors.listen(listener, "gf-service-connection", move |socket| serve(&shared, socket, acceptor.as_ref()));
}

/// How a connection goes on after a request.
enum Next {
    /// With another request.
    Request,
    /// It ends in order.
    End,
    /// It ends at once.
    Cut,
    /// As this machine's control socket, which this answer opens.
    ControlSocket(Arc<Machine>, Answer),
}

fn serve(core: &Core, socket: &Arc<TcpStream>, acceptor: Option<&TlsAcceptor>) {
    let limits = socket.set_nodelay(true).and_then(|()| socket.set_read_timeout(Some(HANDSHAKE)));
    if limits.and_then(|()| socket.set_write_timeout(Some(SILENCE))).is_err() {
        return;
    }
    let wire = Wire::new(Arc::clone(socket));
    let stream = match acceptor {
        None => Stream::Plain(wire),
        Some(acceptor) => match acceptor.accept(wire) {
            Ok(tls) => Stream::Tls(Box::new(tls)),
            Err(error) => return log::debug!("local service: a TLS handshake failed: {error}"),
        },
    };
    if socket.set_read_timeout(Some(SILENCE)).is_err() {
        return;
    }
    let mut connection = Connection::new(stream);
    loop {
        match exchange(core, &mut connection, socket) {
            Ok(Next::Request) => {}
            Ok(Next::End) => return connection.finish(),
            Ok(Next::Cut) | Err(Broken::Gone) => {
                let _ = socket.shutdown(Shutdown::Both);
                return;
            }
            Ok(Next::ControlSocket(machine, answer)) => {
                let (stream, early) = connection.into_parts();
                let Ok(link) = Link::new(stream, early, machine, &answer.head("")) else { return };
                let link = Arc::new(link);
                let has_protocol = answer.headers.iter().any(|(name, _)| name == "Sec-WebSocket-Protocol");
                let former = core.machines.link(&link);
                // Whoever has seen it open finds it: to send to, and to cut.
                core.log.record(Seen::WsOpened { subprotocol: has_protocol });
                if let Some(former) = former {
                    former.abandon();
                }
                core.start_task(&link.machine);
                return link.run(core);
            }
            Err(Broken::Refused { status, reason }) => {
                let answer = Answer::text(status, reason).with("Connection", "close");
                let length = answer.true_length();
                if connection.write(&answer, &length).is_ok() {
                    connection.finish();
                }
                return;
            }
        }
    }
}

/// As much of a body as is held in memory.
struct Body<'a> {
    core: &'a Core,
    bytes: Vec<u8>,
    /// Most bytes held; what is longer is not held at all.
    limit: usize,
    /// How much of it counts for [`HELD_LIMIT_BYTES`].
    counted: usize,
}

impl<'a> Body<'a> {
    fn new(core: &'a Core, limit: usize) -> Self {
        Self { core, bytes: Vec::new(), limit, counted: 0 }
    }

    fn take(&mut self, more: &[u8]) {
        let length = self.bytes.len() + more.len();
        if length > self.limit || !self.count(length) {
            self.limit = 0;
            self.bytes = Vec::new();
            self.release();
            return;
        }
        self.bytes.extend_from_slice(more);
    }

    /// Whether so many bytes may be held. Small bodies are bounded by the number of connections; whoever asked for all
    /// of them to be kept gets them.
    fn count(&mut self, length: usize) -> bool {
        if length <= SMALL_BODY_BYTES || self.core.settings.bodies == Bodies::Kept {
            return true;
        }
        let more = length - self.counted;
        self.counted = length;
        self.core.held.fetch_add(more, Ordering::Relaxed) + more <= HELD_LIMIT_BYTES
    }

    fn release(&mut self) {
        self.core.held.fetch_sub(std::mem::take(&mut self.counted), Ordering::Relaxed);
    }
}

impl Drop for Body<'_> {
    fn drop(&mut self) {
        self.release();
    }
}

/// One request and its answer.
fn exchange(core: &Core, connection: &mut Connection, socket: &Arc<TcpStream>) -> Result<Next, Broken> {
    let head = connection.read_head()?;
    let upgrade = head.method == "GET" && head.header_has("upgrade", "websocket");
    let path = if upgrade { "/<ws_token>" } else { head.path.as_str() };
    let (bearer, machine) = routes::bearer(core, &head);
    if bearer == Bearer::Good {
        core.visitors.settle(socket);
    }
    let record = |body: &[u8], body_len: u64, status: u16| {
        let is_secret = path == "/machines/sign_in";
        core.log.record(Seen::Http(Request {
            method: head.method.clone(),
            path: path.to_owned(),
            has_query: head.query.is_some(),
            headers: head.headers.iter().map(shown).collect(),
            bearer,
            body_len: usize::try_from(body_len).unwrap_or(usize::MAX),
            body: if is_secret { Arc::default() } else { body.into() },
            status,
        }));
    };
    let note_refusal = |broken: Broken| {
        if let Broken::Refused { status, .. } = broken {
            record(&[], 0, status);
        }
        broken
    };

    let length = Length::of(&head).map_err(note_refusal)?;
    let recorded = if upgrade { None } else { core.playing().and_then(|playing| playing.reply(&head, bearer)) };
    let fault = core.faults.take(&head.method, path);
    let fault = fault.or_else(|| recorded.as_ref()?.failure());
    let route = Route::of(&head, bearer);
    if let (Err(answer), false, None, None) = (&route, upgrade, &recorded, &fault) {
        return refuse(connection, &head, length, answer, record);
    }
    if fault == Some(Failure::CutRequest) {
        let half = if let Length::Known(count) = length { count.min(core.settings.body_limit) / 2 } else { 0 };
        let body = connection.read_body(Length::Known(half), half).unwrap_or_default();
        record(&body, body.len() as u64, 0);
        return Ok(Next::Cut);
    }
    if head.header_has("expect", "100-continue") {
        connection.stream().write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
    }
    let leads_to = if upgrade { None } else { route.as_ref().ok() };
    let (longest, held_bytes) = body_limits(core, leads_to, bearer, recorded.is_some());
    let mut body = Body::new(core, held_bytes);
    let body_len = connection.read_body_to(length, longest, &mut |bytes| body.take(bytes)).map_err(note_refusal)?;
    if fault == Some(Failure::Hold) {
        core.faults.hold(|| core.log.record(Seen::Held { method: head.method.clone(), path: path.to_owned() }));
    }

    let (answer, opened) = match &fault {
        Some(Failure::Status { status, headers }) => {
            (Answer { headers: headers.clone(), ..Answer::new(*status) }, None)
        }
        _ if upgrade => open_control_socket(core, &head),
        _ => match (recorded.zip(core.playing()).map(|(reply, playing)| reply.answer(core, playing)), route) {
            (None, Ok(route)) => (routes::answer(core, route, &head, &body.bytes), None),
            (Some(answer), _) | (None, Err(answer)) => (answer, None),
        },
    };
    let event = if answer.status == 200 { routes::event(&head, &body.bytes) } else { None };
    record(&body.bytes, body_len, answer.status);
    drop(body);
    if let (Some(event), Bearer::Good, Some(machine)) = (event, bearer, machine) {
        machine.deliver(event);
    }
    if matches!(fault, Some(Failure::CutAnswer | Failure::ShortBody | Failure::Stall | Failure::EndlessBody)) {
        spoil(core, connection, &answer, fault.as_ref())?;
        return Ok(Next::Cut);
    }
    if let Some(machine) = opened {
        core.visitors.settle(socket);
        return Ok(Next::ControlSocket(machine, answer));
    }
    connection.write(&answer, &answer.true_length())?;
    Ok(if head.keeps_alive() && !upgrade { Next::Request } else { Next::End })
}

/// The longest body that is taken, and how much of it is held in memory at most.
fn body_limits(core: &Core, route: Option<&Route>, bearer: Bearer, is_recorded: bool) -> (u64, usize) {
    let settings = &core.settings;
    let limit = match route {
        Some(Route::SignIn) => settings.body_limit.min(SMALL_BODY_BYTES as u64),
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

/// Answers a request that leads nowhere. A small body is read, so that the connection can go on; it ends with a large
/// one.
fn refuse(
    connection: &mut Connection,
    head: &Head,
    length: Length,
    answer: &Answer,
    record: impl Fn(&[u8], u64, u16),
) -> Result<Next, Broken> {
    let waits = head.header_has("expect", "100-continue");
    let small = match length {
        Length::Known(count) => {
            Some(count).filter(|count| *count == 0 || (*count <= SMALL_BODY_BYTES as u64 && !waits))
        }
        Length::Chunked => None,
    };
    if let Some(count) = small {
        connection.read_body_to(length, count, &mut |_| ())?;
    }
    record(&[], small.unwrap_or_default(), answer.status);
    if small.is_some() && head.keeps_alive() {
        connection.write(answer, &answer.true_length())?;
        return Ok(Next::Request);
    }
    let answer = answer.clone().with("Connection", "close");
    connection.write(&answer, &answer.true_length())?;
    Ok(Next::End)
}

/// Answers a request to open a control socket; the token in its path is used up either way.
fn open_control_socket(core: &Core, head: &Head) -> (Answer, Option<Arc<Machine>>) {
    let machine = core.machines.redeem(head.path.strip_prefix('/').unwrap_or_default());
    let Some(key) = head.header("sec-websocket-key").filter(|_| head.header("sec-websocket-version") == Some("13"))
    else {
        return (Answer::text(400, "not a WebSocket handshake of version 13"), None);
    };
    let Some(machine) = machine else {
        return (Answer::text(401, "the token is unknown, used or too old"), None);
    };
    if core.playing().is_some_and(|playing| !playing.is_for(&machine.serial)) {
        return (Answer::text(401, "the replay is for another machine: the first that has connected"), None);
    }
    let accept = tungstenite::handshake::derive_accept_key(key.as_bytes());
    let mut answer = Answer::new(101)
        .with("Upgrade", "websocket")
        .with("Connection", "Upgrade")
        .with("Sec-WebSocket-Accept", &accept);
    if head.header_has("sec-websocket-protocol", "glowforge") {
        answer = answer.with("Sec-WebSocket-Protocol", "glowforge");
    }
    (answer, Some(machine))
}

/// Sends an answer that is wrong in the way that was asked for; the connection is cut after it.
fn spoil(core: &Core, connection: &mut Connection, answer: &Answer, fault: Option<&Failure>) -> io::Result<()> {
    let stream = connection.stream();
    match fault {
        // Half of nothing would be whole: then there is no answer at all.
        Some(Failure::CutAnswer) if answer.body.is_empty() => Ok(()),
        Some(Failure::CutAnswer) => {
            stream.write_all(&answer.head(&answer.true_length()))?;
            stream.write_all(&answer.body[..answer.body.len() / 2])
        }
        Some(Failure::ShortBody | Failure::Stall) => {
            stream.write_all(&answer.head(&format!("Content-Length: {}\r\n", answer.body.len() + 1000)))?;
            stream.write_all(&answer.body)?;
            if fault == Some(&Failure::Stall) {
                // Until the peer has had enough, or has been silent for as long as any may be.
                let _ = stream.read(&mut [0])?;
            }
            Ok(())
        }
        _ => {
            stream.write_all(&answer.head("Transfer-Encoding: chunked\r\n"))?;
            if !answer.body.is_empty() {
                stream.write_all(format!("{:x}\r\n", answer.body.len()).as_bytes())?;
                stream.write_all(&answer.body)?;
                stream.write_all(b"\r\n")?;
            }
            let mut chunk = b"4000\r\n".to_vec();
            chunk.resize(chunk.len() + 0x4000, 0);
            chunk.extend_from_slice(b"\r\n");
            while !core.visitors.stopping() {
                stream.write_all(&chunk)?;
            }
            Ok(())
        }
    }
}
