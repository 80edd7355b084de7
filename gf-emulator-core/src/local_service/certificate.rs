//! The service's TLS certificate: a root that machines trust, and a leaf that it issues at each start.
//!
//! The key of the leaf never leaves the process; neither does that of the root, unless it is [kept](super::kept_root).

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use jiff::civil::Date;
use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use rustls::server::NoServerSessionStorage;

use super::LocalServiceError;
use super::kept_root;
use super::root_certificate::{Root, root_params, set_validity};

/// For how many days certificates are valid that are not kept. Some clients require about a year at most.
const DAYS: i64 = 365;
/// A certificate for the listener, and its root for the clients.
pub(super) struct Certificate {
    /// The root certificate, PEM.
    pub(super) ca_pem: String,
    /// How connections are accepted, with the leaf certificate.
    pub(super) tls: Arc<ServerConfig>,
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
    let (leaf, key) = issue(&root, listening, host, today).map_err(|e| fail(e.to_string()))?;
    let root_der = CertificateDer::from_pem_slice(root.pem.as_bytes()).map_err(|e| fail(e.to_string()))?;
    let tls = accept_with(vec![leaf, root_der], key).map_err(|e| fail(e.to_string()))?;
    Ok(Certificate { ca_pem: root.pem, tls: Arc::new(tls) })
}

/// Returns how connections are accepted: with TLS 1.2 or 1.3, each with a handshake of its own.
fn accept_with(
    chain: Vec<CertificateDer<'static>>,
    key: PrivatePkcs8KeyDer<'static>,
) -> Result<ServerConfig, rustls::Error> {
    let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions()?.with_no_client_auth();
    let mut tls = builder.with_single_cert(chain, key.into())?;
    // Sessions are not resumed: nothing is kept of a connection that has ended.
    tls.session_storage = Arc::new(NoServerSessionStorage {});
    tls.send_tls13_tickets = 0;
    Ok(tls)
}

/// Returns a leaf certificate and its key.
fn issue(
    root: &Root,
    listening: IpAddr,
    host: &str,
    today: Date,
) -> Result<(CertificateDer<'static>, PrivatePkcs8KeyDer<'static>), rcgen::Error> {
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
    Ok((certificate.der().clone(), key.serialize_der().into()))
}

fn today() -> Date {
    jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).date()
}
