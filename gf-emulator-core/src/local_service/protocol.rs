//! What the service knows of the protocol: paths, and which events end an action. From captured sessions of both
//! firmware generations.

/// Signs a machine in.
pub(super) const SIGN_IN_PATH: &str = "/machines/sign_in";
/// Stands for the path of a WebSocket handshake, which is the secret `ws_token` itself.
pub(super) const WS_TOKEN_PATH: &str = "/<ws_token>";
/// Takes events.
pub(super) const EVENT_PATH: &str = "/api/event";
/// Takes binary sensor data (known from the factory firmware; its form is not).
pub(super) const SENSOR_PATH: &str = "/api/sensor";
/// The pulse file.
pub(super) const PULS_PATH: &str = "/dl/job.puls";
/// The firmware.
pub(super) const FIRMWARE_PATH: &str = "/dl/firmware";

/// Returns whether an event ends its action: `print:completed`, but not `print:download:completed`.
pub(crate) fn is_ending(event: &str) -> bool {
    split_ending(event).is_some()
}

/// Returns whether both events end the same kind of action: `print:failed` and `print:completed`.
pub(super) fn end_same_action(one: &str, other: &str) -> bool {
    split_ending(one).is_some() && split_ending(one) == split_ending(other)
}

/// Returns the action type of an ending.
fn split_ending(event: &str) -> Option<&str> {
    let (action_type, end) = event.split_once(':')?;
    ["completed", "cancelled", "failed"].contains(&end).then_some(action_type)
}

/// Returns whether a request is part of connecting: a sign-in or a WebSocket handshake.
pub(crate) fn is_connecting(path: &str) -> bool {
    path == SIGN_IN_PATH || path == WS_TOKEN_PATH
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_endings_from_other_events() {
        assert!(["print:completed", "x:failed", ":cancelled"].into_iter().all(is_ending));
        assert!(["print:download:completed", "completed", "print:reset", ""].into_iter().all(|e| !is_ending(e)));
    }
}
