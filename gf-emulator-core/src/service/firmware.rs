//! Downloading firmware, and the file that has the result of the last check.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::json;

use super::uplink::{FirmwareOffer, Uplink};
use crate::config::Config;
use crate::storage::{AtomicFile, DownloadEnd};
use crate::system;
use crate::{Error, Result};

/// Several times the size of any firmware seen.
const MAX_BYTES: u64 = 1 << 30;
const MAX_VERSION_LENGTH: usize = 64;
/// Time limit: the machine stays offline until the download ends.
const TIMEOUT: Duration = Duration::from_secs(600);

/// Returns the file name for a version: `glowforge-fw-v<version>.fw`.
///
/// # Errors
///
/// [`Error::Answer`] if the version has other characters than letters, digits, `.`, `-`, `_` and `+`, or has `..`: it
/// comes from the service and must not lead out of the folder.
pub(crate) fn file_name(version: &str) -> Result<String> {
    let plain = version.bytes().all(|c| c.is_ascii_alphanumeric() || b".-_+".contains(&c));
    if version.is_empty() || version.len() > MAX_VERSION_LENGTH || !plain || version.contains("..") {
        let shown: String = version.chars().take(MAX_VERSION_LENGTH).collect();
        return Err(Error::Answer {
            from: "the firmware check".into(),
            what: format!("the version {shown:?}, which cannot be part of a file name; nothing is downloaded"),
        });
    }
    Ok(format!("glowforge-fw-v{version}.fw"))
}

/// Writes the result of a check to the configured `status_file`, if any: complete or not at all.
///
/// The keys are those of the newest Python client. The version is the service's word: it is cut to 64 characters.
pub(crate) fn record_latest(config: &Config, offer: &FirmwareOffer, epoch_s: u64) -> Result<()> {
    let Some(path) = &config.firmware.status_file else { return Ok(()) };
    let latest: String = offer.version.chars().take(MAX_VERSION_LENGTH).collect();
    let ours = &config.machine.firmware;
    let status = json!({"latest_gf_version": latest, "tested_against_gf": ours, "checked_at": epoch_s});
    AtomicFile::with_contents(path, format!("{status}\n").as_bytes())?.persist().map(|_| ())
}

/// Downloads the offered firmware into `folder`. A file of that version that exists already is complete, and is kept.
pub(crate) fn download(uplink: &dyn Uplink, offer: &FirmwareOffer, folder: &Path) -> Result<PathBuf> {
    let target = folder.join(file_name(&offer.version)?);
    if target.exists() {
        log::info!("firmware {} is already in {}", offer.version, target.display());
        return Ok(target);
    }
    let Some(url) = &offer.download_url else {
        return Err(Error::Answer {
            from: "the firmware check".into(),
            what: format!("version {} without a download_url", offer.version),
        });
    };
    let mut download = uplink.download(url)?;
    let from = download.from().to_owned();
    if download.end() == DownloadEnd::Unknown {
        let what = "a file without Content-Length or chunks: cannot tell whether it is complete";
        return Err(Error::Answer { from, what: what.into() });
    }
    let mut file = AtomicFile::create(&target)?;
    let until = system::now() + TIMEOUT;
    let copied = download.copy_to(&mut file, MAX_BYTES, "the firmware", &mut |bytes| {
        if system::now() < until {
            return Ok(());
        }
        let reason = format!("only {bytes} bytes in {} s", TIMEOUT.as_secs());
        Err(Error::Unreachable { host: from.clone(), reason })
    });
    copied.map_err(|e| file.name_error(e))?;
    let path = file.persist()?;
    log::info!("downloaded firmware {} to {}", offer.version, path.display());
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(status_file: Option<PathBuf>) -> Config {
        let mut config = Config::default();
        config.firmware.status_file = status_file;
        config
    }

    #[test]
    fn record_factory_latest_writes_status_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("not there yet/status.json");
        let config = config(Some(path.clone()));
        for version in ["2.7.0-1", "2.8.0-2"] {
            record_latest(&config, &FirmwareOffer::new(version), 1_790_000_000).unwrap();
            let status: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
            let expected =
                json!({"latest_gf_version": version, "tested_against_gf": "2.6.0-2228", "checked_at": 1_790_000_000});
            assert_eq!(status, expected);
        }
        assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "no temp file is left");
    }

    #[test]
    fn record_factory_latest_noop_without_status_file() {
        record_latest(&config(None), &FirmwareOffer::new("2.7.0-1"), 1).unwrap();
    }

    #[test]
    fn a_long_version_is_cut_in_a_status_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("status.json");
        record_latest(&config(Some(path.clone())), &FirmwareOffer::new("9".repeat(10_000)), 1).unwrap();
        assert!(std::fs::metadata(&path).unwrap().len() < 200);
    }

    #[test]
    fn refuses_versions_that_are_no_file_name() {
        assert_eq!(file_name("2.6.0-2228").unwrap(), "glowforge-fw-v2.6.0-2228.fw");
        for version in ["", "../../etc/cron.d/x", "1/2", "1\\2", "a b", "1..2", "nul\0", "ü", &"1".repeat(65)] {
            assert!(file_name(version).is_err(), "{version:?}");
        }
    }
}
