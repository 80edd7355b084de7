//! Settings reports as tables, grouped by subsystem: a whole report, or what has changed since the one before.

use std::collections::BTreeMap;

use maud::{Markup, html};
use serde_json::{Map, Value};

use super::escape::Truncated;
use crate::words::count;

/// The most settings shown; neither firmware generation has as many.
const MAX_SETTINGS: usize = 2000;
/// The most characters shown of a value. Values are numbers and serials; the longest known has 90 characters.
const MAX_VALUE: usize = 200;

/// The meanings of a code's first two characters, inferred from job headers and firmware. Others are unknown.
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

pub(super) type Settings = Map<String, Value>;

/// Renders a whole report.
pub(super) fn all(settings: &Settings) -> Markup {
    let shown = || settings.iter().take(MAX_SETTINGS).map(|(code, value)| (code.as_str(), value));
    let subsystems = by_subsystem(shown()).len();
    let is_zero = |value: &Value| value.as_f64() == Some(0.0);
    let groups = by_subsystem(shown().filter(|(_, value)| !is_zero(value)));
    let zeros: Vec<_> = shown().filter(|(_, value)| is_zero(value)).map(|(code, _)| code).collect();
    html! {
        details.settings {
            summary { "Settings report: " (count(settings.len(), "setting")) " in " (count(subsystems, "subsystem")) }
            div.subsystems {
                @for (prefix, values) in &groups {
                    table {
                        caption { (heading(prefix)) }
                        @for (code, value) in values {
                            tr { th scope="row" { (Truncated(code, 12)) } td { (value_cell(Some(value))) } }
                        }
                    }
                }
            }
            @if !zeros.is_empty() {
                details.zeros {
                    summary { (count(zeros.len(), "more setting")) (if zeros.len() == 1 { " is 0" } else { " are 0" }) }
                    p { @for code in &zeros { code { (Truncated(code, 12)) } " " } }
                }
            }
            (truncation_note(settings.len()))
        }
    }
}

/// Renders the differences between a report and the one before.
pub(super) fn changes(previous: &Settings, current: &Settings) -> Markup {
    let changed = current.iter().filter(|(code, value)| previous.get(*code) != Some(value));
    let removed = previous.keys().filter(|code| !current.contains_key(*code));
    let pairs: Vec<_> = changed
        .map(|(code, value)| (code.as_str(), (previous.get(code), Some(value))))
        .chain(removed.map(|code| (code.as_str(), (previous.get(code), None))))
        .collect();
    let changed_count = pairs.len();
    let groups = by_subsystem(pairs.into_iter().take(MAX_SETTINGS));
    html! {
        details.settings open[(1..=40).contains(&changed_count)] {
            summary { "Settings report: " (changed_count) " of " (current.len()) " settings changed since the last report" }
            @if changed_count > 0 {
                table.changes {
                    thead { tr { th scope="col" { "setting" } th scope="col" { "before" } th scope="col" { "after" } } }
                    @for (prefix, values) in &groups {
                        tbody {
                            tr { th scope="rowgroup" colspan="3" { (heading(prefix)) } }
                            @for (code, (before, after)) in values {
                                tr {
                                    th scope="row" { (Truncated(code, 12)) }
                                    td { (value_cell(*before)) }
                                    td { (value_cell(*after)) }
                                }
                            }
                        }
                    }
                }
            }
            (truncation_note(changed_count))
        }
    }
}

/// Groups settings by the prefix of their code, in the report's order within a group.
fn by_subsystem<'a, V>(values: impl Iterator<Item = (&'a str, V)>) -> BTreeMap<String, Vec<(&'a str, V)>> {
    let mut groups = BTreeMap::<String, Vec<_>>::new();
    for (code, value) in values {
        groups.entry(code.chars().take(2).collect()).or_default().push((code, value));
    }
    groups
}

fn heading(prefix: &str) -> Markup {
    let name = SUBSYSTEMS.iter().find(|(known, _)| *known == prefix).map(|(_, name)| *name);
    html! { (Truncated(prefix, 2)) " " span { (name.unwrap_or("(meaning not known)")) } }
}

fn value_cell(value: Option<&Value>) -> Markup {
    html! {
        @match value {
            None => { span.faint { "none" } }
            Some(Value::String(text)) => { (Truncated(text, MAX_VALUE)) }
            Some(value) => { (Truncated(&value.to_string(), MAX_VALUE)) }
        }
    }
}

fn truncation_note(settings: usize) -> Markup {
    html! { @if settings > MAX_SETTINGS { p.note { "Only the first " (MAX_SETTINGS) " are shown. The entry's JSON has all." } } }
}
