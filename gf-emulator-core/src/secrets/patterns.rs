//! Recognises secrets by position: queries and user names of URLs, and values of fields such as `password`.

use std::ops::Range;

use super::MASK;

/// Field names whose values are always secret.
const NAMES: [&str; 4] = ["password", "ws_token", "auth_token", "authorization"];

/// Returns whether the value of a field with this name is secret.
pub(crate) fn is_secret_name(name: &str) -> bool {
    NAMES.iter().any(|secret| name.eq_ignore_ascii_case(secret))
}

/// Redacts the query, fragment and user name of every URL in `text`.
pub(crate) fn redact_urls(text: &str) -> String {
    redacted_urls(text).unwrap_or_else(|| text.to_owned())
}

/// Redacts as [`redact_urls`] does. Returns `None` if there is certainly nothing to redact.
pub(crate) fn redacted_urls(text: &str) -> Option<String> {
    if !text.contains(['?', '#', '@']) {
        return None;
    }
    let ends = |c: char| c.is_whitespace() || c.is_control() || "\"'<>\\`".contains(c);
    let mut clean = String::with_capacity(text.len());
    for piece in text.split_inclusive(ends) {
        let end = piece.chars().next_back().filter(|&c| ends(c));
        clean.push_str(&redact_url(piece.strip_suffix(ends).unwrap_or(piece)));
        clean.extend(end);
    }
    Some(clean)
}

/// Redacts a word that may be a URL, possibly without its scheme or host.
fn redact_url(word: &str) -> String {
    let (scheme, rest) = word.split_at(word.find("://").map_or(0, |at| at + 3));
    let (path, query) = rest.split_at(rest.find(['?', '#']).unwrap_or(rest.len()));
    let in_url = !scheme.is_empty() || path.contains('/') || (path.is_empty() && query.starts_with('?'));
    let is_query = query.len() > 1 && (in_url || query.contains('='));
    let (authority, path) = path.split_at(path.find('/').unwrap_or(path.len()));
    let mut clean = scheme.to_owned();
    match authority.rsplit_once('@') {
        Some((user, host)) if !scheme.is_empty() || user.contains(':') => {
            clean.push_str(MASK);
            clean.push('@');
            clean.push_str(host);
        }
        _ => clean.push_str(authority),
    }
    clean.push_str(path);
    if is_query {
        clean.push_str(&query[..1]);
        clean.push_str(MASK);
    } else {
        clean.push_str(query);
    }
    clean
}

/// Redacts values that follow a secret name in text that is not JSON: `password=x`, `"ws_token": "x`, `Bearer x`.
pub(crate) fn redact_named(text: &str) -> String {
    let lower = text.to_ascii_lowercase();
    let mut clean = String::with_capacity(text.len());
    let mut at = 0;
    while let Some(Named { value, .. }) = next_named(&lower, at).filter(|named| named.value.start < text.len()) {
        clean.push_str(&text[at..value.start]);
        clean.push_str(MASK);
        at = value.end;
    }
    clean.push_str(&text[at..]);
    clean
}

/// Returns the length of the longest prefix whose redaction does not depend on what follows `text`: it ends after a
/// word, and not between a name and the end of its value.
pub(super) fn stable_prefix(text: &str) -> usize {
    let lower = text.to_ascii_lowercase();
    let mut all = Vec::new();
    let mut at = 0;
    while at < text.len()
        && let Some(named) = next_named(&lower, at)
    {
        at = named.value.end;
        all.push(named);
    }
    // A value that reaches the end may continue after it.
    let mut end = all.pop_if(|last| last.value.end == text.len()).map_or(text.len(), |last| last.name);
    loop {
        end = text[..end].rfind(|c: char| c.is_ascii_whitespace() || "\"'<>".contains(c)).map_or(0, |at| at + 1);
        while all.pop_if(|last| last.name >= end).is_some() {}
        match all.pop_if(|last| last.value.end >= end) {
            Some(last) => end = last.name,
            None => return end,
        }
    }
}

/// The start of a secret name, and the range of its value: empty at the end of the text if there is no value yet.
struct Named {
    name: usize,
    value: Range<usize>,
}

/// Finds the next secret name from `from`.
fn next_named(text: &str, from: usize) -> Option<Named> {
    let first = |at: &usize| b"pwab".contains(&text.as_bytes()[*at]);
    (from..text.len()).filter(first).find_map(|at| named_at(text, at))
}

fn named_at(text: &str, at: usize) -> Option<Named> {
    let named = NAMES.iter().map(|name| (*name, true)).chain([("bearer ", false), ("basic ", false)]);
    let (name, has_separator) = named.into_iter().find(|(name, _)| text[at..].starts_with(name))?;
    let behind = &text[at + name.len()..];
    let value = if has_separator {
        let behind = behind.trim_start_matches(['"', '\'', '\\', ' ', '\t']);
        if behind.is_empty() { behind } else { behind.strip_prefix([':', '='])?.trim_start() }
    } else if text[..at].ends_with(|c: char| c.is_alphanumeric()) {
        // The name of an authentication scheme must be a whole word.
        return None;
    } else {
        behind.trim_start()
    };
    let start = text.len() - value.len();
    Some(Named { name: at, value: start..start + value_len(value, name) })
}

/// Returns the length of a value: to its closing quote, or to the end of the word. `Authorization` may have two words.
fn value_len(value: &str, name: &str) -> usize {
    let opening = value.len() - value.trim_start_matches('\\').len();
    if let Some(quote) = value[opening..].chars().next().filter(|c| "\"'".contains(*c)) {
        let mut backslashes = 0;
        for (at, c) in value.char_indices().skip_while(|(at, _)| *at <= opening) {
            // In JSON nested in a JSON string, both quotes have the same number of backslashes.
            let is_closing = if opening == 0 { backslashes % 2 == 0 } else { backslashes <= opening };
            if c == quote && is_closing {
                return at + 1;
            }
            backslashes = if c == '\\' { backslashes + 1 } else { 0 };
        }
        return value.len();
    }
    let ends = |c: char| c.is_whitespace() || ",;&}<>\"'".contains(c);
    let word = value.find(ends).unwrap_or(value.len());
    if name == "authorization" && ["bearer", "basic"].contains(&&value[..word]) {
        let second = value[word..].trim_start();
        return value.len() - second.len() + second.find(ends).unwrap_or(second.len());
    }
    word
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn redacts_queries_and_user_names() {
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
            assert_eq!(redact_urls(text), clean, "{text}");
        }
    }

    #[test]
    fn redacts_values_of_secret_names() {
        for (text, clean) in [
            ("password=abc&x=1", "password=***&x=1"),
            ("\"Password\" : \"a \\\" b\", x", "\"Password\" : ***, x"),
            ("{\"ws_token\":\"abc", "{\"ws_token\":***"),
            ("Authorization: Bearer abc def", "Authorization: *** def"),
            ("it said Basic YWJj twice: basic YWJj", "it said Basic *** twice: basic ***"),
            ("a password is needed", "a password is needed"),
            ("{\\\"password\\\":\\\"abc\\\"}", "{\\\"password\\\":***}"),
            ("password=", "password="),
            ("nonbasic words", "nonbasic words"),
        ] {
            assert_eq!(redact_named(text), clean, "{text}");
        }
    }

    proptest! {
        #[test]
        fn redacts_every_query(before in "[a-z :/]{0,20}", path in "[a-z/]{0,10}", query in "[A-Z0-9=&%]{8,30}") {
            let clean = redact_urls(&format!("{before}https://host/{path}?{query} after"));
            prop_assert!(!clean.contains(&query), "{}", clean);
        }

        #[test]
        fn accepts_any_text_without_a_panic(text in "(password|Bearer |İ|[\"'\\\\:= ]|\\PC){0,20}") {
            let _ = redact_named(&text);
        }
    }
}
