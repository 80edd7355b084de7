//! [`Stream`]: a connection, plain or encrypted, with a deadline over every read and write.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use native_tls::TlsStream;

use super::cancel::{CancelToken, cancelled_error, is_over};
use crate::net::poll::Interest;

/// A TCP connection with a deadline over everything that is done with it.
///
/// Its socket never blocks. A read or write that has to wait does so in the system's poller, which the deadline and the
/// cancel end; shutting a socket down from another thread would not wake a reader on every system.
#[derive(Debug)]
pub(crate) struct Wire {
    tcp: Arc<TcpStream>,
    /// None once the socket's owner waits for it.
    waits_under: Option<CancelToken>,
    /// Takes the place of the cancel that has released this.
    released: OnceLock<CancelToken>,
    deadline: Option<Instant>,
    /// Of what was written to the connection, before encryption, what the operating system has.
    taken_bytes: u64,
}

impl Wire {
    /// The socket must not block. Reads and writes wait, until `deadline` or until `cancel` is cancelled.
    pub(super) fn new(tcp: Arc<TcpStream>, deadline: Instant, cancel: CancelToken) -> Self {
        Self { tcp, waits_under: Some(cancel), released: OnceLock::new(), deadline: Some(deadline), taken_bytes: 0 }
    }

    fn when_ready<T>(
        &self,
        interest: Interest,
        mut operation: impl FnMut(&TcpStream) -> io::Result<T>,
    ) -> io::Result<T> {
        let Some(cancel) = &self.waits_under else { return operation(&self.tcp) };
        let cancel = self.released.get().unwrap_or(cancel);
        loop {
            // Asked first: what never has to wait must end as well.
            if cancel.is_cancelled() {
                return Err(cancelled_error());
            }
            if is_over(self.deadline) {
                return Err(io::ErrorKind::TimedOut.into());
            }
            match operation(&self.tcp) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    cancel.wait(&self.tcp, interest, self.deadline)?;
                }
                done => return done,
            }
        }
    }
}

impl Read for Wire {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.when_ready(Interest::Readable, |mut tcp| tcp.read(buf))
    }
}

impl Write for Wire {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.when_ready(Interest::Writable, |mut tcp| tcp.write(buf))
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

    /// How many bytes the operating system has taken so far. Those of a TLS record count once all of it is taken:
    /// before that the other side can make nothing of it.
    pub(crate) fn taken_bytes(&self) -> u64 {
        self.wire_ref().taken_bytes
    }

    pub(crate) fn is_encrypted(&self) -> bool {
        matches!(self, Self::Tls(_))
    }

    /// Until when everything that follows has to be done. Counts until [`unblock`](Self::unblock).
    pub(crate) fn set_deadline(&mut self, deadline: Option<Instant>) {
        self.wire().deadline = deadline;
    }

    /// From reads and writes that wait to ones that say `WouldBlock`: for who waits with a [`Poll`] of their own.
    ///
    /// [`Poll`]: crate::net::poll::Poll
    pub(crate) fn unblock(&mut self) -> io::Result<Arc<TcpStream>> {
        let wire = self.wire();
        wire.deadline = None;
        wire.waits_under = None;
        wire.tcp.set_nonblocking(true)?;
        Ok(Arc::clone(&wire.tcp))
    }

    /// Whether the other side has neither closed nor sent anything unasked: fit for another request.
    pub(crate) fn is_idle(&self) -> bool {
        matches!(self.wire_ref().tcp.peek(&mut [0]), Err(e) if e.kind() == io::ErrorKind::WouldBlock)
    }
}

impl CancelToken {
    /// Leaves a connection alone from now on: it has an owner who ends it in order. Fails where this is cancelled already.
    pub(crate) fn release(&self, stream: &Stream) -> io::Result<()> {
        // Set already: it was released before.
        self.give_away(|| _ = stream.wire_ref().released.set(Self::default()))
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
