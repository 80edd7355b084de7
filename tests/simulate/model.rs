//! [`Model`]: what the emulator promises, checked against what went over the network, to the disk, into the log and to the
//! observers. Written from the documentation; it shares no code with the emulator.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use gf_emulator_core::{EmulatorEvent, Ending};

use crate::frames;
use crate::json::{self, Scalar};
use crate::machine::PICTURE;
use crate::network::Link;
use crate::scenario::{JOBS, PICTURES, RECORDING};
use crate::service::{SECRET, SERVER, STATUS};
use crate::world::{End, World};

/// How long a stop may take.
const STOP_LIMIT: Duration = Duration::from_secs(2);

/// A message of the machine that the operating system took whole.
#[derive(Default)]
struct Sent {
    id: i64,
    action_id: Option<i64>,
    event: Option<String>,
}

#[derive(Default)]
pub(crate) struct Model {
    failures: Vec<String>,
    /// The bodies that the service has announced, by path: a job on disk must be one of them.
    jobs: BTreeSet<(String, Vec<u8>)>,
    websockets: Vec<Link>,
    accepted: BTreeMap<i64, u32>,
    ended: BTreeMap<(i64, String, String), u32>,
    ignored: BTreeSet<i64>,
    log: String,
    stopped_at: Option<Duration>,
    returned_at: Option<Duration>,
}

/// What a scenario asks of the end.
#[derive(Debug, Default)]
pub(crate) struct Demands {
    /// The actions that were sent, if the machine must have got all of them.
    pub(crate) arrives: Vec<i64>,
    /// The action that must have completed after everything works again.
    pub(crate) completes: Option<i64>,
    /// Endings of 1.x have messages after the terminal event.
    pub(crate) ends_with_terminal: bool,
}

impl Model {
    /// Fails unless `holds`.
    pub(crate) fn demand(&mut self, holds: bool, what: &str) {
        if !holds {
            self.fail(what.to_owned());
        }
    }

    fn fail(&mut self, what: String) {
        // One of a kind is enough.
        if self.failures.len() < 20 {
            self.failures.push(what);
        }
    }

    pub(crate) fn take_failures(&mut self) -> Vec<String> {
        std::mem::take(&mut self.failures)
    }

    pub(crate) fn allow_job(&mut self, path: &str, body: Vec<u8>) {
        self.jobs.insert((path.to_owned(), body));
    }

    pub(crate) fn on_request(&mut self, host: &str, headers: &BTreeMap<String, String>) {
        let may_have_token = matches!(host, SERVER | STATUS);
        self.demand(may_have_token || !headers.contains_key("authorization"), "a token goes to another host");
    }

    pub(crate) fn on_websocket(&mut self, link: &Link) {
        self.websockets.push(link.clone());
    }

    pub(crate) fn on_log(&mut self, line: &str) {
        self.demand(!line.contains(SECRET), "a secret in the log");
        self.log.push_str(line);
        self.log.push('\n');
    }

    pub(crate) fn on_stop(&mut self, now: Duration) {
        self.stopped_at.get_or_insert(now);
    }

    pub(crate) fn was_stopped(&self) -> bool {
        self.stopped_at.is_some()
    }

    pub(crate) fn on_return(&mut self, now: Duration) {
        self.returned_at = Some(now);
    }

    /// Checks an event at the time when it happens.
    pub(crate) fn on_event(&mut self, world: &World, event: &EmulatorEvent, text: &str) {
        self.demand(!text.contains(SECRET), "a secret in an event");
        match event {
            EmulatorEvent::ActionAccepted { action_id, .. } => *self.accepted.entry(*action_id).or_default() += 1,
            EmulatorEvent::ActionIgnored { action_id, .. } => _ = self.ignored.insert(*action_id),
            EmulatorEvent::ActionEnded { action_id, action, ending, .. } => {
                let key = (*action_id, action.clone(), ending.to_string());
                *self.ended.entry(key).or_default() += 1;
                let path = format!("/{action_id}.puls");
                let mut bodies = self.jobs.iter().filter(|(of, _)| *of == path).peekable();
                let needs_file = *ending == Ending::Completed && bodies.peek().is_some() && !world.has_disk_failed();
                if needs_file && !bodies.any(|(_, body)| world.disk.keeps(body)) {
                    self.fail(format!("{action} {action_id} completed before its job was safe on disk"));
                }
            }
            _ => {}
        }
    }

    /// Checks what a power failure would leave now.
    pub(crate) fn on_power_failure(&mut self, files: &[(PathBuf, Vec<u8>)]) {
        // A description can be made again from its job, so it is not synced.
        let is_info = |path: &Path| path.extension().is_some_and(|extension| extension == "info");
        let files: Vec<_> = files.iter().filter(|(path, _)| !is_info(path)).cloned().collect();
        self.check_files(&files, "after a power failure");
    }

    /// Files have their contents or do not exist.
    fn check_files(&mut self, files: &[(PathBuf, Vec<u8>)], when: &str) {
        for (path, contents) in files {
            let is_whole = match path.extension().and_then(|extension| extension.to_str()) {
                Some("puls") if path.starts_with(JOBS) => self.jobs.iter().any(|(_, body)| body == contents),
                Some("info") => str::from_utf8(contents).is_ok_and(|text| json::read(text, &mut |_, _| {}).is_ok()),
                Some("jpg") if path.starts_with(PICTURES) => contents == PICTURE,
                _ => true,
            };
            if !is_whole {
                self.fail(format!("{} is torn {when}", path.display()));
            }
            if String::from_utf8_lossy(contents).contains(SECRET) {
                self.fail(format!("a secret in {} {when}", path.display()));
            }
        }
    }

    /// Checks everything after the emulator has ended.
    pub(crate) fn check_end(&mut self, world: &World, end: End, demands: &Demands) {
        if end != End::Finished {
            return self.fail(format!("{end:?}: {} have not ended", world.waiting().join(", ")));
        }
        if let (Some(stopped), Some(returned)) = (self.stopped_at, self.returned_at) {
            self.demand(returned <= stopped + STOP_LIMIT, "the stop takes too long");
        }
        let files = world.disk.files();
        self.check_files(&files, "at the end");
        for (path, _) in &files {
            let is_temp = path.extension().is_some_and(|extension| extension == "part");
            if is_temp {
                self.fail(format!("{} is left", path.display()));
            }
        }
        let sent = self.sent();
        self.check_messages(&sent, demands);
        self.check_actions(&sent, demands);
        if !world.has_disk_failed() {
            let recording = files.iter().find(|(path, _)| path == Path::new(RECORDING));
            self.check_recording(recording.map(|(_, contents)| contents.as_slice()), &sent);
        }
    }

    /// Returns the messages that the operating system took whole, in their order.
    fn sent(&mut self) -> Vec<Sent> {
        let mut sent = Vec::new();
        for link in std::mem::take(&mut self.websockets) {
            let taken = link.taken();
            let Some(start) = taken.windows(4).position(|window| window == b"\r\n\r\n") else { continue };
            let mut rest = &taken[start + 4..];
            while let Some((frame, used)) = frames::read(rest) {
                rest = &rest[used..];
                if frame.opcode != frames::TEXT {
                    continue;
                }
                let mut message = Sent::default();
                let mut field = |path: &str, value: Scalar<'_>| match (path, value) {
                    ("/id", Scalar::Number(id)) => message.id = id,
                    ("/action_id", Scalar::Number(id)) => message.action_id = Some(id),
                    ("/event", Scalar::Text(event)) => message.event = Some(event.to_owned()),
                    _ => {}
                };
                let is_json = str::from_utf8(&frame.payload).is_ok_and(|text| json::read(text, &mut field).is_ok());
                if is_json {
                    sent.push(message);
                } else {
                    self.fail("a message that is not JSON".to_owned());
                }
            }
        }
        sent
    }

    /// Messages are in order, none is sent twice, and those that are missing were logged.
    fn check_messages(&mut self, sent: &[Sent], demands: &Demands) {
        if let Some(pair) = sent.windows(2).find(|pair| pair[0].id >= pair[1].id) {
            self.fail(format!("message {} follows message {}", pair[1].id, pair[0].id));
        }
        if let (Some(first), Some(last)) = (sent.first(), sent.last()) {
            let missing = last.id - 31 - i64::try_from(sent.len()).unwrap_or_default();
            let dropped = self.log.lines().filter(|line| line.contains("dropped (")).count();
            if missing > i64::try_from(dropped).unwrap_or_default() {
                self.fail(format!("of messages {} to {}, {missing} are missing, {dropped} logged", first.id, last.id));
            }
        }
        if demands.ends_with_terminal {
            let mut over = BTreeSet::new();
            for message in sent {
                let Some(action_id) = message.action_id.filter(|id| self.accepted.get(id) == Some(&1)) else {
                    continue;
                };
                if !over.is_empty() && over.contains(&action_id) {
                    self.fail(format!("message {} of action {action_id} follows its terminal event", message.id));
                }
                if message.event.as_deref().is_some_and(is_terminal) {
                    over.insert(action_id);
                }
            }
        }
    }

    /// Each accepted action has one ending, and its terminal event was sent or logged as dropped.
    fn check_actions(&mut self, sent: &[Sent], demands: &Demands) {
        let drops: Vec<_> = self.log.lines().filter(|line| line.contains("dropped (")).map(str::to_owned).collect();
        let mut endings: BTreeMap<i64, u32> = BTreeMap::new();
        for ((id, ..), count) in &self.ended {
            *endings.entry(*id).or_default() += count;
        }
        for (id, count) in &self.accepted.clone() {
            let ended = endings.get(id).copied().unwrap_or_default();
            if ended != *count {
                self.fail(format!("action {id} was accepted {count} times and ended {ended} times"));
            }
        }
        for ((id, action, ending), count) in &self.ended.clone() {
            let event = format!("{action}:{ending}");
            let is_it = |sent: &&Sent| sent.action_id == Some(*id) && sent.event.as_deref() == Some(&event);
            let on_wire = sent.iter().filter(is_it).count();
            let label = format!("event {event} (action {id})");
            let dropped = drops.iter().filter(|line| line.ends_with(&label)).count();
            if on_wire + dropped != usize::try_from(*count).unwrap_or_default() {
                self.fail(format!("{event} of action {id}: {on_wire} sent, {dropped} dropped, {count} endings"));
            }
        }
        for message in sent.iter().filter(|message| message.event.as_deref().is_some_and(is_terminal)) {
            let (Some(id), Some(event)) = (message.action_id, &message.event) else { continue };
            let (action, ending) = event.split_once(':').unwrap_or_default();
            if !self.ended.contains_key(&(id, action.to_owned(), ending.to_owned())) {
                self.fail(format!("{event} of action {id} was sent and no such action has ended"));
            }
        }
        for id in &demands.arrives {
            if !self.accepted.contains_key(id) && !self.ignored.contains(id) {
                self.fail(format!("action {id} was neither accepted nor ignored"));
            }
        }
        if let Some(id) = demands.completes {
            let is_it = |sent: &Sent| sent.action_id == Some(id) && sent.event.as_deref() == Some("settings:completed");
            self.demand(sent.iter().any(is_it), "the machine does not work after everything works again");
        }
    }

    /// The recording is readable, and has every message once.
    fn check_recording(&mut self, contents: Option<&[u8]>, sent: &[Sent]) {
        let Some(contents) = contents else { return };
        let mut recorded = Vec::new();
        for (n, line) in String::from_utf8_lossy(contents).lines().enumerate() {
            let (mut number, mut is_out, mut id) = (None, false, None);
            let mut field = |path: &str, value: Scalar<'_>| match (path, value) {
                ("/n", Scalar::Number(n)) => number = Some(n),
                ("/kind", Scalar::Text(kind)) => is_out = kind == "out",
                ("/json/id", Scalar::Number(of_message)) => id = Some(of_message),
                _ => {}
            };
            if json::read(line, &mut field).is_err() {
                return self.fail(format!("line {n} of the recording is not JSON"));
            }
            if number.and_then(|number| usize::try_from(number).ok()) != Some(n) {
                self.fail(format!("line {n} of the recording has the number {number:?}"));
            }
            if is_out {
                recorded.extend(id);
            }
        }
        let sent: Vec<_> = sent.iter().map(|message| message.id).collect();
        if recorded != sent {
            self.fail(format!("sent {} messages, recorded {}", sent.len(), recorded.len()));
        }
    }
}

/// Returns whether an event ends its action: `<action>:completed` and so on, without a step between them.
fn is_terminal(event: &str) -> bool {
    matches!(event.split_once(':'), Some((_, "completed" | "cancelled" | "failed")))
}
