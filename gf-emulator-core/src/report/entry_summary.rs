//! One-line summaries of entries.

use maud::{Markup, html};
use serde_json::Value;

use super::escape::Truncated;
use super::format;
use crate::record::{Event, Exchange, Message, Part};
use crate::words::size;

/// The most characters shown of a name. The longest in the protocol has 34.
pub(super) const MAX_NAME: usize = 120;

/// Renders what happened in one line.
pub(super) fn summary(event: &Event) -> Markup {
    html! {
        @match event {
            Event::Http(http) => { (exchange(http)) }
            Event::In(message) | Event::Out(message) => { (websocket_message(message)) }
            Event::Opened { .. } => { "WebSocket opened" }
            Event::Closed { reason } => { "WebSocket closed: " (Truncated(reason, MAX_NAME)) }
            Event::State { state, action_id, detail } => {
                @if let Some(id) = action_id { "action " b { (id) } " " }
                (Truncated(state, MAX_NAME))
                @if let Some(detail) = detail { ": " (Truncated(detail, MAX_NAME)) }
            }
            Event::Session(about) => { "a recording by " (Truncated(&about.recorder, MAX_NAME)) }
        }
    }
}

fn exchange(http: &Exchange) -> Markup {
    html! {
        (Truncated(&http.method, 12)) " " (Truncated(path_of(&http.url), MAX_NAME)) @if http.has_query { "?…" }
        @if let Some(status) = http.status { " → " b { (status) } }
        @if let Some(error) = &http.error { " " b { (Truncated(error, MAX_NAME)) } }
        small {
            @if let Some(sent) = body("sent", &http.request) { " " (sent) }
            @if let Some(received) = body("received", &http.response) { " " (received) }
            @if let Some(duration_s) = http.duration_s { " in " (format::duration(duration_s)) }
        }
    }
}

fn body(verb: &str, part: &Part) -> Option<String> {
    (part.bytes > 0).then(|| format!("{verb} {}", size(part.bytes)))
}

fn websocket_message(message: &Message) -> Markup {
    let Some(name) = message.name() else {
        let text = message.text.as_deref().unwrap_or_default().trim();
        let json = message.json.as_ref().map(Value::to_string).unwrap_or_default();
        return html! { b { "not understood: " } (Truncated(if text.is_empty() { &json } else { text }, MAX_NAME)) };
    };
    let field = |key: &str| message.json.as_ref().and_then(|json| json.get(key));
    html! {
        (Truncated(name, MAX_NAME))
        @if let Some(id) = message.action_id() { " " b { (id) } }
        @if let Some(status) = field("status").and_then(Value::as_str) { " " (Truncated(status, 40)) }
        @if let Some(current) = field("current").and_then(Value::as_u64) {
            small {
                " " (current)
                @if let Some(total) = field("total").and_then(Value::as_u64) { " of " (total) }
                @if let Some(units) = field("units").and_then(Value::as_str) { " " (Truncated(units, 20)) }
            }
        }
        @if let Some(log) = field("log").and_then(Value::as_str) { small { " " (Truncated(log, MAX_NAME)) } }
    }
}

/// Returns a URL without scheme and host.
fn path_of(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.find('/').map_or(rest, |at| &rest[at..])
}
