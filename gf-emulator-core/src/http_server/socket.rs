//! [`ServerSocket`]: an accepted connection that any thread can shut down, whatever the others do with it.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::net::poll::Interest;
use crate::net::{CancelToken, Socket, TcpSocket};

/// An accepted TCP connection. Several threads may read, write and [shut it down](Self::shutdown) at the same time.
///
/// On Unix, shutting a socket down ends the reads and writes that other threads are blocked in. On Windows it only
/// affects later ones (documentation of `shutdown` in Winsock). There the socket is non-blocking, and threads wait in a
/// poller that is woken. Unix does without, because a poller takes three more open files for each connection.
#[derive(Debug)]
pub(crate) struct ServerSocket {
    tcp: Arc<TcpSocket>,
    /// How long a write may wait.
    write_timeout: Duration,
    /// Ends the waits for a non-blocking socket. `None` if the socket is blocking.
    waits: Option<CancelToken>,
}

impl ServerSocket {
    /// Takes over a connection. A write fails if the peer takes nothing for `write_timeout`.
    pub(super) fn new(tcp: TcpStream, write_timeout: Duration) -> io::Result<Self> {
        Self::with_poller(tcp, write_timeout, cfg!(not(unix)))
    }

    fn with_poller(tcp: TcpStream, write_timeout: Duration, has_poller: bool) -> io::Result<Self> {
        tcp.set_nodelay(true)?;
        tcp.set_nonblocking(has_poller)?;
        tcp.set_write_timeout(Some(write_timeout))?;
        Ok(Self { tcp: Arc::new(tcp.into()), write_timeout, waits: has_poller.then(CancelToken::default) })
    }

    /// Returns the socket itself, for options and for a caller with its own poller.
    pub(crate) fn tcp(&self) -> &Arc<TcpSocket> {
        &self.tcp
    }

    /// Reads what has arrived, or waits for it until `deadline`.
    ///
    /// # Errors
    ///
    /// `TimedOut` at the deadline. After [`shutdown`](Self::shutdown), some systems return an error and some the end.
    pub(crate) fn read_until(&self, buf: &mut [u8], deadline: Option<Instant>) -> io::Result<usize> {
        if self.waits.is_none() {
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                return Err(io::ErrorKind::TimedOut.into());
            }
            self.tcp.set_read_timeout(left)?;
        }
        self.retry(Interest::Readable, deadline, || (&**self.tcp).read(buf))
    }

    /// Runs `operation` until it is neither interrupted by a signal nor has to wait.
    fn retry(
        &self,
        interest: Interest,
        deadline: Option<Instant>,
        mut operation: impl FnMut() -> io::Result<usize>,
    ) -> io::Result<usize> {
        loop {
            match (operation(), &self.waits) {
                (Err(e), _) if e.kind() == io::ErrorKind::Interrupted => {}
                (Err(e), Some(waits)) if e.kind() == io::ErrorKind::WouldBlock => {
                    waits.wait(&Socket::Tcp(Arc::clone(&self.tcp)), interest, deadline)?;
                }
                // A blocking socket: its timeout is over.
                (Err(e), None) if e.kind() == io::ErrorKind::WouldBlock => return Err(io::ErrorKind::TimedOut.into()),
                (done, _) => return done,
            }
        }
    }

    /// Shuts the connection down. With [`Shutdown::Both`] and [`Shutdown::Read`] no thread waits for it any longer.
    pub(crate) fn shutdown(&self, how: Shutdown) {
        // Fails if it is already closed.
        let _ = self.tcp.shutdown(how);
        if let Some(waits) = self.waits.as_ref().filter(|_| how != Shutdown::Write) {
            waits.cancel();
        }
    }
}

impl Write for &ServerSocket {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let deadline = Instant::now() + self.write_timeout;
        self.retry(Interest::Writable, Some(deadline), || (&**self.tcp).write(buf))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    /// Longer than anything here takes.
    const LIMIT: Duration = Duration::from_secs(20);

    /// Runs `test` with a socket of each kind and its peer.
    fn with_each_kind(test: impl Fn(ServerSocket, TcpStream)) {
        for has_poller in [false, true] {
            if has_poller || cfg!(unix) {
                let listener = TcpListener::bind("127.0.0.1:0").unwrap();
                let peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
                let accepted = listener.accept().unwrap().0;
                test(ServerSocket::with_poller(accepted, LIMIT, has_poller).unwrap(), peer);
            }
        }
    }

    #[test]
    fn reads_until_the_deadline() {
        with_each_kind(|socket, mut peer| {
            let mut block = [0; 4];
            peer.write_all(b"abc").unwrap();
            assert_eq!(socket.read_until(&mut block, Some(Instant::now() + LIMIT)).unwrap(), 3);
            for wait in [Duration::ZERO, Duration::from_millis(5)] {
                let error = socket.read_until(&mut block, Some(Instant::now() + wait)).unwrap_err();
                assert_eq!(error.kind(), io::ErrorKind::TimedOut);
            }
            drop(peer);
            assert_eq!(socket.read_until(&mut block, None).unwrap(), 0);
        });
    }

    #[test]
    fn shutting_down_ends_a_read_and_a_write_of_other_threads() {
        with_each_kind(|socket, peer| {
            let started = Instant::now();
            thread::scope(|threads| {
                let reading = threads.spawn(|| socket.read_until(&mut [0; 4], Some(Instant::now() + LIMIT)));
                // The peer reads nothing, so this blocks.
                let writing = threads.spawn(|| {
                    let block = vec![0; 1 << 20];
                    while (&socket).write(&block).is_ok() {}
                });
                socket.shutdown(Shutdown::Both);
                assert!(!matches!(reading.join().unwrap(), Ok(1..)));
                writing.join().unwrap();
            });
            assert!(started.elapsed() < LIMIT);
            drop(peer);
        });
    }
}
