//! The service's side of TLS connections, for tests that need certificates or endings that the local service has not.

use std::net::TcpStream;
use std::sync::Arc;

use rcgen::KeyPair;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// Accepts TLS connections with one certificate. Clones share it.
#[derive(Clone)]
pub(crate) struct Acceptor(Arc<ServerConfig>);

impl Acceptor {
    pub(crate) fn new(certificate: &CertificateDer<'static>, key: &KeyPair) -> Self {
        let key = PrivatePkcs8KeyDer::from(key.serialize_der());
        let builder = ServerConfig::builder().with_no_client_auth();
        Self(Arc::new(builder.with_single_cert(vec![certificate.clone()], key.into()).unwrap()))
    }

    /// Takes over a connection. The first read carries out the handshake, and fails if that does.
    pub(crate) fn accept(&self, tcp: TcpStream) -> StreamOwned<ServerConnection, TcpStream> {
        StreamOwned::new(ServerConnection::new(Arc::clone(&self.0)).unwrap(), tcp)
    }
}
