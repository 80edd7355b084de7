//! Which requests are served, and how many connections.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};

use gf_emulator_core::config::Generation;
use gf_emulator_core::follow::Follower;
use gf_emulator_tests::Setup;

use super::{Subscription, connect, follow, get, idle_machine, post, send, token};

#[test]
fn rejects_requests_without_token_or_from_other_origins() {
    let folder = tempfile::tempdir().unwrap();
    let harness = Setup::new(Generation::V2).slow().recorded(folder.path()).start();
    let follower = follow(&harness);
    let (host, port, token) = (follower.address().to_string(), follower.address().port(), token(&follower));
    let before = harness.events();
    let valid = format!("X-Token: {token}\r\nOrigin: http://{host}\r\n");
    let wrong = "0123456789abcdef0123456789abcdef";
    let get = |query: &str, headers: &str| format!("GET /?{query} HTTP/1.1\r\n{headers}\r\n\r\n");
    let press = |headers: &str| format!("POST /button HTTP/1.1\r\n{headers}Content-Length: 0\r\n\r\n");
    let here = format!("Host: {host}");
    let query = format!("token={token}");
    let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n";
    let requests = [
        (403, get("", &here)),
        (403, get(&format!("token={wrong}"), &here)),
        (403, get(&format!("token={}", &token[..31]), &here)),
        (403, get(&format!("token={token}0"), &here)),
        (403, get("token=", &here)),
        (403, get(&format!("token=&token={token}"), &here)),
        (403, get(&query, &format!("Host: evil.example:{port}"))),
        (403, get(&query, "Host: 127.0.0.1:1")),
        (400, get(&query, "X-Host: none")),
        (400, get(&query, &format!("{here}\r\nHost: evil.example:{port}"))),
        (403, get(&query, &format!("{here}\r\nOrigin: http://evil.example"))),
        (403, get(&query, &format!("{here}\r\nOrigin: null"))),
        (403, get(&query, &format!("{here}\r\nOrigin: https://{host}"))),
        (403, get(&query, &format!("{here}\r\nOrigin: http://{host}\r\nOrigin: http://evil.example"))),
        (404, format!("GET /nothing HTTP/1.1\r\n{here}\r\n\r\n")),
        (404, format!("GET /nothing?token={wrong} HTTP/1.1\r\n{here}\r\n\r\n")),
        (404, format!("POST /nothing?{query} HTTP/1.1\r\n{here}\r\nContent-Length: 0\r\n\r\n")),
        (405, format!("POST /?{query} HTTP/1.1\r\n{here}\r\nContent-Length: 0\r\n\r\n")),
        (405, format!("POST /rows HTTP/1.1\r\n{here}\r\nX-Token: {wrong}\r\nContent-Length: 0\r\n\r\n")),
        (405, format!("GET /button HTTP/1.1\r\n{here}\r\n\r\n")),
        (404, format!("GET /nothing?{query} HTTP/1.1\r\n{here}\r\n\r\n")),
        (403, press(&format!("{here}\r\nOrigin: http://{host}\r\n"))),
        (403, press(&format!("{here}\r\nX-Token: {wrong}\r\n"))),
        (403, press(&format!("Host: evil.example:{port}\r\n{valid}"))),
        (403, press(&format!("{here}\r\nX-Token: {token}\r\nOrigin: http://evil.example\r\n"))),
        (403, press(&format!("{here}\r\nX-Token: {token}\r\nOrigin: http://{host}0\r\n"))),
        (403, press(&format!("{here}\r\nX-Token: {token}\r\nOrigin: null\r\n"))),
        // What a link or form on another site's page can send.
        (403, format!("POST /button?{query} HTTP/1.1\r\n{here}\r\nContent-Length: 0\r\n\r\n")),
        (405, format!("GET /button?{query} HTTP/1.1\r\n{here}\r\n\r\n")),
        (405, format!("GET /stop?{query} HTTP/1.1\r\n{here}\r\n\r\n")),
        (403, format!("OPTIONS /button HTTP/1.1\r\n{here}\r\nOrigin: http://evil.example\r\n\r\n")),
        (405, format!("POST / HTTP/1.1\r\n{here}\r\n{valid}Content-Length: 0\r\n\r\n")),
        (405, format!("DELETE /button HTTP/1.1\r\n{here}\r\n{valid}\r\n")),
        (403, format!("GET /rows?after=0 HTTP/1.1\r\n{here}\r\n{upgrade}\r\n")),
        (403, format!("GET /rows?{query} HTTP/1.1\r\n{here}\r\nOrigin: http://evil.example\r\n{upgrade}\r\n")),
        (400, format!("GET /rows?{query} HTTP/1.1\r\n{here}\r\n\r\n")),
        (413, format!("POST /button HTTP/1.1\r\n{here}\r\n{valid}Content-Length: 1000000\r\n\r\n")),
        (431, format!("GET /?{query} HTTP/1.1\r\n{here}\r\nX: {}\r\n\r\n", "x".repeat(40_000))),
        (400, "not HTTP\r\n\r\n".to_owned()),
        // Valid requests.
        (200, get(&query, &here)),
        (200, get(&query, &format!("Host: localhost:{port}"))),
        (200, get(&query, &format!("Host: localhost:{port}\r\nOrigin: http://localhost:{port}"))),
    ];
    for (expected, request) in requests {
        let (status, answer) = send(&follower, &request);
        assert_eq!(status, expected, "{request}\n{answer}");
        assert!(expected == 200 || !answer.contains(token), "reveals the token: {answer}");
        assert!(!answer.to_lowercase().contains("access-control"), "{answer}");
        assert_eq!(answer.contains("\r\nAllow: "), expected == 405, "{request}\n{answer}");
    }
    assert!(!format!("{follower:?}").contains(token));
    // None of them reached the machine.
    harness.expect(9, "settings", "completed");
    let after = harness.events();
    assert_eq!(after[before.len()..], ["settings:completed (9)"]);
    harness.stop().2.unwrap();
}

#[test]
fn idle_connections_do_not_lock_out_the_page() {
    let machine = idle_machine();
    let mut page = Subscription::open(&machine.follower, 0);
    let mut idle: Vec<TcpStream> = Vec::new();
    // More connections than the limit, some with half a request, and valid requests in between.
    for n in 0..100 {
        let mut socket = connect(&machine.follower);
        if n % 3 == 0 {
            socket.write_all(b"GET / HTTP/1.1\r\nHost: ").unwrap();
        }
        idle.push(socket);
        if n % 20 == 0 {
            assert_eq!(get(&machine.follower, &format!("/?token={}", token(&machine.follower))).0, 200);
            assert_eq!(post(&machine.follower, "/lid", "close"), 204);
        }
    }
    // The oldest was closed; the open page was not.
    assert!(matches!(idle[0].read(&mut [0; 1]), Ok(0) | Err(_)));
    machine.recorder.state("still here", None);
    page.until("still here");
}

#[test]
fn buttons_work_while_many_pages_are_open() {
    let machine = idle_machine();
    let open_pages = |follower: &Follower| {
        std::iter::repeat_with(|| Subscription::try_open(follower, 0)).take(64).collect::<Vec<_>>()
    };
    let pages = open_pages(&machine.follower);
    let open = pages.iter().filter(|page| page.is_ok()).count();
    assert!((10..64).contains(&open), "{open}");
    assert!(pages.iter().filter_map(|page| page.as_ref().err()).all(|e| e.contains("503")));
    assert_eq!(post(&machine.follower, "/button", ""), 204);
    // Closed pages free their slots, although there is nothing to send.
    for page in pages.into_iter().flatten() {
        let mut socket = page.socket.get_ref();
        socket.shutdown(Shutdown::Write).unwrap();
        // The server closes the connection once the slot is free.
        io::copy(&mut socket, &mut io::sink()).unwrap();
    }
    let again = open_pages(&machine.follower);
    assert_eq!(again.iter().filter(|page| page.is_ok()).count(), open);
}

#[test]
fn page_removes_the_token_from_the_address_bar() {
    let machine = idle_machine();
    let (status, page) = get(&machine.follower, &format!("/?token={}", token(&machine.follower)));
    assert!(status == 200 && page.contains("history.replaceState") && page.contains("sessionStorage.setItem"));
    assert!(!page.contains(token(&machine.follower)), "the script takes it from the address");
    // On a reload, the script finds it in the session storage.
    let (status, page) = get(&machine.follower, "/");
    assert!(status == 403 && page.contains("sessionStorage.getItem") && page.contains("use the link"), "{page}");
    assert!(
        page.contains("default-src 'none'; script-src 'sha256-") && page.contains("Referrer-Policy: no-referrer"),
        "{page}"
    );
    assert!(!page.contains(token(&machine.follower)));
}
