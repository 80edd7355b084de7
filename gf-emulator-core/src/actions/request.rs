//! What the service asks: one line of JSON, read without trusting it.

use serde_json::{Map, Value};

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

/// One message of the service.
// `action_type` is the name that the wire has for it.
#[allow(clippy::struct_field_names)]
#[derive(Clone, PartialEq)]
pub(crate) struct Action {
    pub(crate) id: i64,
    pub(crate) action_type: String,
    pub(crate) status: Status,
    pub(crate) motion_url: Option<String>,
    pub(crate) endpoint: Option<String>,
    /// The first object of them where they are a list; empty where there are none.
    pub(crate) settings: Map<String, Value>,
}

impl std::fmt::Debug for Action {
    /// Without the URLs: they may be presigned.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {} ({:?})", self.action_type, self.id, self.status)
    }
}

impl Action {
    /// Reads one line. The error says what is wrong with it and quotes nothing of it.
    pub(crate) fn parse(line: &str) -> Result<Self, String> {
        let value: Value = serde_json::from_str(line).map_err(|e| format!("not JSON (column {})", e.column()))?;
        let Value::Object(mut fields) = value else { return Err("JSON, but not an object".into()) };
        let Some(id) = fields.get("id").and_then(Value::as_i64) else {
            return Err("no \"id\" that is a whole number".into());
        };
        let Some(Value::String(action_type)) = fields.remove("action_type") else {
            return Err("no \"action_type\"".into());
        };
        let status = match fields.get("status").and_then(Value::as_str) {
            Some("ready") => Status::Ready,
            Some("cancelled") => Status::Cancelled,
            _ => Status::Other,
        };
        let mut take_text = |key| match fields.remove(key) {
            Some(Value::String(text)) if !text.is_empty() => Some(text),
            _ => None,
        };
        let motion_url = take_text("motion_url");
        let endpoint = take_text("endpoint");
        let settings = match fields.remove("settings") {
            Some(Value::Object(settings)) => settings,
            Some(Value::Array(list)) => match list.into_iter().next() {
                Some(Value::Object(settings)) => settings,
                _ => Map::new(),
            },
            _ => Map::new(),
        };
        Ok(Self { id, action_type, status, motion_url, endpoint, settings })
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
