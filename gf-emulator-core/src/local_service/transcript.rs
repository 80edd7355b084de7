//! The conversation with a local service as lines of text, printed as it happens.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded, select, unbounded};
use serde_json::{Map, Value, json};

use super::routes::job_of;
use super::{LocalService, Outcome, Seen};
use crate::Secrets;
use crate::words::{count, size};

/// The most lines that wait to be printed.
const LINES_LIMIT: usize = 10_000;
/// Effectively no timeout: scripts have timeouts of their own.
const A_YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

/// A bounded queue of lines: the threads of a service add to it without blocking, and one thread prints.
///
/// ```
/// use gf_emulator_core::Secrets;
/// use gf_emulator_core::local_service::{LocalService, Transcript};
///
/// let transcript = Transcript::new(Secrets::default());
/// let observer = transcript.clone();
/// let service = LocalService::builder().tls(false).observer(move |seen| observer.add(seen)).start()?;
/// let (stop, stopped) = crossbeam_channel::bounded(1);
/// stop.send(()).unwrap(); // from a signal handler, for example
/// let outcome = transcript.print_until_done(&service, &stopped, |line| println!("{line}"), |_stopped| ());
/// assert_eq!(outcome, None);
/// # Ok::<(), gf_emulator_core::local_service::LocalServiceError>(())
/// ```
pub struct Transcript {
    secrets: Secrets,
    /// Lines are JSON objects.
    is_json: bool,
    started: Instant,
    sender: Sender<String>,
    receiver: Receiver<String>,
    dropped: AtomicUsize,
}

impl fmt::Debug for Transcript {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transcript")
            .field("is_json", &self.is_json)
            .field("dropped", &self.dropped)
            .finish_non_exhaustive()
    }
}

impl Transcript {
    /// Creates a transcript. Its lines are those of [`Seen::to_line`], without `secrets`.
    #[must_use]
    pub fn new(secrets: Secrets) -> Arc<Self> {
        Self::in_form(secrets, false)
    }

    /// As [`new`](Self::new), with lines for programs: those of [`Seen::to_json`], with `t`, the seconds since the start.
    #[must_use]
    pub fn of_json(secrets: Secrets) -> Arc<Self> {
        Self::in_form(secrets, true)
    }

    fn in_form(secrets: Secrets, is_json: bool) -> Arc<Self> {
        let (sender, receiver) = unbounded();
        let (started, dropped) = (Instant::now(), AtomicUsize::new(0));
        Arc::new(Self { secrets, is_json, started, sender, receiver, dropped })
    }

    /// Adds the line for `seen`, with the time since the start, unless it is [redundant](Seen::is_redundant). If 10,000
    /// lines wait to be printed, drops and counts it.
    pub fn add(&self, seen: &Seen) {
        if seen.is_redundant() {
            return;
        }
        if self.sender.len() >= LINES_LIMIT {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        self.report_dropped();
        let redact = |text: &str| self.secrets.redact(text);
        if self.is_json {
            return self.add_object(seen.to_json(redact));
        }
        let line = seen.to_line(redact);
        self.add_line(format!("{:>8.3} s  {line}", self.started.elapsed().as_secs_f64()));
    }

    /// Adds a line with this object and `t`, the seconds since the start. Like [`add_line`](Self::add_line), it is never
    /// dropped.
    pub fn add_object(&self, object: Value) {
        self.add_line(self.stamp(object));
    }

    /// Returns this object as a line, with `t`, the seconds since the start, in front.
    #[must_use]
    pub fn stamp(&self, object: Value) -> String {
        let t = (self.started.elapsed().as_secs_f64() * 1000.0).round() / 1000.0;
        let mut line = Map::from_iter([("t".to_owned(), json!(t))]);
        if let Value::Object(fields) = object {
            line.extend(fields);
        }
        Value::Object(line).to_string()
    }

    /// Adds a line that is never dropped; use it only for rare lines.
    pub fn add_line(&self, line: String) {
        // Cannot fail: `self` holds the receiver.
        let _ = self.sender.send(line);
    }

    fn report_dropped(&self) {
        let dropped = self.dropped.swap(0, Ordering::Relaxed);
        if dropped > 0 && self.is_json {
            self.add_object(json!({"kind": "dropped", "lines": dropped}));
        } else if dropped > 0 {
            self.add_line(format!("({dropped} lines dropped: the output is too slow)"));
        }
    }

    /// Prints lines until the script has ended, or `stop` receives a message or is disconnected. Then calls `at_end`
    /// with whether it was stopped, stops the service, and prints the remaining lines. Returns the script's outcome, or
    /// `None` if stopped. Without a script, behaviour or replay it ends at once; a behaviour ends only with
    /// [`Behaviour::once`](super::Behaviour::once).
    pub fn print_until_done(
        &self,
        service: &LocalService,
        stop: &Receiver<()>,
        mut print: impl FnMut(String),
        at_end: impl FnOnce(bool),
    ) -> Option<Outcome> {
        let (done, is_done) = bounded(1);
        thread::scope(|scope| {
            // Returns when the service stops, at the latest.
            scope.spawn(move || done.send(service.outcome(A_YEAR)));
            let (outcome, stopped) = loop {
                select! {
                    recv(self.receiver) -> line => line.into_iter().for_each(&mut print),
                    recv(is_done) -> outcome => break (outcome.ok().flatten(), false),
                    recv(stop) -> _ => break (None, true),
                }
            };
            at_end(stopped);
            service.stop();
            self.report_dropped();
            self.receiver.try_iter().for_each(&mut print);
            outcome
        })
    }
}

impl LocalService {
    /// Returns the `[SERVICE]` section of a configuration file for this service.
    ///
    /// `ca_file` is the path of a file with [`ca_pem`](Self::ca_pem), which the caller has written. With `None`, a
    /// comment takes the place of the `ca_file` key. Without TLS, `ca_file` has no effect.
    #[must_use]
    pub fn config_section(&self, ca_file: Option<&Path>) -> String {
        let (http, ws) = (self.http_url(), self.ws_url());
        let ca_file = match (self.ca_pem(), ca_file) {
            (Some(_), Some(path)) => format!("\nca_file: {}", path.display()),
            (Some(_), None) => "\n# ca_file: the root certificate; --ca-out or --ca-dir writes it".to_owned(),
            (None, _) => String::new(),
        };
        format!("[SERVICE]\nserver_url: {http}\nstatus_service_url: {ws}{ca_file}")
    }
}

/// What a service has seen, in numbers. [`Display`](fmt::Display) prints actions, messages and pictures.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Totals {
    /// Text frames sent.
    pub actions: usize,
    /// Messages received, over the WebSocket or as requests (1.x).
    pub messages: usize,
    /// Pictures that were uploaded.
    pub pictures: usize,
    /// The bytes of these pictures.
    pub picture_bytes: usize,
    /// Downloads of pulse files.
    pub jobs: usize,
}

impl Totals {
    /// Counts what was seen.
    #[must_use]
    pub fn of(seen: &[Seen]) -> Self {
        let mut totals = Self::default();
        for seen in seen {
            match seen {
                Seen::WsSent(_) => totals.actions += 1,
                Seen::WsMessage { .. } => totals.messages += 1,
                Seen::Http(request) if request.path == "/api/event" => totals.messages += 1,
                Seen::Http(request) if request.status != 200 => {}
                Seen::Http(request) if request.is_picture() => {
                    totals.pictures += 1;
                    totals.picture_bytes += request.body_len;
                }
                Seen::Http(request) if job_of(&request.path).is_some() => totals.jobs += 1,
                _ => {}
            }
        }
        totals
    }
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [actions, messages] = [count(self.actions, "action"), count(self.messages, "message")];
        let (pictures, bytes) = (count(self.pictures, "picture"), size(self.picture_bytes as u64));
        write!(f, "{actions}, {messages}, {pictures} sent ({bytes})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_count_actions_and_messages() {
        let message = Seen::WsMessage { message: serde_json::Value::Null, text: String::new() };
        let totals = Totals::of(&[Seen::WsSent(String::new()), message.clone(), message, Seen::WsPing]);
        assert_eq!(totals.to_string(), "1 action, 2 messages, 0 pictures sent (0 bytes)");
    }

    #[test]
    fn drops_and_counts_lines_of_a_full_queue() {
        let transcript = Transcript::new(Secrets::default());
        (0..LINES_LIMIT + 5).for_each(|_| transcript.add(&Seen::WsPing));
        assert_eq!(transcript.receiver.len(), LINES_LIMIT);
        transcript.report_dropped();
        assert_eq!(
            transcript.receiver.iter().take(LINES_LIMIT + 1).last().unwrap(),
            "(5 lines dropped: the output is too slow)"
        );
    }
}
