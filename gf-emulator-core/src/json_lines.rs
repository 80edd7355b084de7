//! A machine's messages as lines of text: actions from a reader, messages to a writer.

use std::io::{self, BufRead, Write};

use crossbeam_channel::{Receiver, Sender};
use serde_json::Value;

use crate::storage::read_line;
use crate::{Handle, Outgoing};

/// Far more than any action needs.
const LINE_LIMIT_BYTES: u64 = 1 << 20;

/// Sends every line of `reader` to a machine, for example through [`Peer::tx`](crate::Peer). A line of more than 1 MiB
/// or that is not UTF-8 is logged and skipped. Calls `on_input` for each line that is not blank.
///
/// Returns at the end of the input, or when the machine has stopped.
///
/// # Errors
///
/// An error of `reader`.
pub fn read_actions(reader: &mut impl BufRead, tx: &Sender<String>, mut on_input: impl FnMut()) -> io::Result<()> {
    while let Some(line) = read_line(reader, LINE_LIMIT_BYTES)? {
        if line.as_ref().map_or(true, |text| !text.trim().is_empty()) {
            on_input();
        }
        match line.map(|text| tx.send(text)) {
            Ok(Ok(())) => {}
            Ok(Err(_)) => break,
            Err(reason) => log::warn!("ignored a line: {reason}"),
        }
    }
    Ok(())
}

/// Writes and flushes every message, one per line, until the machine has stopped. Returns how many actions it
/// completed.
///
/// # Errors
///
/// An error of `writer`. Then the machine is stopped, and its remaining messages are dropped.
pub fn write_messages(rx: &Receiver<Outgoing>, handle: &Handle, writer: &mut impl Write) -> io::Result<usize> {
    let mut completed = 0;
    for message in rx {
        completed += usize::from(is_completion(message.text()));
        let written = writeln!(writer, "{}", message.text().trim_end()).and_then(|()| writer.flush());
        if let Err(error) = written {
            handle.stop();
            // A full queue would block the machine.
            rx.iter().for_each(drop);
            return Err(error);
        }
    }
    Ok(completed)
}

/// Returns whether a message is the event `<action>:completed`.
fn is_completion(message: &str) -> bool {
    let message: Value = serde_json::from_str(message).unwrap_or_default();
    let event = message["event"].as_str().and_then(|event| event.split_once(':'));
    event.is_some_and(|(action, ending)| !action.is_empty() && ending == "completed")
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;
    use crate::{Config, Emulator, Peer};

    /// Runs an offline machine over `input`. Returns the lines of input counted, the output, and the completed actions.
    fn run(input: &str) -> (usize, String, usize) {
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config::default();
        config.motion.dir = folder.path().join("motion");
        let (mut emulator, Peer { tx, rx, .. }) = Emulator::offline(config, folder.path()).unwrap();
        let handle = emulator.handle();
        let machine = thread::spawn(move || emulator.run());
        let mut lines = 0;
        read_actions(&mut input.as_bytes(), &tx, || lines += 1).unwrap();
        drop(tx);
        let mut output = Vec::new();
        let completed = write_messages(&rx, &handle, &mut output).unwrap();
        machine.join().unwrap().unwrap();
        (lines, String::from_utf8(output).unwrap(), completed)
    }

    #[test]
    fn answers_actions_and_counts_those_completed() {
        let (lines, output, completed) =
            run("{\"id\":1,\"action_type\":\"settings\",\"status\":\"ready\"}\n\nnot json\n");
        assert_eq!((lines, completed, output.lines().count()), (2, 1, 1));
        assert!(output.contains("settings:completed"), "{output}");
    }

    #[test]
    fn only_an_actions_completed_event_is_a_completion() {
        assert!(is_completion(r#"{"event":"print:completed"}"#));
        for other in ["", "[]", r#"{"event":":completed"}"#, r#"{"event":"print:download:completed"}"#] {
            assert!(!is_completion(other), "{other}");
        }
    }
}
