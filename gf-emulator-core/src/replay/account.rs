//! What a machine said and asked for, sorted into what belongs together.

use std::collections::{HashMap, HashSet};
use std::fmt;

use serde_json::Value;

/// What is compared by itself.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Group {
    /// The messages of an action; without one, those that the machine sent of its own accord.
    Messages(Option<i64>),
    /// The requests for an action.
    Requests(i64),
    /// The requests for a path that actions have named which were under way together.
    Path(String),
    /// All other requests.
    OtherRequests,
}

/// A message or a request.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Item {
    /// What it is found again by: the event; method, path and, where it posts one, event.
    pub(super) name: String,
    pub(super) content: Content,
}

/// What is compared of an item.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Content {
    Message(Value),
    /// A message that is no JSON.
    Text(String),
    Request {
        content_type: Option<String>,
        json: Option<Value>,
    },
}

/// Everything that one side has of a session.
#[derive(Debug, Default)]
pub(super) struct Account {
    /// In the order in which they began.
    pub(super) groups: Vec<(Group, Vec<Item>)>,
    places: HashMap<Group, usize>,
    /// The last message of progress of each name: the others are like it.
    pub(super) progress: HashMap<String, Value>,
}

impl Account {
    pub(super) fn push(&mut self, group: Group, item: Item) {
        let place = *self.places.entry(group).or_insert_with_key(|group| {
            self.groups.push((group.clone(), Vec::new()));
            self.groups.len() - 1
        });
        self.groups[place].1.push(item);
    }

    pub(super) fn of(&self, group: &Group) -> &[Item] {
        self.places.get(group).map_or(&[], |&place| &self.groups[place].1)
    }

    /// Takes a message; says of which action it is and what it is, where it is no progress.
    pub(super) fn take_message(&mut self, json: Option<Value>, text: &str) -> Option<(Option<i64>, String)> {
        if let Some(progress) = json.as_ref().and_then(|json| json.get("progress")) {
            self.progress.insert(progress.as_str().unwrap_or_default().to_owned(), json.unwrap_or_default());
            return None;
        }
        let (action, item) = message(json, text);
        let name = item.name.clone();
        self.push(Group::Messages(action), item);
        Some((action, name))
    }

    /// Takes a request; says for which action it is, where that is known.
    pub(super) fn take_request(&mut self, owners: &Owners, asked: usize, asked_for: Asked<'_>) -> Option<i64> {
        let (group, item) = request(owners, asked, asked_for);
        let action = if let Group::Requests(action) = group { Some(action) } else { None };
        self.push(group, item);
        action
    }
}

/// A message that is no progress, and of which action it is.
pub(super) fn message(json: Option<Value>, text: &str) -> (Option<i64>, Item) {
    match json {
        None => (None, Item { name: "a message that is no JSON".to_owned(), content: Content::Text(text.to_owned()) }),
        Some(json) => {
            let name = json["event"].as_str().unwrap_or("a message without an event").to_owned();
            (json["action_id"].as_i64(), Item { name, content: Content::Message(json) })
        }
    }
}

/// A request, and what it belongs to; it was made after so many things were said.
pub(super) fn request(owners: &Owners, said: usize, request: Asked<'_>) -> (Group, Item) {
    let Asked { method, path, content_type, json } = request;
    let group = owners.group(path, json.as_ref(), said);
    let event = json.as_ref().and_then(|json| json["event"].as_str());
    let event = event.map(|event| format!(" {event}")).unwrap_or_default();
    let content_type = content_type.map(str::to_owned);
    (group, Item { name: format!("{method} {path}{event}"), content: Content::Request { content_type, json } })
}

/// A request, by whoever has it.
pub(super) struct Asked<'a> {
    pub(super) method: &'a str,
    pub(super) path: &'a str,
    pub(super) content_type: Option<&'a str>,
    pub(super) json: Option<Value>,
}

/// Which actions the service asked for, and where they have a machine go.
#[derive(Debug, Default)]
pub(super) struct Owners {
    /// How many things the service has said.
    pub(super) said: usize,
    /// The type of each action, by its id.
    pub(super) types: HashMap<i64, String>,
    /// Actions that the service has withdrawn.
    pub(super) withdrawn: HashSet<i64>,
    /// By path: after how many things said, and the action.
    paths: HashMap<String, Vec<(usize, i64)>>,
    /// Paths that were named again before the action that had named them was over.
    shared: HashSet<String>,
    /// Actions that are over.
    over: HashSet<i64>,
}

impl Owners {
    /// The service has said something.
    pub(super) fn say(&mut self, json: Option<&Value>) {
        self.said += 1;
        let Some(json) = json else { return };
        let (Some(id), Some(kind)) = (json["id"].as_i64(), json["action_type"].as_str()) else { return };
        self.types.entry(id).or_insert_with(|| kind.to_owned());
        if json["status"] == "cancelled" {
            self.withdrawn.insert(id);
        }
        if json["status"] != "ready" {
            return;
        }
        self.over.remove(&id);
        let fields = json.as_object().into_iter().flatten();
        for path in fields.filter_map(|(_, value)| path_of(value.as_str()?)) {
            let named = self.paths.entry(path.to_owned()).or_default();
            if named.last().is_some_and(|(_, last)| !self.over.contains(last)) {
                self.shared.insert(path.to_owned());
            }
            named.push((self.said, id));
        }
    }

    /// An action is over.
    pub(super) fn end(&mut self, action: i64) {
        self.over.insert(action);
    }

    /// Whether any action has a machine go there.
    pub(super) fn names(&self, path: &str) -> bool {
        self.paths.contains_key(path)
    }

    /// Whom a request is for that came after so many things were said.
    fn group(&self, path: &str, json: Option<&Value>, asked: usize) -> Group {
        if self.shared.contains(path) {
            return Group::Path(path.to_owned());
        }
        let named = self.paths.get(path).map(Vec::as_slice).unwrap_or_default();
        let named = named[..named.partition_point(|(said, _)| *said <= asked)].last().map(|(_, action)| *action);
        let in_path = || path.strip_prefix("/api/machines/")?.rsplit_once('/')?.1.parse().ok();
        let in_body = || json?["action_id"].as_i64();
        named.or_else(in_path).or_else(in_body).map_or(Group::OtherRequests, Group::Requests)
    }

    /// A group, for people.
    pub(super) fn describe<'a>(&'a self, group: &'a Group) -> Described<'a> {
        Described { owners: self, group }
    }
}

pub(super) struct Described<'a> {
    owners: &'a Owners,
    group: &'a Group,
}

impl fmt::Display for Described<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.group {
            Group::Messages(Some(id)) | Group::Requests(id) => match self.owners.types.get(id) {
                Some(kind) => write!(f, "{kind} {id}"),
                None => write!(f, "action {id}, which nobody asked for"),
            },
            Group::Messages(None) => f.write_str("of its own accord"),
            Group::Path(path) => write!(f, "requests for {path}"),
            Group::OtherRequests => f.write_str("requests for no action"),
        }
    }
}

/// The path of a URL of the web, without a query.
pub(super) fn path_of(url: &str) -> Option<&str> {
    let (scheme, rest) = url.split_once("://")?;
    if !["http", "https"].contains(&scheme) {
        return None;
    }
    let rest = &rest[..rest.find(['?', '#']).unwrap_or(rest.len())];
    Some(rest.find('/').map_or("/", |at| &rest[at..]))
}
