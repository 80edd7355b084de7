//! The binary as a process: its output line by line, its end, with a limit on every wait.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};

/// Long enough for a slow computer that does other things as well.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// The binary in a folder, with nothing of this process's environment that counts.
pub(crate) fn command(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gf-machine-emulator"));
    command.current_dir(folder).stdin(Stdio::null());
    let proxies = ["HTTPS_PROXY", "ALL_PROXY", "HTTP_PROXY", "NO_PROXY"];
    for variable in ["RUST_LOG", "GF_MACHINE_SERIAL", "GF_MACHINE_PASSWORD"].iter().chain(&proxies) {
        command.env_remove(variable).env_remove(variable.to_lowercase());
    }
    command
}

/// A process that runs. Dropped, it is ended.
pub(crate) struct Program {
    pid: u32,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
    ended: Receiver<Ended>,
    is_over: bool,
}

/// How one ended.
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

    /// With a stdout that nobody reads.
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
        Self { pid, stdin, lines, ended, is_over: false }
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// Writes to its stdin; that it is gone already shows elsewhere.
    pub(crate) fn write(&mut self, text: impl AsRef<[u8]>) {
        let _ = self.stdin.as_mut().expect("it has one").write_all(text.as_ref());
    }

    pub(crate) fn close_stdin(&mut self) {
        self.stdin = None;
    }

    /// The next line of either output that has these words.
    #[track_caller]
    pub(crate) fn wait_line(&self, words: &str) -> String {
        let deadline = Instant::now() + LIMIT;
        let mut before = Vec::new();
        loop {
            match self.lines.recv_deadline(deadline) {
                Ok(line) if line.contains(words) => return line,
                Ok(line) => before.push(line),
                Err(e) => panic!("waited in vain for {words:?} ({e}) after {before:#?}"),
            }
        }
    }

    /// Tells it to end, as a service manager does.
    pub(crate) fn terminate(&self) {
        signal("TERM", self.pid);
    }

    /// Waits for its end.
    #[track_caller]
    pub(crate) fn end(mut self) -> Ended {
        match self.ended.recv_timeout(LIMIT) {
            Ok(ended) => {
                self.is_over = true;
                ended
            }
            Err(e) => panic!("it does not end ({e}); its last lines: {:#?}", self.lines.try_iter().collect::<Vec<_>>()),
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if !self.is_over {
            signal("KILL", self.pid);
        }
    }
}

fn signal(name: &str, pid: u32) {
    let pid = pid.to_string();
    let (program, arguments) =
        if cfg!(windows) { ("taskkill", ["/F", "/PID", &pid]) } else { ("kill", ["-s", name, &pid]) };
    // Where it does not help, the wait that follows says so.
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
