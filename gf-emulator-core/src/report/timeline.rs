//! Groups a recording's entries by action, in one pass and in bounded memory.
//!
//! Kept are the places of the entries on the page, to read these again when they are written, and the actions on the page
//! or still open. Everything else is only counted.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use serde_json::Value;

use super::bounded_map::BoundedMap;
use super::entry_summary::summary;
use super::model::{
    Action, Channel, Connection, Counts, Outcome, Problem, ShownEntry, is_problem, is_sign_in, settings,
};
use crate::record::{About, DisplayEntry, Entry, Event, Exchange, LineSpan, Message, SkippedLine};

/// The most entries on a page.
pub(super) const MAX_SHOWN: usize = 20_000;
/// The most problems listed; more are counted.
pub(super) const MAX_PROBLEMS: usize = 200;
/// The most action types in the filter. A service may invent any number.
const MAX_TYPES: usize = 100;
/// The most settings reports shown of an action.
const MAX_REPORTS: usize = 20;
/// The most actions open at the same time.
const MAX_OPEN: usize = 2000;
/// The most action IDs and URLs remembered.
const MAX_IDS: usize = 16_384;
const MAX_URLS: usize = 4096;
/// The longest URL remembered, in bytes.
const MAX_URL_BYTES: usize = 2048;
/// The most characters kept of an action type or a reason.
const MAX_TEXT: usize = 200;
/// Actions are evicted once per this many entries.
const EVICTION_INTERVAL: u64 = 1024;

/// Which entries are on the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Window {
    /// From this index on, counted from 0.
    From(u64),
    /// The latest ones.
    #[cfg_attr(not(feature = "follow"), allow(dead_code, reason = "used by live pages"))]
    Latest,
}

/// The entries of a recording, grouped by action.
#[derive(Debug, Clone)]
pub(super) struct Timeline {
    pub(super) about: About,
    /// The number of the machine, in a recording of several.
    pub(super) machine: Option<u32>,
    /// All entries but the first line, which describes the recording.
    pub(super) entry_count: u64,
    /// The entries on the page, and the index of the first of them.
    pub(super) shown: VecDeque<ShownEntry>,
    pub(super) first_shown: u64,
    window: Window,
    /// Actions on the page or open, by number.
    pub(super) actions: BTreeMap<usize, Action>,
    pub(super) counts: Counts,
    pub(super) action_types: BTreeSet<String>,
    pub(super) problems: Vec<Problem>,
    pub(super) duration_s: f64,
    pub(super) started_at: Option<String>,
    /// The latest action with an ID: a service may start counting again.
    by_id: BoundedMap<i64, usize>,
    /// The latest action whose request named a URL.
    by_url: BoundedMap<String, usize>,
    /// Open actions, oldest first, and the latest of them with an ID.
    open: BTreeSet<usize>,
    open_by_id: HashMap<i64, usize>,
    last_report: Option<LineSpan>,
    /// The last entry says that the machine has stopped.
    has_stopped: bool,
    pub(super) connection: Connection,
}

impl Timeline {
    pub(super) fn new(about: About, window: Window) -> Self {
        Self {
            about,
            machine: None,
            entry_count: 0,
            shown: VecDeque::new(),
            first_shown: if let Window::From(first) = window { first } else { 0 },
            window,
            actions: BTreeMap::new(),
            counts: Counts::default(),
            action_types: BTreeSet::new(),
            problems: Vec::new(),
            duration_s: 0.0,
            started_at: None,
            by_id: BoundedMap::new(MAX_IDS),
            by_url: BoundedMap::new(MAX_URLS),
            open: BTreeSet::new(),
            open_by_id: HashMap::new(),
            last_report: None,
            has_stopped: false,
            connection: Connection::NotYet,
        }
    }

    pub(super) fn add(&mut self, shortened: &DisplayEntry) {
        let DisplayEntry { entry, place, .. } = shortened;
        let place = *place;
        let index = self.entry_count;
        self.entry_count += 1;
        self.duration_s = self.duration_s.max(entry.t);
        self.started_at.get_or_insert_with(|| truncate(&entry.at));
        let mut channel = Channel::of(&entry.event);
        let action = match &entry.event {
            Event::In(message) => self.add_incoming(message),
            Event::Out(message) => {
                self.counts.messages += 1;
                self.add_outgoing(message, place)
            }
            Event::Http(http) => {
                self.counts.requests += 1;
                let by_url = self.by_url.get(&http.url);
                let service = self.about.service.as_deref().filter(|url| !url.is_empty());
                if by_url.is_some() {
                    channel = Channel::Storage;
                } else if service.is_some_and(|service| http.url.starts_with(service)) {
                    channel = Channel::Service;
                }
                by_url.or_else(|| self.find_for_request(http))
            }
            Event::State { action_id: Some(id), detail, .. } => self.find_by_id(*id).inspect(|number| {
                if let Some(action) = self.actions.get_mut(number) {
                    action.reason = detail.as_deref().map(truncate);
                }
            }),
            Event::Opened { .. } => {
                self.connection = Connection::Open;
                None
            }
            Event::Closed { reason } => {
                self.connection = Connection::Closed(truncate(reason));
                None
            }
            _ => None,
        };
        if let Some(action) = action.and_then(|number| self.actions.get_mut(&number)) {
            action.add(place, index);
        }
        if is_problem(&entry.event) {
            self.add_problem(|| entry_problem(entry));
        }
        self.has_stopped = matches!(&entry.event, Event::State { state, .. } if state == "stopped");
        self.show(index, ShownEntry { place, action, channel });
        if self.entry_count.is_multiple_of(EVICTION_INTERVAL) {
            self.evict_actions();
        }
    }

    /// Keeps an entry if it belongs on the page.
    fn show(&mut self, index: u64, entry: ShownEntry) {
        match self.window {
            Window::From(first) => {
                if index >= first && self.shown.len() < MAX_SHOWN {
                    self.shown.push_back(entry);
                }
            }
            Window::Latest => {
                self.shown.push_back(entry);
                if self.shown.len() > MAX_SHOWN {
                    self.shown.pop_front();
                    self.first_shown += 1;
                }
            }
        }
    }

    /// Evicts closed actions that are not on the page. If too many are open, closes the least recently active first.
    fn evict_actions(&mut self) {
        let excess = self.open.len().saturating_sub(MAX_OPEN);
        if excess > 0 {
            let last_index = |number: &usize| self.actions.get(number).map_or(0, |action| action.last_index);
            let mut inactive: Vec<usize> = self.open.iter().copied().collect();
            inactive.sort_by_key(last_index);
            inactive.truncate(excess);
            for number in inactive {
                self.close_action(number);
            }
        }
        let page = self.first_shown..self.first_shown.saturating_add(MAX_SHOWN as u64);
        let (actions, open) = (&mut self.actions, &self.open);
        actions.retain(|number, action| {
            open.contains(number) || (action.first_index < page.end && action.last_index >= page.start)
        });
    }

    fn open_action(&mut self, id: i64, action_type: &str) -> usize {
        let number = self.counts.actions;
        self.counts.actions += 1;
        let action_type = truncate(action_type);
        if self.action_types.len() < MAX_TYPES {
            self.action_types.insert(action_type.clone());
        }
        self.actions.insert(number, Action::new(id, action_type, self.entry_count - 1));
        self.by_id.insert(id, number);
        self.open.insert(number);
        self.open_by_id.insert(id, number);
        number
    }

    fn close_action(&mut self, number: usize) {
        self.open.remove(&number);
        if let Some(action) = self.actions.get(&number)
            && self.open_by_id.get(&action.id) == Some(&number)
        {
            self.open_by_id.remove(&action.id);
        }
    }

    /// Finds the latest action with an ID.
    fn find_by_id(&self, id: i64) -> Option<usize> {
        self.open_by_id.get(&id).copied().or_else(|| self.by_id.get(&id))
    }

    /// Finds a request's action: by the ID at the end of its path, or else the only open action.
    fn find_for_request(&self, http: &Exchange) -> Option<usize> {
        if is_sign_in(http) {
            return None;
        }
        let last_segment = http.url.rsplit('/').next()?;
        let by_path = last_segment.parse().ok().and_then(|id: i64| self.find_by_id(id));
        by_path.or_else(|| self.open.first().filter(|_| self.open.len() == 1).copied())
    }

    /// Returns the numbers of the actions on the page.
    pub(super) fn shown_actions(&self) -> impl DoubleEndedIterator<Item = usize> + '_ {
        let end = self.first_shown + self.shown.len() as u64;
        let is_shown = move |action: &Action| action.first_index < end && action.last_index >= self.first_shown;
        self.actions.iter().filter(move |(_, action)| is_shown(action)).map(|(number, _)| *number)
    }

    /// Adds the problems known only at the end: unfinished actions and skipped lines.
    pub(super) fn finish(&mut self, skipped: &[SkippedLine]) {
        for number in std::mem::take(&mut self.open) {
            if let Some(problem) = self.actions.get(&number).map(|action| action_problem(number, action)) {
                self.add_problem(|| problem);
            }
        }
        for line in skipped {
            self.add_problem(|| Problem::Line(line.clone()));
        }
    }

    /// Returns the actions that have not ended, oldest first.
    pub(super) fn open_actions(&self) -> impl Iterator<Item = &Action> {
        self.open.iter().filter_map(|number| self.actions.get(number))
    }

    pub(super) fn has_stopped(&self) -> bool {
        self.has_stopped
    }

    fn add_problem(&mut self, problem: impl FnOnce() -> Problem) {
        self.counts.problems += 1;
        if self.problems.len() < MAX_PROBLEMS {
            self.problems.push(problem());
        }
    }

    /// Handles a message from the service, which requests or cancels an action. Returns the action.
    fn add_incoming(&mut self, message: &Message) -> Option<usize> {
        let fields = message.json.as_ref()?.as_object()?;
        let action_type = fields.get("action_type")?.as_str()?;
        let id = message.action_id()?;
        let known = self.find_by_id(id);
        if fields.get("status").and_then(Value::as_str) != Some("ready") {
            return known;
        }
        let open = known.filter(|known| self.open.contains(known));
        let action = open.unwrap_or_else(|| self.open_action(id, action_type));
        for (_, value) in fields {
            if let Some(url) = value.as_str().filter(|url| url.contains("://")) {
                let url = url.split(['?', '#']).next().unwrap_or(url);
                if url.len() <= MAX_URL_BYTES {
                    self.by_url.insert(url.to_owned(), action);
                }
            }
        }
        Some(action)
    }

    /// Handles a message from the machine, which reports on an action. Returns the action.
    fn add_outgoing(&mut self, message: &Message, place: LineSpan) -> Option<usize> {
        let name = message.name()?;
        let (action_type, event) = name.split_once(':').unwrap_or((name, ""));
        let id = message.action_id()?;
        // The recording may have started in the middle of the action.
        let number = self.find_by_id(id).unwrap_or_else(|| self.open_action(id, action_type));
        let Some(action) = self.actions.get_mut(&number) else { return Some(number) };
        if settings(message).is_some_and(|settings| !settings.is_empty()) {
            let report = (place, self.last_report.replace(place));
            if action.reports.len() < MAX_REPORTS {
                action.reports.push(report);
            } else {
                action.omitted_reports += 1;
            }
        }
        let number_in = |key: &str| message.json.as_ref()?.get(key)?.as_u64();
        if message.json.as_ref().is_some_and(|json| json.get("progress").is_some()) {
            action.progress = number_in("current").zip(number_in("total"));
        } else {
            action.phase = Some(truncate(event));
            action.progress = None;
        }
        let outcome = Outcome::ALL.into_iter().find(|outcome| outcome.name() == event);
        // The first outcome counts.
        if let (Some(outcome), None) = (outcome, action.outcome) {
            action.outcome = Some(outcome);
            let problem = (outcome != Outcome::Completed).then(|| action_problem(number, action));
            self.close_action(number);
            match outcome {
                Outcome::Completed => self.counts.completed += 1,
                Outcome::Failed => self.counts.failed += 1,
                Outcome::Cancelled => self.counts.cancelled += 1,
            }
            if let Some(problem) = problem {
                self.add_problem(|| problem);
            }
        }
        Some(number)
    }
}

fn action_problem(number: usize, action: &Action) -> Problem {
    let Action { id, action_type, outcome, reason, .. } = action;
    Problem::Action { number, id: *id, action_type: action_type.clone(), outcome: *outcome, reason: reason.clone() }
}

fn entry_problem(entry: &Entry) -> Problem {
    let what = match entry.event {
        Event::Http(_) => "request",
        Event::In(_) | Event::Out(_) => "message",
        Event::Opened { .. } | Event::Closed { .. } => "connection",
        _ => "machine",
    };
    Problem::Entry { n: entry.n, t: entry.t, what, summary_html: summary(&entry.event).into_string() }
}

fn truncate(text: &str) -> String {
    text.chars().take(MAX_TEXT).collect()
}
