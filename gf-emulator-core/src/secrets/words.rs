//! What is secret by where it stands: the queries and user names of URLs, and what a name like `password` is for.

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
    while let Some((start, end)) = next_named(&lower, at) {
        clean.push_str(&text[at..start]);
        clean.push_str(HIDDEN);
        at = end;
    }
    clean.push_str(&text[at..]);
    clean
}

/// Where the next such value begins and ends.
fn next_named(text: &str, from: usize) -> Option<(usize, usize)> {
    let named = NAMES.iter().map(|name| (*name, true)).chain([("bearer ", false), ("basic ", false)]);
    named
        .filter_map(|(name, has_sign)| {
            let mut from = from;
            loop {
                let found = from + text[from..].find(name)?;
                from = found + name.len();
                let behind = &text[from..];
                let value = if has_sign {
                    let behind = behind.trim_start_matches(['"', '\'', '\\', ' ', '\t']);
                    behind.strip_prefix([':', '=']).map(str::trim_start)
                } else {
                    Some(behind.trim_start())
                };
                // A scheme's name is a word of its own.
                let is_word = has_sign || !text[..found].ends_with(|c: char| c.is_alphanumeric());
                if let Some(value) = value.filter(|value| is_word && !value.is_empty()) {
                    let start = text.len() - value.len();
                    return Some((start, start + length_of_value(value, name)));
                }
            }
        })
        .min()
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
