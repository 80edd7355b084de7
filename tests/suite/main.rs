//! The emulator through its public API, against the local service over real sockets.
//!
//! No test sleeps, and every wait has a limit.

mod auto_traits;
mod buttons;
mod certificates;
mod conform;
mod cycle;
mod documents;
mod faults;
mod fleet;
mod floods;
mod follow;
mod golden;
mod handles;
mod har;
mod immediate;
mod imports;
mod incomplete_downloads;
mod jobs;
mod lamp;
mod local_service_behaviour;
mod local_service_network;
mod lost_connections;
mod prints;
mod proxies;
mod raw_service;
mod record;
mod replay;
mod report;
mod secrets;
mod sequences;
mod session;
mod simulation;
mod tables;
mod tls_server;
mod websocket;
mod ws_client;
