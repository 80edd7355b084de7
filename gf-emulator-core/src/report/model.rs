//! The data that a timeline is made of: actions, channels, counts, problems.

use std::collections::VecDeque;

use serde_json::{Map, Value};

use crate::record::{Event, Exchange, LineSpan, Message, SkippedLine, UNKNOWN_CLOSE};

/// An action shows this many of its first and of its last entries.
const MAX_FIRST_ENTRIES: usize = 400;
const MAX_LAST_ENTRIES: usize = 100;

/// Totals over the whole recording.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) actions: usize,
    pub(super) completed: usize,
    pub(super) failed: usize,
    pub(super) cancelled: usize,
    /// Messages that the machine sent over the WebSocket.
    pub(super) messages: usize,
    pub(super) requests: usize,
    pub(super) problems: usize,
}

/// An entry on the page.
#[derive(Debug, Clone, Copy)]
pub(super) struct ShownEntry {
    pub(super) place: LineSpan,
    /// The number of its action.
    pub(super) action: Option<usize>,
    pub(super) channel: Channel,
}

/// One action and its entries.
#[derive(Debug, Clone)]
#[expect(clippy::struct_field_names, reason = "`action_type` is the protocol's name")]
pub(super) struct Action {
    pub(super) id: i64,
    pub(super) action_type: String,
    /// Its entries, starting with the service's request; of a long action only the first and the last.
    pub(super) first_entries: Vec<LineSpan>,
    pub(super) last_entries: VecDeque<LineSpan>,
    /// The number of entries omitted between them.
    pub(super) omitted: usize,
    /// The positions of its first and last entry in the recording.
    pub(super) first_index: u64,
    pub(super) last_index: u64,
    pub(super) outcome: Option<Outcome>,
    /// Why it failed or was cancelled.
    pub(super) reason: Option<String>,
    /// Its last event without the action's type, such as `download:completed`.
    pub(super) phase: Option<String>,
    /// What was reported since that event, and the total.
    pub(super) progress: Option<(u64, u64)>,
    /// Its settings reports, each with the report before it.
    pub(super) reports: Vec<(LineSpan, Option<LineSpan>)>,
    pub(super) omitted_reports: usize,
}

/// Whether the machine is connected to the service, as far as the recording tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Connection {
    /// It has not been yet.
    NotYet,
    Open,
    /// It was closed or lost, for this reason.
    Closed(String),
}

/// How an action ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Completed,
    Failed,
    Cancelled,
}

/// What an entry was sent over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Channel {
    /// HTTP to the service.
    Service,
    /// The WebSocket.
    Status,
    /// HTTP to a URL that the service named.
    Storage,
    /// Nothing: an event on the machine itself.
    Machine,
}

/// Something that went wrong.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Problem {
    /// An action that failed, was cancelled or did not finish.
    Action { number: usize, id: i64, action_type: String, outcome: Option<Outcome>, reason: Option<String> },
    /// A failed request, lost connection or the like.
    Entry { n: u64, t: f64, what: &'static str, summary_html: String },
    /// A line of the recording that is not a valid entry.
    Line(SkippedLine),
}

impl Outcome {
    pub(super) const ALL: [Self; 3] = [Self::Completed, Self::Failed, Self::Cancelled];

    /// Returns its name, in the protocol's events as on the page.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// Returns the class name and filter value of an outcome.
    pub(super) fn class(outcome: Option<Self>) -> &'static str {
        outcome.map_or("none", Self::name)
    }
}

impl Channel {
    pub(super) const ALL: [Self; 4] = [Self::Service, Self::Status, Self::Storage, Self::Machine];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Service => "service",
            Self::Status => "status",
            Self::Storage => "storage",
            Self::Machine => "machine",
        }
    }

    /// Returns the name for people.
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Service => "requests to the service",
            Self::Status => "WebSocket",
            Self::Storage => "requests to storage",
            Self::Machine => "the machine itself",
        }
    }

    pub(super) fn description(self) -> &'static str {
        match self {
            Self::Service => "HTTP requests to the service",
            Self::Status => "WebSocket messages",
            Self::Storage => "HTTP requests to storage: uploads and downloads at URLs that the service named",
            Self::Machine => "events on the machine",
        }
    }

    /// Guesses the channel from the entry alone: only the service is sent a token, storage URLs carry their own.
    pub(super) fn of(event: &Event) -> Self {
        match event {
            Event::Http(http) => {
                let to_service = http.request.headers.contains_key("authorization") || is_sign_in(http);
                if to_service { Self::Service } else { Self::Storage }
            }
            Event::Opened { .. } | Event::Closed { .. } | Event::In(_) | Event::Out(_) => Self::Status,
            _ => Self::Machine,
        }
    }
}

impl Counts {
    pub(super) fn with_outcome(&self, outcome: Option<Outcome>) -> usize {
        match outcome {
            Some(Outcome::Completed) => self.completed,
            Some(Outcome::Failed) => self.failed,
            Some(Outcome::Cancelled) => self.cancelled,
            None => self.actions - self.completed - self.failed - self.cancelled,
        }
    }
}

impl Action {
    pub(super) fn new(id: i64, action_type: String, index: u64) -> Self {
        Self {
            id,
            action_type,
            first_entries: Vec::new(),
            last_entries: VecDeque::new(),
            omitted: 0,
            first_index: index,
            last_index: index,
            outcome: None,
            reason: None,
            phase: None,
            progress: None,
            reports: Vec::new(),
            omitted_reports: 0,
        }
    }

    pub(super) fn add(&mut self, place: LineSpan, index: u64) {
        self.last_index = index;
        if self.first_entries.len() < MAX_FIRST_ENTRIES {
            self.first_entries.push(place);
            return;
        }
        if self.last_entries.len() == MAX_LAST_ENTRIES {
            self.last_entries.pop_front();
            self.omitted += 1;
        }
        self.last_entries.push_back(place);
    }

    /// Says what it is doing. `waits_for_button` says more of one phase.
    pub(super) fn activity(&self) -> String {
        let phase = self.phase.as_deref().unwrap_or_default();
        match self.progress {
            _ if self.waits_for_button() => "waits for the button".to_owned(),
            Some((current, total)) if total > 0 => format!("{:.0} %", current.min(total) as f64 / total as f64 * 100.0),
            _ if phase.is_empty() => "waits".to_owned(),
            _ => phase.replace(':', " "),
        }
    }

    /// Returns whether it is a print that waits until its button is pressed. With `button: auto`, that takes no time.
    pub(super) fn waits_for_button(&self) -> bool {
        self.action_type == "print"
            && matches!(self.phase.as_deref(), Some("download:completed" | "waiting" | "paused"))
    }

    pub(super) fn entry_count(&self) -> usize {
        self.first_entries.len() + self.omitted + self.last_entries.len()
    }
}

pub(super) fn is_sign_in(http: &Exchange) -> bool {
    http.url.ends_with("/machines/sign_in")
}

/// Returns the settings in a message, unless it is a progress message.
pub(super) fn settings(message: &Message) -> Option<&Map<String, Value>> {
    let json = message.json.as_ref()?;
    json.get("event")?;
    let settings = json.get("settings")?.as_object()?;
    // Firmware 2.6 nests them in `values`, 1.x does not (seen in recordings of both).
    Some(settings.get("values").and_then(Value::as_object).unwrap_or(settings))
}

pub(super) fn is_problem(event: &Event) -> bool {
    match event {
        Event::Http(http) => http.error.is_some() || http.status.is_none_or(|status| status >= 400),
        // 1000 is the WebSocket close code of an orderly close.
        Event::Closed { reason } => {
            !reason.contains("(1000)") && !["the machine has stopped", UNKNOWN_CLOSE].contains(&reason.as_str())
        }
        Event::In(message) => message.json.is_none(),
        // With an action ID, the action's outcome is the problem.
        Event::State { state, action_id: None, .. } => state == "failed" || state == "binary",
        _ => false,
    }
}
