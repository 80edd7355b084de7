//! A bench as a process of its own: a machine without a service beside it, and what the system says of it.
//!
//! The system's figures are read from `/proc`, so there are none but on Linux.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitCode, Stdio};
use std::thread;

use gf_emulator_core::Emulator;

const MACHINE: &str = "as-machine";

/// A number of `/proc/<pid>/status`; `pid` may be `self` or `<pid>/task/<tid>`. Sizes are in KiB.
pub(crate) fn status(pid: &str, key: &str) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
    line.split_whitespace().next()?.parse().ok()
}

/// How often the threads of a process went to sleep, and were put to sleep, so far.
pub(crate) fn switches(pid: u32) -> Option<u64> {
    let mut sum = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task")).ok()? {
        let task = format!("{pid}/task/{}", task.ok()?.file_name().to_str()?);
        sum += status(&task, "voluntary_ctxt_switches")? + status(&task, "nonvoluntary_ctxt_switches")?;
    }
    Some(sum)
}

/// Processor time of a process so far, in the system's ticks (commonly hundredths of a second).
pub(crate) fn ticks(pid: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The fields after the name, which is in brackets and may hold anything: utime is the 14th of all, stime the 15th.
    let mut fields = text.rsplit_once(')')?.1.split_whitespace().skip(11);
    Some(fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?)
}

/// A process of this bench that is a machine and nothing else.
pub(crate) struct Machine {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Machine {
    /// Starts it with a configuration file: it connects, and does what it is told until it is stopped.
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

    /// Stops it; the most memory that was resident, in KiB.
    pub(crate) fn stop(mut self) -> Option<u64> {
        self.stdin.write_all(b"\n").expect("it listens");
        let mut line = String::new();
        self.stdout.read_line(&mut line).expect("it answers");
        assert!(self.child.wait().expect("it ends").success(), "the machine failed");
        line.trim().parse().ok()
    }
}

/// Where this process was started as a machine: is one.
pub(crate) fn be_a_machine() -> Option<ExitCode> {
    let mut args = std::env::args_os().skip(1);
    let config = args.next().filter(|arg| arg == MACHINE).and_then(|_| args.next())?;
    let mut emulator = Emulator::from_file(config).expect("the configuration is good");
    let handle = emulator.handle();
    thread::spawn(move || {
        // Whatever comes, the end of the other process included.
        let _ = std::io::stdin().read_line(&mut String::new());
        handle.stop();
    });
    emulator.connect().expect("it connects");
    emulator.run().expect("it runs");
    println!("{}", status("self", "VmHWM").map(|kib| kib.to_string()).unwrap_or_default());
    Some(ExitCode::SUCCESS)
}
