//! What is done with a connection, and what all connections share.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Weak};
use std::time::Duration;

use native_tls::TlsAcceptor;
use serde_json::Value;

use super::control_socket::{Cut, Gone, Link};
use super::fault::{Failure, Faults};
use super::http::{Answer, Broken, Connection, Head, Length};
use super::machines::{Machine, Machines};
use super::replay::{self, Playing};
use super::routes::{self, PULS_PATH};
use super::script::{self, Outcome, Places, Script, Walks};
use super::seen::{Bearer, Log, Request, Seen, shown};
use super::visitors::Visitors;
use super::wire::{Stream, Wire};
use crate::Secrets;

/// How long a peer may be silent in a TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How long a peer may be silent in or between requests, or not read its answer.
const SILENCE: Duration = Duration::from_secs(30);
/// Most connections at a time.
const CONNECTIONS_LIMIT: usize = 4096;

/// What the service was built with.
pub(super) struct Settings {
    pub(super) http_url: String,
    pub(super) firmware_version: String,
    pub(super) firmware: Arc<[u8]>,
    pub(super) puls: Arc<[u8]>,
    pub(super) body_limit: u64,
    pub(super) keep_bodies: bool,
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
    fn run(&self, core: &Core, machine: &Arc<Machine>) -> Option<Outcome> {
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
    pub(super) secrets: Secrets,
}

impl Core {
    pub(super) fn new(settings: Settings, machines: Machines, log: Log, task: Option<Task>) -> Arc<Self> {
        Arc::new_cyclic(|me| Self {
            me: me.clone(),
            settings,
            machines,
            log,
            faults: Faults::default(),
            task,
            walks: Walks::default(),
            visitors: Visitors::new("local service", CONNECTIONS_LIMIT),
            secrets: Secrets::default(),
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

    /// Starts what there is to do with a machine that has signed in for the first time.
    pub(super) fn start_task(&self, machine: &Arc<Machine>) {
        if self.task.is_none() {
            return;
        }
        self.walks.began();
        let machine = Arc::clone(machine);
        let started = self.spawn("gf-service-script", move |core| {
            let outcome = core.task.as_ref().and_then(|task| task.run(core, &machine));
            core.walks.ended(outcome);
        });
        if let Err(error) = started {
            let reason = format!("cannot start its thread: {error}");
            self.walks.ended(Some(Outcome::Failed { step: 1, reason }));
        }
    }

    /// Sends an action with its placeholders filled.
    pub(super) fn send(&self, link: &Arc<Link>, mut action: Value) -> Result<(), Gone> {
        let puls = format!("{}{PULS_PATH}", self.settings.http_url);
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
            link.close(code);
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
        match exchange(core, &mut connection) {
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

/// One request and its answer.
fn exchange(core: &Core, connection: &mut Connection) -> Result<Next, Broken> {
    let head = connection.read_head()?;
    let upgrade = head.method == "GET" && head.header_has("upgrade", "websocket");
    let path = if upgrade { "/<ws_token>" } else { head.path.as_str() };
    let bearer = routes::bearer(core, &head);
    let record = |body: Vec<u8>, status: u16| {
        let keep = core.settings.keep_bodies && path != "/machines/sign_in";
        core.log.record(Seen::Http(Request {
            method: head.method.clone(),
            path: path.to_owned(),
            has_query: head.query.is_some(),
            headers: head.headers.iter().map(shown).collect(),
            bearer: bearer.0,
            body_len: body.len(),
            body: if keep { body.into() } else { Arc::default() },
            status,
        }));
    };
    let note_refusal = |broken: Broken| {
        if let Broken::Refused { status, .. } = broken {
            record(Vec::new(), status);
        }
        broken
    };

    let length = Length::of(&head).map_err(note_refusal)?;
    let recorded = if upgrade { None } else { core.playing().and_then(|playing| playing.reply(&head, bearer.0)) };
    let fault = core.faults.take(&head.method, path);
    let fault = fault.or_else(|| recorded.as_ref()?.failure());
    if fault == Some(Failure::CutRequest) {
        let half = if let Length::Known(count) = length { count.min(core.settings.body_limit) / 2 } else { 0 };
        let body = connection.read_body(Length::Known(half), half).unwrap_or_default();
        record(body, 0);
        return Ok(Next::Cut);
    }
    if head.header_has("expect", "100-continue") {
        connection.stream().write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
    }
    let body = connection.read_body(length, core.settings.body_limit).map_err(note_refusal)?;
    if fault == Some(Failure::Hold) {
        core.faults.hold(|| core.log.record(Seen::Held { method: head.method.clone(), path: path.to_owned() }));
    }

    let (answer, opened) = match &fault {
        Some(Failure::Status { status, headers }) => {
            (Answer { headers: headers.clone(), ..Answer::new(*status) }, None)
        }
        _ if upgrade => open_control_socket(core, &head),
        _ => match recorded {
            Some(reply) => (reply.answer(core), None),
            None => (routes::answer(core, &head, &bearer, &body), None),
        },
    };
    let event = if answer.status == 200 { routes::event(&head, &body) } else { None };
    record(body, answer.status);
    if let (Some(event), (Bearer::Good, Some(machine))) = (event, &bearer) {
        machine.deliver(event);
    }
    if matches!(fault, Some(Failure::CutAnswer | Failure::ShortBody | Failure::Stall | Failure::EndlessBody)) {
        spoil(core, connection, &answer, fault.as_ref())?;
        return Ok(Next::Cut);
    }
    if let Some(machine) = opened {
        return Ok(Next::ControlSocket(machine, answer));
    }
    connection.write(&answer, &answer.true_length())?;
    Ok(if head.keeps_alive() && !upgrade { Next::Request } else { Next::End })
}

/// Answers a request to open a control socket; the token in its path is used up either way.
fn open_control_socket(core: &Core, head: &Head) -> (Answer, Option<Arc<Machine>>) {
    let machine = core.machines.redeem(head.path.trim_start_matches('/'));
    let Some(key) = head.header("sec-websocket-key").filter(|_| head.header("sec-websocket-version") == Some("13"))
    else {
        return (Answer::text(400, "not a WebSocket handshake of version 13"), None);
    };
    let Some(machine) = machine else {
        return (Answer::text(401, "the token is unknown, used or too old"), None);
    };
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
