//! The layout of the page.

use std::io::{self, Write};
use std::path::Path;

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::action;
use super::attachments::{Attachments, JobRenderer};
use super::csp;
use super::diagram::{self, RowContext};
use super::entry_summary::MAX_NAME;
use super::escape::Truncated;
use super::format;
use super::json;
use super::model::{Action, Channel, Connection, Outcome, Problem, ShownEntry};
use super::timeline::Timeline;
use crate::record::{Recording, SESSION_FILE, Side};
use crate::words::count;

const STYLE: &str = concat!(include_str!("common.css"), include_str!("report.css"));
const SCRIPT: &str = include_str!("report.js");

/// The most actions on a page.
const MAX_ACTIONS: usize = 2000;
/// The most running actions that are named beside the buttons.
const MAX_ACTIVITIES: usize = 3;
/// Rows per block: a browser skips the layout of blocks that are out of sight.
const BLOCK_ROWS: usize = 64;
/// The most JSON on a page, in bytes.
const MAX_JSON: usize = 32 << 20;

/// What a live page has besides the report.
#[cfg_attr(not(feature = "follow"), allow(dead_code, reason = "used by live pages"))]
pub(crate) struct LiveParts {
    pub(crate) style: &'static str,
    pub(crate) script: &'static str,
    /// The buttons, for the bar that also says how the machine is.
    pub(crate) controls: Markup,
    /// The recording does not tell while there is no connection.
    pub(crate) lid_is_open: bool,
}

impl LiveParts {
    /// Returns the Content Security Policy of a live page, which may connect to its own server.
    pub(crate) fn policy(&self) -> String {
        csp::policy(&[STYLE, self.style], &[SCRIPT, self.script], &["img-src data:", "connect-src 'self'"])
    }
}

/// Selects the actions with an entry at or after index `entries`, and the actions in `also`.
#[cfg(feature = "follow")]
#[derive(Debug, Default)]
pub(crate) struct ChangedSince {
    pub(crate) entries: u64,
    pub(crate) also: Vec<usize>,
}

/// Writes the sections of a live page that change, and the actions that `changed` selects.
#[cfg(feature = "follow")]
pub(super) fn write_sections(
    timeline: &Timeline,
    folder: &Path,
    renderer: &JobRenderer<'_>,
    changed: Option<&ChangedSince>,
    lid_is_open: bool,
    out: &mut dyn Write,
) -> io::Result<()> {
    let mut put = |markup: Markup| out.write_all(markup.into_string().as_bytes());
    put(
        html! { (nav(timeline)) (state(timeline, lid_is_open)) (summary(timeline)) (problems(timeline)) (filter(timeline)) },
    )?;
    let Some(changed) = changed else { return Ok(()) };
    let is_selected = |number: &usize| {
        let action = timeline.actions.get(number);
        action.is_some_and(|action| action.last_index >= changed.entries) || changed.also.contains(number)
    };
    write_actions(timeline, folder, renderer, &is_selected, &mut |_| {}, &mut put).map(drop)
}

/// Writes the page piece by piece: a piece may close elements of an earlier one. Returns how often a file could not be shown.
pub(super) fn write(
    timeline: &Timeline,
    folder: &Path,
    renderer: &JobRenderer<'_>,
    live: Option<&LiveParts>,
    on_progress: &mut dyn FnMut(f64),
    out: &mut dyn Write,
) -> io::Result<usize> {
    let mut put = |markup: Markup| out.write_all(markup.into_string().as_bytes());
    put(html! { (DOCTYPE) (PreEscaped("<html lang=\"en\">")) (head(timeline, live)) (PreEscaped("<body>")) })?;
    put(html! {
        header { h1 { (title(timeline)) } (nav(timeline)) }
        @if let Some(live) = live {
            aside #live aria-label="Machine controls" { (state(timeline, live.lid_is_open)) (live.controls) }
        }
    })?;
    put(html! { (PreEscaped("<main>")) (summary(timeline)) (problems(timeline)) (filter(timeline)) })?;
    let not_shown = write_actions(timeline, folder, renderer, &|_| true, on_progress, &mut put)?;
    put(html! {
        (PreEscaped("<section id=\"conversation\">"))
        h2 { "Conversation" }
        p.note { "Every entry of " (SESSION_FILE) ", with the seconds since the start. Click one to see its JSON." }
        (range_note(timeline, live.is_some()))
        div.lifelines aria-hidden="true" { span { "machine" } span { "service" } span { "storage" } }
    })?;
    let mut again = Recording::entry_reader(folder)?;
    let mut json_left = MAX_JSON;
    let mut rows = 0;
    for shown in &timeline.shown {
        let Some(entry) = again.entry(shown.place) else { continue };
        if rows % BLOCK_ROWS == 0 {
            put(PreEscaped(if rows > 0 { "</div><div class=\"rows\">" } else { "<div class=\"rows\">" }.to_owned()))?;
        }
        rows += 1;
        let row = diagram::row(&entry, row_context(timeline, shown, json_left.min(json::MAX_BYTES)));
        json_left = json_left.saturating_sub(row.0.len());
        put(row)?;
    }
    put(html! {
        @if rows > 0 { (PreEscaped("</div>")) }
        (PreEscaped("</section></main>"))
        footer { p { "Made by gf-emulator-core " (env!("CARGO_PKG_VERSION")) " from " (SESSION_FILE) " and the files next to it." } }
        script { (PreEscaped(SCRIPT)) }
        @if let Some(live) = live { script { (PreEscaped(live.script)) } }
        (PreEscaped("</body></html>\n"))
    })?;
    Ok(not_shown)
}

/// Says how the machine is now. Its attributes tell the script which buttons are of use.
pub(super) fn state(timeline: &Timeline, lid_is_open: bool) -> Markup {
    let (connection, text) = match &timeline.connection {
        Connection::NotYet => ("none", "not connected to the service yet".to_owned()),
        Connection::Open => ("up", "connected to the service".to_owned()),
        Connection::Closed(reason) => ("down", format!("the service is away: {reason}")),
    };
    let open = timeline.open_actions().count();
    let waits = timeline.open_actions().any(Action::waits_for_button);
    html! {
        div #state role="status" data-connection=(connection) data-lid=(if lid_is_open { "open" } else { "closed" })
            data-waits[waits] {
            @if !timeline.has_stopped() {
                span { (Truncated(&text, 200)) }
                span { "the lid is " (if lid_is_open { "open" } else { "closed" }) }
                @for action in timeline.open_actions().take(MAX_ACTIVITIES) {
                    span.waits[action.waits_for_button()] {
                        (Truncated(&action.action_type, MAX_NAME)) " " (action.id) ": " (Truncated(&action.activity(), 60))
                    }
                }
                @if open > MAX_ACTIVITIES { span { "and " (count(open - MAX_ACTIVITIES, "more action")) } }
                @if open == 0 { span { "no action runs" } }
            }
        }
    }
}

/// Says which entries are on the page, unless it has all of them.
fn range_note(timeline: &Timeline, is_live: bool) -> Markup {
    let (shown, all) = (timeline.shown.len() as u64, timeline.entry_count);
    let last = timeline.first_shown + shown;
    html! {
        @if shown < all {
            p #range {
                "This page has entries " (timeline.first_shown + 1) " to " (last) " of " (all) ", and their actions. "
                @if is_live {
                    "Earlier entries are in the recording."
                } @else if last < all {
                    "report --from " (last + 1) " makes a page of the next ones."
                }
            }
        }
    }
}

/// Returns how often a file of an action could not be shown.
fn write_actions(
    timeline: &Timeline,
    folder: &Path,
    renderer: &JobRenderer<'_>,
    is_selected: &dyn Fn(&usize) -> bool,
    on_progress: &mut dyn FnMut(f64),
    put: &mut dyn FnMut(Markup) -> io::Result<()>,
) -> io::Result<usize> {
    // A live page sends `data-entries` back to ask for what has changed since.
    put(html! {
        (PreEscaped(format!("<section id=\"actions\" data-entries=\"{}\">", timeline.entry_count))) h2 { "Actions" }
    })?;
    let note = if timeline.actions.is_empty() {
        "The service requested no actions."
    } else {
        "The bar of an action shows where its time went: one part for each interval between two entries."
    };
    put(html! { p.note { (note) } })?;
    let mut again = Recording::entry_reader(folder)?;
    let mut attachments = Attachments::new(folder, renderer);
    let shown: Vec<usize> = timeline.shown_actions().collect();
    // The latest are shown: they may still be running.
    let omitted = shown.len().saturating_sub(MAX_ACTIONS);
    if omitted > 0 {
        put(
            html! { p.note { (count(omitted, "earlier action")) " not shown: the limit is " (MAX_ACTIONS) " per page." } },
        )?;
    }
    for (done, number) in shown.iter().enumerate().skip(omitted).filter(|(_, number)| is_selected(number)) {
        if let Some(action) = timeline.actions.get(number) {
            put(action::article(*number, action, &mut again, &mut attachments))?;
        }
        on_progress((done - omitted + 1) as f64 / (shown.len() - omitted) as f64);
    }
    put(html! { (PreEscaped("</section>")) })?;
    Ok(attachments.not_shown)
}

fn row_context<'a>(timeline: &'a Timeline, shown: &ShownEntry, json_bytes: usize) -> RowContext<'a> {
    let action = shown.action.and_then(|number| timeline.actions.get(&number));
    RowContext {
        action_type: action.map(|action| action.action_type.as_str()),
        outcome: action.and_then(|action| action.outcome),
        channel: Some(shown.channel),
        json_bytes,
    }
}

fn head(timeline: &Timeline, live: Option<&LiveParts>) -> Markup {
    let policy = live.map_or_else(|| csp::policy(&[STYLE], &[SCRIPT], &["img-src data:"]), LiveParts::policy);
    html! {
        head {
            meta charset="utf-8";
            meta http-equiv="Content-Security-Policy" content=(policy);
            meta name="viewport" content="width=device-width, initial-scale=1";
            meta name="color-scheme" content="light dark";
            meta name="referrer" content="no-referrer";
            title { (title(timeline)) }
            style { (PreEscaped(STYLE)) }
            @if let Some(live) = live { style { (PreEscaped(live.style)) } }
        }
    }
}

fn title(timeline: &Timeline) -> Markup {
    html! {
        "Session of a"
        @if let Some(generation) = &timeline.about.generation { " " (Truncated(generation, 20)) }
        " machine"
    }
}

fn nav(timeline: &Timeline) -> Markup {
    html! {
        nav {
            a href="#summary" { "Summary" }
            a href="#problems" { "Problems (" (timeline.counts.problems) ")" }
            a href="#actions" { "Actions (" (timeline.counts.actions) ")" }
            a href="#conversation" { "Conversation (" (timeline.entry_count) ")" }
        }
    }
}

fn summary(timeline: &Timeline) -> Markup {
    let (about, counts) = (&timeline.about, &timeline.counts);
    let side = match about.side {
        Side::Machine => "on the machine's side",
        Side::Service => "on the service's side",
    };
    let number = || Some(format!("{} of {}", timeline.machine?, about.machines?));
    let facts = [
        ("machine", about.serial.map(|serial| serial.to_string()).or_else(number)),
        ("generation", about.generation.clone()),
        ("firmware", about.firmware.clone()),
        ("service", about.service.clone()),
        ("recorded by", Some(format!("{}, {side}", about.recorder))),
        ("started", timeline.started_at.clone()),
    ];
    html! {
        section #summary {
            h2 { "Summary" }
            div.tiles {
                (tile(&format::duration(timeline.duration_s), "until the last entry", ""))
                (tile(&counts.actions.to_string(), if counts.actions == 1 { "action" } else { "actions" }, ""))
                @for outcome in Outcome::ALL.map(Some).into_iter().chain([None]) {
                    @let n = counts.with_outcome(outcome);
                    @if outcome == Some(Outcome::Completed) || n > 0 {
                        (tile(&n.to_string(), action::outcome_label(outcome), Outcome::class(outcome)))
                    }
                }
                (tile(&counts.messages.to_string(), if counts.messages == 1 { "message sent" } else { "messages sent" }, ""))
                (tile(&counts.requests.to_string(), if counts.requests == 1 { "request" } else { "requests" }, ""))
            }
            dl.facts {
                @for (name, value) in &facts {
                    div { dt { (name) } dd { @match value {
                        Some(value) => { (Truncated(value, 200)) }
                        None => { span.faint { (if *name == "machine" { "serial number not recorded" } else { "unknown" }) } }
                    } } }
                }
            }
        }
    }
}

fn tile(value: &str, label: &str, class: &str) -> Markup {
    html! { div class={ "tile " (class) } { b { (value) } span { (label) } } }
}

fn problems(timeline: &Timeline) -> Markup {
    let omitted = timeline.counts.problems - timeline.problems.len();
    html! {
        section #problems {
            h2 { "Problems" }
            @if timeline.problems.is_empty() {
                p.good { "No problems found." }
            } @else {
                ul { @for one in &timeline.problems { li { (problem(one)) } } }
                @if omitted > 0 { p.note { "And " (omitted) " more." } }
            }
        }
    }
}

fn problem(problem: &Problem) -> Markup {
    match problem {
        Problem::Action { number, id, action_type, outcome, reason } => html! {
            (action::outcome_chip(*outcome))
            " " a href={ "#a" (number) } { (Truncated(action_type, MAX_NAME)) " " (id) }
            @if outcome.is_none() { " has no recorded ending: the machine ignored it, or the recording ended first" }
            @if let Some(reason) = reason { ": " (Truncated(reason, 200)) }
        },
        Problem::Entry { n, t, what, summary_html } => html! {
            span.chip.failed { (what) } " "
            a href={ "#e" (n) } { (format::clock(*t)) " s" } " " (PreEscaped(summary_html))
        },
        Problem::Line(skipped) => html! {
            span.chip.cancelled { "recording" }
            " line " (skipped.line) " of " (SESSION_FILE) " is not a valid entry: " (Truncated(&skipped.reason, 200))
        },
    }
}

/// Renders the filter, which the script makes visible: without scripts it does nothing.
fn filter(timeline: &Timeline) -> Markup {
    html! {
        form #filter role="search" aria-label="Filter actions and conversation" hidden {
            label.search { span { "Search" } input type="search" name="words" autocomplete="off" placeholder="name, ID, value"; }
            label { span { "Action" } select name="action" {
                option value="" { "all" }
                @for name in &timeline.action_types {
                    option value=(Truncated(name, MAX_NAME)) { (Truncated(name, 40)) }
                }
            } }
            fieldset {
                legend { "Channel" }
                @for channel in Channel::ALL {
                    (checkbox("channel", channel.name(), channel.label(), channel.description()))
                }
            }
            fieldset {
                legend { "Outcome" }
                @for outcome in Outcome::ALL { (checkbox("outcome", outcome.name(), outcome.name(), "")) }
                (checkbox("outcome", "none", "unfinished or no action", "unfinished actions, and entries without an action"))
            }
            output name="shown" aria-live="polite" {}
            button type="reset" { "Show all" }
        }
    }
}

fn checkbox(name: &str, value: &str, text: &str, tooltip: &str) -> Markup {
    html! {
        label title=[(!tooltip.is_empty()).then_some(tooltip)] {
            input type="checkbox" name=(name) value=(value) checked; (text)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::timeline::Window;

    #[test]
    fn style_and_script_can_be_inlined() {
        assert!(csp::is_inlinable(STYLE) && csp::is_inlinable(SCRIPT));
        let about = serde_json::json!({"format": 1, "recorder": "a test", "side": "machine"});
        let timeline = Timeline::new(serde_json::from_value(about).unwrap(), Window::From(0));
        let head = head(&timeline, None).into_string();
        assert_eq!(head.matches("'sha256-").count(), 2, "{head}");
    }
}
