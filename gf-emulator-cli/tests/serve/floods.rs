//! More than any machine sends: memory, threads, disk and output stay within bounds, and others are still served.

use std::io::Write;
use std::net::TcpStream;
use std::thread;

use tungstenite::Message;

use super::{Reply, Serve, reply, size_of};
use crate::folder;

/// What the process may use under any flood. It needs less than 20 MB by itself.
const MOST_MB: u64 = 150;
/// Asks for the settings, and waits for longer than any test takes.
const SCRIPT: &str = r#"[{"send": {"id": 1, "action_type": "settings", "status": "ready"}},
                         {"await": "never", "timeout_s": 3600}]"#;
/// One body of the floods.
const BODY_BYTES: usize = 32 << 20;

/// Sends a large body and reads the answer meanwhile: the service may answer before it has read all.
fn upload(service: &Serve, start: &str) -> Reply {
    let mut socket = service.connect();
    let mut reading = socket.try_clone().unwrap();
    let answer = thread::spawn(move || reply(&mut reading).unwrap());
    let head = format!("{start} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {BODY_BYTES}\r\n\r\n");
    socket.write_all(head.as_bytes()).unwrap();
    let block = vec![b'x'; 1 << 20];
    for _ in 0..BODY_BYTES / block.len() {
        // It may have had enough.
        if socket.write_all(&block).is_err() {
            break;
        }
    }
    answer.join().unwrap()
}

/// It is still there for others, and stayed within its bounds.
fn is_well(service: &Serve) {
    assert_eq!(service.sign_in("S77").status, 200);
    let peak_mb = service.peak_mb();
    assert!(peak_mb < MOST_MB, "it has used {peak_mb} MB");
}

#[test]
fn large_bodies_are_not_kept() {
    let folder = folder();
    let service = Serve::under_flood(folder.path(), SCRIPT, &["--record", "recording"]);
    for _ in 0..12 {
        assert_eq!(upload(&service, "POST /nowhere").status, 404);
        assert_eq!(upload(&service, "PUT /api/machines/status").status, 401);
    }
    is_well(&service);
    let recorded = size_of(&folder.path().join("recording"));
    assert!(recorded < 1 << 20, "{recorded} bytes are recorded of requests that were refused");
    drop(service);

    let service = Serve::under_flood(folder.path(), SCRIPT, &[]);
    for _ in 0..12 {
        assert_eq!(upload(&service, "PUT /up/picture").status, 200);
    }
    is_well(&service);
}

#[test]
fn requests_with_long_headers_are_not_kept() {
    let folder = folder();
    let service = Serve::under_flood(folder.path(), SCRIPT, &[]);
    let request = format!("GET /nowhere HTTP/1.1\r\nHost: localhost\r\nUser-Agent: {}\r\n\r\n", "x".repeat(30_000));
    let mut socket = service.connect();
    for _ in 0..10_000 {
        socket.write_all(request.as_bytes()).unwrap();
        assert_eq!(reply(&mut socket).unwrap().status, 404);
    }
    is_well(&service);
}

#[test]
fn a_frame_of_very_many_lines_is_a_few_lines_of_output() {
    let folder = folder();
    let service = Serve::under_flood(folder.path(), SCRIPT, &[]);
    for bytes in [4 << 20, 1 << 20] {
        let mut socket = service.open("S1");
        let sent = socket.send(Message::text("1\n".repeat(bytes / 2)));
        // It may refuse such a frame, and end the connection before it has read all.
        if sent.is_ok() && socket.send(Message::Ping("all".into())).is_ok() {
            while !matches!(socket.read(), Ok(Message::Pong(_)) | Err(_)) {}
        }
    }
    is_well(&service);
    let ended = service.stop();
    assert!(ended.stdout.len() < 200_000, "it has printed {} bytes", ended.stdout.len());
}

#[test]
fn nested_json_takes_no_memory_out_of_proportion() {
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
    is_well(&service);
}

#[test]
fn machines_that_have_signed_in_and_gone_leave_no_threads() {
    let folder = folder();
    let service = Serve::under_flood(folder.path(), SCRIPT, &[]);
    for n in 0..3000 {
        assert_eq!(service.sign_in(&format!("S{n}")).status, 200, "sign-in {n}");
    }
    let threads = service.status("Threads");
    assert!(threads < 400, "it has {threads} threads");
    is_well(&service);
}

#[test]
fn machines_that_stay_make_room_for_newcomers() {
    let folder = folder();
    let service = Serve::under_flood(folder.path(), SCRIPT, &[]);
    let _sockets: Vec<_> = (0..300).map(|n| service.open(&format!("S{n}"))).collect();
    let threads = service.status("Threads");
    assert!(threads < 400, "it has {threads} threads");
    let mut newcomer = service.open("S999");
    let Message::Text(action) = newcomer.read().unwrap() else { panic!("not an action") };
    assert!(action.contains("\"settings\""), "{action}");
    is_well(&service);
}

#[test]
fn idle_connections_make_room_for_newcomers() {
    let folder = folder();
    let service = Serve::under_flood(folder.path(), SCRIPT, &[]);
    let mut machine = service.open("S1");
    let _idle: Vec<TcpStream> = (0..600).map(|_| service.connect()).collect();
    is_well(&service);
    let threads = service.status("Threads");
    assert!(threads < 400, "it has {threads} threads");
    // Who has signed in is not the one who has to go.
    machine.read().unwrap();
    machine.send(Message::Ping("still here".into())).unwrap();
    while !matches!(machine.read().unwrap(), Message::Pong(_)) {}
}

#[test]
fn chunk_extensions_are_not_kept() {
    let folder = folder();
    let service = Serve::under_flood(folder.path(), SCRIPT, &[]);
    let mut socket = service.connect();
    // So long that no chunk or line ever ends where 8 KiB do, which is when nothing would be left in a buffer.
    let start = "PUT /up/a HTTP/1.1\r\nTransfer-Encoding: chunked\r\nX: ";
    socket.write_all(format!("{start}{}\r\n\r\n", "x".repeat(500 - start.len() - 4)).as_bytes()).unwrap();
    let chunk = format!("1;{}\r\nx\r\n", "e".repeat(1024 - 7));
    let block = chunk.repeat(1000);
    for _ in 0..300 {
        // It may have had enough.
        if socket.write_all(block.as_bytes()).is_err() {
            break;
        }
    }
    let _ = socket.write_all(b"0\r\n\r\n");
    drop(socket);
    is_well(&service);
}
