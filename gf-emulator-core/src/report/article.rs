//! An action: how it went, step by step, with its pictures, its job and its settings.

use std::collections::HashSet;

use maud::{Markup, html};

use super::attachments::Attachments;
use super::diagram::{self, MOST_NAME};
use super::said::Brief;
use super::subsystems;
use super::timeline::{Action, Outcome, settings};
use crate::record::{DisplayEntry, EntryReader, Event, LineSpan, Message};

/// More steps than this are there when they are asked for.
const MANY: usize = 16;
/// Parts of a strip.
const MOST_PARTS: usize = 60;
/// Files of one action that are shown.
const MOST_FILES: usize = 200;

/// What is shown of an entry that belongs to an action.
struct Step {
    n: u64,
    t: f64,
    line: Markup,
}

/// An action's entries, as they are shown.
struct Steps {
    all: Vec<Step>,
    /// How many of these come before those that are left out.
    first: usize,
    left_out: usize,
    /// When it began: an exchange is noted when it is over.
    from: f64,
    /// Each once.
    files: Vec<String>,
    files_left_out: bool,
}

impl Steps {
    fn read(action: &Action, again: &mut EntryReader) -> Self {
        let mut steps = Self {
            all: Vec::with_capacity(action.steps.len() + action.last_steps.len()),
            first: 0,
            left_out: action.left_out,
            from: 0.0,
            files: Vec::new(),
            files_left_out: false,
        };
        let mut met = HashSet::new();
        for place in &action.steps {
            steps.add(*place, again, &mut met);
        }
        steps.first = steps.all.len();
        for place in &action.last_steps {
            steps.add(*place, again, &mut met);
        }
        steps
    }

    fn add(&mut self, place: LineSpan, again: &mut EntryReader, met: &mut HashSet<String>) {
        let Some(shortened) = again.entry(place) else { return };
        let entry = &shortened.entry;
        if self.all.is_empty() {
            self.from = begin_of(&shortened);
        }
        if let Event::Http(http) = &entry.event {
            for file in [&http.request.file, &http.response.file].into_iter().flatten() {
                if self.files.len() == MOST_FILES {
                    self.files_left_out = true;
                } else if met.insert(file.clone()) {
                    self.files.push(file.clone());
                }
            }
        }
        self.all.push(Step { n: entry.n, t: entry.t, line: line(&entry.event) });
    }

    fn to(&self) -> f64 {
        self.all.last().map_or(self.from, |step| step.t)
    }
}

/// One action.
pub(super) fn article(
    number: usize,
    action: &Action,
    again: &mut EntryReader,
    attachments: &mut Attachments<'_>,
) -> Markup {
    let steps = Steps::read(action, again);
    let count = action.steps_count();
    let shown: Vec<Markup> = steps.files.iter().map(|file| attachments.show(file)).collect();
    html! {
        article id={ "a" (number) } data-action=(Brief(&action.kind, MOST_NAME)) data-outcome=(word(action.outcome)) {
            h3 {
                span class={ "chip " (word(action.outcome)) } { (action.outcome.map_or("no ending", Outcome::word)) }
                " " (Brief(&action.kind, MOST_NAME)) " " b { (action.id) }
                small {
                    " at "
                    @if let Some(first) = steps.all.first() {
                        a href={ "#e" (first.n) } { (diagram::clock(steps.from)) " s" }
                    }
                    ", took " (diagram::seconds(steps.to() - steps.from))
                }
            }
            @if let Some(reason) = &action.reason { p.reason { (Brief(reason, 200)) } }
            (strip(&steps))
            div.parts {
                @if count > MANY {
                    details.steps { summary { (count) " steps" } (table(&steps)) }
                } @else {
                    (table(&steps))
                }
                @if !shown.is_empty() {
                    div.files { @for file in shown { (file) } }
                }
            }
            @if steps.files_left_out { p.note { "It has more files: the first " (MOST_FILES) " are shown." } }
            (reports(action, again))
        }
    }
}

fn reports(action: &Action, again: &mut EntryReader) -> Markup {
    let mut shown = Vec::new();
    for (place, before) in &action.reports {
        let before = before.and_then(|place| again.entry(place));
        let now = again.entry(*place);
        match (now.as_ref().and_then(report_of), before.as_ref().and_then(report_of)) {
            (Some(now), Some(before)) => shown.push(subsystems::changes(before, now)),
            (Some(now), None) => shown.push(subsystems::whole(now)),
            (None, _) => {}
        }
    }
    html! {
        @for report in shown { (report) }
        @if action.reports_left_out > 0 { p.note { "And " (action.reports_left_out) " more settings reports." } }
    }
}

fn report_of(shortened: &DisplayEntry) -> Option<&serde_json::Map<String, serde_json::Value>> {
    match &shortened.entry.event {
        Event::Out(message) | Event::In(message) => settings(message),
        _ => None,
    }
}

/// Each entry with the time since the action began, and since the entry before it.
fn table(steps: &Steps) -> Markup {
    let mut before = steps.from;
    html! {
        table.steps {
            thead { tr { th scope="col" { "step" } th scope="col" { "at" } th scope="col" { "after" } } }
            @for (n, step) in steps.all.iter().enumerate() {
                @if n == steps.first && steps.left_out > 0 {
                    tr { td colspan="3" { "… " (steps.left_out) " steps more …" } }
                }
                tr {
                    td { a href={ "#e" (step.n) } { (step.line) } }
                    td { (diagram::seconds((step.t - steps.from).max(0.0))) }
                    td { (diagram::seconds((step.t - std::mem::replace(&mut before, step.t)).max(0.0))) }
                }
            }
        }
    }
}

fn line(event: &Event) -> Markup {
    let name = |message: &Message| message.name().map(str::to_owned);
    match event {
        Event::Out(message) => match (name(message), settings(message)) {
            (Some(name), Some(settings)) if settings.is_empty() => html! { (Brief(&name, MOST_NAME)) " (no settings)" },
            (Some(name), _) => html! { (Brief(&name, MOST_NAME)) },
            (None, _) => diagram::line(event),
        },
        event => diagram::line(event),
    }
}

/// Where the time went: a part for each step, as long as what it waited for.
fn strip(steps: &Steps) -> Markup {
    let (from, whole) = (steps.from, steps.to() - steps.from);
    let steps = &steps.all;
    if !(whole > 0.0 && whole < 1e9) || steps.len() < 2 || steps.len() > MOST_PARTS {
        return html! {};
    }
    let x = |t: f64| ((t - from) / whole * 1000.0).clamp(0.0, 1000.0);
    html! {
        svg.strip viewBox="0 0 1000 10" preserveAspectRatio="none" aria-hidden="true" {
            @for pair in steps.windows(2) {
                @let (left, right) = (x(pair[0].t), x(pair[1].t));
                @if right - left >= 1.0 {
                    rect x={ (format!("{left:.1}")) } width={ (format!("{:.1}", right - left)) } height="10" {}
                }
            }
        }
    }
}

/// An exchange is noted when it is over.
fn begin_of(shortened: &DisplayEntry) -> f64 {
    let t = shortened.entry.t;
    match &shortened.entry.event {
        Event::Http(http) => t - http.duration_s.unwrap_or_default().clamp(0.0, 1e6),
        _ => t,
    }
}

pub(super) fn word(outcome: Option<Outcome>) -> &'static str {
    outcome.map_or("none", Outcome::word)
}
