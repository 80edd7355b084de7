//! Parses entries for display in bounded memory: long values are truncated while they are read.
//!
//! A 1 MiB line can take a hundred times its size as a [`Value`], and people never read such a value as a whole.

use std::cell::Cell;
use std::fmt;

use serde::Deserializer;
use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

#[cfg(any(feature = "report", test))]
use super::entry::Entry;
use crate::words::prefix;

/// A line up to this length is parsed without truncation: it takes a few MB at most.
#[cfg(any(feature = "report", test))]
const MAX_WHOLE_BYTES: usize = 32 << 10;
/// The budget for longer lines: the bytes of strings, plus [`VALUE_BYTES`] for each value.
const BUDGET_BYTES: usize = 256 << 10;
const VALUE_BYTES: usize = 16;
/// Longer strings of such a line are truncated.
const MAX_STRING_BYTES: usize = 4096;
/// Objects down to this depth (the entry, its message or body) keep their fields even when the budget is spent: they
/// identify the entry.
const FIELDS_DEPTH: usize = 2;
/// The maximum number of fields of such an object.
const MAX_FIELDS: usize = 1000;
/// Marks the end of a truncated value.
const ELLIPSIS: &str = "…";

/// Parses an entry. Returns whether anything was truncated.
#[cfg(any(feature = "report", test))]
pub(super) fn parse_entry(text: &str) -> Result<(Entry, bool), serde_json::Error> {
    if text.len() <= MAX_WHOLE_BYTES {
        return serde_json::from_str(text).map(|entry| (entry, false));
    }
    let (value, is_truncated) = parse_value(text)?;
    serde_json::from_value(value).map(|entry| (entry, is_truncated))
}

/// Parses JSON. Returns whether anything was truncated.
pub(super) fn parse_value(text: &str) -> Result<(Value, bool), serde_json::Error> {
    let budget = Budget { left: Cell::new(BUDGET_BYTES), is_truncated: Cell::new(false) };
    let mut reader = serde_json::Deserializer::from_str(text);
    let value = Seed { budget: &budget, depth: 0 }.deserialize(&mut reader)?;
    reader.end()?;
    Ok((value, budget.is_truncated.get()))
}

struct Budget {
    left: Cell<usize>,
    is_truncated: Cell<bool>,
}

impl Budget {
    fn is_spent(&self) -> bool {
        self.left.get() == 0
    }

    fn spend(&self, bytes: usize) {
        self.left.set(self.left.get().saturating_sub(bytes));
    }

    /// Spends the budget for `text`, and returns it truncated.
    fn text(&self, text: &str) -> String {
        let max = if self.is_spent() { MAX_STRING_BYTES / 16 } else { MAX_STRING_BYTES };
        self.spend(text.len().min(max) + VALUE_BYTES);
        if text.len() <= max {
            return text.to_owned();
        }
        self.is_truncated.set(true);
        format!("{}{ELLIPSIS}", prefix(text, max))
    }
}

/// Deserialises one value within the budget.
#[derive(Clone, Copy)]
struct Seed<'a> {
    budget: &'a Budget,
    depth: usize,
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        self.budget.spend(VALUE_BYTES);
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        self.budget.spend(VALUE_BYTES);
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        self.budget.spend(VALUE_BYTES);
        Ok(value.into())
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        self.budget.spend(VALUE_BYTES);
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("not a finite number"))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        self.budget.spend(VALUE_BYTES);
        Ok(Value::Null)
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::String(self.budget.text(text)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        self.budget.spend(VALUE_BYTES);
        let mut values = Vec::new();
        let inner = Self { depth: self.depth + 1, ..self };
        while !self.budget.is_spent() {
            match seq.next_element_seed(inner)? {
                Some(value) => values.push(value),
                None => return Ok(Value::Array(values)),
            }
        }
        let mut is_cut = false;
        while seq.next_element::<IgnoredAny>()?.is_some() {
            is_cut = true;
        }
        if is_cut {
            self.budget.is_truncated.set(true);
            values.push(ELLIPSIS.into());
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        self.budget.spend(VALUE_BYTES);
        let mut fields = Map::new();
        let inner = Self { depth: self.depth + 1, ..self };
        let mut is_cut = false;
        while let Some(name) = map.next_key_seed(Name(self.budget))? {
            let is_kept = !self.budget.is_spent() || (self.depth <= FIELDS_DEPTH && fields.len() < MAX_FIELDS);
            if is_kept {
                let value = map.next_value_seed(inner)?;
                // A map takes some hundred bytes more than its fields.
                self.budget.spend(VALUE_BYTES);
                fields.insert(name, value);
            } else {
                map.next_value::<IgnoredAny>()?;
                is_cut = true;
            }
        }
        if is_cut {
            self.budget.is_truncated.set(true);
            fields.insert(ELLIPSIS.to_owned(), ELLIPSIS.into());
        }
        Ok(Value::Object(fields))
    }
}

/// Deserialises a field name.
struct Name<'a>(&'a Budget);

impl<'de> DeserializeSeed<'de> for Name<'_> {
    type Value = String;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<String, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Name<'_> {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<String, E> {
        Ok(self.0.text(text))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn line(message: &str) -> String {
        format!(r#"{{"n":3,"t":1.5,"at":"x","kind":"in","bytes":7,"json":{message}}}"#)
    }

    /// Counts values, including nested ones.
    fn count(value: &Value) -> usize {
        1 + match value {
            Value::Array(values) => values.iter().map(count).sum(),
            Value::Object(fields) => fields.values().map(count).sum(),
            _ => 0,
        }
    }

    fn message(text: &str) -> (Value, bool) {
        let (entry, is_truncated) = parse_entry(text).unwrap();
        let super::super::Event::In(message) = entry.event else { panic!("{entry:?}") };
        (message.json.unwrap(), is_truncated)
    }

    #[test]
    fn keeps_short_lines_whole() {
        let json = json!({"id": 1, "action_type": "print", "x": [1, -2, 1.5, null, true, "ä", {"a": {}}]});
        assert_eq!(message(&line(&json.to_string())), (json, false));
        // Longer than a real settings report, but within the budget.
        let settings: Value = (0..3000).map(|n| (format!("C{n}"), json!(n))).collect::<Map<_, _>>().into();
        let text = line(&settings.to_string());
        assert!(text.len() > MAX_WHOLE_BYTES);
        assert_eq!(message(&text), (settings, false));
    }

    #[test]
    fn truncates_long_lines_but_keeps_identifying_fields() {
        let deep = format!("{}1{}", "[".repeat(100), "]".repeat(100));
        let much = [
            format!("[{}0]", "{\"\":0},".repeat(200_000)),
            format!("[{}0]", "[],".repeat(500_000)),
            format!("[{}0]", format!("{deep},").repeat(10_000)),
            format!("{{{}\"b\":1}}", (0..200_000).fold(String::new(), |much, n| much + &format!("\"{n}\":{{}},"))),
            format!("\"{}\"", "ä".repeat(1_000_000)),
            format!("{{\"{}\":1}}", "ä\\n".repeat(300_000)),
        ];
        for much in much {
            let (json, is_truncated) =
                message(&line(&format!(r#"{{"much":{much},"id":7,"action_type":"print","status":"ready"}}"#)));
            assert!(is_truncated);
            assert_eq!(
                (&json["id"], &json["action_type"], &json["status"]),
                (&json!(7), &json!("print"), &json!("ready"))
            );
            assert!(count(&json) < BUDGET_BYTES / VALUE_BYTES + 2 * MAX_FIELDS, "{}", count(&json));
            assert!(json.to_string().len() < 3 * BUDGET_BYTES, "{}", json.to_string().len());
        }
    }

    #[test]
    fn rejects_long_invalid_lines() {
        for end in ["", "]", "]}", "]}}x"] {
            assert!(
                parse_entry(&format!("{}{end}", line("[").trim_end_matches('}').to_owned() + &"1,".repeat(40_000)))
                    .is_err()
            );
        }
        assert!(parse_entry(&line(&format!("[1e999,{}1]", "1,".repeat(40_000)))).is_err());
    }
}
