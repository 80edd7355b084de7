//! The request handler: one request per connection.

use std::io::{self, BufWriter, Write};
use std::net::{Shutdown, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::access::{self, AccessToken};
use super::broadcast::Broadcaster;
use super::drawing_cache::DrawingCache;
use super::page;
use crate::http_server::connections::Connections;
use crate::http_server::request::{BodyLength, HttpConnection, RequestError, RequestHead};
use crate::http_server::response::Response;
use crate::http_server::socket::ServerSocket;
use crate::http_server::stream::{ReadLimit, ServerStream};
use crate::record::WriteProgress;
use crate::report::{ChangedSince, JobRenderer, LiveReport, Report};
use crate::sync::lock;
use crate::{Error, Handle, Result};

/// How long a request may take to arrive. Browsers open connections before they have a request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// A client that accepts no data for this long is disconnected.
pub(super) const WRITE_TIMEOUT: Duration = Duration::from_secs(60);
/// The longest request body, in bytes: `open` or `close`.
const MAX_BODY_BYTES: u64 = 64;
/// The size of a chunk of a page.
const CHUNK_BYTES: usize = 64 << 10;
/// The most actions that a page may ask for by number.
const MAX_ACTIONS_BY_NUMBER: usize = 1000;

/// What the connection threads share.
pub(super) struct Server {
    pub(super) token: AccessToken,
    pub(super) handle: Handle,
    /// The folder of the recording.
    pub(super) folder: PathBuf,
    /// The recorder's progress, to flush it before a page is written, and to know which files are incomplete.
    pub(super) progress: WriteProgress,
    /// Opened at the first request.
    pub(super) report: Mutex<Option<LiveReport>>,
    pub(super) drawings: Arc<DrawingCache>,
    pub(super) broadcaster: Arc<Broadcaster>,
    pub(super) connections: Arc<Connections>,
}

enum Reply {
    Short(Response),
    /// 403, with a page that looks for the token in the browser's session storage.
    TokenPage,
    Page,
    Sections(ChangedSince),
    /// The rows after this number, over a WebSocket.
    Rows {
        after: u64,
        accept_key: String,
    },
    /// 204, then the machine stops.
    Stop,
}

impl Server {
    /// Serves a connection.
    pub(super) fn serve(&self, socket: &Arc<ServerSocket>) {
        let Ok(local) = socket.tcp().local_addr() else { return };
        let limit = ReadLimit::Deadline(Instant::now() + REQUEST_TIMEOUT);
        let mut connection = HttpConnection::new(ServerStream::plain(Arc::clone(socket), limit));
        let sent = match self.handle_request(&mut connection, socket, local) {
            Ok(Reply::Rows { after, accept_key }) => {
                if let Err(e) = self.send_rows(connection, socket, after, &accept_key) {
                    log::debug!("follow: lost the connection to a page: {e}");
                }
                return socket.shutdown(Shutdown::Both);
            }
            Ok(reply) => self.send_reply(&mut connection, reply),
            Err(RequestError::Rejected { status, reason }) => send(&mut connection, Response::text(status, reason)),
            Err(RequestError::Disconnected) => Err(io::ErrorKind::NotConnected.into()),
        };
        match sent {
            Ok(()) => connection.finish(),
            Err(e) => {
                log::debug!("follow: a connection ended early: {e}");
                socket.shutdown(Shutdown::Both);
            }
        }
    }

    /// Reads and checks a request, and carries it out unless it only reads.
    fn handle_request(
        &self,
        connection: &mut HttpConnection,
        socket: &Arc<ServerSocket>,
        local: SocketAddr,
    ) -> std::result::Result<Reply, RequestError> {
        let head = connection.read_head()?;
        // All checks come before the body. Which paths exist is no secret.
        access::check_origin(&head, local).map_err(|reason| RequestError::Rejected { status: 403, reason })?;
        let method = match head.path.as_str() {
            "/" | "/rows" | "/sections" => "GET",
            "/button" | "/lid" | "/stop" => "POST",
            _ => return Err(RequestError::Rejected { status: 404, reason: "not found" }),
        };
        if head.method != method {
            return Ok(Reply::Short(Response::text(405, "method not allowed").with_header("Allow", method)));
        }
        if !access::has_token(&head, &self.token) {
            return match (head.path.as_str(), method) {
                ("/", _) => Ok(Reply::TokenPage),
                (_, "GET") => Err(RequestError::Rejected { status: 403, reason: access::NO_TOKEN }),
                _ => Err(RequestError::Rejected { status: 403, reason: access::NO_TOKEN_HEADER }),
            };
        }
        self.connections.mark_authenticated(socket);
        let body = connection.read_body(BodyLength::of(&head)?, MAX_BODY_BYTES)?;
        Ok(match (head.path.as_str(), body.as_slice()) {
            ("/", _) => Reply::Page,
            ("/rows", _) => rows(&head)?,
            ("/sections", _) => Reply::Sections(changed_since(&head)),
            ("/stop", _) => Reply::Stop,
            ("/button", _) => self.control(Handle::press_button),
            (_, b"open") => self.control(Handle::open_lid),
            (_, b"close") => self.control(Handle::close_lid),
            _ => return Err(RequestError::Rejected { status: 400, reason: "the body must be open or close" }),
        })
    }

    fn control(&self, act: impl FnOnce(&Handle)) -> Reply {
        act(&self.handle);
        Reply::Short(Response::new(204))
    }

    fn send_reply(&self, connection: &mut HttpConnection, reply: Reply) -> io::Result<()> {
        match reply {
            Reply::Short(answer) => send(connection, answer),
            Reply::TokenPage => {
                let answer = Response::new(403)
                    .with_header("Content-Type", "text/html; charset=utf-8")
                    .with_body(page::token_page(access::NO_TOKEN).into_bytes().into());
                let answer = with_security_headers(answer, &page::token_page_policy());
                connection.write(&answer)
            }
            Reply::Stop => {
                let sent = send(connection, Response::new(204));
                self.handle.stop();
                sent
            }
            Reply::Page => {
                let parts = page::live_parts(self.handle.lid_is_open());
                self.send_page(connection, |report, out| report.write_live(&parts, &self.renderer(), out))
            }
            Reply::Sections(changed) => self.send_page(connection, |report, out| {
                report.write_sections(&self.renderer(), Some(&changed), self.handle.lid_is_open(), out)
            }),
            // Taken by `serve`: the socket changes hands.
            Reply::Rows { .. } => Ok(()),
        }
    }

    /// Sends rows until the page disconnects or the session ends.
    fn send_rows(
        &self,
        mut connection: HttpConnection,
        socket: &Arc<ServerSocket>,
        after: u64,
        accept_key: &str,
    ) -> io::Result<()> {
        let Some(slot) = self.broadcaster.reserve_slot() else {
            return send(&mut connection, Response::text(503, "too many pages are open"));
        };
        // Before the handshake response: everything recorded later is sent as it is recorded.
        self.progress.flush();
        let answer = Response::new(101)
            .with_header("Connection", "Upgrade")
            .with_header("Upgrade", "websocket")
            .with_header("Sec-WebSocket-Accept", accept_key);
        connection.stream().write_all(&answer.head(""))?;
        let (_, early) = connection.into_parts();
        self.broadcaster.serve(socket.tcp(), early, &self.folder, after, slot)
    }

    /// Sends what `write` renders of the recording so far, in chunks.
    fn send_page(
        &self,
        connection: &mut HttpConnection,
        write: impl FnOnce(&Report, &mut dyn Write) -> io::Result<()>,
    ) -> io::Result<()> {
        self.progress.flush();
        let report = match self.current_report() {
            Ok(report) => report,
            Err(e) => return send(connection, Response::text(500, &e.to_string())),
        };
        let answer = Response::new(200).with_header("Content-Type", "text/html; charset=utf-8");
        let answer = with_security_headers(answer, &page::live_parts(false).policy());
        connection.stream().write_all(&answer.head("Transfer-Encoding: chunked\r\n"))?;
        let mut out = BufWriter::with_capacity(CHUNK_BYTES, ChunkedWriter(connection.stream()));
        write(&report, &mut out)?;
        out.flush()?;
        drop(out);
        connection.stream().write_all(b"0\r\n\r\n")
    }

    fn current_report(&self) -> Result<Report> {
        let mut report = lock(&self.report);
        let report = match &mut *report {
            Some(report) => report,
            none => none.insert(LiveReport::open(&self.folder)?),
        };
        report.update(&|| !self.connections.is_stopping())?.ok_or(Error::Interrupted)
    }

    /// Renders the final sections for open pages, which cannot request them any more; without actions, which may be large.
    pub(super) fn final_sections(&self) -> String {
        let mut sections = Vec::new();
        let Some(report) = &mut *lock(&self.report) else { return String::new() };
        match report.update(&|| true) {
            Ok(Some(report)) => {
                let _ = report.write_sections(&self.renderer(), None, self.handle.lid_is_open(), &mut sections);
            }
            Ok(None) => {}
            Err(e) => log::warn!("follow: cannot render the final summary: {e}"),
        }
        String::from_utf8_lossy(&sections).into_owned()
    }

    fn renderer(&self) -> JobRenderer<'_> {
        JobRenderer::Background {
            is_being_written: Box::new(|name| self.progress.is_writing(name)),
            drawing: Box::new(|name| self.drawings.get(name)),
        }
    }
}

/// Checks a WebSocket handshake.
fn rows(head: &RequestHead) -> std::result::Result<Reply, RequestError> {
    let is_upgrade = head.header_has("upgrade", "websocket") && head.header_has("connection", "upgrade");
    let key = head.header("sec-websocket-key").filter(|_| head.header("sec-websocket-version") == Some("13"));
    let Some(key) = key.filter(|_| is_upgrade) else {
        return Err(RequestError::Rejected { status: 400, reason: "expected a WebSocket handshake, version 13" });
    };
    let accept_key = tungstenite::handshake::derive_accept_key(key.as_bytes());
    Ok(Reply::Rows { after: number(head, "after"), accept_key })
}

fn changed_since(head: &RequestHead) -> ChangedSince {
    let also = access::query_parameter(head, "also").unwrap_or_default().split(',');
    let also = also.take(MAX_ACTIONS_BY_NUMBER).filter_map(|text| text.parse().ok()).collect();
    ChangedSince { entries: number(head, "since"), also }
}

/// Returns a numeric query parameter, or 0.
fn number(head: &RequestHead, name: &str) -> u64 {
    access::query_parameter(head, name).and_then(|text| text.parse().ok()).unwrap_or(0)
}

fn send(connection: &mut HttpConnection, answer: Response) -> io::Result<()> {
    let answer = with_security_headers(answer, "default-src 'none'");
    connection.write(&answer)
}

/// Adds the headers of every response: no framing, sniffing, referrers, cross-origin use or caching.
fn with_security_headers(answer: Response, policy: &str) -> Response {
    answer
        .with_header("Content-Security-Policy", &format!("{policy}; frame-ancestors 'none'"))
        .with_header("X-Content-Type-Options", "nosniff")
        .with_header("Referrer-Policy", "no-referrer")
        .with_header("Cross-Origin-Resource-Policy", "same-origin")
        .with_header("Cache-Control", "no-store")
        .with_header("Connection", "close")
}

/// Writes a body in HTTP chunks.
struct ChunkedWriter<'a>(&'a mut ServerStream);

impl Write for ChunkedWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if !bytes.is_empty() {
            self.0.write_all(format!("{:x}\r\n", bytes.len()).as_bytes())?;
            self.0.write_all(bytes)?;
            self.0.write_all(b"\r\n")?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}
