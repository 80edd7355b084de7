//! The page as a whole: what stands where on it.

use std::collections::BTreeSet;
use std::io::{self, Write};

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::article::{self, word};
use super::attachments::Attachments;
use super::diagram::{self, MOST_NAME, Setting};
use super::policy::{SCRIPT, STYLE, policy, policy_with};
use super::raw;
use super::said::Brief;
use super::story::{Channel, Outcome, Story, Told, Trouble};
use crate::puls::Seconds;
use crate::record::{Event, Recording, SESSION_FILE, Side};

/// More types of action than there are; a service may make up others.
const MOST_KINDS: usize = 100;
/// Of what went wrong.
const MOST_TROUBLES: usize = 200;
/// Rows that a browser lays out together.
const STRETCH: usize = 64;
/// JSON in the page, in all.
const MOST_RAW: usize = 64 << 20;

/// What stands on a page beside the report, where the session goes on.
#[cfg_attr(not(feature = "follow"), allow(dead_code, reason = "nobody makes one"))]
pub(crate) struct Live {
    pub(crate) style: &'static str,
    pub(crate) script: &'static str,
    /// Above the report.
    pub(crate) bar: Markup,
}

impl Live {
    /// What such a page may do: as a report, and talk to where it came from.
    pub(crate) fn policy(&self) -> String {
        policy_with(self.style, self.script, "connect-src 'self'; ")
    }
}

/// What changes of a page while a session goes on, but for the conversation: of the actions, those from `from` on.
#[cfg(feature = "follow")]
pub(super) fn write_sections(story: &Story, recording: &Recording, from: usize, out: &mut dyn Write) -> io::Result<()> {
    let mut put = |markup: Markup| out.write_all(markup.into_string().as_bytes());
    put(html! { (nav(story)) (summary(story)) (troubles(story)) (filter(story)) })?;
    actions(story, recording, from, &mut put)
}

pub(super) fn write(story: &Story, recording: &Recording, live: Option<&Live>, out: &mut dyn Write) -> io::Result<()> {
    let mut put = |markup: Markup| out.write_all(markup.into_string().as_bytes());
    // Written piece by piece: what is not closed here is closed by a later piece.
    put(html! { (DOCTYPE) (PreEscaped("<html lang=\"en\">")) (head(story, live)) (PreEscaped("<body>")) })?;
    put(html! { header { h1 { (title(story)) } (nav(story)) } @if let Some(live) = live { (live.bar) } })?;
    put(html! { (PreEscaped("<main>")) (summary(story)) (troubles(story)) (filter(story)) })?;
    actions(story, recording, 0, &mut put)?;
    put(html! {
        (PreEscaped("<section id=\"conversation\">"))
        h2 { "Conversation" }
        p.note { "Time runs down, in seconds. Each row opens to the JSON of " (SESSION_FILE) "." }
        div.lifelines aria-hidden="true" { span { "machine" } span { "service" } span { "storage" } }
    })?;
    let mut left = MOST_RAW;
    // A browser lays out those stretches that are seen.
    for stretch in story.told.chunks(STRETCH) {
        put(PreEscaped("<div class=\"rows\">".to_owned()))?;
        for told in stretch {
            let row = diagram::row(&told.entry, setting(story, told, left.min(raw::MOST_BYTES)));
            left = left.saturating_sub(row.0.len());
            put(row)?;
        }
        put(PreEscaped("</div>".to_owned()))?;
    }
    put(html! {
        (PreEscaped("</section></main>"))
        footer { p { "Made by gf-emulator-core " (env!("CARGO_PKG_VERSION")) " from " (SESSION_FILE) " and the files beside it." } }
        script { (PreEscaped(SCRIPT)) }
        @if let Some(live) = live { script { (PreEscaped(live.script)) } }
        (PreEscaped("</body></html>\n"))
    })
}

fn actions(
    story: &Story,
    recording: &Recording,
    from: usize,
    put: &mut dyn FnMut(Markup) -> io::Result<()>,
) -> io::Result<()> {
    put(html! { (PreEscaped("<section id=\"actions\">")) h2 { "Actions" } })?;
    if story.actions.is_empty() {
        put(html! { p.note { "Nothing was asked for." } })?;
    }
    let mut attachments = Attachments::new(recording, from);
    for n in from..story.actions.len() {
        put(article::article(story, n, &mut attachments))?;
    }
    put(html! { (PreEscaped("</section>")) })
}

fn setting<'a>(story: &'a Story, told: &Told, raw_bytes: usize) -> Setting<'a> {
    let action = told.action.map(|n| &story.actions[n]);
    Setting {
        action: action.map(|action| action.kind.as_str()),
        outcome: action.and_then(|action| action.outcome),
        channel: Some(told.channel),
        raw_bytes,
    }
}

fn head(story: &Story, live: Option<&Live>) -> Markup {
    let policy = live.map_or_else(policy, Live::policy);
    html! {
        head {
            meta charset="utf-8";
            meta http-equiv="Content-Security-Policy" content=(policy);
            meta name="viewport" content="width=device-width, initial-scale=1";
            meta name="color-scheme" content="light dark";
            meta name="referrer" content="no-referrer";
            title { (title(story)) }
            style { (PreEscaped(STYLE)) }
            @if let Some(live) = live { style { (PreEscaped(live.style)) } }
        }
    }
}

fn title(story: &Story) -> Markup {
    html! { "A session of a" @if let Some(generation) = &story.about.generation { " " (Brief(generation, 20)) } " machine" }
}

fn nav(story: &Story) -> Markup {
    html! {
        nav {
            a href="#summary" { "Summary" }
            a href="#troubles" { "What went wrong (" (story.troubles.len()) ")" }
            a href="#actions" { "Actions (" (story.actions.len()) ")" }
            a href="#conversation" { "Conversation (" (story.told.len()) ")" }
        }
    }
}

fn summary(story: &Story) -> Markup {
    let about = &story.about;
    let ended = |outcome| story.actions.iter().filter(|action| action.outcome == outcome).count();
    let side = match about.side {
        Side::Machine => "the machine's",
        Side::Service => "the service's",
    };
    let began = story.told.first().map(|told| told.entry.at.as_str());
    let facts = [
        ("machine", about.serial.map(|serial| serial.to_string())),
        ("generation", about.generation.clone()),
        ("firmware", about.firmware.clone()),
        ("service", about.service.clone()),
        ("recorded by", Some(format!("{}, {side} side", about.recorder))),
        ("began", began.map(str::to_owned)),
    ];
    html! {
        section #summary {
            h2 { "Summary" }
            div.tiles {
                (tile("duration", &duration(story.duration_s())))
                (tile("actions", &story.actions.len().to_string()))
                @for (outcome, what) in [
                    (Some(Outcome::Completed), "completed"), (Some(Outcome::Failed), "failed"),
                    (Some(Outcome::Cancelled), "cancelled"), (None, "no ending"),
                ] {
                    @if outcome == Some(Outcome::Completed) || ended(outcome) > 0 {
                        div class={ "tile " (word(outcome)) } { b { (ended(outcome)) } span { (what) } }
                    }
                }
                (tile("messages", &story.messages.to_string()))
                (tile("requests", &story.requests.to_string()))
            }
            dl.facts {
                @for (name, value) in &facts {
                    div { dt { (name) } dd { @match value {
                        Some(value) => { (Brief(value, 200)) }
                        None => { span.faint { (if *name == "machine" { "serial number not recorded" } else { "not known" }) } }
                    } } }
                }
            }
        }
    }
}

fn tile(what: &str, value: &str) -> Markup {
    html! { div.tile { b { (value) } span { (what) } } }
}

fn duration(s: f64) -> String {
    if s < 1e7 { Seconds(s).to_string() } else { format!("{s:.3e} s") }
}

fn troubles(story: &Story) -> Markup {
    html! {
        section #troubles {
            h2 { "What went wrong" }
            @if story.troubles.is_empty() {
                p.good { "Nothing, as far as can be told from what was said." }
            } @else {
                ul { @for trouble in story.troubles.iter().take(MOST_TROUBLES) { li { (one_trouble(story, trouble)) } } }
                @if story.troubles.len() > MOST_TROUBLES {
                    p.note { "And " (story.troubles.len() - MOST_TROUBLES) " more." }
                }
            }
        }
    }
}

fn one_trouble(story: &Story, trouble: &Trouble) -> Markup {
    match trouble {
        Trouble::Action(n) => {
            let action = &story.actions[*n];
            html! {
                span class={ "chip " (word(action.outcome)) } { (action.outcome.map_or("no ending", Outcome::word)) }
                " " a href={ "#a" (n) } { (Brief(&action.kind, MOST_NAME)) " " (action.id) }
                @if action.outcome.is_none() { " has no ending here: it was ignored, or went on" }
            }
        }
        Trouble::Entry(at) => {
            let entry = &story.told[*at].entry;
            let what = match entry.event {
                Event::Http(_) => "request",
                Event::In(_) | Event::Out(_) => "message",
                Event::Opened { .. } | Event::Closed { .. } => "connection",
                _ => "machine",
            };
            html! {
                span.chip.failed { (what) } " "
                a href={ "#e" (entry.n) } { (diagram::clock(entry.t)) " s" } " " (diagram::line(&entry.event))
            }
        }
        Trouble::Line(skipped) => html! {
            span.chip.cancelled { "recording" } " line " (skipped.line) " of " (SESSION_FILE) " is no entry: " (Brief(&skipped.reason, 200))
        },
    }
}

/// Shown by the script: without it, everything is there.
fn filter(story: &Story) -> Markup {
    let kinds: BTreeSet<&str> = story.actions.iter().map(|action| action.kind.as_str()).collect();
    let outcomes = Outcome::ALL.map(Outcome::word).into_iter().chain(["none"]);
    html! {
        form #filter role="search" aria-label="Filter actions and conversation" hidden {
            label.search { span { "Search" } input type="search" name="words" autocomplete="off" placeholder="name, id, value"; }
            label { span { "Action" } select name="action" {
                option value="" { "all" }
                @for kind in kinds.iter().take(MOST_KINDS) {
                    option value=(Brief(kind, MOST_NAME)) { (Brief(kind, 40)) }
                }
            } }
            fieldset { legend { "Channel" } @for channel in Channel::ALL.map(Channel::word) { (check("channel", channel)) } }
            fieldset { legend { "Outcome" } @for outcome in outcomes { (check("outcome", outcome)) } }
            output name="shown" aria-live="polite" {}
            button type="reset" { "Show all" }
        }
    }
}

fn check(name: &str, value: &str) -> Markup {
    html! { label { input type="checkbox" name=(name) value=(value) checked; (value) } }
}
