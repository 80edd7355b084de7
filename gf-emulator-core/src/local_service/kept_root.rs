//! A root certificate that is kept in a folder, so that a machine has to trust it only once.
//!
//! One file has key and certificate, so that they are created in one step and always belong together. The certificate
//! alone is in a second file, for machines; it is written again whenever it is missing or different.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use jiff::civil::Date;
use rcgen::{KeyPair, PublicKeyData};
use yasna::{ASN1Result, BERReader, Tag};

use super::LocalServiceError;
use super::root_certificate::Root;
use crate::{files, temp_file};

/// The certificate alone, for machines.
const CERTIFICATE_FILE: &str = "ca.pem";
/// The key, then the certificate.
const KEY_FILE: &str = "ca-key.pem";
/// Maximum size of the file. Written by this program, it has about 1 kB.
const LIMIT_BYTES: u64 = 64 * 1024;
/// For how many days a kept root is valid: ten years. Limits of clients of about a year are for other certificates.
const DAYS: i64 = 3650;
const CERTIFICATE_BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const CERTIFICATE_END: &str = "-----END CERTIFICATE-----";

/// Loads the root that is kept in `folder`, after creating both if necessary.
pub(super) fn load_or_create(folder: &Path, today: Date) -> Result<Root, LocalServiceError> {
    temp_file::remove_leftovers(folder);
    let key_file = folder.join(KEY_FILE);
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |e: io::Error| error(&path, &e)
    };
    if fs::symlink_metadata(&key_file).is_err_and(|e| e.kind() == io::ErrorKind::NotFound) {
        fs::create_dir_all(folder).map_err(failed(folder))?;
        let root = Root::generate(today, DAYS).map_err(|e| LocalServiceError::Tls { reason: e.to_string() })?;
        let text = format!("{}{}", root.key.serialize_pem(), root.pem);
        match write(&key_file, &text, Kind::Key) {
            // Another process was faster: its root is loaded.
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
            result => result.map_err(failed(&key_file))?,
        }
    }
    let text = files::read_text(&key_file, LIMIT_BYTES).map_err(|e| error(folder, &e))?;
    let root = parse(&text, today).map_err(|reason| error(&key_file, &reason))?;
    let certificate_file = folder.join(CERTIFICATE_FILE);
    let is_written = || fs::read_to_string(&certificate_file).is_ok_and(|pem| pem == root.pem);
    if !is_written()
        && let Err(e) = write(&certificate_file, &root.pem, Kind::Certificate)
        // Windows refuses to replace a file that another process is replacing.
        && !is_written()
    {
        return Err(error(&certificate_file, &e));
    }
    Ok(root)
}

fn error(path: &Path, reason: &dyn std::fmt::Display) -> LocalServiceError {
    LocalServiceError::KeptRoot { path: path.to_owned(), reason: reason.to_string() }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Key,
    Certificate,
}

/// Writes a file completely or not at all. A key is readable by its owner alone, and never replaces a file.
fn write(path: &Path, text: &str, kind: Kind) -> io::Result<()> {
    let folder = path.parent().filter(|folder| *folder != Path::new("")).map_or(PathBuf::from("."), Path::to_owned);
    let mut file = temp_file::create(&folder, if kind == Kind::Key { 0o600 } else { 0o644 })?;
    file.write_all(text.as_bytes())?;
    file.as_file().sync_all()?;
    match kind {
        Kind::Key => file.persist_noclobber(path),
        Kind::Certificate => file.persist(path),
    }?;
    // The name is part of the folder. Not every system can do this.
    if let Ok(folder) = fs::File::open(&folder) {
        let _ = folder.sync_all();
    }
    Ok(())
}

/// Reads key and certificate, and checks that they belong together and are valid.
fn parse(text: &str, today: Date) -> Result<Root, String> {
    const DELETE: &str = "delete both files in the folder to create new ones, which machines must then trust";
    let damaged = |what: &str| format!("{what}; {DELETE}");
    let start = text.find(CERTIFICATE_BEGIN).ok_or_else(|| damaged("it has no certificate"))?;
    let (key, pem) = text.split_at(start);
    let key = KeyPair::from_pem(key).map_err(|_| damaged("its private key is damaged"))?;
    let der = decode(pem).ok_or_else(|| damaged("its certificate is damaged"))?;
    let (expires, public_key) = fields(&der).ok_or_else(|| damaged("its certificate is damaged"))?;
    if public_key != key.subject_public_key_info() {
        return Err(damaged("its certificate is not of its private key"));
    }
    if today > expires {
        return Err(damaged(&format!("its certificate expired on {expires}")));
    }
    Ok(Root { pem: pem.to_owned(), key })
}

/// Decodes a single PEM certificate.
fn decode(pem: &str) -> Option<Vec<u8>> {
    use base64::Engine;
    let base64 = pem.trim_end().strip_prefix(CERTIFICATE_BEGIN)?.strip_suffix(CERTIFICATE_END)?;
    let base64: String = base64.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    base64::engine::general_purpose::STANDARD.decode(base64).ok()
}

/// Returns the last day on which a DER certificate is valid, and its public key (RFC 5280, section 4.1).
fn fields(der: &[u8]) -> Option<(Date, Vec<u8>)> {
    yasna::parse_der(der, |reader| {
        reader.read_sequence(|certificate| {
            let found = certificate.next().read_sequence(|fields| {
                fields.read_optional(|version| version.read_tagged(Tag::context(0), skip))?;
                let [_serial, _algorithm, _issuer] =
                    [fields.next().read_der()?, fields.next().read_der()?, fields.next().read_der()?];
                let not_after = fields.next().read_sequence(|times| {
                    let _not_before = times.next().read_der()?;
                    times.next().read_der()
                })?;
                let _subject = fields.next().read_der()?;
                let public_key = fields.next().read_der()?;
                let _extensions = fields.read_optional(skip)?;
                Ok((not_after, public_key))
            })?;
            let [_algorithm, _signature] = [certificate.next().read_der()?, certificate.next().read_der()?];
            Ok(found)
        })
    })
    .ok()
    .and_then(|(not_after, public_key)| Some((date(&not_after)?, public_key)))
}

fn skip(reader: BERReader<'_, '_>) -> ASN1Result<()> {
    reader.read_der().map(drop)
}

/// Parses a `UTCTime` or `GeneralizedTime` (RFC 5280, section 4.1.2.5).
fn date(der: &[u8]) -> Option<Date> {
    let [tag, _length, text @ ..] = der else { return None };
    let text = std::str::from_utf8(text).ok()?;
    let format = match tag {
        0x17 => "%y%m%d",
        0x18 => "%Y%m%d",
        _ => return None,
    };
    let digits = text.len().checked_sub("HHMMSSZ".len())?;
    Date::strptime(format, text.get(..digits)?).ok()
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    const TODAY: Date = date(2026, 8, 17);

    fn load(folder: &Path, today: Date) -> Result<String, String> {
        load_or_create(folder, today).map(|root| root.pem).map_err(|e| e.to_string())
    }

    #[test]
    fn creates_a_root_once_and_loads_it_for_ten_years() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("a/b");
        let pem = load(&folder, TODAY).unwrap();
        assert_eq!(fs::read_to_string(folder.join("ca.pem")).unwrap(), pem);
        assert!(!pem.contains("PRIVATE"));
        fs::remove_file(folder.join("ca.pem")).unwrap();
        fs::write(folder.join(".arriving-killed.part"), "half a key").unwrap();
        let last_day = TODAY.saturating_add(jiff::Span::new().days(DAYS));
        assert_eq!(load(&folder, last_day).unwrap(), pem);
        assert_eq!(fs::read_to_string(folder.join("ca.pem")).unwrap(), pem);
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 2, "no temp file is left");
        let error = load(&folder, last_day.tomorrow().unwrap()).unwrap_err();
        assert!(error.contains("expired on 2036-08-14") && error.contains("ca-key.pem"), "{error}");
    }

    #[test]
    #[cfg(unix)]
    fn the_key_is_readable_by_its_owner_alone() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        load(folder.path(), TODAY).unwrap();
        let mode = |name: &str| fs::metadata(folder.path().join(name)).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode("ca-key.pem"), 0o600);
        // As the umask allows.
        assert_eq!(mode("ca.pem") & 0o444, 0o444 & mode("ca.pem"));
    }

    #[test]
    fn says_what_is_wrong_with_damaged_files_and_leaves_them() {
        let folder = tempfile::tempdir().unwrap();
        let other = tempfile::tempdir().unwrap();
        load(folder.path(), TODAY).unwrap();
        load(other.path(), TODAY).unwrap();
        let path = folder.path().join(KEY_FILE);
        let good = fs::read_to_string(&path).unwrap();
        let at = good.find(CERTIFICATE_BEGIN).unwrap();
        let secret = good.lines().nth(1).unwrap();
        let others = fs::read_to_string(other.path().join(CERTIFICATE_FILE)).unwrap();
        for (text, words) in [
            (String::new(), "it has no certificate"),
            (good[..at].to_owned(), "it has no certificate"),
            (good[at..].to_owned(), "its private key is damaged"),
            (good.replacen(secret, &format!("A{secret}"), 1), "its private key is damaged"),
            (good[..good.len() - 60].to_owned(), "its certificate is damaged"),
            (format!("{}{others}", &good[..at]), "its certificate is not of its private key"),
        ] {
            fs::write(&path, &text).unwrap();
            let error = load(folder.path(), TODAY).unwrap_err();
            assert!(error.contains(words) && error.contains("ca-key.pem"), "{words}: {error}");
            assert!(!error.contains(secret), "{error}");
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert!(load(folder.path(), TODAY).unwrap_err().contains("ca-key.pem"));
    }

    #[test]
    fn two_processes_get_the_same_root() {
        let folder = tempfile::tempdir().unwrap();
        let load = || load(folder.path(), TODAY).unwrap();
        let roots =
            std::thread::scope(|scope| [(); 8].map(|()| scope.spawn(load)).map(|thread| thread.join().unwrap()));
        assert!(roots.iter().all(|root| *root == roots[0]));
    }
}
