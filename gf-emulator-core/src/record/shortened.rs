//! Entries in bounded memory: long values are shortened while they are read.
//!
//! A line of 1 MiB can take a hundred times that once it is a [`Value`]. Whoever shows entries to people needs no such value
//! whole.

use std::cell::Cell;
use std::fmt;

use serde::Deserializer;
use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

#[cfg(any(feature = "report", test))]
use super::entry::Entry;

/// A line of up to this length is read whole: it takes a few MB at the most.
#[cfg(any(feature = "report", test))]
const WHOLE_BYTES: usize = 32 << 10;
/// What is kept of a longer one, counted as the bytes of its strings and [`VALUE_BYTES`] for each value.
const KEPT_BYTES: usize = 256 << 10;
const VALUE_BYTES: usize = 16;
/// The longest string that is kept whole once a line is shortened, in bytes.
const LONGEST_STRING: usize = 4096;
/// In objects down to this depth (the entry, its message or body) fields are kept even when the rest is shortened: they
/// say what the entry is.
const FIELDS_DEPTH: usize = 2;
/// The most fields of such an object.
const MOST_FIELDS: usize = 1000;
/// What ends a value that was shortened.
const MORE: &str = "…";

/// Reads an entry. The flag says whether anything was left out.
#[cfg(any(feature = "report", test))]
pub(super) fn parse(text: &str) -> Result<(Entry, bool), serde_json::Error> {
    if text.len() <= WHOLE_BYTES {
        return serde_json::from_str(text).map(|entry| (entry, false));
    }
    let (value, is_shortened) = value(text)?;
    serde_json::from_value(value).map(|entry| (entry, is_shortened))
}

/// Reads JSON. The flag says whether anything was left out.
pub(super) fn value(text: &str) -> Result<(Value, bool), serde_json::Error> {
    let budget = Budget { left: Cell::new(KEPT_BYTES), is_shortened: Cell::new(false) };
    let mut reader = serde_json::Deserializer::from_str(text);
    let value = Seed { budget: &budget, depth: 0 }.deserialize(&mut reader)?;
    reader.end()?;
    Ok((value, budget.is_shortened.get()))
}

struct Budget {
    left: Cell<usize>,
    is_shortened: Cell<bool>,
}

impl Budget {
    fn is_spent(&self) -> bool {
        self.left.get() == 0
    }

    fn spend(&self, bytes: usize) {
        self.left.set(self.left.get().saturating_sub(bytes));
    }

    /// As much of a text as is kept.
    fn text(&self, text: &str) -> String {
        let most = if self.is_spent() { LONGEST_STRING / 16 } else { LONGEST_STRING };
        self.spend(text.len().min(most) + VALUE_BYTES);
        if text.len() <= most {
            return text.to_owned();
        }
        self.is_shortened.set(true);
        format!("{}{MORE}", &text[..text.floor_char_boundary(most)])
    }
}

/// Reads one value, as far as the budget goes.
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
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("a number that is none"))
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
            self.budget.is_shortened.set(true);
            values.push(MORE.into());
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        self.budget.spend(VALUE_BYTES);
        let mut fields = Map::new();
        let inner = Self { depth: self.depth + 1, ..self };
        let mut is_cut = false;
        while let Some(name) = map.next_key_seed(Name(self.budget))? {
            let has_room = !self.budget.is_spent() || (self.depth <= FIELDS_DEPTH && fields.len() < MOST_FIELDS);
            if has_room {
                let value = map.next_value_seed(inner)?;
                // An empty map of one field takes some hundred bytes more than the field.
                self.budget.spend(VALUE_BYTES);
                fields.insert(name, value);
            } else {
                map.next_value::<IgnoredAny>()?;
                is_cut = true;
            }
        }
        if is_cut {
            self.budget.is_shortened.set(true);
            fields.insert(MORE.to_owned(), MORE.into());
        }
        Ok(Value::Object(fields))
    }
}

/// The name of a field.
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

    /// How many values there are in it.
    fn count(value: &Value) -> usize {
        1 + match value {
            Value::Array(values) => values.iter().map(count).sum(),
            Value::Object(fields) => fields.values().map(count).sum(),
            _ => 0,
        }
    }

    fn message(text: &str) -> (Value, bool) {
        let (entry, is_shortened) = parse(text).unwrap();
        let super::super::Event::In(message) = entry.event else { panic!("{entry:?}") };
        (message.json.unwrap(), is_shortened)
    }

    #[test]
    fn what_is_short_is_whole() {
        let json = json!({"id": 1, "action_type": "print", "x": [1, -2, 1.5, null, true, "ä", {"a": {}}]});
        assert_eq!(message(&line(&json.to_string())), (json, false));
        // A settings report as it is sent, and one as long as a line that is read whole.
        let settings: Value = (0..3000).map(|n| (format!("C{n}"), json!(n))).collect::<Map<_, _>>().into();
        let text = line(&settings.to_string());
        assert!(text.len() > WHOLE_BYTES);
        assert_eq!(message(&text), (settings, false));
    }

    #[test]
    fn what_is_long_is_shortened_and_says_what_it_is_all_the_same() {
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
            let (json, is_shortened) =
                message(&line(&format!(r#"{{"much":{much},"id":7,"action_type":"print","status":"ready"}}"#)));
            assert!(is_shortened);
            assert_eq!(
                (&json["id"], &json["action_type"], &json["status"]),
                (&json!(7), &json!("print"), &json!("ready"))
            );
            assert!(count(&json) < KEPT_BYTES / VALUE_BYTES + 2 * MOST_FIELDS, "{}", count(&json));
            assert!(json.to_string().len() < 3 * KEPT_BYTES, "{}", json.to_string().len());
        }
    }

    #[test]
    fn what_is_wrong_is_wrong_however_long() {
        for end in ["", "]", "]}", "]}}x"] {
            assert!(
                parse(&format!("{}{end}", line("[").trim_end_matches('}').to_owned() + &"1,".repeat(40_000))).is_err()
            );
        }
        assert!(parse(&line(&format!("[1e999,{}1]", "1,".repeat(40_000)))).is_err());
    }
}
