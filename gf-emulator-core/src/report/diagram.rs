//! The sequence diagram: one row per entry, with the lifelines of machine, service and storage behind.
//!
//! [`row`] needs nothing but the entry, so that rows of a live page can be sent one by one.

use maud::{Markup, html};

use super::entry_summary::{MAX_NAME, summary};
use super::escape::Truncated;
use super::format;
use super::json;
use super::model::{Channel, Outcome, is_problem};
use crate::record::{DisplayEntry, Event};

/// What the timeline knows about an entry, and the entry itself does not say.
#[derive(Debug, Clone, Copy)]
pub(super) struct RowContext<'a> {
    /// The type of its action. If unknown, the first part of the message's name is used.
    pub(super) action_type: Option<&'a str>,
    /// How its action ended.
    pub(super) outcome: Option<Outcome>,
    /// If unknown, guessed from the entry.
    pub(super) channel: Option<Channel>,
    /// The most JSON to show.
    pub(super) json_bytes: usize,
}

impl Default for RowContext<'_> {
    fn default() -> Self {
        Self { action_type: None, outcome: None, channel: None, json_bytes: json::MAX_BYTES }
    }
}

/// The direction of a row's arrow.
#[derive(Clone, Copy)]
enum Direction {
    Out,
    In,
    ToStorage,
    Both,
    Local,
}

impl Direction {
    fn class(self) -> &'static str {
        match self {
            Self::Out => "row out",
            Self::In => "row in",
            Self::ToStorage => "row storage",
            Self::Both => "row both",
            Self::Local => "row local",
        }
    }

    fn label(self) -> &'static str {
        match self {
            Self::Out => "machine to service",
            Self::In => "service to machine",
            Self::ToStorage => "machine to storage",
            Self::Both => "machine and service",
            Self::Local => "on the machine",
        }
    }
}

/// Renders an entry: its time, summary and arrow, opening to its JSON.
pub(super) fn row(shortened: &DisplayEntry, context: RowContext<'_>) -> Markup {
    let DisplayEntry { entry, is_truncated, .. } = shortened;
    let event = &entry.event;
    let channel = context.channel.unwrap_or_else(|| Channel::of(event));
    let direction = match event {
        Event::Http(_) if channel == Channel::Storage => Direction::ToStorage,
        Event::Http(_) | Event::Out(_) => Direction::Out,
        Event::In(_) => Direction::In,
        Event::Opened { .. } | Event::Closed { .. } => Direction::Both,
        _ => Direction::Local,
    };
    let action_type = context.action_type.or_else(|| type_of(event));
    let outcome = context.outcome.map(Outcome::name);
    let problem = is_problem(event).then_some("problem");
    html! {
        details class={ (direction.class()) @if let Some(class) = problem.or(outcome) { " " (class) } }
            id={ "e" (entry.n) } data-channel=(channel.name())
            data-outcome=(outcome.or(problem.map(|_| "failed")).unwrap_or("none"))
            data-action=[action_type.map(|name| Truncated(name, MAX_NAME))] {
            summary {
                time { (format::clock(entry.t)) }
                span.what { (summary(event)) }
                i role="img" aria-label=(direction.label()) {}
            }
            (json::json(entry, *is_truncated, context.json_bytes))
        }
    }
}

/// Renders a row for a live page, with less JSON: many rows may be queued for a browser.
#[cfg(feature = "follow")]
pub(crate) fn live_row(entry: &DisplayEntry) -> String {
    row(entry, RowContext { json_bytes: 32 << 10, ..RowContext::default() }).into_string()
}

/// Returns the action type in the name of an action's message.
fn type_of(event: &Event) -> Option<&str> {
    let (Event::In(message) | Event::Out(message)) = event else { return None };
    message.action_id()?;
    message.name()?.split(':').next()
}
