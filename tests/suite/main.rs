//! The emulator through its public API, against the local service over real sockets.
//!
//! No test sleeps, and every wait has a limit.

mod buttons;
mod certificates;
mod cuts;
mod cycle;
mod floods;
mod follow;
mod golden;
mod halves;
mod handles;
mod imports;
mod jobs;
mod prints;
mod proxies;
mod raw;
mod record;
mod replay;
mod report;
mod secrets;
mod sequences;
mod session;
mod tables;
mod websocket;
mod ws_client;
