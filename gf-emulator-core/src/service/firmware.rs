//! Downloading firmware.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::uplink::{FirmwareOffer, Uplink};
use crate::storage::{AtomicFile, DownloadEnd};
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
    let until = Instant::now() + TIMEOUT;
    download.copy_to(&mut file, MAX_BYTES, "the firmware", &mut |bytes| {
        if Instant::now() < until {
            return Ok(());
        }
        let reason = format!("only {bytes} bytes in {} s", TIMEOUT.as_secs());
        Err(Error::Unreachable { host: from.clone(), reason })
    })?;
    let path = file.persist()?;
    log::info!("downloaded firmware {} to {}", offer.version, path.display());
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_versions_that_are_no_file_name() {
        assert_eq!(file_name("2.6.0-2228").unwrap(), "glowforge-fw-v2.6.0-2228.fw");
        for version in ["", "../../etc/cron.d/x", "1/2", "1\\2", "a b", "1..2", "nul\0", "ü", &"1".repeat(65)] {
            assert!(file_name(version).is_err(), "{version:?}");
        }
    }
}
