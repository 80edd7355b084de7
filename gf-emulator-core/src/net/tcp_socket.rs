//! [`TcpSocket`]: a TCP socket that any thread can shut down.

use std::io;
use std::net::{Shutdown, TcpStream};
use std::ops::Deref;
use std::sync::Mutex;

use super::waker::Waker;
use crate::sync::lock;

/// A TCP socket. [`shutdown`](Self::shutdown) also wakes the poller that watches it: on Windows, the system does not.
#[derive(Debug)]
pub(crate) struct TcpSocket {
    stream: TcpStream,
    watch: Mutex<Watch>,
}

#[derive(Debug, Default)]
struct Watch {
    /// Whether reading was shut down.
    is_shut_down: bool,
    /// Of the poller that watches the socket. If there are several, as on the server's side, whoever shuts the socket down
    /// has to wake the others.
    waker: Option<Waker>,
}

impl TcpSocket {
    /// Tells the socket whom to wake. Wakes it now if the socket was shut down before.
    pub(super) fn set_waker(&self, waker: Option<Waker>) {
        let mut watch = lock(&self.watch);
        if let Some(waker) = waker.as_ref().filter(|_| watch.is_shut_down) {
            waker.wake();
        }
        watch.waker = waker;
    }

    /// Shuts the connection down. With [`Shutdown::Both`] and [`Shutdown::Read`], reads then fail or return the end, also
    /// those that wait in a poller.
    ///
    /// # Errors
    ///
    /// If the connection is already closed.
    pub(crate) fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        let result = self.stream.shutdown(how);
        if how != Shutdown::Write {
            let mut watch = lock(&self.watch);
            watch.is_shut_down = true;
            if let Some(waker) = &watch.waker {
                waker.wake();
            }
        }
        result
    }
}

#[cfg(test)]
impl TcpSocket {
    pub(super) fn has_waker(&self) -> bool {
        lock(&self.watch).waker.is_some()
    }
}

impl From<TcpStream> for TcpSocket {
    fn from(stream: TcpStream) -> Self {
        Self { stream, watch: Mutex::default() }
    }
}

impl Deref for TcpSocket {
    type Target = TcpStream;

    fn deref(&self) -> &TcpStream {
        &self.stream
    }
}
