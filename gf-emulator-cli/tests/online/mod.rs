//! A machine online: stopped by a signal in every phase of an action, and `collect`.

use std::net::TcpListener;

use gf_emulator_core::local_service::{Failure, Fault, LocalService, Seen};
use gf_emulator_core::puls::{Builder, code};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::program::{LIMIT, Program, command};
use crate::{configure, folder};

/// Returns a job that runs for days: one tick a second.
fn endless_job() -> Vec<u8> {
    let mut job = Builder::new();
    job.move_to(5.0, 0.0).unwrap().dwell(60.0).unwrap().set(code::STEP_FREQUENCY, 1).unwrap();
    job.to_bytes()
}

/// Starts a machine, and waits until it is connected.
fn machine(more: &str) -> (TempDir, LocalService, Program) {
    let service = LocalService::builder().tls(false).puls(endless_job()).start().unwrap();
    let folder = folder();
    configure(&folder, service.http_url(), &service.ws_url(), "", &format!("[EMULATOR]\n{more}"));
    let mut command = command(folder.path());
    command.arg("run");
    let program = Program::start(command);
    wait(&service, "a WebSocket", |seen| seen.iter().any(|seen| matches!(seen, Seen::WsOpened { .. })));
    (folder, service, program)
}

#[track_caller]
fn wait(service: &LocalService, for_what: &str, done: impl FnMut(&[Seen]) -> bool) {
    assert!(service.wait_for(done, LIMIT), "timed out waiting for {for_what}: {:#?}", service.seen());
}

fn send(service: &LocalService, id: i64, action: &str, more: &Value) {
    let mut action = json!({"id": id, "action_type": action, "status": "ready", "motion_url": service.puls_url()});
    for (key, value) in more.as_object().unwrap() {
        action[key] = value.clone();
    }
    service.send(action).unwrap();
}

fn has_event(name: &'static str) -> impl Fn(&[Seen]) -> bool {
    move |seen| seen.iter().any(|seen| seen.is_event(name, Some(7)))
}

fn is_held(seen: &[Seen]) -> bool {
    seen.iter().any(|seen| matches!(seen, Seen::Held { .. }))
}

#[cfg(unix)]
/// Sends SIGTERM, and checks the end. The exit code would be 1 if it took more than two seconds.
#[track_caller]
fn ends(phase: &str, service: &LocalService, machine: Program, ending: &'static str) {
    machine.terminate();
    let ended = machine.end();
    assert!(ended.is_success(), "{phase}: {ended:#?}");
    wait(service, ending, has_event(ending));
    let closed = |seen: &[Seen]| matches!(seen.last(), Some(Seen::WsClosed { code: Some(1000) }));
    wait(service, "a clean close", closed);
    let endings = service
        .seen()
        .iter()
        .filter(|seen| {
            ["completed", "cancelled", "failed"].iter().any(|e| {
                let action = ending.split(':').next().unwrap();
                seen.is_event(&format!("{action}:{e}"), Some(7))
            })
        })
        .count();
    assert_eq!(endings, 1, "{phase}: {:#?}", service.seen());
}

#[test]
#[cfg(unix)]
fn sigterm_cancels_a_print_in_every_phase() {
    let print = |phase: &str, more: &str, fault: Option<Failure>, reached: &dyn Fn(&[Seen]) -> bool| {
        let (_folder, service, program) = machine(more);
        if let Some(failure) = fault {
            service.fault(Fault::new(failure).on("GET", "/dl/"));
        }
        send(&service, 7, "print", &json!({}));
        wait(&service, phase, reached);
        ends(phase, &service, program, "print:cancelled");
    };
    print("before the answer", "", Some(Failure::Hold), &is_held);
    // The answer stalls after a part; only the request is visible here.
    print("downloading", "", Some(Failure::Stall), &|seen| {
        seen.iter().any(|seen| matches!(seen, Seen::Http(request) if request.path.starts_with("/dl/")))
    });
    print("waiting for the button", "button: wait", None, &has_event("print:download:completed"));
    print("warming up", "time_scale: 100", None, &has_event("print:warmup:starting"));
    let runs = "time_scale: 1\n[MOTION]\nwarm_up_delay: 0";
    print("running", runs, None, &|seen| {
        let is_progress =
            |seen: &Seen| matches!(seen, Seen::WsMessage { message, .. } if message["progress"] == "print:progress");
        seen.iter().any(is_progress)
    });
}

#[test]
#[cfg(unix)]
fn sigterm_cancels_a_paused_print() {
    // Without a terminal, the button is on the follow page.
    let service = LocalService::builder().tls(false).puls(endless_job()).start().unwrap();
    let folder = folder();
    let more = "[EMULATOR]\ntime_scale: 1\n[MOTION]\nwarm_up_delay: 0";
    configure(&folder, service.http_url(), &service.ws_url(), "", more);
    let mut command = command(folder.path());
    command.args(["run", "--follow", "0"]);
    let program = Program::start(command);
    let line = program.wait_line("follow it at ");
    let (host, token) = line.split_once("http://").unwrap().1.split_once("/?token=").unwrap();
    wait(&service, "a WebSocket", |seen| seen.iter().any(|seen| matches!(seen, Seen::WsOpened { .. })));
    send(&service, 7, "print", &json!({}));
    wait(&service, "print:running", has_event("print:running"));
    crate::post(host, token, "/button");
    wait(&service, "print:paused", has_event("print:paused"));
    ends("paused", &service, program, "print:cancelled");
}

#[test]
#[cfg(unix)]
fn sigterm_cancels_a_stalled_upload() {
    let (folder, service, program) = machine("");
    // More than the socket buffers hold.
    std::fs::write(folder.path().join("images/HOME_1.jpg"), vec![0xff; 24 << 20]).unwrap();
    let storage = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}/up/1", storage.local_addr().unwrap());
    send(&service, 7, "lid_image", &json!({"endpoint": endpoint}));
    let unread = storage.accept().unwrap();
    ends("uploading", &service, program, "lid_image:cancelled");
    drop(unread);
}

#[test]
fn collect_fails_if_fewer_jobs_arrived() {
    let service = LocalService::builder().tls(false).start().unwrap();
    let folder = folder();
    configure(&folder, service.http_url(), &service.ws_url(), "", "");
    let mut command = command(folder.path());
    command.args(["collect", "--jobs", "3", "--for", "5"]);
    let program = Program::start(command);
    wait(&service, "a WebSocket", |seen| seen.iter().any(|seen| matches!(seen, Seen::WsOpened { .. })));
    send(&service, 7, "motion", &json!({}));
    wait(&service, "motion:completed", has_event("motion:completed"));
    let ended = program.end();
    ended.expect(1);
    assert!(ended.stderr.contains(": only 1 of 3 jobs arrived"), "{ended:#?}");
    assert!(ended.stdout.contains("_motion_7"), "the others are listed: {ended:#?}");
}

#[test]
#[cfg_attr(not(unix), ignore = "needs Unix paths")]
fn a_machine_that_cannot_keep_jobs_does_not_go_online() {
    let service = LocalService::builder().tls(false).start().unwrap();
    for subcommand in ["run", "collect"] {
        let folder = folder();
        configure(&folder, service.http_url(), &service.ws_url(), "", "");
        std::fs::write(folder.path().join("motion"), "a file").unwrap();
        let mut command = command(folder.path());
        command.arg(subcommand);
        let ended = Program::start(command).end();
        ended.expect(2);
        assert!(ended.stderr.contains("motion_dir"), "{ended:#?}");
    }
    // Nothing was sent to the service.
    assert_eq!(service.seen().len(), 0, "{:#?}", service.seen());
}
