//! The machine's side of the cloud, beside the WebSocket: signing in, uploads, downloads, status, firmware.

pub(crate) mod authentication;
pub(crate) mod firmware;
pub(crate) mod offline;
pub(crate) mod session;
pub(crate) mod uplink;
