//! The machine's side of the cloud service, beside the WebSocket: sign-in, uploads, downloads, status, firmware.
//!
//! [`Uplink`] separates the actions from the network. The two built-in ones are not public: a signed-in HTTP session, and a
//! folder for an offline emulator. You can bring another.

pub(crate) mod authentication;
pub(crate) mod firmware;
mod offline;
mod session;
mod uplink;

pub(crate) use offline::OfflineFolder;
pub(crate) use session::Session;
pub use uplink::{FirmwareOffer, Uplink, Upload};
