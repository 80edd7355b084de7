//! One accepted connection, plain or TLS, read in a blocking way at first and through memory later.
//!
//! A TLS stream cannot be split: whoever reads holds it. To let one thread sleep in a read while others write, the
//! stream is *detached*: from then on it reads from and writes to buffers in memory, never blocks, and its owner moves
//! the bytes to and from the socket with the stream unlocked.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
#[cfg(feature = "follow")]
use std::time::Instant;

use native_tls::TlsStream;

/// The bytes on the wire: the socket itself, or the two buffers that stand for it.
#[derive(Debug)]
pub(crate) struct Wire {
    socket: Arc<TcpStream>,
    memory: Option<Memory>,
    /// Nothing is read after it.
    #[cfg(feature = "follow")]
    deadline: Option<Instant>,
}

#[derive(Debug, Default)]
struct Memory {
    input: Vec<u8>,
    taken: usize,
    ended: bool,
    output: Vec<u8>,
}

impl Wire {
    pub(crate) fn new(socket: Arc<TcpStream>) -> Self {
        Self {
            socket,
            memory: None,
            #[cfg(feature = "follow")]
            deadline: None,
        }
    }

    /// The same, and whoever has not said everything by then is gone: also who says it a byte at a time.
    #[cfg(feature = "follow")]
    pub(crate) fn until(socket: Arc<TcpStream>, deadline: Instant) -> Self {
        Self { deadline: Some(deadline), ..Self::new(socket) }
    }
}

impl Read for Wire {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let Some(memory) = &mut self.memory else {
            #[cfg(feature = "follow")]
            if let Some(deadline) = self.deadline {
                let left = deadline.checked_duration_since(Instant::now()).filter(|left| !left.is_zero());
                self.socket.set_read_timeout(Some(left.ok_or(io::ErrorKind::TimedOut)?))?;
            }
            return read_socket(&self.socket, buf);
        };
        let left = &memory.input[memory.taken..];
        if left.is_empty() {
            return if memory.ended { Ok(0) } else { Err(io::ErrorKind::WouldBlock.into()) };
        }
        let count = left.len().min(buf.len());
        buf[..count].copy_from_slice(&left[..count]);
        memory.taken += count;
        if memory.taken == memory.input.len() {
            memory.input.clear();
            memory.taken = 0;
        }
        Ok(count)
    }
}

impl Write for Wire {
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

/// Reads from the socket. A signal interrupts a read that has a time limit even where calls are restarted, so that is
/// tried again here.
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
pub(crate) enum Stream {
    /// As it is.
    Plain(Wire),
    /// Inside TLS, the handshake done.
    Tls(Box<TlsStream<Wire>>),
}

impl Stream {
    fn wire(&mut self) -> &mut Wire {
        match self {
            Self::Plain(wire) => wire,
            Self::Tls(tls) => tls.get_mut(),
        }
    }

    pub(crate) fn socket(&mut self) -> Arc<TcpStream> {
        Arc::clone(&self.wire().socket)
    }

    /// From now on the stream lives in memory: see the module's words.
    pub(crate) fn detach(&mut self) {
        self.wire().memory = Some(Memory::default());
    }

    /// Hands a detached stream what the socket brought; nothing at all stands for the end.
    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        if let Some(memory) = &mut self.wire().memory {
            memory.input.extend_from_slice(bytes);
            memory.ended |= bytes.is_empty();
        }
    }

    /// Takes what a detached stream wants on the socket.
    pub(crate) fn take_output(&mut self) -> Vec<u8> {
        self.wire().memory.as_mut().map(|memory| std::mem::take(&mut memory.output)).unwrap_or_default()
    }

    /// How much a detached stream wants on the socket, in bytes.
    pub(crate) fn pending_output(&mut self) -> usize {
        self.wire().memory.as_ref().map_or(0, |memory| memory.output.len())
    }

    /// Says goodbye in TLS, so that the peer can tell an end from a cut.
    pub(crate) fn say_goodbye(&mut self) {
        if let Self::Tls(tls) = self {
            // The peer may be gone already, and then there is nobody to tell.
            let _ = tls.shutdown();
        }
    }
}

impl Read for Stream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(wire) => wire.read(buf),
            Self::Tls(tls) => tls.read(buf),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(wire) => wire.write(buf),
            Self::Tls(tls) => tls.write(buf),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(wire) => wire.flush(),
            Self::Tls(tls) => tls.flush(),
        }
    }
}

#[cfg(all(test, feature = "follow"))]
mod tests {
    use std::net::TcpListener;
    use std::time::Duration;

    use super::*;

    #[test]
    fn nobody_is_read_from_after_their_time() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut there = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let here = Arc::new(listener.accept().unwrap().0);
        there.write_all(b"ab").unwrap();
        let mut wire = Wire::until(Arc::clone(&here), Instant::now() + Duration::from_secs(20));
        assert_eq!(wire.read(&mut [0]).unwrap(), 1);
        let mut wire = Wire::until(here, Instant::now());
        assert_eq!(wire.read(&mut [0]).unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}
