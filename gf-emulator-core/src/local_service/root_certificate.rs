//! Root certificates: what machines trust.

use jiff::civil::Date;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair, KeyUsagePurpose, date_time_ymd};

/// Clocks may differ: certificates are valid from this many days before.
const DAYS_BEFORE: i64 = 2;

/// A root certificate with its key.
pub(super) struct Root {
    /// The certificate, PEM.
    pub(super) pem: String,
    /// Its private key.
    pub(super) key: KeyPair,
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
pub(super) fn root_params() -> Result<CertificateParams, rcgen::Error> {
    // Clients with strict checks, such as Python 3.13, require key usages and subject and authority key identifiers.
    let mut root = CertificateParams::new(Vec::new())?;
    root.distinguished_name.push(DnType::CommonName, "gf-machine-emulator local service root");
    root.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    root.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(root)
}

/// Sets that a certificate is valid from two days before `today` until `days` after it.
pub(super) fn set_validity(params: &mut CertificateParams, today: Date, days: i64) {
    let day = |days: i64| {
        let date = today.saturating_add(jiff::Span::new().days(days));
        let small = |n: i8| u8::try_from(n).expect("months and days are positive");
        date_time_ymd(i32::from(date.year()), small(date.month()), small(date.day()))
    };
    (params.not_before, params.not_after) = (day(-DAYS_BEFORE), day(days));
}
