//! The machine's side of the cloud service, beside the WebSocket: sign-in, uploads, downloads, status, firmware.
//!
//! [`Uplink`] is the seam: actions call it and know neither HTTP nor files. There are two implementations, a signed-in
//! HTTP session and a folder for offline use; an embedder can bring another.

pub(crate) mod authentication;
pub(crate) mod firmware;
mod offline;
mod session;
mod uplink;

pub(crate) use offline::OfflineFolder;
pub(crate) use session::Session;
pub use uplink::{FirmwareOffer, Uplink, Upload};
