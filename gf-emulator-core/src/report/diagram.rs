//! The conversation: a row for each entry, time running down, three lifelines behind.
//!
//! A row stands for itself: [`row`] makes it of an entry alone, for a page that is written while things happen.

use maud::{Markup, html};
use serde_json::Value;

use super::raw;
use super::said::Brief;
use super::timeline::{Channel, Outcome, is_trouble};
use crate::record::{DisplayEntry, Event, Exchange, Message, Part};

/// A name in a row: the longest of the protocol has 34 characters.
pub(super) const MOST_NAME: usize = 120;

/// What an entry does not say of itself.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Setting<'a> {
    /// The type of the action that it belongs to; without it, what its name begins with.
    pub(super) action: Option<&'a str>,
    /// How that ended.
    pub(super) outcome: Option<Outcome>,
    /// Which way it went; without it, as far as the entry tells.
    pub(super) channel: Option<Channel>,
    /// So much of its JSON is shown.
    pub(super) raw_bytes: usize,
}

impl Default for Setting<'_> {
    fn default() -> Self {
        Self { action: None, outcome: None, channel: None, raw_bytes: raw::MOST_BYTES }
    }
}

/// Where an arrow goes.
#[derive(Clone, Copy)]
enum Way {
    Out,
    In,
    ToStorage,
    Both,
    Nowhere,
}

impl Way {
    fn class(self) -> &'static str {
        match self {
            Self::Out => "row out",
            Self::In => "row in",
            Self::ToStorage => "row far",
            Self::Both => "row line",
            Self::Nowhere => "row note",
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::Out => "machine to service",
            Self::In => "service to machine",
            Self::ToStorage => "machine to storage",
            Self::Both => "machine and service",
            Self::Nowhere => "at the machine",
        }
    }
}

/// One entry: a line with an arrow, its JSON on demand.
pub(crate) fn row(shortened: &DisplayEntry, setting: Setting<'_>) -> Markup {
    let DisplayEntry { entry, is_truncated, .. } = shortened;
    let event = &entry.event;
    let channel = setting.channel.unwrap_or_else(|| Channel::of(event));
    let way = match event {
        Event::Http(_) if channel == Channel::Storage => Way::ToStorage,
        Event::Http(_) | Event::Out(_) => Way::Out,
        Event::In(_) => Way::In,
        Event::Opened { .. } | Event::Closed { .. } => Way::Both,
        _ => Way::Nowhere,
    };
    let action = setting.action.or_else(|| kind_of(event));
    let outcome = setting.outcome.map(Outcome::word);
    let trouble = is_trouble(event).then_some("trouble");
    html! {
        details class={ (way.class()) @if let Some(class) = trouble.or(outcome) { " " (class) } } id={ "e" (entry.n) }
            data-channel=(channel.word()) data-outcome=(outcome.or(trouble.map(|_| "failed")).unwrap_or("none"))
            data-action=[action.map(|kind| Brief(kind, MOST_NAME))] {
            summary {
                time { (clock(entry.t)) }
                span.what { (line(event)) }
                i role="img" aria-label=(way.words()) {}
            }
            (raw::json(entry, *is_truncated, setting.raw_bytes))
        }
    }
}

/// A row as it is sent to who follows a session: many of them may have to wait, so that each is kept small.
#[cfg(feature = "follow")]
pub(crate) fn live_row(entry: &DisplayEntry) -> String {
    row(entry, Setting { raw_bytes: 32 << 10, ..Setting::default() }).into_string()
}

/// What an entry is, in a line.
pub(super) fn line(event: &Event) -> Markup {
    html! {
        @match event {
            Event::Http(http) => { (exchange(http)) }
            Event::In(message) | Event::Out(message) => { (said(message)) }
            Event::Opened { .. } => { "WebSocket opened" }
            Event::Closed { reason } => { "WebSocket closed: " (Brief(reason, MOST_NAME)) }
            Event::State { state, action_id, detail } => {
                @if let Some(id) = action_id { "action " b { (id) } " " }
                (Brief(state, MOST_NAME))
                @if let Some(detail) = detail { ": " (Brief(detail, MOST_NAME)) }
            }
            Event::Session(about) => { "a recording by " (Brief(&about.recorder, MOST_NAME)) }
        }
    }
}

fn exchange(http: &Exchange) -> Markup {
    html! {
        (Brief(&http.method, 12)) " " (Brief(path_of(&http.url), MOST_NAME)) @if http.has_query { "?…" }
        @if let Some(status) = http.status { " → " b { (status) } }
        @if let Some(error) = &http.error { " " b { (Brief(error, MOST_NAME)) } }
        small {
            @if let Some(sent) = body("sent", &http.request) { " " (sent) }
            @if let Some(got) = body("got", &http.response) { " " (got) }
            @if let Some(duration_s) = http.duration_s { " in " (seconds(duration_s)) }
        }
    }
}

fn body(what: &str, part: &Part) -> Option<String> {
    (part.bytes > 0).then(|| format!("{what} {}", bytes(part.bytes)))
}

fn said(message: &Message) -> Markup {
    let Some(name) = message.name() else {
        let text = message.text.as_deref().unwrap_or_default().trim();
        let json = message.json.as_ref().map(Value::to_string).unwrap_or_default();
        return html! { b { "not understood: " } (Brief(if text.is_empty() { &json } else { text }, MOST_NAME)) };
    };
    let field = |key: &str| message.json.as_ref().and_then(|json| json.get(key));
    html! {
        (Brief(name, MOST_NAME))
        @if let Some(id) = message.action_id() { " " b { (id) } }
        @if let Some(status) = field("status").and_then(Value::as_str) { " " (Brief(status, 40)) }
        @if let Some(current) = field("current").and_then(Value::as_u64) {
            small {
                " " (current)
                @if let Some(total) = field("total").and_then(Value::as_u64) { " of " (total) }
                @if let Some(units) = field("units").and_then(Value::as_str) { " " (Brief(units, 20)) }
            }
        }
        @if let Some(log) = field("log").and_then(Value::as_str) { small { " " (Brief(log, MOST_NAME)) } }
    }
}

/// The action's type, where a name tells it.
fn kind_of(event: &Event) -> Option<&str> {
    let (Event::In(message) | Event::Out(message)) = event else { return None };
    message.action_id()?;
    message.name()?.split(':').next()
}

/// A URL without scheme and host.
fn path_of(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.find('/').map_or(rest, |at| &rest[at..])
}

/// A time since the beginning, as a column of them has it. A recording may say anything.
pub(super) fn clock(t: f64) -> String {
    if t.abs() < 1e7 { format!("{t:.3}") } else { format!("{t:.3e}") }
}

/// A short time, to three places of whatever unit is near.
pub(super) fn seconds(s: f64) -> String {
    match s {
        s if !(0.0..1e7).contains(&s) => format!("{s:.3e} s"),
        s if s < 0.001 => format!("{:.0} µs", s * 1e6),
        s if s < 1.0 => format!("{:.1} ms", s * 1e3),
        s => crate::puls::Seconds(s).to_string(),
    }
}

/// A size.
pub(super) fn bytes(n: u64) -> String {
    match n {
        0..1000 => format!("{n} bytes"),
        1000..1_000_000 => format!("{} kB", n.div_ceil(1000)),
        _ => format!("{:.1} MB", n as f64 / 1e6),
    }
}
