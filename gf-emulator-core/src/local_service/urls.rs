//! Pointing recorded URLs at another host.

use serde_json::Value;

use crate::secrets::MASK;

/// The query of a rebased URL that had one, so that a machine still takes it for a presigned URL.
const QUERY: &str = "replay";
/// The field in the query of a URL that names a machine by its number.
const MACHINE_QUERY: &str = "machine";

/// Replaces the origin of every HTTP and WebSocket URL in `text`, and its query, if it has one, by `query`.
///
/// `origin` is called with whether the URL is a WebSocket URL.
pub(crate) fn rebase_urls(text: &str, origin: impl Fn(bool) -> String, query: &str) -> String {
    let ends_url = |c: char| c.is_whitespace() || c.is_control() || "\"'<>\\`".contains(c);
    let (mut rebased, mut rest) = (String::with_capacity(text.len()), text);
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at);
        let scheme = before.rfind(|c: char| !c.is_ascii_alphanumeric()).map_or(before, |end| {
            let next = before[end..].chars().next().map_or(0, char::len_utf8);
            &before[end + next..]
        });
        let is_known = ["http", "https", "ws", "wss"].iter().any(|known| scheme.eq_ignore_ascii_case(known));
        if !is_known {
            rebased.push_str(before);
            rebased.push_str("://");
            rest = &after[3..];
            continue;
        }
        rebased.push_str(&before[..before.len() - scheme.len()]);
        let url = &after[3..];
        let (url, tail) = url.split_at(url.find(ends_url).unwrap_or(url.len()));
        let url = &url[url.find(['/', '?', '#']).unwrap_or(url.len())..];
        let (path, has_query) = url.find(['?', '#']).map_or((url, false), |at| (&url[..at], true));
        rebased.push_str(&origin(scheme[..1].eq_ignore_ascii_case("w")));
        rebased.push_str(path);
        if has_query {
            rebased.push('?');
            rebased.push_str(query);
        }
        rest = tail;
    }
    rebased.push_str(rest);
    rebased
}

/// Points the URLs in a message of a recorded service to `http_url`, and fills in the machine's serial number if it was
/// hidden.
pub(super) fn rebase_message(text: &str, http_url: &str, serial: &str) -> String {
    match serde_json::from_str::<Value>(text) {
        Ok(mut json) => {
            rebase_json(&mut json, http_url, Some(serial));
            json.to_string()
        }
        Err(_) => rebase_text(text, http_url),
    }
}

/// Points the URLs in all strings of `value` to `http_url`, and fills in hidden serial numbers if `serial` is given.
pub(super) fn rebase_json(value: &mut Value, http_url: &str, serial: Option<&str>) {
    match value {
        Value::String(text) => *text = rebase_text(text, http_url),
        Value::Array(items) => items.iter_mut().for_each(|item| rebase_json(item, http_url, serial)),
        Value::Object(fields) => {
            for (name, field) in fields {
                match serial {
                    Some(serial) if name == "machine_serial" && field == MASK => *field = Value::from(serial),
                    _ => rebase_json(field, http_url, serial),
                }
            }
        }
        _ => {}
    }
}

/// Adds the number of a machine to all URLs of files in `value`, so that requests without a token can be told apart.
/// Those of the first machine stay as they are.
pub(super) fn mark_urls(value: &mut Value, http_url: &str, machine: u64) {
    match value {
        Value::String(text) => {
            let is_file =
                text.strip_prefix(http_url).is_some_and(|path| path.starts_with("/up/") || path.starts_with("/dl/"));
            if is_file && machine > 1 {
                let separator = if text.contains('?') { "&" } else { "?" };
                text.extend([separator, MACHINE_QUERY, "=", &machine.to_string()]);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| mark_urls(item, http_url, machine)),
        Value::Object(fields) => fields.values_mut().for_each(|field| mark_urls(field, http_url, machine)),
        _ => {}
    }
}

/// Returns the number of the machine in the query of a URL.
pub(super) fn marked_machine(query: &str) -> Option<u64> {
    let marked = query.split('&').filter_map(|field| field.split_once('='));
    marked.filter(|(name, _)| *name == MACHINE_QUERY).find_map(|(_, number)| number.parse().ok())
}

fn rebase_text(text: &str, http_url: &str) -> String {
    let origin = |is_ws| if is_ws { http_url.replacen("http", "ws", 1) } else { http_url.to_owned() };
    rebase_urls(text, origin, QUERY)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rebased(text: &str) -> String {
        rebase_urls(text, |is_ws| if is_ws { "{ws}".into() } else { "{http}".into() }, "q")
    }

    #[test]
    fn rebases_every_url() {
        for (text, expected) in [
            ("", ""),
            ("no URL: //x ://", "no URL: //x ://"),
            ("https://a.b:1", "{http}"),
            ("https://a.b:1/c/d", "{http}/c/d"),
            ("HTTP://a.b/c?***", "{http}/c?q"),
            ("see wss://a.b?x=1, and http://c/d#e ok", "see {ws}?q and {http}/d?q ok"),
            ("\u{e9}https://me:secret@a.b/c", "\u{e9}{http}/c"),
            ("file:///tmp/https://a/b", "file:///tmp/{http}/b"),
            ("<https://a/b>https://c", "<{http}/b>{http}"),
        ] {
            assert_eq!(rebased(text), expected, "{text}");
        }
    }

    #[test]
    fn urls_of_files_name_the_machine() {
        let marked = |machine| {
            let mut action =
                serde_json::json!({"id": 1, "at": ["h://x/up/1?sig=1", "h://x/dl/a"], "b": ["h://x/api/", "/up/"]});
            mark_urls(&mut action, "h://x", machine);
            action.to_string()
        };
        assert_eq!(marked(1), r#"{"id":1,"at":["h://x/up/1?sig=1","h://x/dl/a"],"b":["h://x/api/","/up/"]}"#);
        assert_eq!(
            marked(12),
            r#"{"id":1,"at":["h://x/up/1?sig=1&machine=12","h://x/dl/a?machine=12"],"b":["h://x/api/","/up/"]}"#
        );
        for (query, machine) in [("sig=1&machine=12", Some(12)), ("machine=x", None), ("", None), ("machines=1", None)]
        {
            assert_eq!(marked_machine(query), machine, "{query}");
        }
    }

    proptest! {
        #[test]
        fn accepts_any_text_and_is_idempotent(text in "\\PC{0,60}", scheme in "(https?|wss?|file|)") {
            let once = rebased(&format!("{text}{scheme}://{text}"));
            prop_assert_eq!(rebased(&once), once);
        }
    }
}
