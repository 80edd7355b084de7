//! Passwords, tokens and presigned URLs do not appear in log lines (at any level), errors and `Debug` output.

use std::error::Error as _;
use std::fmt::Write as _;
use std::sync::Mutex;

use gf_emulator_core::config::Generation;
use gf_emulator_core::{Error, Secret, Tls};
use gf_emulator_tests::{LIMIT, PASSWORD};
use log::{Log, Metadata, Record};
use serde_json::json;
use tungstenite::Message;

use crate::raw_service::{RawService, Response, RunningMachine, http, in_own_process, normal_responses};

struct MemoryLogger(Mutex<String>);

static LOGGED: MemoryLogger = MemoryLogger(Mutex::new(String::new()));

impl Log for MemoryLogger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("gf_emulator_core")
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            writeln!(self.0.lock().unwrap(), "{} {} {}", record.level(), record.target(), record.args()).unwrap();
        }
    }

    fn flush(&self) {}
}

const SECRETS: [&str; 7] =
    [PASSWORD, "ws-token-", "auth-token-", "Bearer", "X-Sig", "a-presigned-secret", "a-user:a-password"];

fn check_no_secret(what: &str, text: &str) {
    let text = text.replace("%30", "0").replace("%66", "f");
    for secret in SECRETS {
        let line = text.lines().find(|line| line.contains(secret));
        assert!(line.is_none(), "{secret} in {what}: {line:?}");
    }
}

fn full_text(error: &Error) -> String {
    let mut text = format!("{error}\n{error:?}\n{error:#?}");
    let mut source = error.source();
    while let Some(inner) = source {
        write!(text, "\n{inner}\n{inner:?}").unwrap();
        source = inner.source();
    }
    text
}

#[test]
fn logs_no_secrets() {
    if !in_own_process("secrets::logs_no_secrets") {
        return;
    }
    log::set_logger(&LOGGED).unwrap();
    log::set_max_level(log::LevelFilter::Trace);
    for generation in [Generation::V1, Generation::V2] {
        let normal = normal_responses();
        // In what a service answers, redirects to or sends, it may repeat any secret.
        let raw = RawService::start(move |request| {
            let redirect = |to: &str| {
                Response::Bytes(format!("HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n").into())
            };
            let path = request.method_and_path.split(' ').next_back().unwrap_or_default();
            match path.split('?').next().unwrap_or_default() {
                "/update/current" if generation == Generation::V1 => redirect(&format!("/{PASSWORD}")),
                "/update/current" => http(200, &json!({"version": PASSWORD, "download_url": "X-Sig"}).to_string()),
                "/refused" => http(403, "X-Sig=a-presigned-secret"),
                "/expired" => http(401, ""),
                "/cut" => Response::Bytes(b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\nX-Sig".to_vec()),
                "/garbage" => Response::Bytes(b"X-Sig=a-presigned-secret\r\n\r\n".to_vec()),
                "/nothing" => Response::Bytes(Vec::new()),
                "/round" => redirect("/round?X-Sig=a-presigned-secret"),
                "/away" => redirect("http://a-user:a-password@storage.example/x?X-Sig=a-presigned-secret"),
                "/odd" => redirect("a-user:a-password@storage.example/x?X-Sig=a-presigned-secret"),
                _ => normal(request),
            }
        });
        let http_url = format!("http://{}", raw.addr);
        let running = RunningMachine::start(raw.machine(|config| {
            config.service.protocol = Some(generation);
            (config.firmware.check, config.firmware.download) = (true, Some(true));
        }));
        let mut socket = raw.socket();
        let mut id = 0;
        let urls = ["/refused", "/expired", "/cut", "/garbage", "/nothing", "/round", "/away", "/odd", "/ok"]
            .map(|path| format!("{http_url}{path}?X-Sig=a-presigned-secret"))
            .into_iter()
            .chain(
                [
                    "ftp://a-user:a-password@storage.example/x?X-Sig=a-presigned-secret",
                    "http://a-user:a-password@127.0.0.1/x?X-Sig=a-presigned-secret",
                    "http://storage.example/x?X-Sig=a-presigned-secret",
                    "a-user:a-password@storage.example/x?X-Sig=a-presigned-secret",
                    "http://127.0.0.1:1/x?X-Sig=a-presigned-secret",
                    "https://127.0.0.1:1/x?X-Sig=a-presigned-secret#X-Sig",
                    "?X-Sig=a-presigned-secret",
                    "http://127.0.0.1:99999/x y?X-Sig=a-presigned-secret",
                ]
                .map(str::to_owned),
            )
            .chain([
                // A service that repeats a secret in a path or host name.
                format!("{http_url}/{PASSWORD}/ws-token-1"),
                format!("{http_url}/refused/{}", PASSWORD.replace('0', "%30").replace('f', "%66")),
                format!("{http_url}/a-presigned-secret?X-Sig=a-presigned-secret"),
                format!("http://127.0.0.1:1/auth-token-1/{PASSWORD}"),
                format!("ftp://storage.example/{PASSWORD}"),
                format!("{PASSWORD}.example"),
            ]);
        for url in urls {
            for kind in ["lid_image", "motion", "print"] {
                id += 1;
                let action =
                    json!({"id": id, "action_type": kind, "status": "ready", "motion_url": url, "endpoint": url});
                socket.send(Message::text(action.to_string())).unwrap();
                let endings = ["completed", "failed", "cancelled"].map(|ending| format!("\"{kind}:{ending}\""));
                loop {
                    let Message::Text(text) = socket.read().unwrap() else { continue };
                    if text.contains(&format!("\"action_id\":{id},")) && endings.iter().any(|e| text.contains(e)) {
                        break;
                    }
                }
            }
        }
        for kind in [PASSWORD, "auth-token-1", "?X-Sig=1"] {
            let action = json!({"id": 9999, "action_type": kind, "status": "ready"});
            socket.send(Message::text(action.to_string())).unwrap();
        }
        for line in ["X-Sig=a-presigned-secret", r#"{"id":"X-Sig"}"#, r#"{"id":1,"endpoint":"X-Sig"}"#] {
            socket.send(Message::text(line)).unwrap();
        }
        drop(socket);
        drop(raw.sockets.recv_timeout(LIMIT).unwrap());
        // Stop without a connection: dropped messages are logged.
        for _ in 0..10 {
            running.handle.press_button();
        }
        let _ = running.stop();
    }
    let logged = LOGGED.0.lock().unwrap();
    assert!(logged.contains("lid_image") && logged.contains("DEBUG"), "the log is not empty: {logged}");
    check_no_secret("the log", &logged);
}

#[test]
fn errors_contain_no_secrets() {
    let bodies = [
        r#"{"ws_token":"ws-token-1","auth_token":7}"#,
        r#"{"ws_token":"ws-token-1","auth_token":"auth-token-1 "}"#,
        r#"{"ws_token":"ws-token-1/x","auth_token":"auth-token-1"}"#,
        r#"["ws-token-1"]"#,
        r#""auth-token-1"#,
    ];
    for body in bodies {
        let raw = RawService::start(move |_| http(200, body));
        check_no_secret(
            body,
            &full_text(
                &raw.machine(|config| config.service.retry_for = std::time::Duration::ZERO).0.connect().unwrap_err(),
            ),
        );
    }
    for status in [302, 401, 404, 503] {
        let raw = RawService::start(move |_| http(status, "auth-token-1"));
        let (mut emulator, _folder) = raw.machine(|config| config.service.retry_for = std::time::Duration::ZERO);
        check_no_secret("a status", &full_text(&emulator.connect().unwrap_err()));
    }
    // The WebSocket's URL contains a token.
    for response in ["HTTP/1.1 404 X\r\n\r\n", "nonsense\r\n\r\n", "", "HTTP/1.1 101 X\r\n\r\n"] {
        let normal = normal_responses();
        let raw = RawService::start(move |request| match normal(request) {
            Response::Open(_) => Response::Bytes(response.into()),
            other => other,
        });
        let (mut emulator, _folder) = raw.machine(|config| config.service.retry_for = std::time::Duration::ZERO);
        check_no_secret(response, &full_text(&emulator.connect().unwrap_err()));
    }
}

#[test]
fn debug_output_contains_no_secrets() {
    let raw = RawService::start(normal_responses());
    let (mut emulator, folder) = raw.machine(|_| ());
    emulator.connect().unwrap();
    let _socket = raw.socket();
    check_no_secret("a handle", &format!("{:#?}", emulator.handle()));
    let config = gf_emulator_tests::config(folder.path(), Generation::V2);
    check_no_secret("a configuration", &format!("{config:#?}"));
    check_no_secret("a secret", &format!("{:#?} {}", Secret::new(PASSWORD), Secret::new(PASSWORD)));
    check_no_secret("TLS", &format!("{:#?}", Tls::new(None).unwrap()));
}

#[test]
fn rejects_a_user_name_in_a_service_url_without_showing_it() {
    let folder = gf_emulator_tests::folder();
    for url in ["https://a-user:a-password@app.example", "a-user:a-password@app.example", "http://a-user:a-password@x"]
    {
        let mut config = gf_emulator_tests::config(folder.path(), Generation::V2);
        config.service.server_url = url.into();
        match gf_emulator_core::Emulator::new(config) {
            Err(error) => check_no_secret(url, &full_text(&error)),
            Ok(mut emulator) => {
                check_no_secret(url, &full_text(&emulator.run().unwrap_err()));
                check_no_secret(url, &full_text(&emulator.connect().unwrap_err()));
            }
        }
    }
}
