//! How a [`LocalService`] is to be, and its start.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use super::machines::{Machines, Rules};
use super::replay::Playing;
use super::seen::{Log, Observer, Seen};
use super::server::{self, Bodies, Core, Settings, Task};
use super::{Error, LocalService, Replay, Script, certificate, sample_jobs};
use crate::{Secret, Secrets, puls};

/// How a [`LocalService`] is to be. See [`LocalService::builder`].
pub struct Builder {
    tls: bool,
    listen: String,
    rules: Rules,
    firmware_version: String,
    puls: Option<Vec<u8>>,
    jobs: BTreeMap<String, Vec<u8>>,
    gzip: bool,
    task: Option<Task>,
    cut_every: Option<Duration>,
    body_limit: u64,
    bodies: Bodies,
    observer: Option<Observer>,
    secrets: Secrets,
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            tls: true,
            listen: "127.0.0.1:0".to_owned(),
            rules: Rules {
                serial: None,
                password: None,
                token_life: Duration::from_hours(6),
                ws_token_life: Duration::from_secs(30),
                gone_after: Duration::from_secs(30),
            },
            firmware_version: "2.6.0-2228".to_owned(),
            puls: None,
            jobs: BTreeMap::new(),
            gzip: false,
            task: None,
            cut_every: None,
            body_limit: 64 << 20,
            bodies: Bodies::Small,
            observer: None,
            secrets: Secrets::default(),
        }
    }
}

impl Builder {
    /// Over TLS (the default), or plain.
    #[must_use]
    pub fn tls(mut self, tls: bool) -> Self {
        self.tls = tls;
        self
    }

    /// The address and port; port 0 is any that is free. The default is `127.0.0.1:0`.
    #[must_use]
    pub fn listen(mut self, address: impl Into<String>) -> Self {
        self.listen = address.into();
        self
    }

    /// The one serial number that may sign in, with or without its leading `S`. Otherwise any may.
    #[must_use]
    pub fn serial(mut self, serial: &str) -> Self {
        self.rules.serial = Some(serial.strip_prefix('S').unwrap_or(serial).to_owned());
        self
    }

    /// The one password that signs in. Otherwise any does.
    #[must_use]
    pub fn password(mut self, password: Secret) -> Self {
        self.rules.password = Some(password);
        self
    }

    /// How long an `auth_token` holds: 6 hours, as with the cloud, where this is not called.
    #[must_use]
    pub fn token_life(mut self, life: Duration) -> Self {
        self.rules.token_life = life;
        self
    }

    /// How long a `ws_token` can be used: 30 seconds, as with the cloud, where this is not called.
    #[must_use]
    pub fn ws_token_life(mut self, life: Duration) -> Self {
        self.rules.ws_token_life = life;
        self
    }

    /// After how long a machine has gone that has no control socket and of which nothing is heard: its script ends
    /// then. 30 seconds where this is not called.
    #[must_use]
    pub fn gone_after(mut self, time: Duration) -> Self {
        self.rules.gone_after = time;
        self
    }

    /// The firmware version on offer; `2.6.0-2228` where this is not called.
    #[must_use]
    pub fn firmware_version(mut self, version: impl Into<String>) -> Self {
        self.firmware_version = version.into();
        self
    }

    /// The pulse file on offer. Otherwise it is a short one that moves the head a little.
    #[must_use]
    pub fn puls(mut self, file: impl Into<Vec<u8>>) -> Self {
        self.puls = Some(file.into());
        self
    }

    /// Offers a pulse file of its own to actions of one type, such as `hunt`: `{puls}` in their strings is its URL,
    /// `/dl/<action_type>.puls`. All other actions get the one of [`puls`](Self::puls).
    #[must_use]
    pub fn puls_for(mut self, action_type: &str, file: impl Into<Vec<u8>>) -> Self {
        self.jobs.insert(action_type.to_owned(), file.into());
        self
    }

    /// Offers a pulse file of its own to each of `hunt`, `motion` and `print`, as the cloud does: a hunt that moves the
    /// lens alone, a motion without the laser, and a print of an engraving and cuts.
    ///
    /// # Panics
    ///
    /// Never: the jobs are the same every time.
    #[must_use]
    pub fn sample_jobs(self) -> Self {
        let job = |made: puls::Result<Vec<u8>>| made.expect("the sample jobs are within all limits");
        self.puls_for("hunt", job(sample_jobs::hunt()))
            .puls_for("motion", job(sample_jobs::motion()))
            .puls_for("print", job(sample_jobs::print()))
    }

    /// Whether the pulse file is gzip-compressed before it is served.
    #[must_use]
    pub fn gzip(mut self, gzip: bool) -> Self {
        self.gzip = gzip;
        self
    }

    /// What to do with every machine that signs in. Otherwise the service does nothing of its own.
    #[must_use]
    pub fn script(mut self, script: Script) -> Self {
        self.task = Some(Task::Script(script));
        self
    }

    /// A recorded session to go through with the first machine that connects, in place of a script. No other machine may
    /// connect then.
    #[must_use]
    pub fn replay(mut self, replay: Replay) -> Self {
        self.task = Some(Task::Replay(Playing::new(replay)));
        self
    }

    /// Cuts each control socket when it has been open for so long; the cloud does so about hourly. Otherwise never.
    #[must_use]
    pub fn cut_every(mut self, after: Duration) -> Self {
        self.cut_every = Some(after);
        self
    }

    /// The longest request body taken, in bytes: 64 MiB where this is not called.
    #[must_use]
    pub fn body_limit(mut self, bytes: u64) -> Self {
        self.body_limit = bytes;
        self
    }

    /// Whether every body that is read is kept in what was [`Seen`], for as long as that is kept; otherwise only those
    /// of `/api/event` are. For tests: what is seen takes up to 1 GiB then.
    #[must_use]
    pub fn keep_bodies(mut self, keep: bool) -> Self {
        self.bodies = if keep { Bodies::Kept } else { Bodies::Small };
        self
    }

    /// Whether the observer gets the pictures that machines upload, up to 2 MiB each and 32 MiB at a time. Otherwise it
    /// gets bodies of up to 64 KiB of machines that have signed in, and no pictures.
    #[must_use]
    pub fn observe_pictures(mut self, observe: bool) -> Self {
        if self.bodies != Bodies::Kept {
            self.bodies = if observe { Bodies::Observed } else { Bodies::Small };
        }
        self
    }

    /// Called with everything seen as it happens, in order. It must be quick and must not call the service.
    #[must_use]
    pub fn observer(mut self, observer: impl Fn(&Seen) + Send + Sync + 'static) -> Self {
        self.observer = Some(Box::new(observer));
        self
    }

    /// As [`LocalService::secrets`], before anybody can connect: for an [observer](Self::observer) that shows what it is
    /// called with.
    #[must_use]
    pub fn secrets(&self) -> Secrets {
        self.secrets.clone()
    }

    /// Listens, and serves from now on.
    ///
    /// # Errors
    /// [`Error::Listen`] where the address cannot be had, [`Error::Tls`] where there can be no certificate,
    /// [`Error::Start`] where a thread cannot be started.
    pub fn start(self) -> Result<LocalService, Error> {
        let fail = |source| Error::Listen { address: self.listen.clone(), source };
        let listener = TcpListener::bind(self.listen.as_str()).map_err(fail)?;
        let addr = listener.local_addr().map_err(fail)?;
        let certificate = if self.tls { Some(certificate::make(addr.ip())?) } else { None };
        let (ca_pem, acceptor) = certificate.map(|made| (made.ca_pem, made.acceptor)).unzip();
        let scheme = if self.tls { "https" } else { "http" };
        let http_url = if addr.ip().is_loopback() || addr.ip().is_unspecified() {
            format!("{scheme}://localhost:{}", addr.port())
        } else {
            format!("{scheme}://{addr}")
        };
        let pack = |file: Vec<u8>| -> Result<Arc<[u8]>, Error> {
            Ok(if self.gzip { compressed(&file).map_err(Error::Start)? } else { file }.into())
        };
        let jobs = self.jobs.into_iter().map(|(action_type, file)| Ok((action_type, pack(file)?)));
        let settings = Settings {
            http_url,
            firmware: format!("firmware {}\n", self.firmware_version).into_bytes().into(),
            firmware_version: self.firmware_version,
            puls: pack(self.puls.unwrap_or_else(small_puls))?,
            jobs: jobs.collect::<Result<_, Error>>()?,
            body_limit: self.body_limit,
            bodies: self.bodies,
            cut_every: self.cut_every,
        };
        // The replay counts first: whoever is told of something may ask how far it is.
        let counter = self.task.as_ref().and_then(Task::counter);
        let observers = counter.into_iter().chain(self.observer).collect();
        let log = Log::new(self.bodies == Bodies::Kept, observers);
        let core = Core::new(settings, Machines::new(self.rules), log, self.task, self.secrets);
        let shared = Arc::clone(&core);
        let thread = thread::Builder::new()
            .name("gf-service-listener".to_owned())
            .spawn(move || server::listen(&shared, &listener, acceptor.as_ref()))
            .map_err(Error::Start)?;
        Ok(LocalService { core, listener: Mutex::new(Some(thread)), addr, ca_pem })
    }
}

/// A pulse file that steps 200 microsteps right and back at 10000 a second.
pub(super) fn small_puls() -> Vec<u8> {
    const RECORDS: [(&[u8; 4], u32); 5] = [(b"STfr", 10_000), (b"MCsn", 0), (b"PDfm", 0), (b"XSmm", 8), (b"YSmm", 8)];
    let mut file = b"\x80GF1".to_vec();
    file.extend_from_slice(&48_u32.to_le_bytes());
    for (code, value) in RECORDS {
        file.extend_from_slice(code);
        file.extend_from_slice(&value.to_le_bytes());
    }
    file.extend_from_slice(&[0x01; 200]);
    file.extend_from_slice(&[0x03; 200]);
    file
}

fn compressed(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes)?;
    encoder.finish()
}
