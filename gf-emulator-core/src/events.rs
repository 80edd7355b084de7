//! [`EmulatorEvent`]: what an emulator does, as typed events for a callback or a channel.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crossbeam_channel::{Receiver, bounded};

use crate::machine::Job;
use crate::sync::lock;

/// Events that a channel holds for a reader that is busy.
const CHANNEL_CAPACITY: usize = 1024;

/// How an action ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ending {
    /// It completed.
    Completed,
    /// It was cancelled, or refused before anything moved.
    Cancelled,
    /// It failed.
    Failed,
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Completed => "completed",
            Self::Cancelled => "cancelled",
            Self::Failed => "failed",
        })
    }
}

/// Something that an emulator did or noticed. No field has a password, a token or the query of a URL.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum EmulatorEvent {
    /// The WebSocket was opened.
    #[non_exhaustive]
    Connected {
        /// The configured `status_service_url`.
        url: String,
    },
    /// Before the first connection, a sign-in or the opening of the WebSocket failed, and is tried again. The last failure,
    /// after `retry_for_s`, is the error of [`connect`](crate::Emulator::connect) instead.
    #[non_exhaustive]
    ConnectFailed {
        /// Why.
        reason: String,
        /// The pause before the next attempt.
        retry_in: Duration,
    },
    /// The WebSocket was closed, by either side, or lost. Unless the emulator was stopped, it reconnects.
    #[non_exhaustive]
    Disconnected {
        /// Why.
        reason: String,
        /// Whether the emulator was stopped.
        is_stopped: bool,
    },
    /// An action was queued. Exactly one [`ActionEnded`](Self::ActionEnded) follows.
    #[non_exhaustive]
    ActionAccepted {
        /// The action's id.
        action_id: i64,
        /// Its type, such as `print`.
        action: String,
    },
    /// An action was ignored: the machine does nothing, and sends no event about it.
    #[non_exhaustive]
    ActionIgnored {
        /// The action's id.
        action_id: i64,
        /// Its type as the service sent it, shortened.
        action: String,
        /// Why it was ignored.
        reason: &'static str,
    },
    /// An action ended, and its terminal event was queued. The [`MessageSent`](Self::MessageSent) of its messages may come
    /// later: another thread sends them.
    #[non_exhaustive]
    ActionEnded {
        /// The action's id.
        action_id: i64,
        /// Its type.
        action: String,
        /// How it ended.
        ending: Ending,
        /// Why it was cancelled or failed.
        reason: Option<String>,
    },
    /// A message was handed to the operating system.
    #[non_exhaustive]
    MessageSent {
        /// Its kind and action, such as `event print:completed (action 7)`.
        label: String,
    },
    /// An HTTP request was answered or failed.
    #[non_exhaustive]
    RequestMade {
        /// The HTTP method.
        method: &'static str,
        /// The URL without its query.
        url: String,
        /// The status of the answer.
        status: Option<u16>,
        /// Why there was no answer.
        error: Option<String>,
        /// How long it took until the head of the answer had arrived, or until it failed. Bodies of answers are read later.
        duration: Duration,
    },
    /// A picture was uploaded.
    #[non_exhaustive]
    PictureSent {
        /// The action that asked for it.
        action_id: i64,
        /// The type of that action.
        action: String,
        /// The size of the JPEG.
        bytes: usize,
    },
    /// A pulse file was downloaded, also one that the machine refused. Follows the [`ActionEnded`](Self::ActionEnded) of
    /// its action.
    ///
    /// With `config.motion.keep` off, the file is deleted when all callbacks have returned: a reader of a channel may
    /// come too late.
    JobCollected(Box<Job>),
    /// The channel was full, and this many events were dropped.
    #[non_exhaustive]
    Missed {
        /// The number of events.
        count: u64,
    },
}

/// One line for people.
impl fmt::Display for EmulatorEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connected { url } => write!(f, "connected to {url}"),
            Self::ConnectFailed { reason, retry_in } => {
                write!(f, "{reason}; trying again in {:.1} s", retry_in.as_secs_f64())
            }
            Self::Disconnected { reason, .. } => write!(f, "disconnected: {reason}"),
            Self::ActionAccepted { action_id, action } => write!(f, "{action} {action_id} accepted"),
            Self::ActionIgnored { action_id, action, reason } => write!(f, "{action} {action_id} ignored: {reason}"),
            Self::ActionEnded { action_id, action, ending, reason } => {
                write!(f, "{action} {action_id} {ending}")?;
                reason.as_ref().map_or(Ok(()), |reason| write!(f, ": {reason}"))
            }
            Self::MessageSent { label } => write!(f, "sent {label}"),
            Self::RequestMade { method, url, status: Some(status), .. } => write!(f, "{method} {url} -> {status}"),
            Self::RequestMade { method, url, error, .. } => {
                write!(f, "{method} {url}: {}", error.as_deref().unwrap_or("no answer"))
            }
            Self::PictureSent { action_id, action, bytes } => {
                write!(f, "{action} {action_id}: sent a picture of {bytes} bytes")
            }
            Self::JobCollected(job) => write!(f, "{} {}: job {}", job.action, job.action_id, job.path.display()),
            Self::Missed { count } => write!(f, "{count} events missed"),
        }
    }
}

type Callback = Arc<dyn Fn(&EmulatorEvent) + Send + Sync>;

/// The callbacks of one emulator. Clones share them.
#[derive(Clone, Default)]
pub(crate) struct Observers(Arc<ObserversState>);

#[derive(Default)]
struct ObserversState {
    callbacks: Mutex<Vec<Callback>>,
    is_used: AtomicBool,
}

impl Observers {
    /// Registers a callback.
    pub(crate) fn add(&self, callback: impl Fn(&EmulatorEvent) + Send + Sync + 'static) {
        lock(&self.0.callbacks).push(Arc::new(callback));
        self.0.is_used.store(true, Ordering::Release);
    }

    /// Returns a channel of all events from now on. When it is full, events are dropped and counted.
    pub(crate) fn subscribe(&self) -> Receiver<EmulatorEvent> {
        let (sender, receiver) = bounded(CHANNEL_CAPACITY);
        let missed = AtomicU64::new(0);
        self.add(move |event| {
            let count = missed.swap(0, Ordering::AcqRel);
            if count > 0 && sender.try_send(EmulatorEvent::Missed { count }).is_err() {
                missed.fetch_add(count, Ordering::AcqRel);
            }
            if sender.try_send(event.clone()).is_err() {
                missed.fetch_add(1, Ordering::AcqRel);
            }
        });
        receiver
    }

    /// Drops all callbacks: they may own a handle of the emulator that owns them.
    pub(crate) fn clear(&self) {
        lock(&self.0.callbacks).clear();
    }

    /// Calls all callbacks; `event` is built only if there are any. A panic of a callback is logged.
    pub(crate) fn emit(&self, event: impl FnOnce() -> EmulatorEvent) {
        if !self.0.is_used.load(Ordering::Acquire) {
            return;
        }
        let event = event();
        let callbacks = lock(&self.0.callbacks).clone();
        for callback in callbacks {
            if catch_unwind(AssertUnwindSafe(|| callback(&event))).is_err() {
                log::error!("a callback for events panicked");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(n: usize) -> EmulatorEvent {
        EmulatorEvent::MessageSent { label: n.to_string() }
    }

    #[test]
    fn a_full_channel_drops_events_and_tells_how_many() {
        let observers = Observers::default();
        let events = observers.subscribe();
        (0..CHANNEL_CAPACITY + 3).for_each(|n| observers.emit(|| event(n)));
        for n in 0..CHANNEL_CAPACITY {
            assert!(matches!(events.recv().unwrap(), EmulatorEvent::MessageSent { label } if label == n.to_string()));
        }
        observers.emit(|| event(0));
        assert!(matches!(events.recv().unwrap(), EmulatorEvent::Missed { count: 3 }));
        assert!(matches!(events.recv().unwrap(), EmulatorEvent::MessageSent { .. }));
        assert!(events.is_empty());
    }

    #[test]
    fn builds_no_event_without_callbacks_and_survives_a_panic() {
        let observers = Observers::default();
        observers.emit(|| unreachable!("nobody listens"));
        observers.add(|_| panic!("a test"));
        let events = observers.subscribe();
        observers.emit(|| event(1));
        assert_eq!(events.len(), 1);
    }
}
