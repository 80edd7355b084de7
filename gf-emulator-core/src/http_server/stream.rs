//! An accepted connection, plain or TLS, with blocking reads at first and through memory later.
//!
//! A TLS stream cannot be split: the thread that reads holds it. So that one thread can block in a read while others
//! write, the stream is *detached*: from then on it reads from and writes to buffers in memory and never blocks, and
//! its owner copies the bytes to and from the socket without holding the stream.

#![cfg_attr(
    not(feature = "local-service"),
    allow(dead_code, reason = "only the local service uses TLS and detached streams")
)]

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
#[cfg(any(feature = "fleet", feature = "follow"))]
use std::time::Instant;

use native_tls::TlsStream;

/// What the stream reads from and writes to: the socket, or, once detached, two buffers.
#[derive(Debug)]
pub(crate) struct Transport {
    socket: Arc<TcpStream>,
    memory: Option<Buffers>,
    /// Reads fail after it.
    #[cfg(any(feature = "fleet", feature = "follow"))]
    deadline: Option<Instant>,
}

#[derive(Debug, Default)]
struct Buffers {
    input: Vec<u8>,
    consumed: usize,
    ended: bool,
    output: Vec<u8>,
}

impl Transport {
    pub(crate) fn new(socket: Arc<TcpStream>) -> Self {
        Self {
            socket,
            memory: None,
            #[cfg(any(feature = "fleet", feature = "follow"))]
            deadline: None,
        }
    }

    /// As [`new`](Self::new), but every read fails after `deadline`, so that a peer cannot hold a thread by sending a
    /// byte at a time.
    #[cfg(any(feature = "fleet", feature = "follow"))]
    pub(crate) fn with_deadline(socket: Arc<TcpStream>, deadline: Instant) -> Self {
        Self { deadline: Some(deadline), ..Self::new(socket) }
    }
}

impl Read for Transport {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let Some(memory) = &mut self.memory else {
            #[cfg(any(feature = "fleet", feature = "follow"))]
            if let Some(deadline) = self.deadline {
                let left = deadline.checked_duration_since(Instant::now()).filter(|left| !left.is_zero());
                self.socket.set_read_timeout(Some(left.ok_or(io::ErrorKind::TimedOut)?))?;
            }
            return read_socket(&self.socket, buf);
        };
        let left = &memory.input[memory.consumed..];
        if left.is_empty() {
            return if memory.ended { Ok(0) } else { Err(io::ErrorKind::WouldBlock.into()) };
        }
        let count = left.len().min(buf.len());
        buf[..count].copy_from_slice(&left[..count]);
        memory.consumed += count;
        if memory.consumed == memory.input.len() {
            memory.input.clear();
            memory.consumed = 0;
        }
        Ok(count)
    }
}

impl Write for Transport {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        match &mut self.memory {
            None => (&*self.socket).write(buf),
            Some(memory) => {
                memory.output.extend_from_slice(buf);
                Ok(buf.len())
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Reads from the socket, retrying if a signal interrupts the read: with a timeout set, the system does not restart it.
pub(crate) fn read_socket(mut socket: &TcpStream, buf: &mut [u8]) -> io::Result<usize> {
    loop {
        match socket.read(buf) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}

/// An accepted connection.
#[derive(Debug)]
pub(crate) enum ServerStream {
    /// Without TLS.
    Plain(Transport),
    /// TLS, after the handshake.
    Tls(Box<TlsStream<Transport>>),
}

impl ServerStream {
    fn transport(&mut self) -> &mut Transport {
        match self {
            Self::Plain(transport) => transport,
            Self::Tls(tls) => tls.get_mut(),
        }
    }

    pub(crate) fn socket(&mut self) -> Arc<TcpStream> {
        Arc::clone(&self.transport().socket)
    }

    /// Switches the stream to buffers in memory (see the module's documentation).
    pub(crate) fn detach(&mut self) {
        self.transport().memory = Some(Buffers::default());
    }

    /// Gives a detached stream input from the socket; an empty slice marks the end.
    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        if let Some(memory) = &mut self.transport().memory {
            memory.input.extend_from_slice(bytes);
            memory.ended |= bytes.is_empty();
        }
    }

    /// Takes the output of a detached stream.
    pub(crate) fn take_output(&mut self) -> Vec<u8> {
        self.transport().memory.as_mut().map(|memory| std::mem::take(&mut memory.output)).unwrap_or_default()
    }

    /// Returns the size of the output of a detached stream, in bytes.
    pub(crate) fn pending_output(&mut self) -> usize {
        self.transport().memory.as_ref().map_or(0, |memory| memory.output.len())
    }

    /// Sends the TLS `close_notify`, which tells the peer that the connection was not truncated.
    pub(crate) fn send_close_notify(&mut self) {
        if let Self::Tls(tls) = self {
            // Fails if the peer is already gone.
            let _ = tls.shutdown();
        }
    }
}

impl Read for ServerStream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(transport) => transport.read(buf),
            Self::Tls(tls) => tls.read(buf),
        }
    }
}

impl Write for ServerStream {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(transport) => transport.write(buf),
            Self::Tls(tls) => tls.write(buf),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(transport) => transport.flush(),
            Self::Tls(tls) => tls.flush(),
        }
    }
}

#[cfg(all(test, any(feature = "fleet", feature = "follow")))]
mod tests {
    use std::net::TcpListener;
    use std::time::Duration;

    use super::*;

    #[test]
    fn reads_fail_after_the_deadline() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let server = Arc::new(listener.accept().unwrap().0);
        client.write_all(b"ab").unwrap();
        let mut transport = Transport::with_deadline(Arc::clone(&server), Instant::now() + Duration::from_secs(20));
        assert_eq!(transport.read(&mut [0]).unwrap(), 1);
        let mut transport = Transport::with_deadline(server, Instant::now());
        assert_eq!(transport.read(&mut [0]).unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}
