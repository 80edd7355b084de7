//! The connections of a listener and the threads that serve them: bounded in number, named, and joined at the end.

use std::collections::BTreeMap;
use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::socket::ServerSocket;
use crate::sync::{lock, wait};

/// How long an evicted connection may take to end.
const EVICTION_TIMEOUT: Duration = Duration::from_secs(5);

/// The open connections of one listener, and all its threads.
pub(crate) struct Connections {
    /// Names the server in log lines.
    server: &'static str,
    /// Maximum number of connections.
    limit: usize,
    /// How long a peer may leave what is sent to it unread.
    write_timeout: Duration,
    /// Whether an authenticated connection may be evicted if all are authenticated.
    evicts_authenticated: bool,
    sockets: Mutex<Sockets>,
    removed: Condvar,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

#[derive(Default)]
struct Sockets {
    /// By number, oldest first.
    open: BTreeMap<u64, OpenConnection>,
    next: u64,
    stopping: bool,
}

struct OpenConnection {
    socket: Arc<ServerSocket>,
    /// See [`Connections::mark_authenticated`].
    is_authenticated: bool,
    /// It was shut down in favour of a new connection.
    is_evicted: bool,
}

impl Sockets {
    /// Evicts the oldest unauthenticated connection or, if there is none and `evicts_authenticated`, the oldest.
    /// Returns whether one was evicted.
    fn evict_oldest(&mut self, evicts_authenticated: bool) -> bool {
        let candidates = || self.open.iter().filter(|(_, open)| !open.is_evicted);
        let oldest = candidates().find(|(_, open)| !open.is_authenticated);
        let oldest = oldest.or_else(|| candidates().next().filter(|_| evicts_authenticated));
        let Some(open) = oldest.map(|(number, _)| *number).and_then(|number| self.open.get_mut(&number)) else {
            return false;
        };
        open.is_evicted = true;
        open.socket.shutdown(Shutdown::Both);
        true
    }
}

/// Removes its connection from [`Connections`] when dropped, also if the thread panics.
pub(crate) struct ConnectionGuard {
    connections: Arc<Connections>,
    number: u64,
}

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        lock(&self.connections.sockets).open.remove(&self.number);
        self.connections.removed.notify_all();
    }
}

impl Connections {
    /// Beyond `limit` connections, evicts the oldest [unauthenticated](Self::mark_authenticated) one, or else the
    /// oldest.
    #[cfg(feature = "local-service")]
    pub(crate) fn new(server: &'static str, limit: usize, write_timeout: Duration) -> Arc<Self> {
        Self::with(server, limit, write_timeout, true)
    }

    /// Beyond `limit` connections, evicts the oldest [unauthenticated](Self::mark_authenticated) one. If there is none,
    /// the new connection is closed.
    #[cfg(any(feature = "fleet", feature = "follow"))]
    pub(crate) fn keeping_authenticated(server: &'static str, limit: usize, write_timeout: Duration) -> Arc<Self> {
        Self::with(server, limit, write_timeout, false)
    }

    fn with(server: &'static str, limit: usize, write_timeout: Duration, evicts_authenticated: bool) -> Arc<Self> {
        let (sockets, removed, threads) = (Mutex::default(), Condvar::new(), Mutex::default());
        Arc::new(Self { server, limit, write_timeout, evicts_authenticated, sockets, removed, threads })
    }

    pub(crate) fn is_stopping(&self) -> bool {
        lock(&self.sockets).stopping
    }

    /// Runs `work` on a new thread, which [`join_threads`](Self::join_threads) joins.
    pub(crate) fn spawn(&self, name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
        let thread = thread::Builder::new().name(name.to_owned()).spawn(work)?;
        let mut threads = lock(&self.threads);
        let finished: Vec<_> = threads.extract_if(.., |thread| thread.is_finished()).collect();
        threads.push(thread);
        drop(threads);
        self.join(finished);
        Ok(())
    }

    /// Joins every thread, including those started meanwhile.
    pub(crate) fn join_threads(&self) {
        loop {
            let threads = std::mem::take(&mut *lock(&self.threads));
            if threads.is_empty() {
                return;
            }
            self.join(threads);
        }
    }

    fn join(&self, threads: Vec<JoinHandle<()>>) {
        for thread in threads {
            let name = thread.thread().name().unwrap_or_default().to_owned();
            if thread.join().is_err() {
                log::error!("{}: the thread {name} panicked", self.server);
            }
        }
    }

    /// Stops accepting connections. Open ones stay open: see [`shutdown_sockets`](Self::shutdown_sockets).
    pub(crate) fn stop_accepting(&self) {
        lock(&self.sockets).stopping = true;
        self.removed.notify_all();
    }

    /// Marks a connection whose peer has shown a valid token: others are evicted before it.
    pub(crate) fn mark_authenticated(&self, socket: &Arc<ServerSocket>) {
        let mut sockets = lock(&self.sockets);
        if let Some(open) = sockets.open.values_mut().find(|open| Arc::ptr_eq(&open.socket, socket)) {
            open.is_authenticated = true;
        }
    }

    /// Shuts down every connection, so that no thread waits for one.
    pub(crate) fn shutdown_sockets(&self) {
        let open: Vec<_> = lock(&self.sockets).open.values().map(|open| Arc::clone(&open.socket)).collect();
        for socket in open {
            socket.shutdown(Shutdown::Both);
        }
        self.removed.notify_all();
    }

    /// Registers a connection, evicting another if the limit is reached.
    fn register(self: &Arc<Self>, socket: &Arc<ServerSocket>) -> Option<ConnectionGuard> {
        let mut sockets = lock(&self.sockets);
        if sockets.open.len() >= self.limit && !sockets.evict_oldest(self.evicts_authenticated) {
            return None;
        }
        let deadline = Instant::now() + EVICTION_TIMEOUT;
        while sockets.open.len() >= self.limit && !sockets.stopping {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            sockets = wait(&self.removed, sockets, Some(left));
        }
        if sockets.stopping {
            return None;
        }
        sockets.next += 1;
        let number = sockets.next;
        sockets
            .open
            .insert(number, OpenConnection { socket: Arc::clone(socket), is_authenticated: false, is_evicted: false });
        Some(ConnectionGuard { connections: Arc::clone(self), number })
    }

    /// Accepts connections until [`stop_accepting`](Self::stop_accepting), and serves each on a thread called `name`.
    /// Runs on the listener's thread.
    pub(crate) fn accept_loop<S>(self: &Arc<Self>, listener: &TcpListener, name: &str, serve: S)
    where
        S: Fn(&Arc<ServerSocket>) + Clone + Send + 'static,
    {
        loop {
            let accepted = listener.accept();
            if self.is_stopping() {
                return;
            }
            match accepted {
                Ok((tcp, _)) => {
                    // Fails on some systems if the peer has already gone.
                    let Ok(socket) = ServerSocket::new(tcp, self.write_timeout).map(Arc::new) else { continue };
                    let Some(guard) = self.register(&socket) else { continue };
                    let serve = serve.clone();
                    let started = self.spawn(name, move || {
                        let _guard = guard;
                        serve(&socket);
                    });
                    if let Err(error) = started {
                        log::warn!("{}: cannot start a thread for a connection: {error}", self.server);
                    }
                }
                Err(error) => {
                    // Usually too many open files, which ends when a connection closes.
                    log::warn!("{}: cannot accept a connection: {error}", self.server);
                    drop(wait(&self.removed, lock(&self.sockets), Some(Duration::from_millis(100))));
                }
            }
        }
    }

    /// Wakes a listener that is blocked in `accept`, by connecting to it.
    pub(crate) fn wake_listener(&self, mut address: SocketAddr) {
        if address.ip().is_unspecified() {
            address.set_ip(if address.is_ipv4() {
                std::net::Ipv4Addr::LOCALHOST.into()
            } else {
                std::net::Ipv6Addr::LOCALHOST.into()
            });
        }
        if let Err(error) = TcpStream::connect_timeout(&address, Duration::from_secs(1)) {
            log::warn!("{}: cannot wake the listener: {error}", self.server);
        }
    }
}
