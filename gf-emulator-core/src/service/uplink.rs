//! [`Uplink`]: what actions need of the service beside the WebSocket.

use std::fmt;
use std::sync::Arc;

use serde::Deserialize;
use tungstenite::Bytes;

use crate::Result;
use crate::net::http::OnSent;
use crate::storage::Download;

/// A picture to upload.
#[derive(Clone, Copy)]
pub struct Upload<'a> {
    action_id: i64,
    kind: &'a str,
    endpoint: Option<&'a str>,
    picture: &'a Bytes,
    on_sent: OnSent<'a>,
}

impl<'a> Upload<'a> {
    /// Creates an upload, for example to test an [`Uplink`]. The arguments are what the methods of the same names return.
    #[must_use]
    pub fn new(action_id: i64, kind: &'a str, endpoint: Option<&'a str>, picture: &'a Bytes) -> Self {
        Self { action_id, kind, endpoint, picture, on_sent: &|_| () }
    }

    pub(crate) fn reporting(self, on_sent: OnSent<'a>) -> Self {
        Self { on_sent, ..self }
    }

    pub(crate) fn on_sent(&self) -> OnSent<'a> {
        self.on_sent
    }

    /// Tells the emulator how many bytes of the picture have been sent so far. From time to time it sends this to the
    /// service, as the progress of the upload. An uplink need not call this.
    pub fn report_sent(&self, bytes: u64) {
        (self.on_sent)(bytes);
    }

    /// The id of the action that asked for the picture.
    #[must_use]
    pub fn action_id(&self) -> i64 {
        self.action_id
    }

    /// The last part of the service's own upload path, such as `lid_image`.
    #[must_use]
    pub fn kind(&self) -> &'a str {
        self.kind
    }

    /// The presigned URL to upload to. `None` means the service's own path. It is a secret: do not log its query.
    #[must_use]
    pub fn endpoint(&self) -> Option<&'a str> {
        self.endpoint
    }

    /// The picture: a JPEG.
    #[must_use]
    pub fn picture(&self) -> &'a [u8] {
        self.picture
    }

    pub(crate) fn bytes(&self) -> &'a Bytes {
        self.picture
    }
}

impl fmt::Debug for Upload<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upload")
            .field("action_id", &self.action_id)
            .field("kind", &self.kind)
            .field("bytes", &self.picture.len())
            .finish_non_exhaustive()
    }
}

/// The firmware that the service offers: the answer to `GET {server}/update/current`.
#[derive(Debug, Clone, Deserialize)]
#[non_exhaustive]
pub struct FirmwareOffer {
    /// Its version, such as `2.6.0-2228`.
    pub version: String,
    /// Where to download it.
    pub download_url: Option<String>,
}

impl FirmwareOffer {
    /// Offers a version without a file.
    #[must_use]
    pub fn new(version: impl Into<String>) -> Self {
        Self { version: version.into(), download_url: None }
    }
}

/// The service's side that actions need beside the WebSocket: pictures, jobs, events, firmware.
///
/// An [`Emulator`](crate::Emulator) that is connected uses HTTP, an offline one a folder. To bring another, implement
/// this trait and call [`Emulator::with_uplink`](crate::Emulator::with_uplink).
///
/// Calls that need the service are made one at a time, on a worker thread, or on the caller of
/// [`Emulator::connect`](crate::Emulator::connect) for the firmware check. [`cancel`](Self::cancel) and
/// [`reset`](Self::reset) are called on other threads. An error fails the action that needed the call;
/// [`Error::Interrupted`](crate::Error::Interrupted), [`JobRefused`](crate::Error::JobRefused),
/// [`TooLarge`](crate::Error::TooLarge), and [`Puls`](crate::Error::Puls) if it
/// [is a refusal](crate::puls::Error::is_refusal), cancel it.
///
/// ```
/// use gf_emulator_core::service::{FirmwareOffer, Upload, Uplink};
/// use gf_emulator_core::storage::{Download, DownloadEnd};
/// use gf_emulator_core::{Config, Emulator, Error, Result, puls};
///
/// /// Has one job, whatever the URL, and drops pictures.
/// struct OneJob(Vec<u8>);
///
/// impl Uplink for OneJob {
///     fn upload(&self, upload: &Upload<'_>) -> Result<()> {
///         println!("a picture of {} bytes for action {}", upload.picture().len(), upload.action_id());
///         Ok(())
///     }
///     fn download(&self, _url: &str) -> Result<Download> {
///         let end = DownloadEnd::Length(self.0.len() as u64);
///         Ok(Download::new("memory", end, std::io::Cursor::new(self.0.clone())))
///     }
///     fn firmware(&self) -> Result<FirmwareOffer> {
///         Ok(FirmwareOffer::new("2.6.0-2228"))
///     }
/// }
///
/// let folder = tempfile::tempdir().unwrap();
/// let mut config = Config::default();
/// config.motion.dir = folder.path().into();
/// let job = puls::Builder::new().move_to(10.0, 5.0)?.to_bytes();
/// let (emulator, peer) = Emulator::offline(config, folder.path())?;
/// let mut emulator = emulator.with_uplink(OneJob(job));
/// peer.tx.send(r#"{"id":1,"action_type":"motion","status":"ready","motion_url":"the one"}"#.into()).unwrap();
/// drop(peer.tx);
/// emulator.run()?;
/// assert!(peer.rx.iter().any(|message| message.text().contains("motion:completed")));
/// # Ok::<(), Error>(())
/// ```
pub trait Uplink: Send + Sync {
    /// Uploads a picture.
    ///
    /// # Errors
    ///
    /// If it was not accepted, for example [`Error::Status`](crate::Error::Status). The action fails, or is cancelled: see
    /// [`Uplink`].
    fn upload(&self, upload: &Upload<'_>) -> Result<()>;

    /// Opens the file at a URL that the service has sent. The URL is not trusted.
    ///
    /// # Errors
    ///
    /// If there is no such file. The action fails, or is cancelled: see [`Uplink`].
    fn download(&self, url: &str) -> Result<Download>;

    /// Posts an event: the body of `POST /api/event` on the status host (firmware 1.x). Does nothing by default.
    ///
    /// # Errors
    ///
    /// If it was not accepted, for example [`Error::Status`](crate::Error::Status). The action fails, or is cancelled: see
    /// [`Uplink`].
    fn post_event(&self, body: &str) -> Result<()> {
        let _ = body;
        Ok(())
    }

    /// Reports the machine's status: the body of `PUT /api/machines/status` (firmware 1.x). Does nothing by default.
    ///
    /// # Errors
    ///
    /// If it was not accepted, for example [`Error::Status`](crate::Error::Status). The action fails, or is cancelled: see
    /// [`Uplink`].
    fn put_status(&self, body: &str) -> Result<()> {
        let _ = body;
        Ok(())
    }

    /// Asks which firmware is current.
    ///
    /// # Errors
    ///
    /// If there is no answer. The action `update_check` fails; [`Emulator::connect`](crate::Emulator::connect) goes on.
    fn firmware(&self) -> Result<FirmwareOffer>;

    /// Returns another uplink to the same service, for the calls of an action that does not wait for the running one:
    /// `update_check` during a print. Cancelling one of the two does not affect the other, and calls of both are made at
    /// the same time. `None`, the default: such an action waits for its turn.
    fn second(&self) -> Option<Arc<dyn Uplink>> {
        None
    }

    /// Ends the calls in progress with [`Error::Interrupted`](crate::Error::Interrupted), and fails those that begin
    /// before [`reset`](Self::reset). Called from any thread. Does nothing by default: a call that blocks then delays
    /// the end of its action.
    fn cancel(&self) {}

    /// Allows calls again after [`cancel`](Self::cancel).
    fn reset(&self) {}

    /// Closes connections that are kept open between calls: no action has come for some time. Does nothing by default.
    fn close_idle(&self) {}
}
