//! Reads the fields of an X.509 certificate that explain why it is not trusted.
//!
//! Only for error messages: whether a certificate is trusted is the TLS library's decision alone.

use std::net::IpAddr;
use std::time::SystemTime;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use yasna::models::ObjectIdentifier;
use yasna::tags::TAG_BOOLEAN;
use yasna::{ASN1Error, ASN1ErrorKind, ASN1Result, BERReader, Tag};

use crate::error::CertificateProblem;

// Object identifiers and GeneralName tags (RFC 5280, appendix A and section 4.2.1.6).
const COMMON_NAME: &[u64] = &[2, 5, 4, 3];
const SUBJECT_ALTERNATIVE_NAME: &[u64] = &[2, 5, 29, 17];
const DNS_NAME: u64 = 2;
const IP_ADDRESS: u64 = 7;
/// The longest DNS name as text (RFC 1035, section 2.3.4: 255 bytes on the wire).
const MAX_NAME_BYTES: usize = 253;

/// The fields of a certificate that an error message needs.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ParsedCertificate {
    not_before: SystemTime,
    not_after: SystemTime,
    /// The host names and IP addresses it is valid for.
    names: Vec<String>,
    /// The issuer's common name.
    issuer: Option<String>,
}

impl ParsedCertificate {
    /// Parses a DER certificate (RFC 5280, section 4.1). Returns `None` if it is malformed.
    pub(super) fn parse(der: &[u8]) -> Option<Self> {
        yasna::parse_der(der, |reader| {
            reader.read_sequence(|certificate| {
                let parsed = certificate.next().read_sequence(|fields| {
                    fields.read_optional(|version| version.read_tagged(Tag::context(0), skip))?;
                    let _serial = fields.next().read_der()?;
                    let _algorithm = fields.next().read_der()?;
                    let issuer = common_name(fields.next())?;
                    let (not_before, not_after) =
                        fields.next().read_sequence(|times| Ok((time(times.next())?, time(times.next())?)))?;
                    let subject = common_name(fields.next())?;
                    let _key = fields.next().read_der()?;
                    let names =
                        fields.read_optional(|reader| reader.read_tagged(Tag::context(3), alternative_names))?;
                    let names = names.flatten().unwrap_or_else(|| subject.into_iter().collect());
                    Ok(Self { not_before, not_after, names, issuer })
                })?;
                let _algorithm = certificate.next().read_der()?;
                let _signature = certificate.next().read_der()?;
                Ok(parsed)
            })
        })
        .ok()
    }

    /// Returns why the TLS library did not trust this certificate for `host` at `now`. `reason` is its error message.
    pub(super) fn problem(self, host: &str, now: SystemTime, reason: &str) -> CertificateProblem {
        if now < self.not_before {
            return CertificateProblem::NotYetValid { from: self.not_before, now };
        }
        if now > self.not_after {
            return CertificateProblem::Expired { until: self.not_after, now };
        }
        if !self.names.iter().any(|name| matches_host(name, host)) {
            return CertificateProblem::OtherName { names: self.names };
        }
        problem_from_message(reason, self.issuer)
    }
}

/// Classifies a problem by the TLS library's error message alone.
pub(super) fn problem_from_message(reason: &str, issuer: Option<String>) -> CertificateProblem {
    let lower = reason.to_lowercase();
    let issuer_words = ["issuer", "self-signed", "self signed", "first certificate", "trust", "root"];
    let reason = reason.to_owned();
    if issuer_words.iter().any(|word| lower.contains(word)) {
        CertificateProblem::UnknownIssuer { issuer, reason }
    } else {
        CertificateProblem::Other { reason }
    }
}

/// Returns whether a certificate's name matches a host: they are equal, or `*` stands for the host's first label.
fn matches_host(name: &str, host: &str) -> bool {
    if let (Ok(name), Ok(host)) = (name.parse::<IpAddr>(), host.parse::<IpAddr>()) {
        return name == host;
    }
    let parent = |name: &str| name.split_once('.').map(|(_, rest)| rest.to_ascii_lowercase());
    name.eq_ignore_ascii_case(host) || (name.starts_with("*.") && parent(name) == parent(host))
}

fn skip(reader: BERReader<'_, '_>) -> ASN1Result<()> {
    reader.read_der().map(drop)
}

/// Reads the common name of a distinguished name.
fn common_name(reader: BERReader<'_, '_>) -> ASN1Result<Option<String>> {
    let mut found = None;
    reader.read_sequence_of(|part| {
        part.read_set_of(|attribute| {
            attribute.read_sequence(|pair| {
                let kind = pair.next().read_oid()?;
                let value = pair.next().read_tagged_der()?;
                if kind.components().as_slice() == COMMON_NAME {
                    found = printable(value.value());
                }
                Ok(())
            })
        })
    })?;
    Ok(found)
}

/// Reads the subject alternative names among a certificate's extensions.
fn alternative_names(reader: BERReader<'_, '_>) -> ASN1Result<Option<Vec<String>>> {
    let mut found = None;
    reader.read_sequence_of(|extension| {
        extension.read_sequence(|parts| {
            let kind: ObjectIdentifier = parts.next().read_oid()?;
            // The optional `critical` flag precedes the value.
            let mut value = parts.next().read_tagged_der()?;
            if value.tag() == TAG_BOOLEAN {
                value = parts.next().read_tagged_der()?;
            }
            if kind.components().as_slice() == SUBJECT_ALTERNATIVE_NAME {
                found = Some(general_names(value.value())?);
            }
            Ok(())
        })
    })?;
    Ok(found)
}

fn general_names(der: &[u8]) -> ASN1Result<Vec<String>> {
    let mut names = Vec::new();
    yasna::parse_der(der, |reader| {
        reader.read_sequence_of(|name| {
            let name = name.read_tagged_der()?;
            names.extend(match name.tag().tag_number {
                DNS_NAME => printable(name.value()),
                IP_ADDRESS => address(name.value()).map(|address| address.to_string()),
                _ => None,
            });
            Ok(())
        })
    })?;
    Ok(names)
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}

/// Returns a name that is safe to print. It comes from an untrusted host.
fn printable(bytes: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(bytes).ok()?;
    let is_plain = !text.is_empty() && text.len() <= MAX_NAME_BYTES && !text.contains(char::is_control);
    is_plain.then(|| text.to_owned())
}

/// Reads a `UTCTime` (two-digit year, 1950 to 2049) or a `GeneralizedTime` (four-digit year).
fn time(reader: BERReader<'_, '_>) -> ASN1Result<SystemTime> {
    let invalid = || ASN1Error::new(ASN1ErrorKind::Invalid);
    let value = reader.read_tagged_der()?;
    let text = std::str::from_utf8(value.value()).ok().and_then(|text| text.strip_suffix('Z')).ok_or_else(invalid)?;
    let century = match (text.len(), text.as_bytes().first()) {
        (12, Some(b'5'..=b'9')) => "19",
        (12, _) => "20",
        _ => "",
    };
    let text = format!("{century}{text}");
    if text.len() != 14 || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(invalid());
    }
    let time = DateTime::strptime("%Y%m%d%H%M%S", text).map_err(|_| invalid())?;
    // 9999-12-31 23:59:59 means "never expires" (RFC 5280, section 4.1.2.5) and is beyond the range of a Timestamp.
    Ok(time.to_zoned(TimeZone::UTC).map_or(Timestamp::MAX, |time| time.timestamp()).into())
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use proptest::prelude::*;

    use super::*;

    /// The second is valid from 2026-11-26 12:14:20 to 2036-11-23 12:14:20. Its subject and issuer are "Test Root", and
    /// it has no alternative names.
    const ROOTS: &str = include_str!("test-roots.pem");

    fn der() -> Vec<u8> {
        native_tls::Certificate::stack_from_pem(ROOTS.as_bytes()).unwrap()[1].to_der().unwrap()
    }

    fn at(text: &str) -> SystemTime {
        text.parse::<Timestamp>().unwrap().into()
    }

    #[test]
    fn reads_validity_names_and_issuer() {
        let certificate = ParsedCertificate::parse(&der()).unwrap();
        assert_eq!(certificate.not_before, at("2026-11-26T12:14:20Z"));
        assert_eq!(certificate.not_after, at("2036-11-23T12:14:20Z"));
        assert_eq!(certificate.names, ["Test Root"]);
        assert_eq!(certificate.issuer.as_deref(), Some("Test Root"));
    }

    #[test]
    fn checks_validity_before_names_and_names_before_issuer() {
        let problem =
            |host: &str, now| ParsedCertificate::parse(&der()).unwrap().problem(host, now, "self-signed certificate");
        let early = problem("x", UNIX_EPOCH).to_string();
        assert!(early.contains("2026-11-26 12:14:20 UTC") && early.contains("1970-01-01 00:00:00 UTC"), "{early}");
        let late = problem("x", at("2040-01-01T00:00:00Z")).to_string();
        assert!(late.contains("2036-11-23 12:14:20 UTC") && late.contains("2040-01-01 00:00:00 UTC"), "{late}");
        let now = at("2030-01-01T00:00:00Z");
        assert!(matches!(problem("x", now), CertificateProblem::OtherName { names } if names == ["Test Root"]));
        let issuer = problem("Test Root", now).to_string();
        assert!(issuer.contains("Test Root") && issuer.contains("ca_file"), "{issuer}");
        assert!(matches!(problem_from_message("key too weak", None), CertificateProblem::Other { .. }));
    }

    #[test]
    fn a_wildcard_matches_exactly_one_label() {
        for (name, host) in
            [("a.example", "A.Example"), ("*.example", "a.example"), ("::1", "0::1"), ("1.2.3.4", "1.2.3.4")]
        {
            assert!(matches_host(name, host), "{name} {host}");
        }
        for (name, host) in [
            ("a.example", "b.example"),
            ("*.example", "a.b.example"),
            ("*.example", "example"),
            ("*", "example"),
            ("1.2.3.4", "1.2.3.5"),
        ] {
            assert!(!matches_host(name, host), "{name} {host}");
        }
    }

    #[test]
    fn reads_utc_time_and_generalized_time() {
        let read = |tag: u8, text: &str| {
            let mut der = vec![tag, u8::try_from(text.len()).unwrap()];
            der.extend(text.bytes());
            yasna::parse_der(&der, time).ok()
        };
        assert_eq!(read(0x17, "700101000001Z"), Some(UNIX_EPOCH + Duration::from_secs(1)));
        assert_eq!(read(0x17, "491231235959Z"), Some(at("2049-12-31T23:59:59Z")));
        assert_eq!(read(0x18, "20500101000000Z"), Some(at("2050-01-01T00:00:00Z")));
        assert_eq!(read(0x18, "99991231235959Z"), Some(Timestamp::MAX.into()));
        for text in ["", "Z", "700101000001", "20500101000000", "205001010000Z0", "+5001010000Z", "209901320000Z"] {
            assert_eq!(read(0x17, text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_do_not_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = ParsedCertificate::parse(&bytes);
        }

        #[test]
        fn a_changed_byte_does_not_panic(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
            let mut der = der();
            let at = at.index(der.len());
            der[at] = byte;
            let _ = ParsedCertificate::parse(&der);
        }
    }
}
