//! Sign-in, retries, redirects, and which hosts receive the token.

use std::net::TcpListener;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::bounded;
use gf_emulator_core::config::Generation;
use gf_emulator_core::local_service::{Bearer, Cut, Failure, Fault, LocalService, Request, Seen};
use gf_emulator_core::{Config, Emulator, Error, Secret};
use gf_emulator_tests::{AT_ONCE, LIMIT, Setup, config, folder, point_at, service};
use serde_json::json;

use crate::raw_service::{RawService, Response, RunningMachine, http, normal_responses};

const SIGN_IN: &str = "/machines/sign_in";

fn service_without_tls() -> LocalService {
    service().tls(false).start().unwrap()
}

fn emulator_for(service: &LocalService, folder: &Path, adjust: impl FnOnce(&mut Config)) -> Emulator {
    let mut config = config(folder, Generation::V2);
    point_at(&mut config, service, folder);
    adjust(&mut config);
    Emulator::new(config).unwrap()
}

fn requests(service: &LocalService) -> Vec<Request> {
    let request = |seen| if let Seen::Http(request) = seen { Some(request) } else { None };
    service.seen().into_iter().filter_map(request).collect()
}

fn sign_ins(service: &LocalService) -> usize {
    requests(service).iter().filter(|request| request.path == SIGN_IN).count()
}

fn names(folder: &Path) -> Vec<String> {
    std::fs::read_dir(folder)
        .map(|entries| entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect())
        .unwrap_or_default()
}

#[test]
fn wrong_credentials_are_not_retried() {
    let (service, home) = (service_without_tls(), folder());
    let mut emulator =
        emulator_for(&service, home.path(), |config| config.machine.password = Secret::new("f".repeat(64)));
    let error = emulator.connect().unwrap_err();
    assert!(matches!(error, Error::SignInRefused { status: 401 }), "{error}");
    assert!(error.to_string().contains("check serial and password"), "{error}");
    assert_eq!(requests(&service).len(), 1);
    for status in [400, 401, 422] {
        let (service, folder) = (service_without_tls(), folder());
        service.fault(Fault::status(status).on("POST", SIGN_IN).times(9));
        let error = emulator_for(&service, folder.path(), |_| ()).connect().unwrap_err();
        assert!(matches!(error, Error::SignInRefused { status: refused } if refused == status), "{error}");
        assert_eq!(requests(&service).len(), 1);
    }
}

#[test]
fn a_403_can_come_from_a_proxy_and_is_retried() {
    let (service, folder) = (service_without_tls(), folder());
    service.fault(Fault::status(403).on("POST", SIGN_IN));
    emulator_for(&service, folder.path(), |_| ()).connect().unwrap();
    assert_eq!(sign_ins(&service), 2);
    service.fault(Fault::status(403).on("POST", SIGN_IN).times(9));
    let error = emulator_for(&service, folder.path(), |config| config.service.retry_for = Duration::ZERO)
        .connect()
        .unwrap_err();
    assert!(matches!(error, Error::SignInRefused { status: 403 }), "{error}");
}

#[test]
fn retries_until_the_service_is_up() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let folder = folder();
    let mut config = config(folder.path(), Generation::V2);
    config.service.server_url = format!("http://{addr}");
    config.service.status_service_url = format!("ws://{addr}");
    let running = RunningMachine::start((Emulator::new(config).unwrap(), folder));
    // The first attempt gets no response, and the next ones no connection until the service is started.
    drop(listener.accept().unwrap());
    drop(listener);
    let service = service().tls(false).listen(addr.to_string()).start().unwrap();
    assert!(service.wait_for(|seen| seen.iter().any(|seen| matches!(seen, Seen::WsOpened { .. })), LIMIT));
    service.send(json!({"id": 1, "action_type": "settings", "status": "ready"})).unwrap();
    assert!(service.wait_for(|seen| seen.iter().any(|seen| seen.is_event("settings:completed", Some(1))), LIMIT));
    running.stop().unwrap();
}

#[test]
fn retries_after_an_error_status() {
    for statuses in [vec![503, 429], vec![500], vec![502, 408], vec![404, 301]] {
        let (service, folder) = (service_without_tls(), folder());
        for status in &statuses {
            service.fault(Fault::status(*status).on("POST", SIGN_IN));
        }
        emulator_for(&service, folder.path(), |_| ()).connect().unwrap();
        assert_eq!(sign_ins(&service), statuses.len() + 1);
    }
}

#[test]
fn waits_as_long_as_retry_after_says() {
    let times = Arc::new(Mutex::new(Vec::new()));
    let recorded = Arc::clone(&times);
    let observer = move |seen: &Seen| {
        if matches!(seen, Seen::Http(request) if request.path == SIGN_IN) {
            recorded.lock().unwrap().push(Instant::now());
        }
    };
    let (service, folder) = (service().tls(false).observer(observer).start().unwrap(), folder());
    service.fault(Fault::status(503).header("Retry-After", "1").on("POST", SIGN_IN));
    emulator_for(&service, folder.path(), |_| ()).connect().unwrap();
    let times = times.lock().unwrap();
    assert_eq!(times.len(), 2);
    assert!(times[1] - times[0] >= Duration::from_secs(1), "{:?}", times[1] - times[0]);
}

#[test]
fn gives_up_at_once_if_retry_after_exceeds_the_time_limit() {
    for value in ["3600", "18446744073709551615", "Tue, 31 Dec 2999 23:59:59 GMT"] {
        let (service, folder) = (service_without_tls(), folder());
        service.fault(Fault::status(503).header("Retry-After", value).on("POST", SIGN_IN).times(9));
        let error = emulator_for(&service, folder.path(), |_| ()).connect().unwrap_err();
        assert!(matches!(error, Error::Status { status: 503, .. }), "{error}");
        assert_eq!(requests(&service).len(), 1);
    }
}

#[test]
fn gives_up_after_the_time_limit() {
    let addr = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let folder = folder();
    let mut config = config(folder.path(), Generation::V2);
    config.service.server_url = format!("http://{addr}");
    config.service.status_service_url = format!("ws://{addr}");
    config.service.retry_for = Duration::from_millis(600);
    let error = Emulator::new(config).unwrap().connect().unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "{error}");
}

#[test]
fn retries_a_refused_websocket_with_a_new_sign_in() {
    for statuses in [[401, 503], [403, 404]] {
        let (service, folder) = (service_without_tls(), folder());
        for status in statuses {
            service.fault(Fault::status(status).on("GET", "/<ws_token>"));
        }
        let mut emulator = emulator_for(&service, folder.path(), |_| ());
        emulator.connect().unwrap();
        assert_eq!(sign_ins(&service), 3);
    }
    let (service, folder) = (service_without_tls(), folder());
    service.fault(Fault::status(503).on("GET", "/<ws_token>").times(1000));
    let error =
        emulator_for(&service, folder.path(), |config| config.service.retry_for = Duration::from_millis(600)).connect();
    assert!(matches!(error, Err(Error::Status { status: 503, .. })), "{error:?}");
}

#[test]
fn retries_an_invalid_websocket_handshake() {
    for invalid in [
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: x\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        "<html>Log in to use this network</html>\r\n\r\n",
    ] {
        let (normal, upgraded_before) = (normal_responses(), AtomicBool::new(false));
        let raw = RawService::start(move |request| {
            let is_first = || !upgraded_before.swap(true, Ordering::AcqRel);
            if request.head.contains("websocket") && is_first() {
                Response::Bytes(invalid.into())
            } else {
                normal(request)
            }
        });
        let (mut emulator, _folder) = raw.machine(|_| ());
        emulator.connect().unwrap();
        let upgrades: Vec<_> = raw.requests().into_iter().filter(|what| what.starts_with("GET /ws-token")).collect();
        assert_eq!(upgrades, ["GET /ws-token-1", "GET /ws-token-2"]);
    }
}

// The test lowers the limit of open files, which works differently on other systems.
#[cfg(target_os = "linux")]
#[test]
fn can_connect_again_after_the_client_could_not_start() {
    use std::io::{BufRead, BufReader, Write};
    use std::process::Stdio;

    use crate::raw_service::in_own_process;

    // The limit applies to a whole process.
    if !in_own_process("session::can_connect_again_after_the_client_could_not_start") {
        return;
    }
    // Sets the limit of open files. Started first, because starting a process takes open files.
    let script = "while read -r limit; do prlimit --pid $PPID --nofile=$limit: && echo done; done";
    let mut shell = std::process::Command::new("sh");
    let mut shell = shell.args(["-c", script]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let pipes = Mutex::new((shell.stdin.take().unwrap(), BufReader::new(shell.stdout.take().unwrap())));
    let limit = Arc::new(move |files: u32| {
        let (stdin, stdout) = &mut *pipes.lock().unwrap();
        writeln!(stdin, "{files}").unwrap();
        let mut answer = String::new();
        stdout.read_line(&mut answer).unwrap();
        assert_eq!(answer, "done\n");
    });
    // The service runs in the same process: it lowers the limit when the first WebSocket is requested.
    let (normal, limiting, upgraded_before) = (normal_responses(), Arc::clone(&limit), AtomicBool::new(false));
    let raw = RawService::start(move |request| {
        if request.head.contains("websocket") && !upgraded_before.swap(true, Ordering::Relaxed) {
            limiting(3);
        }
        normal(request)
    });
    let (mut emulator, _folder) = raw.machine(|_| ());
    let error = emulator.connect().unwrap_err();
    assert!(matches!(error, Error::Thread { thread: "gf-websocket", .. }), "{error}");
    limit(256);
    emulator.connect().unwrap();
    let _first = raw.socket();
    let mut socket = raw.socket();
    emulator.handle().press_button();
    assert!(socket.read().unwrap().to_text().unwrap().contains("button:pressed"));
    shell.kill().unwrap();
    shell.wait().unwrap();
}

#[test]
fn a_stop_ends_the_delay_between_two_attempts() {
    let (service, folder) = (service_without_tls(), folder());
    service.fault(Fault::status(503).header("Retry-After", "1000").on("POST", SIGN_IN));
    let emulator = emulator_for(&service, folder.path(), |config| config.service.retry_for = Duration::from_secs(3600));
    let running = RunningMachine::start((emulator, folder));
    assert!(service.wait_for(|seen| seen.iter().any(|seen| matches!(seen, Seen::Http(_))), LIMIT));
    let ended = running.stop();
    assert!(matches!(ended, Err(Error::Interrupted)), "{ended:?}");
}

#[test]
fn a_stop_ends_the_wait_for_a_response() {
    for (method, path) in [("POST", SIGN_IN), ("GET", "/update/current"), ("GET", "/<ws_token>")] {
        let (service, folder) = (service_without_tls(), folder());
        service.fault(Fault::new(Failure::Hold).on(method, path));
        let running = RunningMachine::start((emulator_for(&service, folder.path(), |_| ()), folder));
        assert!(service.wait_for(|seen| seen.iter().any(|seen| matches!(seen, Seen::Held { .. })), LIMIT), "{path}");
        let before = Instant::now();
        let ended = running.stop();
        assert!(matches!(ended, Err(Error::Interrupted)), "{path}: {ended:?}");
        assert!(before.elapsed() < AT_ONCE);
    }
}

#[test]
fn a_stop_ends_a_stalled_tls_handshake() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let folder = folder();
    let mut config = config(folder.path(), Generation::V2);
    config.service.server_url = format!("https://{addr}");
    config.service.status_service_url = format!("wss://{addr}");
    let running = RunningMachine::start((Emulator::new(config).unwrap(), folder));
    let (accepted, connection) = bounded(1);
    thread::spawn(move || accepted.send(listener.accept()));
    let _held = connection.recv_timeout(LIMIT).unwrap().unwrap();
    let before = Instant::now();
    let ended = running.stop();
    assert!(matches!(ended, Err(Error::Interrupted)), "{ended:?}");
    assert!(before.elapsed() < AT_ONCE);
}

fn exchanges(service: &LocalService, path: &str) -> Vec<(u16, Bearer)> {
    requests(service).iter().filter(|r| r.path == path).map(|r| (r.status, r.bearer)).collect()
}

#[test]
fn an_expired_token_is_renewed_and_the_request_sent_again() {
    let harness = Setup::new(Generation::V2).start();
    harness.service.expire_tokens();
    harness.send(7, "lid_image", "ready", &json!({}));
    harness.wait_event("lid_image:completed", Some(7));
    let uploads = exchanges(&harness.service, "/api/machines/lid_image/7");
    assert_eq!(uploads, [(401, Bearer::Bad), (200, Bearer::Good)]);
    assert_eq!(sign_ins(&harness.service), 2);
    harness.stop().2.unwrap();
}

#[test]
fn an_unauthorized_request_is_sent_again_once_after_a_successful_sign_in() {
    let harness = Setup::new(Generation::V2).start();
    harness.service.fault(Fault::status(401).on("POST", "/api/machines/").times(100));
    harness.send(7, "lid_image", "ready", &json!({}));
    harness.wait_event("lid_image:failed", Some(7));
    assert_eq!(exchanges(&harness.service, "/api/machines/lid_image/7").len(), 2);
    assert_eq!(sign_ins(&harness.service), 2);
    harness.service.fault(Fault::status(401).on("POST", SIGN_IN).times(100));
    harness.send(8, "lid_image", "ready", &json!({}));
    harness.wait_event("lid_image:failed", Some(8));
    assert_eq!(exchanges(&harness.service, "/api/machines/lid_image/8").len(), 1);
    assert_eq!(sign_ins(&harness.service), 3);
    harness.stop().2.unwrap();
}

#[test]
fn the_token_is_sent_to_the_service_only() {
    let storage = service_without_tls();
    let harness = Setup::new(Generation::V2).start();
    // A presigned URL gets no token, not even on the service's own origin.
    harness.expect(1, "lid_image", "completed");
    assert_eq!(exchanges(&harness.service, "/up/1"), [(200, Bearer::Absent)]);
    harness.send(2, "motion", "ready", &json!({"motion_url": storage.puls_url()}));
    harness.wait_event("motion:completed", Some(2));
    let endpoint = format!("{}/up/3?X-Sig=1", storage.http_url());
    harness.send(3, "lid_image", "ready", &json!({"endpoint": endpoint}));
    harness.wait_event("lid_image:completed", Some(3));
    // After a redirect to another origin and back, the service gets no token either.
    harness.service.fault(Fault::status(302).header("Location", &storage.puls_url()).on("GET", "/dl/job.puls"));
    storage.fault(Fault::status(307).header("Location", &harness.service.puls_url()).on("GET", "/dl/job.puls"));
    harness.expect(4, "motion", "completed");
    assert_eq!(exchanges(&harness.service, "/dl/job.puls"), [(302, Bearer::Good), (200, Bearer::Absent)]);
    let at_storage: Vec<_> = requests(&storage).iter().map(|r| (r.status, r.bearer)).collect();
    assert_eq!(at_storage, [(200, Bearer::Absent), (200, Bearer::Absent), (307, Bearer::Absent)]);
    harness.stop().2.unwrap();
}

#[test]
fn redirects_are_limited_in_number_and_to_safe_urls() {
    let harness = Setup::new(Generation::V2).start();
    let path = "/dl/job.puls";
    harness.service.fault(Fault::status(302).header("Location", path).on("GET", path).times(6));
    harness.expect(1, "motion", "failed");
    assert_eq!(exchanges(&harness.service, path).len(), 6);
    for (id, location) in (2..).zip([
        "http://10.255.255.1/job.puls",
        "http://app.glowforge.example/job.puls",
        "file:///etc/passwd",
        "ftp://127.0.0.1/x",
        "http://user:pw@127.0.0.1/x",
        "job.puls",
        "",
    ]) {
        harness.service.fault(Fault::status(301).header("Location", location).on("GET", path));
        harness.expect(id, "motion", "failed");
        assert_eq!(exchanges(&harness.service, path).len(), 5 + usize::try_from(id).unwrap(), "{location}");
    }
    // An upload does not follow redirects.
    harness.service.fault(Fault::status(307).header("Location", "/up/elsewhere").on("PUT", "/up/"));
    harness.expect(20, "lid_image", "failed");
    assert_eq!(exchanges(&harness.service, "/up/elsewhere"), []);
    harness.expect(21, "motion", "completed");
    harness.stop().2.unwrap();
}

#[test]
fn does_not_follow_a_redirect_from_https_to_http() {
    let storage = service_without_tls();
    let harness = Setup::new(Generation::V2).service(|service| service.tls(true)).start();
    harness.service.fault(Fault::status(302).header("Location", &storage.puls_url()).on("GET", "/dl/job.puls"));
    harness.expect(1, "motion", "failed");
    assert_eq!(storage.seen(), []);
    harness.stop().2.unwrap();
}

#[test]
fn an_invalid_sign_in_response_is_an_error() {
    let long = "x".repeat(200 << 10);
    let responses = [
        String::new(),
        "signed in".into(),
        "[]".into(),
        "null".into(),
        "{}".into(),
        r#"{"ws_token":"a"}"#.into(),
        r#"{"ws_token":1,"auth_token":2}"#.into(),
        r#"{"ws_token":"","auth_token":"b"}"#.into(),
        r#"{"ws_token":"a/b","auth_token":"b"}"#.into(),
        r#"{"ws_token":"..","auth_token":"b"}"#.into(),
        r#"{"ws_token":"a?b","auth_token":"b"}"#.into(),
        r#"{"ws_token":"a HTTP/1.1\r\nX-Smuggled: 1\r\n","auth_token":"b"}"#.into(),
        r#"{"ws_token":"a","auth_token":"b\nX-Smuggled: 1"}"#.into(),
        r#"{"ws_token":"a","auth_token":"b c"}"#.into(),
        r#"{"ws_token":"a","auth_token":"\u0000"}"#.into(),
        format!(r#"{{"ws_token":"{long}","auth_token":"b"}}"#),
        format!(r#"{{"ws_token":"a","auth_token":"{long}"}}"#),
        "[".repeat(100_000),
        "\u{1f}\u{8b}\u{8}\u{0}".into(),
    ];
    for body in responses {
        let shown: String = body.chars().take(60).collect();
        let raw = RawService::start(move |_| http(200, &body));
        let (mut emulator, _folder) = raw.machine(|config| config.service.retry_for = Duration::ZERO);
        let error = emulator.connect().unwrap_err();
        assert!(matches!(error, Error::Answer { .. }), "{shown}: {error}");
        assert!(!error.to_string().contains("xxxx") && !error.to_string().contains("Smuggled"), "{error}");
        assert_eq!(raw.requests(), ["POST /machines/sign_in"], "{shown}");
    }
}

#[test]
fn an_endless_sign_in_response_is_an_error() {
    let heads = ["HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n"];
    for head in heads {
        let raw = RawService::start(move |_| Response::Endless(head.into()));
        let error = raw.machine(|config| config.service.retry_for = Duration::ZERO).0.connect().unwrap_err();
        assert!(matches!(error, Error::Answer { .. }), "{error}");
    }
    // Not HTTP, or an endless header: counts as a service that is down, which is worth retrying.
    for head in ["", "HTTP/1.1 200 OK\r\nX: "] {
        let raw = RawService::start(move |_| Response::Endless(head.into()));
        let error = raw.machine(|config| config.service.retry_for = Duration::ZERO).0.connect().unwrap_err();
        assert!(matches!(error, Error::Unreachable { .. }), "{error}");
    }
}

#[test]
fn a_firmware_version_cannot_change_the_folder() {
    let harness = Setup::new(Generation::V1).service(|service| service.firmware_version("../../x")).start();
    assert_eq!(names(&harness.folder().join("firmware")), Vec::<String>::new());
    assert_eq!(exchanges(&harness.service, "/dl/firmware"), []);
    harness.expect(1, "settings", "completed");
    harness.stop().2.unwrap();
}

#[test]
fn firmware_is_stored_completely_or_not_at_all() {
    let harness = Setup::new(Generation::V1).service(|service| service.firmware_version("1.9.9")).start();
    let path = harness.folder().join("firmware/glowforge-fw-v1.9.9.fw");
    assert_eq!(std::fs::read_to_string(path).unwrap(), "firmware 1.9.9\n");
    harness.expect(1, "settings", "completed");
    harness.stop().2.unwrap();

    for failure in [Failure::CutAnswer, Failure::ShortBody, Failure::Status { status: 404, headers: Vec::new() }] {
        let (service, folder) = (service().tls(false).firmware_version("1.9.9").start().unwrap(), folder());
        service.fault(Fault::new(failure).on("GET", "/dl/firmware"));
        let mut emulator = emulator_for(&service, folder.path(), |config| config.machine.firmware = "1.6.0-35".into());
        emulator.connect().unwrap();
        assert_eq!(names(&folder.path().join("firmware")), Vec::<String>::new());
    }
}

#[test]
fn connects_even_if_the_firmware_check_fails() {
    for generation in [Generation::V1, Generation::V2] {
        let raw = RawService::start({
            let normal = normal_responses();
            move |request| {
                if request.method_and_path == "GET /update/current" { http(500, "") } else { normal(request) }
            }
        });
        let machine = raw.machine(|config| config.service.protocol = Some(generation));
        let running = RunningMachine::start(machine);
        drop(raw.socket());
        let _ = running.stop();
    }
}

#[test]
fn a_reconnection_waits_as_long_as_retry_after_says() {
    let times = Arc::new(Mutex::new(Vec::new()));
    let recorded = Arc::clone(&times);
    let observer = move |seen: &Seen| {
        if matches!(seen, Seen::Http(request) if request.path == SIGN_IN) {
            recorded.lock().unwrap().push(Instant::now());
        }
    };
    let harness = Setup::new(Generation::V2).service(|service| service.observer(observer)).start();
    harness.expect(1, "settings", "completed");
    harness.service.fault(Fault::status(429).header("Retry-After", "1").on("POST", SIGN_IN));
    harness.service.drop_connection(Cut::Drain);
    harness.expect(2, "settings", "completed");
    let times = times.lock().unwrap().clone();
    assert_eq!(times.len(), 3, "the first, the one that was refused, the one after that");
    assert!(times[2] - times[1] >= Duration::from_secs(1), "{:?}", times[2] - times[1]);
    harness.stop().2.unwrap();
}

#[test]
fn a_service_on_https_cannot_send_the_machine_to_http() {
    let storage = service_without_tls();
    let harness = Setup::new(Generation::V2).service(|service| service.tls(true)).start();
    harness.send(1, "motion", "ready", &json!({"motion_url": storage.puls_url()}));
    harness.wait_event("motion:failed", Some(1));
    harness.send(2, "lid_image", "ready", &json!({"endpoint": format!("{}/up/2", storage.http_url())}));
    harness.wait_event("lid_image:failed", Some(2));
    assert_eq!(storage.seen(), []);
    harness.stop().2.unwrap();
}

#[test]
fn an_untrusted_certificate_is_not_retried_and_the_error_mentions_ca_file() {
    let (service, folder) = (service().start().unwrap(), folder());
    let error = emulator_for(&service, folder.path(), |config| config.service.ca_file = None).connect().unwrap_err();
    assert!(matches!(error, Error::Untrusted { .. }), "{error}");
    assert!(error.to_string().contains("ca_file"), "{error}");
    assert_eq!(requests(&service).len(), 0);
}
