//! A Glowforge machine without the hardware.

mod actions;
mod agenda;
mod authentication;
mod backlog;
mod backoff;
mod collection;
pub mod config;
mod connection;
mod emulator;
mod error;
pub mod firmware;
mod folder;
mod http;
mod landing;
#[cfg(feature = "local-service")]
pub mod local_service;
pub mod machine;
mod net;
pub mod puls;
mod secret;
mod session;
mod settings;
mod uplink;
mod url;
mod voice;
mod wait;
mod websocket;

pub use config::Config;
pub use connection::{Outgoing, Peer};
pub use emulator::{Emulator, Handle};
pub use error::{Error, Result};
pub use machine::Machine;
pub use net::Tls;
pub use secret::Secret;
