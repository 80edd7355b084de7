//! The live page: rows arrive as they are recorded, and only for requests with the token.

mod access;

use std::fs;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::thread;

use crossbeam_channel::bounded;

use crate::report::{download, request, write_recording};
use gf_emulator_core::config::Generation;
use gf_emulator_core::follow::Follower;
use gf_emulator_core::puls;
use gf_emulator_core::record::{Recorder, Recording};
use gf_emulator_core::{Config, Emulator, Handle};
use gf_emulator_tests::recordings::{HOSTILE, flower, long};
use gf_emulator_tests::{Harness, LIMIT, Setup};
use serde_json::Value;
use tempfile::TempDir;
use tungstenite::{Error as WsError, Message, WebSocket};

fn follow(harness: &Harness) -> Follower {
    Follower::start("127.0.0.1:0", harness.recorder.as_ref().unwrap(), harness.handle.clone()).unwrap()
}

/// The live page of a machine without a service.
struct IdleMachine {
    follower: Follower,
    recorder: Recorder,
    handle: Handle,
    folder: TempDir,
}

fn idle_machine() -> IdleMachine {
    let folder = tempfile::tempdir().unwrap();
    let recorder = Recorder::of_machine(folder.path(), &Config::default()).unwrap();
    let (emulator, _peer) = Emulator::offline(Config::default(), folder.path()).unwrap();
    let handle = emulator.handle();
    let follower = Follower::start("127.0.0.1:0", &recorder, handle.clone()).unwrap();
    IdleMachine { follower, recorder, handle, folder }
}

fn token(follower: &Follower) -> &str {
    follower.url().split_once("/?token=").unwrap().1
}

fn connect(follower: &Follower) -> TcpStream {
    let socket = TcpStream::connect(follower.address()).unwrap();
    socket.set_read_timeout(Some(LIMIT)).unwrap();
    socket
}

/// Sends a request and returns the status and the whole response.
fn send(follower: &Follower, request: &str) -> (u16, String) {
    let mut socket = connect(follower);
    socket.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).unwrap();
    let answer = String::from_utf8(answer).unwrap();
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
    (status.unwrap_or_else(|| panic!("{answer}")), answer)
}

fn get(follower: &Follower, target: &str) -> (u16, String) {
    send(follower, &format!("GET {target} HTTP/1.1\r\nHost: {}\r\n\r\n", follower.address()))
}

fn post(follower: &Follower, target: &str, body: &str) -> u16 {
    let (host, token) = (follower.address(), token(follower));
    let head = format!("POST {target} HTTP/1.1\r\nHost: {host}\r\nOrigin: http://{host}\r\nX-Token: {token}\r\n");
    send(follower, &format!("{head}Content-Length: {}\r\n\r\n{body}", body.len())).0
}

/// The WebSocket of an open page.
struct Subscription {
    socket: WebSocket<TcpStream>,
}

#[derive(Debug, Clone, PartialEq)]
enum Update {
    Row(u64, String),
    Attachments,
    End(String),
}

impl Update {
    fn row(&self) -> (u64, &str) {
        let Self::Row(n, row) = self else { panic!("{self:?} is not a row") };
        (*n, row)
    }
}

impl Subscription {
    fn open(follower: &Follower, after: u64) -> Self {
        Self::try_open(follower, after).unwrap_or_else(|e| panic!("{e}"))
    }

    fn try_open(follower: &Follower, after: u64) -> Result<Self, String> {
        let url = format!("ws://{}/rows?token={}&after={after}", follower.address(), token(follower));
        let (socket, _) = tungstenite::client(url, connect(follower)).map_err(|e| e.to_string())?;
        let mut page = Self { socket };
        assert_eq!(page.next(), Some(Update::Attachments), "always the first message");
        Ok(page)
    }

    /// Returns the next update, or `None` at the end.
    fn next(&mut self) -> Option<Update> {
        self.read().unwrap_or_else(|e| panic!("{e}"))
    }

    /// Like `next`; an error if the connection was lost.
    fn read(&mut self) -> Result<Option<Update>, WsError> {
        loop {
            match self.socket.read() {
                Ok(Message::Text(text)) => {
                    let update: Value = serde_json::from_str(&text).unwrap();
                    let text = |key: &str| update[key].as_str().unwrap().to_owned();
                    return Ok(Some(match (&update["n"], &update["attachments"]) {
                        (Value::Number(n), _) => Update::Row(n.as_u64().unwrap(), text("row")),
                        (_, Value::Bool(true)) => Update::Attachments,
                        _ => Update::End(text("end")),
                    }));
                }
                Ok(Message::Close(_)) => {}
                Err(WsError::ConnectionClosed) => return Ok(None),
                Err(e) => return Err(e),
                other => panic!("{other:?}"),
            }
        }
    }

    /// Returns the rows up to the one that contains `words`.
    fn until(&mut self, words: &str) -> Vec<Update> {
        let mut rows = Vec::new();
        while !rows.last().is_some_and(|update: &Update| update.row().1.contains(words)) {
            rows.extend(Some(self.next().expect(words)).filter(|update| *update != Update::Attachments));
        }
        rows
    }
}

/// Whether the rows are numbered consecutively from `after` + 1.
fn are_after(rows: &[Update], after: u64) -> bool {
    rows.iter().zip(after + 1..).all(|(row, n)| row.row().0 == n)
}

/// Drops the follower, and panics if that takes longer than `LIMIT`, which is shorter than its own timeouts.
fn shut_down(follower: Follower) {
    let (done, ended) = bounded(1);
    thread::spawn(move || {
        drop(follower);
        let _ = done.send(());
    });
    ended.recv_timeout(LIMIT).expect("shutdown blocks");
}

fn entries(folder: &Path) -> u64 {
    Recording::open(folder).unwrap().count() as u64
}

#[test]
fn page_shows_entries_as_they_are_recorded() {
    let folder = tempfile::tempdir().unwrap();
    let harness = Setup::new(Generation::V2).recorded(folder.path()).start();
    harness.expect(1, "settings", "completed");
    let follower = follow(&harness);
    // The service may have the event before the recording has it.
    Subscription::open(&follower, 0).until("settings:completed <b>1</b>");
    let (status, page) = get(&follower, &format!("/?token={}", token(&follower)));
    assert_eq!(status, 200);
    for words in [
        "settings:completed <b>1</b>",
        "id=\"live\"",
        "Press the button",
        "connect-src &#39;self&#39;",
        "\r\nX-Content-Type-Options: nosniff\r\n",
        "\r\nReferrer-Policy: no-referrer\r\n",
        "\r\nCache-Control: no-store\r\n",
        "frame-ancestors 'none'",
    ] {
        assert!(page.contains(words) || page.contains(&words.replace("&#39;", "'")), "no {words}: {page}");
    }
    let seen = entries(folder.path());
    let mut page = Subscription::open(&follower, seen);
    harness.expect(2, "lid_image", "completed");
    let rows = page.until("lid_image:completed <b>2</b>");
    assert!(are_after(&rows, seen), "{rows:?}");
    assert!(rows.iter().all(|row| row.row().1.starts_with("<details class=\"row ")), "{rows:?}");
    // The sections, with only the actions that have changed.
    let sections = |more: &str| get(&follower, &format!("/sections?token={}{more}", token(&follower))).1;
    let all = sections("&since=0");
    for words in
        ["id=\"a0\" data-action=\"settings\" data-outcome=\"completed\"", "id=\"a1\" data-action=\"lid_image\""]
    {
        assert!(all.contains(words), "{words}: {all}");
    }
    let last = rows.last().unwrap().row().0;
    assert!(all.contains(&format!("data-entries=\"{last}\"")), "{last}: {all}");
    harness.expect(3, "head_image", "completed");
    page.until("head_image:completed <b>3</b>");
    let rest = sections(&format!("&since={last}"));
    assert!(rest.contains("id=\"a2\" data-action=\"head_image\" data-outcome=\"completed\""), "{rest}");
    assert!(rest.contains("id=\"summary\"") && !rest.contains("id=\"a1\"") && !rest.contains("class=\"row "), "{rest}");
    let named = sections(&format!("&since={last}&also=0,7,x"));
    assert!(named.contains("id=\"a0\"") && !named.contains("id=\"a1\"") && named.contains("id=\"a2\""), "{named}");
    // A page that connects later gets the missed rows.
    let missed = Subscription::open(&follower, 0).until("lid_image:completed");
    assert!(are_after(&missed, 0) && missed.len() as u64 == last);
    let again = Subscription::open(&follower, last - 1).until("lid_image:completed");
    assert_eq!(again, rows[rows.len() - 1..]);
    // The end is shown.
    harness.stop().2.unwrap();
    page.until(">stopped<");
    drop(follower);
    let Some(Update::End(sections)) = page.next() else { panic!("no end message") };
    let all = entries(folder.path());
    assert!(sections.contains(&format!("Conversation ({all})")) && !sections.contains("<article"), "{sections}");
    assert_eq!(page.next(), None);
}

#[test]
fn buttons_control_the_machine() {
    let folder = tempfile::tempdir().unwrap();
    let harness = Setup::new(Generation::V2).slow().recorded(folder.path()).start();
    let follower = follow(&harness);
    harness.start_action(1, "print");
    harness.wait_event("print:download:completed", Some(1));
    assert_eq!(post(&follower, "/button", ""), 204);
    harness.wait_event("print:running", Some(1));
    harness.wait_event("print:completed", Some(1));
    assert_eq!(post(&follower, "/lid", "open"), 204);
    harness.wait_event("lid:opened", None);
    assert_eq!(post(&follower, "/lid", "close"), 204);
    harness.wait_event("lid:closed", None);
    assert_eq!((post(&follower, "/lid", "half"), post(&follower, "/lid", "")), (400, 400));
    assert_eq!(post(&follower, "/stop", ""), 204);
    // Waits for the machine to stop.
    harness.stop().2.unwrap();
}

#[test]
fn browser_that_does_not_read_is_disconnected() {
    const FLOOD: usize = 2000;
    let folder = tempfile::tempdir().unwrap();
    let harness = Setup::new(Generation::V2).recorded(folder.path()).start();
    let follower = follow(&harness);
    let slow = Subscription::open(&follower, 0);
    let recorder = harness.recorder.as_ref().unwrap();
    let filler = "x".repeat(16 << 10);
    // More than fits into the socket buffers and the queue.
    for _ in 0..FLOOD {
        recorder.state("flood", Some(filler.clone()));
    }
    harness.expect(1, "settings", "completed");
    // It gets what was buffered when it was disconnected.
    let mut rest = slow.socket.get_ref();
    let read = io::copy(&mut rest, &mut io::sink());
    assert!(read.is_err() || read.is_ok_and(|bytes| bytes < (FLOOD * filler.len()) as u64));
    // Another page gets everything. While rows come faster than it reads, it is disconnected too, and reconnects as a
    // page does.
    let mut rows: Vec<Update> = Vec::new();
    while !rows.last().is_some_and(|row| row.row().1.contains("settings:completed")) {
        let mut page = Subscription::open(&follower, rows.last().map_or(0, |row| row.row().0));
        while !rows.last().is_some_and(|row| row.row().1.contains("settings:completed"))
            && let Ok(update) = page.read()
        {
            rows.extend(Some(update.expect("not the end")).filter(|update| *update != Update::Attachments));
        }
    }
    assert!(are_after(&rows, 0) && rows.len() > FLOOD);
    harness.stop().2.unwrap();
}

#[test]
fn shutdown_does_not_wait_for_a_slow_download() {
    let machine = idle_machine();
    // Replaces the recording; the recorder appends to it.
    long(machine.folder.path(), 10_000, 4);
    let address = machine.follower.address();
    let mut page = Subscription::open(&machine.follower, u64::MAX - 1);
    let mut pages = ["/?", "/sections?"].map(|page| {
        let mut socket = connect(&machine.follower);
        let request = format!("GET {page}token={} HTTP/1.1\r\nHost: {address}\r\n\r\n", token(&machine.follower));
        socket.write_all(request.as_bytes()).unwrap();
        // The server is still writing, and the client stops reading.
        socket.read_exact(&mut [0; 4096]).unwrap();
        socket
    });
    assert_eq!(post(&machine.follower, "/lid", "open"), 204);
    machine.recorder.state("meanwhile", None);
    shut_down(machine.follower);
    let end = std::iter::from_fn(|| page.next()).find(|update| *update != Update::Attachments);
    assert!(matches!(end, Some(Update::End(_))), "{end:?}");
    // The responses are incomplete.
    for page in &mut pages {
        let mut rest = Vec::new();
        assert!(page.read_to_end(&mut rest).is_err() || !rest.ends_with(b"\r\n0\r\n\r\n"));
    }
}

/// Replaces the recording by one of a print with this job.
fn record_job(folder: &Path, job: &[u8]) {
    write_recording(folder, [request(1, "print"), download("1.puls")]);
    fs::write(folder.join("1.puls"), job).unwrap();
}

#[test]
fn job_is_drawn_once_in_the_background() {
    let machine = idle_machine();
    record_job(machine.folder.path(), &flower(5));
    let mut page = Subscription::open(&machine.follower, u64::MAX - 1);
    let fetch = |target: &str| get(&machine.follower, &format!("{target}token={}", token(&machine.follower))).1;
    let first = fetch("/?");
    assert!(first.contains("1.puls: being drawn") && !first.contains("<dt>total path</dt>"), "{first}");
    assert_eq!(page.next(), Some(Update::Attachments));
    // The file is not read again.
    let job = machine.folder.path().join("1.puls");
    fs::write(&job, puls::Builder::new().to_bytes()).unwrap();
    for page in [fetch("/sections?since=2&also=0&"), fetch("/?")] {
        assert!(page.contains("class=\"job\"") && page.contains("<dt>total path</dt>"), "{page}");
        assert!(!page.contains("<dd>0 ticks</dd>") && !page.contains("being drawn"), "{page}");
    }
}

#[test]
fn shutdown_does_not_wait_for_a_drawing() {
    let machine = idle_machine();
    // Almost as many ticks as are drawn at all, back and forth with the laser on, compressed to a few kilobytes.
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&puls::Builder::new().to_bytes()).unwrap();
    let ticks = [[0x11; 4096], [0x13; 4096]].concat();
    (0..8000).for_each(|_| gzip.write_all(&ticks).unwrap());
    record_job(machine.folder.path(), &gzip.finish().unwrap());
    let page = get(&machine.follower, &format!("/?token={}", token(&machine.follower))).1;
    assert!(page.contains("1.puls: being drawn") && page.ends_with("\r\n0\r\n\r\n"), "{page}");
    shut_down(machine.follower);
}

#[test]
fn shutdown_closes_all_connections() {
    let machine = idle_machine();
    let mut idle = connect(&machine.follower);
    let mut half = connect(&machine.follower);
    half.write_all(b"GET / HT").unwrap();
    let mut page = Subscription::open(&machine.follower, 0);
    let slow = Subscription::open(&machine.follower, 0);
    for _ in 0..200 {
        machine.recorder.state("filler", Some("x".repeat(16 << 10)));
    }
    machine.recorder.state("last", None);
    let address = machine.follower.address();
    page.until(">last<");
    shut_down(machine.follower);
    assert!(matches!(page.next(), Some(Update::End(_))));
    assert_eq!(page.next(), None);
    for socket in [&mut idle, &mut half] {
        assert!(matches!(socket.read(&mut [0; 1]), Ok(0) | Err(_)));
    }
    assert!(TcpStream::connect(address).is_err());
    drop(slow);
    // The recorder is not affected.
    machine.recorder.state("after", None);
}

#[test]
fn recorded_markup_stays_text_in_rows() {
    let machine = idle_machine();
    let mut page = Subscription::open(&machine.follower, 0);
    for evil in HOSTILE {
        machine.recorder.state(evil, Some(format!("{evil}\r\n\r\nevent: end\r\ndata: \u{2028}{evil}")));
    }
    machine.recorder.state("last", None);
    let rows = page.until(">last<");
    assert_eq!(rows.len(), HOSTILE.len() + 1);
    assert_eq!(entries(machine.folder.path()), rows.len() as u64);
    let known = ["details", "summary", "time", "span", "i", "pre", "b", "small"];
    for row in &rows {
        let (_, row) = row.row();
        for tag in row.split('<').skip(1) {
            let name = tag.trim_start_matches('/').split([' ', '>']).next().unwrap();
            assert!(known.contains(&name), "{name} in {row}");
        }
        assert!(!row.contains(['\r', '\u{2028}']));
    }
}

#[test]
fn reports_an_address_in_use() {
    let machine = idle_machine();
    let taken = machine.follower.address().to_string();
    let error = Follower::start(&taken, &machine.recorder, machine.handle.clone()).unwrap_err().to_string();
    assert!(error.starts_with(&format!("cannot listen on {taken}: ")), "{error}");
}

/// Returns the folder and the files in it, with their permissions.
#[cfg(unix)]
fn modes(folder: &Path) -> Vec<(std::path::PathBuf, u32)> {
    use std::os::unix::fs::PermissionsExt;
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    let mut found = vec![(folder.to_owned(), mode(folder))];
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        found.push((path.clone(), mode(&path)));
    }
    found
}

#[cfg(unix)]
#[test]
fn recording_is_readable_only_by_its_owner() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("recordings").join("one");
    let harness = Setup::new(Generation::V2).recorded(&folder).start();
    harness.expect(1, "lid_image", "completed");
    harness.expect(2, "print", "completed");
    harness.stop().2.unwrap();
    let found = modes(&folder);
    // session.jsonl, a picture and a job.
    assert!(found.len() > 3, "{found:?}");
    for (path, mode) in found {
        assert_eq!(mode, if path.is_dir() { 0o700 } else { 0o600 }, "{}", path.display());
    }
    assert_eq!(modes(&parent.path().join("recordings"))[0].1, 0o700);
}
