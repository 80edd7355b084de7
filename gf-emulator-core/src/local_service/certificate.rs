//! The service's TLS certificate: a root and a leaf, generated at start.
//!
//! Nothing is written to disk and no private key leaves the process.

use std::net::IpAddr;

use native_tls::{Identity, TlsAcceptor};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};

use super::LocalServiceError;

/// A certificate for the listener, and its root for the clients.
pub(super) struct Certificate {
    /// The root certificate, PEM.
    pub(super) ca_pem: String,
    /// Accepts with the leaf certificate.
    pub(super) acceptor: TlsAcceptor,
}

/// Generates a root and a leaf for `localhost`, `127.0.0.1` and `::1`, and for `listening` if that is another address.
pub(super) fn generate(listening: IpAddr) -> Result<Certificate, LocalServiceError> {
    let fail = |reason: String| LocalServiceError::Tls { reason };
    let (ca_pem, leaf_pem, key_pem) = issue(listening).map_err(|e| fail(e.to_string()))?;
    let chain = format!("{leaf_pem}{ca_pem}");
    let identity = Identity::from_pkcs8(chain.as_bytes(), key_pem.as_bytes()).map_err(|e| fail(e.to_string()))?;
    let acceptor = TlsAcceptor::new(identity).map_err(|e| fail(e.to_string()))?;
    Ok(Certificate { ca_pem, acceptor })
}

fn issue(listening: IpAddr) -> Result<(String, String, String), rcgen::Error> {
    // Clients with strict checks, such as Python 3.13, require key usages and subject and authority key identifiers;
    // some require a validity of about a year at most.
    let mut root = CertificateParams::new(Vec::new())?;
    root.distinguished_name.push(DnType::CommonName, "gf-machine-emulator local service root");
    root.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    root.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let mut names = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
    if !listening.is_loopback() && !listening.is_unspecified() {
        names.push(listening.to_string());
    }
    let mut leaf = CertificateParams::new(names)?;
    leaf.distinguished_name.push(DnType::CommonName, "localhost");
    leaf.is_ca = IsCa::ExplicitNoCa;
    leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    leaf.use_authority_key_identifier_extension = true;

    let today = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).date();
    let day = |days: i64| {
        let date = today.saturating_add(jiff::Span::new().days(days));
        let small = |n: i8| u8::try_from(n).expect("months and days are positive");
        date_time_ymd(i32::from(date.year()), small(date.month()), small(date.day()))
    };
    for params in [&mut root, &mut leaf] {
        (params.not_before, params.not_after) = (day(-2), day(365));
    }

    let issuer = CertifiedIssuer::self_signed(root, KeyPair::generate()?)?;
    let key = KeyPair::generate()?;
    let certificate = leaf.signed_by(&key, &issuer)?;
    Ok((issuer.pem(), certificate.pem(), key.serialize_pem()))
}
