//! [`OfflineFolder`]: an [`Uplink`] without a network. Jobs are `file://` URLs, uploads go into a folder.
//!
//! The URLs come from the program that drives the emulator, not from a service, so any file may be named.

use std::io::{Read, Write};
use std::path::PathBuf;
use std::sync::Arc;

use super::uplink::{FirmwareOffer, Uplink, Upload};
use crate::net::CancelToken;
use crate::net::url::redact_url;
use crate::storage::{AtomicFile, Download, DownloadEnd};
use crate::{Error, Result, files, percent};

/// A folder in place of a service.
pub(crate) struct OfflineFolder {
    path: PathBuf,
    cancel: CancelToken,
}

impl OfflineFolder {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path, cancel: CancelToken::default() }
    }

    /// Appends one line to a file in the folder.
    fn append(&self, name: &str, line: &str) -> Result<()> {
        let path = self.path.join(name);
        let failed = |source| Error::File { doing: "write", path: path.clone(), source };
        std::fs::create_dir_all(&self.path).map_err(failed)?;
        let mut file = files::append(&path)?;
        file.write_all(format!("{line}\n").as_bytes()).map_err(failed)
    }
}

impl Uplink for OfflineFolder {
    /// Writes `<kind>_<action id>.jpg`; a second file of that name is numbered.
    fn upload(&self, upload: &Upload<'_>) -> Result<()> {
        let target = self.path.join(format!("{}_{}.jpg", upload.kind(), upload.action_id()));
        AtomicFile::with_contents(&target, upload.picture())?.persist_new().map(|_| ())
    }

    fn download(&self, url: &str) -> Result<Download> {
        let refuse = |reason| Error::Url { url: redact_url(url), reason };
        let path = url.strip_prefix("file://").ok_or_else(|| refuse("without a network, jobs are file:// URLs"))?;
        let path = path.strip_prefix("localhost").unwrap_or(path);
        if !path.starts_with('/') {
            return Err(refuse("a file:// URL has an absolute path: file:///..."));
        }
        let path = percent::decode(path).ok_or_else(|| refuse("its path is not percent-encoded UTF-8"))?;
        // file:///C:/job.puls
        let is_drive = cfg!(windows) && path.as_bytes().get(2) == Some(&b':');
        let path = PathBuf::from(if is_drive { &path[1..] } else { &path });
        let file = files::open(&path)?;
        let metadata = file.metadata();
        let length = metadata.map_err(|source| Error::File { doing: "read", path: path.clone(), source })?.len();
        // If the file grows while it is read, only its initial length is read.
        let (from, cancel) = (path.display().to_string(), self.cancel.clone());
        let download = Download::new(from, DownloadEnd::Length(length), file.take(length));
        Ok(download.cancelled_by(move || cancel.is_cancelled()))
    }

    fn post_event(&self, body: &str) -> Result<()> {
        self.append("web-events.jsonl", body)
    }

    fn put_status(&self, body: &str) -> Result<()> {
        self.append("machine-status.jsonl", body)
    }

    fn firmware(&self) -> Result<FirmwareOffer> {
        Err(Error::Unreachable { host: "the firmware service".into(), reason: "there is no network here".into() })
    }

    fn second(&self) -> Option<Arc<dyn Uplink>> {
        Some(Arc::new(Self::new(self.path.clone())))
    }

    fn cancel(&self) {
        self.cancel.cancel();
    }

    fn reset(&self) {
        self.cancel.reset();
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::path::Path;

    use super::*;

    /// Returns the URL of a file: `file:///tmp/a`, or `file:///C:/a` on Windows.
    fn url_of(path: &Path) -> String {
        let path = path.display().to_string().replace('\\', "/");
        format!("file:///{}", path.trim_start_matches('/')).replace(' ', "%20")
    }

    #[test]
    fn reads_regular_files_only() {
        let folder = tempfile::tempdir().unwrap();
        let job = folder.path().join("a job.puls");
        std::fs::write(&job, b"steps").unwrap();
        let uplink = OfflineFolder::new(folder.path().join("out"));
        let url = url_of(&job);
        let mut text = Vec::new();
        uplink.download(&url).unwrap().copy_to(&mut text, 100, "the job", &mut |_| Ok(())).unwrap();
        assert_eq!(text, b"steps");
        let here = url_of(folder.path());
        for url in ["https://host/job", "file://host/x", "file://x", "file:///%zz", "file:///%", "file:///%ff"] {
            assert!(matches!(uplink.download(url), Err(Error::Url { .. })), "{url}");
        }
        for url in ["file:///dev/zero", &here] {
            assert!(matches!(uplink.download(url), Err(Error::File { .. })), "{url}");
        }
        uplink.cancel();
        let mut download = uplink.download(&url).unwrap();
        let cancelled = download.copy_to(&mut Vec::new(), 100, "the job", &mut |_| Ok(()));
        assert!(matches!(cancelled, Err(Error::Interrupted)), "{cancelled:?}");
    }

    #[test]
    #[cfg(unix)]
    fn refuses_a_fifo_without_blocking() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let uplink = OfflineFolder::new(folder.path().join("out"));
        assert!(uplink.download(&url_of(&pipe)).is_err());
    }

    #[test]
    fn a_file_that_changes_is_read_at_its_first_length_or_fails() {
        let folder = tempfile::tempdir().unwrap();
        let job = folder.path().join("job.puls");
        let uplink = OfflineFolder::new(folder.path().join("out"));
        let fetched = |then: &[u8]| {
            std::fs::write(&job, b"0123456789").unwrap();
            let mut download = uplink.download(&url_of(&job)).unwrap();
            std::fs::write(&job, then).unwrap();
            download.copy_to(&mut io::sink(), 100, "the job", &mut |_| Ok(()))
        };
        assert_eq!(fetched(b"0123456789 and more").unwrap(), 10);
        let error = fetched(b"0123").unwrap_err().to_string();
        assert!(error.contains("after 4 of 10 bytes"), "{error}");
    }

    #[test]
    fn keeps_every_upload() {
        let folder = tempfile::tempdir().unwrap();
        let uplink = OfflineFolder::new(folder.path().join("out"));
        for picture in ["a", "b"].map(tungstenite::Bytes::from) {
            uplink.upload(&Upload::new(7, "head_image", None, &picture)).unwrap();
        }
        assert_eq!(std::fs::read(folder.path().join("out/head_image_7.jpg")).unwrap(), b"a");
        assert_eq!(std::fs::read(folder.path().join("out/head_image_7-2.jpg")).unwrap(), b"b");
        uplink.post_event("{}").unwrap();
        uplink.put_status("{}").unwrap();
    }
}
