//! What is asked for, and what is answered: one request a connection.

use std::io::{self, BufWriter, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::audience::Audience;
use super::gate::{self, Token};
use super::page;
use crate::Handle;
use crate::local_service::http::{Answer, Broken, Connection, Head, Length};
use crate::local_service::wire::{Stream, Wire};
use crate::record::Recording;
use crate::report::Report;

/// How long a request may take to arrive whole.
const ARRIVAL: Duration = Duration::from_secs(10);
/// How long a peer may take nothing of its answer.
const SILENCE: Duration = Duration::from_secs(10);
/// The longest body that something can be asked for with: a word.
const BODY_LIMIT: u64 = 64;
/// A page leaves in pieces of this size.
const CHUNK_BYTES: usize = 64 << 10;

/// Answers.
pub(super) struct Desk {
    pub(super) token: Token,
    pub(super) handle: Handle,
    /// Where the recording is.
    pub(super) folder: PathBuf,
    pub(super) audience: Arc<Audience>,
}

/// How an answer is given.
enum Reply {
    /// As it is.
    Whole(Answer),
    /// The page as it is now.
    Page,
    /// What changes of it: of the actions, those from here on.
    Sections { from: usize },
    /// Rows as they come, after this one.
    Events { after: u64 },
    /// The machine stops, once that has been answered.
    Stop,
}

impl Desk {
    /// Serves a connection.
    pub(super) fn serve(&self, socket: &Arc<TcpStream>) {
        let limits = socket.set_nodelay(true).and_then(|()| socket.set_write_timeout(Some(SILENCE)));
        let Ok(here) = limits.and_then(|()| socket.local_addr()) else { return };
        let wire = Wire::until(Arc::clone(socket), Instant::now() + ARRIVAL);
        let mut connection = Connection::new(Stream::Plain(wire));
        let answered = match self.ask(&mut connection, here) {
            Ok(reply) => self.answer(&mut connection, socket, reply),
            Err(Broken::Refused { status, reason }) => send(&mut connection, Answer::text(status, reason)),
            Err(Broken::Gone) => Err(io::ErrorKind::NotConnected.into()),
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
    fn ask(&self, connection: &mut Connection, here: SocketAddr) -> Result<Reply, Broken> {
        let head = connection.read_head()?;
        // Before its body, and before it is known whether there is anything of that name.
        if let Some(reason) = gate::refusal(&head, here, &self.token) {
            return Err(Broken::Refused { status: 403, reason });
        }
        let body = connection.read_body(Length::of(&head)?, BODY_LIMIT)?;
        let allowed = match head.path.as_str() {
            "/" | "/events" | "/sections" => "GET",
            "/button" | "/lid" | "/stop" => "POST",
            _ => return Err(Broken::Refused { status: 404, reason: "there is nothing of that name" }),
        };
        if head.method != allowed {
            return Ok(Reply::Whole(Answer::text(405, "not with this method").with("Allow", allowed)));
        }
        Ok(match (head.path.as_str(), body.as_slice()) {
            ("/", _) => Reply::Page,
            ("/events", _) => Reply::Events { after: after(&head) },
            ("/sections", _) => Reply::Sections { from: number(gate::parameter(&head, "from")).unwrap_or(0) },
            ("/stop", _) => Reply::Stop,
            ("/button", _) => self.done(Handle::press_button),
            (_, b"open") => self.done(Handle::open_lid),
            (_, b"close") => self.done(Handle::close_lid),
            _ => return Err(Broken::Refused { status: 400, reason: "the body says open or close" }),
        })
    }

    fn done(&self, act: impl FnOnce(&Handle)) -> Reply {
        act(&self.handle);
        Reply::Whole(Answer::new(204))
    }

    fn answer(&self, connection: &mut Connection, socket: &Arc<TcpStream>, reply: Reply) -> io::Result<()> {
        match reply {
            Reply::Whole(answer) => send(connection, answer),
            Reply::Stop => {
                let sent = send(connection, Answer::new(204));
                self.handle.stop();
                sent
            }
            Reply::Page => self.show(connection, |report, out| report.write_live(&page::live(), out)),
            Reply::Sections { from } => self.show(connection, |report, out| report.write_sections(from, out)),
            Reply::Events { after } => {
                let answer = guarded(Answer::new(200)).with("Content-Type", "text/event-stream");
                connection.stream().write_all(&answer.head(""))?;
                self.audience.serve(socket, &self.folder, after)
            }
        }
    }

    /// Sends what is written of the recording so far, as it is written.
    fn show(
        &self,
        connection: &mut Connection,
        write: impl FnOnce(&Report, &mut dyn Write) -> io::Result<()>,
    ) -> io::Result<()> {
        let report = match Recording::open(&self.folder).and_then(Report::read_so_far) {
            Ok(report) => report,
            Err(e) => return send(connection, Answer::text(500, &e.to_string())),
        };
        let answer = guarded(Answer::new(200)).with("Content-Type", "text/html; charset=utf-8");
        connection.stream().write_all(&answer.head("Transfer-Encoding: chunked\r\n"))?;
        let mut out = BufWriter::with_capacity(CHUNK_BYTES, Chunks(connection.stream()));
        write(&report, &mut out)?;
        out.flush()?;
        drop(out);
        connection.stream().write_all(b"0\r\n\r\n")
    }
}

fn send(connection: &mut Connection, answer: Answer) -> io::Result<()> {
    let answer = guarded(answer);
    connection.write(&answer, &answer.true_length())
}

/// With what a browser is to know of every answer: nothing of it is anybody else's, or to be kept.
fn guarded(answer: Answer) -> Answer {
    let policy = format!("{}; frame-ancestors 'none'", page::live().policy());
    answer
        .with("Content-Security-Policy", &policy)
        .with("X-Content-Type-Options", "nosniff")
        .with("Referrer-Policy", "no-referrer")
        .with("Cross-Origin-Resource-Policy", "same-origin")
        .with("Cache-Control", "no-store")
        .with("Connection", "close")
}

/// What somebody has had: a browser that comes back says so itself.
fn after(head: &Head) -> u64 {
    number(head.header("last-event-id")).or_else(|| number(gate::parameter(head, "after"))).unwrap_or(0)
}

fn number<N: std::str::FromStr>(text: Option<&str>) -> Option<N> {
    text?.parse().ok()
}

/// A body whose length nobody knows before it is written.
struct Chunks<'a>(&'a mut Stream);

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
