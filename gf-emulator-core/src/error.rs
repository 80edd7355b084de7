//! What can go wrong, in the terms of this crate.
//!
//! Every variant says what happened and to what; the message says what to do where there is something to do. No type of
//! a dependency shows here, and no password, token or query of a URL is in any of the texts.

use std::io;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use crate::problems::Problems;
use crate::puls;
use crate::secrets::Secrets;

/// The result of whatever can fail in this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// What went wrong.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The configuration has problems: all of them, each with its line.
    #[error(transparent)]
    Config(#[from] Problems),

    /// A file could not be read, written or made.
    #[error("cannot {doing} {}: {source}", path.display())]
    File {
        /// What was tried: "read", "write".
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },

    /// A recording cannot be used.
    #[error("{}, line {line}: {reason}", path.display())]
    Recording {
        /// The file.
        path: PathBuf,
        /// Which line, counted from 1.
        line: u64,
        /// What is wrong with it.
        reason: String,
    },

    /// The service does not take the serial number or the password (a 4xx answer to the sign-in).
    #[error(
        "the service refused to sign this machine in (HTTP {status}): check serial and password in [MACHINE] \
         (or GF_MACHINE_SERIAL and GF_MACHINE_PASSWORD)"
    )]
    SignInRefused {
        /// The HTTP status of the answer.
        status: u16,
    },

    /// The service could not be reached, or not for as long as was to be tried.
    #[error("cannot reach {host}: {reason}")]
    Unreachable {
        /// Scheme, host and port, and a path where that helps; never a query.
        host: String,
        /// What the last try ran into.
        reason: String,
    },

    /// The host's certificate is not trusted.
    #[error("the certificate of {host} is not trusted: {problem}")]
    Untrusted {
        /// Scheme, host and port, and a path where that helps; never a query.
        host: String,
        /// What is wrong with it.
        problem: CertificateProblem,
    },

    /// The proxy answered, but not with a connection to the host.
    #[error(
        "the proxy {proxy} refused to connect to {host} (HTTP {status}): {reason} ([SERVICE] proxy, or HTTPS_PROXY)"
    )]
    Proxy {
        /// The proxy's scheme, host and port; never its user name and password.
        proxy: String,
        /// Scheme, host and port of where the connection was to lead, and a path where that helps; never a query.
        host: String,
        /// The HTTP status of the proxy's answer.
        status: u16,
        /// What that means.
        reason: &'static str,
    },

    /// A request was answered, but not with success.
    #[error("{method} {url} was answered with HTTP {status}")]
    Status {
        /// The HTTP method.
        method: &'static str,
        /// Where it went, without its query.
        url: String,
        /// The answer's status.
        status: u16,
        /// How long the service asks to be left alone (`Retry-After`).
        retry_after: Option<Duration>,
    },

    /// An answer came that is not what the protocol says.
    #[error("{from} answered with something unexpected: {what}")]
    Answer {
        /// Who answered, without a query.
        from: String,
        /// What was wrong with it.
        what: String,
    },

    /// A URL that must not be followed: plain text to a host that is not this one, another scheme, no host.
    #[error("will not use the URL {url}: {reason}")]
    Url {
        /// The URL without its query.
        url: String,
        /// Why not.
        reason: &'static str,
    },

    /// More arrived than is allowed.
    #[error("{what} is larger than the limit of {limit_bytes} bytes: stopped reading")]
    TooLarge {
        /// What was being read.
        what: String,
        /// The limit in bytes.
        limit_bytes: u64,
    },

    /// A pulse file that cannot be read as one.
    #[error("{0}")]
    Puls(#[from] puls::Error),

    /// A pulse file that can be read, and that this machine will not run.
    #[error("the job is refused: {reason}")]
    JobRefused {
        /// Why, with no serial number in it.
        reason: String,
    },

    /// The action lacks something that it cannot be done without.
    #[error("action {action_id} ({action}) cannot be done: {reason}")]
    Action {
        /// The action's id.
        action_id: i64,
        /// Its type.
        action: String,
        /// What is missing or wrong.
        reason: String,
    },

    /// The actions table is not usable.
    #[error("actions table {table}: {at}: {reason}")]
    Table {
        /// Which table: "1.x", "2.6", or a file's path.
        table: String,
        /// Where in it.
        at: String,
        /// What is wrong there.
        reason: String,
    },

    /// The machine (the canned one or a user's hardware) could not do its part.
    #[error("the machine could not {doing}: {reason}")]
    Machine {
        /// What it was asked to do.
        doing: &'static str,
        /// Why it could not.
        reason: String,
    },

    /// TLS could not be set up at all.
    #[error("cannot set up TLS: {reason}")]
    Tls {
        /// Why.
        reason: String,
    },

    /// Something that needs a connection, before [`connect`](crate::Emulator::connect) or after the machine has stopped.
    #[error("not connected: {reason}")]
    NotConnected {
        /// What to do about it.
        reason: &'static str,
    },

    /// An address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address as it was given.
        address: String,
        /// Why not.
        source: io::Error,
    },

    /// Stopped or withdrawn from outside while it was under way.
    #[error("interrupted")]
    Interrupted,

    /// A thread of the emulator has ended that should not have.
    #[error("the {thread} thread ended: {reason}")]
    Thread {
        /// Its name.
        thread: &'static str,
        /// What is known of why.
        reason: String,
    },
}

impl Error {
    /// Whether the same may go well a little later: the host is down, or the clock of this computer is not set yet.
    pub(crate) fn is_worth_retrying(&self) -> bool {
        match self {
            // Whatever a service answers, or what stands between: a proxy's 403, a captive portal's page, a service that
            // is down.
            Self::Unreachable { .. } | Self::Status { .. } | Self::Answer { .. } | Self::TooLarge { .. } => true,
            Self::SignInRefused { status } => *status == 403,
            Self::Untrusted { problem, .. } => {
                matches!(problem, CertificateProblem::NotYetValid { .. } | CertificateProblem::Expired { .. })
            }
            Self::Proxy { status, .. } => *status != 407,
            _ => false,
        }
    }

    /// The same error without what `secrets` hides: a service names hosts and paths freely, and may name a token there.
    pub(crate) fn redacted(mut self, secrets: &Secrets) -> Self {
        let texts: [Option<&mut String>; 2] = match &mut self {
            Self::Unreachable { host, reason } => [Some(host), Some(reason)],
            // The names in a certificate are the host's own, and no secret has reached it before it was trusted.
            Self::Untrusted { host, .. } | Self::Proxy { host, .. } => [Some(host), None],
            Self::Status { url, .. } | Self::Url { url, .. } => [Some(url), None],
            Self::Answer { from, what } => [Some(from), Some(what)],
            _ => [None, None],
        };
        for text in texts.into_iter().flatten() {
            *text = secrets.redact(text);
        }
        self
    }

    /// How long the service asks to be left alone, where it does.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Status { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}

/// Why a host's certificate is not trusted.
///
/// What it says is what the certificate of whoever answers says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateProblem {
    /// The time from which it is valid has not come yet: most likely the clock of this computer is wrong, so that it is
    /// worth trying again once that is set.
    #[error(
        "it is valid from {} on, and this computer's clock says {}: the clock is probably wrong",
        shown(*from), shown(*now)
    )]
    NotYetValid {
        /// From when on it is valid.
        from: SystemTime,
        /// What the clock said.
        now: SystemTime,
    },

    /// Its time is over, or the clock of this computer is wrong.
    #[error(
        "it was valid until {}, and this computer's clock says {}: the clock is probably wrong, or else the host needs a \
         new certificate", shown(*until), shown(*now)
    )]
    Expired {
        /// Until when it was valid.
        until: SystemTime,
        /// What the clock said.
        now: SystemTime,
    },

    /// It is another host's.
    #[error(
        "it is for {}, not for this host: either that is its right name, or something else answers in its place (a \
         captive portal, say)",
        list(names)
    )]
    OtherName {
        /// The hosts and addresses that it is for.
        names: Vec<String>,
    },

    /// Nobody who is trusted has issued it.
    #[error(
        "its issuer{} is unknown here ({reason}); for a service of your own, or a proxy that looks into TLS, name the root \
         certificate in [SERVICE] ca_file (`serve --ca-out FILE` writes a new one at every start)",
        issuer.as_ref().map(|name| format!(" \"{name}\"")).unwrap_or_default()
    )]
    UnknownIssuer {
        /// The common name of who has issued it, where the certificate has one.
        issuer: Option<String>,
        /// The words of the system's TLS library.
        reason: String,
    },

    /// Something else.
    #[error("{reason}")]
    Other {
        /// The words of the system's TLS library.
        reason: String,
    },
}

/// A time to the second, in UTC.
fn shown(time: SystemTime) -> String {
    jiff::Timestamp::try_from(time)
        .map_or_else(|_| "a time out of range".into(), |time| time.strftime("%Y-%m-%d %H:%M:%S UTC").to_string())
}

/// Some names, and how many more there are.
fn list(names: &[String]) -> String {
    const SHOWN: usize = 5;
    match names {
        [] => "no host at all".into(),
        names if names.len() > SHOWN => format!("{} and {} more", names[..SHOWN].join(", "), names.len() - SHOWN),
        names => names.join(", "),
    }
}
