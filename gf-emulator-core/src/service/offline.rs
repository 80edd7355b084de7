//! An [`Uplink`] with no network: jobs from `file://` URLs, uploads into a folder.
//!
//! Whoever drives the emulator through the queues in memory decides which files are named: there is no service here that
//! could not be trusted.

use std::io::{Read, Write};
use std::path::PathBuf;

use crate::net::CancelToken;
use crate::net::url::shown;
use crate::service::firmware::FirmwareOffer;
use crate::service::uplink::{Download, DownloadEnd, Uplink, Upload};
use crate::storage::AtomicFile;
use crate::{Error, Result, files};

/// A folder in place of a service.
pub(crate) struct OfflineFolder {
    path: PathBuf,
    cancel: CancelToken,
}

impl OfflineFolder {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path, cancel: CancelToken::default() }
    }

    /// One line a message, in the order in which they came.
    fn append(&self, name: &str, line: &str) -> Result<()> {
        let path = self.path.join(name);
        let failed = |source| Error::File { doing: "write", path: path.clone(), source };
        std::fs::create_dir_all(&self.path).map_err(failed)?;
        let mut file = files::append(&path)?;
        file.write_all(format!("{line}\n").as_bytes()).map_err(failed)
    }
}

impl Uplink for OfflineFolder {
    /// `<kind>_<action id>.jpg`, beside another of that name where there is one.
    fn upload(&self, upload: &Upload<'_>) -> Result<()> {
        let goal = self.path.join(format!("{}_{}.jpg", upload.kind, upload.action_id));
        AtomicFile::of(&goal, upload.picture)?.land().map(|_| ())
    }

    fn fetch(&self, url: &str) -> Result<Download> {
        let refuse = |reason| Error::Url { url: shown(url), reason };
        let path = url.strip_prefix("file://").ok_or_else(|| refuse("without a network, jobs are file:// URLs"))?;
        let path = path.strip_prefix("localhost").unwrap_or(path);
        if !path.starts_with('/') {
            return Err(refuse("a file:// URL has an absolute path: file:///..."));
        }
        let path = percent_decoded(path).ok_or_else(|| refuse("its path is not UTF-8 with percent signs"))?;
        // file:///C:/job.puls
        let is_drive = cfg!(windows) && path.as_bytes().get(2) == Some(&b':');
        let path = PathBuf::from(if is_drive { &path[1..] } else { &path });
        let file = files::open(&path)?;
        let metadata = file.metadata();
        let length = metadata.map_err(|source| Error::File { doing: "read", path: path.clone(), source })?.len();
        Ok(Download {
            from: path.display().to_string(),
            // One that grows meanwhile is taken as it was.
            reader: Box::new(file.take(length)),
            end: DownloadEnd::Length(length),
            cancel: self.cancel.clone(),
        })
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

    fn cancel_token(&self) -> &CancelToken {
        &self.cancel
    }
}

fn percent_decoded(path: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let mut digit = || rest.next().and_then(|c| char::from(c).to_digit(16));
                u8::try_from(digit()? * 16 + digit()?).ok()?
            }
            other => other,
        });
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;
    use crate::service::uplink::copy_limited;

    #[test]
    fn reads_files_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let job = folder.path().join("a job.puls");
        std::fs::write(&job, b"steps").unwrap();
        let uplink = OfflineFolder::new(folder.path().join("out"));
        let url = format!("file://{}/a%20job.puls", folder.path().display());
        let mut text = String::new();
        uplink.fetch(&url).unwrap().reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "steps");
        let here = format!("file://{}", folder.path().display());
        for url in
            ["https://host/job", "file://host/x", "file://x", "file:///%zz", "file:///%ff", "file:///dev/zero", &here]
        {
            assert!(uplink.fetch(url).is_err(), "{url}");
        }
    }

    #[test]
    #[cfg(unix)]
    fn a_pipe_is_no_job_and_nobody_waits_for_it() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let uplink = OfflineFolder::new(folder.path().join("out"));
        assert!(uplink.fetch(&format!("file://{}", pipe.display())).is_err());
    }

    #[test]
    fn a_file_that_changes_while_it_is_read_is_taken_as_it_was_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let job = folder.path().join("job.puls");
        let uplink = OfflineFolder::new(folder.path().join("out"));
        let fetched = |then: &[u8]| {
            std::fs::write(&job, b"0123456789").unwrap();
            let mut source = uplink.fetch(&format!("file://{}", job.display())).unwrap();
            std::fs::write(&job, then).unwrap();
            copy_limited(&mut source, &mut io::sink(), 100, "the job", &mut |_| Ok(()))
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
            uplink.upload(&Upload { action_id: 7, kind: "head_image", endpoint: None, picture: &picture }).unwrap();
        }
        assert_eq!(std::fs::read(folder.path().join("out/head_image_7.jpg")).unwrap(), b"a");
        assert_eq!(std::fs::read(folder.path().join("out/head_image_7-2.jpg")).unwrap(), b"b");
        uplink.post_event("{}").unwrap();
        uplink.put_status("{}").unwrap();
    }
}
