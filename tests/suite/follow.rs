//! A session that is followed: everything comes as it happens, and only to who has the link.

mod gate;

use std::fs;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::thread;

use crossbeam_channel::bounded;

use gf_emulator_core::config::Generation;
use gf_emulator_core::follow::Follower;
use gf_emulator_core::puls;
use gf_emulator_core::record::{Recorder, Recording};
use gf_emulator_core::{Config, Emulator, Handle};
use gf_emulator_tests::recordings::{HOSTILE, flower, long};
use gf_emulator_tests::{Bench, LIMIT, Setup};
use serde_json::{Value, json};
use tempfile::TempDir;
use tungstenite::{Error as WsError, Message, WebSocket};

fn follow(bench: &Bench) -> Follower {
    Follower::start("127.0.0.1:0", bench.recorder.as_ref().unwrap(), bench.handle.clone()).unwrap()
}

/// A follower of a machine that nobody asks anything.
struct Quiet {
    follower: Follower,
    recorder: Recorder,
    handle: Handle,
    folder: TempDir,
}

fn quiet() -> Quiet {
    let folder = tempfile::tempdir().unwrap();
    let recorder = Recorder::of_machine(folder.path(), &Config::default()).unwrap();
    let (emulator, _peer) = Emulator::offline(Config::default(), folder.path()).unwrap();
    let handle = emulator.handle();
    let follower = Follower::start("127.0.0.1:0", &recorder, handle.clone()).unwrap();
    Quiet { follower, recorder, handle, folder }
}

fn token(follower: &Follower) -> &str {
    follower.url().split_once("/?token=").unwrap().1
}

fn connect(follower: &Follower) -> TcpStream {
    let socket = TcpStream::connect(follower.address()).unwrap();
    socket.set_read_timeout(Some(LIMIT)).unwrap();
    socket
}

/// Says that, and gives the answer: its status and everything of it.
fn say(follower: &Follower, request: &str) -> (u16, String) {
    let mut socket = connect(follower);
    socket.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).unwrap();
    let answer = String::from_utf8(answer).unwrap();
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
    (status.unwrap_or_else(|| panic!("{answer}")), answer)
}

fn get(follower: &Follower, target: &str) -> (u16, String) {
    say(follower, &format!("GET {target} HTTP/1.1\r\nHost: {}\r\n\r\n", follower.address()))
}

fn post(follower: &Follower, target: &str, body: &str) -> u16 {
    let (host, token) = (follower.address(), token(follower));
    let head = format!("POST {target} HTTP/1.1\r\nHost: {host}\r\nOrigin: http://{host}\r\nX-Token: {token}\r\n");
    say(follower, &format!("{head}Content-Length: {}\r\n\r\n{body}", body.len())).0
}

/// What a browser hears.
struct Rows {
    socket: WebSocket<TcpStream>,
}

#[derive(Debug, Clone, PartialEq)]
enum News {
    Row(u64, String),
    Pictures,
    Over(String),
}

impl News {
    fn row(&self) -> (u64, &str) {
        let Self::Row(n, row) = self else { panic!("{self:?} is no row") };
        (*n, row)
    }
}

impl Rows {
    fn of(follower: &Follower, after: u64) -> Self {
        Self::ask(follower, after).unwrap_or_else(|e| panic!("{e}"))
    }

    fn ask(follower: &Follower, after: u64) -> Result<Self, String> {
        let url = format!("ws://{}/rows?token={}&after={after}", follower.address(), token(follower));
        let (socket, _) = tungstenite::client(url, connect(follower)).map_err(|e| e.to_string())?;
        let mut rows = Self { socket };
        assert_eq!(rows.next(), Some(News::Pictures), "it is not known what the page has");
        Ok(rows)
    }

    /// The next one; nothing at the end.
    fn next(&mut self) -> Option<News> {
        self.read().unwrap_or_else(|e| panic!("{e}"))
    }

    /// The next one, nothing at the end, or how the connection was lost.
    fn read(&mut self) -> Result<Option<News>, WsError> {
        loop {
            match self.socket.read() {
                Ok(Message::Text(text)) => {
                    let news: Value = serde_json::from_str(&text).unwrap();
                    let text = |key: &str| news[key].as_str().unwrap().to_owned();
                    return Ok(Some(match (&news["n"], &news["pictures"]) {
                        (Value::Number(n), _) => News::Row(n.as_u64().unwrap(), text("row")),
                        (_, Value::Bool(true)) => News::Pictures,
                        _ => News::Over(text("over")),
                    }));
                }
                Ok(Message::Close(_)) => {}
                Err(WsError::ConnectionClosed) => return Ok(None),
                Err(e) => return Err(e),
                other => panic!("{other:?}"),
            }
        }
    }

    /// Up to the row that has these words. Of pictures may be told at any time.
    fn until(&mut self, words: &str) -> Vec<News> {
        let mut rows = Vec::new();
        while !rows.last().is_some_and(|news: &News| news.row().1.contains(words)) {
            rows.extend(Some(self.next().expect(words)).filter(|news| *news != News::Pictures));
        }
        rows
    }
}

/// The rows are those after this number, one by one.
fn are_after(rows: &[News], after: u64) -> bool {
    rows.iter().zip(after + 1..).all(|(news, n)| news.row().0 == n)
}

/// Drops it, and fails where that is not over in time: much sooner than anybody's patience inside it ends.
fn end(follower: Follower) {
    let (done, over) = bounded(1);
    thread::spawn(move || {
        drop(follower);
        let _ = done.send(());
    });
    over.recv_timeout(LIMIT).expect("its end waits for somebody");
}

fn entries(folder: &Path) -> u64 {
    Recording::open(folder).unwrap().count() as u64
}

#[test]
fn a_session_is_seen_as_it_happens() {
    let folder = tempfile::tempdir().unwrap();
    let bench = Setup::new(Generation::V2).recorded(folder.path()).start();
    bench.expect(1, "settings", "completed");
    let follower = follow(&bench);
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
    let mut events = Rows::of(&follower, seen);
    bench.expect(2, "lid_image", "completed");
    let rows = events.until("lid_image:completed <b>2</b>");
    assert!(are_after(&rows, seen), "{rows:?}");
    assert!(rows.iter().all(|news| news.row().1.starts_with("<details class=\"row ")), "{rows:?}");
    // The rest of the page, and no more of it than may have changed.
    let sections = |more: &str| get(&follower, &format!("/sections?token={}{more}", token(&follower))).1;
    let all = sections("&since=0");
    for words in
        ["id=\"a0\" data-action=\"settings\" data-outcome=\"completed\"", "id=\"a1\" data-action=\"lid_image\""]
    {
        assert!(all.contains(words), "{words}: {all}");
    }
    let had = rows.last().unwrap().row().0;
    assert!(all.contains(&format!("data-entries=\"{had}\"")), "{had}: {all}");
    bench.expect(3, "head_image", "completed");
    events.until("head_image:completed <b>3</b>");
    let rest = sections(&format!("&since={had}"));
    assert!(rest.contains("id=\"a2\" data-action=\"head_image\" data-outcome=\"completed\""), "{rest}");
    assert!(rest.contains("id=\"summary\"") && !rest.contains("id=\"a1\"") && !rest.contains("class=\"row "), "{rest}");
    let named = sections(&format!("&since={had}&again=0,7,x"));
    assert!(named.contains("id=\"a0\"") && !named.contains("id=\"a1\"") && named.contains("id=\"a2\""), "{named}");
    // Who comes later, or again, gets what they have missed.
    let missed = Rows::of(&follower, 0).until("lid_image:completed");
    assert!(are_after(&missed, 0) && missed.len() as u64 == had);
    let again = Rows::of(&follower, had - 1).until("lid_image:completed");
    assert_eq!(again, rows[rows.len() - 1..]);
    // The end is seen, and told.
    bench.stop().2.unwrap();
    events.until(">stopped<");
    drop(follower);
    let Some(News::Over(over)) = events.next() else { panic!("the end is not told") };
    let all = entries(folder.path());
    assert!(over.contains(&format!("Conversation ({all})")) && !over.contains("<article"), "{over}");
    assert_eq!(events.next(), None);
}

#[test]
fn the_controls_are_the_machines() {
    let folder = tempfile::tempdir().unwrap();
    let bench = Setup::new(Generation::V2).slow().recorded(folder.path()).start();
    let follower = follow(&bench);
    bench.ask(1, "print");
    bench.wait_event("print:download:completed", Some(1));
    assert_eq!(post(&follower, "/button", ""), 204);
    bench.wait_event("print:running", Some(1));
    bench.wait_event("print:completed", Some(1));
    assert_eq!(post(&follower, "/lid", "open"), 204);
    bench.wait_event("lid:opened", None);
    assert_eq!(post(&follower, "/lid", "close"), 204);
    bench.wait_event("lid:closed", None);
    assert_eq!((post(&follower, "/lid", "half"), post(&follower, "/lid", "")), (400, 400));
    assert_eq!(post(&follower, "/stop", ""), 204);
    // It is not stopped once more: what is waited for is its end.
    bench.stop().2.unwrap();
}

#[test]
fn nobody_who_does_not_read_holds_it_up() {
    const FLOOD: usize = 2000;
    let folder = tempfile::tempdir().unwrap();
    let bench = Setup::new(Generation::V2).recorded(folder.path()).start();
    let follower = follow(&bench);
    let lazy = Rows::of(&follower, 0);
    let recorder = bench.recorder.as_ref().unwrap();
    let much = "x".repeat(16 << 10);
    // More than the sockets' buffers and the queue take.
    for _ in 0..FLOOD {
        recorder.state("flood", Some(much.clone()));
    }
    bench.expect(1, "settings", "completed");
    // Once it was cut off, what it had not read is all there is.
    let mut rest = lazy.socket.get_ref();
    let read = io::copy(&mut rest, &mut io::sink());
    assert!(read.is_err() || read.is_ok_and(|bytes| bytes < (FLOOD * much.len()) as u64));
    // Somebody else is served, and gets everything.
    // While rows still come faster than it reads, it is cut off as well, and asks for the rest as a page does.
    let mut rows: Vec<News> = Vec::new();
    while !rows.last().is_some_and(|news| news.row().1.contains("settings:completed")) {
        let mut page = Rows::of(&follower, rows.last().map_or(0, |news| news.row().0));
        while !rows.last().is_some_and(|news| news.row().1.contains("settings:completed"))
            && let Ok(news) = page.read()
        {
            rows.extend(Some(news.expect("it is not over")).filter(|news| *news != News::Pictures));
        }
    }
    assert!(are_after(&rows, 0) && rows.len() > FLOOD);
    bench.stop().2.unwrap();
}

#[test]
fn a_page_that_is_long_holds_nobody_up() {
    let quiet = quiet();
    // In the place of what was recorded: the recorder goes on at its end.
    long(quiet.folder.path(), 10_000, 4);
    let address = quiet.follower.address();
    let mut events = Rows::of(&quiet.follower, u64::MAX - 1);
    let mut pages = ["/?", "/sections?"].map(|page| {
        let mut socket = connect(&quiet.follower);
        let request = format!("GET {page}token={} HTTP/1.1\r\nHost: {address}\r\n\r\n", token(&quiet.follower));
        socket.write_all(request.as_bytes()).unwrap();
        // It is being written now, and nobody reads on.
        socket.read_exact(&mut [0; 4096]).unwrap();
        socket
    });
    assert_eq!(post(&quiet.follower, "/lid", "open"), 204);
    quiet.recorder.state("meanwhile", None);
    end(quiet.follower);
    let heard = std::iter::from_fn(|| events.next()).find(|news| *news != News::Pictures);
    assert!(matches!(heard, Some(News::Over(_))), "{heard:?}");
    // It is cut before its end.
    for page in &mut pages {
        let mut rest = Vec::new();
        assert!(page.read_to_end(&mut rest).is_err() || !rest.ends_with(b"\r\n0\r\n\r\n"));
    }
}

/// In the place of what was recorded: a print with this job.
fn record_job(folder: &Path, job: &[u8]) {
    let lines = [
        json!({"n": 0, "t": 0.0, "at": "", "kind": "session", "format": 1, "recorder": "a test", "side": "machine"}),
        json!({"n": 1, "t": 0.0, "at": "", "kind": "in", "bytes": 1, "json": {"id": 1, "action_type": "print", "status": "ready"}}),
        json!({"n": 2, "t": 0.0, "at": "", "kind": "http", "method": "GET", "url": "https://h/1", "status": 200, "request": {"bytes": 0}, "response": {"bytes": 1, "file": "1.puls"}}),
    ];
    fs::write(folder.join("session.jsonl"), lines.map(|line| format!("{line}\n")).concat()).unwrap();
    fs::write(folder.join("1.puls"), job).unwrap();
}

#[test]
fn a_job_is_drawn_once_and_not_while_the_page_waits() {
    let quiet = quiet();
    record_job(quiet.folder.path(), &flower(5));
    let mut events = Rows::of(&quiet.follower, u64::MAX - 1);
    let page = |target: &str| get(&quiet.follower, &format!("{target}token={}", token(&quiet.follower))).1;
    let first = page("/?");
    assert!(first.contains("1.puls: it is being drawn") && !first.contains("<dt>travelled</dt>"), "{first}");
    assert_eq!(events.next(), Some(News::Pictures));
    // It was drawn from what there was; nothing else is asked of the file again.
    let job = quiet.folder.path().join("1.puls");
    fs::write(&job, puls::Builder::new().to_bytes()).unwrap();
    for page in [page("/sections?since=2&again=0&"), page("/?")] {
        assert!(page.contains("class=\"job\"") && page.contains("<dt>travelled</dt>"), "{page}");
        assert!(!page.contains("<dd>0 ticks</dd>") && !page.contains("being drawn"), "{page}");
    }
}

#[test]
fn its_end_does_not_wait_for_a_drawing() {
    let quiet = quiet();
    // As many ticks as are drawn at all, going hither and thither while the laser fires, packed into some kilobytes.
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(&puls::Builder::new().to_bytes()).unwrap();
    let ticks = [[0x11; 4096], [0x13; 4096]].concat();
    (0..8000).for_each(|_| packed.write_all(&ticks).unwrap());
    record_job(quiet.folder.path(), &packed.finish().unwrap());
    let page = get(&quiet.follower, &format!("/?token={}", token(&quiet.follower))).1;
    assert!(page.contains("1.puls: it is being drawn") && page.ends_with("\r\n0\r\n\r\n"), "{page}");
    end(quiet.follower);
}

#[test]
fn its_end_is_the_end_of_everything() {
    let quiet = quiet();
    let mut silent = connect(&quiet.follower);
    let mut half = connect(&quiet.follower);
    half.write_all(b"GET / HT").unwrap();
    let mut events = Rows::of(&quiet.follower, 0);
    let lazy = Rows::of(&quiet.follower, 0);
    for _ in 0..200 {
        quiet.recorder.state("much", Some("x".repeat(16 << 10)));
    }
    quiet.recorder.state("last", None);
    let address = quiet.follower.address();
    thread::scope(|scope| {
        let reader = scope.spawn(move || {
            events.until(">last<");
            (matches!(events.next(), Some(News::Over(_))), events.next())
        });
        end(quiet.follower);
        assert_eq!(reader.join().unwrap(), (true, None));
    });
    for socket in [&mut silent, &mut half] {
        assert!(matches!(socket.read(&mut [0; 1]), Ok(0) | Err(_)));
    }
    assert!(TcpStream::connect(address).is_err());
    drop(lazy);
    // Whoever records does not mind.
    quiet.recorder.state("after", None);
}

#[test]
fn what_is_recorded_stays_text() {
    let quiet = quiet();
    let mut events = Rows::of(&quiet.follower, 0);
    for evil in HOSTILE {
        quiet.recorder.state(evil, Some(format!("{evil}\r\n\r\nevent: over\r\ndata: \u{2028}{evil}")));
    }
    quiet.recorder.state("last", None);
    let rows = events.until(">last<");
    assert_eq!(rows.len(), HOSTILE.len() + 1);
    assert_eq!(entries(quiet.folder.path()), rows.len() as u64);
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
fn an_address_that_cannot_be_had_is_said() {
    let quiet = quiet();
    let taken = quiet.follower.address().to_string();
    let error = Follower::start(&taken, &quiet.recorder, quiet.handle.clone()).unwrap_err().to_string();
    assert!(error.starts_with(&format!("cannot listen on {taken}: ")), "{error}");
}

/// Every file and folder below `folder`, itself included, with its permissions.
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
fn a_recording_is_readable_by_its_owner_alone() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("recordings").join("one");
    let bench = Setup::new(Generation::V2).recorded(&folder).start();
    bench.expect(1, "lid_image", "completed");
    bench.expect(2, "print", "completed");
    bench.stop().2.unwrap();
    let found = modes(&folder);
    // The lines, a picture and a job.
    assert!(found.len() > 3, "{found:?}");
    for (path, mode) in found {
        assert_eq!(mode, if path.is_dir() { 0o700 } else { 0o600 }, "{}", path.display());
    }
    assert_eq!(modes(&parent.path().join("recordings"))[0].1, 0o700);
}
