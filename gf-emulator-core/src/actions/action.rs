//! Actions as the service sends them: one line of untrusted JSON each.
//!
//! An [`Action`] takes less than 32 KiB, however long its line is: two URLs of up to 8 KiB, 64 settings with codes of four
//! characters and short values, and a type that must be in the table. Everything else is skipped while parsing.

use std::fmt;

use serde::de::{self, Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess};
use serde_json::error::Category;
use serde_json::{Map, Value};

/// Presigned URLs have about 1 KiB, and common servers accept no more than this.
const MAX_URL_BYTES: usize = 8 << 10;
/// A service has been seen to send up to eight settings with an action.
const MAX_SETTINGS: usize = 64;
/// Settings are numbers and short words.
const MAX_SETTING_BYTES: usize = 64;

/// The `status` of an action.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    /// Starts the action.
    Ready,
    /// Cancels the action of the same id.
    Cancelled,
    /// `new`, `started`, `success`, `failure` and anything else: ignored.
    Other,
}

/// A URL field of an action.
#[derive(Clone, PartialEq)]
pub(crate) enum UrlField {
    Missing,
    Present(String),
    /// Longer than 8 KiB.
    TooLong,
}

impl UrlField {
    /// Returns the URL if there is one. The error says why it cannot be used.
    pub(crate) fn get(&self) -> Result<Option<&str>, String> {
        match self {
            Self::Missing => Ok(None),
            Self::Present(url) => Ok(Some(url)),
            Self::TooLong => Err(format!("is longer than {MAX_URL_BYTES} bytes")),
        }
    }
}

/// A message from the service.
// `action_type` is the protocol's name.
#[allow(clippy::struct_field_names)]
#[derive(Clone, PartialEq)]
pub(crate) struct Action {
    pub(crate) id: i64,
    pub(crate) action_type: String,
    pub(crate) status: Status,
    pub(crate) motion_url: UrlField,
    pub(crate) endpoint: UrlField,
    /// The first 64 codes of four letters or digits with a number, boolean or short text. If the message has a list of
    /// settings objects, those of the first.
    pub(crate) settings: Map<String, Value>,
}

impl fmt::Debug for Action {
    /// Omits the URLs: they may be presigned.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} ({:?})", self.action_type, self.id, self.status)
    }
}

impl Action {
    /// Parses one line. The error does not quote it.
    pub(crate) fn parse(line: &str) -> Result<Self, String> {
        let fields: Fields = serde_json::from_str(line).map_err(|e| match e.classify() {
            Category::Data => "JSON, but not an object".to_owned(),
            _ => format!("not JSON (column {})", e.column()),
        })?;
        let Some(id) = fields.id.as_i64() else {
            return Err("\"id\" is not an integer".into());
        };
        let Value::String(action_type) = fields.action_type else {
            return Err("\"action_type\" is not a string".into());
        };
        let status = match fields.status.as_str() {
            Some("ready") => Status::Ready,
            Some("cancelled") => Status::Cancelled,
            _ => Status::Other,
        };
        let url = |value| match value {
            Value::String(url) if url.is_empty() => UrlField::Missing,
            Value::String(url) if url.len() > MAX_URL_BYTES => UrlField::TooLong,
            Value::String(url) => UrlField::Present(url),
            _ => UrlField::Missing,
        };
        let (motion_url, endpoint) = (url(fields.motion_url), url(fields.endpoint));
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

/// The fields of a message that are used, of any type; null if absent.
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
                    *field = map.next_value::<BoundedValue>()?.0;
                }
                Ok(fields)
            }
        }
        deserializer.deserialize_map(Visitor)
    }
}

/// A value of bounded size, apart from strings: the first item of a list, the valid settings of an object.
struct BoundedValue(Value);

impl<'de> Deserialize<'de> for BoundedValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = BoundedValue;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("any value")
            }

            fn visit_unit<E>(self) -> Result<BoundedValue, E> {
                Ok(BoundedValue(Value::Null))
            }

            fn visit_bool<E>(self, value: bool) -> Result<BoundedValue, E> {
                Ok(BoundedValue(value.into()))
            }

            fn visit_i64<E>(self, value: i64) -> Result<BoundedValue, E> {
                Ok(BoundedValue(value.into()))
            }

            fn visit_u64<E>(self, value: u64) -> Result<BoundedValue, E> {
                Ok(BoundedValue(value.into()))
            }

            fn visit_f64<E>(self, value: f64) -> Result<BoundedValue, E> {
                Ok(BoundedValue(value.into()))
            }

            fn visit_str<E>(self, value: &str) -> Result<BoundedValue, E> {
                Ok(BoundedValue(value.into()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<BoundedValue, A::Error> {
                let first = items.next_element::<BoundedValue>()?;
                while items.next_element::<IgnoredAny>()?.is_some() {}
                Ok(BoundedValue(first.map(|BoundedValue(first)| first).into_iter().collect()))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<BoundedValue, A::Error> {
                let mut settings = Map::new();
                while let Some(code) = map.next_key::<String>()? {
                    let is_code = code.len() == 4 && code.bytes().all(|byte| byte.is_ascii_alphanumeric());
                    if !is_code || (settings.len() >= MAX_SETTINGS && !settings.contains_key(&code)) {
                        map.next_value::<IgnoredAny>()?;
                        continue;
                    }
                    match map.next_value::<BoundedValue>()?.0 {
                        Value::Object(_) | Value::Array(_) | Value::Null => {}
                        Value::String(text) if text.len() > MAX_SETTING_BYTES => {}
                        value => _ = settings.insert(code, value),
                    }
                }
                Ok(BoundedValue(settings.into()))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

/// Escapes and shortens a text of the service for the log.
pub(crate) fn printable(text: &str) -> String {
    let mut printable: String = text.chars().take(60).flat_map(char::escape_debug).collect();
    if text.chars().nth(60).is_some() {
        printable.push('…');
    }
    printable
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn parses_an_action() {
        let action = Action::parse(
            r#"{"id":7,"action_type":"lidar_image","status":"ready","endpoint":"https://s/x?sig=1","settings":[{"HCil":1},{"HCil":0}],"more":[1]}"#,
        )
        .unwrap();
        assert_eq!((action.id, action.status), (7, Status::Ready));
        assert_eq!(action.settings.get("HCil"), Some(&Value::from(1)));
        assert_eq!(format!("{action:?}"), "lidar_image 7 (Ready)");
    }

    #[test]
    fn any_status_but_ready_and_cancelled_is_other() {
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
    fn errors_do_not_quote_the_line() {
        for line in
            ["", "x?sig=secret", "[]", "1", "{}", r#"{"id":"1"}"#, r#"{"id":1.5,"action_type":"a"}"#, r#"{"id":1}"#]
        {
            let error = Action::parse(line).unwrap_err();
            assert!(!error.contains("secret"), "{error}");
        }
        assert_eq!(printable("a\nb\u{1b}[31m"), "a\\nb\\u{1b}[31m");
    }

    #[test]
    fn bounds_what_is_kept_of_a_long_line() {
        let codes: Vec<_> =
            (0..5000).map(|n| format!("\"{n:04}\":{n},\"x{n:04}\":1,\"t{n:03}\":\"{}\"", "x".repeat(65))).collect();
        let settings = format!("{{\"HCil\":1,\"deep\":[[[[1]]]],\"HCex\":\"long\",{}}}", codes.join(","));
        let long = "x".repeat(MAX_URL_BYTES);
        let line = format!(
            "{{\"id\":1,\"action_type\":\"print\",\"status\":\"ready\",\"endpoint\":\"{long}\",\"motion_url\":\"{long}x\",\"settings\":[{settings},{settings}]}}"
        );
        let action = Action::parse(&line).unwrap();
        assert_eq!(action.settings.len(), MAX_SETTINGS);
        assert_eq!((&action.settings["HCil"], &action.settings["HCex"]), (&Value::from(1), &Value::from("long")));
        let size: usize = action.settings.iter().map(|(code, value)| code.len() + value.to_string().len()).sum();
        assert!(size < 2000, "{size} bytes");
        assert_eq!(action.endpoint.get(), Ok(Some(&*long)));
        assert_eq!(action.motion_url.get(), Err("is longer than 8192 bytes".into()));
    }

    #[test]
    fn takes_the_last_of_repeated_fields_and_rejects_ids_that_are_no_integers() {
        let action = Action::parse(r#"{"id":1,"id":2,"action_type":"a","action_type":"b"}"#).unwrap();
        assert_eq!((action.id, &*action.action_type), (2, "b"));
        for id in ["[1]", "1.0", "1e3", "9223372036854775808", "true", "null"] {
            assert!(Action::parse(&format!(r#"{{"id":{id},"action_type":"a"}}"#)).is_err(), "{id}");
        }
    }

    proptest! {
        #[test]
        fn parsing_a_line_never_panics(line in ".*") {
            let _ = Action::parse(&line);
        }

        #[test]
        fn parsing_an_object_never_panics(id in any::<i64>(), kind in ".*", settings in prop_oneof![Just("[]"), Just("[1]"), Just("{}"), Just("null"), Just("[[]]")]) {
            let kind = Value::from(kind);
            let line = format!(r#"{{"id":{id},"action_type":{kind},"settings":{settings}}}"#);
            prop_assert_eq!(Action::parse(&line).unwrap().id, id);
        }
    }
}
