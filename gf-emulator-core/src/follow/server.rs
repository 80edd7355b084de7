//! What is asked for, and what is answered: one request a connection.

use std::io::{self, BufWriter, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::access::{self, Token};
use super::broadcast::Audience;
use super::drawings::Drawings;
use super::page;
use crate::http_server::connections::Connections;
use crate::http_server::request::{BodyLength, HttpConnection, RequestError, RequestHead};
use crate::http_server::response::Response;
use crate::http_server::stream::{ServerStream, Transport};
use crate::record::WriteProgress;
use crate::report::{Drawer, Reader, Report, Since};
use crate::{Error, Handle, Result};

/// How long a request may take to arrive whole. A browser may open a connection before it has anything to ask.
const ARRIVAL: Duration = Duration::from_secs(10);
/// How long a peer may take nothing of its answer.
const SILENCE: Duration = Duration::from_secs(60);
/// The longest body that something can be asked for with: a word.
const BODY_LIMIT: u64 = 64;
/// A page leaves in pieces of this size.
const CHUNK_BYTES: usize = 64 << 10;
/// Actions that somebody asks for again by name.
const MOST_AGAIN: usize = 1000;

/// Answers.
pub(super) struct Desk {
    pub(super) token: Token,
    pub(super) handle: Handle,
    /// Where the recording is.
    pub(super) folder: PathBuf,
    /// Has the recorder write what was noted before somebody asks: that is on the page. Knows which files are to come.
    pub(super) progress: WriteProgress,
    /// What was read of it so far, once anybody has asked.
    pub(super) reader: Mutex<Option<Reader>>,
    pub(super) drawings: Arc<Drawings>,
    pub(super) audience: Arc<Audience>,
    pub(super) visitors: Arc<Connections>,
}

/// How an answer is given.
enum Reply {
    /// As it is.
    Whole(Response),
    /// With a page of its own for who has the token elsewhere.
    Entrance,
    /// The page as it is now.
    Page,
    /// What changes of it.
    Sections(Since),
    /// Rows as they come, after this one, on a WebSocket.
    Rows { after: u64, accept: String },
    /// The machine stops, once that has been answered.
    Stop,
}

impl Desk {
    /// Serves a connection.
    pub(super) fn serve(&self, socket: &Arc<TcpStream>) {
        let limits = socket.set_nodelay(true).and_then(|()| socket.set_write_timeout(Some(SILENCE)));
        let Ok(here) = limits.and_then(|()| socket.local_addr()) else { return };
        let wire = Transport::with_deadline(Arc::clone(socket), Instant::now() + ARRIVAL);
        let mut connection = HttpConnection::new(ServerStream::Plain(wire));
        let answered = match self.ask(&mut connection, socket, here) {
            Ok(Reply::Rows { after, accept }) => {
                if let Err(e) = self.send_rows(connection, socket, after, &accept) {
                    log::debug!("follow: a page left: {e}");
                }
                let _ = socket.shutdown(Shutdown::Both);
                return;
            }
            Ok(reply) => self.answer(&mut connection, reply),
            Err(RequestError::Rejected { status, reason }) => send(&mut connection, Response::text(status, reason)),
            Err(RequestError::Disconnected) => Err(io::ErrorKind::NotConnected.into()),
        };
        match answered {
            Ok(()) => connection.finish(),
            Err(e) => {
                log::debug!("follow: a connection ended early: {e}");
                let _ = socket.shutdown(Shutdown::Both);
            }
        }
    }

    /// Reads the request, and does what is to be done.
    fn ask(
        &self,
        connection: &mut HttpConnection,
        socket: &Arc<TcpStream>,
        here: SocketAddr,
    ) -> std::result::Result<Reply, RequestError> {
        let head = connection.read_head()?;
        // All of this before its body. Whoever has no token learns which paths there are, which is no secret.
        if let Some(reason) = access::stranger(&head, here) {
            return Err(RequestError::Rejected { status: 403, reason });
        }
        let allowed = match head.path.as_str() {
            "/" | "/rows" | "/sections" => "GET",
            "/button" | "/lid" | "/stop" => "POST",
            _ => return Err(RequestError::Rejected { status: 404, reason: "there is nothing of that name" }),
        };
        if head.method != allowed {
            return Ok(Reply::Whole(Response::text(405, "not with this method").with_header("Allow", allowed)));
        }
        if !access::has_token(&head, &self.token) {
            return match (head.path.as_str(), allowed) {
                ("/", _) => Ok(Reply::Entrance),
                (_, "GET") => Err(RequestError::Rejected { status: 403, reason: access::NO_TOKEN }),
                _ => Err(RequestError::Rejected { status: 403, reason: access::NO_TOKEN_HEADER }),
            };
        }
        self.visitors.mark_authenticated(socket);
        let body = connection.read_body(BodyLength::of(&head)?, BODY_LIMIT)?;
        Ok(match (head.path.as_str(), body.as_slice()) {
            ("/", _) => Reply::Page,
            ("/rows", _) => rows(&head)?,
            ("/sections", _) => Reply::Sections(since(&head)),
            ("/stop", _) => Reply::Stop,
            ("/button", _) => self.done(Handle::press_button),
            (_, b"open") => self.done(Handle::open_lid),
            (_, b"close") => self.done(Handle::close_lid),
            _ => return Err(RequestError::Rejected { status: 400, reason: "the body says open or close" }),
        })
    }

    fn done(&self, act: impl FnOnce(&Handle)) -> Reply {
        act(&self.handle);
        Reply::Whole(Response::new(204))
    }

    fn answer(&self, connection: &mut HttpConnection, reply: Reply) -> io::Result<()> {
        match reply {
            Reply::Whole(answer) => send(connection, answer),
            Reply::Entrance => {
                let answer = Response::new(403)
                    .with_header("Content-Type", "text/html; charset=utf-8")
                    .with_body(page::entrance(access::NO_TOKEN).into_bytes().into());
                let answer = guarded(answer, &page::entrance_policy());
                connection.write(&answer)
            }
            Reply::Stop => {
                let sent = send(connection, Response::new(204));
                self.handle.stop();
                sent
            }
            Reply::Page => self.show(connection, |report, out| report.write_live(&page::live(), &self.drawer(), out)),
            Reply::Sections(since) => {
                self.show(connection, |report, out| report.write_sections(&self.drawer(), Some(&since), out))
            }
            Reply::Rows { .. } => Ok(()),
        }
    }

    /// Sends rows until the page goes or it is over.
    fn send_rows(
        &self,
        mut connection: HttpConnection,
        socket: &Arc<TcpStream>,
        after: u64,
        accept: &str,
    ) -> io::Result<()> {
        let Some(seat) = self.audience.seat() else {
            return send(&mut connection, Response::text(503, "too many pages are open"));
        };
        // Before the answer: what is noted after it comes as it is noted.
        self.progress.flush();
        let answer = Response::new(101)
            .with_header("Connection", "Upgrade")
            .with_header("Upgrade", "websocket")
            .with_header("Sec-WebSocket-Accept", accept);
        connection.stream().write_all(&answer.head(""))?;
        let (_, early) = connection.into_parts();
        self.audience.serve(socket, early, &self.folder, after, seat)
    }

    /// Sends what is written of the recording so far, as it is written.
    fn show(
        &self,
        connection: &mut HttpConnection,
        write: impl FnOnce(&Report, &mut dyn Write) -> io::Result<()>,
    ) -> io::Result<()> {
        self.progress.flush();
        let report = match self.report() {
            Ok(report) => report,
            Err(e) => return send(connection, Response::text(500, &e.to_string())),
        };
        let answer = Response::new(200).with_header("Content-Type", "text/html; charset=utf-8");
        let answer = guarded(answer, &page::live().policy());
        connection.stream().write_all(&answer.head("Transfer-Encoding: chunked\r\n"))?;
        let mut out = BufWriter::with_capacity(CHUNK_BYTES, Chunks(connection.stream()));
        write(&report, &mut out)?;
        out.flush()?;
        drop(out);
        connection.stream().write_all(b"0\r\n\r\n")
    }

    /// What there is by now. Each entry is read once, however many pages ask how often.
    fn report(&self) -> Result<Report> {
        let mut reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        let reader = match &mut *reader {
            Some(reader) => reader,
            none => none.insert(Reader::open(&self.folder)?),
        };
        reader.read_on(&|| !self.visitors.is_stopping())?.ok_or(Error::Interrupted)
    }

    /// The page's other parts at the end, when nobody can be asked for them any more; no actions, which may be large.
    pub(super) fn last_words(&self) -> String {
        let mut reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        let mut words = Vec::new();
        let Some(reader) = &mut *reader else { return String::new() };
        match reader.read_on(&|| true) {
            Ok(Some(report)) => _ = report.write_sections(&self.drawer(), None, &mut words),
            Ok(None) => {}
            Err(e) => log::warn!("follow: the page is not told how it ended: {e}"),
        }
        String::from_utf8_lossy(&words).into_owned()
    }

    fn drawer(&self) -> Drawer<'_> {
        Drawer::Elsewhere {
            is_writing: Box::new(|name| self.progress.is_writing(name)),
            drawing: Box::new(|name| self.drawings.get(name)),
        }
    }
}

/// A WebSocket for rows.
fn rows(head: &RequestHead) -> std::result::Result<Reply, RequestError> {
    let is_upgrade = head.header_has("upgrade", "websocket") && head.header_has("connection", "upgrade");
    let key = head.header("sec-websocket-key").filter(|_| head.header("sec-websocket-version") == Some("13"));
    let Some(key) = key.filter(|_| is_upgrade) else {
        return Err(RequestError::Rejected { status: 400, reason: "rows come over a WebSocket of version 13" });
    };
    let accept = tungstenite::handshake::derive_accept_key(key.as_bytes());
    Ok(Reply::Rows { after: number(access::parameter(head, "after")).unwrap_or(0), accept })
}

fn since(head: &RequestHead) -> Since {
    let again = access::parameter(head, "again").unwrap_or_default().split(',');
    let again = again.take(MOST_AGAIN).filter_map(|text| text.parse().ok()).collect();
    Since { entries: number(access::parameter(head, "since")).unwrap_or(0), again }
}

fn send(connection: &mut HttpConnection, answer: Response) -> io::Result<()> {
    let answer = guarded(answer, "default-src 'none'");
    connection.write(&answer)
}

/// With what a browser is to know of every answer: nothing of it is anybody else's, or to be kept.
fn guarded(answer: Response, policy: &str) -> Response {
    answer
        .with_header("Content-Security-Policy", &format!("{policy}; frame-ancestors 'none'"))
        .with_header("X-Content-Type-Options", "nosniff")
        .with_header("Referrer-Policy", "no-referrer")
        .with_header("Cross-Origin-Resource-Policy", "same-origin")
        .with_header("Cache-Control", "no-store")
        .with_header("Connection", "close")
}

fn number<N: std::str::FromStr>(text: Option<&str>) -> Option<N> {
    text?.parse().ok()
}

/// A body whose length nobody knows before it is written.
struct Chunks<'a>(&'a mut ServerStream);

impl Write for Chunks<'_> {
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
