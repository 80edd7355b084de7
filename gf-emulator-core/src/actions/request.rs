//! What the service asks: one line of JSON, read without trusting it.
//!
//! However long a line is, its [`Action`] is small: two addresses of 8 KiB at most, 64 settings of four letters and a
//! short value each, and its type, which only counts where the table has it. That is less than 32 KiB an action. The rest
//! of a line is skipped as it is read, not built and let go.

use std::fmt;

use serde::de::{self, Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess};
use serde_json::error::Category;
use serde_json::{Map, Value};

/// The longest address that is used. Presigned ones have about 1 KiB, and servers take no longer ones than this.
const LONGEST_ADDRESS_BYTES: usize = 8 << 10;
/// A service sends eight settings with an action at the most, as far as is known.
const MOST_SETTINGS: usize = 64;
/// Settings are numbers and short words.
const LONGEST_SETTING_BYTES: usize = 64;

/// What an action's `status` means to a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    /// Do it.
    Ready,
    /// Do it no more.
    Cancelled,
    /// `new`, `started`, `success`, `failure` and anything else: of no consequence.
    Other,
}

/// A URL that came with an action, or none.
#[derive(Clone, PartialEq)]
pub(crate) enum Address {
    Missing,
    Given(String),
    /// Longer than 8 KiB.
    TooLong,
}

impl Address {
    /// The URL, where there is one; an error says why it cannot be used.
    pub(crate) fn get(&self) -> Result<Option<&str>, String> {
        match self {
            Self::Missing => Ok(None),
            Self::Given(url) => Ok(Some(url)),
            Self::TooLong => Err(format!("is longer than {LONGEST_ADDRESS_BYTES} bytes")),
        }
    }
}

/// One message of the service.
// `action_type` is the name that the wire has for it.
#[allow(clippy::struct_field_names)]
#[derive(Clone, PartialEq)]
pub(crate) struct Action {
    pub(crate) id: i64,
    pub(crate) action_type: String,
    pub(crate) status: Status,
    pub(crate) motion_url: Address,
    pub(crate) endpoint: Address,
    /// The first object of them where they are a list; empty where there are none. Codes of four letters or digits with
    /// numbers, booleans and short texts, the first 64 of them.
    pub(crate) settings: Map<String, Value>,
}

impl fmt::Debug for Action {
    /// Without the URLs: they may be presigned.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} ({:?})", self.action_type, self.id, self.status)
    }
}

impl Action {
    /// Reads one line. The error says what is wrong with it and quotes nothing of it.
    pub(crate) fn parse(line: &str) -> Result<Self, String> {
        let fields: Fields = serde_json::from_str(line).map_err(|e| match e.classify() {
            Category::Data => "JSON, but not an object".to_owned(),
            _ => format!("not JSON (column {})", e.column()),
        })?;
        let Some(id) = fields.id.as_i64() else {
            return Err("no \"id\" that is a whole number".into());
        };
        let Value::String(action_type) = fields.action_type else {
            return Err("no \"action_type\"".into());
        };
        let status = match fields.status.as_str() {
            Some("ready") => Status::Ready,
            Some("cancelled") => Status::Cancelled,
            _ => Status::Other,
        };
        let address = |value| match value {
            Value::String(url) if url.is_empty() => Address::Missing,
            Value::String(url) if url.len() > LONGEST_ADDRESS_BYTES => Address::TooLong,
            Value::String(url) => Address::Given(url),
            _ => Address::Missing,
        };
        let (motion_url, endpoint) = (address(fields.motion_url), address(fields.endpoint));
        let settings = match fields.settings {
            Value::Object(settings) => settings,
            Value::Array(list) => match list.into_iter().next() {
                Some(Value::Object(settings)) => settings,
                _ => Map::new(),
            },
            _ => Map::new(),
        };
        Ok(Self { id, action_type, status, motion_url, endpoint, settings })
    }
}

/// The fields of a message that count, of whatever type they are; null where there are none.
#[derive(Default)]
struct Fields {
    id: Value,
    action_type: Value,
    status: Value,
    motion_url: Value,
    endpoint: Value,
    settings: Value,
}

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Fields;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
                let mut fields = Fields::default();
                while let Some(name) = map.next_key::<String>()? {
                    let field = match name.as_str() {
                        "id" => &mut fields.id,
                        "action_type" => &mut fields.action_type,
                        "status" => &mut fields.status,
                        "motion_url" => &mut fields.motion_url,
                        "endpoint" => &mut fields.endpoint,
                        "settings" => &mut fields.settings,
                        _ => {
                            map.next_value::<IgnoredAny>()?;
                            continue;
                        }
                    };
                    *field = map.next_value::<Small>()?.0;
                }
                Ok(fields)
            }
        }
        deserializer.deserialize_map(Visitor)
    }
}

/// A value that is small but for a text: of a list the first item, of an object its settings.
struct Small(Value);

impl<'de> Deserialize<'de> for Small {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Small;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("any value")
            }

            fn visit_unit<E>(self) -> Result<Small, E> {
                Ok(Small(Value::Null))
            }

            fn visit_bool<E>(self, value: bool) -> Result<Small, E> {
                Ok(Small(value.into()))
            }

            fn visit_i64<E>(self, value: i64) -> Result<Small, E> {
                Ok(Small(value.into()))
            }

            fn visit_u64<E>(self, value: u64) -> Result<Small, E> {
                Ok(Small(value.into()))
            }

            fn visit_f64<E>(self, value: f64) -> Result<Small, E> {
                Ok(Small(value.into()))
            }

            fn visit_str<E>(self, value: &str) -> Result<Small, E> {
                Ok(Small(value.into()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Small, A::Error> {
                let first = items.next_element::<Small>()?;
                while items.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Small(first.map(|Small(first)| first).into_iter().collect()))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Small, A::Error> {
                let mut settings = Map::new();
                while let Some(code) = map.next_key::<String>()? {
                    let is_code = code.len() == 4 && code.bytes().all(|byte| byte.is_ascii_alphanumeric());
                    if !is_code || (settings.len() >= MOST_SETTINGS && !settings.contains_key(&code)) {
                        map.next_value::<IgnoredAny>()?;
                        continue;
                    }
                    match map.next_value::<Small>()?.0 {
                        Value::Object(_) | Value::Array(_) | Value::Null => {}
                        Value::String(text) if text.len() > LONGEST_SETTING_BYTES => {}
                        value => _ = settings.insert(code, value),
                    }
                }
                Ok(Small(settings.into()))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

/// An action type as it may be logged: it is the service's text.
pub(crate) fn shown(text: &str) -> String {
    let mut shown: String = text.chars().take(60).flat_map(char::escape_debug).collect();
    if text.chars().nth(60).is_some() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_what_a_service_sends() {
        let action = Action::parse(
            r#"{"id":7,"action_type":"lidar_image","status":"ready","endpoint":"https://s/x?sig=1","settings":[{"HCil":1},{"HCil":0}],"more":[1]}"#,
        )
        .unwrap();
        assert_eq!((action.id, action.status), (7, Status::Ready));
        assert_eq!(action.settings.get("HCil"), Some(&Value::from(1)));
        assert_eq!(format!("{action:?}"), "lidar_image 7 (Ready)");
    }

    #[test]
    fn only_ready_and_cancelled_mean_anything() {
        for (status, meaning) in [
            (r#""ready""#, Status::Ready),
            (r#""cancelled""#, Status::Cancelled),
            (r#""new""#, Status::Other),
            (r#""Ready""#, Status::Other),
            ("1", Status::Other),
            ("null", Status::Other),
        ] {
            let line = format!(r#"{{"id":1,"action_type":"print","status":{status}}}"#);
            assert_eq!(Action::parse(&line).unwrap().status, meaning, "{line}");
        }
    }

    #[test]
    fn says_what_is_wrong_and_quotes_nothing() {
        for line in
            ["", "x?sig=secret", "[]", "1", "{}", r#"{"id":"1"}"#, r#"{"id":1.5,"action_type":"a"}"#, r#"{"id":1}"#]
        {
            let error = Action::parse(line).unwrap_err();
            assert!(!error.contains("secret"), "{error}");
        }
        assert_eq!(shown("a\nb\u{1b}[31m"), "a\\nb\\u{1b}[31m");
    }

    #[test]
    fn keeps_little_of_a_long_line() {
        let codes: Vec<_> =
            (0..5000).map(|n| format!("\"{n:04}\":{n},\"x{n:04}\":1,\"t{n:03}\":\"{}\"", "x".repeat(65))).collect();
        let settings = format!("{{\"HCil\":1,\"deep\":[[[[1]]]],\"HCex\":\"long\",{}}}", codes.join(","));
        let long = "x".repeat(LONGEST_ADDRESS_BYTES);
        let line = format!(
            "{{\"id\":1,\"action_type\":\"print\",\"status\":\"ready\",\"endpoint\":\"{long}\",\"motion_url\":\"{long}x\",\"settings\":[{settings},{settings}]}}"
        );
        let action = Action::parse(&line).unwrap();
        assert_eq!(action.settings.len(), MOST_SETTINGS);
        assert_eq!((&action.settings["HCil"], &action.settings["HCex"]), (&Value::from(1), &Value::from("long")));
        let size: usize = action.settings.iter().map(|(code, value)| code.len() + value.to_string().len()).sum();
        assert!(size < 2000, "{size} bytes");
        assert_eq!(action.endpoint.get(), Ok(Some(&*long)));
        assert_eq!(action.motion_url.get(), Err("is longer than 8192 bytes".into()));
    }

    #[test]
    fn the_last_of_two_fields_of_one_name_counts_and_an_id_is_a_number() {
        let action = Action::parse(r#"{"id":1,"id":2,"action_type":"a","action_type":"b"}"#).unwrap();
        assert_eq!((action.id, &*action.action_type), (2, "b"));
        for id in ["[1]", "1.0", "1e3", "9223372036854775808", "true", "null"] {
            assert!(Action::parse(&format!(r#"{{"id":{id},"action_type":"a"}}"#)).is_err(), "{id}");
        }
    }

    proptest! {
        #[test]
        fn no_line_makes_it_panic(line in ".*") {
            let _ = Action::parse(&line);
        }

        #[test]
        fn no_object_makes_it_panic(id in any::<i64>(), kind in ".*", settings in prop_oneof![Just("[]"), Just("[1]"), Just("{}"), Just("null"), Just("[[]]")]) {
            let kind = Value::from(kind);
            let line = format!(r#"{{"id":{id},"action_type":{kind},"settings":{settings}}}"#);
            prop_assert_eq!(Action::parse(&line).unwrap().id, id);
        }
    }
}
