//! The binary as a child process: its output line by line and its exit code, with a timeout on every wait.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};

/// Long enough for a slow and busy computer.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

const BINARY: &str = env!("CARGO_BIN_EXE_gf-machine-emulator");

/// Returns a command that runs the binary in `folder`, without the environment variables that it reads.
pub(crate) fn command(folder: &Path) -> Command {
    prepare(Command::new(BINARY), folder)
}

/// Returns a command that runs the binary with "run" in a shell, after `first`, such as a limit.
#[cfg(unix)]
pub(crate) fn run_in_shell(folder: &Path, first: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", &format!("{first}; exec \"$0\" run"), BINARY]);
    prepare(command, folder)
}

fn prepare(mut command: Command, folder: &Path) -> Command {
    command.current_dir(folder).stdin(Stdio::null());
    let proxies = ["HTTPS_PROXY", "ALL_PROXY", "HTTP_PROXY", "NO_PROXY"];
    let colors = ["NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE"];
    let others = ["RUST_LOG", "GF_MACHINE_SERIAL", "GF_MACHINE_PASSWORD", "GF_MACHINE_CONFIG", "XDG_CONFIG_HOME"];
    for variable in others.iter().chain(&proxies).chain(&colors) {
        command.env_remove(variable).env_remove(variable.to_lowercase());
    }
    // Without the user's own configuration.
    let home = folder.join("no home");
    command.env("HOME", &home).env("APPDATA", &home);
    command
}

/// A running process. Dropping it kills it.
pub(crate) struct Program {
    pid: u32,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
    ended: Receiver<Ended>,
    has_ended: bool,
}

/// How a process ended.
#[derive(Debug)]
pub(crate) struct Ended {
    code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ended {
    #[track_caller]
    pub(crate) fn expect(&self, code: i32) {
        assert_eq!(self.code, Some(code), "{self:#?}");
    }
}

impl Ended {
    pub(crate) fn is_success(&self) -> bool {
        self.code == Some(0)
    }
}

impl Program {
    pub(crate) fn start(mut command: Command) -> Self {
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        Self::watch(child)
    }

    /// Starts it with a stdout whose reader has gone.
    pub(crate) fn start_unread(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        Self::watch(child)
    }

    fn watch(mut child: Child) -> Self {
        let (pid, stdin) = (child.id(), child.stdin.take());
        let (to_lines, lines) = unbounded();
        let (done, ended) = bounded(1);
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let of_stdout = to_lines.clone();
        thread::spawn(move || {
            let stdout = thread::spawn(move || stdout.map(|stdout| collect(stdout, &of_stdout)));
            let stderr = stderr.map(|stderr| collect(stderr, &to_lines)).unwrap_or_default();
            let stdout = stdout.join().unwrap().unwrap_or_default();
            let code = child.wait().unwrap().code();
            let _ = done.send(Ended { code, stdout, stderr });
        });
        Self { pid, stdin, lines, ended, has_ended: false }
    }

    /// Returns the process id.
    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// Writes to its stdin, and ignores that it may have exited.
    pub(crate) fn write(&mut self, text: impl AsRef<[u8]>) {
        let _ = self.stdin.as_mut().expect("stdin is piped and open").write_all(text.as_ref());
    }

    pub(crate) fn close_stdin(&mut self) {
        self.stdin = None;
    }

    /// Waits for a line on stdout or stderr that contains `words`.
    #[track_caller]
    pub(crate) fn wait_line(&self, words: &str) -> String {
        let deadline = Instant::now() + LIMIT;
        let mut before = Vec::new();
        loop {
            match self.lines.recv_deadline(deadline) {
                Ok(line) if line.contains(words) => return line,
                Ok(line) => before.push(line),
                Err(e) => panic!("timed out waiting for {words:?} ({e}) after {before:#?}"),
            }
        }
    }

    /// Returns whether one of the lines so far that were not waited for contains these words.
    #[cfg(unix)]
    pub(crate) fn says(&self, words: &str) -> bool {
        self.lines.try_iter().any(|line| line.contains(words))
    }

    /// Returns whether it has exited.
    #[cfg(unix)]
    pub(crate) fn has_ended(&self) -> bool {
        !self.ended.is_empty()
    }

    /// Sends SIGTERM.
    #[cfg(unix)]
    pub(crate) fn terminate(&self) {
        signal("TERM", self.pid);
    }

    /// Waits until it has exited.
    #[track_caller]
    pub(crate) fn end(mut self) -> Ended {
        match self.ended.recv_timeout(LIMIT) {
            Ok(ended) => {
                self.has_ended = true;
                ended
            }
            Err(e) => {
                panic!("it does not exit ({e}); its last lines: {:#?}", self.lines.try_iter().collect::<Vec<_>>())
            }
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if !self.has_ended {
            signal("KILL", self.pid);
        }
    }
}

fn signal(name: &str, pid: u32) {
    let pid = pid.to_string();
    let (program, arguments) =
        if cfg!(windows) { ("taskkill", ["/F", "/PID", &pid]) } else { ("kill", ["-s", name, &pid]) };
    // If it fails, the next wait does, too.
    let _ = Command::new(program).args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).status();
}

fn collect(output: impl Read, lines: &Sender<String>) -> String {
    let mut all = String::new();
    for line in BufReader::new(output).lines() {
        let line = line.unwrap();
        all.push_str(&line);
        all.push('\n');
        let _ = lines.send(line);
    }
    all
}
