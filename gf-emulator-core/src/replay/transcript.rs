//! The messages and requests of a machine, grouped for comparison.

use std::collections::{HashMap, HashSet};
use std::fmt;

use serde_json::Value;

/// Messages or requests whose order is compared.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Group {
    /// The messages of an action or, if `None`, those without an action.
    Messages(Option<i64>),
    /// The requests for an action.
    Requests(i64),
    /// The requests for a path that concurrent actions share.
    Path(String),
    /// All other requests.
    OtherRequests,
}

/// A message or a request.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Item {
    /// The event of a message; method, path and, if the body has one, event of a request. Items are aligned by name.
    pub(super) name: String,
    pub(super) content: Content,
}

/// What is compared of an item.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Content {
    Message(Value),
    /// A message that is not JSON.
    Text(String),
    Request {
        content_type: Option<String>,
        json: Option<Value>,
    },
}

/// All messages and requests of a session.
#[derive(Debug, Default)]
pub(super) struct Transcript {
    /// In order of their first item.
    pub(super) groups: Vec<(Group, Vec<Item>)>,
    indices: HashMap<Group, usize>,
    /// The last progress message of each name.
    pub(super) progress: HashMap<String, Value>,
}

impl Transcript {
    pub(super) fn push(&mut self, group: Group, item: Item) {
        let index = *self.indices.entry(group).or_insert_with_key(|group| {
            self.groups.push((group.clone(), Vec::new()));
            self.groups.len() - 1
        });
        self.groups[index].1.push(item);
    }

    pub(super) fn of(&self, group: &Group) -> &[Item] {
        self.indices.get(group).map_or(&[], |&index| &self.groups[index].1)
    }

    /// Adds a message. Returns its action and name, or `None` for a progress message.
    pub(super) fn add_message(&mut self, json: Option<Value>, text: &str) -> Option<(Option<i64>, String)> {
        if let Some(progress) = json.as_ref().and_then(|json| json.get("progress")) {
            self.progress.insert(progress.as_str().unwrap_or_default().to_owned(), json.unwrap_or_default());
            return None;
        }
        let (action, item) = message_item(json, text);
        let name = item.name.clone();
        self.push(Group::Messages(action), item);
        Some((action, name))
    }

    /// Adds a request made after `sent_count` messages of the service. Returns its action, if known.
    pub(super) fn add_request(
        &mut self,
        actions: &ActionIndex,
        sent_count: usize,
        parts: RequestParts<'_>,
    ) -> Option<i64> {
        let (group, item) = request_item(actions, sent_count, parts);
        let action = if let Group::Requests(action) = group { Some(action) } else { None };
        self.push(group, item);
        action
    }
}

/// Returns the action and the item of a message that is not a progress message.
pub(super) fn message_item(json: Option<Value>, text: &str) -> (Option<i64>, Item) {
    match json {
        None => (None, Item { name: "a message that is not JSON".to_owned(), content: Content::Text(text.to_owned()) }),
        Some(json) => {
            let name = json["event"].as_str().unwrap_or("a message without an event").to_owned();
            (json["action_id"].as_i64(), Item { name, content: Content::Message(json) })
        }
    }
}

/// Returns the group and the item of a request made after `sent_count` messages of the service.
pub(super) fn request_item(actions: &ActionIndex, sent_count: usize, parts: RequestParts<'_>) -> (Group, Item) {
    let RequestParts { method, path, content_type, json } = parts;
    let group = actions.group(path, json.as_ref(), sent_count);
    let event = json.as_ref().and_then(|json| json["event"].as_str());
    let event = event.map(|event| format!(" {event}")).unwrap_or_default();
    let content_type = content_type.map(str::to_owned);
    (group, Item { name: format!("{method} {path}{event}"), content: Content::Request { content_type, json } })
}

/// What is compared of a request.
pub(super) struct RequestParts<'a> {
    pub(super) method: &'a str,
    pub(super) path: &'a str,
    pub(super) content_type: Option<&'a str>,
    pub(super) json: Option<Value>,
}

/// The actions that the service sent, and the paths in them.
#[derive(Debug, Default)]
pub(super) struct ActionIndex {
    /// How many messages the service has sent.
    pub(super) sent_count: usize,
    /// Action types by id.
    pub(super) types: HashMap<i64, String>,
    /// Actions that the service has cancelled.
    pub(super) cancelled: HashSet<i64>,
    /// For each path, the actions that contain it, with `sent_count` at the time.
    paths: HashMap<String, Vec<(usize, i64)>>,
    /// Paths in an action that was sent before an earlier action with the same path had ended.
    shared: HashSet<String>,
    /// Actions that have ended.
    ended: HashSet<i64>,
}

impl ActionIndex {
    /// Adds a message of the service.
    pub(super) fn add_sent(&mut self, json: Option<&Value>) {
        self.sent_count += 1;
        let Some(json) = json else { return };
        let (Some(id), Some(kind)) = (json["id"].as_i64(), json["action_type"].as_str()) else { return };
        self.types.entry(id).or_insert_with(|| kind.to_owned());
        if json["status"] == "cancelled" {
            self.cancelled.insert(id);
        }
        if json["status"] != "ready" {
            return;
        }
        self.ended.remove(&id);
        let fields = json.as_object().into_iter().flatten();
        for path in fields.filter_map(|(_, value)| path_of(value.as_str()?)) {
            let users = self.paths.entry(path.to_owned()).or_default();
            if users.last().is_some_and(|(_, last)| !self.ended.contains(last)) {
                self.shared.insert(path.to_owned());
            }
            users.push((self.sent_count, id));
        }
    }

    /// Marks an action as ended.
    pub(super) fn end(&mut self, action: i64) {
        self.ended.insert(action);
    }

    /// Returns whether an action contains a URL with this path.
    pub(super) fn has_path(&self, path: &str) -> bool {
        self.paths.contains_key(path)
    }

    /// Returns the group of a request made after `sent_count` messages of the service.
    fn group(&self, path: &str, json: Option<&Value>, sent_count: usize) -> Group {
        if self.shared.contains(path) {
            return Group::Path(path.to_owned());
        }
        let users = self.paths.get(path).map(Vec::as_slice).unwrap_or_default();
        let earlier = &users[..users.partition_point(|(sent, _)| *sent <= sent_count)];
        let last_user = earlier.last().map(|(_, action)| *action);
        let in_path = || path.strip_prefix("/api/machines/")?.rsplit_once('/')?.1.parse().ok();
        let in_body = || json?["action_id"].as_i64();
        last_user.or_else(in_path).or_else(in_body).map_or(Group::OtherRequests, Group::Requests)
    }

    /// Returns a group's name, for people.
    pub(super) fn describe<'a>(&'a self, group: &'a Group) -> GroupName<'a> {
        GroupName { actions: self, group }
    }
}

/// Displays a [`Group`].
pub(super) struct GroupName<'a> {
    actions: &'a ActionIndex,
    group: &'a Group,
}

impl fmt::Display for GroupName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.group {
            Group::Messages(Some(id)) | Group::Requests(id) => match self.actions.types.get(id) {
                Some(kind) => write!(f, "{kind} {id}"),
                None => write!(f, "action {id}, which the service did not send"),
            },
            Group::Messages(None) => f.write_str("messages without an action"),
            Group::Path(path) => write!(f, "requests for {path}"),
            Group::OtherRequests => f.write_str("requests without an action"),
        }
    }
}

/// Returns the path of an HTTP URL, without the query.
pub(super) fn path_of(url: &str) -> Option<&str> {
    let (scheme, rest) = url.split_once("://")?;
    if !["http", "https"].contains(&scheme) {
        return None;
    }
    let rest = &rest[..rest.find(['?', '#']).unwrap_or(rest.len())];
    Some(rest.find('/').map_or("/", |at| &rest[at..]))
}
