//! TLS: trusted root certificates, the shared connector, and what handshake errors mean.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};

use native_tls::{Certificate, TlsConnector};

use crate::error::CertificateProblem;
use crate::sync::lock;
use crate::{Error, Result, files};

/// Several times the size of a bundle of all public roots.
const MAX_CA_FILE_BYTES: u64 = 8 << 20;

/// The root certificates trusted in TLS: the system's, and those of an optional file.
///
/// All clones share one connector, created for the first encrypted connection (about 50 ms and 5 MiB with OpenSSL). A
/// program with many emulators gives each a clone of the same `Tls`.
///
/// ```
/// use gf_emulator_core::Tls;
///
/// let tls = Tls::new(None)?;
/// let for_another_machine = tls.clone();
/// # Ok::<(), gf_emulator_core::Error>(())
/// ```
#[derive(Clone)]
pub struct Tls(Arc<Shared>);

struct Shared {
    extra_roots: Vec<Certificate>,
    /// Locked while it is created: of many machines that start at the same time, one creates it.
    connector: Mutex<Option<TlsConnector>>,
}

impl Tls {
    /// Trusts the system's root certificates and, if given, every certificate in the PEM file `ca_file`.
    ///
    /// # Errors
    ///
    /// [`Error::File`] if the file cannot be read or is not a regular file; [`Error::TooLarge`] if it is larger than
    /// 8 MiB; [`Error::Tls`] if it contains no certificate, or one that cannot be parsed.
    pub fn new(ca_file: Option<&Path>) -> Result<Self> {
        let extra_roots = match ca_file {
            Some(path) => {
                let pem = files::read(path, MAX_CA_FILE_BYTES).map_err(|e| e.of_setting("read the ca_file"))?;
                parse_certificates(&pem, &format!("the ca_file {}", path.display()))?
            }
            None => Vec::new(),
        };
        Ok(Self(Arc::new(Shared { extra_roots, connector: Mutex::default() })))
    }

    /// Trusts the system's root certificates and every certificate in `pem`.
    ///
    /// # Errors
    ///
    /// [`Error::Tls`] if it contains no certificate, or one that cannot be parsed.
    pub fn from_pem(pem: impl AsRef<[u8]>) -> Result<Self> {
        let extra_roots = parse_certificates(pem.as_ref(), "the given text")?;
        Ok(Self(Arc::new(Shared { extra_roots, connector: Mutex::default() })))
    }

    /// Returns the number of certificates trusted in addition to the system's: those in `ca_file`.
    #[must_use]
    pub fn extra_certificates(&self) -> usize {
        self.0.extra_roots.len()
    }

    pub(crate) fn connector(&self) -> io::Result<TlsConnector> {
        let mut shared = lock(&self.0.connector);
        if let Some(connector) = &*shared {
            return Ok(connector.clone());
        }
        let mut builder = TlsConnector::builder();
        builder.min_protocol_version(Some(native_tls::Protocol::Tlsv12));
        for root in &self.0.extra_roots {
            builder.add_root_certificate(root.clone());
        }
        let connector = builder.build().map_err(io::Error::other)?;
        Ok(shared.insert(connector).clone())
    }
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").field("extra_certificates", &self.extra_certificates()).finish_non_exhaustive()
    }
}

/// Creates a connector that accepts every certificate, only to read the certificate of a host that is not trusted.
pub(super) fn connector_without_verification() -> io::Result<TlsConnector> {
    let mut builder = TlsConnector::builder();
    builder.min_protocol_version(Some(native_tls::Protocol::Tlsv12));
    builder.disable_built_in_roots(true).danger_accept_invalid_certs(true).danger_accept_invalid_hostnames(true);
    builder.build().map_err(io::Error::other)
}

/// Parses every certificate of a PEM file, one by one so that an error can name the one that is broken. `source` is
/// where the file is from.
fn parse_certificates(pem: &[u8], source: &str) -> Result<Vec<Certificate>> {
    const BEGIN: &[u8] = b"-----BEGIN CERTIFICATE-----";
    let starts: Vec<_> = (0..pem.len()).filter(|&at| pem[at..].starts_with(BEGIN)).collect();
    if starts.is_empty() {
        let reason = format!("{source} contains no PEM certificate (no line -----BEGIN CERTIFICATE-----)");
        return Err(Error::Tls { reason });
    }
    let ends = starts.iter().skip(1).copied().chain([pem.len()]);
    let parse = |(n, (&start, end)): (usize, (&usize, usize))| {
        Certificate::from_pem(&pem[start..end]).map_err(|e| {
            let (n, count) = (n + 1, starts.len());
            Error::Tls { reason: format!("certificate {n} of {count} in {source} cannot be read: {e}") }
        })
    };
    starts.iter().zip(ends).enumerate().map(parse).collect()
}

/// The error of a handshake that failed because the host's certificate is not trusted.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct UntrustedCertificate(pub(super) CertificateProblem);

/// Extracts from a TLS library's error message why the certificate is not trusted. Returns `None` if the error is not
/// about the certificate. Only the message says so: native-tls passes on no error codes.
pub(super) fn certificate_failure(message: &str) -> Option<&str> {
    let lower = message.to_lowercase();
    if lower.contains("certificate") && ["verify", "trust", "root", "expired"].iter().any(|word| lower.contains(word)) {
        // OpenSSL puts the reason in parentheses at the end, after the names of its source files.
        Some(message.rsplit_once('(').and_then(|(_, rest)| rest.strip_suffix(')')).unwrap_or(message))
    } else {
        None
    }
}
