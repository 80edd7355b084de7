//! A session that is followed: everything comes as it happens, and only to who has the link.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::thread;
use std::time::Instant;

use gf_emulator_core::config::Generation;
use gf_emulator_core::follow::Follower;
use gf_emulator_core::record::{Recorder, Recording};
use gf_emulator_core::{Config, Emulator, Handle};
use gf_emulator_tests::recordings::{HOSTILE, long};
use gf_emulator_tests::{Bench, LIMIT, Setup};
use tempfile::TempDir;

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
struct Events {
    lines: BufReader<TcpStream>,
}

#[derive(Debug, PartialEq)]
struct Event {
    name: String,
    n: Option<u64>,
    data: String,
}

impl Events {
    fn of(follower: &Follower, after: u64, more: &str) -> Self {
        let mut socket = connect(follower);
        let (host, token) = (follower.address(), token(follower));
        let request = format!("GET /events?token={token}&after={after} HTTP/1.1\r\nHost: {host}\r\n{more}\r\n");
        socket.write_all(request.as_bytes()).unwrap();
        let mut lines = BufReader::new(socket);
        let mut line = String::new();
        lines.read_line(&mut line).unwrap();
        assert!(line.starts_with("HTTP/1.1 200"), "{line}");
        while line != "\r\n" {
            line.clear();
            lines.read_line(&mut line).unwrap();
        }
        Self { lines }
    }

    /// The next one; nothing at the end.
    fn next(&mut self) -> io::Result<Option<Event>> {
        let mut event = Event { name: "message".into(), n: None, data: String::new() };
        loop {
            let mut line = String::new();
            if self.lines.read_line(&mut line)? == 0 {
                return Ok(None);
            }
            match line.trim_end_matches('\n').split_once(':') {
                Some(("id", n)) => event.n = n.trim().parse().ok(),
                Some(("event", name)) => name.trim().clone_into(&mut event.name),
                Some(("data", data)) => event.data.extend([data.strip_prefix(' ').unwrap_or(data), "\n"]),
                Some(("retry", _)) => {}
                None if line == "\n" && event.data.is_empty() => {}
                None if line == "\n" => return Ok(Some(event)),
                other => panic!("{other:?}"),
            }
        }
    }

    /// Up to the one that has these words.
    fn until(&mut self, words: &str) -> Vec<Event> {
        let mut events = Vec::new();
        while !events.last().is_some_and(|event: &Event| event.data.contains(words)) {
            events.push(self.next().unwrap().expect(words));
        }
        events
    }
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
    let mut events = Events::of(&follower, seen, "");
    bench.expect(2, "lid_image", "completed");
    let rows = events.until("lid_image:completed <b>2</b>");
    assert!(rows.iter().zip(seen + 1..).all(|(row, n)| row.n == Some(n)), "{rows:?}");
    assert!(rows.iter().all(|row| row.data.starts_with("<details class=\"row ")), "{rows:?}");
    // The rest of the page, and no more of it than may have changed.
    let sections = |from| get(&follower, &format!("/sections?token={}&from={from}", token(&follower))).1;
    let all = sections(0);
    assert!(all.contains("id=\"a0\" data-action=\"settings\" data-outcome=\"completed\""), "{all}");
    let rest = sections(1);
    assert!(rest.contains("id=\"a1\" data-action=\"lid_image\" data-outcome=\"completed\""), "{rest}");
    assert!(rest.contains("id=\"summary\"") && !rest.contains("id=\"a0\"") && !rest.contains("class=\"row "), "{rest}");
    // Who comes later, or again, gets what they have missed.
    let had = rows.last().unwrap().n.unwrap();
    let missed = Events::of(&follower, 0, "").until("lid_image:completed");
    assert!(missed.iter().zip(1..=had).all(|(row, n)| row.n == Some(n)) && missed.len() as u64 == had);
    let again = Events::of(&follower, 0, &format!("Last-Event-ID: {}\r\n", had - 1)).until("lid_image:completed");
    assert_eq!(again, rows[rows.len() - 1..]);
    // The end is seen, and told.
    bench.stop().2.unwrap();
    events.until(">stopped<");
    drop(follower);
    let over = events.next().unwrap().unwrap();
    assert_eq!(over.name, "over");
    let all = entries(folder.path());
    assert!(over.data.contains(&format!("Conversation ({all})")) && !over.data.contains("<article"), "{}", over.data);
    assert_eq!(events.next().unwrap(), None);
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
fn nobody_else_is_answered() {
    let folder = tempfile::tempdir().unwrap();
    let bench = Setup::new(Generation::V2).slow().recorded(folder.path()).start();
    let follower = follow(&bench);
    let (host, port, token) = (follower.address().to_string(), follower.address().port(), token(&follower));
    let before = bench.events();
    let good = format!("X-Token: {token}\r\nOrigin: http://{host}\r\n");
    let wrong = "0123456789abcdef0123456789abcdef";
    let get = |query: &str, headers: &str| format!("GET /?{query} HTTP/1.1\r\n{headers}\r\n\r\n");
    let press = |headers: &str| format!("POST /button HTTP/1.1\r\n{headers}Content-Length: 0\r\n\r\n");
    let here = format!("Host: {host}");
    let ours = format!("token={token}");
    let requests = [
        (403, get("", &here)),
        (403, get(&format!("token={wrong}"), &here)),
        (403, get(&format!("token={}", &token[..31]), &here)),
        (403, get(&format!("token={token}0"), &here)),
        (403, get("token=", &here)),
        (403, get(&format!("token=&token={token}"), &here)),
        (403, get(&ours, &format!("Host: evil.example:{port}"))),
        (403, get(&ours, "Host: 127.0.0.1:1")),
        (403, get(&ours, "X-Host: none")),
        (403, get(&ours, &format!("{here}\r\nHost: evil.example:{port}"))),
        (403, get(&ours, &format!("{here}\r\nOrigin: http://evil.example"))),
        (403, get(&ours, &format!("{here}\r\nOrigin: null"))),
        (403, get(&ours, &format!("{here}\r\nOrigin: https://{host}"))),
        (403, get(&ours, &format!("{here}\r\nOrigin: http://{host}\r\nOrigin: http://evil.example"))),
        (403, format!("GET /nothing HTTP/1.1\r\n{here}\r\n\r\n")),
        (404, format!("GET /nothing?{ours} HTTP/1.1\r\n{here}\r\n\r\n")),
        (403, press(&format!("{here}\r\nOrigin: http://{host}\r\n"))),
        (403, press(&format!("{here}\r\nX-Token: {wrong}\r\n"))),
        (403, press(&format!("Host: evil.example:{port}\r\n{good}"))),
        (403, press(&format!("{here}\r\nX-Token: {token}\r\nOrigin: http://evil.example\r\n"))),
        (403, press(&format!("{here}\r\nX-Token: {token}\r\nOrigin: http://{host}0\r\n"))),
        (403, press(&format!("{here}\r\nX-Token: {token}\r\nOrigin: null\r\n"))),
        // What a link or a form of another page can do.
        (403, format!("POST /button?{ours} HTTP/1.1\r\n{here}\r\nContent-Length: 0\r\n\r\n")),
        (405, format!("GET /button?{ours} HTTP/1.1\r\n{here}\r\n\r\n")),
        (405, format!("GET /stop?{ours} HTTP/1.1\r\n{here}\r\n\r\n")),
        (403, format!("OPTIONS /button HTTP/1.1\r\n{here}\r\nOrigin: http://evil.example\r\n\r\n")),
        (405, format!("POST / HTTP/1.1\r\n{here}\r\n{good}Content-Length: 0\r\n\r\n")),
        (405, format!("DELETE /button HTTP/1.1\r\n{here}\r\n{good}\r\n")),
        (413, format!("POST /button HTTP/1.1\r\n{here}\r\n{good}Content-Length: 1000000\r\n\r\n")),
        (431, format!("GET /?{ours} HTTP/1.1\r\n{here}\r\nX: {}\r\n\r\n", "x".repeat(40_000))),
        (400, "no HTTP\r\n\r\n".to_owned()),
        // The same, as it has to be.
        (200, get(&ours, &here)),
        (200, get(&ours, &format!("Host: localhost:{port}"))),
        (200, get(&ours, &format!("Host: localhost:{port}\r\nOrigin: http://localhost:{port}"))),
    ];
    for (expected, request) in requests {
        let (status, answer) = say(&follower, &request);
        assert_eq!(status, expected, "{request}\n{answer}");
        assert!(expected == 200 || !answer.contains(token), "the token is told: {answer}");
        assert!(!answer.to_lowercase().contains("access-control"), "{answer}");
    }
    assert!(!format!("{follower:?}").contains(token));
    // Nothing of it came to the machine, and it goes on.
    bench.expect(9, "settings", "completed");
    let after = bench.events();
    assert_eq!(after[before.len()..], ["settings:completed (9)"]);
    bench.stop().2.unwrap();
}

#[test]
fn nobody_who_does_not_read_holds_it_up() {
    let folder = tempfile::tempdir().unwrap();
    let bench = Setup::new(Generation::V2).recorded(folder.path()).start();
    let follower = follow(&bench);
    let lazy = Events::of(&follower, 0, "");
    let recorder = bench.recorder.as_ref().unwrap();
    let much = "x".repeat(16 << 10);
    // More than the sockets' buffers and the queue take.
    for _ in 0..3000 {
        recorder.state("flood", Some(much.clone()));
    }
    bench.expect(1, "settings", "completed");
    // Once it was cut off, what it had not read is all there is.
    let mut rest = lazy.lines;
    let read = io::copy(&mut rest, &mut io::sink());
    assert!(read.is_err() || read.is_ok_and(|bytes| bytes < 3000 * much.len() as u64));
    // Somebody else is served, and gets everything.
    let rows = Events::of(&follower, 0, "").until("settings:completed");
    assert!(rows.iter().zip(1..).all(|(row, n)| row.n == Some(n)) && rows.len() > 3000);
    bench.stop().2.unwrap();
}

#[test]
fn a_page_that_is_long_holds_nobody_up() {
    let quiet = quiet();
    // In the place of what was recorded: the recorder goes on at its end.
    long(quiet.folder.path(), 10_000, 4);
    let address = quiet.follower.address();
    let mut events = Events::of(&quiet.follower, u64::MAX - 1, "");
    let mut pages = ["/?", "/sections?"].map(|page| {
        let mut socket = connect(&quiet.follower);
        let request = format!("GET {page}token={} HTTP/1.1\r\nHost: {address}\r\n\r\n", token(&quiet.follower));
        socket.write_all(request.as_bytes()).unwrap();
        // It is being written now, and nobody reads on.
        socket.read_exact(&mut [0; 4096]).unwrap();
        socket
    });
    let since = Instant::now();
    assert_eq!(post(&quiet.follower, "/lid", "open"), 204);
    quiet.recorder.state("meanwhile", None);
    drop(quiet.follower);
    assert!(since.elapsed().as_secs() < 5, "{:?}", since.elapsed());
    assert_eq!(events.next().unwrap().unwrap().name, "over");
    // It is cut before its end.
    for page in &mut pages {
        let mut rest = Vec::new();
        assert!(page.read_to_end(&mut rest).is_err() || !rest.ends_with(b"\r\n0\r\n\r\n"));
    }
}

#[test]
fn connections_are_bounded() {
    let quiet = quiet();
    // Who has gone is noticed, though nothing happens that could be sent.
    let gone: Vec<_> = (0..32).map(|_| Events::of(&quiet.follower, 0, "")).collect();
    drop(gone);
    until_served(&quiet.follower);
    let silent: Vec<_> = (0..32).map(|_| connect(&quiet.follower)).collect();
    // One more is let go of at once.
    let more = connect(&quiet.follower).read(&mut [0; 1]);
    assert!(matches!(more, Ok(0) | Err(_)), "{more:?}");
    drop(silent);
    until_served(&quiet.follower);
}

/// Asks until there is an answer: a connection that was closed is noticed soon, and not at once.
fn until_served(follower: &Follower) {
    let since = Instant::now();
    let request = format!("GET / HTTP/1.1\r\nHost: {}\r\n\r\n", follower.address());
    let is_served = || {
        let mut socket = connect(follower);
        let mut answer = Vec::new();
        let read = socket.write_all(request.as_bytes()).and_then(|()| socket.read_to_end(&mut answer));
        read.is_ok() && !answer.is_empty()
    };
    while !is_served() {
        assert!(since.elapsed() < LIMIT, "nobody is served any more");
        thread::yield_now();
    }
}

#[test]
fn its_end_is_the_end_of_everything() {
    let quiet = quiet();
    let mut silent = connect(&quiet.follower);
    let mut half = connect(&quiet.follower);
    half.write_all(b"GET / HT").unwrap();
    let mut events = Events::of(&quiet.follower, 0, "");
    let lazy = Events::of(&quiet.follower, 0, "");
    for _ in 0..200 {
        quiet.recorder.state("much", Some("x".repeat(16 << 10)));
    }
    quiet.recorder.state("last", None);
    let address = quiet.follower.address();
    let since = Instant::now();
    thread::scope(|scope| {
        let reader = scope.spawn(move || {
            events.until(">last<");
            (events.next().unwrap().unwrap().name, events.next().unwrap())
        });
        drop(quiet.follower);
        assert!(since.elapsed().as_secs() < 5, "{:?}", since.elapsed());
        assert_eq!(reader.join().unwrap(), ("over".to_owned(), None));
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
    let mut events = Events::of(&quiet.follower, 0, "");
    for evil in HOSTILE {
        quiet.recorder.state(evil, Some(format!("{evil}\r\n\r\nevent: over\r\ndata: \u{2028}{evil}")));
    }
    quiet.recorder.state("last", None);
    let rows = events.until(">last<");
    assert_eq!(rows.len(), HOSTILE.len() + 1);
    assert_eq!(entries(quiet.folder.path()), rows.len() as u64);
    let known = ["details", "summary", "time", "span", "i", "pre", "b", "small"];
    for row in &rows {
        assert_eq!(row.name, "message");
        for tag in row.data.split('<').skip(1) {
            let name = tag.trim_start_matches('/').split([' ', '>']).next().unwrap();
            assert!(known.contains(&name), "{name} in {}", row.data);
        }
        assert!(!row.data.contains(['\r', '\u{2028}']));
    }
}

#[test]
fn an_address_that_cannot_be_had_is_said() {
    let quiet = quiet();
    let taken = quiet.follower.address().to_string();
    let error = Follower::start(&taken, &quiet.recorder, quiet.handle.clone()).unwrap_err().to_string();
    assert!(error.starts_with(&format!("cannot listen on {taken}: ")), "{error}");
}
