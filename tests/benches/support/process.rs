//! A machine in its own process, without the service, and the operating system's figures for it.
//!
//! The figures come from `/proc`, so they are available only on Linux.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitCode, Stdio};
use std::thread;

use gf_emulator_core::Emulator;

const MACHINE: &str = "as-machine";

/// Reads a number from `/proc/<pid>/status`; `pid` may be `self` or `<pid>/task/<tid>`. Sizes are in KiB.
pub(crate) fn status(pid: &str, key: &str) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Returns the number of context switches of all threads of a process, voluntary and not.
pub(crate) fn switches(pid: u32) -> Option<u64> {
    let mut sum = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task")).ok()? {
        let task = format!("{pid}/task/{}", task.ok()?.file_name().to_str()?);
        sum += status(&task, "voluntary_ctxt_switches")? + status(&task, "nonvoluntary_ctxt_switches")?;
    }
    Some(sum)
}

/// Returns the processor time of a process in clock ticks (usually 10 ms each).
pub(crate) fn ticks(pid: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The fields after the name, which is in parentheses and can contain anything: utime is field 14, stime field 15.
    let mut fields = text.rsplit_once(')')?.1.split_whitespace().skip(11);
    Some(fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?)
}

/// A child process of this benchmark that runs one machine.
pub(crate) struct Machine {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Machine {
    /// Starts it with a configuration file. It runs until it is stopped.
    pub(crate) fn spawn(config: &Path) -> Self {
        let mut child = Command::new(std::env::current_exe().expect("this program has a path"))
            .args([MACHINE.as_ref(), config.as_os_str()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the machine starts");
        let stdin = child.stdin.take().expect("it is piped");
        let stdout = BufReader::new(child.stdout.take().expect("it is piped"));
        Self { child, stdin, stdout }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Stops it, and returns its peak resident memory in KiB.
    pub(crate) fn stop(mut self) -> Option<u64> {
        self.stdin.write_all(b"\n").expect("the machine reads its input");
        let mut line = String::new();
        self.stdout.read_line(&mut line).expect("the machine prints its memory");
        assert!(self.child.wait().expect("the machine exits").success(), "the machine failed");
        line.trim().parse().ok()
    }
}

/// Runs the machine if this process was started by [`Machine::spawn`]; otherwise returns `None`.
pub(crate) fn run_as_machine() -> Option<ExitCode> {
    let mut args = std::env::args_os().skip(1);
    let config = args.next().filter(|arg| arg == MACHINE).and_then(|_| args.next())?;
    let mut emulator = Emulator::from_file(config).expect("a valid configuration");
    let handle = emulator.handle();
    thread::spawn(move || {
        // Any input stops it, also EOF if the parent exits.
        let _ = std::io::stdin().read_line(&mut String::new());
        handle.stop();
    });
    emulator.connect().expect("the machine connects");
    emulator.run().expect("the machine stops without an error");
    println!("{}", status("self", "VmHWM").map(|kib| kib.to_string()).unwrap_or_default());
    Some(ExitCode::SUCCESS)
}
