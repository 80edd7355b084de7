//! TLS: what is trusted, the connector that everything shares, and what its failures mean.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use native_tls::{Certificate, TlsConnector};

use crate::{Error, Result};

/// What is trusted in TLS: the system's roots, and at most one file more.
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
    extra_root: Option<Certificate>,
    connector: OnceLock<TlsConnector>,
}

impl Tls {
    /// Trusts the system's roots and, where given, the certificate in the PEM file `ca_file`.
    ///
    /// # Errors
    ///
    /// [`Error::File`] where the file cannot be read, [`Error::Tls`] where it is no certificate.
    pub fn new(ca_file: Option<&Path>) -> Result<Self> {
        let extra_root = ca_file.map(read_certificate).transpose()?;
        Ok(Self(Arc::new(TlsParts { extra_root, connector: OnceLock::new() })))
    }

    pub(crate) fn connector(&self) -> io::Result<&TlsConnector> {
        if let Some(connector) = self.0.connector.get() {
            return Ok(connector);
        }
        let mut builder = TlsConnector::builder();
        builder.min_protocol_version(Some(native_tls::Protocol::Tlsv12));
        if let Some(root) = &self.0.extra_root {
            builder.add_root_certificate(root.clone());
        }
        let connector = builder.build().map_err(io::Error::other)?;
        Ok(self.0.connector.get_or_init(|| connector))
    }
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").field("extra_root", &self.0.extra_root.is_some()).finish_non_exhaustive()
    }
}

fn read_certificate(path: &Path) -> Result<Certificate> {
    let pem = fs::read(path).map_err(|source| Error::File { doing: "read", path: path.to_owned(), source })?;
    Certificate::from_pem(&pem)
        .map_err(|e| Error::Tls { reason: format!("{} is not a certificate in PEM form: {e}", path.display()) })
}

/// The certificate was looked at and not trusted.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct NotTrusted(pub(crate) String);

/// Why TLS did not come about. Each system's library has words of its own for a certificate that is not trusted, and no
/// code that native-tls would hand on.
pub(crate) fn tls_error(words: &str) -> io::Error {
    let lower = words.to_lowercase();
    if lower.contains("certificate") && ["verify", "trust", "root", "expired"].iter().any(|word| lower.contains(word)) {
        // OpenSSL has the reason in parentheses, behind names of its own source files.
        let reason = words.rsplit_once('(').and_then(|(_, rest)| rest.strip_suffix(')')).unwrap_or(words);
        return io::Error::other(NotTrusted(reason.to_owned()));
    }
    io::Error::other(format!("TLS: {words}"))
}
