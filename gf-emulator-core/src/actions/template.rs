//! Message templates: JSON with places to fill in.
//!
//! A string `"<NAME>"` that is nothing but a placeholder becomes the value itself, a number or an object where that is
//! what it is; a placeholder within a longer string becomes text. Filling in happens in JSON, never in text: a quote in
//! a value cannot break the message. Pure.

use std::collections::BTreeMap;

use serde::ser::{SerializeMap, SerializeSeq};
use serde::{Serialize, Serializer};
use serde_json::Value;

/// The names that a running action has values for. In tables they are written in capitals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Variable {
    /// Of the message: counts up by one.
    Id,
    /// Hundredths of a second since the start, plus 3800.
    Timestamp,
    /// Of the action that is being done.
    ActionId,
    /// Milliseconds since 1970.
    MilliEpoch,
    /// Where the action's pulse file is.
    MotionUrl,
    /// The settings report: `{"values": {...}}`, or `{}`.
    Settings,
    /// What the firmware check was told.
    AvailableFirmware,
    /// How far a transfer or a run is, in bytes or steps.
    Current,
    /// The whole length of a run in steps.
    Total,
    /// Where the head is, in microsteps from where the job began.
    X,
    Y,
    Z,
}

impl Variable {
    pub(crate) const ALL: [(&'static str, Self); 12] = [
        ("ID", Self::Id),
        ("TIMESTAMP", Self::Timestamp),
        ("ACTION_ID", Self::ActionId),
        ("MILLI_EPOCH", Self::MilliEpoch),
        ("MOTION_URL", Self::MotionUrl),
        ("SETTINGS", Self::Settings),
        ("AVAILABLE_FIRMWARE", Self::AvailableFirmware),
        ("CURRENT", Self::Current),
        ("TOTAL", Self::Total),
        ("X", Self::X),
        ("Y", Self::Y),
        ("Z", Self::Z),
    ];

    fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(known, _)| *known == name).map(|(_, variable)| *variable)
    }
}

/// Values for variables.
pub(crate) type Values = BTreeMap<Variable, Value>;

/// A message ready to be filled in: what is known when the table is loaded is in it already.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Template(Node);

#[derive(Debug, Clone, PartialEq)]
enum Node {
    Fixed(Value),
    Variable(Variable),
    Text(Vec<Piece>),
    List(Vec<Node>),
    Object(Vec<(String, Node)>),
}

#[derive(Debug, Clone, PartialEq)]
enum Piece {
    Fixed(String),
    Variable(Variable),
}

impl Template {
    /// Compiles a message. `known` has values for names that are settled now: a step's own words (`<event>`) and the
    /// configuration's (`<MACHINE.FIRMWARE>`); everything else must be a [`Variable`].
    ///
    /// The error names the placeholder that nothing has a value for.
    pub(crate) fn compile(message: &Value, known: &dyn Fn(&str) -> Option<Value>) -> Result<Self, String> {
        compile(message, known, 0).map(Self)
    }

    /// Every variable that has to have a value when this is filled in.
    pub(crate) fn variables(&self) -> Vec<Variable> {
        let mut found = Vec::new();
        collect(&self.0, &mut found);
        found
    }

    /// The message as JSON text. The first of `values` that has a variable counts; one without a value would be null: a
    /// table in which that could happen is refused when it is loaded.
    pub(crate) fn fill(&self, values: &[&Values]) -> String {
        serde_json::to_string(&Filled { node: &self.0, values }).expect("strings as keys and plain values are JSON")
    }

    /// The text of a field of the message that is settled already.
    pub(crate) fn fixed_text(&self, field: &str) -> Option<&str> {
        match self.field(field) {
            Some(Node::Fixed(Value::String(text))) => Some(text),
            _ => None,
        }
    }

    /// Whether the message is a JSON object.
    pub(crate) fn is_object(&self) -> bool {
        matches!(self.0, Node::Object(_))
    }

    /// Whether the text of a field of the message is settled only when it is filled in.
    pub(crate) fn varies(&self, field: &str) -> bool {
        matches!(self.field(field), Some(Node::Variable(_) | Node::Text(_)))
    }

    /// Whether a field of the message is this variable's value and no more.
    pub(crate) fn is_variable(&self, field: &str, variable: Variable) -> bool {
        matches!(self.field(field), Some(Node::Variable(found)) if *found == variable)
    }

    fn field(&self, name: &str) -> Option<&Node> {
        let Node::Object(fields) = &self.0 else { return None };
        fields.iter().find(|(known, _)| known == name).map(|(_, node)| node)
    }
}

/// A step's words may hold placeholders themselves (a log line with the URL in it), but not for ever.
const DEEPEST: usize = 4;

fn compile(value: &Value, known: &dyn Fn(&str) -> Option<Value>, depth: usize) -> Result<Node, String> {
    match value {
        Value::String(text) => compile_text(text, known, depth),
        Value::Array(items) => {
            items.iter().map(|item| compile(item, known, depth)).collect::<Result<_, _>>().map(Node::List)
        }
        Value::Object(fields) => fields
            .iter()
            .map(|(name, field)| Ok((name.clone(), compile(field, known, depth)?)))
            .collect::<Result<_, String>>()
            .map(Node::Object),
        other => Ok(Node::Fixed(other.clone())),
    }
}

fn compile_text(text: &str, known: &dyn Fn(&str) -> Option<Value>, depth: usize) -> Result<Node, String> {
    if depth > DEEPEST {
        return Err(format!("{text:?} leads to itself"));
    }
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some((before, name, after)) = next_placeholder(rest) {
        push_fixed(&mut pieces, before);
        let node = match (known(name), Variable::named(name)) {
            (Some(value), _) => compile(&value, known, depth + 1)?,
            (None, Some(variable)) => Node::Variable(variable),
            (None, None) => return Err(format!("nothing has a value for <{name}>")),
        };
        if before.is_empty() && after.is_empty() && pieces.is_empty() {
            return Ok(node);
        }
        match node {
            Node::Fixed(value) => push_fixed(&mut pieces, &as_text(&value)),
            Node::Variable(variable) => pieces.push(Piece::Variable(variable)),
            Node::Text(inner) => pieces.extend(inner),
            Node::List(_) | Node::Object(_) => {
                return Err(format!("<{name}> is a list or an object, and cannot stand within a text"));
            }
        }
        rest = after;
    }
    push_fixed(&mut pieces, rest);
    Ok(match pieces.as_slice() {
        [] => Node::Fixed(Value::String(String::new())),
        [Piece::Fixed(text)] => Node::Fixed(Value::String(text.clone())),
        _ => Node::Text(pieces),
    })
}

/// Text before, the name, and text behind the first `<NAME>`. Names have letters, digits, dots and underscores.
fn next_placeholder(text: &str) -> Option<(&str, &str, &str)> {
    for (start, _) in text.match_indices('<') {
        let length = text[start + 1..].find('>')?;
        let name = &text[start + 1..start + 1 + length];
        if !name.is_empty() && name.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_' || c == b'.') {
            return Some((&text[..start], name, &text[start + length + 2..]));
        }
    }
    None
}

fn push_fixed(pieces: &mut Vec<Piece>, text: &str) {
    match pieces.last_mut() {
        _ if text.is_empty() => {}
        Some(Piece::Fixed(before)) => before.push_str(text),
        _ => pieces.push(Piece::Fixed(text.to_owned())),
    }
}

fn as_text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn collect(node: &Node, found: &mut Vec<Variable>) {
    match node {
        Node::Fixed(_) => {}
        Node::Variable(variable) => found.push(*variable),
        Node::Text(pieces) => found.extend(pieces.iter().filter_map(|piece| match piece {
            Piece::Variable(variable) => Some(*variable),
            Piece::Fixed(_) => None,
        })),
        Node::List(nodes) => nodes.iter().for_each(|node| collect(node, found)),
        Node::Object(fields) => fields.iter().for_each(|(_, node)| collect(node, found)),
    }
}

/// A node with its values, written without a copy of either: a settings report has 547 of them.
struct Filled<'a> {
    node: &'a Node,
    values: &'a [&'a Values],
}

impl<'a> Filled<'a> {
    fn value_of(&self, variable: Variable) -> &'a Value {
        self.values.iter().find_map(|values| values.get(&variable)).unwrap_or(&Value::Null)
    }

    fn with(&self, node: &'a Node) -> Self {
        Self { node, values: self.values }
    }
}

impl Serialize for Filled<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.node {
            Node::Fixed(value) => value.serialize(serializer),
            Node::Variable(variable) => self.value_of(*variable).serialize(serializer),
            Node::Text(pieces) => {
                let mut text = String::new();
                for piece in pieces {
                    match piece {
                        Piece::Fixed(fixed) => text.push_str(fixed),
                        Piece::Variable(variable) => text.push_str(&as_text(self.value_of(*variable))),
                    }
                }
                serializer.serialize_str(&text)
            }
            Node::List(nodes) => {
                let mut list = serializer.serialize_seq(Some(nodes.len()))?;
                for node in nodes {
                    list.serialize_element(&self.with(node))?;
                }
                list.end()
            }
            Node::Object(fields) => {
                let mut object = serializer.serialize_map(Some(fields.len()))?;
                for (name, node) in fields {
                    object.serialize_entry(name, &self.with(node))?;
                }
                object.end()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn words<'a>(words: &'a [(&'a str, Value)]) -> impl Fn(&str) -> Option<Value> + 'a {
        move |name| words.iter().find(|(known, _)| *known == name).map(|(_, value)| value.clone())
    }

    #[test]
    fn fills_in_numbers_as_numbers_and_text_as_text() {
        let message = json!({"id": "<ID>", "event": "<event>", "log": "from <MOTION_URL>, twice: <MOTION_URL>"});
        let template = Template::compile(&message, &words(&[("event", json!("print:starting"))])).unwrap();
        assert_eq!(template.variables(), [Variable::Id, Variable::MotionUrl, Variable::MotionUrl]);
        assert_eq!(template.fixed_text("event"), Some("print:starting"));
        let values = Values::from([(Variable::Id, json!(32)), (Variable::MotionUrl, json!("https://x/\"y\""))]);
        assert_eq!(
            template.fill(&[&values]),
            r#"{"id":32,"event":"print:starting","log":"from https://x/\"y\", twice: https://x/\"y\""}"#
        );
    }

    #[test]
    fn the_first_value_counts_and_nothing_is_null() {
        let template = Template::compile(&json!({"id": ["<ID>", "<X>"], "total": "<TOTAL>"}), &words(&[])).unwrap();
        let own = Values::from([(Variable::Id, json!(32))]);
        let others = Values::from([(Variable::Id, json!(1)), (Variable::X, json!({"a": 1.5}))]);
        assert_eq!(template.fill(&[&own, &others]), r#"{"id":[32,{"a":1.5}],"total":null}"#);
    }

    #[test]
    fn a_word_may_hold_placeholders_but_not_itself() {
        let known = [("log", json!("downloading from <MOTION_URL>")), ("loop", json!("<loop>"))];
        let template = Template::compile(&json!("<log>"), &words(&known)).unwrap();
        assert_eq!(template.variables(), [Variable::MotionUrl]);
        assert!(Template::compile(&json!("<loop>"), &words(&known)).unwrap_err().contains("leads to itself"));
    }

    #[test]
    fn a_placeholder_that_nothing_has_a_value_for_is_found_at_once() {
        let error = Template::compile(&json!({"a": ["<NOBODY>"]}), &words(&[])).unwrap_err();
        assert_eq!(error, "nothing has a value for <NOBODY>");
    }

    #[test]
    fn what_only_looks_like_a_placeholder_is_text() {
        for text in ["a < b > c", "<", "<>", "<a b>", "1 << 2 >", "é<é>"] {
            let template = Template::compile(&json!(text), &words(&[])).unwrap();
            assert_eq!(template.fill(&[]), json!(text).to_string());
        }
    }

    proptest! {
        #[test]
        fn any_value_comes_back_out_of_the_json_as_it_went_in(text in ".*", around in "[^<>]*") {
            let template = Template::compile(&json!({"a": format!("{around}<MOTION_URL>"), "b": "<MOTION_URL>"}), &words(&[]));
            let values = Values::from([(Variable::MotionUrl, json!(text))]);
            let wire = template.unwrap().fill(&[&values]);
            let back: Value = serde_json::from_str(&wire).unwrap();
            prop_assert_eq!(&back["b"], &json!(text));
            prop_assert_eq!(&back["a"], &json!(format!("{around}{text}")));
        }

        #[test]
        fn no_text_makes_compiling_panic(text in ".*") {
            let _ = Template::compile(&json!(text), &words(&[]));
        }
    }
}
