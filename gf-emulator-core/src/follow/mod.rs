//! A session while it goes on: the report's page, served on this computer, with the machine's controls on it.
//!
//! `gate` decides who may ask, `desk` answers, `audience` hands on what is said as it is said, `drawings` has jobs drawn.
//! What is shown is the recording: what is in no recording is on no page. HTTP is spoken as the local service speaks it.

mod access;
mod broadcast;
mod drawings;
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
use access::Token;
use drawings::Drawings;
use server::Desk;

/// Most connections at a time: a page that is open keeps one, and a browser opens six for what pages ask. One more ends
/// the oldest that has not shown the token.
const CONNECTIONS_LIMIT: usize = 32;

/// Serves a session as a page while it goes on, to whoever has the link. Dropping it ends that, and joins its threads.
///
/// The page is the [`Report`](crate::report::Report) of what was recorded so far. New messages come to it as they pass,
/// and it has the machine's button, its lid, and a way to stop it. Without the token that is in the link there is none
/// of this, and no page of another site can get any of it.
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
/// println!("{}", follower.url()); // for a browser
/// drop(peer.tx);
/// emulator.run()?;
/// # Ok::<(), gf_emulator_core::Error>(())
/// ```
pub struct Follower {
    address: SocketAddr,
    url: String,
    desk: Arc<Desk>,
    /// Whose end ends the audience.
    over: Option<Sender<()>>,
    hub: Option<JoinHandle<()>>,
    listener: Option<JoinHandle<()>>,
    artist: Option<JoinHandle<()>>,
}

impl Follower {
    /// Listens on `address` (port 0 is any that is free) and serves what `recorder` records; the page's controls are
    /// `handle`'s.
    ///
    /// Another address than this computer's own lets everybody who reaches it and has the link see what is said and
    /// press the button; the link travels there as plain text.
    ///
    /// # Errors
    ///
    /// [`Error::Listen`] where the address cannot be had; [`Error::Thread`].
    pub fn start(address: &str, recorder: &Recorder, handle: Handle) -> Result<Self> {
        Self::on(Self::listen(address)?, recorder, handle)
    }

    /// Takes `address`, so that nobody else can have it: what [`on`](Self::on) is given before there is a recording.
    ///
    /// # Errors
    ///
    /// [`Error::Listen`] where the address cannot be had.
    pub fn listen(address: &str) -> Result<TcpListener> {
        TcpListener::bind(address).map_err(|source| Error::Listen { address: address.to_owned(), source })
    }

    /// As [`start`](Self::start), with an address that is taken already.
    ///
    /// # Errors
    ///
    /// [`Error::Listen`] where the system does not say which address that is; [`Error::Thread`].
    pub fn on(listener: TcpListener, recorder: &Recorder, handle: Handle) -> Result<Self> {
        let failed = |source| Error::Listen { address: "what is listened on".into(), source };
        let bound = listener.local_addr().map_err(failed)?;
        let token = Token::random();
        let url = format!("http://{}/?token={}", reachable(bound), token.reveal());
        let (drawings, wanted) = Drawings::new(recorder.folder().into());
        let desk = Arc::new(Desk {
            token,
            handle,
            folder: recorder.folder().into(),
            progress: recorder.progress(),
            reader: Mutex::default(),
            drawings,
            audience: Arc::default(),
            visitors: Connections::keeping_authenticated("follow", CONNECTIONS_LIMIT),
        });
        let (over, ended) = bounded(0);
        let over = Some(over);
        let mut follower =
            Self { address: bound, url, desk: Arc::clone(&desk), over, hub: None, listener: None, artist: None };
        let (lines, files) = (recorder.subscribe(), desk.progress.finished_files());
        let audience = Arc::clone(&desk.audience);
        follower.hub = Some(begin("gf-follow-audience", move || audience.entertain(&lines, files, &ended))?);
        let (drawings, audience) = (Arc::clone(&desk.drawings), Arc::clone(&desk.audience));
        follower.artist =
            Some(begin("gf-follow-drawings", move || drawings.draw(&wanted, || audience.tell_of_pictures()))?);
        let visitors = Arc::clone(&desk.visitors);
        let serve = move |socket: &Arc<_>| desk.serve(socket);
        let listen = move || visitors.accept_loop(&listener, "gf-follow-connection", serve);
        follower.listener = Some(begin("gf-follow-listener", listen)?);
        Ok(follower)
    }

    /// The link for a browser, with the token in it. Who has it may press the button.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

fn begin(name: &'static str, work: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>> {
    let started = thread::Builder::new().name(name.into()).spawn(work);
    started.map_err(|e| Error::Thread { thread: name, reason: e.to_string() })
}

fn join(thread: JoinHandle<()>) {
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
        let Desk { visitors, audience, drawings, .. } = &*self.desk;
        visitors.stop_accepting();
        drawings.stop();
        self.desk.progress.flush();
        self.over = None;
        if let Some(hub) = self.hub.take() {
            join(hub);
        }
        // Who follows gets what there is still to say; everybody else is cut.
        audience.dismiss(|| self.desk.last_words());
        visitors.shutdown_sockets();
        if let Some(listener) = self.listener.take() {
            visitors.wake_listener(self.address);
            join(listener);
        }
        visitors.join_threads();
        if let Some(artist) = self.artist.take() {
            join(artist);
        }
    }
}

/// An address that can be connected to: all of a computer's is none.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    address
}
