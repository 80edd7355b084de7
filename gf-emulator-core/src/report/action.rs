//! One action: its entries with their times, its pictures, its job and its settings reports.

use std::collections::HashSet;

use maud::{Markup, html};

use super::attachments::Attachments;
use super::entry_summary::{MAX_NAME, summary};
use super::escape::Truncated;
use super::format;
use super::model::{Action, Outcome, settings as settings_in};
use super::settings::{self, Settings};
use crate::record::{DisplayEntry, EntryReader, Event, LineSpan};
use crate::words::count;

/// Tables with more entries than this are collapsed.
const COLLAPSED_FROM: usize = 17;
/// The most parts of a duration bar.
const MAX_BAR_PARTS: usize = 60;
/// The most files shown of one action.
const MAX_FILES: usize = 200;

struct ActionEntry {
    n: u64,
    t: f64,
    summary: Markup,
}

/// What is shown of an action, read again from the recording.
struct Details {
    entries: Vec<ActionEntry>,
    /// Omitted entries come after this many.
    first_entries: usize,
    /// When the action started.
    start_s: f64,
    files: Vec<String>,
    has_more_files: bool,
}

impl Details {
    fn read(action: &Action, again: &mut EntryReader) -> Self {
        let mut details = Self {
            entries: Vec::with_capacity(action.first_entries.len() + action.last_entries.len()),
            first_entries: 0,
            start_s: 0.0,
            files: Vec::new(),
            has_more_files: false,
        };
        let mut known_files = HashSet::new();
        for place in &action.first_entries {
            details.add(*place, again, &mut known_files);
        }
        details.first_entries = details.entries.len();
        for place in &action.last_entries {
            details.add(*place, again, &mut known_files);
        }
        details
    }

    fn add(&mut self, place: LineSpan, again: &mut EntryReader, known_files: &mut HashSet<String>) {
        let Some(DisplayEntry { entry, .. }) = again.entry(place) else { return };
        let mut start_s = entry.t;
        if let Event::Http(http) = &entry.event {
            // An exchange is recorded when it ends.
            start_s -= http.duration_s.unwrap_or_default().clamp(0.0, 1e6);
            for file in [&http.request.file, &http.response.file].into_iter().flatten() {
                if self.files.len() == MAX_FILES {
                    self.has_more_files = true;
                } else if known_files.insert(file.clone()) {
                    self.files.push(file.clone());
                }
            }
        }
        if self.entries.is_empty() {
            self.start_s = start_s;
        }
        self.entries.push(ActionEntry { n: entry.n, t: entry.t, summary: summary_within_action(&entry.event) });
    }

    fn duration_s(&self) -> f64 {
        self.entries.last().map_or(0.0, |entry| entry.t - self.start_s)
    }
}

/// Renders an action.
pub(super) fn article(
    number: usize,
    action: &Action,
    again: &mut EntryReader,
    attachments: &mut Attachments<'_>,
) -> Markup {
    let details = Details::read(action, again);
    let entry_count = action.entry_count();
    let of: String = format!("{} {}", action.action_type, action.id).chars().take(MAX_NAME).collect();
    let files: Vec<Markup> = details.files.iter().map(|file| attachments.show(file, &of)).collect();
    let name = Truncated(&action.action_type, MAX_NAME);
    html! {
        article id={ "a" (number) } data-action=(name) data-outcome=(Outcome::class(action.outcome)) {
            h3 {
                (outcome_chip(action.outcome)) " " (name) " " b { (action.id) }
                small {
                    @if let Some(first) = details.entries.first() {
                        " started at " a href={ "#e" (first.n) } { (format::clock(details.start_s)) " s" } ","
                    }
                    " took " (format::duration(details.duration_s()))
                }
            }
            @if let Some(reason) = &action.reason { p.reason { (Truncated(reason, 200)) } }
            (duration_bar(&details))
            div.columns {
                @if entry_count >= COLLAPSED_FROM {
                    details.entries { summary { (entry_count) " entries" } (table(&details, action.omitted)) }
                } @else {
                    (table(&details, action.omitted))
                }
                @if !files.is_empty() {
                    div.files { @for file in files { (file) } }
                }
            }
            @if details.has_more_files { p.note { "Only the first " (MAX_FILES) " files are shown." } }
            (reports(action, again))
        }
    }
}

pub(super) fn outcome_label(outcome: Option<Outcome>) -> &'static str {
    outcome.map_or("unfinished", Outcome::name)
}

pub(super) fn outcome_chip(outcome: Option<Outcome>) -> Markup {
    html! { span class={ "chip " (Outcome::class(outcome)) } { (outcome_label(outcome)) } }
}

fn reports(action: &Action, again: &mut EntryReader) -> Markup {
    html! {
        @for (place, previous) in &action.reports {
            @let previous = previous.and_then(|place| again.entry(place));
            @let current = again.entry(*place);
            @match (current.as_ref().and_then(report_in), previous.as_ref().and_then(report_in)) {
                (Some(current), Some(previous)) => { (settings::changes(previous, current)) }
                (Some(current), None) => { (settings::all(current)) }
                (None, _) => {}
            }
        }
        @if action.omitted_reports > 0 { p.note { (count(action.omitted_reports, "more settings report")) " not shown." } }
    }
}

fn report_in(shortened: &DisplayEntry) -> Option<&Settings> {
    match &shortened.entry.event {
        Event::Out(message) | Event::In(message) => settings_in(message),
        _ => None,
    }
}

/// Renders each entry with the time since the start of the action and since the entry before.
fn table(details: &Details, omitted: usize) -> Markup {
    let mut previous_s = details.start_s;
    html! {
        table.entries {
            thead { tr {
                th scope="col" { "entry" }
                th scope="col" title="since the start of the action" { "elapsed" }
                th scope="col" title="since the entry before" { "interval" }
            } }
            @for (index, entry) in details.entries.iter().enumerate() {
                @if index == details.first_entries && omitted > 0 {
                    tr { td colspan="3" { "… " (omitted) " more entries …" } }
                }
                tr {
                    td { a href={ "#e" (entry.n) } { (entry.summary) } }
                    td { (format::duration((entry.t - details.start_s).max(0.0))) }
                    td { (format::duration((entry.t - std::mem::replace(&mut previous_s, entry.t)).max(0.0))) }
                }
            }
        }
    }
}

/// Summarizes an entry of an action: the action's ID is left out of the machine's messages.
fn summary_within_action(event: &Event) -> Markup {
    let Event::Out(message) = event else { return summary(event) };
    let Some(name) = message.name() else { return summary(event) };
    html! {
        (Truncated(name, MAX_NAME))
        @if settings_in(message).is_some_and(Settings::is_empty) { " (no settings)" }
    }
}

/// Renders a bar with one part per interval between two entries.
fn duration_bar(details: &Details) -> Markup {
    let (start_s, duration_s, entries) = (details.start_s, details.duration_s(), &details.entries);
    if !(duration_s > 0.0 && duration_s < 1e9) || entries.len() < 2 || entries.len() > MAX_BAR_PARTS {
        return html! {};
    }
    let x = |t: f64| ((t - start_s) / duration_s * 1000.0).clamp(0.0, 1000.0);
    html! {
        svg.bar viewBox="0 0 1000 10" preserveAspectRatio="none" aria-hidden="true" {
            title { "Where the time went: one part per interval between two entries" }
            @for pair in entries.windows(2) {
                @let (left, right) = (x(pair[0].t), x(pair[1].t));
                @if right - left >= 1.0 {
                    rect x={ (format!("{left:.1}")) } width={ (format!("{:.1}", right - left)) } height="10" {}
                }
            }
        }
    }
}
