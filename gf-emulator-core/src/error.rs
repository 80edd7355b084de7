//! The error type of the crate.
//!
//! Each variant says what happened and to what; its message says what to do about it, if anything. No type of a
//! dependency is part of it, and no message has a password, a token or the query of a URL.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use crate::problems::Problems;
use crate::puls;
use crate::secrets::Secrets;

/// A `Result` with this crate's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

/// An error of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The configuration is invalid. Has all problems, each with its line.
    #[error(transparent)]
    Config(#[from] Problems),

    /// A file could not be read, written or created.
    #[error("cannot {doing} {}: {}", path.display(), advised(source))]
    File {
        /// The operation: "read", "write" and so on.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },

    /// A recording is invalid.
    #[error("{}, line {line}: {reason}", path.display())]
    Recording {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: u64,
        /// What is wrong with it.
        reason: String,
    },

    /// The service rejected the serial number or the password: the sign-in was answered with 400, 401, 403 or 422.
    #[error(
        "the service refused to sign this machine in (HTTP {status}): check serial and password in [MACHINE] \
         (or GF_MACHINE_SERIAL and GF_MACHINE_PASSWORD)"
    )]
    SignInRefused {
        /// The HTTP status.
        status: u16,
    },

    /// The host could not be reached, or the connection failed.
    #[error("cannot reach {host}: {reason}")]
    Unreachable {
        /// Scheme, host and port, sometimes with a path; never a query.
        host: String,
        /// Why the last attempt failed.
        reason: String,
    },

    /// The host's certificate is not trusted.
    #[error("the certificate of {host} is not trusted: {problem}")]
    Untrusted {
        /// Scheme, host and port, sometimes with a path; never a query.
        host: String,
        /// What is wrong with it.
        problem: CertificateProblem,
    },

    /// The proxy answered, but did not connect to the host.
    #[error(
        "the proxy {proxy} refused to connect to {host} (HTTP {status}): {reason} ([SERVICE] proxy, or HTTPS_PROXY)"
    )]
    Proxy {
        /// The proxy's scheme, host and port; never its user name and password.
        proxy: String,
        /// Scheme, host and port of the destination, sometimes with a path; never a query.
        host: String,
        /// The HTTP status of the proxy's answer.
        status: u16,
        /// What that means.
        reason: &'static str,
    },

    /// A request was answered with an error status.
    #[error("{method} {url} was answered with HTTP {status}")]
    Status {
        /// The HTTP method.
        method: &'static str,
        /// The URL without its query.
        url: String,
        /// The HTTP status.
        status: u16,
        /// The parsed `Retry-After` header.
        retry_after: Option<Duration>,
    },

    /// A response does not follow the protocol.
    #[error("unexpected answer from {from}: {what}")]
    Answer {
        /// Where the response came from, without a query.
        from: String,
        /// What is wrong with it.
        what: String,
    },

    /// A URL that must not be used: plain text to another host, an unknown scheme, no host.
    #[error("refusing to use the URL {url}: {reason}")]
    Url {
        /// The URL without its query.
        url: String,
        /// Why not.
        reason: &'static str,
    },

    /// Something is larger than its limit.
    #[error("{what} is larger than the limit of {limit_bytes} bytes: stopped reading")]
    TooLarge {
        /// What is too large.
        what: String,
        /// The limit in bytes.
        limit_bytes: u64,
    },

    /// A pulse file is invalid.
    #[error("{0}")]
    Puls(#[from] puls::Error),

    /// A pulse file is valid, but this machine refuses to run it.
    #[error("the job is refused: {reason}")]
    JobRefused {
        /// Why. Has no serial number.
        reason: String,
    },

    /// An action cannot run because something is missing or invalid.
    #[error("cannot run action {action_id} ({action}): {reason}")]
    Action {
        /// The action's id.
        action_id: i64,
        /// Its type.
        action: String,
        /// What is missing or wrong.
        reason: String,
    },

    /// An actions table is invalid.
    #[error("actions table {table}: {at}: {reason}")]
    Table {
        /// The table: "1.x", "2.6", or a file's path.
        table: String,
        /// The place in the table.
        at: String,
        /// What is wrong there.
        reason: String,
    },

    /// The machine failed: the canned one or a user's hardware.
    #[error("the machine could not {doing}: {reason}")]
    Machine {
        /// The operation.
        doing: &'static str,
        /// Why it failed.
        reason: String,
    },

    /// TLS could not be set up.
    #[error("cannot set up TLS: {reason}")]
    Tls {
        /// Why.
        reason: String,
    },

    /// The emulator is not connected: [`connect`](crate::Emulator::connect) was not called, or it has stopped.
    #[error("not connected: {reason}")]
    NotConnected {
        /// What to do about it.
        reason: &'static str,
    },

    /// A listener could not be bound to an address.
    #[error("cannot listen on {address}: {source}{}", listen_hint(source))]
    Listen {
        /// The address as given.
        address: String,
        /// Why not.
        source: io::Error,
    },

    /// The operation was stopped or cancelled.
    #[error("interrupted")]
    Interrupted,

    /// A thread could not be started, or ended with an error.
    #[error("thread {thread}: {reason}")]
    Thread {
        /// Its name.
        thread: &'static str,
        /// Why.
        reason: String,
    },
}

impl Error {
    /// The error of a thread that cannot be started.
    pub(crate) fn no_thread(thread: &'static str, e: &io::Error) -> Self {
        Self::Thread { thread, reason: format!("it cannot be started: {}", advised(e)) }
    }

    /// The error of a thread that has panicked.
    pub(crate) fn thread_panicked(thread: &'static str) -> Self {
        Self::Thread { thread, reason: "it panicked".into() }
    }

    /// Names the setting that has the file.
    pub(crate) fn of_setting(self, reading: &'static str) -> Self {
        match self {
            Self::File { path, source, .. } => Self::File { doing: reading, path, source },
            other => other,
        }
    }

    /// Returns whether a retry may succeed: the host is down, or the clock of this computer is not set yet.
    pub(crate) fn is_worth_retrying(&self) -> bool {
        match self {
            // Also wrong answers: they may come from a proxy, a captive portal, or a service that is being updated.
            Self::Unreachable { .. } | Self::Status { .. } | Self::Answer { .. } | Self::TooLarge { .. } => true,
            Self::SignInRefused { status } => *status == 403,
            Self::Untrusted { problem, .. } => {
                matches!(problem, CertificateProblem::NotYetValid { .. } | CertificateProblem::Expired { .. })
            }
            Self::Proxy { status, .. } => *status != 407,
            _ => false,
        }
    }

    /// Redacts `secrets` in the error's texts: a service may put a token into a host name or a path.
    pub(crate) fn redacted(mut self, secrets: &Secrets) -> Self {
        let texts: [Option<&mut String>; 2] = match &mut self {
            Self::Unreachable { host, reason } => [Some(host), Some(reason)],
            // The names in a certificate are safe: nothing secret is sent before the certificate is trusted.
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

    /// Returns the parsed `Retry-After` header, if there was one.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Status { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}

/// Returns what to do if an address cannot be listened on.
pub(crate) fn listen_hint(error: &io::Error) -> &'static str {
    if error.kind() == io::ErrorKind::AddrInUse { ": use another port, or stop the program that has it" } else { "" }
}

/// A text that cannot be parsed. The message says what is expected instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ParseError(String);

impl ParseError {
    pub(crate) fn new(expected: impl Into<String>) -> Self {
        Self(expected.into())
    }
}

/// Why a host's certificate is not trusted.
///
/// Its data are from the certificate that the host presented.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateProblem {
    /// It is not valid yet. Most likely the clock of this computer is wrong, so this error is retried.
    #[error(
        "it is valid from {} on, and this computer's clock says {}: the clock is probably wrong",
        shown(*from), shown(*now)
    )]
    NotYetValid {
        /// The start of its validity.
        from: SystemTime,
        /// The time of this computer.
        now: SystemTime,
    },

    /// It has expired, or the clock of this computer is wrong. Retried, as [`NotYetValid`](Self::NotYetValid).
    #[error(
        "it was valid until {}, and this computer's clock says {}: the clock is probably wrong, or else the host needs a \
         new certificate", shown(*until), shown(*now)
    )]
    Expired {
        /// The end of its validity.
        until: SystemTime,
        /// The time of this computer.
        now: SystemTime,
    },

    /// It is for another host.
    #[error(
        "it is for {}, not for this host: use that name if it is right; otherwise another server answers in its place \
         (such as a captive portal)",
        list(names)
    )]
    OtherName {
        /// The hosts and addresses it is for.
        names: Vec<String>,
    },

    /// Its issuer is not trusted.
    #[error(
        "its issuer{} is not trusted on this computer ({reason}); for your own service or a TLS-inspecting proxy, set \
         the root certificate in [SERVICE] ca_file (of `serve --ca-dir DIR`, it is DIR/ca.pem)",
        issuer.as_ref().map(|name| format!(" \"{name}\"")).unwrap_or_default()
    )]
    UnknownIssuer {
        /// The issuer's common name, if it has one.
        issuer: Option<String>,
        /// The message of the TLS library.
        reason: String,
    },

    /// Another reason.
    #[error("{reason}")]
    Other {
        /// The message of the TLS library.
        reason: String,
    },
}

/// Formats a time in UTC, to the second.
fn shown(time: SystemTime) -> String {
    jiff::Timestamp::try_from(time)
        .map_or_else(|_| "a time out of range".into(), |time| time.strftime("%Y-%m-%d %H:%M:%S UTC").to_string())
}

/// Formats a few names and the number of the others.
fn list(names: &[String]) -> String {
    const SHOWN: usize = 5;
    match names {
        [] => "no host at all".into(),
        names if names.len() > SHOWN => format!("{} and {} more", names[..SHOWN].join(", "), names.len() - SHOWN),
        names => names.join(", "),
    }
}
/// Adds to an error of the operating system what to do about it, if that is known.
pub(crate) fn advised(reason: &dyn fmt::Display) -> String {
    let mut text = reason.to_string();
    // EMFILE on all Unix systems.
    if cfg!(unix) && text.ends_with("(os error 24)") {
        text.push_str("; allow the program to open more (ulimit -n)");
    }
    // EAGAIN, of a thread that cannot be started: 11 on Linux, 35 on macOS and the BSDs.
    if cfg!(unix) && ["(os error 11)", "(os error 35)"].iter().any(|end| text.ends_with(end)) {
        text.push_str("; allow more threads (ulimit -u, or the container's limit of processes)");
    }
    text
}
