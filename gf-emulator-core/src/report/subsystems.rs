//! A settings report as a table: by subsystem, and for a later one what changed.

use std::collections::BTreeMap;

use maud::{Markup, html};
use serde_json::{Map, Value};

use super::said::Brief;

/// More codes than there are in either generation.
const MOST_CODES: usize = 2000;
/// A value is a number or a serial; the longest in a catalogue has 90 characters.
const MOST_VALUE: usize = 200;

/// What the first two characters of a code stand for, where that is known.
const SUBSYSTEMS: [(&str, &str); 25] = [
    ("AA", "air assist"),
    ("BT", "temperature window"),
    ("CC", "life of a job"),
    ("CM", "coolant"),
    ("EF", "exhaust fan"),
    ("FT", "temperature window"),
    ("HA", "head accelerometer"),
    ("HC", "head camera"),
    ("HE", "head"),
    ("HI", "high voltage, limits"),
    ("HT", "temperature window"),
    ("IF", "intake fan"),
    ("IR", "lid, infra-red"),
    ("IT", "temperature window"),
    ("LC", "lid camera"),
    ("LT", "temperature window"),
    ("MC", "machine"),
    ("NI", "network"),
    ("PC", "controller"),
    ("PD", "pulse data"),
    ("PT", "power supply temperature"),
    ("ST", "step frequency"),
    ("XS", "X motor"),
    ("YS", "Y motor"),
    ("ZS", "Z motor"),
];

type Settings = Map<String, Value>;

/// The whole report.
pub(super) fn whole(settings: &Settings) -> Markup {
    let groups = by_subsystem(settings.iter().take(MOST_CODES).map(|(code, value)| (code.as_str(), value)));
    html! {
        details.settings {
            summary { "Settings report: " (settings.len()) " settings in " (groups.len()) " subsystems" }
            div.subsystems {
                @for (prefix, values) in &groups {
                    table {
                        caption { (heading(prefix)) }
                        @for (code, value) in values {
                            tr { th scope="row" { (Brief(code, 12)) } td { (shown(Some(value))) } }
                        }
                    }
                }
            }
            (left_out(settings.len()))
        }
    }
}

/// What is otherwise than in the report before it.
pub(super) fn changes(before: &Settings, now: &Settings) -> Markup {
    let changed = now.iter().filter(|(code, value)| before.get(*code) != Some(value));
    let gone = before.keys().filter(|code| !now.contains_key(*code));
    let pairs: Vec<_> = changed
        .map(|(code, value)| (code.as_str(), (before.get(code), Some(value))))
        .chain(gone.map(|code| (code.as_str(), (before.get(code), None))))
        .collect();
    let count = pairs.len();
    let groups = by_subsystem(pairs.into_iter().take(MOST_CODES));
    html! {
        details.settings open[count > 0 && count <= 40] {
            summary { "Settings report: " (count) " of " (now.len()) " settings changed since the last one" }
            @if count > 0 {
                table.changes {
                    thead { tr { th scope="col" { "setting" } th scope="col" { "before" } th scope="col" { "now" } } }
                    @for (prefix, values) in &groups {
                        tbody {
                            tr { th scope="rowgroup" colspan="3" { (heading(prefix)) } }
                            @for (code, (before, now)) in values {
                                tr {
                                    th scope="row" { (Brief(code, 12)) }
                                    td { (shown(*before)) }
                                    td { (shown(*now)) }
                                }
                            }
                        }
                    }
                }
            }
            (left_out(count))
        }
    }
}

/// Sorted by prefix; within one, in the report's order.
fn by_subsystem<'a, V>(values: impl Iterator<Item = (&'a str, V)>) -> BTreeMap<String, Vec<(&'a str, V)>> {
    let mut groups = BTreeMap::<String, Vec<_>>::new();
    for (code, value) in values {
        groups.entry(code.chars().take(2).collect()).or_default().push((code, value));
    }
    groups
}

fn heading(prefix: &str) -> Markup {
    let name = SUBSYSTEMS.iter().find(|(known, _)| *known == prefix).map(|(_, name)| *name);
    html! { (Brief(prefix, 2)) @if let Some(name) = name { " " span { (name) } } }
}

fn shown(value: Option<&Value>) -> Markup {
    html! {
        @match value {
            None => { span.faint { "none" } }
            Some(Value::String(text)) => { (Brief(text, MOST_VALUE)) }
            Some(value) => { (Brief(&value.to_string(), MOST_VALUE)) }
        }
    }
}

fn left_out(count: usize) -> Markup {
    html! { @if count > MOST_CODES { p.note { "The first " (MOST_CODES) " are shown; the JSON has all." } } }
}
