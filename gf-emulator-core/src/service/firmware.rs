//! Asking which firmware is current, and fetching it.
//!
//! `GET {server}/update/current` answers `{"version": "...", "download_url": "..."}`. The version is the service's word:
//! it is checked before it becomes part of a file's name.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::Deserialize;

use crate::service::uplink::{DownloadEnd, Uplink, copy_limited};
use crate::storage::AtomicFile;
use crate::{Error, Result};

/// Several times the size of any firmware seen.
const LARGEST_FIRMWARE_BYTES: u64 = 1 << 30;
const LONGEST_VERSION: usize = 64;
/// The machine is not online before it is done: a download that takes longer is given up.
const DOWNLOAD_WITHIN: Duration = Duration::from_secs(600);

/// The firmware that the service has for this machine.
#[derive(Deserialize)]
pub(crate) struct FirmwareOffer {
    /// Its version, such as `2.6.0-2228`.
    pub(crate) version: String,
    /// Where it can be fetched.
    pub(crate) download_url: Option<String>,
}

/// The name of the file that holds firmware of this version: `glowforge-fw-v<version>.fw`.
///
/// # Errors
///
/// [`Error::Answer`] where the version is anything but letters, digits, dots, dashes and underscores, or could lead out
/// of its folder.
pub(crate) fn file_name(version: &str) -> Result<String> {
    let plain = version.bytes().all(|c| c.is_ascii_alphanumeric() || b".-_+".contains(&c));
    if version.is_empty() || version.len() > LONGEST_VERSION || !plain || version.contains("..") {
        let shown: String = version.chars().take(LONGEST_VERSION).collect();
        return Err(Error::Answer {
            from: "the firmware check".into(),
            what: format!("the version {shown:?}, which cannot be part of a file name; nothing is downloaded"),
        });
    }
    Ok(format!("glowforge-fw-v{version}.fw"))
}

/// Fetches what is offered into `folder`; where a file of that version is there already it is left as it is, for files
/// here are whole or absent.
pub(crate) fn download(uplink: &dyn Uplink, offer: &FirmwareOffer, folder: &Path) -> Result<PathBuf> {
    let goal = folder.join(file_name(&offer.version)?);
    if goal.exists() {
        log::info!("firmware {} is in {} already", offer.version, goal.display());
        return Ok(goal);
    }
    let Some(url) = &offer.download_url else {
        return Err(Error::Answer {
            from: "the firmware check".into(),
            what: format!("version {} without a download_url", offer.version),
        });
    };
    let mut source = uplink.fetch(url)?;
    if source.end == DownloadEnd::Unknown {
        return Err(Error::Answer {
            from: source.from,
            what: "a file with neither a Content-Length nor chunks, of which nothing says that it is whole".into(),
        });
    }
    let mut file = AtomicFile::start(&goal)?;
    let until = Instant::now() + DOWNLOAD_WITHIN;
    let from = source.from.clone();
    copy_limited(&mut source, &mut file, LARGEST_FIRMWARE_BYTES, "the firmware", &mut |bytes| {
        if Instant::now() < until {
            return Ok(());
        }
        let reason = format!("only {bytes} bytes in {} s", DOWNLOAD_WITHIN.as_secs());
        Err(Error::Unreachable { host: from.clone(), reason })
    })?;
    let path = file.replace()?;
    log::info!("firmware {} is in {}", offer.version, path.display());
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_does_not_steer_where_the_file_lands() {
        assert_eq!(file_name("2.6.0-2228").unwrap(), "glowforge-fw-v2.6.0-2228.fw");
        for version in ["", "../../etc/cron.d/x", "1/2", "1\\2", "a b", "1..2", "nul\0", "ü", &"1".repeat(65)] {
            assert!(file_name(version).is_err(), "{version:?}");
        }
    }
}
