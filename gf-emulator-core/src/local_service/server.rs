//! Serves connections: TLS, HTTP, and the WebSocket.

use std::net::{Shutdown, TcpListener};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::ServerConfig;
use serde_json::Value;

use super::core::{Core, IDLE_TIMEOUT};
use super::exchange::{Next, exchange};
use super::link::{Link, LinkEvent};
use super::machine::{ReceivedEvent, RemoteMachine};
use super::seen::Seen;
use super::task;
use crate::http_server::request::{HttpConnection, RequestError};
use crate::http_server::response::Response;
use crate::http_server::socket::ServerSocket;
use crate::http_server::stream::{ReadLimit, ServerStream};

/// How long a TLS handshake may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Maximum number of lines read of a message. Machines send one, or a few.
const LINES_LIMIT: usize = 100;
/// Maximum length of a line that is parsed as JSON, in bytes: parsed values take many times the memory.
const JSON_LIMIT_BYTES: usize = 64 * 1024;

/// Accepts connections until the service stops. Runs on the listener's thread.
pub(super) fn listen(core: &Arc<Core>, listener: &TcpListener, tls: Option<&Arc<ServerConfig>>) {
    let (shared, tls) = (Arc::clone(core), tls.cloned());
    let serve = move |socket: &Arc<_>| serve(&shared, socket, tls.as_ref());
    core.connections.accept_loop(listener, "gf-service-connection", serve);
}

fn serve(core: &Core, socket: &Arc<ServerSocket>, tls: Option<&Arc<ServerConfig>>) {
    let handshake = ReadLimit::Deadline(Instant::now() + HANDSHAKE_TIMEOUT);
    let accepted = match tls {
        None => Ok(ServerStream::plain(Arc::clone(socket), handshake)),
        Some(tls) => ServerStream::tls(Arc::clone(socket), handshake, tls),
    };
    let mut stream = match accepted {
        Ok(stream) => stream,
        Err(error) => return log::debug!("local service: a TLS handshake failed: {error}"),
    };
    stream.set_read_limit(ReadLimit::Silence(IDLE_TIMEOUT));
    let mut connection = HttpConnection::new(stream);
    loop {
        match exchange(core, &mut connection, socket) {
            Ok(Next::Request) => {}
            Ok(Next::Close) => return connection.finish(),
            Ok(Next::Cut) | Err(RequestError::Disconnected) => return socket.shutdown(Shutdown::Both),
            Ok(Next::WebSocket(machine, response)) => return serve_websocket(core, connection, &machine, &response),
            Err(RequestError::Rejected { status, reason }) => {
                let response = Response::text(status, reason).with_header("Connection", "close");
                if connection.write(&response).is_ok() {
                    connection.finish();
                }
                return;
            }
        }
    }
}

fn serve_websocket(core: &Core, connection: HttpConnection, machine: &Arc<RemoteMachine>, response: &Response) {
    let (stream, early) = connection.into_parts();
    let Ok(link) = Link::new(stream, early, &response.head("")) else { return };
    let link = Arc::new(link);
    let number = core.faults.number_of(&machine.serial);
    let scheduled = core.faults.opened(number);
    let previous = core.machines.attach(machine, &link);
    // After `attach`: an observer of this event can already send on the link, or cut it.
    let subprotocol = response.headers.iter().any(|(name, _)| name == "Sec-WebSocket-Protocol");
    core.history.record(Seen::WsOpened { subprotocol });
    if let Some(previous) = previous {
        previous.abandon();
    }
    task::start(core, machine);
    link.run(scheduled, |event| match event {
        LinkEvent::Text(text) => receive_text(core, machine, &link, text),
        LinkEvent::Binary(bytes) => core.history.record(Seen::WsBinary(bytes)),
        LinkEvent::Ping => core.history.record(Seen::WsPing),
        LinkEvent::Pong => core.history.record(Seen::WsPong),
        LinkEvent::OnSchedule(how) => core.report_fault(number, &format!("the WebSocket is {how}")),
        LinkEvent::Closing => core.machines.detach(machine, &link),
        LinkEvent::Closed { code } => core.history.record(Seen::WsClosed { code }),
    });
}

fn receive_text(core: &Core, machine: &RemoteMachine, link: &Arc<Link>, text: &str) {
    let mut lines = text.split_inclusive('\n').filter(|line| !line.trim().is_empty());
    for line in lines.by_ref().take(LINES_LIMIT) {
        let is_short = line.len() <= JSON_LIMIT_BYTES;
        let message = is_short.then(|| serde_json::from_str(line).ok()).flatten().unwrap_or(Value::Null);
        let event = ReceivedEvent::of(&message);
        // Recorded first: a step that the event wakes finds it in the history.
        core.history.record(Seen::WsMessage { message, text: line.to_owned() });
        core.count_message(machine, link, line.len(), event.as_ref());
        if let Some(event) = event {
            machine.push_event(event);
        }
    }
    let left_out = lines.count();
    if left_out > 0 {
        core.history.record(Seen::WsLeftOut { lines: left_out });
    }
}
