//! What a machine did, beside what was recorded.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use serde_json::Value;

use super::account::{self, Account, Asked, Content, Group, Item, Owners};
use super::alignment::{Place, align};
use super::value::{self, Whole, same_text};
use crate::local_service::{Request, Seen, is_ending, is_opening};
use crate::record::read_json;
use crate::words::count;

/// No more differences of one message or of one request are told one by one.
const MOST_OF_ONE: usize = 20;
/// No more differences are told at all; the others are counted.
const MOST_DIFFERENCES: usize = 1000;
/// What is told of a difference, in bytes.
const LONGEST: usize = 500;
/// How many messages and requests more than the recording has are compared; the others are counted.
const MOST_MORE: usize = 1000;
/// How much text may wait for the end to be compared, in bytes.
const MOST_WAITING_BYTES: usize = 4 << 20;

/// What came of a replay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Comparison {
    /// What is not as it was recorded: the first 1000 differences, in the order in which they were known.
    pub differences: Vec<Difference>,
    /// How many differences there are beyond that.
    pub left_out: usize,
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
        let Self { differences, left_out, actions, messages, requests } = self;
        match differences.len() + left_out {
            0 => f.write_str("no difference")?,
            n => f.write_str(&count(n, "difference"))?,
        }
        write!(f, ": {}, {}, {}", count(actions, "action"), count(messages, "message"), count(requests, "request"))
    }
}

/// What a session has to be compared with.
#[derive(Debug)]
pub(super) struct Recorded {
    pub(super) account: Account,
    pub(super) owners: Owners,
    /// Actions, messages without progress, and requests but those that connect.
    pub(super) counts: (usize, usize, usize),
}

/// Compares what a service sees with a recorded session while it goes on. See
/// [`Session::comparer`](super::Session::comparer).
///
/// A difference is known at once where everything of the same action came as it was recorded until then. Where something
/// else came, it is known when the action has ended, or at the end. Memory is bounded whatever comes.
#[derive(Debug)]
pub struct Comparer {
    recorded: Arc<Recorded>,
    /// How many things the service has said.
    said: usize,
    counter: Counter,
    /// In the order in which they began.
    groups: Vec<(Group, Found)>,
    places: HashMap<Group, usize>,
    differences: Vec<Difference>,
    left_out: usize,
    /// How many items more than the recording has may still come.
    more: usize,
    waiting_bytes: usize,
    /// How many messages and requests were not compared.
    uncompared: usize,
}

/// What was found of one group.
#[derive(Debug, Default)]
struct Found {
    /// So many came as they were recorded, and have been compared.
    same: usize,
    /// What came from then on.
    rest: Vec<Item>,
    /// The rest has been compared, too.
    closed: bool,
    /// How many endings of an action came.
    endings: usize,
    /// The last that came, by its name.
    last: Option<String>,
}

impl Comparer {
    pub(super) fn new(recorded: Arc<Recorded>) -> Self {
        Self {
            recorded,
            said: 0,
            counter: Counter::default(),
            groups: Vec::new(),
            places: HashMap::new(),
            differences: Vec::new(),
            left_out: 0,
            more: MOST_MORE,
            waiting_bytes: 0,
            uncompared: 0,
        }
    }

    /// Takes what comes next; gives the differences that are known by it.
    pub fn take(&mut self, seen: &Seen) -> &[Difference] {
        let before = self.differences.len();
        match seen {
            Seen::WsSent(_) => self.said += 1,
            Seen::WsOpened { .. } => self.counter.reopened = true,
            Seen::WsMessage { message, text } => {
                let group = Group::Messages(message["action_id"].as_i64());
                for what in self.counter.count(message) {
                    self.tell(&group, what);
                }
                if message.get("progress").is_some() {
                    self.progress(&group, message);
                } else {
                    let json = Some(message.clone()).filter(|json| !json.is_null());
                    let (action, item) = account::message(json, text.trim_end());
                    self.push(&Group::Messages(action), item, text.len());
                }
            }
            Seen::WsLeftOut { lines } => self.uncompared += lines,
            Seen::WsBinary(bytes) => {
                self.tell(&Group::Messages(None), format!("a binary frame of {bytes} bytes came"));
            }
            Seen::Http(request) if !is_opening(&request.path) => {
                let recorded = Arc::clone(&self.recorded);
                let (group, item) = account::request(&recorded.owners, self.said, asked(request));
                self.push(&group, item, request.path.len() + request.body.len());
            }
            _ => {}
        }
        &self.differences[before..]
    }

    /// What came of it, where nothing more is to come: the differences that are known by now, those that were given
    /// before included.
    #[must_use]
    pub fn finish(mut self) -> Comparison {
        let recorded = Arc::clone(&self.recorded);
        for (group, items) in &recorded.account.groups {
            match self.places.get(group) {
                Some(&place) => self.close(place),
                None => self.align(group, items, &Found::default()),
            }
        }
        for place in 0..self.groups.len() {
            self.close(place);
        }
        if self.uncompared > 0 {
            let what =
                format!("{} messages and requests came that were not compared: there were too many", self.uncompared);
            self.tell(&Group::OtherRequests, what);
        }
        let (actions, messages, requests) = recorded.counts;
        Comparison { differences: self.differences, left_out: self.left_out, actions, messages, requests }
    }

    fn tell(&mut self, group: &Group, mut what: String) {
        if self.differences.len() == MOST_DIFFERENCES {
            self.left_out += 1;
            return;
        }
        if what.len() > LONGEST {
            what.truncate(what.floor_char_boundary(LONGEST));
            what.push_str("...");
        }
        self.differences.push(Difference { of: self.recorded.owners.describe(group).to_string(), what });
    }

    fn progress(&mut self, group: &Group, message: &Value) {
        let recorded = Arc::clone(&self.recorded);
        let like = message["progress"].as_str().and_then(|name| recorded.account.progress.get(name));
        for what in like.map(|like| value::differences(Whole::Progress, like, message)).unwrap_or_default() {
            self.tell(group, format!("{}: {what}", message["progress"].as_str().unwrap_or_default()));
        }
    }

    /// Takes one more of a group.
    fn push(&mut self, group: &Group, item: Item, bytes: usize) {
        let recorded = Arc::clone(&self.recorded);
        let items = recorded.account.of(group);
        let place = match self.places.get(group) {
            Some(&place) => place,
            None if items.is_empty() && self.more == 0 => {
                self.uncompared += 1;
                return;
            }
            None => {
                self.groups.push((group.clone(), Found::default()));
                self.places.insert(group.clone(), self.groups.len() - 1);
                self.groups.len() - 1
            }
        };
        let found = &mut self.groups[place].1;
        let is_end = matches!(group, Group::Messages(Some(_))) && is_ending(&item.name);
        found.endings += usize::from(is_end);
        let last = found.last.replace(item.name[..item.name.floor_char_boundary(LONGEST)].to_owned());
        if found.closed {
            return self.tell(group, extra(&item.name, last.as_deref()));
        }
        let has_come = found.same + found.rest.len();
        if found.rest.is_empty() && items.get(has_come).is_some_and(|recorded| recorded.name == item.name) {
            found.same += 1;
            self.item(group, &items[has_come], &item);
        } else if (has_come >= items.len() && self.more == 0) || self.waiting_bytes + bytes > MOST_WAITING_BYTES {
            self.uncompared += 1;
        } else {
            found.rest.push(item);
            self.more -= usize::from(has_come >= items.len());
            self.waiting_bytes += bytes;
        }
        if is_end && items.last().is_some_and(|last| is_ending(&last.name)) {
            // An action may be asked for more than once, and then has more than one ending.
            let endings = items.iter().filter(|item| is_ending(&item.name)).count();
            if self.groups[place].1.endings >= endings {
                self.close(place);
            }
        }
    }

    /// Compares what has not been compared of a group of which no more is to come.
    fn close(&mut self, place: usize) {
        let (group, found) = &mut self.groups[place];
        if std::mem::replace(&mut found.closed, true) {
            return;
        }
        let (group, found) = (group.clone(), std::mem::take(found));
        let recorded = Arc::clone(&self.recorded);
        self.align(&group, recorded.account.of(&group), &found);
        self.groups[place].1 = Found { rest: Vec::new(), ..found };
    }

    /// Compares what came after the first difference of a group.
    fn align(&mut self, group: &Group, all: &[Item], found: &Found) {
        let recorded = &all[found.same..];
        let theirs: Vec<&str> = recorded.iter().map(|item| item.name.as_str()).collect();
        let ours: Vec<&str> = found.rest.iter().map(|item| item.name.as_str()).collect();
        let Some(places) = align(&theirs, &ours) else {
            let (was, is) = (all.len(), found.same + ours.len());
            return self.tell(group, format!("{is} came where {was} were recorded, and they have little in common"));
        };
        // Between two that both have: as many as there are of either, one came in the place of the other.
        for run in places.chunk_by(|one, next| !one.is_both() && !next.is_both()) {
            if let [Place::Both(i, j)] = *run {
                self.item(group, &recorded[i], &found.rest[j]);
                continue;
            }
            let missing = run.iter().filter_map(|place| if let Place::Missing(i) = place { Some(*i) } else { None });
            let added = run.iter().filter_map(|place| if let Place::Extra(j) = place { Some(*j) } else { None });
            let (mut missing, mut added) = (missing.fuse(), added.fuse());
            loop {
                let what = match (missing.next(), added.next()) {
                    (Some(i), Some(j)) => format!("{} came in the place of {}", ours[j], theirs[i]),
                    (Some(i), None) if all.len() == 1 => format!("{} did not come", theirs[i]),
                    (Some(i), None) => {
                        format!("{} ({} of {}) did not come", theirs[i], found.same + i + 1, all.len())
                    }
                    (None, Some(j)) => {
                        let same = all[..found.same].last().map(|item| item.name.as_str());
                        extra(ours[j], j.checked_sub(1).map(|j| ours[j]).or(same))
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

/// What is said of something that the recording does not have.
fn extra(name: &str, after: Option<&str>) -> String {
    let after = after.map(|after| format!(" after {after}")).unwrap_or_default();
    format!("{name} came{after}, and is not in the recording")
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
#[derive(Debug, Default)]
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
