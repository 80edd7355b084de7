//! Replays recorded sessions: a local service repeats the service's side, and the machine is compared with the
//! recording.
//!
//! A [`Session`] is read from a recording of either side. Its [`plan`](Session::plan) is for a
//! [`LocalService`](crate::local_service::LocalService), which replays it with the first machine that connects. What
//! that machine does is compared with the recording, [while it runs](Session::comparer) or
//! [afterwards](Session::compare).
//!
//! # What is compared
//!
//! Messages are compared by action; those without an action form a group of their own. Each group must have the same
//! events in the same order, with the same fields in the same order and the same values. The order between groups is
//! not compared.
//!
//! Requests are compared by action, too: the one that last contained a URL with their path, or whose id is in the path
//! or the body. Each group must have the same requests in the same order, with the same content type and, if it is
//! JSON, the same body, field by field. If two concurrent actions contain the same path, its requests form one group;
//! requests without an action form another. The order between requests and messages is not compared.
//!
//! These may differ:
//!
//! - the `id`, which must count up by one (after a reconnection, which may lose progress messages, by any number), and
//!   the `timestamp`, which must not go back; the date in a settings report;
//! - values that the recording hides as `***`, and serial numbers, since it may be another machine;
//! - the hosts and queries of URLs;
//! - progress messages: only the fields are compared, with the last one of the same name in the recording;
//! - sign-ins and handshakes, `User-Agent` and the headers of HTTP libraries, the contents of pictures;
//! - the `id` of a posted 1.x event, which is a time. One known client leaves the placeholder `<MILLI_EPOCH>` there: a
//!   number instead of a recorded placeholder is accepted, a placeholder instead of a recorded number is not.
//!
//! Another firmware version is a difference.

mod alignment;
mod comparison;
mod json_diff;
mod observers;
mod recorder;
mod session;
#[cfg(test)]
mod tests;
mod transcript;

pub use comparison::{Comparer, Comparison, Difference};
pub use observers::{LimitedRecorder, SharedComparer};
pub use session::Session;
