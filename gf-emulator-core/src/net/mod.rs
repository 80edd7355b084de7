//! Connections: TCP, through a proxy or not, TLS on top, a deadline over every read and write, and a way to interrupt
//! them.
//!
//! The only place on the machine's side that opens sockets. HTTP (`http.rs`) and the WebSocket (`websocket/`) stand on
//! it and share one TLS connector, whose making costs tens of milliseconds and megabytes.

mod certificate;
mod connect;
mod interrupt;
mod proxy;
mod stream;
mod tls;

pub(crate) use connect::{Network, connection_error, dial};
pub(crate) use interrupt::Interrupt;
pub(crate) use stream::Stream;
pub use tls::Tls;

#[cfg(test)]
mod tests;
