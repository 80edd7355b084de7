//! What a host's certificate says of itself, for an error that says why it is not trusted.
//!
//! Decides nothing: whether a certificate is trusted is the TLS library's decision, and stays it whatever is read here.

use std::net::IpAddr;
use std::time::SystemTime;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use yasna::models::ObjectIdentifier;
use yasna::tags::TAG_BOOLEAN;
use yasna::{ASN1Error, ASN1ErrorKind, ASN1Result, BERReader, Tag};

use crate::error::CertificateProblem;

const COMMON_NAME: &[u64] = &[2, 5, 4, 3];
const SUBJECT_ALTERNATIVE_NAME: &[u64] = &[2, 5, 29, 17];
const DNS_NAME: u64 = 2;
const IP_ADDRESS: u64 = 7;
const LONGEST_NAME: usize = 253;

/// What is read of a certificate.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Certificate {
    not_before: SystemTime,
    not_after: SystemTime,
    /// The hosts and addresses that it is for.
    names: Vec<String>,
    issuer: Option<String>,
}

impl Certificate {
    /// Reads a certificate in DER form (RFC 5280, section 4.1); none where it is not one.
    pub(super) fn parse(der: &[u8]) -> Option<Self> {
        yasna::parse_der(der, |reader| {
            reader.read_sequence(|certificate| {
                let read = certificate.next().read_sequence(|fields| {
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
                Ok(read)
            })
        })
        .ok()
    }

    /// What keeps this certificate from being trusted for `host` at `now`, where the TLS library has given `reason`.
    pub(super) fn problem(self, host: &str, now: SystemTime, reason: &str) -> CertificateProblem {
        if now < self.not_before {
            return CertificateProblem::NotYetValid { from: self.not_before, now };
        }
        if now > self.not_after {
            return CertificateProblem::Expired { until: self.not_after, now };
        }
        if !self.names.iter().any(|name| is_for(name, host)) {
            return CertificateProblem::OtherName { names: self.names };
        }
        unexplained(reason, self.issuer)
    }
}

/// What can be said without a look at the certificate.
pub(super) fn unexplained(reason: &str, issuer: Option<String>) -> CertificateProblem {
    let lower = reason.to_lowercase();
    let is_the_issuer = ["issuer", "self-signed", "self signed", "first certificate", "trust", "root"];
    let reason = reason.to_owned();
    if is_the_issuer.iter().any(|words| lower.contains(words)) {
        CertificateProblem::UnknownIssuer { issuer, reason }
    } else {
        CertificateProblem::Other { reason }
    }
}

/// Whether a name of a certificate is that of a host: the same, or with `*` for the host's first part.
fn is_for(name: &str, host: &str) -> bool {
    if let (Ok(name), Ok(host)) = (name.parse::<IpAddr>(), host.parse::<IpAddr>()) {
        return name == host;
    }
    let below = |name: &str| name.split_once('.').map(|(_, rest)| rest.to_ascii_lowercase());
    name.eq_ignore_ascii_case(host) || (name.starts_with("*.") && below(name) == below(host))
}

fn skip(reader: BERReader<'_, '_>) -> ASN1Result<()> {
    reader.read_der().map(drop)
}

/// The common name of a distinguished name, where it has one.
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

/// The names among a certificate's extensions, where there are any of hosts.
fn alternative_names(reader: BERReader<'_, '_>) -> ASN1Result<Option<Vec<String>>> {
    let mut found = None;
    reader.read_sequence_of(|extension| {
        extension.read_sequence(|parts| {
            let kind: ObjectIdentifier = parts.next().read_oid()?;
            // Whether it is critical stands before the value, where it is.
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

/// A name as it may be shown: whoever answers has chosen it.
fn printable(bytes: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(bytes).ok()?;
    let is_plain = !text.is_empty() && text.len() <= LONGEST_NAME && !text.contains(char::is_control);
    is_plain.then(|| text.to_owned())
}

/// `UTCTime` (two digits of the year, 1950 to 2049) or `GeneralizedTime` (four).
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
    // 9999-12-31 23:59:59 stands for "never", and is later than a Timestamp can be.
    Ok(time.to_zoned(TimeZone::UTC).map_or(Timestamp::MAX, |time| time.timestamp()).into())
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use proptest::prelude::*;

    use super::*;

    /// The second is of 2026-11-26 12:14:20 to 2036-11-23 12:14:20, by and for "Test Root"; no other name.
    const ROOTS: &str = include_str!("test-roots.pem");

    fn der() -> Vec<u8> {
        native_tls::Certificate::stack_from_pem(ROOTS.as_bytes()).unwrap()[1].to_der().unwrap()
    }

    fn at(text: &str) -> SystemTime {
        text.parse::<Timestamp>().unwrap().into()
    }

    #[test]
    fn reads_what_a_certificate_says() {
        let read = Certificate::parse(&der()).unwrap();
        assert_eq!(read.not_before, at("2026-11-26T12:14:20Z"));
        assert_eq!(read.not_after, at("2036-11-23T12:14:20Z"));
        assert_eq!(read.names, ["Test Root"]);
        assert_eq!(read.issuer.as_deref(), Some("Test Root"));
    }

    #[test]
    fn the_clock_comes_before_the_name_and_the_name_before_the_issuer() {
        let problem =
            |host: &str, now| Certificate::parse(&der()).unwrap().problem(host, now, "self-signed certificate");
        let early = problem("x", UNIX_EPOCH).to_string();
        assert!(early.contains("2026-11-26 12:14:20 UTC") && early.contains("1970-01-01 00:00:00 UTC"), "{early}");
        let late = problem("x", at("2040-01-01T00:00:00Z")).to_string();
        assert!(late.contains("2036-11-23 12:14:20 UTC") && late.contains("2040-01-01 00:00:00 UTC"), "{late}");
        let now = at("2030-01-01T00:00:00Z");
        assert!(matches!(problem("x", now), CertificateProblem::OtherName { names } if names == ["Test Root"]));
        let issuer = problem("Test Root", now).to_string();
        assert!(issuer.contains("Test Root") && issuer.contains("ca_file"), "{issuer}");
        assert!(matches!(unexplained("key too weak", None), CertificateProblem::Other { .. }));
    }

    #[test]
    fn a_star_stands_for_the_first_part() {
        for (name, host) in
            [("a.example", "A.Example"), ("*.example", "a.example"), ("::1", "0::1"), ("1.2.3.4", "1.2.3.4")]
        {
            assert!(is_for(name, host), "{name} {host}");
        }
        for (name, host) in [
            ("a.example", "b.example"),
            ("*.example", "a.b.example"),
            ("*.example", "example"),
            ("*", "example"),
            ("1.2.3.4", "1.2.3.5"),
        ] {
            assert!(!is_for(name, host), "{name} {host}");
        }
    }

    #[test]
    fn times_are_of_two_kinds() {
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
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = Certificate::parse(&bytes);
        }

        #[test]
        fn no_change_of_a_certificate_makes_it_panic(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
            let mut der = der();
            let at = at.index(der.len());
            der[at] = byte;
            let _ = Certificate::parse(&der);
        }
    }
}
