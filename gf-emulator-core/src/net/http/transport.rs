//! ureq's transport: connections of this crate, under the deadline of the current exchange.

use std::fmt;
use std::io::{self, Read, Write};
use std::result::Result;

use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{Buffers, ConnectionDetails, Connector, LazyBuffers, NextTimeout, Transport};

use super::limits::{CurrentExchange, Limits};
use crate::net::url::Url;
use crate::net::{CancelToken, Network, Stream, dial};
use crate::system;

/// Opens connections for ureq.
pub(super) struct Dialer {
    pub(super) network: Network,
    pub(super) cancel: CancelToken,
    pub(super) current: CurrentExchange,
    pub(super) limits: Limits,
}

impl fmt::Debug for Dialer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Dialer")
    }
}

impl Connector for Dialer {
    type Out = HttpConnection;

    fn connect(&self, details: &ConnectionDetails<'_>, _: Option<()>) -> Result<Option<HttpConnection>, ureq::Error> {
        let url = Url::parse(&details.uri.to_string()).map_err(|e| ureq::Error::Other(Box::new(e)))?;
        let deadline = {
            let mut current = self.current.lock();
            current.has_new_connection = true;
            current.deadline.min(system::now() + self.limits.connect)
        };
        let stream = dial(url.origin(), &self.network, deadline, &self.cancel)
            .map_err(|e| self.current.describe_timeout(e, "no connection within", self.limits.connect))?;
        let sizes = (details.config.input_buffer_size(), details.config.output_buffer_size());
        let buffers = LazyBuffers::new(sizes.0, sizes.1);
        Ok(Some(HttpConnection { stream, buffers, sizes, current: self.current.clone(), limits: self.limits }))
    }
}

/// A connection of ureq's. Ignores ureq's own timeouts, which are not set, and applies the current exchange's deadline.
pub(super) struct HttpConnection {
    stream: Stream,
    buffers: LazyBuffers,
    /// The sizes of the buffers for input and output.
    sizes: (usize, usize),
    current: CurrentExchange,
    limits: Limits,
}

impl fmt::Debug for HttpConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HttpConnection")
    }
}

impl HttpConnection {
    fn set_deadline(&mut self) {
        let deadline = self.current.lock().deadline.min(system::now() + self.limits.idle);
        self.stream.set_deadline(Some(deadline));
    }

    fn describe_timeout(&self, e: io::Error) -> io::Error {
        self.current.describe_timeout(e, "no data transferred for", self.limits.idle)
    }
}

impl Transport for HttpConnection {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, _: NextTimeout) -> Result<(), ureq::Error> {
        self.set_deadline();
        let written = self.stream.write_all(&self.buffers.output()[..amount]);
        written.map_err(|e| self.describe_timeout(e).into())
    }

    fn await_input(&mut self, _: NextTimeout) -> Result<bool, ureq::Error> {
        self.set_deadline();
        let amount = loop {
            match self.stream.read(self.buffers.input_append_buf()) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                other => break other.map_err(|e| self.describe_timeout(e))?,
            }
        };
        if amount > 0 {
            self.current.lock().has_response = true;
        }
        self.buffers.input_appended(amount);
        Ok(amount > 0)
    }

    fn is_open(&mut self) -> bool {
        // ureq asks before it keeps the connection for the next request, when nothing is buffered: an idle connection has no
        // buffers.
        self.buffers = LazyBuffers::new(self.sizes.0, self.sizes.1);
        self.stream.is_idle()
    }

    fn is_tls(&self) -> bool {
        self.stream.is_encrypted()
    }
}

/// Resolves nothing: [`dial`] looks names up.
#[derive(Debug)]
pub(super) struct NoResolver;

impl Resolver for NoResolver {
    fn resolve(
        &self,
        _: &http::Uri,
        _: &ureq::config::Config,
        _: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        Ok(self.empty())
    }
}
