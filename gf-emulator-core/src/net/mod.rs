//! The machine's network access: URLs, connections, cancellation, HTTP requests and retry delays.
//!
//! The only layer of the machine's side that opens sockets. [`http`] and the WebSocket client share one TLS connector,
//! because creating one takes about 50 ms and 5 MiB with OpenSSL.

mod cancel;
mod certificate;
mod connect;
pub(crate) mod http;
mod link;
pub(crate) mod poll;
mod proxy;
pub(crate) mod retry;
mod socket;
mod stream;
mod tcp_socket;
mod tls;
pub(crate) mod url;
mod waker;

pub(crate) use cancel::CancelToken;
pub(crate) use connect::{Network, connection_error, dial};
pub use link::Link;
#[cfg(any(feature = "fleet", feature = "follow", feature = "local-service"))]
pub(crate) use socket::{Socket, TcpSocket};
pub(crate) use stream::Stream;
pub use tls::Tls;

#[cfg(test)]
mod tests;
