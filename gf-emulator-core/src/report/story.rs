//! What a recording tells: its actions with what belongs to each, and what went wrong. Pure; one pass.

use std::collections::{BTreeSet, HashMap};

use serde_json::{Map, Value};

use crate::record::{About, Entry, Event, Exchange, Message, Skipped};

/// Everything, in the order in which it happened.
#[derive(Debug)]
pub(super) struct Story {
    pub(super) about: About,
    pub(super) told: Vec<Told>,
    pub(super) actions: Vec<Action>,
    pub(super) troubles: Vec<Trouble>,
    /// Those of the WebSocket, both ways.
    pub(super) messages: usize,
    pub(super) requests: usize,
    /// Of each id the last action that had it: a service may count from 1 again.
    latest: HashMap<i64, usize>,
    /// Of each URL that a service named, the last action that it was named to.
    named: HashMap<String, usize>,
    /// Actions under way, in the order in which they began.
    open: BTreeSet<usize>,
    last_report: Option<usize>,
}

/// An entry, and where it belongs.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) entry: Entry,
    pub(super) action: Option<usize>,
    pub(super) channel: Channel,
}

/// What a machine was asked for, or told of having been asked.
#[derive(Debug)]
pub(super) struct Action {
    pub(super) id: i64,
    /// Its type, as the service calls it.
    pub(super) kind: String,
    /// What belongs to it, the request first.
    pub(super) entries: Vec<usize>,
    pub(super) outcome: Option<Outcome>,
    /// The settings reports among these, each with the one before it.
    pub(super) reports: Vec<(usize, Option<usize>)>,
}

/// How an action ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Completed,
    Failed,
    Cancelled,
}

/// Which way something went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Channel {
    /// HTTP with the service itself.
    Service,
    /// The WebSocket.
    Status,
    /// HTTP with whatever host the service named.
    Storage,
    /// None: something that is not said on the wire.
    Machine,
}

/// Something that went wrong.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// An action failed, was cancelled, or has no end here.
    Action(usize),
    /// An entry says so.
    Entry(usize),
    /// A line of the recording is no entry.
    Line(Skipped),
}

impl Outcome {
    pub(super) const ALL: [Self; 3] = [Self::Completed, Self::Failed, Self::Cancelled];

    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

impl Channel {
    pub(super) const ALL: [Self; 4] = [Self::Service, Self::Status, Self::Storage, Self::Machine];

    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Service => "service",
            Self::Status => "status",
            Self::Storage => "storage",
            Self::Machine => "machine",
        }
    }

    /// As far as an entry tells by itself. Storage has its authority in the URL, the service gets a token.
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

impl Story {
    pub(super) fn new(about: About) -> Self {
        Self {
            about,
            told: Vec::new(),
            actions: Vec::new(),
            troubles: Vec::new(),
            messages: 0,
            requests: 0,
            latest: HashMap::new(),
            named: HashMap::new(),
            open: BTreeSet::new(),
            last_report: None,
        }
    }

    pub(super) fn add(&mut self, entry: Entry) {
        let at = self.told.len();
        let mut channel = Channel::of(&entry.event);
        let action = match &entry.event {
            Event::In(message) => {
                self.messages += 1;
                self.asked(message)
            }
            Event::Out(message) => {
                self.messages += 1;
                self.said(message, at)
            }
            Event::Http(http) => {
                self.requests += 1;
                let named = self.named.get(&http.url).copied();
                let service = self.about.service.as_deref().filter(|url| !url.is_empty());
                if named.is_some() {
                    channel = Channel::Storage;
                } else if service.is_some_and(|service| http.url.starts_with(service)) {
                    channel = Channel::Service;
                }
                named.or_else(|| self.action_of(http))
            }
            _ => None,
        };
        if let Some(action) = action {
            self.actions[action].entries.push(at);
        }
        if is_trouble(&entry.event) {
            self.troubles.push(Trouble::Entry(at));
        }
        self.told.push(Told { entry, action, channel });
    }

    /// What can only be said at the end.
    pub(super) fn finish(&mut self, skipped: &[Skipped]) {
        self.troubles.extend(std::mem::take(&mut self.open).into_iter().map(Trouble::Action));
        self.troubles.extend(skipped.iter().cloned().map(Trouble::Line));
    }

    /// Whether nothing more will come.
    #[cfg(feature = "follow")]
    pub(super) fn is_over(&self) -> bool {
        matches!(self.told.last().map(|told| &told.entry.event), Some(Event::State { state, .. }) if state == "stopped")
    }

    /// The last entry's time: how long it all took, in seconds.
    pub(super) fn duration_s(&self) -> f64 {
        self.told.iter().map(|told| told.entry.t).fold(0.0, f64::max)
    }

    /// The service asks for something, or takes it back.
    fn asked(&mut self, message: &Message) -> Option<usize> {
        let fields = message.json.as_ref()?.as_object()?;
        let kind = fields.get("action_type")?.as_str()?;
        let id = message.action_id()?;
        let known = self.latest.get(&id).copied();
        if fields.get("status").and_then(Value::as_str) != Some("ready") {
            return known;
        }
        let action = match known {
            Some(known) if self.actions[known].outcome.is_none() => known,
            _ => self.begin(id, kind),
        };
        for (_, value) in fields {
            if let Some(url) = value.as_str().filter(|url| url.contains("://")) {
                let url = url.split(['?', '#']).next().unwrap_or(url);
                self.named.insert(url.to_owned(), action);
            }
        }
        Some(action)
    }

    fn begin(&mut self, id: i64, kind: &str) -> usize {
        let action = self.actions.len();
        self.actions.push(Action {
            id,
            kind: kind.to_owned(),
            entries: Vec::new(),
            outcome: None,
            reports: Vec::new(),
        });
        self.latest.insert(id, action);
        self.open.insert(action);
        action
    }

    /// The machine says how it gets on.
    fn said(&mut self, message: &Message, at: usize) -> Option<usize> {
        let name = message.name()?;
        let (kind, rest) = name.split_once(':').unwrap_or((name, ""));
        let id = message.action_id()?;
        // A recording may begin in the middle of it.
        let action = self.latest.get(&id).copied().unwrap_or_else(|| self.begin(id, kind));
        if settings(message).is_some_and(|settings| !settings.is_empty()) {
            self.actions[action].reports.push((at, self.last_report.replace(at)));
        }
        let outcome = Outcome::ALL.into_iter().find(|outcome| outcome.word() == rest);
        // There should be no second one.
        if let (Some(outcome), None) = (outcome, self.actions[action].outcome) {
            self.actions[action].outcome = Some(outcome);
            self.open.remove(&action);
            if outcome != Outcome::Completed {
                self.troubles.push(Trouble::Action(action));
            }
        }
        Some(action)
    }

    /// A request has no action's id in it, but in a path; one that comes while a single action is under way is its.
    fn action_of(&self, http: &Exchange) -> Option<usize> {
        if is_sign_in(http) {
            return None;
        }
        let last = http.url.rsplit('/').next()?;
        let by_path = last.parse().ok().and_then(|id: i64| self.latest.get(&id).copied());
        by_path.or_else(|| self.open.first().filter(|_| self.open.len() == 1).copied())
    }
}

/// A settings report: what is in a message that tells settings, and no progress.
pub(super) fn settings(message: &Message) -> Option<&Map<String, Value>> {
    let json = message.json.as_ref()?;
    json.get("event")?;
    let settings = json.get("settings")?.as_object()?;
    // 2.6 has them one further down.
    Some(settings.get("values").and_then(Value::as_object).unwrap_or(settings))
}

pub(super) fn is_trouble(event: &Event) -> bool {
    match event {
        Event::Http(http) => http.error.is_some() || http.status.is_none_or(|status| status >= 400),
        Event::Closed { reason } => !is_orderly(reason),
        Event::In(message) => message.json.is_none(),
        Event::State { state, .. } => state == "failed" || state == "binary",
        _ => false,
    }
}

/// A WebSocket that was closed, and not cut.
fn is_orderly(reason: &str) -> bool {
    reason.contains("(1000)") || reason == "the machine has stopped"
}

fn is_sign_in(http: &Exchange) -> bool {
    http.url.ends_with("/machines/sign_in")
}
