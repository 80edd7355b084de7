//! The WebSocket between the machine and the service, and the two queues in front of it: rx and tx.
//!
//! # Memory
//!
//! Whatever the service sends or leaves unread, a connection holds less than 32 MiB: one message of 1 MiB that is being
//! received (twice that while it grows from fragments), 16 that the machine has not read, one that waits for room,
//! 8 MiB in the outbox (tx is drained into it at once), one message that is being written, and 64 KiB of pongs.

// | file | what it owns |
// |---|---|
// | `queues` | `MachineQueues` and `Peer`: rx and tx from both sides |
// | `client` | `WsClient`: starts and stops the thread |
// | `driver` | the thread: moves bytes between socket and queues, and sleeps |
// | `state` | every decision, as a pure state machine: what to write, when to ping, give up, reconnect and end |
// | `outbox` | queued messages and those in flight; pure |
// | `dial`, `handshake` | opening a connection |
// | `stream` | the stream below tungstenite: limits, and reading after a failed write |

mod client;
mod dial;
mod driver;
mod handshake;
mod outbox;
pub(crate) mod queues;
mod state;
mod stream;

pub use client::WsClient;
pub use queues::{MachineQueues, Outgoing, Peer, Tx};
