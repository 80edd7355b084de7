//! [`Socket`]: what a connection reads from and writes to.

use std::fmt;
use std::io::{self, Read, Write};
use std::sync::Arc;

pub(crate) use super::tcp_socket::TcpSocket;
#[cfg(feature = "simulation")]
use crate::simulation::Connection;

/// The readiness to wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Interest {
    Readable,
    Writable,
    Both,
}

/// A non-blocking TCP socket. Clones share it.
#[derive(Clone)]
pub(crate) enum Socket {
    Tcp(Arc<TcpSocket>),
    #[cfg(feature = "simulation")]
    Simulated(Arc<dyn Connection>),
}

impl Socket {
    /// Returns whether the peer has neither sent anything that was not read nor closed the connection.
    pub(super) fn is_idle(&self) -> bool {
        match self {
            Self::Tcp(socket) => matches!(socket.peek(&mut [0]), Err(e) if e.kind() == io::ErrorKind::WouldBlock),
            #[cfg(feature = "simulation")]
            Self::Simulated(connection) => !connection.is_readable(),
        }
    }
}

#[cfg(feature = "simulation")]
impl Socket {
    /// Returns whether a simulated socket is ready.
    pub(super) fn is_ready(&self, interest: Interest) -> bool {
        match self {
            Self::Tcp(_) => true,
            Self::Simulated(connection) => match interest {
                Interest::Readable => connection.is_readable(),
                Interest::Writable => connection.is_writable(),
                Interest::Both => connection.is_readable() || connection.is_writable(),
            },
        }
    }
}

impl Read for &Socket {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Socket::Tcp(socket) => (&***socket).read(buf),
            #[cfg(feature = "simulation")]
            Socket::Simulated(connection) => connection.read(buf),
        }
    }
}

impl Write for &Socket {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        match self {
            Socket::Tcp(socket) => (&***socket).write(buf),
            #[cfg(feature = "simulation")]
            Socket::Simulated(connection) => connection.write(buf),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Socket")
    }
}
