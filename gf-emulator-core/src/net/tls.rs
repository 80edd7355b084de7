//! TLS: what is trusted, the connector that everything shares, and what its failures mean.

use std::io;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use native_tls::{Certificate, TlsConnector};

use crate::error::CertificateProblem;
use crate::{Error, Result, files};

/// Room for every root there is, several times over.
const LARGEST_FILE: u64 = 8 << 20;

/// What is trusted in TLS: the system's roots, and those of at most one file more.
///
/// Made once and cloned: all clones share one connector, which is made when the first encrypted connection needs it
/// (about 50 ms and 5 MiB with OpenSSL). A program with many emulators gives all of them clones of one.
///
/// ```
/// use gf_emulator_core::Tls;
///
/// let tls = Tls::new(None)?;
/// let for_another_machine = tls.clone();
/// # Ok::<(), gf_emulator_core::Error>(())
/// ```
#[derive(Clone)]
pub struct Tls(Arc<TlsParts>);

struct TlsParts {
    extra_roots: Vec<Certificate>,
    connector: OnceLock<TlsConnector>,
}

impl Tls {
    /// Trusts the system's roots and, where given, every certificate in the PEM file `ca_file`.
    ///
    /// # Errors
    ///
    /// [`Error::File`] and [`Error::TooLarge`] where the file cannot be read, is not a regular one or has more than 8 MiB;
    /// [`Error::Tls`] where no certificate is in it, or one that cannot be read.
    pub fn new(ca_file: Option<&Path>) -> Result<Self> {
        let extra_roots = match ca_file {
            Some(path) => parse_certificates(&files::read(path, LARGEST_FILE)?, &path.display().to_string())?,
            None => Vec::new(),
        };
        Ok(Self(Arc::new(TlsParts { extra_roots, connector: OnceLock::new() })))
    }

    /// Trusts the system's roots and every certificate in `pem`.
    ///
    /// # Errors
    ///
    /// [`Error::Tls`] if there is no certificate, or one that cannot be read.
    pub fn from_pem(pem: impl AsRef<[u8]>) -> Result<Self> {
        let extra_roots = parse_certificates(pem.as_ref(), "the given text")?;
        Ok(Self(Arc::new(TlsParts { extra_roots, connector: OnceLock::new() })))
    }

    /// How many certificates are trusted beside the system's: those in `ca_file`.
    #[must_use]
    pub fn extra_certificates(&self) -> usize {
        self.0.extra_roots.len()
    }

    pub(crate) fn connector(&self) -> io::Result<&TlsConnector> {
        if let Some(connector) = self.0.connector.get() {
            return Ok(connector);
        }
        let mut builder = TlsConnector::builder();
        builder.min_protocol_version(Some(native_tls::Protocol::Tlsv12));
        for root in &self.0.extra_roots {
            builder.add_root_certificate(root.clone());
        }
        let connector = builder.build().map_err(io::Error::other)?;
        Ok(self.0.connector.get_or_init(|| connector))
    }
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").field("extra_certificates", &self.extra_certificates()).finish_non_exhaustive()
    }
}

/// A connector that trusts whoever answers: for a look at a certificate, and for nothing else.
pub(super) fn unchecked() -> io::Result<TlsConnector> {
    let mut builder = TlsConnector::builder();
    builder.min_protocol_version(Some(native_tls::Protocol::Tlsv12));
    builder.disable_built_in_roots(true).danger_accept_invalid_certs(true).danger_accept_invalid_hostnames(true);
    builder.build().map_err(io::Error::other)
}

/// Parses every certificate of a PEM file, one by one, so that an error can name it. `source` is where it is from.
fn parse_certificates(pem: &[u8], source: &str) -> Result<Vec<Certificate>> {
    const BEGIN: &[u8] = b"-----BEGIN CERTIFICATE-----";
    let begins: Vec<_> = (0..pem.len()).filter(|&at| pem[at..].starts_with(BEGIN)).collect();
    if begins.is_empty() {
        let reason = format!("{source} has no certificate in PEM form (no line -----BEGIN CERTIFICATE-----)");
        return Err(Error::Tls { reason });
    }
    let ends = begins.iter().skip(1).copied().chain([pem.len()]);
    let read = |(n, (&begin, end)): (usize, (&usize, usize))| {
        Certificate::from_pem(&pem[begin..end]).map_err(|e| {
            let (n, count) = (n + 1, begins.len());
            Error::Tls { reason: format!("certificate {n} of {count} in {source} cannot be read: {e}") }
        })
    };
    begins.iter().zip(ends).enumerate().map(read).collect()
}

/// The certificate was looked at and not trusted.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct NotTrusted(pub(super) CertificateProblem);

/// Why a certificate is not trusted; none where the words are about something else. Each system's library has words of
/// its own for that, and no code that native-tls would hand on.
pub(super) fn certificate_reason(words: &str) -> Option<&str> {
    let lower = words.to_lowercase();
    if lower.contains("certificate") && ["verify", "trust", "root", "expired"].iter().any(|word| lower.contains(word)) {
        // OpenSSL has the reason in parentheses, behind names of its own source files.
        Some(words.rsplit_once('(').and_then(|(_, rest)| rest.strip_suffix(')')).unwrap_or(words))
    } else {
        None
    }
}
