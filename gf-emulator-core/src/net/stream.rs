//! [`Stream`]: a connection, plain or encrypted, with a deadline for its reads and writes.

use std::io::{self, Read, Write};
use std::time::Instant;

use native_tls::TlsStream;

use super::cancel::{CancelToken, has_passed};
use super::socket::Socket;
use crate::net::poll::Interest;

/// A TCP connection whose reads and writes end at a deadline or when cancelled.
///
/// The socket is always non-blocking, and waits happen in the system's poller: not on every system does shutting down a
/// socket wake a thread blocked in a read.
#[derive(Debug)]
pub(crate) struct TcpConnection {
    socket: Socket,
    /// `None` in non-blocking mode.
    cancel: Option<CancelToken>,
    deadline: Option<Instant>,
}

impl TcpConnection {
    /// `socket` must be non-blocking.
    pub(super) fn new(socket: Socket, deadline: Instant, cancel: CancelToken) -> Self {
        Self { socket, cancel: Some(cancel), deadline: Some(deadline) }
    }

    fn retry_when_ready<T>(
        &self,
        interest: Interest,
        mut operation: impl FnMut(&Socket) -> io::Result<T>,
    ) -> io::Result<T> {
        let Some(cancel) = &self.cancel else { return operation(&self.socket) };
        loop {
            // Checked before each operation, because one that never has to wait must end as well.
            cancel.check()?;
            if has_passed(self.deadline) {
                return Err(io::ErrorKind::TimedOut.into());
            }
            match operation(&self.socket) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    cancel.wait(&self.socket, interest, self.deadline)?;
                }
                done => return done,
            }
        }
    }
}

impl Read for TcpConnection {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.retry_when_ready(Interest::Readable, |mut socket| socket.read(buf))
    }
}

impl Write for TcpConnection {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.retry_when_ready(Interest::Writable, |mut socket| socket.write(buf))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A connection, plain or encrypted.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "on Windows; a connection has one, and most are encrypted")]
pub(crate) enum Stream {
    Plain(TcpConnection),
    /// Counts as encrypted, and is not.
    #[cfg(feature = "simulation")]
    SimulatedTls(TcpConnection),
    Tls(TlsStream<TcpConnection>),
}

impl Stream {
    fn tcp_mut(&mut self) -> &mut TcpConnection {
        match self {
            Self::Plain(tcp) => tcp,
            #[cfg(feature = "simulation")]
            Self::SimulatedTls(tcp) => tcp,
            Self::Tls(stream) => stream.get_mut(),
        }
    }

    fn tcp(&self) -> &TcpConnection {
        match self {
            Self::Plain(tcp) => tcp,
            #[cfg(feature = "simulation")]
            Self::SimulatedTls(tcp) => tcp,
            Self::Tls(stream) => stream.get_ref(),
        }
    }

    pub(crate) fn is_encrypted(&self) -> bool {
        !matches!(self, Self::Plain(_))
    }

    /// Sets the deadline of all further reads and writes, until [`set_nonblocking`](Self::set_nonblocking).
    pub(crate) fn set_deadline(&mut self, deadline: Option<Instant>) {
        self.tcp_mut().deadline = deadline;
    }

    /// Makes reads and writes return `WouldBlock` instead of waiting, for a caller with its own [`Poll`], and returns
    /// the socket for it.
    ///
    /// [`Poll`]: crate::net::poll::Poll
    pub(crate) fn set_nonblocking(&mut self) -> Socket {
        let tcp = self.tcp_mut();
        tcp.deadline = None;
        tcp.cancel = None;
        tcp.socket.clone()
    }

    /// Detaches this connection from the token it was dialled under: cancelling that no longer ends it.
    ///
    /// # Errors
    ///
    /// If the token is already cancelled.
    pub(crate) fn detach(&mut self) -> io::Result<()> {
        let tcp = self.tcp_mut();
        if let Some(cancel) = &tcp.cancel {
            cancel.check()?;
            cancel.drop_cached_poll();
            tcp.cancel = Some(CancelToken::default());
        }
        Ok(())
    }

    /// Returns whether the connection can carry another request: the peer has neither closed it nor sent unsolicited
    /// data.
    pub(crate) fn is_idle(&self) -> bool {
        self.tcp().socket.is_idle()
    }
}

impl Read for Stream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(tcp) => tcp.read(buf),
            #[cfg(feature = "simulation")]
            Self::SimulatedTls(tcp) => tcp.read(buf),
            Self::Tls(stream) => stream.read(buf),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(tcp) => tcp.write(buf),
            #[cfg(feature = "simulation")]
            Self::SimulatedTls(tcp) => tcp.write(buf),
            Self::Tls(stream) => stream.write(buf),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(tcp) => tcp.flush(),
            #[cfg(feature = "simulation")]
            Self::SimulatedTls(tcp) => tcp.flush(),
            Self::Tls(stream) => stream.flush(),
        }
    }
}
