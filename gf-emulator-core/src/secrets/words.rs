//! What is secret by where it stands: the queries and user names of URLs, and what a name like `password` is for.

use std::ops::Range;

use super::HIDDEN;

/// Names whose values are secret, wherever they are.
const NAMES: [&str; 4] = ["password", "ws_token", "auth_token", "authorization"];

/// Whether the value of a field of this name is secret.
pub(crate) fn is_secret_name(name: &str) -> bool {
    NAMES.iter().any(|secret| name.eq_ignore_ascii_case(secret))
}

/// A text in which URLs have lost what is behind their path, and who they are for.
pub(crate) fn without_queries(text: &str) -> String {
    if !text.contains('?') && !text.contains('#') && !text.contains('@') {
        return text.to_owned();
    }
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

/// A text that is not JSON, without what stands behind a secret's name: `password=x`, `"ws_token": "x`, `Bearer x`.
pub(crate) fn without_named(text: &str) -> String {
    let lower = text.to_ascii_lowercase();
    let mut clean = String::with_capacity(text.len());
    let mut at = 0;
    while let Some(Named { value, .. }) = next_named(&lower, at).filter(|named| named.value.start < text.len()) {
        clean.push_str(&text[at..value.start]);
        clean.push_str(HIDDEN);
        at = value.end;
    }
    clean.push_str(&text[at..]);
    clean
}

/// How much of a text's beginning loses the same whatever follows the text: it ends behind a word, and not between a name
/// and the end of its value.
pub(super) fn settled(text: &str) -> usize {
    let lower = text.to_ascii_lowercase();
    let mut all = Vec::new();
    let mut at = 0;
    while at < text.len()
        && let Some(named) = next_named(&lower, at)
    {
        at = named.value.end;
        all.push(named);
    }
    // What reaches the end may go on behind it.
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

/// A name that says that something is secret, and where that is: at the end of the text where there is nothing yet.
struct Named {
    name: usize,
    value: Range<usize>,
}

/// The next name from there on.
fn next_named(text: &str, from: usize) -> Option<Named> {
    let first = |at: &usize| b"pwab".contains(&text.as_bytes()[*at]);
    (from..text.len()).filter(first).find_map(|at| named_at(text, at))
}

fn named_at(text: &str, at: usize) -> Option<Named> {
    let named = NAMES.iter().map(|name| (*name, true)).chain([("bearer ", false), ("basic ", false)]);
    let (name, has_sign) = named.into_iter().find(|(name, _)| text[at..].starts_with(name))?;
    let behind = &text[at + name.len()..];
    let value = if has_sign {
        let behind = behind.trim_start_matches(['"', '\'', '\\', ' ', '\t']);
        if behind.is_empty() { behind } else { behind.strip_prefix([':', '='])?.trim_start() }
    } else if text[..at].ends_with(|c: char| c.is_alphanumeric()) {
        // A scheme's name is a word of its own.
        return None;
    } else {
        behind.trim_start()
    };
    let start = text.len() - value.len();
    Some(Named { name: at, value: start..start + length_of_value(value, name) })
}

/// Up to the closing quote, or as far as a word goes; a header's value may have two words.
fn length_of_value(value: &str, name: &str) -> usize {
    let opening = value.len() - value.trim_start_matches('\\').len();
    if let Some(quote) = value[opening..].chars().next().filter(|c| "\"'".contains(*c)) {
        let mut backslashes = 0;
        for (at, c) in value.char_indices().skip_while(|(at, _)| *at <= opening) {
            // Where JSON is text in JSON, the closing quote has as many as the opening one.
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
    fn what_a_secrets_name_is_for_goes() {
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
            assert_eq!(without_named(text), clean, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_query_survives(before in "[a-z :/]{0,20}", path in "[a-z/]{0,10}", query in "[A-Z0-9=&%]{8,30}") {
            let clean = without_queries(&format!("{before}https://host/{path}?{query} after"));
            prop_assert!(!clean.contains(&query), "{}", clean);
        }

        #[test]
        fn no_text_is_too_odd(text in "(password|Bearer |İ|[\"'\\\\:= ]|\\PC){0,20}") {
            let _ = without_named(&text);
        }
    }
}
