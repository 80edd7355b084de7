//! Who is connected to a listener, and the threads that serve them: bounded, named, and joined at the end.

use std::collections::HashMap;
use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::{lock, wait};

/// The connections of one listener and all its threads.
pub(crate) struct Visitors {
    /// Whose they are, for the log.
    whose: &'static str,
    /// Most connections at a time.
    limit: usize,
    /// Whether one more ends the oldest that is not settled.
    evicts: bool,
    sockets: Mutex<Sockets>,
    fewer: Condvar,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

#[derive(Default)]
struct Sockets {
    open: HashMap<u64, Open>,
    next: u64,
    stopping: bool,
}

/// A connection that is served.
struct Open {
    socket: Arc<TcpStream>,
    is_settled: bool,
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
    /// One more than `limit` connections is not let in.
    pub(crate) fn new(whose: &'static str, limit: usize) -> Arc<Self> {
        Self::with(whose, limit, false)
    }

    /// One more than `limit` connections ends the oldest that is not [settled](Self::settle).
    #[cfg(feature = "follow")]
    pub(crate) fn evicting(whose: &'static str, limit: usize) -> Arc<Self> {
        Self::with(whose, limit, true)
    }

    fn with(whose: &'static str, limit: usize, evicts: bool) -> Arc<Self> {
        let (sockets, fewer, threads) = (Mutex::default(), Condvar::new(), Mutex::default());
        Arc::new(Self { whose, limit, evicts, sockets, fewer, threads })
    }

    /// This connection has shown that it may be here: no other one ends it.
    #[cfg(feature = "follow")]
    pub(crate) fn settle(&self, socket: &Arc<TcpStream>) {
        let mut sockets = lock(&self.sockets);
        if let Some(open) = sockets.open.values_mut().find(|open| Arc::ptr_eq(&open.socket, socket)) {
            open.is_settled = true;
        }
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

    fn enter(self: &Arc<Self>, socket: &Arc<TcpStream>) -> Option<Visit> {
        let mut sockets = lock(&self.sockets);
        if sockets.stopping {
            return None;
        }
        if sockets.open.len() >= self.limit {
            let unsettled = sockets.open.iter().filter(|(_, open)| self.evicts && !open.is_settled);
            let oldest = unsettled.map(|(number, _)| *number).min()?;
            // Its thread wakes and ends.
            let evicted = sockets.open.remove(&oldest)?;
            let _ = evicted.socket.shutdown(Shutdown::Both);
        }
        sockets.next += 1;
        let number = sockets.next;
        sockets.open.insert(number, Open { socket: Arc::clone(socket), is_settled: false });
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
