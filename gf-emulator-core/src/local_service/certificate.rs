//! The service's TLS certificate: a root that machines trust, and a leaf that it issues at each start.
//!
//! The key of the leaf never leaves the process; neither does that of the root, unless it is [kept](super::kept_root).

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::Path;

use jiff::civil::Date;
use native_tls::{Identity, TlsAcceptor};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    date_time_ymd,
};

use super::LocalServiceError;
use super::kept_root;

/// For how many days certificates are valid that are not kept. Some clients require about a year at most.
const DAYS: i64 = 365;
/// Clocks may differ: certificates are valid from this many days before.
const DAYS_BEFORE: i64 = 2;

/// A root certificate with its key.
pub(super) struct Root {
    /// The certificate, PEM.
    pub(super) pem: String,
    pub(super) key: KeyPair,
}

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

impl Root {
    /// Generates a root that is valid for `days` from `today`.
    pub(super) fn generate(today: Date, days: i64) -> Result<Self, rcgen::Error> {
        let mut params = root_params()?;
        set_validity(&mut params, today, days);
        let key = KeyPair::generate()?;
        Ok(Self { pem: params.self_signed(&key)?.pem(), key })
    }
}

/// The parameters of every root. A leaf has the name of its issuer from here, so they must not change: kept roots would
/// no longer be the issuers of new leaves.
fn root_params() -> Result<CertificateParams, rcgen::Error> {
    // Clients with strict checks, such as Python 3.13, require key usages and subject and authority key identifiers.
    let mut root = CertificateParams::new(Vec::new())?;
    root.distinguished_name.push(DnType::CommonName, "gf-machine-emulator local service root");
    root.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    root.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(root)
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

fn set_validity(params: &mut CertificateParams, today: Date, days: i64) {
    let day = |days: i64| {
        let date = today.saturating_add(jiff::Span::new().days(days));
        let small = |n: i8| u8::try_from(n).expect("months and days are positive");
        date_time_ymd(i32::from(date.year()), small(date.month()), small(date.day()))
    };
    (params.not_before, params.not_after) = (day(-DAYS_BEFORE), day(days));
}

fn today() -> Date {
    jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).date()
}
