//! Observers of a local service: a recorder with a size limit, and a comparer shared by the service's threads.

use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use super::{Comparer, Comparison, Difference};
use crate::Result;
use crate::local_service::{LocalService, Seen};
use crate::record::Recorder;
use crate::sync::lock;

/// A recorder of a local service that stops at a size limit, since anyone who can connect adds to the recording.
///
/// It is created before the service, whose observer calls [`observe`](Self::observe), and [started](Self::start) after
/// it, when the service's URL is known.
#[derive(Debug)]
pub struct LimitedRecorder {
    /// Empty until it is started; `None` if that failed.
    recorder: OnceLock<Option<Recorder>>,
    bytes: AtomicU64,
    limit_bytes: u64,
}

impl LimitedRecorder {
    /// Creates a recorder that stops at about `limit_bytes`.
    #[must_use]
    pub fn new(limit_bytes: u64) -> Arc<Self> {
        Arc::new(Self { recorder: OnceLock::new(), bytes: AtomicU64::new(0), limit_bytes })
    }

    /// Begins the recording in `folder`. The service's threads wait for this call; if it fails, they go on without a
    /// recording.
    ///
    /// # Errors
    ///
    /// As [`Recorder::of_service`].
    pub fn start(&self, folder: &Path, service: &LocalService) -> Result<()> {
        let started = Recorder::of_service(folder, service.http_url());
        if let Ok(recorder) = &started {
            recorder.add_secrets(&service.secrets());
        }
        let (recorder, outcome) = started.map_or_else(|e| (None, Err(e)), |recorder| (Some(recorder), Ok(())));
        let _ = self.recorder.set(recorder);
        outcome
    }

    /// Records something, unless the recording is full. Returns whether it became full.
    pub fn observe(&self, seen: &Seen) -> bool {
        let Some(recorder) = self.recorder.wait() else { return false };
        let bytes = recorded_bytes(seen);
        let before = self.bytes.fetch_add(bytes, Ordering::Relaxed);
        if before < self.limit_bytes {
            recorder.observe(seen);
        }
        before < self.limit_bytes && before + bytes >= self.limit_bytes
    }
}

/// Estimates the size of an entry. Text may be twice as long as JSON.
fn recorded_bytes(seen: &Seen) -> u64 {
    let text = match seen {
        Seen::Http(request) => {
            let headers = request.headers.iter().map(|(name, value)| name.len() + value.len());
            request.path.len() + request.body.len() + headers.sum::<usize>()
        }
        Seen::WsMessage { text, .. } | Seen::WsSent(text) => text.len(),
        _ => 0,
    };
    2 * text as u64 + 300
}

/// A [`Comparer`] that a service's observer calls during a replay.
pub struct SharedComparer(Mutex<(Comparer, usize)>);

impl fmt::Debug for SharedComparer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedComparer").field("differences", &lock(&self.0).1).finish_non_exhaustive()
    }
}

impl SharedComparer {
    /// Shares a comparer.
    #[must_use]
    pub fn new(comparer: Comparer) -> Arc<Self> {
        Arc::new(Self(Mutex::new((comparer, 0))))
    }

    /// Compares what was seen. Calls `found` with each difference that is known now; their number is limited.
    pub fn observe(&self, seen: &Seen, mut found: impl FnMut(&Difference)) {
        let mut state = lock(&self.0);
        let (comparer, count) = &mut *state;
        for difference in comparer.push(seen) {
            found(difference);
            *count += 1;
        }
    }

    /// Returns the comparison, and how many of its differences [`observe`](Self::observe) has reported. Call it after the
    /// service has stopped; `empty` takes the comparer's place. If the replay was stopped before its end, what has not
    /// arrived is no difference.
    pub fn finish(&self, empty: Comparer, is_stopped: bool) -> (Comparison, usize) {
        let mut state = lock(&self.0);
        let (comparer, count) = std::mem::replace(&mut *state, (empty, 0));
        (if is_stopped { comparer.finish_stopped() } else { comparer.finish() }, count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recording_stops_at_its_limit() {
        let folder = tempfile::tempdir().unwrap();
        let service = LocalService::builder().tls(false).start().unwrap();
        let recorder = LimitedRecorder::new(100_000);
        recorder.start(folder.path(), &service).unwrap();
        let full = (0..1000).filter(|_| recorder.observe(&Seen::WsSent("x".repeat(1000)))).count();
        assert_eq!(full, 1);
        drop(recorder);
        let size = std::fs::metadata(folder.path().join("session.jsonl")).unwrap().len();
        assert!((20_000..200_000).contains(&size), "{size}");
    }

    #[test]
    fn a_recording_that_cannot_begin_blocks_nobody() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("session.jsonl"), "").unwrap();
        let service = LocalService::builder().tls(false).start().unwrap();
        let recorder = LimitedRecorder::new(100_000);
        recorder.start(folder.path(), &service).unwrap_err();
        assert!(!recorder.observe(&Seen::WsPing));
    }
}
