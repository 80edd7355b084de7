//! Who is answered at all, and how many at a time.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};

use gf_emulator_core::config::Generation;
use gf_emulator_core::follow::Follower;
use gf_emulator_tests::Setup;

use super::{Rows, connect, follow, get, post, quiet, say, token};

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
    let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n";
    let requests = [
        (403, get("", &here)),
        (403, get(&format!("token={wrong}"), &here)),
        (403, get(&format!("token={}", &token[..31]), &here)),
        (403, get(&format!("token={token}0"), &here)),
        (403, get("token=", &here)),
        (403, get(&format!("token=&token={token}"), &here)),
        (403, get(&ours, &format!("Host: evil.example:{port}"))),
        (403, get(&ours, "Host: 127.0.0.1:1")),
        (400, get(&ours, "X-Host: none")),
        (400, get(&ours, &format!("{here}\r\nHost: evil.example:{port}"))),
        (403, get(&ours, &format!("{here}\r\nOrigin: http://evil.example"))),
        (403, get(&ours, &format!("{here}\r\nOrigin: null"))),
        (403, get(&ours, &format!("{here}\r\nOrigin: https://{host}"))),
        (403, get(&ours, &format!("{here}\r\nOrigin: http://{host}\r\nOrigin: http://evil.example"))),
        (404, format!("GET /nothing HTTP/1.1\r\n{here}\r\n\r\n")),
        (404, format!("GET /nothing?token={wrong} HTTP/1.1\r\n{here}\r\n\r\n")),
        (404, format!("POST /nothing?{ours} HTTP/1.1\r\n{here}\r\nContent-Length: 0\r\n\r\n")),
        (405, format!("POST /?{ours} HTTP/1.1\r\n{here}\r\nContent-Length: 0\r\n\r\n")),
        (405, format!("POST /rows HTTP/1.1\r\n{here}\r\nX-Token: {wrong}\r\nContent-Length: 0\r\n\r\n")),
        (405, format!("GET /button HTTP/1.1\r\n{here}\r\n\r\n")),
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
        (403, format!("GET /rows?after=0 HTTP/1.1\r\n{here}\r\n{upgrade}\r\n")),
        (403, format!("GET /rows?{ours} HTTP/1.1\r\n{here}\r\nOrigin: http://evil.example\r\n{upgrade}\r\n")),
        (400, format!("GET /rows?{ours} HTTP/1.1\r\n{here}\r\n\r\n")),
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
        assert_eq!(answer.contains("\r\nAllow: "), expected == 405, "{request}\n{answer}");
    }
    assert!(!format!("{follower:?}").contains(token));
    // Nothing of it came to the machine, and it goes on.
    bench.expect(9, "settings", "completed");
    let after = bench.events();
    assert_eq!(after[before.len()..], ["settings:completed (9)"]);
    bench.stop().2.unwrap();
}

#[test]
fn nobody_without_the_token_keeps_its_owner_out() {
    let quiet = quiet();
    let mut page = Rows::of(&quiet.follower, 0);
    let mut idle: Vec<TcpStream> = Vec::new();
    // More than are served at a time, and between them the owner; some of them have said half of something.
    for n in 0..100 {
        let mut socket = connect(&quiet.follower);
        if n % 3 == 0 {
            socket.write_all(b"GET / HTTP/1.1\r\nHost: ").unwrap();
        }
        idle.push(socket);
        if n % 20 == 0 {
            assert_eq!(get(&quiet.follower, &format!("/?token={}", token(&quiet.follower))).0, 200);
            assert_eq!(post(&quiet.follower, "/lid", "close"), 204);
        }
    }
    // The oldest had to go; the page that is open did not.
    assert!(matches!(idle[0].read(&mut [0; 1]), Ok(0) | Err(_)));
    quiet.recorder.state("still here", None);
    page.until("still here");
}

#[test]
fn many_pages_leave_room_for_the_buttons() {
    let quiet = quiet();
    let served = |follower: &Follower| std::iter::repeat_with(|| Rows::ask(follower, 0)).take(64).collect::<Vec<_>>();
    let pages = served(&quiet.follower);
    let open = pages.iter().filter(|page| page.is_ok()).count();
    assert!((10..64).contains(&open), "{open}");
    assert!(pages.iter().filter_map(|page| page.as_ref().err()).all(|e| e.contains("503")));
    assert_eq!(post(&quiet.follower, "/button", ""), 204);
    // Who has gone is noticed, though nothing happens that could be sent.
    for page in pages.into_iter().flatten() {
        let mut socket = page.socket.get_ref();
        socket.shutdown(Shutdown::Write).unwrap();
        // Its connection ends once its place is free.
        io::copy(&mut socket, &mut io::sink()).unwrap();
    }
    let again = served(&quiet.follower);
    assert_eq!(again.iter().filter(|page| page.is_ok()).count(), open);
}

#[test]
fn the_token_is_not_needed_in_the_address_bar() {
    let quiet = quiet();
    let (status, page) = get(&quiet.follower, &format!("/?token={}", token(&quiet.follower)));
    assert!(status == 200 && page.contains("history.replaceState") && page.contains("sessionStorage.setItem"));
    assert!(!page.contains(token(&quiet.follower)), "the page has it from its address");
    // A page that is opened again has it elsewhere, and asks with it.
    let (status, page) = get(&quiet.follower, "/");
    assert!(status == 403 && page.contains("sessionStorage.getItem") && page.contains("use the link"), "{page}");
    assert!(
        page.contains("default-src 'none'; script-src 'sha256-") && page.contains("Referrer-Policy: no-referrer"),
        "{page}"
    );
    assert!(!page.contains(token(&quiet.follower)));
}
