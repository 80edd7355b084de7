//! Two JSON values: what of one is not as it was recorded.

use serde_json::{Map, Value};

use crate::local_service::rehomed;
use crate::record::PLACEHOLDER;

/// What a recording has in place of a secret: as much as anything.
const HIDDEN: &str = "***";
/// What is shown of a value.
const LONGEST: usize = 80;
/// Codes of a settings report that say whose machine it is.
const SERIALS: [&str; 2] = ["MCsn", "HEsn"];
/// The code that says what time it is.
const DATE: &str = "MCdt";

/// What is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Whole {
    Message,
    /// The JSON of a request.
    Body,
    /// Only that there are the same fields.
    Progress,
}

/// Every difference, in words; `recorded` says what may be otherwise.
pub(super) fn differences(whole: Whole, recorded: &Value, found: &Value) -> Vec<String> {
    let mut comparing = Comparing { whole, at: String::new(), depth: 0, differences: Vec::new() };
    comparing.value(recorded, found);
    comparing.differences
}

/// Whether a text is as it was recorded, but for hosts, queries and what was hidden.
pub(super) fn same_text(recorded: &str, found: &str) -> bool {
    if recorded == found {
        return true;
    }
    let neutral = |text: &str| rehomed(text, |_| "{home}".to_owned(), HIDDEN);
    let (recorded, found) = (neutral(recorded), neutral(found));
    let Some((start, end)) = recorded.rsplit_once(HIDDEN) else { return recorded == found };
    let mut pieces = start.split(HIDDEN);
    let Some(mut rest) = found.strip_prefix(pieces.next().unwrap_or_default()) else { return false };
    for piece in pieces {
        let Some(at) = rest.find(piece) else { return false };
        rest = &rest[at + piece.len()..];
    }
    rest.ends_with(end)
}

struct Comparing {
    whole: Whole,
    at: String,
    depth: usize,
    differences: Vec<String>,
}

impl Comparing {
    fn value(&mut self, recorded: &Value, found: &Value) {
        match (recorded, found) {
            (Value::Object(recorded), Value::Object(found)) => {
                self.depth += 1;
                self.fields(recorded, found);
                self.depth -= 1;
            }
            (Value::Array(recorded), Value::Array(found)) if recorded.len() == found.len() => {
                for (index, (recorded, found)) in recorded.iter().zip(found).enumerate() {
                    self.within(&format!("[{index}]"), |inside| inside.value(recorded, found));
                }
            }
            (Value::String(hidden), _) if hidden == HIDDEN => {}
            (Value::String(recorded), Value::String(found)) if same_text(recorded, found) => {}
            _ if recorded == found || self.whole == Whole::Progress => {}
            _ => self.say(&format!("is {}, recorded: {}", shown(found), shown(recorded))),
        }
    }

    fn fields(&mut self, recorded: &Map<String, Value>, found: &Map<String, Value>) {
        for (name, value) in recorded {
            let inside = if self.at.is_empty() { name.clone() } else { format!(".{name}") };
            self.within(&inside, |inside| match found.get(name) {
                None => inside.say(&format!("is missing, recorded: {}", shown(value))),
                Some(found) if inside.may_differ(name, value, found) => {}
                Some(found) => inside.value(value, found),
            });
        }
        for (name, value) in found.iter().filter(|(name, _)| !recorded.contains_key(*name)) {
            let inside = if self.at.is_empty() { name.clone() } else { format!(".{name}") };
            self.within(&inside, |inside| inside.say(&format!("is {}, and is not in the recording", shown(value))));
        }
        let both = |one: &Map<String, Value>, other: &Map<String, Value>| -> Vec<String> {
            one.keys().filter(|name| other.contains_key(*name)).cloned().collect()
        };
        let (recorded, found) = (both(recorded, found), both(found, recorded));
        if let Some((recorded, found)) = recorded.iter().zip(&found).find(|(recorded, found)| recorded != found) {
            self.say(&format!("has its fields in another order: {found} where {recorded} was"));
        }
    }

    /// Whether a field may have any value of its kind.
    fn may_differ(&self, name: &str, recorded: &Value, found: &Value) -> bool {
        let numbers = found.is_number() && (recorded.is_number() || *recorded == HIDDEN);
        match (self.whole, self.depth) {
            (Whole::Body, 1) if name == "id" => found.is_number() && (recorded.is_number() || *recorded == PLACEHOLDER),
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

    fn say(&mut self, what: &str) {
        let at = if self.at.is_empty() { "it" } else { &self.at };
        self.differences.push(format!("{at} {what}"));
    }
}

/// A value, not too much of it.
fn shown(value: &Value) -> String {
    let text = value.to_string();
    if text.chars().nth(LONGEST).is_none() {
        return text;
    }
    text.chars().take(LONGEST).chain("...".chars()).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn every_difference_is_told_and_nothing_else() {
        let cases = [
            (json!({"id": 32, "timestamp": 3900, "event": "x"}), json!({"id": 40, "timestamp": 1, "event": "x"}), ""),
            (json!({"id": 32}), json!({"id": "32"}), "id is \"32\", recorded: 32"),
            (json!({"a": 1}), json!({}), "a is missing, recorded: 1"),
            (json!({}), json!({"a": [1]}), "a is [1], and is not in the recording"),
            (json!({"a": 1, "b": 2}), json!({"b": 2, "a": 1}), "it has its fields in another order: b where a was"),
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
        for (recorded, found, expected) in cases {
            let told = differences(Whole::Message, &recorded, &found).join("; ");
            assert_eq!(told, expected, "{recorded} / {found}");
        }
    }

    #[test]
    fn a_placeholder_is_wrong_where_a_number_was_and_not_the_other_way_round() {
        let [number, placeholder] = [json!({"id": 5}), json!({"id": PLACEHOLDER})];
        assert!(differences(Whole::Body, &placeholder, &number).is_empty());
        assert!(differences(Whole::Body, &placeholder, &placeholder).is_empty());
        assert_eq!(differences(Whole::Body, &number, &placeholder), ["id is \"<MILLI_EPOCH>\", recorded: 5"]);
    }

    #[test]
    fn of_progress_the_fields_count_and_not_what_is_in_them() {
        let recorded = json!({"progress": "print:progress", "current": 1, "units": "steps"});
        let found = json!({"progress": "print:progress", "current": 5, "units": "steps"});
        assert!(differences(Whole::Progress, &recorded, &found).is_empty());
        let found = json!({"progress": "print:progress", "current": 5});
        assert_eq!(differences(Whole::Progress, &recorded, &found), ["units is missing, recorded: \"steps\""]);
    }

    #[test]
    fn what_is_hidden_is_as_much_as_anything() {
        for (recorded, found, same) in [
            ("***", "", true),
            ("a***b", "ab", true),
            ("a***b", "a", false),
            ("***x***", "--x--", true),
            ("***x***", "--y--", false),
            ("ab***ab", "ab", false),
            ("", "x", false),
            ("https://h/***/x?***", "http://i/token/x?q=1", true),
        ] {
            assert_eq!(same_text(recorded, found), same, "{recorded} / {found}");
        }
    }

    proptest! {
        #[test]
        fn a_text_is_as_itself(text in "\\PC{0,40}", hidden in "[a*]{0,12}") {
            prop_assert!(same_text(&text, &text));
            let _ = same_text(&hidden, &text);
            let (recorded, found) = (format!("{hidden}***"), format!("{hidden}{text}"));
            prop_assert!(same_text(&recorded, &found) || text.contains(':'));
        }
    }
}
