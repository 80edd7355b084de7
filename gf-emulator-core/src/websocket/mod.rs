//! The WebSocket between the machine and the service, and the two queues in front of it: rx and tx.

mod backlog;
mod client;
mod dial;
mod handshake;
mod outbox;
mod pump;
pub(crate) mod queues;
mod stream;

pub(crate) use client::WsClient;
pub(crate) use dial::Route;
pub use queues::{Outgoing, Peer};
pub(crate) use stream::Socket;
