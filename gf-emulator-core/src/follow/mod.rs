//! The live page: a report served on this computer while the session runs, with the machine's controls.
//! It shows what is recorded, and nothing else.

// `access` checks who may send requests, `server` handles them, `broadcast` sends new rows to open pages, `drawing_cache` draws
// jobs.

mod access;
mod broadcast;
mod drawing_cache;
mod page;
mod server;
#[cfg(test)]
mod tests;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use crossbeam_channel::{Sender, bounded};

use crate::http_server::connections::Connections;
use crate::record::Recorder;
use crate::{Error, Handle, Result};
use access::AccessToken;
use drawing_cache::DrawingCache;
use server::{Server, WRITE_TIMEOUT};

/// The most connections. An open page keeps one, and a browser opens up to six for requests. A further one evicts
/// the oldest connection that has not sent the token.
const MAX_CONNECTIONS: usize = 32;

/// Serves the live page. Dropping it stops the server and joins its threads.
///
/// The page is the [`Report`](crate::report::Report) of the recording so far. New entries appear as they are recorded,
/// and buttons press the machine's button, open and close its lid, and stop it. All of it requires the token in the link;
/// pages of other sites have no access.
///
/// ```
/// use gf_emulator_core::follow::Follower;
/// use gf_emulator_core::record::Recorder;
/// use gf_emulator_core::{Config, Emulator};
///
/// let folder = tempfile::tempdir().unwrap();
/// let config = Config::default();
/// let recorder = Recorder::of_machine(folder.path(), &config)?;
/// let (mut emulator, peer) = Emulator::offline(config, folder.path())?;
/// emulator.record(&recorder);
/// let follower = Follower::start("127.0.0.1:0", &recorder, emulator.handle())?;
/// println!("{}", follower.url()); // open it in a browser
/// drop(peer.tx);
/// emulator.run()?;
/// # Ok::<(), gf_emulator_core::Error>(())
/// ```
pub struct Follower {
    address: SocketAddr,
    url: String,
    server: Arc<Server>,
    /// Dropped to stop the broadcast thread.
    broadcast_stop: Option<Sender<()>>,
    broadcast: Option<JoinHandle<()>>,
    listener: Option<JoinHandle<()>>,
    drawing: Option<JoinHandle<()>>,
}

impl Follower {
    /// Listens on `address` (port 0 picks a free one) and serves what `recorder` records. The page's buttons act on
    /// `handle`.
    ///
    /// On an address other than loopback, anyone who has the link can see the session and use the controls. The
    /// link is sent there unencrypted.
    ///
    /// # Errors
    ///
    /// [`Error::Listen`] if the address is not available; [`Error::Thread`] if a thread cannot be started.
    pub fn start(address: &str, recorder: &Recorder, handle: Handle) -> Result<Self> {
        Self::with_listener(Self::listen(address)?, recorder, handle)
    }

    /// Binds `address` for [`with_listener`](Self::with_listener), to find out whether it is available before a recording
    /// is started.
    ///
    /// # Errors
    ///
    /// [`Error::Listen`] if the address is not available.
    pub fn listen(address: &str) -> Result<TcpListener> {
        TcpListener::bind(address).map_err(|source| Error::Listen { address: address.to_owned(), source })
    }

    /// Like [`start`](Self::start), with a listener that is already bound.
    ///
    /// # Errors
    ///
    /// [`Error::Listen`] if the listener's address cannot be read; [`Error::Thread`] if a thread cannot be started.
    pub fn with_listener(listener: TcpListener, recorder: &Recorder, handle: Handle) -> Result<Self> {
        let failed = |source| Error::Listen { address: "the given listener".into(), source };
        let address = listener.local_addr().map_err(failed)?;
        let token = AccessToken::random();
        let url = format!("http://{}/?token={}", connectable(address), token.reveal());
        let (drawings, drawing_queue) = DrawingCache::new(recorder.folder().into());
        let server = Arc::new(Server {
            token,
            handle,
            folder: recorder.folder().into(),
            progress: recorder.progress(),
            report: Mutex::default(),
            drawings,
            broadcaster: Arc::default(),
            connections: Connections::keeping_authenticated("follow", MAX_CONNECTIONS, WRITE_TIMEOUT),
        });
        let (broadcast_stop, stop) = bounded(0);
        let mut follower = Self {
            address,
            url,
            server: Arc::clone(&server),
            broadcast_stop: Some(broadcast_stop),
            broadcast: None,
            listener: None,
            drawing: None,
        };
        let (lines, files) = (recorder.subscribe(), server.progress.finished_files());
        let broadcaster = Arc::clone(&server.broadcaster);
        follower.broadcast = Some(spawn("gf-follow-broadcast", move || broadcaster.run(&lines, files, &stop))?);
        let (drawings, broadcaster) = (Arc::clone(&server.drawings), Arc::clone(&server.broadcaster));
        let draw = move || drawings.run(&drawing_queue, || broadcaster.publish_attachments());
        follower.drawing = Some(spawn("gf-follow-drawing", draw)?);
        let connections = Arc::clone(&server.connections);
        let serve = move |socket: &Arc<_>| server.serve(socket);
        let listen = move || connections.accept_loop(&listener, "gf-follow-connection", serve);
        follower.listener = Some(spawn("gf-follow-listener", listen)?);
        Ok(follower)
    }

    /// Returns the link to the page, with the token. Anyone who has it can see the session and use the controls.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Returns the address it listens on.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

fn spawn(name: &'static str, work: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>> {
    let started = thread::Builder::new().name(name.into()).spawn(work);
    started.map_err(|e| Error::no_thread(name, &e))
}

fn join(thread: Option<JoinHandle<()>>) {
    let Some(thread) = thread else { return };
    let name = thread.thread().name().unwrap_or_default().to_owned();
    if thread.join().is_err() {
        log::error!("follow: the thread {name} panicked");
    }
}

impl fmt::Debug for Follower {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Follower").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let Server { connections, broadcaster, drawings, progress, .. } = &*self.server;
        connections.stop_accepting();
        drawings.stop();
        progress.flush();
        self.broadcast_stop = None;
        join(self.broadcast.take());
        // Open pages that keep up get their remaining rows and the end; other connections are closed.
        broadcaster.end(|| self.server.final_sections());
        connections.shutdown_sockets();
        if let Some(listener) = self.listener.take() {
            connections.wake_listener(self.address);
            join(Some(listener));
        }
        connections.join_threads();
        join(self.drawing.take());
    }
}

/// Returns an address that a browser can connect to: for the unspecified address, loopback.
fn connectable(mut address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    address
}
