//! [`Stream`]: a connection, plain or encrypted, with a deadline over every read and write.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use native_tls::TlsStream;

/// A TCP connection with a deadline over everything that is done with it.
#[derive(Debug)]
pub(crate) struct Wire {
    pub(crate) tcp: Arc<TcpStream>,
    pub(crate) deadline: Option<Instant>,
    /// Of what was written to the connection, before encryption, what the operating system has.
    pub(crate) taken_bytes: u64,
}

impl Wire {
    fn time_left(&self) -> io::Result<Option<Duration>> {
        let Some(deadline) = self.deadline else { return Ok(None) };
        match deadline.saturating_duration_since(Instant::now()) {
            Duration::ZERO => Err(io::ErrorKind::TimedOut.into()),
            left => Ok(Some(left)),
        }
    }
}

/// A socket's own time-out shows as `WouldBlock` on Unix, which TLS and WebSocket handshakes take for "not yet".
fn as_timeout(e: io::Error, had_deadline: bool) -> io::Error {
    if had_deadline && e.kind() == io::ErrorKind::WouldBlock { io::ErrorKind::TimedOut.into() } else { e }
}

impl Read for Wire {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let left = self.time_left()?;
        if left.is_some() {
            self.tcp.set_read_timeout(left)?;
        }
        (&*self.tcp).read(buf).map_err(|e| as_timeout(e, left.is_some()))
    }
}

impl Write for Wire {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let left = self.time_left()?;
        if left.is_some() {
            self.tcp.set_write_timeout(left)?;
        }
        (&*self.tcp).write(buf).map_err(|e| as_timeout(e, left.is_some()))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A connection, encrypted or not.
#[derive(Debug)]
pub(crate) enum Stream {
    Plain(Wire),
    Tls(TlsStream<Wire>),
}

impl Stream {
    fn wire(&mut self) -> &mut Wire {
        match self {
            Self::Plain(wire) => wire,
            Self::Tls(stream) => stream.get_mut(),
        }
    }

    fn wire_ref(&self) -> &Wire {
        match self {
            Self::Plain(wire) => wire,
            Self::Tls(stream) => stream.get_ref(),
        }
    }

    pub(crate) fn tcp(&self) -> &Arc<TcpStream> {
        &self.wire_ref().tcp
    }

    /// How many bytes the operating system has taken so far. Those of a TLS record count once all of it is taken:
    /// before that the other side can make nothing of it.
    pub(crate) fn taken_bytes(&self) -> u64 {
        self.wire_ref().taken_bytes
    }

    pub(crate) fn is_encrypted(&self) -> bool {
        matches!(self, Self::Tls(_))
    }

    /// Until when everything that follows has to be done. Counts while the socket blocks.
    pub(crate) fn set_deadline(&mut self, deadline: Option<Instant>) {
        self.wire().deadline = deadline;
    }

    /// From blocking with a deadline to non-blocking without: what a [`Waiter`] needs.
    pub(crate) fn unblock(&mut self) -> io::Result<Arc<TcpStream>> {
        self.set_deadline(None);
        self.tcp().set_nonblocking(true)?;
        Ok(Arc::clone(self.tcp()))
    }

    /// Whether the other side has neither closed nor sent anything unasked: fit for another request.
    pub(crate) fn is_idle(&mut self) -> bool {
        let tcp = self.tcp();
        if tcp.set_nonblocking(true).is_err() {
            return false;
        }
        let nothing_there = matches!(tcp.peek(&mut [0]), Err(e) if e.kind() == io::ErrorKind::WouldBlock);
        nothing_there && tcp.set_nonblocking(false).is_ok()
    }
}

impl Read for Stream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(wire) => wire.read(buf),
            Self::Tls(stream) => stream.read(buf),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let taken = match self {
            Self::Plain(wire) => wire.write(buf),
            Self::Tls(stream) => stream.write(buf),
        }?;
        self.wire().taken_bytes += taken as u64;
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(wire) => wire.flush(),
            Self::Tls(stream) => stream.flush(),
        }
    }
}
