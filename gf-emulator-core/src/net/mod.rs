//! The network, from the machine's side: URLs, connections, and one HTTP exchange at a time.
//!
//! The only place on the machine's side that opens sockets. [`http`] and the WebSocket (`websocket/`) share one TLS
//! connector, because making one costs tens of milliseconds and megabytes.

mod cancel;
mod certificate;
mod connect;
pub(crate) mod http;
pub(crate) mod poll;
mod proxy;
pub(crate) mod retry;
mod stream;
mod tls;
pub(crate) mod url;

pub(crate) use cancel::CancelToken;
pub(crate) use connect::{Network, connection_error, dial};
pub(crate) use stream::Stream;
pub use tls::Tls;

#[cfg(test)]
mod tests;
