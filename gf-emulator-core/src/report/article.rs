//! An action: how it went, step by step, with its pictures, its job and its settings.

use std::collections::HashSet;

use maud::{Markup, html};

use super::attachments::Attachments;
use super::diagram::{self, MOST_NAME};
use super::said::Brief;
use super::story::{Action, Outcome, Story, Told, settings};
use super::subsystems;
use crate::record::{Event, Message};

/// More steps than this are there when they are asked for.
const MANY: usize = 16;
/// Parts of a strip.
const MOST_PARTS: usize = 60;

/// One action.
pub(super) fn article(story: &Story, n: usize, attachments: &mut Attachments<'_>) -> Markup {
    let action = &story.actions[n];
    let told: Vec<&Told> = action.entries.iter().map(|&at| &story.told[at]).collect();
    let from = told.first().map_or(0.0, |first| begin_of(first));
    let to = told.last().map_or(from, |last| last.entry.t);
    let mut files = Vec::new();
    let mut met = HashSet::new();
    for told in &told {
        if let Event::Http(http) = &told.entry.event {
            let both = [&http.request.file, &http.response.file];
            files.extend(both.into_iter().flatten().filter(|file| met.insert(file.as_str())));
        }
    }
    let steps = steps(&told, from);
    html! {
        article id={ "a" (n) } data-action=(Brief(&action.kind, MOST_NAME)) data-outcome=(word(action.outcome)) {
            h3 {
                span class={ "chip " (word(action.outcome)) } { (action.outcome.map_or("no ending", Outcome::word)) }
                " " (Brief(&action.kind, MOST_NAME)) " " b { (action.id) }
                small {
                    " at "
                    @if let Some(first) = told.first() {
                        a href={ "#e" (first.entry.n) } { (diagram::clock(from)) " s" }
                    }
                    ", took " (diagram::seconds(to - from))
                }
            }
            (strip(&told, from, to))
            div.parts {
                @if told.len() > MANY {
                    details.steps { summary { (told.len()) " steps" } (steps) }
                } @else {
                    (steps)
                }
                @if !files.is_empty() {
                    div.files { @for file in files { (attachments.show(file)) } }
                }
            }
            (reports(story, action))
        }
    }
}

fn reports(story: &Story, action: &Action) -> Markup {
    let of = |at: usize| match &story.told[at].entry.event {
        Event::Out(message) | Event::In(message) => settings(message),
        _ => None,
    };
    html! {
        @for (at, before) in &action.reports {
            @match (of(*at), before.and_then(of)) {
                (Some(now), Some(before)) => { (subsystems::changes(before, now)) }
                (Some(now), None) => { (subsystems::whole(now)) }
                (None, _) => {}
            }
        }
    }
}

/// Each entry with the time since the action began, and since the entry before it.
fn steps(told: &[&Told], from: f64) -> Markup {
    let mut before = from;
    html! {
        table.steps {
            thead { tr { th scope="col" { "step" } th scope="col" { "at" } th scope="col" { "after" } } }
            @for told in told {
                @let t = told.entry.t;
                tr {
                    td { a href={ "#e" (told.entry.n) } { (step(told)) } }
                    td { (diagram::seconds((t - from).max(0.0))) }
                    td { (diagram::seconds((t - std::mem::replace(&mut before, t)).max(0.0))) }
                }
            }
        }
    }
}

fn step(told: &Told) -> Markup {
    let name = |message: &Message| message.name().map(str::to_owned);
    match &told.entry.event {
        Event::Out(message) => match (name(message), settings(message)) {
            (Some(name), Some(settings)) if settings.is_empty() => html! { (Brief(&name, MOST_NAME)) " (no settings)" },
            (Some(name), _) => html! { (Brief(&name, MOST_NAME)) },
            (None, _) => diagram::line(&told.entry.event),
        },
        event => diagram::line(event),
    }
}

/// Where the time went: a part for each step, as long as what it waited for.
fn strip(told: &[&Told], from: f64, to: f64) -> Markup {
    let whole = to - from;
    if !(whole > 0.0 && whole < 1e9) || told.len() < 2 || told.len() > MOST_PARTS {
        return html! {};
    }
    let x = |t: f64| ((t - from) / whole * 1000.0).clamp(0.0, 1000.0);
    html! {
        svg.strip viewBox="0 0 1000 10" preserveAspectRatio="none" aria-hidden="true" {
            @for pair in told.windows(2) {
                @let (left, right) = (x(pair[0].entry.t), x(pair[1].entry.t));
                @if right - left >= 1.0 {
                    rect x={ (format!("{left:.1}")) } width={ (format!("{:.1}", right - left)) } height="10" {}
                }
            }
        }
    }
}

/// An exchange is noted when it is over.
fn begin_of(told: &Told) -> f64 {
    match &told.entry.event {
        Event::Http(http) => told.entry.t - http.duration_s.unwrap_or_default().clamp(0.0, 1e6),
        _ => told.entry.t,
    }
}

pub(super) fn word(outcome: Option<Outcome>) -> &'static str {
    outcome.map_or("none", Outcome::word)
}
