//! An accepted connection, plain or TLS, on its socket at first and in memory later.
//!
//! A TLS connection cannot be split: the thread that reads holds it. So that one thread can wait for input while others
//! write, the stream is *detached*: from then on it reads from and writes to buffers in memory and never waits, and its
//! owner copies the bytes to and from the socket without holding the stream.

#![cfg_attr(
    not(feature = "local-service"),
    allow(dead_code, reason = "only the local service uses TLS and detached streams")
)]

use std::io::{self, Read, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

#[cfg(feature = "local-service")]
use rustls::{ServerConfig, ServerConnection};

use super::socket::ServerSocket;

/// How much a TLS connection encrypts before it is written to the socket: a few records, of at most 16 KiB each.
#[cfg(feature = "local-service")]
const TLS_BUFFER_BYTES: usize = 64 * 1024;

/// How long reads from a socket may take.
#[derive(Debug, Clone, Copy)]
pub(crate) enum ReadLimit {
    /// Each of them.
    Silence(Duration),
    /// All of them together, so that a peer cannot hold a thread by sending a byte at a time.
    Deadline(Instant),
}

/// What the stream reads from and writes to: the socket, or, once detached, two buffers.
#[derive(Debug)]
struct Transport {
    socket: Arc<ServerSocket>,
    limit: ReadLimit,
    memory: Option<Buffers>,
}

#[derive(Debug, Default)]
struct Buffers {
    input: Vec<u8>,
    consumed: usize,
    ended: bool,
    output: Vec<u8>,
}

impl Read for Transport {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let Some(memory) = &mut self.memory else {
            let deadline = match self.limit {
                ReadLimit::Silence(longest) => Instant::now() + longest,
                ReadLimit::Deadline(deadline) => deadline,
            };
            return self.socket.read_until(buf, Some(deadline));
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

/// An accepted connection.
#[derive(Debug)]
pub(crate) struct ServerStream {
    transport: Transport,
    /// After the handshake.
    #[cfg(feature = "local-service")]
    tls: Option<Box<ServerConnection>>,
}

impl ServerStream {
    /// A connection without TLS.
    pub(crate) fn plain(socket: Arc<ServerSocket>, limit: ReadLimit) -> Self {
        Self {
            transport: Transport { socket, limit, memory: None },
            #[cfg(feature = "local-service")]
            tls: None,
        }
    }

    /// Accepts a TLS connection. `limit` is for the handshake.
    #[cfg(feature = "local-service")]
    pub(crate) fn tls(socket: Arc<ServerSocket>, limit: ReadLimit, config: &Arc<ServerConfig>) -> io::Result<Self> {
        let mut stream = Self::plain(socket, limit);
        let mut tls = ServerConnection::new(Arc::clone(config)).map_err(io::Error::other)?;
        tls.set_buffer_limit(Some(TLS_BUFFER_BYTES));
        while tls.is_handshaking() {
            tls.complete_io(&mut stream.transport)?;
        }
        stream.tls = Some(Box::new(tls));
        Ok(stream)
    }

    pub(crate) fn socket(&self) -> &Arc<ServerSocket> {
        &self.transport.socket
    }

    /// Sets how long further reads may take.
    pub(crate) fn set_read_limit(&mut self, limit: ReadLimit) {
        self.transport.limit = limit;
    }

    /// Switches the stream to buffers in memory (see the module's documentation).
    pub(crate) fn detach(&mut self) {
        self.transport.memory = Some(Buffers::default());
    }

    /// Gives a detached stream input from the socket; an empty slice marks the end.
    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        if let Some(memory) = &mut self.transport.memory {
            memory.input.extend_from_slice(bytes);
            memory.ended |= bytes.is_empty();
        }
    }

    /// Takes the output of a detached stream.
    pub(crate) fn take_output(&mut self) -> Vec<u8> {
        self.transport.memory.as_mut().map(|memory| std::mem::take(&mut memory.output)).unwrap_or_default()
    }

    /// Returns the size of the output of a detached stream, in bytes.
    pub(crate) fn pending_output(&self) -> usize {
        self.transport.memory.as_ref().map_or(0, |memory| memory.output.len())
    }

    /// Sends the TLS `close_notify`, which tells the peer that the connection was not truncated.
    #[cfg_attr(not(feature = "local-service"), expect(clippy::unused_self, reason = "the other servers have no TLS"))]
    pub(crate) fn send_close_notify(&mut self) {
        #[cfg(feature = "local-service")]
        if let Some(tls) = &mut self.tls {
            tls.send_close_notify();
            // Fails if the peer is already gone.
            let _ = write_records(tls, &mut self.transport);
        }
    }
}

/// Writes all encrypted records.
#[cfg(feature = "local-service")]
fn write_records(tls: &mut ServerConnection, transport: &mut Transport) -> io::Result<()> {
    while tls.wants_write() {
        if tls.write_tls(transport)? == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
    }
    Ok(())
}

impl Read for ServerStream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        #[cfg(feature = "local-service")]
        if let Some(tls) = &mut self.tls {
            loop {
                match tls.reader().read(buf) {
                    Err(e) if e.kind() == io::ErrorKind::WouldBlock => _ = tls.complete_io(&mut self.transport)?,
                    done => return done,
                }
            }
        }
        self.transport.read(buf)
    }
}

impl Write for ServerStream {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        #[cfg(feature = "local-service")]
        if let Some(tls) = &mut self.tls {
            let count = tls.writer().write(buf)?;
            // `StreamOwned` of rustls keeps the error of this for the next write, which there may not be.
            return write_records(tls, &mut self.transport).map(|()| count);
        }
        self.transport.write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
