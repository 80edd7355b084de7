//! Events and bodies as they happened, before secrets are removed. They never reach the disk in this form, except for
//! long bodies in unnamed temp files.

use std::fs::File;

use sha2::Digest as _;
use tungstenite::{Bytes, Utf8Bytes};

use super::disk_calls::CountedFile;
use super::entry::{Event, Exchange};

/// An event before redaction.
pub(crate) enum Unredacted {
    Event(Event),
    /// A text frame from the service: one or more lines.
    In(String),
    /// A text frame from the machine.
    Out(Utf8Bytes),
    /// An exchange with the bodies of its request and response.
    Http(Box<Exchange>, Body, Body),
}

/// A request or response body.
#[derive(Default)]
pub(crate) enum Body {
    #[default]
    None,
    /// JSON, a picture or a job, distinguished by content.
    Bytes(Bytes),
    /// Too long for memory: an unnamed temp file and its digest.
    Spilled(CountedFile<File>, Digest),
    /// Secret as a whole (a sign-in): only the field names are recorded.
    Confidential(Bytes),
}

impl Unredacted {
    /// Returns the memory used, in bytes: by text and metadata, and by bodies.
    pub(super) fn size(&self) -> (usize, usize) {
        const EVENT_BYTES: usize = 512;
        match self {
            Self::Event(Event::State { detail, .. }) => (EVENT_BYTES + detail.as_ref().map_or(0, String::len), 0),
            Self::Event(_) => (EVENT_BYTES, 0),
            Self::In(text) => (EVENT_BYTES + text.len(), 0),
            Self::Out(text) => (EVENT_BYTES + text.len(), 0),
            Self::Http(exchange, request, response) => {
                let headers = [&exchange.request, &exchange.response].into_iter().flat_map(|part| &part.headers);
                let headers: usize = headers.map(|(name, value)| name.len() + value.as_str().map_or(0, str::len)).sum();
                (2 * EVENT_BYTES + exchange.url.len() + headers, request.len() + response.len())
            }
        }
    }

    pub(super) fn drop_bodies(&mut self) {
        if let Self::Http(_, request, response) = self {
            (*request, *response) = (Body::None, Body::None);
        }
    }
}

impl Body {
    fn len(&self) -> usize {
        match self {
            Self::Bytes(bytes) | Self::Confidential(bytes) => bytes.len(),
            Self::None | Self::Spilled(..) => 0,
        }
    }
}

/// Identifies a body. SHA-256, because a service chooses the bytes and could provoke collisions of a weaker hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Digest([u8; 32]);

impl Digest {
    pub(super) fn of(bytes: &[u8]) -> Self {
        let mut hasher = DigestHasher::default();
        hasher.update(bytes);
        hasher.finish()
    }
}

/// Computes a [`Digest`] incrementally.
#[derive(Default)]
pub(super) struct DigestHasher(sha2::Sha256);

impl DigestHasher {
    pub(super) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub(super) fn finish(self) -> Digest {
        Digest(self.0.finalize().into())
    }
}
