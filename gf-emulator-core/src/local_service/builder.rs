//! Configures and starts a [`LocalService`].

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Write};
use std::net::TcpListener;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use socket2::SockRef;

use super::behaviour_state::BehaviourState;
use super::core::{Bodies, Core, Settings, Task};
use super::fault::{Failure, Fault, Moment};
use super::faults::Faults;
use super::history::{History, Observer};
use super::link::{Cut, WsEnd};
use super::machines::{Machines, SignInRules};
use super::public_url::PublicUrl;
use super::replay_state::ReplayState;
use super::seen::Seen;
use super::{Behaviour, LocalService, LocalServiceError, ReplayPlan, Script, certificate, sample_jobs, server};
use crate::{Secret, Secrets, puls};

/// How many connections may wait until they are accepted; the system may have a lower limit.
const WAITING_CONNECTIONS: i32 = 4096;

/// What the service does on its own, as configured.
enum BuilderTask {
    Script(Script),
    Behaviour(Behaviour),
    Replay(ReplayPlan),
}

/// Configures a [`LocalService`]. See [`LocalService::builder`].
pub struct Builder {
    tls: bool,
    listen: String,
    public_url: Option<String>,
    ca_dir: Option<PathBuf>,
    rules: SignInRules,
    firmware_version: String,
    puls: Option<Vec<u8>>,
    jobs: BTreeMap<String, Vec<u8>>,
    gzip: bool,
    task: Option<BuilderTask>,
    faults: Vec<Fault>,
    seed: Option<u64>,
    body_limit: u64,
    bodies: Bodies,
    observer: Option<Observer>,
    secrets: Secrets,
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder").field("tls", &self.tls).field("listen", &self.listen).finish_non_exhaustive()
    }
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            tls: true,
            listen: "127.0.0.1:0".to_owned(),
            public_url: None,
            ca_dir: None,
            rules: SignInRules {
                machines: 64,
                serial: None,
                password: None,
                token_life: Duration::from_secs(6 * 3600),
                ws_token_life: Duration::from_secs(30),
                gone_after: Duration::from_secs(30),
            },
            firmware_version: "2.6.0-2228".to_owned(),
            puls: None,
            jobs: BTreeMap::new(),
            gzip: false,
            task: None,
            faults: Vec::new(),
            seed: None,
            body_limit: 64 << 20,
            bodies: Bodies::Small,
            observer: None,
            secrets: Secrets::default(),
        }
    }
}

impl Builder {
    /// Enables or disables TLS. The default is true. Clients must trust [`LocalService::ca_pem`]. Without TLS, the
    /// service listens on loopback addresses only.
    #[must_use]
    pub fn tls(mut self, tls: bool) -> Self {
        self.tls = tls;
        self
    }

    /// Sets the address and port to listen on; port 0 is any free port. The default is `127.0.0.1:0`.
    #[must_use]
    pub fn listen(mut self, address: impl Into<String>) -> Self {
        self.listen = address.into();
        self
    }

    /// Sets the base URL that machines use, such as `https://laser.example:8443`, if they cannot use the address that
    /// the service listens on: for `0.0.0.0`, or behind a proxy. All URLs that the service sends begin with it, and its
    /// certificate is also valid for its host. The default is the address; `localhost` for `127.0.0.1`, `::1` and
    /// `0.0.0.0`.
    #[must_use]
    pub fn public_url(mut self, url: impl Into<String>) -> Self {
        self.public_url = Some(url.into());
        self
    }

    /// Keeps the root certificate and its key in this folder, so that machines have to trust it only once: `ca.pem` is
    /// the certificate, `ca-key.pem` both, readable by its owner alone. They are created by the first start, are valid
    /// for ten years, and are used again by later starts. By default, each start generates its own root.
    ///
    /// Whoever has the key can pretend to be any host to the machines that trust the certificate.
    #[must_use]
    pub fn ca_dir(mut self, folder: impl Into<PathBuf>) -> Self {
        self.ca_dir = Some(folder.into());
        self
    }

    /// Sets the only serial number that may sign in, with or without its leading `S`. The default is any.
    #[must_use]
    pub fn serial(mut self, serial: &str) -> Self {
        self.rules.serial = Some(serial.strip_prefix('S').unwrap_or(serial).to_owned());
        self
    }

    /// Sets how many machines may be signed in at the same time. For one more, another is signed out: the least recently
    /// seen one, those without a WebSocket first. There are four connections for each. The default is 64. Each machine has
    /// up to five threads, so that a service that others can reach should not have many more than it needs.
    #[must_use]
    pub fn machines(mut self, limit: NonZeroUsize) -> Self {
        self.rules.machines = limit.get();
        self
    }

    /// Sets the only password that is accepted. The default is any.
    #[must_use]
    pub fn password(mut self, password: Secret) -> Self {
        self.rules.password = Some(password);
        self
    }

    /// Sets how long an `auth_token` is valid. The default is 6 hours, about as in the cloud (public documentation).
    #[must_use]
    pub fn token_life(mut self, life: Duration) -> Self {
        self.rules.token_life = life;
        self
    }

    /// Sets how long a `ws_token` is valid. The default is 30 seconds, about as in the cloud (public documentation).
    #[must_use]
    pub fn ws_token_life(mut self, life: Duration) -> Self {
        self.rules.ws_token_life = life;
        self
    }

    /// Sets how long a machine may be disconnected and silent before it counts as gone and its script ends. The default
    /// is 30 seconds.
    #[must_use]
    pub fn gone_after(mut self, time: Duration) -> Self {
        self.rules.gone_after = time;
        self
    }

    /// Sets the current firmware version. The default is `2.6.0-2228`.
    #[must_use]
    pub fn firmware_version(mut self, version: impl Into<String>) -> Self {
        self.firmware_version = version.into();
        self
    }

    /// Sets the pulse file, `/dl/job.puls`. The default has 400 ticks: 200 microsteps right and 200 back.
    #[must_use]
    pub fn puls(mut self, file: impl Into<Vec<u8>>) -> Self {
        self.puls = Some(file.into());
        self
    }

    /// Serves a separate pulse file to actions of one type, such as `hunt`: `{puls}` in their strings is its URL,
    /// `/dl/<action_type>.puls`. All other actions get the one of [`puls`](Self::puls).
    #[must_use]
    pub fn puls_for(mut self, action_type: &str, file: impl Into<Vec<u8>>) -> Self {
        self.jobs.insert(action_type.to_owned(), file.into());
        self
    }

    /// Sets different pulse files for `hunt`, `motion` and `print`, similar to those of the cloud: a hunt that moves
    /// only the lens, a motion without the laser, and a print of an engraving and cuts.
    #[must_use]
    #[expect(clippy::missing_panics_doc, reason = "the jobs are the same every time")]
    pub fn sample_jobs(self) -> Self {
        let job = |made: puls::Result<Vec<u8>>| made.expect("the sample jobs are within all limits");
        self.puls_for("hunt", job(sample_jobs::hunt()))
            .puls_for("motion", job(sample_jobs::motion()))
            .puls_for("print", job(sample_jobs::print()))
    }

    /// Sets whether pulse files are served gzip-compressed. The default is false.
    #[must_use]
    pub fn gzip(mut self, gzip: bool) -> Self {
        self.gzip = gzip;
        self
    }

    /// Sets the script to run with every machine, instead of a behaviour or replay. The default is none: see
    /// [`LocalService::send`].
    #[must_use]
    pub fn script(mut self, script: Script) -> Self {
        self.task = Some(BuilderTask::Script(script));
        self
    }

    /// Sets what to do with every machine by the events that it sends, instead of a script or replay.
    #[must_use]
    pub fn behaviour(mut self, behaviour: Behaviour) -> Self {
        self.task = Some(BuilderTask::Behaviour(behaviour));
        self
    }

    /// Sets a recorded session to replay with the first machine that connects, instead of a script or
    /// behaviour. Other machines are rejected.
    #[must_use]
    pub fn replay(mut self, plan: ReplayPlan) -> Self {
        self.task = Some(BuilderTask::Replay(plan));
        self
    }

    /// Adds a fault that closes each WebSocket after this time, without a Close frame. The cloud does so about hourly
    /// (public documentation).
    #[must_use]
    pub fn cut_every(self, after: Duration) -> Self {
        let (how, when) = (WsEnd::Cut(Cut::Drain), Moment::Open(after));
        self.fault(Fault::new(Failure::EndWebSocket { how, when }).always())
    }

    /// Adds a fault, from the start. See [`LocalService::fault`] for more of them later.
    #[must_use]
    pub fn fault(mut self, fault: Fault) -> Self {
        self.faults.push(fault);
        self
    }

    /// Sets the seed of the faults: with the same seed, the same faults happen (see [`Fault`]). The default is a random
    /// one ([`LocalService::seed`]).
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Sets the maximum size of a request body, in bytes. The default is 64 MiB.
    #[must_use]
    pub fn body_limit(mut self, bytes: u64) -> Self {
        self.body_limit = bytes;
        self
    }

    /// Sets whether every request body is kept in what was [`Seen`], which then takes up to 1 GiB. By default only the
    /// bodies of `/api/event` are kept.
    #[must_use]
    pub fn keep_bodies(mut self, keep: bool) -> Self {
        self.bodies = if keep { Bodies::Kept } else { Bodies::Small };
        self
    }

    /// Sets whether the observer gets the pictures that machines upload, up to 2 MiB each and 32 MiB at a time. By
    /// default it gets bodies of up to 64 KiB from machines that have signed in, and no pictures.
    #[must_use]
    pub fn observe_pictures(mut self, observe: bool) -> Self {
        if self.bodies != Bodies::Kept {
            self.bodies = if observe { Bodies::Observed } else { Bodies::Small };
        }
        self
    }

    /// Registers a callback for every event, in order. It blocks the service, so it must be quick, and it must not call
    /// the service.
    #[must_use]
    pub fn observer(mut self, observer: impl Fn(&Seen) + Send + Sync + 'static) -> Self {
        self.observer = Some(Box::new(observer));
        self
    }

    /// As [`LocalService::secrets`], before the service starts: for an [observer](Self::observer) that prints or
    /// records.
    #[must_use]
    pub fn secrets(&self) -> Secrets {
        self.secrets.clone()
    }

    /// Starts the service.
    ///
    /// # Errors
    /// [`LocalServiceError::Listen`] if the address is not available, [`LocalServiceError::PlainText`] for an address
    /// of the network without TLS, [`LocalServiceError::PublicUrl`] if the URL is not valid,
    /// [`LocalServiceError::Tls`] if the certificate cannot be generated, [`LocalServiceError::KeptRoot`] if the kept
    /// root cannot be used, [`LocalServiceError::Start`] if a thread cannot be started or a pulse file cannot be
    /// compressed.
    pub fn start(self) -> Result<LocalService, LocalServiceError> {
        let fail = |source| LocalServiceError::Listen { address: self.listen.clone(), source };
        let invalid_url = |reason| LocalServiceError::PublicUrl { reason };
        let public_url = self.public_url.as_deref().map(|url| PublicUrl::parse(url, self.tls)).transpose();
        let public_url = public_url.map_err(invalid_url)?;
        let listener = TcpListener::bind(self.listen.as_str()).map_err(fail)?;
        // The standard library has 128, too few when many machines reconnect together: others wait a second and more. If this
        // fails, 128 remain.
        let _ = SockRef::from(&listener).listen(WAITING_CONNECTIONS);
        let addr = listener.local_addr().map_err(fail)?;
        let public_url = public_url.unwrap_or_else(|| PublicUrl::of_address(addr, self.tls));
        if !self.tls && !addr.ip().is_loopback() {
            return Err(LocalServiceError::PlainText { address: addr.to_string() });
        }
        if !self.tls && !public_url.is_loopback() {
            return Err(LocalServiceError::PlainText { address: public_url.url });
        }
        let certificate = if self.tls {
            Some(certificate::generate(addr.ip(), &public_url.host, self.ca_dir.as_deref())?)
        } else {
            None
        };
        let (ca_pem, tls) = certificate.map(|made| (made.ca_pem, made.tls)).unzip();
        let mut jobs = self.jobs;
        let task = self.task.map(|task| into_task(task, &mut jobs)).transpose()?;
        let pack = |file: Vec<u8>| -> Result<Arc<[u8]>, LocalServiceError> {
            Ok(if self.gzip { compressed(&file).map_err(LocalServiceError::Start)? } else { file }.into())
        };
        let jobs = jobs.into_iter().map(|(action_type, file)| Ok((action_type, pack(file)?)));
        let settings = Settings {
            http_url: public_url.url,
            firmware: format!("firmware {}\n", self.firmware_version).into_bytes().into(),
            firmware_version: self.firmware_version,
            puls: pack(self.puls.unwrap_or_else(small_puls))?,
            jobs: jobs.collect::<Result<_, LocalServiceError>>()?,
            body_limit: self.body_limit,
            bodies: self.bodies,
        };
        // The replay's observer comes first, so that its counts are up to date when the other one is called.
        let replay_observer = task.as_ref().and_then(Task::observer);
        let observers = replay_observer.into_iter().chain(self.observer).collect();
        let history = History::new(self.bodies == Bodies::Kept, observers);
        let faults = Faults::new(self.seed.unwrap_or_else(|| rand::random::<u32>().into()));
        self.faults.into_iter().for_each(|fault| faults.add(fault));
        let core = Core::new(settings, Machines::new(self.rules), history, faults, task, self.secrets);
        let shared = Arc::clone(&core);
        let thread = thread::Builder::new()
            .name("gf-service-listener".to_owned())
            .spawn(move || server::listen(&shared, &listener, tls.as_ref()))
            .map_err(LocalServiceError::Start)?;
        Ok(LocalService { core, listener: Mutex::new(Some(thread)), addr, ca_pem })
    }
}

/// Prepares a task, and adds its pulse files to `jobs`.
fn into_task(task: BuilderTask, jobs: &mut BTreeMap<String, Vec<u8>>) -> Result<Task, LocalServiceError> {
    Ok(match task {
        BuilderTask::Script(script) => Task::Script(script),
        BuilderTask::Replay(plan) => Task::Replay(ReplayState::new(plan)),
        BuilderTask::Behaviour(behaviour) => {
            let (state, files) =
                BehaviourState::new(behaviour).map_err(|e| LocalServiceError::Start(io::Error::other(e)))?;
            jobs.extend(files);
            Task::Behaviour(state)
        }
    })
}

/// Returns a pulse file of 200 microsteps right and 200 back, at 10,000 ticks per second.
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
