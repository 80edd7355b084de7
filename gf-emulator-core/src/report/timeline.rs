//! What a recording tells: its actions with what belongs to each, and what went wrong. One pass, in bounded memory.
//!
//! Of the entries only those on the page are kept, and of these only where they are: they are read again when they are
//! written. Of the actions those on the page are kept, and the open ones. Everything else is counted.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use serde_json::{Map, Value};

use super::diagram;
use super::parts::is_sign_in;
pub(super) use super::parts::{Action, Channel, Counts, Outcome, Told, Trouble};
use super::recent::Recent;
use crate::record::{About, DisplayEntry, Entry, Event, Exchange, LineSpan, Message, SkippedLine};

/// The most entries on a page, each with a row of its own.
pub(crate) const MOST_ROWS: usize = 20_000;
/// Of what went wrong, so much is named; the rest is counted.
pub(super) const MOST_TROUBLES: usize = 200;
/// Types of action that the page can be filtered by: more than there are. A service may make up others.
pub(super) const MOST_KINDS: usize = 100;
/// Settings reports of an action that are shown.
const MOST_REPORTS: usize = 20;
/// Actions under way at the same time, as far as they are told apart.
const MOST_OPEN: usize = 2000;
/// Ids and URLs whose action is known.
const MOST_IDS: usize = 16_384;
const MOST_URLS: usize = 4096;
/// A longer URL is not remembered.
const LONGEST_URL: usize = 2048;
/// A type's name, and a reason, as far as they are kept.
const LONGEST_NAME: usize = 200;
/// Actions that need not be kept are forgotten once in so many entries.
const SWEEP_EVERY: u64 = 1024;

/// Which entries are on the page, counted from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Window {
    /// Those from this one on.
    From(u64),
    /// The last ones.
    #[cfg_attr(not(feature = "follow"), allow(dead_code, reason = "only a page that goes on has them"))]
    Latest,
}

/// Everything, in the order in which it happened.
#[derive(Debug, Clone)]
pub(super) struct Story {
    pub(super) about: About,
    /// Entries, without the one that says what is recorded.
    pub(super) entries: u64,
    /// Those on the page, and which of all the first is.
    pub(super) told: VecDeque<Told>,
    pub(super) first: u64,
    window: Window,
    /// Those on the page and those under way, by their number.
    pub(super) actions: BTreeMap<usize, Action>,
    pub(super) counts: Counts,
    pub(super) kinds: BTreeSet<String>,
    pub(super) troubles: Vec<Trouble>,
    pub(super) duration_s: f64,
    pub(super) began: Option<String>,
    /// Of each id the last action that had it: a service may count from 1 again.
    latest: Recent<i64, usize>,
    /// Of each URL that a service named, the last action that it was named to.
    named: Recent<String, usize>,
    /// Actions under way, in the order in which they began, and the last of each id.
    open: BTreeSet<usize>,
    open_ids: HashMap<i64, usize>,
    last_report: Option<LineSpan>,
    /// Nothing more will come.
    is_over: bool,
}

impl Story {
    pub(super) fn new(about: About, window: Window) -> Self {
        Self {
            about,
            entries: 0,
            told: VecDeque::new(),
            first: if let Window::From(first) = window { first } else { 0 },
            window,
            actions: BTreeMap::new(),
            counts: Counts::default(),
            kinds: BTreeSet::new(),
            troubles: Vec::new(),
            duration_s: 0.0,
            began: None,
            latest: Recent::new(MOST_IDS),
            named: Recent::new(MOST_URLS),
            open: BTreeSet::new(),
            open_ids: HashMap::new(),
            last_report: None,
            is_over: false,
        }
    }

    pub(super) fn add(&mut self, shortened: &DisplayEntry) {
        let DisplayEntry { entry, place, .. } = shortened;
        let place = *place;
        let at = self.entries;
        self.entries += 1;
        self.duration_s = self.duration_s.max(entry.t);
        self.began.get_or_insert_with(|| brief(&entry.at));
        let mut channel = Channel::of(&entry.event);
        let action = match &entry.event {
            Event::In(message) => {
                self.counts.messages += 1;
                self.asked(message)
            }
            Event::Out(message) => {
                self.counts.messages += 1;
                self.said(message, place)
            }
            Event::Http(http) => {
                self.counts.requests += 1;
                let named = self.named.get(&http.url);
                let service = self.about.service.as_deref().filter(|url| !url.is_empty());
                if named.is_some() {
                    channel = Channel::Storage;
                } else if service.is_some_and(|service| http.url.starts_with(service)) {
                    channel = Channel::Service;
                }
                named.or_else(|| self.action_of(http))
            }
            Event::State { action_id: Some(id), detail, .. } => self.action_with(*id).inspect(|number| {
                if let Some(action) = self.actions.get_mut(number) {
                    action.reason = detail.as_deref().map(brief);
                }
            }),
            _ => None,
        };
        if let Some(action) = action.and_then(|number| self.actions.get_mut(&number)) {
            action.add(place, at);
        }
        if is_trouble(&entry.event) {
            self.trouble(|| trouble_of(entry));
        }
        self.is_over = matches!(&entry.event, Event::State { state, .. } if state == "stopped");
        self.keep(at, Told { place, action, channel });
        if self.entries.is_multiple_of(SWEEP_EVERY) {
            self.sweep();
        }
    }

    /// Keeps an entry if it is on the page.
    fn keep(&mut self, at: u64, told: Told) {
        match self.window {
            Window::From(first) => {
                if at >= first && self.told.len() < MOST_ROWS {
                    self.told.push_back(told);
                }
            }
            Window::Latest => {
                self.told.push_back(told);
                if self.told.len() > MOST_ROWS {
                    self.told.pop_front();
                    self.first += 1;
                }
            }
        }
    }

    /// Forgets actions that are not on the page and have ended, or of which nothing was heard for longer than of any other.
    fn sweep(&mut self) {
        let too_many = self.open.len().saturating_sub(MOST_OPEN);
        if too_many > 0 {
            let last = |number: &usize| self.actions.get(number).map_or(0, |action| action.last);
            let mut silent: Vec<usize> = self.open.iter().copied().collect();
            silent.sort_by_key(last);
            silent.truncate(too_many);
            for number in silent {
                self.close(number);
            }
        }
        let page = self.first..self.first.saturating_add(MOST_ROWS as u64);
        let (actions, open) = (&mut self.actions, &self.open);
        actions
            .retain(|number, action| open.contains(number) || (action.first < page.end && action.last >= page.start));
    }

    /// It is not under way any more.
    fn close(&mut self, number: usize) {
        self.open.remove(&number);
        if let Some(action) = self.actions.get(&number)
            && self.open_ids.get(&action.id) == Some(&number)
        {
            self.open_ids.remove(&action.id);
        }
    }

    /// The last action that had an id.
    fn action_with(&self, id: i64) -> Option<usize> {
        self.open_ids.get(&id).copied().or_else(|| self.latest.get(&id))
    }

    /// The numbers of the actions on the page.
    pub(super) fn shown_actions(&self) -> impl DoubleEndedIterator<Item = usize> + '_ {
        let end = self.first + self.told.len() as u64;
        let shown = self.actions.iter().filter(move |(_, action)| action.first < end && action.last >= self.first);
        shown.map(|(number, _)| *number)
    }

    /// What can only be said at the end.
    pub(super) fn finish(&mut self, skipped: &[SkippedLine]) {
        for number in std::mem::take(&mut self.open) {
            if let Some(trouble) = self.actions.get(&number).map(|action| trouble_with(number, action)) {
                self.trouble(|| trouble);
            }
        }
        for line in skipped {
            self.trouble(|| Trouble::Line(line.clone()));
        }
    }

    /// Whether nothing more will come.
    #[cfg(feature = "follow")]
    pub(super) fn is_over(&self) -> bool {
        self.is_over
    }

    fn trouble(&mut self, trouble: impl FnOnce() -> Trouble) {
        self.counts.troubles += 1;
        if self.troubles.len() < MOST_TROUBLES {
            self.troubles.push(trouble());
        }
    }

    /// The service asks for something, or takes it back.
    fn asked(&mut self, message: &Message) -> Option<usize> {
        let fields = message.json.as_ref()?.as_object()?;
        let kind = fields.get("action_type")?.as_str()?;
        let id = message.action_id()?;
        let known = self.action_with(id);
        if fields.get("status").and_then(Value::as_str) != Some("ready") {
            return known;
        }
        let action = known.filter(|known| self.open.contains(known)).unwrap_or_else(|| self.begin(id, kind));
        for (_, value) in fields {
            if let Some(url) = value.as_str().filter(|url| url.contains("://")) {
                let url = url.split(['?', '#']).next().unwrap_or(url);
                if url.len() <= LONGEST_URL {
                    self.named.insert(url.to_owned(), action);
                }
            }
        }
        Some(action)
    }

    fn begin(&mut self, id: i64, kind: &str) -> usize {
        let number = self.counts.actions;
        self.counts.actions += 1;
        let kind = brief(kind);
        if self.kinds.len() < MOST_KINDS {
            self.kinds.insert(kind.clone());
        }
        let at = self.entries - 1;
        let action = Action {
            id,
            kind,
            steps: Vec::new(),
            last_steps: VecDeque::new(),
            left_out: 0,
            first: at,
            last: at,
            outcome: None,
            reason: None,
            reports: Vec::new(),
            reports_left_out: 0,
        };
        self.actions.insert(number, action);
        self.latest.insert(id, number);
        self.open.insert(number);
        self.open_ids.insert(id, number);
        number
    }

    /// The machine says how it gets on.
    fn said(&mut self, message: &Message, place: LineSpan) -> Option<usize> {
        let name = message.name()?;
        let (kind, rest) = name.split_once(':').unwrap_or((name, ""));
        let id = message.action_id()?;
        // A recording may begin in the middle of it.
        let number = self.action_with(id).unwrap_or_else(|| self.begin(id, kind));
        let Some(action) = self.actions.get_mut(&number) else { return Some(number) };
        if settings(message).is_some_and(|settings| !settings.is_empty()) {
            let report = (place, self.last_report.replace(place));
            if action.reports.len() < MOST_REPORTS {
                action.reports.push(report);
            } else {
                action.reports_left_out += 1;
            }
        }
        let outcome = Outcome::ALL.into_iter().find(|outcome| outcome.word() == rest);
        // There should be no second one.
        if let (Some(outcome), None) = (outcome, action.outcome) {
            action.outcome = Some(outcome);
            let trouble = (outcome != Outcome::Completed).then(|| trouble_with(number, action));
            self.close(number);
            match outcome {
                Outcome::Completed => self.counts.completed += 1,
                Outcome::Failed => self.counts.failed += 1,
                Outcome::Cancelled => self.counts.cancelled += 1,
            }
            if let Some(trouble) = trouble {
                self.trouble(|| trouble);
            }
        }
        Some(number)
    }

    /// A request has no action's id in it, but in a path; one that comes while a single action is under way is its.
    fn action_of(&self, http: &Exchange) -> Option<usize> {
        if is_sign_in(http) {
            return None;
        }
        let last = http.url.rsplit('/').next()?;
        let by_path = last.parse().ok().and_then(|id: i64| self.action_with(id));
        by_path.or_else(|| self.open.first().filter(|_| self.open.len() == 1).copied())
    }
}

fn trouble_with(number: usize, action: &Action) -> Trouble {
    let Action { id, kind, outcome, reason, .. } = action;
    Trouble::Action { number, id: *id, kind: kind.clone(), outcome: *outcome, reason: reason.clone() }
}

fn trouble_of(entry: &Entry) -> Trouble {
    let what = match entry.event {
        Event::Http(_) => "request",
        Event::In(_) | Event::Out(_) => "message",
        Event::Opened { .. } | Event::Closed { .. } => "connection",
        _ => "machine",
    };
    Trouble::Entry { n: entry.n, t: entry.t, what, line: diagram::line(&entry.event).into_string() }
}

/// As much of a text as is kept of it.
fn brief(text: &str) -> String {
    text.chars().take(LONGEST_NAME).collect()
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
        // Of an action the end is trouble enough.
        Event::State { state, action_id: None, .. } => state == "failed" || state == "binary",
        _ => false,
    }
}

/// A WebSocket that was closed, and not cut.
fn is_orderly(reason: &str) -> bool {
    reason.contains("(1000)") || reason == "the machine has stopped"
}
