//! Time limits of an HTTP exchange, and the deadline of the current one.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use crate::sync::lock;
use crate::system;

/// Time limits. The [module](super) documentation says what each covers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) connect: Duration,
    pub(super) idle: Duration,
    pub(super) exchange: Duration,
    pub(super) drain: Duration,
    /// The slowest transfer that is accepted: a body of `n` bytes adds `n / bytes_per_second` to the `exchange` limit.
    pub(super) bytes_per_second: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            idle: Duration::from_secs(30),
            exchange: Duration::from_secs(60),
            drain: Duration::from_secs(2),
            bytes_per_second: 8 << 10,
        }
    }
}

impl Limits {
    /// Returns the time limit for an exchange, or the rest of one, that transfers a body of `bytes`.
    pub(super) fn with_body(&self, bytes: u64) -> Duration {
        self.exchange + Duration::from_secs(bytes / u64::from(self.bytes_per_second))
    }
}

/// The state of the current exchange, shared between a client and its connections. There is one exchange at a time.
#[derive(Clone)]
pub(super) struct CurrentExchange(Arc<Mutex<ExchangeState>>);

#[derive(Clone, Copy)]
pub(super) struct ExchangeState {
    /// The deadline of the whole exchange.
    pub(super) deadline: Instant,
    /// A new connection was opened for it; if not, it uses a kept-alive one.
    pub(super) has_new_connection: bool,
    /// A part of the response has been received.
    pub(super) has_response: bool,
}

impl CurrentExchange {
    pub(super) fn new() -> Self {
        Self(Arc::new(Mutex::new(ExchangeState::with_deadline(system::now()))))
    }

    pub(super) fn begin(&self, deadline: Instant) {
        *self.lock() = ExchangeState::with_deadline(deadline);
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, ExchangeState> {
        lock(&self.0)
    }

    /// Adds to a timeout error which limit was reached: that of the whole exchange, or that of `part`.
    pub(super) fn describe_timeout(&self, e: io::Error, part: &str, limit: Duration) -> io::Error {
        if e.kind() != io::ErrorKind::TimedOut {
            return e;
        }
        let what = if system::now() >= self.lock().deadline {
            "the request timed out".into()
        } else {
            format!("{part} {} s", limit.as_secs())
        };
        io::Error::new(e.kind(), what)
    }
}

impl ExchangeState {
    fn with_deadline(deadline: Instant) -> Self {
        Self { deadline, has_new_connection: false, has_response: false }
    }
}
