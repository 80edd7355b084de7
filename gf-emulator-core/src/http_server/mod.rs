//! A small HTTP/1.1 server: connections, requests and responses. It knows no routes.
//!
//! The local service, the follow page and the metrics of a fleet are built on it.

#![cfg_attr(
    not(any(feature = "follow", feature = "local-service")),
    allow(dead_code, reason = "the metrics of a fleet need only a part")
)]

pub(crate) mod connections;
pub(crate) mod request;
pub(crate) mod response;
pub(crate) mod socket;
pub(crate) mod stream;
