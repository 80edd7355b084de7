//! Who is connected to a listener, and the threads that serve them: bounded, named, and joined at the end.

use std::collections::BTreeMap;
use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::sync::{lock, wait};

/// How long a connection that has to make room may take to end.
const MAKING_ROOM: Duration = Duration::from_secs(5);

/// The connections of one listener and all its threads.
pub(crate) struct Visitors {
    /// Whose they are, for the log.
    whose: &'static str,
    /// Most connections at a time.
    limit: usize,
    /// Whether one that is settled may have to make room, where all are.
    evicts_settled: bool,
    sockets: Mutex<Sockets>,
    fewer: Condvar,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

#[derive(Default)]
struct Sockets {
    /// By number, in the order in which they came.
    open: BTreeMap<u64, Open>,
    next: u64,
    stopping: bool,
}

struct Open {
    socket: Arc<TcpStream>,
    /// It has shown that it may be here (see [`Visitors::settle`]).
    is_settled: bool,
    /// It was shut to make room.
    leaving: bool,
}

impl Sockets {
    /// Shuts the oldest connection that is not settled; where all are, the oldest, if that is allowed. Says whether one
    /// is to make room.
    fn make_room(&mut self, evicts_settled: bool) -> bool {
        let staying = || self.open.iter().filter(|(_, open)| !open.leaving);
        let oldest = staying().find(|(_, open)| !open.is_settled);
        let oldest = oldest.or_else(|| staying().next().filter(|_| evicts_settled));
        let Some(open) = oldest.map(|(number, _)| *number).and_then(|number| self.open.get_mut(&number)) else {
            return false;
        };
        open.leaving = true;
        // An error says that it is closed already.
        let _ = open.socket.shutdown(Shutdown::Both);
        true
    }
}

/// A connection in the register; it leaves when its thread ends, however it ends.
pub(crate) struct Visit {
    visitors: Arc<Visitors>,
    number: u64,
}

impl Drop for Visit {
    fn drop(&mut self) {
        lock(&self.visitors.sockets).open.remove(&self.number);
        self.visitors.fewer.notify_all();
    }
}

impl Visitors {
    /// One more than `limit` connections ends the oldest that is not [settled](Self::settle), or else the oldest.
    pub(crate) fn new(whose: &'static str, limit: usize) -> Arc<Self> {
        Self::with(whose, limit, true)
    }

    /// One more than `limit` connections ends the oldest that is not [settled](Self::settle). Where all are, it is not
    /// let in.
    #[cfg(feature = "follow")]
    pub(crate) fn keeping_settled(whose: &'static str, limit: usize) -> Arc<Self> {
        Self::with(whose, limit, false)
    }

    fn with(whose: &'static str, limit: usize, evicts_settled: bool) -> Arc<Self> {
        let (sockets, fewer, threads) = (Mutex::default(), Condvar::new(), Mutex::default());
        Arc::new(Self { whose, limit, evicts_settled, sockets, fewer, threads })
    }

    pub(crate) fn stopping(&self) -> bool {
        lock(&self.sockets).stopping
    }

    /// Runs `work` on a thread that `join_threads` joins.
    pub(crate) fn spawn(&self, name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
        let thread = thread::Builder::new().name(name.to_owned()).spawn(work)?;
        let mut threads = lock(&self.threads);
        let over: Vec<_> = threads.extract_if(.., |thread| thread.is_finished()).collect();
        threads.push(thread);
        drop(threads);
        self.join(over);
        Ok(())
    }

    /// Joins every thread, those that came to be in the meantime as well.
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
                log::error!("{}: the thread {name} panicked", self.whose);
            }
        }
    }

    /// From now on nobody comes in. Who is there is there still: see [`cut`](Self::cut).
    pub(crate) fn close(&self) {
        lock(&self.sockets).stopping = true;
        self.fewer.notify_all();
    }

    /// This connection has shown that it may be here: where there is no room for a newcomer, others have to go first.
    pub(crate) fn settle(&self, socket: &Arc<TcpStream>) {
        let mut sockets = lock(&self.sockets);
        if let Some(open) = sockets.open.values_mut().find(|open| Arc::ptr_eq(&open.socket, socket)) {
            open.is_settled = true;
        }
    }

    /// Shuts every socket, so that whoever waits for one wakes.
    pub(crate) fn cut(&self) {
        let open: Vec<_> = lock(&self.sockets).open.values().map(|open| Arc::clone(&open.socket)).collect();
        for socket in open {
            // An error says that it is closed already.
            let _ = socket.shutdown(Shutdown::Both);
        }
        self.fewer.notify_all();
    }

    /// Registers a connection. Where there is no room, another one has to go.
    fn enter(self: &Arc<Self>, socket: &Arc<TcpStream>) -> Option<Visit> {
        let mut sockets = lock(&self.sockets);
        if sockets.open.len() >= self.limit && !sockets.make_room(self.evicts_settled) {
            return None;
        }
        let deadline = Instant::now() + MAKING_ROOM;
        while sockets.open.len() >= self.limit && !sockets.stopping {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            sockets = wait(&self.fewer, sockets, Some(left));
        }
        if sockets.stopping {
            return None;
        }
        sockets.next += 1;
        let number = sockets.next;
        sockets.open.insert(number, Open { socket: Arc::clone(socket), is_settled: false, leaving: false });
        Some(Visit { visitors: Arc::clone(self), number })
    }

    /// Accepts until it is closed, and has each connection served on a thread of that name. Runs on the listener's thread.
    pub(crate) fn listen<S>(self: &Arc<Self>, listener: &TcpListener, name: &str, serve: S)
    where
        S: Fn(&Arc<TcpStream>) + Clone + Send + 'static,
    {
        loop {
            let accepted = listener.accept();
            if self.stopping() {
                return;
            }
            match accepted {
                Ok((socket, _)) => {
                    let socket = Arc::new(socket);
                    let Some(visit) = self.enter(&socket) else { continue };
                    let serve = serve.clone();
                    let started = self.spawn(name, move || {
                        let _visit = visit;
                        serve(&socket);
                    });
                    if let Err(error) = started {
                        log::warn!("{}: cannot start a thread for a connection: {error}", self.whose);
                    }
                }
                Err(error) => {
                    // Mostly a want of file descriptors, which ends when a connection does.
                    log::warn!("{}: cannot accept a connection: {error}", self.whose);
                    drop(wait(&self.fewer, lock(&self.sockets), Some(Duration::from_millis(100))));
                }
            }
        }
    }

    /// Wakes a listener that waits for a connection.
    pub(crate) fn knock(&self, mut address: SocketAddr) {
        if address.ip().is_unspecified() {
            address.set_ip(if address.is_ipv4() {
                std::net::Ipv4Addr::LOCALHOST.into()
            } else {
                std::net::Ipv6Addr::LOCALHOST.into()
            });
        }
        if let Err(error) = TcpStream::connect_timeout(&address, Duration::from_secs(1)) {
            log::warn!("{}: cannot wake its own listener: {error}", self.whose);
        }
    }
}
