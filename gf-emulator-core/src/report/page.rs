//! The page as a whole: what stands where on it.

use std::io::{self, Write};
use std::path::Path;

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::article::{self, word};
use super::attachments::{Attachments, Drawer};
use super::diagram::{self, MOST_NAME, Setting};
use super::policy::{SCRIPT, STYLE, policy, policy_with};
use super::raw;
use super::said::Brief;
use super::timeline::{Channel, Outcome, Story, Told, Trouble};
use crate::puls::Seconds;
use crate::record::{Recording, SESSION_FILE, Side};

/// Actions on a page.
const MOST_ARTICLES: usize = 2000;
/// Rows that a browser lays out together.
const STRETCH: usize = 64;
/// JSON in the page, in all.
const MOST_RAW: usize = 32 << 20;

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

/// Of which actions somebody wants to know again: those that something happened to since there were so many entries, and
/// these.
#[cfg(feature = "follow")]
#[derive(Debug, Default)]
pub(crate) struct Since {
    pub(crate) entries: u64,
    pub(crate) again: Vec<usize>,
}

/// What changes of a page while a session goes on, but for the conversation.
#[cfg(feature = "follow")]
pub(super) fn write_sections(
    story: &Story,
    folder: &Path,
    drawer: &Drawer<'_>,
    since: Option<&Since>,
    out: &mut dyn Write,
) -> io::Result<()> {
    let mut put = |markup: Markup| out.write_all(markup.into_string().as_bytes());
    put(html! { (nav(story)) (summary(story)) (troubles(story)) (filter(story)) })?;
    let Some(since) = since else { return Ok(()) };
    let changed = |number: &usize| {
        story.actions.get(number).is_some_and(|action| action.last >= since.entries) || since.again.contains(number)
    };
    actions(story, folder, drawer, &changed, &mut put)
}

pub(super) fn write(
    story: &Story,
    folder: &Path,
    drawer: &Drawer<'_>,
    live: Option<&Live>,
    out: &mut dyn Write,
) -> io::Result<()> {
    let mut put = |markup: Markup| out.write_all(markup.into_string().as_bytes());
    // Written piece by piece: what is not closed here is closed by a later piece.
    put(html! { (DOCTYPE) (PreEscaped("<html lang=\"en\">")) (head(story, live)) (PreEscaped("<body>")) })?;
    put(html! { header { h1 { (title(story)) } (nav(story)) } @if let Some(live) = live { (live.bar) } })?;
    put(html! { (PreEscaped("<main>")) (summary(story)) (troubles(story)) (filter(story)) })?;
    actions(story, folder, drawer, &|_| true, &mut put)?;
    put(html! {
        (PreEscaped("<section id=\"conversation\">"))
        h2 { "Conversation" }
        p.note { "Time runs down, in seconds. Each row opens to the JSON of " (SESSION_FILE) "." }
        (part_of(story, live.is_some()))
        div.lifelines aria-hidden="true" { span { "machine" } span { "service" } span { "storage" } }
    })?;
    let mut again = Recording::entry_reader(folder)?;
    let mut left = MOST_RAW;
    let mut rows = 0;
    // A browser lays out those stretches that are seen.
    for told in &story.told {
        let Some(entry) = again.entry(told.place) else { continue };
        if rows % STRETCH == 0 {
            put(PreEscaped(if rows > 0 { "</div><div class=\"rows\">" } else { "<div class=\"rows\">" }.to_owned()))?;
        }
        rows += 1;
        let row = diagram::row(&entry, setting(story, told, left.min(raw::MOST_BYTES)));
        left = left.saturating_sub(row.0.len());
        put(row)?;
    }
    put(html! {
        @if rows > 0 { (PreEscaped("</div>")) }
        (PreEscaped("</section></main>"))
        footer { p { "Made by gf-emulator-core " (env!("CARGO_PKG_VERSION")) " from " (SESSION_FILE) " and the files beside it." } }
        script { (PreEscaped(SCRIPT)) }
        @if let Some(live) = live { script { (PreEscaped(live.script)) } }
        (PreEscaped("</body></html>\n"))
    })
}

/// Which entries there are here, where these are not all.
fn part_of(story: &Story, is_live: bool) -> Markup {
    let (shown, all) = (story.told.len() as u64, story.entries);
    let last = story.first + shown;
    html! {
        @if shown < all {
            p #part {
                "This page has entries " (story.first + 1) " to " (last) " of " (all) ", and the actions that these belong to. "
                @if is_live {
                    "The earlier ones are in the recording."
                } @else if last < all {
                    "report --from " (last + 1) " shows the next ones."
                }
            }
        }
    }
}

fn actions(
    story: &Story,
    folder: &Path,
    drawer: &Drawer<'_>,
    is_wanted: &dyn Fn(&usize) -> bool,
    put: &mut dyn FnMut(Markup) -> io::Result<()>,
) -> io::Result<()> {
    // Whoever asks again says how far they had got.
    put(
        html! { (PreEscaped(format!("<section id=\"actions\" data-entries=\"{}\">", story.entries))) h2 { "Actions" } },
    )?;
    if story.actions.is_empty() {
        put(html! { p.note { "Nothing was asked for." } })?;
    }
    let mut again = Recording::entry_reader(folder)?;
    let mut attachments = Attachments::new(folder, drawer);
    // The last ones are those that may be under way.
    let shown: Vec<usize> = story.shown_actions().collect();
    let left_out = shown.len().saturating_sub(MOST_ARTICLES);
    if left_out > 0 {
        put(
            html! { p.note { (left_out) " actions before these are left out: a page has " (MOST_ARTICLES) " at the most." } },
        )?;
    }
    for number in shown.into_iter().skip(left_out).filter(is_wanted) {
        if let Some(action) = story.actions.get(&number) {
            put(article::article(number, action, &mut again, &mut attachments))?;
        }
    }
    put(html! { (PreEscaped("</section>")) })
}

fn setting<'a>(story: &'a Story, told: &Told, raw_bytes: usize) -> Setting<'a> {
    let action = told.action.and_then(|number| story.actions.get(&number));
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
            a href="#troubles" { "What went wrong (" (story.counts.troubles) ")" }
            a href="#actions" { "Actions (" (story.counts.actions) ")" }
            a href="#conversation" { "Conversation (" (story.entries) ")" }
        }
    }
}

fn summary(story: &Story) -> Markup {
    let about = &story.about;
    let ended = |outcome| story.counts.ended(outcome);
    let side = match about.side {
        Side::Machine => "the machine's",
        Side::Service => "the service's",
    };
    let facts = [
        ("machine", about.serial.map(|serial| serial.to_string())),
        ("generation", about.generation.clone()),
        ("firmware", about.firmware.clone()),
        ("service", about.service.clone()),
        ("recorded by", Some(format!("{}, {side} side", about.recorder))),
        ("began", story.began.clone()),
    ];
    html! {
        section #summary {
            h2 { "Summary" }
            div.tiles {
                (tile("duration", &duration(story.duration_s)))
                (tile("actions", &story.counts.actions.to_string()))
                @for (outcome, what) in [
                    (Some(Outcome::Completed), "completed"), (Some(Outcome::Failed), "failed"),
                    (Some(Outcome::Cancelled), "cancelled"), (None, "no ending"),
                ] {
                    @if outcome == Some(Outcome::Completed) || ended(outcome) > 0 {
                        div class={ "tile " (word(outcome)) } { b { (ended(outcome)) } span { (what) } }
                    }
                }
                (tile("messages", &story.counts.messages.to_string()))
                (tile("requests", &story.counts.requests.to_string()))
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
    let more = story.counts.troubles - story.troubles.len();
    html! {
        section #troubles {
            h2 { "What went wrong" }
            @if story.troubles.is_empty() {
                p.good { "Nothing, as far as can be told from what was said." }
            } @else {
                ul { @for trouble in &story.troubles { li { (one_trouble(trouble)) } } }
                @if more > 0 { p.note { "And " (more) " more." } }
            }
        }
    }
}

fn one_trouble(trouble: &Trouble) -> Markup {
    match trouble {
        Trouble::Action { number, id, kind, outcome, reason } => html! {
            span class={ "chip " (word(*outcome)) } { (outcome.map_or("no ending", Outcome::word)) }
            " " a href={ "#a" (number) } { (Brief(kind, MOST_NAME)) " " (id) }
            @if outcome.is_none() { " has no ending here: it was ignored, or went on" }
            @if let Some(reason) = reason { ": " (Brief(reason, 200)) }
        },
        Trouble::Entry { n, t, what, line } => html! {
            span.chip.failed { (what) } " "
            a href={ "#e" (n) } { (diagram::clock(*t)) " s" } " " (PreEscaped(line))
        },
        Trouble::Line(skipped) => html! {
            span.chip.cancelled { "recording" } " line " (skipped.line) " of " (SESSION_FILE) " is no entry: " (Brief(&skipped.reason, 200))
        },
    }
}

/// Shown by the script: without it, everything is there.
fn filter(story: &Story) -> Markup {
    let outcomes = Outcome::ALL.map(Outcome::word).into_iter().chain(["none"]);
    html! {
        form #filter role="search" aria-label="Filter actions and conversation" hidden {
            label.search { span { "Search" } input type="search" name="words" autocomplete="off" placeholder="name, id, value"; }
            label { span { "Action" } select name="action" {
                option value="" { "all" }
                @for kind in &story.kinds {
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
