//! A Glowforge machine without the hardware.
//!
//! A Glowforge laser cutter does nothing by itself: it signs in to a cloud service, opens a WebSocket, and does what it
//! is told. An [`Emulator`] does the same: it reports settings, takes (canned) pictures, homes, downloads the stepper
//! files that the service sends ("pulse files") and keeps them, and prints, against the real service or any other that
//! speaks its protocol. It blocks and has threads; there is no async runtime.
//!
//! ```no_run
//! use gf_emulator_core::Emulator;
//!
//! let mut emulator = Emulator::from_file("gf-machine-emulator.cfg")?;
//! emulator.connect()?; // signs in, checks the firmware, opens the WebSocket
//! emulator.run()?; // does what the service says, until a handle stops it
//! # Ok::<(), gf_emulator_core::Error>(())
//! ```
//!
//! A [`Config`] can be made without a file, a [`Handle`] stops a running emulator and presses its button,
//! [`Emulator::offline`] runs one with no network at all, and hardware of your own stands behind the same protocol as a
//! [`Machine`].
//!
//! ```text
//! cfg file ─ config ─ Emulator::new
//!                        │ connect(): authentication ─ firmware ─ WsClient
//! service ══wss══ WsClient thread ══rx══▶ Emulator::run ─ actions registry ─ runner ─ Machine
//!                        ▲                                                     │
//!                        └────────────────tx◀── events (templates) ────────────┘
//! ```
//!
//! # The rooms that are open to you
//!
//! - [`config`]: the configuration, from a file or in code.
//! - [`json_lines`]: an offline machine over a reader and a writer.
//! - [`machine`]: what stands behind the protocol; implement [`Machine`] for hardware of your own.
//! - [`puls`]: pulse files, read, measured, drawn and made; usable without the rest.
//! - [`record`]: what a machine and its service say, on the disk.
//! - `local_service` (feature `local-service`): the cloud's side on your own machine, for tests and demonstrations.
//! - `replay` (the same feature): a recorded session given again, and what a machine makes of it compared.
//! - `report` (feature `report`): a recording as a page to read.
//! - `follow` (feature `follow`): the same page live, with the machine's controls on it.
//!
//! # What is logged
//!
//! Everything goes through the `log` crate, and nothing is set up here. `error`: something was lost or has failed for
//! good. `warn`: something is odd or failed and is tried again. `info`: what happens, an event a line. `debug`: requests,
//! without their queries. Passwords, tokens and the queries of presigned URLs are in none of it. The crates below this
//! one log for themselves, presigned URLs included (ureq at `debug`, tungstenite at `trace`): wrap your logger in a
//! [`SafeLogger`], as the `gf-machine-emulator` binary does, or keep the targets `ureq`, `ureq_proto` and `tungstenite`
//! off.
//!
//! # Features
//!
//! - `local-service`: the module of that name.
//! - `follow`: a session as a page while it goes on (`follow::Follower`); brings `report` and `local-service`.
//! - `plot`: pictures of jobs (`puls::Plot`), as SVG and PNG.
//! - `report`: recordings as a page to read (`report::Report`); brings `plot`.
//! - `vendored`: builds OpenSSL from source, where the system's headers are not at hand.

mod actions;
pub mod config;
mod emulator;
mod error;
pub mod files;
#[cfg(feature = "follow")]
pub mod follow;
#[cfg(feature = "local-service")]
mod http_server;
pub mod json_lines;
mod listen_address;
#[cfg(feature = "local-service")]
pub mod local_service;
pub mod machine;
mod net;
pub mod puls;
pub mod record;
#[cfg(feature = "local-service")]
pub mod replay;
#[cfg(feature = "report")]
pub mod report;
mod safe_logger;
mod secret;
mod secrets;
mod service;
pub mod storage;
#[cfg(feature = "local-service")]
mod sync;
mod throttle;
mod websocket;
pub mod words;

pub use config::Config;
pub use emulator::{Emulator, Handle};
pub use error::{CertificateProblem, Error, Result};
pub use listen_address::listen_address;
pub use machine::Machine;
pub use net::Tls;
pub use safe_logger::SafeLogger;
pub use secret::Secret;
pub use secrets::Secrets;
pub use throttle::Throttle;
pub use websocket::{Outgoing, Peer};

/// The README's Rust compiles.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
mod readme {}
