//! Recorded sessions, once more: the service's side is given again, and what a machine answers is compared.
//!
//! A [`Session`] is read from a recording of either side. Its [`plan`](Session::plan) is for a
//! [`LocalService`](crate::local_service::LocalService), which goes through it with the first machine that connects;
//! what the service sees is compared with what was recorded, [as it comes](Session::comparer) or
//! [afterwards](Session::compare).
//!
//! # What is compared
//!
//! Messages by the action that they belong to, and those that belong to none by themselves: the same events in the same
//! order, with the same fields in the same order and the same values. Between actions no order is compared.
//!
//! Requests by the action that they are for: the one that has named their path last, or whose id is in the path or the
//! body. The same ones in the same order, with the same content type and, where it is JSON, the same body, field by
//! field. Where two actions that were under way together name one path, its requests are compared together; requests
//! for no action are by themselves. Between requests and messages no order is compared: they come by different ways.
//!
//! These may differ:
//!
//! - the `id`, which has to count up by one (over a cut, where progress may be lost, up), and the `timestamp`, which
//!   must not go back; the date in a settings report;
//! - whatever a recording hides as `***`, and serial numbers: it may be another machine;
//! - the hosts that URLs name, and their queries;
//! - progress: it is perishable, so only its fields are compared, with the last that the recording has of its name;
//! - sign-ins and handshakes, `User-Agent` and the headers of libraries, what is in pictures;
//! - the `id` of a 1.x event that is posted, which is a time. A known client leaves its placeholder, `<MILLI_EPOCH>`:
//!   a machine that sends a number where that was recorded is right, one that sends it where a number was is not.
//!
//! A recording of another version of the firmware is another conversation: that it has another version is a difference.

mod account;
mod alignment;
mod comparison;
mod observed;
mod observers;
mod session;
#[cfg(test)]
mod tests;
mod value;

pub use comparison::{Comparer, Comparison, Difference};
pub use observers::{LimitedRecorder, SharedComparer};
pub use session::Session;
