//! What a machine did, beside what was recorded.

use std::fmt;

use serde_json::Value;

use super::account::{Account, Asked, Content, Group, Item, Owners};
use super::alignment::{Place, align};
use super::value::{self, Whole, same_text};
use crate::local_service::{Request, Seen, is_opening};
use crate::record::read_json;

/// No more differences of one message or of one request are told one by one.
const MOST_OF_ONE: usize = 20;

/// What came of a replay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Comparison {
    /// Everything that is not as it was recorded.
    pub differences: Vec<Difference>,
    /// How many actions the recording has.
    pub actions: usize,
    /// How many messages of the machine, progress left out.
    pub messages: usize,
    /// How many requests of the machine, but for those that connect.
    pub requests: usize,
}

/// One thing that is not as it was recorded. It prints as a line: what it belongs to, and what it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The action, as `lid_image 1002`, or what else it belongs to.
    pub of: String,
    /// What it is.
    pub what: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Some of it comes from outside: one line, and nothing that steers a terminal.
        let line = format!("{}: {}", self.of, self.what);
        line.chars().try_for_each(|c| fmt::Write::write_char(f, if c.is_control() { '?' } else { c }))
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { differences, actions, messages, requests } = self;
        match differences.len() {
            0 => f.write_str("no difference")?,
            1 => f.write_str("1 difference")?,
            n => write!(f, "{n} differences")?,
        }
        write!(f, ": {actions} actions, {messages} messages, {requests} requests")
    }
}

/// Everything in what was seen that is not as it was recorded.
pub(super) fn differences(recorded: &Account, owners: &Owners, seen: &[Seen]) -> Vec<Difference> {
    let mut comparing = Comparing { owners, recorded, differences: Vec::new() };
    let found = comparing.account(seen);
    for (group, items) in &recorded.groups {
        comparing.group(group, items, found.of(group));
    }
    for (group, items) in &found.groups {
        if recorded.of(group).is_empty() {
            comparing.group(group, &[], items);
        }
    }
    comparing.differences
}

struct Comparing<'a> {
    owners: &'a Owners,
    recorded: &'a Account,
    differences: Vec<Difference>,
}

impl Comparing<'_> {
    fn tell(&mut self, group: &Group, what: String) {
        self.differences.push(Difference { of: self.owners.describe(group).to_string(), what });
    }

    /// Sorts what was seen, and looks after what goes through all of it: numbers and times.
    fn account(&mut self, seen: &[Seen]) -> Account {
        let mut found = Account::default();
        let mut said = 0;
        let mut counter = Counter::default();
        for seen in seen {
            match seen {
                Seen::WsSent(_) => said += 1,
                Seen::WsOpened { .. } => counter.reopened = true,
                Seen::WsMessage { message, text } => {
                    let group = Group::Messages(message["action_id"].as_i64());
                    for what in counter.count(message) {
                        self.tell(&group, what);
                    }
                    self.progress(&group, message);
                    found.take_message(Some(message.clone()).filter(|json| !json.is_null()), text.trim_end());
                }
                Seen::WsBinary(bytes) => {
                    self.tell(&Group::Messages(None), format!("a binary frame of {bytes} bytes came"));
                }
                Seen::Http(request) if !is_opening(&request.path) => {
                    found.take_request(self.owners, said, asked(request));
                }
                _ => {}
            }
        }
        found
    }

    fn progress(&mut self, group: &Group, message: &Value) {
        let recorded = message["progress"].as_str().and_then(|name| self.recorded.progress.get(name));
        for what in recorded.map(|recorded| value::differences(Whole::Progress, recorded, message)).unwrap_or_default()
        {
            self.tell(group, format!("{}: {what}", message["progress"].as_str().unwrap_or_default()));
        }
    }

    fn group(&mut self, group: &Group, recorded: &[Item], found: &[Item]) {
        let names = |items: &[Item]| items.iter().map(|item| item.name.clone()).collect::<Vec<_>>();
        let (theirs, ours) = (names(recorded), names(found));
        let [theirs, ours]: [Vec<&str>; 2] = [&theirs, &ours].map(|names| names.iter().map(String::as_str).collect());
        let Some(places) = align(&theirs, &ours) else {
            let (was, is) = (recorded.len(), found.len());
            return self.tell(group, format!("{is} came where {was} were recorded, and they have little in common"));
        };
        // Between two that both have: as many as there are of either, one came in the place of the other.
        for run in places.chunk_by(|one, next| !one.is_both() && !next.is_both()) {
            if let [Place::Both(i, j)] = *run {
                self.item(group, &recorded[i], &found[j]);
                continue;
            }
            let missing = run.iter().filter_map(|place| if let Place::Missing(i) = place { Some(*i) } else { None });
            let extra = run.iter().filter_map(|place| if let Place::Extra(j) = place { Some(*j) } else { None });
            let (mut missing, mut extra) = (missing.fuse(), extra.fuse());
            loop {
                let what = match (missing.next(), extra.next()) {
                    (Some(i), Some(j)) => format!("{} came in the place of {}", ours[j], theirs[i]),
                    (Some(i), None) if theirs.len() == 1 => format!("{} did not come", theirs[i]),
                    (Some(i), None) => format!("{} ({} of {}) did not come", theirs[i], i + 1, theirs.len()),
                    (None, Some(j)) => {
                        let after = j.checked_sub(1).map(|j| format!(" after {}", ours[j])).unwrap_or_default();
                        format!("{} came{after}, and is not in the recording", ours[j])
                    }
                    (None, None) => break,
                };
                self.tell(group, what);
            }
        }
    }

    fn item(&mut self, group: &Group, recorded: &Item, found: &Item) {
        let mut told = match (&recorded.content, &found.content) {
            (Content::Message(recorded), Content::Message(found)) => {
                value::differences(Whole::Message, recorded, found)
            }
            (Content::Text(recorded), Content::Text(found)) if same_text(recorded, found) => Vec::new(),
            (
                Content::Request { content_type: was, json: recorded },
                Content::Request { content_type: is, json: found },
            ) => {
                let mut told = Vec::new();
                if was != is {
                    let [is, was] = [is, was].map(|kind| kind.as_deref().unwrap_or("none"));
                    told.push(format!("its content type is {is}, recorded: {was}"));
                }
                match (recorded, found) {
                    (Some(recorded), Some(found)) => told.extend(value::differences(Whole::Body, recorded, found)),
                    (Some(_), None) => told.push("its body is no JSON".into()),
                    (None, Some(_)) => told.push("its body is JSON, which it was not".into()),
                    (None, None) => {}
                }
                told
            }
            _ => vec!["it has another content".into()],
        };
        let more = told.len().saturating_sub(MOST_OF_ONE);
        if more > 0 {
            told.truncate(MOST_OF_ONE);
            told.push(format!("and {more} more fields are otherwise"));
        }
        for what in told {
            self.tell(group, format!("{}: {what}", found.name));
        }
    }
}

fn asked(request: &Request) -> Asked<'_> {
    Asked {
        method: &request.method,
        path: &request.path,
        content_type: request.header("content-type"),
        json: read_json(&request.body).filter(|json| json.is_object() || json.is_array()),
    }
}

/// Numbers that count up and times that go on.
#[derive(Default)]
struct Counter {
    id: Option<i64>,
    timestamp: Option<f64>,
    /// Since the last message.
    reopened: bool,
}

impl Counter {
    fn count(&mut self, message: &Value) -> Vec<String> {
        let mut wrong = Vec::new();
        let name = message["event"].as_str().or(message["progress"].as_str()).unwrap_or("a message");
        if let (Some(last), Some(id)) = (self.id, message["id"].as_i64())
            && (if self.reopened { id <= last } else { last.checked_add(1) != Some(id) })
        {
            wrong.push(format!("{name}: id {id} came after id {last}"));
        }
        if let (Some(last), Some(timestamp)) = (self.timestamp, message["timestamp"].as_f64())
            && timestamp < last
        {
            wrong.push(format!("{name}: timestamp {timestamp} came after timestamp {last}"));
        }
        self.id = message["id"].as_i64().or(self.id);
        self.timestamp = message["timestamp"].as_f64().or(self.timestamp);
        self.reopened = false;
        wrong
    }
}
