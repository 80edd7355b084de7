//! [`Notice`]: what happens to a fleet as a whole.

use std::fmt;
use std::time::Duration;

use serde_json::{Value, json};

use super::command::Command;
use super::status::Status;
use crate::words::count;

/// Something that happened to a fleet as a whole, or a machine that could not start. [`Display`](fmt::Display) is a line,
/// or for [`Status`](Self::Status) a table.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Notice {
    /// All machines are connected, for the first time or again.
    AllConnected {
        /// How many there are.
        machines: usize,
        /// How long after the start, or after the first of them was not connected.
        after: Duration,
    },
    /// Not all machines are connected any more.
    ConnectionsLost,
    /// A machine could not sign in, and tries again; or it has no thread. In 10 seconds, a reason is told of the first
    /// machine only, and at most 20 reasons are told. [`Status`](Self::Status) counts them all.
    MachineFailed {
        /// Its serial number.
        serial: u32,
        /// Why.
        reason: String,
    },
    /// A command begins. It ends with the next notice of the same command or, if it is `storm`, at once.
    Began(Command),
    /// A `blackout` or `rolling-restart` is over. Machines reconnect after their pauses.
    Ended(Command),
    /// A scheduled command is not carried out, because too many others wait.
    LeftOut(Command),
    /// What `status` asked for.
    Status(Box<Status>),
    /// All machines are being stopped. The last notice.
    Stopping,
}

impl Notice {
    /// Returns it as JSON: an object with `kind`, and what belongs to it.
    #[must_use]
    pub fn to_json(&self) -> Value {
        match self {
            Self::AllConnected { machines, after } => {
                json!({"kind": "all_connected", "machines": machines, "after_s": after.as_secs_f64()})
            }
            Self::ConnectionsLost => json!({"kind": "connections_lost"}),
            Self::MachineFailed { serial, reason } => {
                json!({"kind": "machine_failed", "serial": serial, "reason": reason})
            }
            Self::Began(command) => json!({"kind": "began", "command": command.to_string()}),
            Self::Ended(command) => json!({"kind": "ended", "command": command.to_string()}),
            Self::LeftOut(command) => json!({"kind": "left_out", "command": command.to_string()}),
            Self::Status(status) => json!({"kind": "status", "status": status.to_json()}),
            Self::Stopping => json!({"kind": "stopping"}),
        }
    }
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AllConnected { machines, after } => {
                write!(f, "all connected: {} after {:.1} s", count(machines, "machine"), after.as_secs_f64())
            }
            Self::ConnectionsLost => f.write_str("connections lost"),
            Self::MachineFailed { serial, reason } => {
                write!(f, "machine {serial} cannot start: {reason} (others may fail for the same reason)")
            }
            Self::Began(command) => write!(f, "{command}"),
            Self::Ended(command) => write!(f, "{command}: over"),
            Self::LeftOut(command) => write!(f, "{command} is left out: too many commands wait"),
            Self::Status(status) => status.fmt(f),
            Self::Stopping => f.write_str("stopping"),
        }
    }
}
