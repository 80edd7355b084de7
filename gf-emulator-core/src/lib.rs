//! A Glowforge machine without the hardware.

pub mod config;
mod error;
#[cfg(feature = "local-service")]
pub mod local_service;
pub mod puls;
mod secret;

pub use config::Config;
pub use error::{Error, Result};
pub use secret::Secret;
