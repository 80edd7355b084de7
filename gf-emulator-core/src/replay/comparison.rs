//! Compares what a machine does with a recording.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use serde_json::Value;

use super::alignment::{AlignedRow, align};
use super::json_diff::{self, JsonKind, same_text};
use super::transcript::{self, ActionIndex, Content, Group, Item, RequestParts, Transcript};
use crate::local_service::{Request, Seen, is_connecting, is_ending};
use crate::record::read_json;
use crate::words::{count, prefix};

/// Maximum number of differences that are listed of one message or request.
const ITEM_DIFFERENCES_LIMIT: usize = 20;
/// Maximum number of differences that are kept; further ones are counted.
const DIFFERENCES_LIMIT: usize = 1000;
/// Maximum length of the text of a difference, in bytes.
const DETAIL_LIMIT_BYTES: usize = 500;
/// Maximum number of messages and requests beyond those in the recording that are compared; further ones are counted.
const EXTRA_ITEMS_LIMIT: usize = 1000;
/// Maximum size of the items that are kept for a later comparison, in bytes.
const KEPT_LIMIT_BYTES: usize = 4 << 20;

/// The result of a replay.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Comparison {
    /// The first 1000 differences, in the order in which they were found.
    pub differences: Vec<Difference>,
    /// The number of further differences.
    pub left_out: usize,
    /// The number of actions in the recording.
    pub actions: usize,
    /// The number of messages in the recording, without progress messages.
    pub messages: usize,
    /// The number of requests in the recording, without sign-ins and handshakes.
    pub requests: usize,
}

/// A difference from the recording. Displays as one line.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Difference {
    /// The action, such as `lid_image 1002`, or another group of messages or requests.
    pub subject: String,
    /// The difference.
    pub detail: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Peers choose part of it: keep it on one line, without control characters.
        let line = format!("{}: {}", self.subject, self.detail);
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

/// The machine's side of a recording.
#[derive(Debug)]
pub(super) struct RecordedSide {
    pub(super) transcript: Transcript,
    pub(super) actions: ActionIndex,
    pub(super) counts: RecordedCounts,
}

/// See the fields of [`Comparison`].
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct RecordedCounts {
    pub(super) actions: usize,
    pub(super) messages: usize,
    pub(super) requests: usize,
}

/// Compares what a service sees with a recorded session while it runs. See
/// [`Session::comparer`](super::Session::comparer).
///
/// A difference is found at once while the items of its action come in the recorded order. After an item out of order,
/// the rest of the action is compared when the action has ended, or at the end. Memory is bounded.
#[derive(Debug)]
pub struct Comparer {
    recorded: Arc<RecordedSide>,
    /// How many messages the service has sent.
    sent_count: usize,
    sequence: SequenceCheck,
    /// In order of their first item.
    groups: Vec<(Group, Observed)>,
    indices: HashMap<Group, usize>,
    differences: Vec<Difference>,
    left_out: usize,
    /// How many more items beyond those in the recording may be compared.
    extra_left: usize,
    kept_bytes: usize,
    /// How many messages and requests were not compared, because of the limits.
    uncompared: usize,
    /// What has not arrived is no difference.
    is_stopped: bool,
}

/// What was observed of one group.
#[derive(Debug, Default)]
struct Observed {
    /// How many items arrived in the recorded order and were compared.
    in_order: usize,
    /// The items after those.
    rest: Vec<Item>,
    /// The rest was compared as well.
    closed: bool,
    /// How many endings of the action arrived.
    endings: usize,
    /// The name of the last item.
    last: Option<String>,
}

impl Comparer {
    pub(super) fn new(recorded: Arc<RecordedSide>) -> Self {
        Self {
            recorded,
            sent_count: 0,
            sequence: SequenceCheck::default(),
            groups: Vec::new(),
            indices: HashMap::new(),
            differences: Vec::new(),
            left_out: 0,
            extra_left: EXTRA_ITEMS_LIMIT,
            kept_bytes: 0,
            uncompared: 0,
            is_stopped: false,
        }
    }

    /// Processes the next event. Returns the differences that it revealed.
    pub fn push(&mut self, seen: &Seen) -> &[Difference] {
        let before = self.differences.len();
        match seen {
            Seen::WsSent(_) => self.sent_count += 1,
            Seen::WsOpened { .. } => self.sequence.reopened = true,
            Seen::WsMessage { message, text } => {
                let group = Group::Messages(message["action_id"].as_i64());
                for detail in self.sequence.check(message) {
                    self.report(&group, detail);
                }
                if message.get("progress").is_some() {
                    self.progress(&group, message);
                } else {
                    let json = Some(message.clone()).filter(|json| !json.is_null());
                    let (action, item) = transcript::message_item(json, text.trim_end());
                    self.push_item(&Group::Messages(action), item, text.len());
                }
            }
            Seen::WsLeftOut { lines } => self.uncompared += lines,
            Seen::WsBinary(bytes) => {
                self.report(&Group::Messages(None), format!("a binary frame of {bytes} bytes arrived"));
            }
            Seen::Http(request) if !is_connecting(&request.path) => {
                let recorded = Arc::clone(&self.recorded);
                let (group, item) =
                    transcript::request_item(&recorded.actions, self.sent_count, request_parts(request));
                self.push_item(&group, item, request.path.len() + request.body.len());
            }
            _ => {}
        }
        &self.differences[before..]
    }

    /// Compares the rest and returns all differences, including those that [`push`](Self::push) returned.
    #[must_use]
    pub fn finish(self) -> Comparison {
        self.end()
    }

    /// Like [`finish`](Self::finish), for a replay that was stopped: what has not arrived is no difference.
    #[must_use]
    pub fn finish_stopped(mut self) -> Comparison {
        self.is_stopped = true;
        self.end()
    }

    fn end(mut self) -> Comparison {
        let recorded = Arc::clone(&self.recorded);
        for (group, items) in &recorded.transcript.groups {
            match self.indices.get(group) {
                Some(&index) => self.close(index),
                None => self.align(group, items, &Observed::default()),
            }
        }
        for index in 0..self.groups.len() {
            self.close(index);
        }
        if self.uncompared > 0 {
            let detail =
                format!("{} more messages and requests were not compared: there were too many", self.uncompared);
            self.report(&Group::OtherRequests, detail);
        }
        let RecordedCounts { actions, messages, requests } = recorded.counts;
        Comparison { differences: self.differences, left_out: self.left_out, actions, messages, requests }
    }

    fn report(&mut self, group: &Group, mut detail: String) {
        if self.differences.len() == DIFFERENCES_LIMIT {
            self.left_out += 1;
            return;
        }
        if detail.len() > DETAIL_LIMIT_BYTES {
            detail = format!("{}...", prefix(&detail, DETAIL_LIMIT_BYTES));
        }
        let subject = self.recorded.actions.describe(group).to_string();
        self.differences.push(Difference { subject, detail });
    }

    fn progress(&mut self, group: &Group, message: &Value) {
        let recorded = Arc::clone(&self.recorded);
        let Some(name) = message["progress"].as_str() else { return };
        let Some(last) = recorded.transcript.progress.get(name) else { return };
        for difference in json_diff::differences(JsonKind::Progress, last, message) {
            self.report(group, format!("{name}: {difference}"));
        }
    }

    /// Processes the next item of a group.
    fn push_item(&mut self, group: &Group, item: Item, bytes: usize) {
        let recorded = Arc::clone(&self.recorded);
        let items = recorded.transcript.of(group);
        let index = match self.indices.get(group) {
            Some(&index) => index,
            None if items.is_empty() && self.extra_left == 0 => {
                self.uncompared += 1;
                return;
            }
            None => {
                self.groups.push((group.clone(), Observed::default()));
                self.indices.insert(group.clone(), self.groups.len() - 1);
                self.groups.len() - 1
            }
        };
        let observed = &mut self.groups[index].1;
        let is_end = matches!(group, Group::Messages(Some(_))) && is_ending(&item.name);
        observed.endings += usize::from(is_end);
        let last = observed.last.replace(prefix(&item.name, DETAIL_LIMIT_BYTES).to_owned());
        if observed.closed {
            return self.report(group, extra(&item.name, last.as_deref()));
        }
        let count = observed.in_order + observed.rest.len();
        if observed.rest.is_empty() && items.get(count).is_some_and(|recorded| recorded.name == item.name) {
            observed.in_order += 1;
            self.compare_item(group, &items[count], &item);
        } else if (count >= items.len() && self.extra_left == 0) || self.kept_bytes + bytes > KEPT_LIMIT_BYTES {
            self.uncompared += 1;
        } else {
            observed.rest.push(item);
            self.extra_left -= usize::from(count >= items.len());
            self.kept_bytes += bytes;
        }
        if is_end && items.last().is_some_and(|last| is_ending(&last.name)) {
            // An action that is sent more than once has more than one ending.
            let endings = items.iter().filter(|item| is_ending(&item.name)).count();
            if self.groups[index].1.endings >= endings {
                self.close(index);
            }
        }
    }

    /// Compares the rest of a group that is complete.
    fn close(&mut self, index: usize) {
        let (group, observed) = &mut self.groups[index];
        if std::mem::replace(&mut observed.closed, true) {
            return;
        }
        let (group, observed) = (group.clone(), std::mem::take(observed));
        let recorded = Arc::clone(&self.recorded);
        self.align(&group, recorded.transcript.of(&group), &observed);
        self.groups[index].1 = Observed { rest: Vec::new(), ..observed };
    }

    /// Compares the items of a group after those in the recorded order.
    fn align(&mut self, group: &Group, all: &[Item], observed: &Observed) {
        let recorded = &all[observed.in_order..];
        let expected: Vec<&str> = recorded.iter().map(|item| item.name.as_str()).collect();
        let names: Vec<&str> = observed.rest.iter().map(|item| item.name.as_str()).collect();
        let Some(rows) = align(&expected, &names) else {
            let (was, is) = (all.len(), observed.in_order + names.len());
            let detail = format!("{is} arrived but {was} were recorded, and they differ too much to compare");
            return self.report(group, detail);
        };
        // Between items that both have, missing and extra ones are paired: one arrived instead of the other.
        for run in rows.chunk_by(|one, next| !one.is_both() && !next.is_both()) {
            if let [AlignedRow::Both(i, j)] = *run {
                self.compare_item(group, &recorded[i], &observed.rest[j]);
                continue;
            }
            let missing = run.iter().filter_map(|row| if let AlignedRow::Missing(i) = row { Some(*i) } else { None });
            let added = run.iter().filter_map(|row| if let AlignedRow::Extra(j) = row { Some(*j) } else { None });
            let (mut missing, mut added) = (missing.fuse(), added.fuse());
            loop {
                let detail = match (missing.next(), added.next()) {
                    (Some(i), Some(j)) => format!("{} arrived instead of {}", names[j], expected[i]),
                    (Some(_), None) if self.is_stopped => continue,
                    (Some(i), None) if all.len() == 1 => format!("{} did not arrive", expected[i]),
                    (Some(i), None) => {
                        format!("{} ({} of {}) did not arrive", expected[i], observed.in_order + i + 1, all.len())
                    }
                    (None, Some(j)) => {
                        let previous = all[..observed.in_order].last().map(|item| item.name.as_str());
                        extra(names[j], j.checked_sub(1).map(|j| names[j]).or(previous))
                    }
                    (None, None) => break,
                };
                self.report(group, detail);
            }
        }
    }

    fn compare_item(&mut self, group: &Group, recorded: &Item, observed: &Item) {
        let mut texts = match (&recorded.content, &observed.content) {
            (Content::Message(recorded), Content::Message(observed)) => {
                json_diff::differences(JsonKind::Message, recorded, observed)
            }
            (Content::Text(recorded), Content::Text(observed)) if same_text(recorded, observed) => Vec::new(),
            (
                Content::Request { content_type: was, json: recorded },
                Content::Request { content_type: is, json: observed },
            ) => {
                let mut texts = Vec::new();
                if was != is {
                    let [is, was] = [is, was].map(|kind| kind.as_deref().unwrap_or("none"));
                    texts.push(format!("its content type is {is}, recorded: {was}"));
                }
                match (recorded, observed) {
                    (Some(recorded), Some(observed)) => {
                        texts.extend(json_diff::differences(JsonKind::Body, recorded, observed));
                    }
                    (Some(_), None) => texts.push("its body is not JSON".into()),
                    (None, Some(_)) => texts.push("its body is JSON, but the recorded one is not".into()),
                    (None, None) => {}
                }
                texts
            }
            _ => vec!["it is of another kind".into()],
        };
        let more = texts.len().saturating_sub(ITEM_DIFFERENCES_LIMIT);
        if more > 0 {
            texts.truncate(ITEM_DIFFERENCES_LIMIT);
            texts.push(format!("and {more} more fields differ"));
        }
        for text in texts {
            self.report(group, format!("{}: {text}", observed.name));
        }
    }
}

/// Describes an item that is not in the recording.
fn extra(name: &str, after: Option<&str>) -> String {
    let after = after.map(|after| format!(" after {after}")).unwrap_or_default();
    format!("{name} arrived{after}, but is not in the recording")
}

fn request_parts(request: &Request) -> RequestParts<'_> {
    RequestParts {
        method: &request.method,
        path: &request.path,
        content_type: request.header("content-type"),
        json: read_json(&request.body).filter(|json| json.is_object() || json.is_array()),
    }
}

/// Checks that message ids count up by one and timestamps do not go back.
#[derive(Debug, Default)]
struct SequenceCheck {
    id: Option<i64>,
    timestamp: Option<f64>,
    /// Whether the WebSocket was reopened since the last message.
    reopened: bool,
}

impl SequenceCheck {
    fn check(&mut self, message: &Value) -> Vec<String> {
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
