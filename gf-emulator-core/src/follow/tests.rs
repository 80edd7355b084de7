//! Files that are written after the entries that name them.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::json;
use tungstenite::Message;

use super::Follower;
use crate::record::{Recorder, SESSION_FILE};
use crate::{Config, Emulator};

fn get(follower: &Follower, target: &str) -> String {
    let token = follower.url().split_once("token=").unwrap().1;
    let mut socket = TcpStream::connect(follower.address()).unwrap();
    write!(socket, "GET {target}token={token} HTTP/1.1\r\nHost: {}\r\n\r\n", follower.address()).unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn shows_a_picture_once_it_has_been_written() {
    let folder = tempfile::tempdir().unwrap();
    let recorder = Recorder::of_machine(folder.path(), &Config::default()).unwrap();
    let (emulator, _peer) = Emulator::offline(Config::default(), folder.path()).unwrap();
    let follower = Follower::start("127.0.0.1:0", &recorder, emulator.handle()).unwrap();
    let lines = [
        json!({"n": 0, "t": 0.0, "at": "", "kind": "session", "format": 1, "recorder": "a test", "side": "machine"}),
        json!({"n": 1, "t": 0.0, "at": "", "kind": "in", "bytes": 1, "json": {"id": 1, "action_type": "lid_image", "status": "ready"}}),
        json!({"n": 2, "t": 0.0, "at": "", "kind": "http", "method": "POST", "url": "https://h/1", "status": 200, "request": {"bytes": 9, "file": "1.jpg"}}),
    ];
    fs::write(folder.path().join(SESSION_FILE), lines.map(|line| format!("{line}\n")).concat()).unwrap();
    let in_progress = recorder.progress().begin_file("1.jpg");
    for target in ["/?", "/sections?since=0&"] {
        let page = get(&follower, target);
        assert!(page.contains("<p class=\"note pending\">1.jpg: being written</p>"), "{page}");
    }
    let rows =
        format!("ws://{}/rows?after=2&token={}", follower.address(), follower.url().split_once("token=").unwrap().1);
    let (mut rows, _) = tungstenite::client(rows, TcpStream::connect(follower.address()).unwrap()).unwrap();
    let attachments = Message::text(r#"{"attachments":true}"#);
    assert_eq!(rows.read().unwrap(), attachments, "for what came before the subscription");
    fs::write(folder.path().join("1.jpg"), b"\xff\xd8\xff picture").unwrap();
    drop(in_progress);
    assert_eq!(rows.read().unwrap(), attachments);
    let page = get(&follower, "/sections?since=2&also=0&");
    assert!(page.contains("data:image/jpeg;base64,") && !page.contains("pending"), "{page}");
    // A file that could not be written is not pending.
    drop(recorder.progress().begin_file("1.jpg"));
    fs::remove_file(folder.path().join("1.jpg")).unwrap();
    assert_eq!(rows.read().unwrap(), attachments);
    let page = get(&follower, "/sections?since=2&also=0&");
    assert!(page.contains("1.jpg: cannot read it") && !page.contains("pending"), "{page}");
}
