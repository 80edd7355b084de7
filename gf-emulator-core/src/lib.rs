//! A Glowforge laser cutter without the hardware.
//!
//! A Glowforge signs in to a cloud service, opens a WebSocket, and does what the service says. An [`Emulator`] does so, too: it
//! reports settings, sends pictures from files, homes, downloads the programs for the stepper motors ("pulse files") and keeps
//! them, and plays prints. It works with the real service and with any other that speaks its protocol. It is blocking and uses
//! threads; there is no async runtime.
//!
//! ```no_run
//! use gf_emulator_core::Emulator;
//!
//! let mut emulator = Emulator::from_file("gf-machine-emulator.cfg")?;
//! emulator.connect()?; // signs in, checks the firmware, opens the WebSocket
//! emulator.run()?; // does what the service says, until a Handle stops it
//! # Ok::<(), gf_emulator_core::Error>(())
//! ```
//!
//! [`config::SAMPLE`] is a configuration to begin with; a [`Config`] can also be built in code. Without an account and a
//! network, begin with [`Emulator::offline`].
//!
//! # Terms
//!
//! - The *service* is the cloud, or what stands in for it.
//! - An *action* is what the service tells a machine to do, such as `print`. Exactly one terminal event ends it.
//! - A *job* is a pulse file that a machine plays. The actions `hunt` (brings the lens to a known height), `motion` (moves the
//!   head) and `print` play one each. A *tick* is one byte of the file's body, uncompressed: what comes after its header.
//! - *Settings* are the machine's values, each with a code of four letters such as `LLvl`. A machine reports them all.
//! - *1.x* and *2.6* are the two generations of the firmware, which send different messages.
//! - The *Python clients* and *open-source clients* are earlier programs for these machines, whose configuration files this
//!   crate reads. A fact that is *measured on hardware* or *captured* was seen on a real machine.
//!
//! # Taking it apart
//!
//! ```text
//! cfg file ─ config ─ Emulator::new
//!                        │ connect(): authentication ─ firmware ─ WsClient
//! service ══wss══ WsClient thread ══rx══▶ Emulator::run ─ actions registry ─ runner ─ Machine
//!                        ▲                                                     │         └─ Uplink
//!                        └────────────────tx◀── events (templates) ────────────┘
//! ```
//!
//! - [`WsClient`] is the connection alone: two crossbeam queues, rx and tx, for a message loop of your own.
//! - [`Machine`] is what executes the actions: implement it for your hardware.
//! - [`service::Uplink`] is how files travel: pictures, jobs, events, firmware.
//! - [`actions::Table`] says what each action does and sends: load another from a string or a reader, or name its file in the
//!   configuration.
//! - [`EmulatorEvent`]s tell a callback or a channel what happens.
//! - [`Emulator::offline`] runs without a network; a [`Handle`] stops an emulator and presses its button.
//!
//! # Modules
//!
//! - [`config`]: the configuration, from a file or in code.
//! - [`machine`]: the machine's hardware.
//! - [`actions`]: the actions registry: tables of what a machine does and sends for each action.
//! - [`service`]: the machine's side of the cloud service, beside the WebSocket.
//! - [`websocket`]: the WebSocket client and its queues.
//! - [`puls`]: pulse files, read, measured, drawn and made. Usable without the rest.
//! - [`record`]: a session on disk.
//! - [`json_lines`]: a machine's messages as lines of text, from a reader and to a writer.
//! - [`storage`], [`files`], [`words`]: atomic files and downloads, files that a user names, and text, mostly for command-line
//!   programs.
//! - `local_service` (feature `local-service`): a local stand-in for the cloud service, for tests and demonstrations.
//! - `conform` (feature `local-service`): takes a machine through scenarios, and says which of them it passes.
//! - `replay` (feature `local-service`): plays a recording back to a machine, and compares.
//! - `fleet` (feature `fleet`): many machines in one process, for tests of services.
//! - `report` (feature `report`): a recording as an HTML page.
//! - `follow` (feature `follow`): the same page live, with the machine's controls.
//!
//! # Logging
//!
//! Everything is logged with the `log` crate; no logger is installed. `error`: something was lost or has failed. `warn`:
//! something is odd, or has failed and is retried. `info`: one line for each thing that happens. `debug`: requests, without
//! their queries.
//!
//! Use [`SafeLogger`], as the `gf-machine-emulator` binary does: it masks passwords, tokens and the queries of URLs, and passes
//! on the lines of the crates that you name. The library writes no secret into a line itself, but a service can put one into a
//! text that is logged, and other crates log presigned URLs (ureq at `debug`, tungstenite at `trace`).
//!
//! # Features
//!
//! All are off by default. `simulation` is for the project's own tests, and is not part of the API.
//!
//! - `fleet`: the module `fleet`.
//! - `local-service`: the modules `local_service`, `conform` and `replay`.
//! - `report`: recordings as HTML pages; enables `plot`.
//! - `follow`: live pages; enables `report`.
//! - `drawing`: jobs from G-code, SVG files and pictures (`puls::gcode`, `puls::svg`, `puls::Picture`).
//! - `plot`: pictures of jobs (`puls::Plot`), as SVG and PNG.
//! - `vendored`: builds OpenSSL from source, for systems without its headers.
//!
//! # Versions
//!
//! The crate follows semantic versioning. Before 1.0, a minor version may change the API. Public structs and enums that may
//! grow are `#[non_exhaustive]`. It needs Rust 1.88 or later (`rust-version` in `Cargo.toml`); raising that is a new minor
//! version. The texts of errors and log lines, and the format of reports, are not part of the API. The format of recordings
//! has a version of its own.

#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod actions;
pub mod config;
#[cfg(feature = "local-service")]
pub mod conform;
mod disk;
mod emulator;
mod error;
mod events;
pub mod files;
#[cfg(feature = "fleet")]
pub mod fleet;
#[cfg(feature = "follow")]
pub mod follow;
#[cfg(any(feature = "fleet", feature = "follow", feature = "local-service"))]
mod http_server;
pub mod json_lines;
mod listen_address;
#[cfg(feature = "local-service")]
pub mod local_service;
pub mod machine;
mod net;
mod percent;
mod problems;
pub mod puls;
pub mod record;
#[cfg(feature = "local-service")]
pub mod replay;
#[cfg(feature = "report")]
pub mod report;
mod safe_logger;
mod secret;
mod secrets;
pub mod service;
#[cfg(feature = "simulation")]
pub mod simulation;
pub mod storage;
mod sync;
mod system;
mod temp_file;
mod throttle;
pub mod websocket;
pub mod words;

pub use config::Config;
pub use emulator::{Emulator, Handle};
pub use error::{CertificateProblem, Error, ParseError, Result};
pub use events::{EmulatorEvent, Ending};
pub use listen_address::listen_address;
pub use machine::Machine;
pub use net::{Link, Tls};
pub use safe_logger::SafeLogger;
pub use secret::Secret;
pub use secrets::Secrets;
pub(crate) use throttle::Throttle;
pub use websocket::{MachineQueues, Outgoing, Peer, Tx, WsClient};

/// The README's Rust compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}
