//! Compares a JSON value with a recorded one.

use serde_json::{Map, Value};

use crate::local_service::rebase_urls;
use crate::record::PLACEHOLDER;
use crate::secrets::MASK;

/// Maximum length of a shown value, in characters.
const SHOWN_LIMIT: usize = 80;
/// Codes of a settings report that hold serial numbers: machine and head (captured sessions).
const SERIALS: [&str; 2] = ["MCsn", "HEsn"];
/// The code of a settings report that holds the date (captured sessions).
const DATE: &str = "MCdt";

/// What kind of value is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum JsonKind {
    Message,
    /// The body of a request.
    Body,
    /// A progress message, of which only the fields are compared.
    Progress,
}

/// Describes every difference.
pub(super) fn differences(kind: JsonKind, recorded: &Value, observed: &Value) -> Vec<String> {
    let mut diff = JsonDiff { kind, at: String::new(), depth: 0, differences: Vec::new() };
    diff.value(recorded, observed);
    diff.differences
}

/// Returns whether a text equals the recorded one, apart from hosts, queries and hidden secrets.
pub(super) fn same_text(recorded: &str, observed: &str) -> bool {
    if recorded == observed {
        return true;
    }
    let normalized = |text: &str| rebase_urls(text, |_| "{origin}".to_owned(), MASK);
    let (recorded, observed) = (normalized(recorded), normalized(observed));
    let Some((start, end)) = recorded.rsplit_once(MASK) else { return recorded == observed };
    let mut pieces = start.split(MASK);
    let Some(mut rest) = observed.strip_prefix(pieces.next().unwrap_or_default()) else { return false };
    for piece in pieces {
        let Some(at) = rest.find(piece) else { return false };
        rest = &rest[at + piece.len()..];
    }
    rest.ends_with(end)
}

struct JsonDiff {
    kind: JsonKind,
    at: String,
    depth: usize,
    differences: Vec<String>,
}

impl JsonDiff {
    fn value(&mut self, recorded: &Value, observed: &Value) {
        match (recorded, observed) {
            (Value::Object(recorded), Value::Object(observed)) => {
                self.depth += 1;
                self.fields(recorded, observed);
                self.depth -= 1;
            }
            (Value::Array(recorded), Value::Array(observed)) if recorded.len() == observed.len() => {
                for (index, (recorded, observed)) in recorded.iter().zip(observed).enumerate() {
                    self.within(&format!("[{index}]"), |diff| diff.value(recorded, observed));
                }
            }
            // A hidden secret matches any value.
            (Value::String(hidden), _) if hidden == MASK => {}
            (Value::String(recorded), Value::String(observed)) if same_text(recorded, observed) => {}
            _ if recorded == observed || self.kind == JsonKind::Progress => {}
            _ => self.report(&format!("is {}, recorded: {}", shown(observed), shown(recorded))),
        }
    }

    fn fields(&mut self, recorded: &Map<String, Value>, observed: &Map<String, Value>) {
        for (name, value) in recorded {
            let key = if self.at.is_empty() { name.clone() } else { format!(".{name}") };
            self.within(&key, |diff| match observed.get(name) {
                None => diff.report(&format!("is missing, recorded: {}", shown(value))),
                Some(observed) if diff.may_differ(name, value, observed) => {}
                Some(observed) => diff.value(value, observed),
            });
        }
        for (name, value) in observed.iter().filter(|(name, _)| !recorded.contains_key(*name)) {
            let key = if self.at.is_empty() { name.clone() } else { format!(".{name}") };
            self.within(&key, |diff| diff.report(&format!("is {}, but is not in the recording", shown(value))));
        }
        let both = |one: &Map<String, Value>, other: &Map<String, Value>| -> Vec<String> {
            one.keys().filter(|name| other.contains_key(*name)).cloned().collect()
        };
        let (recorded, observed) = (both(recorded, observed), both(observed, recorded));
        if let Some((recorded, observed)) =
            recorded.iter().zip(&observed).find(|(recorded, observed)| recorded != observed)
        {
            self.report(&format!("has its fields in a different order: {observed} instead of {recorded}"));
        }
    }

    /// Returns whether a field may have any value of its type.
    fn may_differ(&self, name: &str, recorded: &Value, observed: &Value) -> bool {
        let numbers = observed.is_number() && (recorded.is_number() || *recorded == MASK);
        match (self.kind, self.depth) {
            (JsonKind::Body, 1) if name == "id" => {
                observed.is_number() && (recorded.is_number() || *recorded == PLACEHOLDER)
            }
            (_, 1) => numbers && ["id", "timestamp"].contains(&name),
            _ => numbers && (name == DATE || SERIALS.contains(&name)),
        }
    }

    fn within(&mut self, name: &str, compare: impl FnOnce(&mut Self)) {
        let length = self.at.len();
        self.at.push_str(name);
        compare(self);
        self.at.truncate(length);
    }

    fn report(&mut self, what: &str) {
        let at = if self.at.is_empty() { "it" } else { &self.at };
        self.differences.push(format!("{at} {what}"));
    }
}

/// Returns a value as text, cut if it is long.
fn shown(value: &Value) -> String {
    let text = value.to_string();
    if text.chars().nth(SHOWN_LIMIT).is_none() {
        return text;
    }
    text.chars().take(SHOWN_LIMIT).chain("...".chars()).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn reports_every_difference_and_no_other() {
        let cases = [
            (json!({"id": 32, "timestamp": 3900, "event": "x"}), json!({"id": 40, "timestamp": 1, "event": "x"}), ""),
            (json!({"id": 32}), json!({"id": "32"}), "id is \"32\", recorded: 32"),
            (json!({"a": 1}), json!({}), "a is missing, recorded: 1"),
            (json!({}), json!({"a": [1]}), "a is [1], but is not in the recording"),
            (
                json!({"a": 1, "b": 2}),
                json!({"b": 2, "a": 1}),
                "it has its fields in a different order: b instead of a",
            ),
            (json!({"a": 1, "x": 0, "b": 2}), json!({"a": 1, "b": 2}), "x is missing, recorded: 0"),
            (
                json!({"settings": {"values": {"AAid": 204, "MCdt": 1, "MCsn": 5, "HEsn": "***"}}}),
                json!({"settings": {"values": {"AAid": 205, "MCdt": 2, "MCsn": 6, "HEsn": 7}}}),
                "settings.values.AAid is 205, recorded: 204",
            ),
            (json!({"s": {"MCdt": 1}}), json!({"s": {"MCdt": "now"}}), "s.MCdt is \"now\", recorded: 1"),
            (json!({"a": {"id": 1}}), json!({"a": {"id": 2}}), "a.id is 2, recorded: 1"),
            (json!({"v": "2.6.0-1"}), json!({"v": "2.6.0-2"}), "v is \"2.6.0-2\", recorded: \"2.6.0-1\""),
            (json!({"n": 1}), json!({"n": 1.0}), "n is 1.0, recorded: 1"),
            (json!([1, 2]), json!([1, 3]), "[1] is 3, recorded: 2"),
            (json!([1]), json!([1, 3]), "it is [1,3], recorded: [1]"),
            (json!({"log": "from https://a:1/x?***"}), json!({"log": "from http://b/x?y"}), ""),
            (
                json!({"log": "from https://a:1/x"}),
                json!({"log": "from http://b/y"}),
                "log is \"from http://b/y\", recorded: \"from https://a:1/x\"",
            ),
            (json!({"s": "S***"}), json!({"s": "S1234"}), ""),
            (json!({"s": "S***"}), json!({"s": "1234"}), "s is \"1234\", recorded: \"S***\""),
            (json!({"id": "<MILLI_EPOCH>"}), json!({"id": 5}), "id is 5, recorded: \"<MILLI_EPOCH>\""),
        ];
        for (recorded, observed, expected) in cases {
            let text = differences(JsonKind::Message, &recorded, &observed).join("; ");
            assert_eq!(text, expected, "{recorded} / {observed}");
        }
    }

    #[test]
    fn accepts_a_number_for_a_placeholder_but_no_placeholder_for_a_number() {
        let [number, placeholder] = [json!({"id": 5}), json!({"id": PLACEHOLDER})];
        assert!(differences(JsonKind::Body, &placeholder, &number).is_empty());
        assert!(differences(JsonKind::Body, &placeholder, &placeholder).is_empty());
        assert_eq!(differences(JsonKind::Body, &number, &placeholder), ["id is \"<MILLI_EPOCH>\", recorded: 5"]);
    }

    #[test]
    fn compares_the_fields_of_progress_but_not_their_values() {
        let recorded = json!({"progress": "print:progress", "current": 1, "units": "steps"});
        let observed = json!({"progress": "print:progress", "current": 5, "units": "steps"});
        assert!(differences(JsonKind::Progress, &recorded, &observed).is_empty());
        let observed = json!({"progress": "print:progress", "current": 5});
        assert_eq!(differences(JsonKind::Progress, &recorded, &observed), ["units is missing, recorded: \"steps\""]);
    }

    #[test]
    fn hidden_text_matches_anything() {
        for (recorded, observed, same) in [
            ("***", "", true),
            ("a***b", "ab", true),
            ("a***b", "a", false),
            ("***x***", "--x--", true),
            ("***x***", "--y--", false),
            ("ab***ab", "ab", false),
            ("", "x", false),
            ("https://h/***/x?***", "http://i/token/x?q=1", true),
        ] {
            assert_eq!(same_text(recorded, observed), same, "{recorded} / {observed}");
        }
    }

    proptest! {
        #[test]
        fn text_equals_itself(text in "\\PC{0,40}", hidden in "[a*]{0,12}") {
            prop_assert!(same_text(&text, &text));
            let _ = same_text(&hidden, &text);
            let (recorded, observed) = (format!("{hidden}***"), format!("{hidden}{text}"));
            prop_assert!(same_text(&recorded, &observed) || text.contains(':'));
        }
    }
}
