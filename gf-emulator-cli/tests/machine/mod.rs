//! What the tests share in which the computer fails or kills a machine.

use gf_emulator_core::local_service::Seen;
use gf_emulator_core::puls::Builder;

/// Sections for [`configure`](crate::configure): a machine that waits for nothing, and keeps all that it can.
pub(crate) const SETTINGS: &str = "[EMULATOR]\ntime_scale: 0\nbutton: auto\n[MOTION]\nwarm_up_delay: 0\n[LOGGING]\n\
                                   record: recordings\nsave_sent_images: True\ndir: sent\n";

/// A job that takes a while to write.
pub(crate) fn job() -> Vec<u8> {
    let mut job = Builder::new();
    job.move_to(5.0, 5.0).unwrap().dwell(30.0).unwrap().move_to(-5.0, 0.0).unwrap();
    job.to_bytes()
}

pub(crate) fn is_open(seen: &[Seen]) -> bool {
    seen.iter().any(|seen| matches!(seen, Seen::WsOpened { .. }))
}

/// Returns the id of the action that a message ends.
pub(crate) fn ended_action(seen: &Seen) -> Option<i64> {
    let Seen::WsMessage { message, .. } = seen else { return None };
    let (_, ending) = message["event"].as_str()?.split_once(':')?;
    matches!(ending, "completed" | "cancelled" | "failed").then(|| message["action_id"].as_i64())?
}
