//! [`MetricsServer`]: serves the status of a fleet to programs that collect metrics.

use std::fmt;
use std::net::{Shutdown, SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::Control;
use super::open_metrics;
use crate::http_server::connections::Connections;
use crate::http_server::request::{HttpConnection, RequestError};
use crate::http_server::response::Response;
use crate::http_server::socket::ServerSocket;
use crate::http_server::stream::{ReadLimit, ServerStream};
use crate::{Error, Result};

/// How long a request may take to arrive, and an answer to be read.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Each connection has a thread.
const MAX_CONNECTIONS: usize = 16;

/// Serves the status of a fleet at `/metrics`, as `OpenMetrics` text. It has no passwords and no serial numbers; anyone who can
/// reach the address can read it. Dropping it ends it.
pub struct MetricsServer {
    address: SocketAddr,
    connections: Arc<Connections>,
    listener: Option<JoinHandle<()>>,
}

impl MetricsServer {
    /// Binds `address`; port 0 is any free one.
    ///
    /// # Errors
    ///
    /// [`Error::Listen`] if the address is not available.
    pub fn listen(address: &str) -> Result<TcpListener> {
        TcpListener::bind(address).map_err(|source| Error::Listen { address: address.to_owned(), source })
    }

    /// Serves the status of the fleet that `control` belongs to.
    ///
    /// # Errors
    ///
    /// [`Error::Listen`] if the listener's address cannot be read; [`Error::Thread`] if a thread cannot be started.
    pub fn start(listener: TcpListener, control: Control) -> Result<Self> {
        let failed = |source| Error::Listen { address: "the given listener".into(), source };
        let address = listener.local_addr().map_err(failed)?;
        let connections = Connections::keeping_authenticated("metrics", MAX_CONNECTIONS, TIMEOUT);
        let accepting = Arc::clone(&connections);
        let listen = move || {
            accepting.accept_loop(&listener, "gf-metrics-connection", move |socket| serve(socket, &control));
        };
        let started = std::thread::Builder::new().name("gf-metrics-listener".into()).spawn(listen);
        let listener = started.map_err(|e| Error::no_thread("gf-metrics-listener", &e))?;
        Ok(Self { address, connections, listener: Some(listener) })
    }

    /// Returns the address it listens on.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// Answers one request.
fn serve(socket: &Arc<ServerSocket>, control: &Control) {
    let limit = ReadLimit::Deadline(Instant::now() + TIMEOUT);
    let mut connection = HttpConnection::new(ServerStream::plain(Arc::clone(socket), limit));
    let response = match connection.read_head() {
        Ok(head) => match (head.path.as_str(), head.method.as_str()) {
            ("/metrics", "GET") => Response::new(200)
                .with_header("Content-Type", open_metrics::CONTENT_TYPE)
                .with_body(open_metrics::text(&control.status()).into_bytes().into()),
            ("/metrics", _) => Response::text(405, "method not allowed").with_header("Allow", "GET"),
            _ => Response::text(404, "not found: the metrics are at /metrics"),
        },
        Err(RequestError::Rejected { status, reason }) => Response::text(status, reason),
        Err(RequestError::Disconnected) => return socket.shutdown(Shutdown::Both),
    };
    match connection.write(&response.with_header("Connection", "close")) {
        Ok(()) => connection.finish(),
        Err(_) => socket.shutdown(Shutdown::Both),
    }
}

impl Drop for MetricsServer {
    fn drop(&mut self) {
        self.connections.stop_accepting();
        self.connections.shutdown_sockets();
        self.connections.wake_listener(self.address);
        if self.listener.take().is_some_and(|thread| thread.join().is_err()) {
            log::error!("metrics: the listener panicked");
        }
        self.connections.join_threads();
    }
}

impl fmt::Debug for MetricsServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MetricsServer").field("address", &self.address).finish_non_exhaustive()
    }
}
