//! Message templates: JSON objects with placeholders.
//!
//! A string `"<NAME>"` becomes the value itself, whatever its JSON type; a placeholder within a longer string becomes
//! text. Values are inserted into JSON values, not into JSON text, so quotes in a value cannot break a message.

use std::collections::BTreeMap;
use std::fmt;

use serde::ser::{SerializeMap, SerializeSeq};
use serde::{Serialize, Serializer};
use serde_json::{Map, Value};

/// A placeholder whose value is known only when a message is sent.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Variable {
    /// The message's number.
    Id,
    /// 1/100 s since the emulator started, plus 3800.
    Timestamp,
    ActionId,
    /// Unix time in milliseconds.
    MilliEpoch,
    MotionUrl,
    /// The settings report: `{"values": {...}}` or `{}`.
    Settings,
    /// The version that the firmware check returned.
    AvailableFirmware,
    /// Bytes of a transfer or ticks of a job so far.
    Current,
    /// The length in ticks of the job or of the way home.
    Total,
    /// Ticks played so far, with those that were repeated after a pause.
    Played,
    /// 1 while the machine runs, 0 if it is paused, stopped or at the end.
    Running,
    /// The head's position in microsteps from the start of the job.
    X,
    Y,
    Z,
    /// These are the machine's, from its configuration.
    Firmware,
    AppVersion,
    IpAddress,
    Serial,
    Hostname,
    /// The result of a custom step (`name`) or a field of it (`name.field`).
    Result(String),
}

impl Variable {
    /// The variables that have a value everywhere: those of the machine.
    pub(crate) const OF_MACHINE: [Self; 5] =
        [Self::Firmware, Self::AppVersion, Self::IpAddress, Self::Serial, Self::Hostname];
    const NAMES: [(&'static str, Self); 19] = [
        ("ID", Self::Id),
        ("TIMESTAMP", Self::Timestamp),
        ("ACTION_ID", Self::ActionId),
        ("MILLI_EPOCH", Self::MilliEpoch),
        ("MOTION_URL", Self::MotionUrl),
        ("SETTINGS", Self::Settings),
        ("AVAILABLE_FIRMWARE", Self::AvailableFirmware),
        ("CURRENT", Self::Current),
        ("TOTAL", Self::Total),
        ("PLAYED", Self::Played),
        ("RUNNING", Self::Running),
        ("X", Self::X),
        ("Y", Self::Y),
        ("Z", Self::Z),
        ("MACHINE.FIRMWARE", Self::Firmware),
        ("MACHINE.APP_VERSION", Self::AppVersion),
        ("MACHINE.IP_ADDRESS", Self::IpAddress),
        ("MACHINE.SERIAL", Self::Serial),
        ("MACHINE.HOSTNAME", Self::Hostname),
    ];

    fn named(name: &str) -> Option<Self> {
        if let Some(result) = name.strip_prefix("RESULT.") {
            return Some(Self::Result(result.to_owned()));
        }
        Self::NAMES.iter().find(|(known, _)| *known == name).map(|(_, variable)| variable.clone())
    }

    /// Returns the variable of a custom step's result, or of a field of it.
    pub(crate) fn result(step: &str, field: Option<&str>) -> Self {
        Self::Result(field.map_or_else(|| step.to_owned(), |field| format!("{step}.{field}")))
    }
}

impl fmt::Display for Variable {
    /// Writes the placeholder.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self, Self::NAMES.iter().find(|(_, known)| known == self)) {
            (Self::Result(name), _) => write!(f, "<RESULT.{name}>"),
            (_, name) => write!(f, "<{}>", name.map_or("?", |(name, _)| name)),
        }
    }
}

/// Values of variables.
pub(crate) type Values = BTreeMap<Variable, Value>;

/// A compiled message: everything known when the table is loaded is filled in.
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
    /// Compiles a message. `known` returns the values of the step's own placeholders (`<event>`). All others must be
    /// [`Variable`]s; the error names the first that is not.
    pub(crate) fn compile(message: &Map<String, Value>, known: &dyn Fn(&str) -> Option<Value>) -> Result<Self, String> {
        compile_object(message, known, 0).map(Self)
    }

    /// Returns all variables of the message.
    pub(crate) fn variables(&self) -> Vec<&Variable> {
        let mut found = Vec::new();
        collect_variables(&self.0, &mut found);
        found
    }

    /// Returns the message as JSON text, each variable replaced by its value in the first of `values` that has it. A
    /// variable without a value becomes null, which the checks of a table rule out.
    pub(crate) fn fill(&self, values: &[&Values]) -> String {
        serde_json::to_string(&Filled { node: &self.0, values }).expect("keys are strings and values are JSON")
    }

    /// Returns the text of a top-level field without variables.
    pub(crate) fn fixed_text(&self, field: &str) -> Option<&str> {
        match self.field(field) {
            Some(Node::Fixed(Value::String(text))) => Some(text),
            _ => None,
        }
    }

    /// Returns whether a top-level field depends on variables.
    pub(crate) fn varies(&self, field: &str) -> bool {
        matches!(self.field(field), Some(Node::Variable(_) | Node::Text(_)))
    }

    /// Returns whether a top-level field is exactly this variable.
    pub(crate) fn is_variable(&self, field: &str, variable: &Variable) -> bool {
        matches!(self.field(field), Some(Node::Variable(found)) if found == variable)
    }

    fn field(&self, name: &str) -> Option<&Node> {
        let Node::Object(fields) = &self.0 else { return None };
        fields.iter().find(|(known, _)| known == name).map(|(_, node)| node)
    }
}

/// How deeply values of placeholders can contain placeholders.
const MAX_DEPTH: usize = 4;

fn compile(value: &Value, known: &dyn Fn(&str) -> Option<Value>, depth: usize) -> Result<Node, String> {
    match value {
        Value::String(text) => compile_text(text, known, depth),
        Value::Array(items) => {
            items.iter().map(|item| compile(item, known, depth)).collect::<Result<_, _>>().map(Node::List)
        }
        Value::Object(fields) => compile_object(fields, known, depth),
        other => Ok(Node::Fixed(other.clone())),
    }
}

fn compile_object(
    fields: &Map<String, Value>,
    known: &dyn Fn(&str) -> Option<Value>,
    depth: usize,
) -> Result<Node, String> {
    let compiled = fields.iter().map(|(name, field)| Ok((name.clone(), compile(field, known, depth)?)));
    compiled.collect::<Result<_, String>>().map(Node::Object)
}

fn compile_text(text: &str, known: &dyn Fn(&str) -> Option<Value>, depth: usize) -> Result<Node, String> {
    if depth > MAX_DEPTH {
        return Err(format!("{text:?} refers to itself"));
    }
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some((before, name, after)) = next_placeholder(rest) {
        push_fixed(&mut pieces, before);
        let node = match (known(name), Variable::named(name)) {
            (Some(value), _) => compile(&value, known, depth + 1)?,
            (None, Some(variable)) => Node::Variable(variable),
            (None, None) => return Err(format!("there is no placeholder <{name}>")),
        };
        if before.is_empty() && after.is_empty() && pieces.is_empty() {
            return Ok(node);
        }
        match node {
            Node::Fixed(value) => push_fixed(&mut pieces, &as_text(&value)),
            Node::Variable(variable) => pieces.push(Piece::Variable(variable)),
            Node::Text(inner) => pieces.extend(inner),
            Node::List(_) | Node::Object(_) => {
                return Err(format!("<{name}> is a list or an object: it cannot be part of a longer text"));
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

/// Splits at the first `<NAME>`: the text before it, the name (letters, digits, dots, underscores), the text after it.
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

fn collect_variables<'a>(node: &'a Node, found: &mut Vec<&'a Variable>) {
    match node {
        Node::Fixed(_) => {}
        Node::Variable(variable) => found.push(variable),
        Node::Text(pieces) => found.extend(pieces.iter().filter_map(|piece| match piece {
            Piece::Variable(variable) => Some(variable),
            Piece::Fixed(_) => None,
        })),
        Node::List(nodes) => nodes.iter().for_each(|node| collect_variables(node, found)),
        Node::Object(fields) => fields.iter().for_each(|(_, node)| collect_variables(node, found)),
    }
}

/// A node and the values of its variables, serialized without copying: a settings report has 547 values.
struct Filled<'a> {
    node: &'a Node,
    values: &'a [&'a Values],
}

impl<'a> Filled<'a> {
    fn value_of(&self, variable: &Variable) -> &'a Value {
        self.values.iter().find_map(|values| values.get(variable)).unwrap_or(&Value::Null)
    }

    fn with(&self, node: &'a Node) -> Self {
        Self { node, values: self.values }
    }
}

impl Serialize for Filled<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.node {
            Node::Fixed(value) => value.serialize(serializer),
            Node::Variable(variable) => self.value_of(variable).serialize(serializer),
            Node::Text(pieces) => {
                let mut text = String::new();
                for piece in pieces {
                    match piece {
                        Piece::Fixed(fixed) => text.push_str(fixed),
                        Piece::Variable(variable) => text.push_str(&as_text(self.value_of(variable))),
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

    fn template(message: &Value, known: &[(&str, Value)]) -> Result<Template, String> {
        let known = |name: &str| known.iter().find(|(known, _)| *known == name).map(|(_, value)| value.clone());
        Template::compile(message.as_object().unwrap(), &known)
    }

    #[test]
    fn fills_in_numbers_as_numbers_and_text_as_text() {
        let message = json!({"id": "<ID>", "event": "<event>", "log": "from <MOTION_URL>, twice: <MOTION_URL>"});
        let template = template(&message, &[("event", json!("print:starting"))]).unwrap();
        assert_eq!(template.variables(), [&Variable::Id, &Variable::MotionUrl, &Variable::MotionUrl]);
        assert_eq!(template.fixed_text("event"), Some("print:starting"));
        let values = Values::from([(Variable::Id, json!(32)), (Variable::MotionUrl, json!("https://x/\"y\""))]);
        assert_eq!(
            template.fill(&[&values]),
            r#"{"id":32,"event":"print:starting","log":"from https://x/\"y\", twice: https://x/\"y\""}"#
        );
    }

    #[test]
    fn uses_the_first_value_and_null_without_one() {
        let template = template(&json!({"id": ["<ID>", "<X>"], "total": "<TOTAL>"}), &[]).unwrap();
        let first = Values::from([(Variable::Id, json!(32))]);
        let second = Values::from([(Variable::Id, json!(1)), (Variable::X, json!({"a": 1.5}))]);
        assert_eq!(template.fill(&[&first, &second]), r#"{"id":[32,{"a":1.5}],"total":null}"#);
    }

    #[test]
    fn resolves_placeholders_in_known_values_and_detects_loops() {
        let known = [("log", json!("downloading from <MOTION_URL>")), ("loop", json!("<loop>"))];
        let log = template(&json!({"log": "<log>"}), &known).unwrap();
        assert_eq!(log.variables(), [&Variable::MotionUrl]);
        let error = template(&json!({"log": "<loop>"}), &known).unwrap_err();
        assert_eq!(error, r#""<loop>" refers to itself"#);
    }

    #[test]
    fn rejects_an_unknown_placeholder() {
        let error = template(&json!({"a": ["<NOBODY>"]}), &[]).unwrap_err();
        assert_eq!(error, "there is no placeholder <NOBODY>");
    }

    #[test]
    fn every_variable_is_written_as_its_placeholder() {
        for placeholder in ["<ID>", "<Z>", "<AVAILABLE_FIRMWARE>", "<RESULT.probe>", "<RESULT.probe.x_mm>"] {
            let template = template(&json!({"a": placeholder}), &[]).unwrap();
            assert_eq!(template.variables()[0].to_string(), placeholder);
        }
    }

    #[test]
    fn leaves_text_that_is_no_placeholder_alone() {
        for text in ["a < b > c", "<", "<>", "<a b>", "1 << 2 >", "é<é>"] {
            let message = json!({"a": text});
            assert_eq!(template(&message, &[]).unwrap().fill(&[]), message.to_string());
        }
    }

    proptest! {
        #[test]
        fn any_value_survives_the_round_trip_through_json(text in ".*", around in "[^<>]*") {
            let message = json!({"a": format!("{around}<MOTION_URL>"), "b": "<MOTION_URL>"});
            let values = Values::from([(Variable::MotionUrl, json!(text))]);
            let json = template(&message, &[]).unwrap().fill(&[&values]);
            let back: Value = serde_json::from_str(&json).unwrap();
            prop_assert_eq!(&back["b"], &json!(text));
            prop_assert_eq!(&back["a"], &json!(format!("{around}{text}")));
        }

        #[test]
        fn compiling_never_panics(text in ".*") {
            let _ = template(&json!({"a": text}), &[]);
        }
    }
}
