//! The service's TLS certificate: a root that machines trust, and a leaf that it issues at each start.
//!
//! The key of the leaf never leaves the process; neither does that of the root, unless it is [kept](super::kept_root).

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::Path;

use jiff::civil::Date;
use native_tls::{Identity, TlsAcceptor};
use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose};

use super::LocalServiceError;
use super::kept_root;
use super::root_certificate::{Root, root_params, set_validity};

/// For how many days certificates are valid that are not kept. Some clients require about a year at most.
const DAYS: i64 = 365;
/// A certificate for the listener, and its root for the clients.
pub(super) struct Certificate {
    /// The root certificate, PEM.
    pub(super) ca_pem: String,
    /// Accepts with the leaf certificate.
    pub(super) acceptor: TlsAcceptor,
}

/// Generates a leaf for `localhost`, `127.0.0.1` and `::1`, for `listening` and for `host`. Its root is the one kept in
/// `ca_dir`, or else a new one.
pub(super) fn generate(listening: IpAddr, host: &str, ca_dir: Option<&Path>) -> Result<Certificate, LocalServiceError> {
    let fail = |reason: String| LocalServiceError::Tls { reason };
    let today = today();
    let root = match ca_dir {
        Some(folder) => kept_root::load_or_create(folder, today)?,
        None => Root::generate(today, DAYS).map_err(|e| fail(e.to_string()))?,
    };
    let (leaf_pem, key_pem) = issue(&root, listening, host, today).map_err(|e| fail(e.to_string()))?;
    let chain = format!("{leaf_pem}{}", root.pem);
    let identity = Identity::from_pkcs8(chain.as_bytes(), key_pem.as_bytes()).map_err(|e| fail(e.to_string()))?;
    let acceptor = TlsAcceptor::new(identity).map_err(|e| fail(e.to_string()))?;
    Ok(Certificate { ca_pem: root.pem, acceptor })
}

/// Returns a leaf certificate and its key, PEM.
fn issue(root: &Root, listening: IpAddr, host: &str, today: Date) -> Result<(String, String), rcgen::Error> {
    let mut names = BTreeSet::from(["localhost", "127.0.0.1", "::1", host].map(str::to_owned));
    if !listening.is_unspecified() {
        names.insert(listening.to_string());
    }
    let mut leaf = CertificateParams::new(names.into_iter().collect::<Vec<_>>())?;
    leaf.distinguished_name.push(DnType::CommonName, "localhost");
    leaf.is_ca = IsCa::ExplicitNoCa;
    leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    leaf.use_authority_key_identifier_extension = true;
    set_validity(&mut leaf, today, DAYS);
    let params = root_params()?;
    let key = KeyPair::generate()?;
    let certificate = leaf.signed_by(&key, &Issuer::from_params(&params, &root.key))?;
    Ok((certificate.pem(), key.serialize_pem()))
}

fn today() -> Date {
    jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).date()
}
