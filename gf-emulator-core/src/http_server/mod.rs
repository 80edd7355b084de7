//! The HTTP server that the local service and the follow page share: connections, requests, answers. It knows no routes.

pub(crate) mod connections;
pub(crate) mod request;
pub(crate) mod wire;
