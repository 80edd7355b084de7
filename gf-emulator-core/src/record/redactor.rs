//! What must not be in a recording, and how it is taken out.
//!
//! The queries of URLs go, whatever is in them: a presigned one has its authority there. Passwords and tokens are known
//! by name where they are sent, and by value everywhere else: a service may say them again anywhere.

use serde_json::Value;

use crate::Secret;

/// What stands in their place.
const HIDDEN: &str = "***";
/// Tokens that are still looked for: those of the last days of hourly connections.
const MOST_TOKENS: usize = 256;
/// Nothing shorter is looked for in other text: it would be found by chance.
const SHORTEST: usize = 6;

/// Takes secrets out of text.
#[derive(Default)]
pub(super) struct Redactor {
    /// Looked for in every text.
    secrets: Vec<Secret>,
    /// How many of these stay, whatever is learnt: serial numbers and the password.
    kept: usize,
    serials: Vec<i64>,
    hides_serials: bool,
}

impl Redactor {
    /// One that hides these serial numbers (0 is nobody's). Short ones only where they are called so: elsewhere they
    /// would be found by chance.
    pub(super) fn new(serials: &[i64], password: &Secret) -> Self {
        let serials: Vec<i64> = serials.iter().copied().filter(|&serial| serial != 0).collect();
        let mut redactor = Self { hides_serials: !serials.is_empty(), serials, ..Self::default() };
        let digits: Vec<_> = redactor.serials.iter().map(|serial| Secret::new(serial.to_string())).collect();
        digits.into_iter().chain([password.clone()]).for_each(|secret| redactor.learn(secret));
        redactor.kept = redactor.secrets.len();
        redactor
    }

    /// One for machines that are not known yet: it hides whatever is called a serial number.
    pub(super) fn of_strangers() -> Self {
        Self { hides_serials: true, ..Self::default() }
    }

    /// Has that text hidden from now on.
    pub(super) fn learn(&mut self, secret: Secret) {
        if secret.reveal().len() < SHORTEST || self.secrets.contains(&secret) {
            return;
        }
        if self.secrets.len() == MOST_TOKENS {
            self.secrets.remove(self.kept);
        }
        self.secrets.push(secret);
    }

    pub(super) fn text(&self, text: &str) -> String {
        let mut text = without_queries(text);
        for secret in &self.secrets {
            if text.contains(secret.reveal()) {
                text = text.replace(secret.reveal(), HIDDEN);
            }
        }
        text
    }

    pub(super) fn json(&self, value: &mut Value) {
        match value {
            Value::String(text) => *text = self.text(text),
            // A service may repeat it as a number.
            Value::Number(number) if number.as_i64().is_some_and(|number| self.is_long_serial(number)) => {
                *value = Value::from(HIDDEN);
            }
            Value::Array(items) => items.iter_mut().for_each(|item| self.json(item)),
            Value::Object(fields) => {
                let names: Vec<_> = fields.keys().filter(|name| self.text(name) != **name).cloned().collect();
                for name in names {
                    if let Some(value) = fields.remove(&name) {
                        fields.insert(self.text(&name), value);
                    }
                }
                for (name, value) in fields.iter_mut() {
                    if is_secret(name) || (self.hides_serials && SERIALS.contains(&name.as_str())) {
                        *value = Value::from(HIDDEN);
                    } else {
                        self.json(value);
                    }
                }
            }
            Value::Number(_) | Value::Bool(_) | Value::Null => {}
        }
    }

    fn is_long_serial(&self, number: i64) -> bool {
        number.to_string().len() >= SHORTEST && self.serials.contains(&number)
    }

    /// A message of the machine's own, which is compact JSON and has no names but its own, without reading it: nothing
    /// where that is not enough.
    pub(super) fn quickly(&self, text: &str) -> Option<String> {
        if text.contains(['?', '@', '#']) {
            return None;
        }
        let mut text = text.trim().to_owned();
        for name in SERIALS.iter().filter(|_| self.hides_serials) {
            let key = format!("\"{name}\":");
            if let Some(at) = text.find(&key).map(|at| at + key.len()) {
                let end = at + text[at..].find([',', '}'])?;
                text.replace_range(at..end, "\"***\"");
            }
        }
        let is_clean = !self.secrets.iter().any(|secret| text.contains(secret.reveal()));
        is_clean.then_some(text)
    }

    /// The serial numbers that are to be hidden.
    pub(super) fn serials(&self) -> &[i64] {
        &self.serials
    }
}

/// Fields that say which machine it is: of actions, and of settings reports.
const SERIALS: [&str; 5] = ["machine_serial", "serial", "MCsn", "HEsn", "head_serial"];

/// Fields whose value is nobody's business, wherever they are.
fn is_secret(name: &str) -> bool {
    ["password", "ws_token", "auth_token", "authorization"].iter().any(|secret| name.eq_ignore_ascii_case(secret))
}

/// A text in which URLs have lost what is behind their path, and who they are for.
fn without_queries(text: &str) -> String {
    let ends = |c: char| c.is_whitespace() || c.is_control() || "\"'<>\\`".contains(c);
    let mut clean = String::with_capacity(text.len());
    for piece in text.split_inclusive(ends) {
        let end = piece.chars().next_back().filter(|&c| ends(c));
        clean.push_str(&without_query(piece.strip_suffix(ends).unwrap_or(piece)));
        clean.extend(end);
    }
    clean
}

/// The same of a word that may be a URL: whole, or without its scheme or host, as a careless service writes them.
fn without_query(word: &str) -> String {
    let (scheme, rest) = word.split_at(word.find("://").map_or(0, |at| at + 3));
    let (path, query) = rest.split_at(rest.find(['?', '#']).unwrap_or(rest.len()));
    let in_url = !scheme.is_empty() || path.contains('/') || (path.is_empty() && query.starts_with('?'));
    let is_query = query.len() > 1 && (in_url || query.contains('='));
    let (authority, path) = path.split_at(path.find('/').unwrap_or(path.len()));
    let mut clean = scheme.to_owned();
    match authority.rsplit_once('@') {
        Some((user, host)) if !scheme.is_empty() || user.contains(':') => {
            clean.push_str(HIDDEN);
            clean.push('@');
            clean.push_str(host);
        }
        _ => clean.push_str(authority),
    }
    clean.push_str(path);
    if is_query {
        clean.push_str(&query[..1]);
        clean.push_str(HIDDEN);
    } else {
        clean.push_str(query);
    }
    clean
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn urls_lose_their_queries_wherever_they_are() {
        for (text, clean) in [
            ("nothing to see?", "nothing to see?"),
            ("https://a.b/c", "https://a.b/c"),
            ("https://a.b/c?X-Sig=1&y=2", "https://a.b/c?***"),
            ("see wss://a.b?t=1 and http://c/d#frag ok?", "see wss://a.b?*** and http://c/d#*** ok?"),
            ("https://me:secret@a.b/c", "https://***@a.b/c"),
            ("<a href=\"https://a/b?c\">x?</a>", "<a href=\"https://a/b?***\">x?</a>"),
            ("/up/lid?sig=1", "/up/lid?***"),
            ("?X-Sig=1", "?***"),
            ("me:secret@a.b/c?X-Sig=1", "***@a.b/c?***"),
            ("someone@example.org asks: why? #1", "someone@example.org asks: why? #1"),
            ("://?://?a", "://?***"),
        ] {
            assert_eq!(without_queries(text), clean, "{text}");
        }
    }

    #[test]
    fn secrets_are_hidden_by_name_and_by_value() {
        let mut redactor = Redactor::new(&[12_345_678, 0], &Secret::default());
        redactor.learn(Secret::new("wstoken-1"));
        let mut message = json!({
            "id": 1, "machine_serial": "S12345678", "n": 12_345_678, "password": ["x"], "Auth_Token": 7,
            "deep": [{"url": "https://h/wstoken-1/x?y", "wstoken-1": 1}],
        });
        redactor.json(&mut message);
        let expected = json!({
            "id": 1, "machine_serial": "***", "n": "***", "password": "***", "Auth_Token": "***",
            "deep": [{"url": "https://h/***/x?***", "***": 1}],
        });
        assert_eq!(message, expected);
    }

    #[test]
    fn a_message_of_our_own_is_cleaned_without_reading_it() {
        let redactor = Redactor::new(&[12_345_678, 99], &Secret::new("the password"));
        let report = r#"{"id":32,"settings":{"values":{"HEsn":99,"MCsn":12345678}}}"#;
        let clean = r#"{"id":32,"settings":{"values":{"HEsn":"***","MCsn":"***"}}}"#;
        assert_eq!(redactor.quickly(&format!("{report}\r\n")).as_deref(), Some(clean));
        let mut read: Value = serde_json::from_str(report).unwrap();
        redactor.json(&mut read);
        assert_eq!(read.to_string(), clean, "as if it had been read");
        for text in [r#"{"u":"https://h/x?y"}"#, r#"{"x":12345678}"#, r#"{"x":"the password"}"#] {
            assert_eq!(redactor.quickly(text), None, "{text}");
        }
        assert_eq!(Redactor::default().quickly(report).as_deref(), Some(report));
    }

    #[test]
    fn the_serial_number_stays_where_that_is_asked_for() {
        let mut message = json!({"machine_serial": "S12345678", "n": 12_345_678});
        Redactor::default().json(&mut message);
        assert_eq!(message, json!({"machine_serial": "S12345678", "n": 12_345_678}));
    }

    #[test]
    fn new_tokens_push_out_old_ones_and_not_the_password() {
        let mut redactor = Redactor::new(&[12_345_678], &Secret::new("the password"));
        for n in 0..1000 {
            redactor.learn(Secret::new(format!("token-{n:04}")));
        }
        assert_eq!(redactor.text("the password token-0999 token-0001 12345678"), "*** *** token-0001 ***");
        assert_eq!(redactor.secrets.len(), MOST_TOKENS);
    }

    proptest! {
        #[test]
        fn no_query_survives(before in "[a-z :/]{0,20}", path in "[a-z/]{0,10}", query in "[A-Z0-9=&%]{8,30}") {
            let clean = without_queries(&format!("{before}https://host/{path}?{query} after"));
            prop_assert!(!clean.contains(&query), "{}", clean);
        }
    }
}
