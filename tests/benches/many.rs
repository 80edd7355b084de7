//! Many machines in one process, over TLS with one shared connector: time, memory, threads and files of each.
//!
//! The service runs in another process, so that the figures include only the machines.

mod support;

use std::io::{BufRead, BufReader, Lines};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitCode, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{never, unbounded};
use gf_emulator_core::fleet::ProcessFigures;
use gf_emulator_core::local_service::Seen;
use gf_emulator_core::{Config, Emulator, Tls};
use support::{LIMIT, Report, ms};

const MACHINES: u32 = 1000;
const SERVICE: &str = "as-service";

fn main() -> ExitCode {
    let args: Vec<_> = std::env::args().skip(1).collect();
    if let [first, ca] = &args[..]
        && first == SERVICE
    {
        return run_as_service(Path::new(ca));
    }
    if !support::is_bench_run() {
        return ExitCode::SUCCESS;
    }
    let folder = support::folder();
    let ca = folder.path().join("ca.pem");
    let mut service = Service::spawn(&ca);
    let config = |serial: u32| {
        let mut config = gf_emulator_tests::config(folder.path(), gf_emulator_core::config::Generation::V2);
        config.service.server_url.clone_from(&service.http_url);
        config.service.status_service_url = service.http_url.replacen("http", "ws", 1);
        config.machine.serial = serial;
        config
    };
    let report = Report::default();
    let tls = Tls::new(Some(&ca)).expect("a valid certificate");

    // An extra machine that does not count creates what is created once, such as the connector.
    let mut first = machine(config(MACHINES + 1), &tls);
    first.connect().expect("the machine connects");
    let before = ProcessFigures::now();

    let begun = Instant::now();
    let machines: Vec<_> = (1..=MACHINES)
        .map(|serial| {
            let mut machine = machine(config(serial), &tls);
            machine.connect().unwrap_or_else(|e| panic!("machine {serial}: {e} (enough file descriptors? ulimit -n)"));
            machine
        })
        .collect();
    let connected_in = begun.elapsed();
    let connected = ProcessFigures::now();

    let begun = Instant::now();
    let running: Vec<_> = machines
        .into_iter()
        .chain([first])
        .map(|mut machine| (machine.handle(), thread::spawn(move || machine.run())))
        .collect();
    service.wait_for("done");
    let cycles_in = begun.elapsed();
    // Machines rest some seconds after their last action. Then they have two threads each.
    let limit = Instant::now() + LIMIT;
    while ProcessFigures::now().threads.is_some_and(|threads| threads > 2 * u64::from(MACHINES + 1) + 1) {
        assert!(Instant::now() < limit, "machines that do nothing have more than two threads");
        let _ = never::<()>().recv_timeout(Duration::from_millis(100));
    }
    // The last one gives free memory back.
    let _ = never::<()>().recv_timeout(Duration::from_secs(1));
    let after = ProcessFigures::now();

    let begun = Instant::now();
    for (handle, _) in &running {
        handle.stop();
    }
    for (_, thread) in running {
        thread.join().expect("no machine panics").expect("every machine stops without an error");
    }
    let stopped_in = begun.elapsed();

    println!("{MACHINES} machines in one process, over TLS, one connector");
    report.info("all signed in and connected, sequentially", &format!("{:.0} ms", ms(connected_in)));
    report.info("a cycle on each, concurrently", &format!("{:.0} ms", ms(cycles_in)));
    report.info("all stopped", &format!("{:.0} ms", ms(stopped_in)));
    report.info("one machine: connected", &per_machine(&connected, &before));
    report.info("one machine: running, after its cycle", &per_machine(&after, &before));
    report.info("whole process, peak", &size(ProcessFigures::now().peak_kib));
    report.finish()
}

fn machine(config: Config, tls: &Tls) -> Emulator {
    Emulator::new(config).expect("a valid configuration").with_tls(tls.clone())
}

/// Returns the increase per machine between two states of this process.
fn per_machine(now: &ProcessFigures, before: &ProcessFigures) -> String {
    let each = |now: Option<u64>, before: Option<u64>| Some((now? as f64 - before? as f64) / f64::from(MACHINES));
    let (Some(kib), Some(threads), Some(files)) =
        (each(now.resident_kib, before.resident_kib), each(now.threads, before.threads), each(now.files, before.files))
    else {
        return "skipped, there is no /proc".into();
    };
    format!("{kib:.0} KiB, {threads:.1} threads, {files:.1} files")
}

fn size(kib: Option<u64>) -> String {
    kib.map_or_else(|| "skipped, there is no /proc".into(), |kib| format!("{:.1} MiB", kib as f64 / 1024.0))
}

/// The child process that runs the service.
struct Service {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    http_url: String,
}

impl Service {
    fn spawn(ca: &PathBuf) -> Self {
        let mut child = Command::new(std::env::current_exe().expect("this program has a path"))
            .arg(SERVICE)
            .arg(ca)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the service starts");
        let mut lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        let http_url = lines.next().expect("the service prints its URL").expect("valid UTF-8");
        Self { child, lines, http_url }
    }

    fn wait_for(&mut self, what: &str) {
        let line = self.lines.next().expect("the service prints a line").expect("valid UTF-8");
        assert_eq!(line, what);
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs the service: prints its URL, and `done` when every machine has completed its cycle.
fn run_as_service(ca: &Path) -> ExitCode {
    let (printed_tx, printed) = unbounded();
    let observer = move |seen: &Seen| {
        if seen.is_event("print:completed", None) {
            let _ = printed_tx.send(());
        }
    };
    let limit = NonZeroUsize::MIN.saturating_add(MACHINES as usize);
    let service =
        support::service(true, observer).machines(limit).script(support::cycle()).start().expect("the service starts");
    std::fs::write(ca, service.ca_pem().expect("a service with TLS")).expect("the certificate is written");
    println!("{}", service.http_url());
    for _ in 0..=MACHINES {
        printed.recv_timeout(LIMIT).expect("every machine prints");
    }
    println!("done");
    // Runs until the parent exits or writes a line.
    let _ = std::io::stdin().read_line(&mut String::new());
    ExitCode::SUCCESS
}
