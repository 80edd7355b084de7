//! Floods of requests and messages: memory, threads, disk and output stay bounded, and other machines are still served.

use std::io::Write;
use std::net::TcpStream;
use std::thread;

use tungstenite::Message;

use super::{Response, Serve, read_response, size_of};
use crate::folder;

/// Maximum memory of the process. Idle, it uses less than 20 MB.
const MEMORY_LIMIT_MB: u64 = 150;
/// Requests the settings, and waits longer than any test takes.
const SCRIPT: &str = r#"[{"send": {"id": 1, "action_type": "settings", "status": "ready"}},
                         {"await": "never", "timeout_s": 3600}]"#;
/// The size of one request body.
const BODY_BYTES: usize = 32 << 20;

/// Sends a large body while another thread reads the response, which may come before the service has read everything.
fn upload(service: &Serve, start: &str) -> Response {
    let mut socket = service.connect();
    let mut reading = socket.try_clone().unwrap();
    let response = thread::spawn(move || read_response(&mut reading).unwrap());
    let head = format!("{start} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {BODY_BYTES}\r\n\r\n");
    socket.write_all(head.as_bytes()).unwrap();
    let block = vec![b'x'; 1 << 20];
    for _ in 0..BODY_BYTES / block.len() {
        // The service may close the connection.
        if socket.write_all(&block).is_err() {
            break;
        }
    }
    response.join().unwrap()
}

/// Asserts that the service still serves others and that its memory stayed bounded.
fn assert_healthy(service: &Serve) {
    assert_eq!(service.sign_in("S77").status, 200);
    let peak_mb = service.peak_mb();
    assert!(peak_mb < MEMORY_LIMIT_MB, "used {peak_mb} MB");
}

#[test]
fn does_not_keep_large_bodies() {
    let folder = folder();
    let service = Serve::under_flood(folder.path(), SCRIPT, &["--record", "recording"]);
    for _ in 0..12 {
        assert_eq!(upload(&service, "POST /nowhere").status, 404);
        assert_eq!(upload(&service, "PUT /api/machines/status").status, 401);
    }
    assert_healthy(&service);
    let recorded = size_of(&folder.path().join("recording"));
    assert!(recorded < 1 << 20, "{recorded} bytes of refused requests are recorded");
    drop(service);

    let service = Serve::under_flood(folder.path(), SCRIPT, &[]);
    for _ in 0..12 {
        assert_eq!(upload(&service, "PUT /up/picture").status, 200);
    }
    assert_healthy(&service);
}

#[test]
fn does_not_keep_long_headers() {
    let folder = folder();
    let service = Serve::under_flood(folder.path(), SCRIPT, &[]);
    let request = format!("GET /nowhere HTTP/1.1\r\nHost: localhost\r\nUser-Agent: {}\r\n\r\n", "x".repeat(30_000));
    let mut socket = service.connect();
    for _ in 0..10_000 {
        socket.write_all(request.as_bytes()).unwrap();
        assert_eq!(read_response(&mut socket).unwrap().status, 404);
    }
    assert_healthy(&service);
}

#[test]
fn prints_few_lines_of_a_frame_with_many() {
    let folder = folder();
    let service = Serve::under_flood(folder.path(), SCRIPT, &[]);
    for bytes in [4 << 20, 1 << 20] {
        let mut socket = service.open("S1");
        let sent = socket.send(Message::text("1\n".repeat(bytes / 2)));
        // The service may refuse the frame and close the connection before it has read everything.
        if sent.is_ok() && socket.send(Message::Ping("all".into())).is_ok() {
            while !matches!(socket.read(), Ok(Message::Pong(_)) | Err(_)) {}
        }
    }
    assert_healthy(&service);
    let ended = service.stop();
    assert!(ended.stdout.len() < 200_000, "printed {} bytes", ended.stdout.len());
}

#[test]
fn nested_json_takes_bounded_memory() {
    let folder = folder();
    let service = Serve::under_flood(folder.path(), SCRIPT, &[]);
    let mut sockets: Vec<_> = (0..20).map(|n| service.open(&format!("S{n}"))).collect();
    let text = format!("[{}0]", "[],".repeat(300_000));
    for socket in &mut sockets {
        socket.send(Message::text(text.as_str())).unwrap();
        socket.send(Message::Ping("all".into())).unwrap();
    }
    for socket in &mut sockets {
        while !matches!(socket.read(), Ok(Message::Pong(_)) | Err(_)) {}
    }
    assert_healthy(&service);
}

#[test]
fn sign_ins_without_a_websocket_leave_no_threads() {
    let folder = folder();
    let service = Serve::under_flood(folder.path(), SCRIPT, &[]);
    for n in 0..3000 {
        assert_eq!(service.sign_in(&format!("S{n}")).status, 200, "sign-in {n}");
    }
    let threads = service.status("Threads");
    assert!(threads < 400, "{threads} threads");
    assert_healthy(&service);
}

#[test]
fn evicts_connected_machines_for_new_ones() {
    let folder = folder();
    let service = Serve::under_flood(folder.path(), SCRIPT, &[]);
    let _sockets: Vec<_> = (0..300).map(|n| service.open(&format!("S{n}"))).collect();
    let threads = service.status("Threads");
    assert!(threads < 400, "{threads} threads");
    let mut newest = service.open("S999");
    let Message::Text(action) = newest.read().unwrap() else { panic!("not an action") };
    assert!(action.contains("\"settings\""), "{action}");
    assert_healthy(&service);
}

#[test]
fn evicts_idle_connections_for_new_ones() {
    let folder = folder();
    let service = Serve::under_flood(folder.path(), SCRIPT, &[]);
    let mut machine = service.open("S1");
    let _idle: Vec<TcpStream> = (0..600).map(|_| service.connect()).collect();
    assert_healthy(&service);
    let threads = service.status("Threads");
    assert!(threads < 400, "{threads} threads");
    // A machine that has signed in is not evicted.
    machine.read().unwrap();
    machine.send(Message::Ping("still here".into())).unwrap();
    while !matches!(machine.read().unwrap(), Message::Pong(_)) {}
}

#[test]
fn does_not_keep_chunk_extensions() {
    let folder = folder();
    let service = Serve::under_flood(folder.path(), SCRIPT, &[]);
    let mut socket = service.connect();
    // The lengths are such that no chunk or line ends at a multiple of 8 KiB, so that the read buffer is never empty.
    let start = "PUT /up/a HTTP/1.1\r\nTransfer-Encoding: chunked\r\nX: ";
    socket.write_all(format!("{start}{}\r\n\r\n", "x".repeat(500 - start.len() - 4)).as_bytes()).unwrap();
    let chunk = format!("1;{}\r\nx\r\n", "e".repeat(1024 - 7));
    let block = chunk.repeat(1000);
    for _ in 0..300 {
        // The service may close the connection.
        if socket.write_all(block.as_bytes()).is_err() {
            break;
        }
    }
    let _ = socket.write_all(b"0\r\n\r\n");
    drop(socket);
    assert_healthy(&service);
}
