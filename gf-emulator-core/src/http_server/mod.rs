//! A small HTTP/1.1 server: connections, requests and responses. It knows no routes.
//!
//! The local service and the follow page are built on it.

pub(crate) mod connections;
pub(crate) mod request;
pub(crate) mod response;
pub(crate) mod stream;
