//! `init`: writes a configuration file.

use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};

use gf_emulator_core::config::SAMPLE;
use gf_emulator_core::storage::{AtomicFile, read_line};
use gf_emulator_core::{Config, Error};

use crate::configuration::DEFAULT;
use crate::error::CliError;
use crate::output::{eprint, remark, write_stdout};

/// The longest answer that is read.
const ANSWER_LIMIT_BYTES: u64 = 1000;

/// Write a configuration file, and ask for what it needs
///
/// The file has every key, with its meaning and default. On a terminal, serial number, hostname and password are asked
/// for; Enter leaves one empty, and the password is not shown. Otherwise all three are left empty. On Unix, only you can
/// read the file. An existing file is not replaced.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  gf-machine-emulator init
      Writes gf-machine-emulator.cfg.
  gf-machine-emulator init ~/.config/gf-machine-emulator/gf-machine-emulator.cfg
      Is found in every directory. The folder must exist.
  gf-machine-emulator init - | less
      Shows every key.

Exit codes: 0 done; 1 writing failed, or Ctrl-C came before the end; 2 wrong
usage, or FILE exists or cannot be created.")]
pub(crate) struct Arguments {
    /// The file to write; `-` is standard output
    #[arg(value_name = "FILE", default_value = DEFAULT)]
    file: PathBuf,
}

/// The values without a default, in the order of the sample: key, and what it is.
const REQUIRED: [(&str, &str); 3] = [
    ("serial", "Serial number (digits only)"),
    ("hostname", "Hostname (such as ABC-123)"),
    ("password", "Password (64 hexadecimal digits, not shown)"),
];

pub(crate) fn run(arguments: &Arguments) -> Result<(), CliError> {
    let path = &arguments.file;
    if path == Path::new("-") {
        write_stdout(SAMPLE.as_bytes());
        return Ok(());
    }
    // Before the questions. The file is created without replacing another, whatever happens meanwhile.
    if path.symlink_metadata().is_ok() {
        return Err(exists(path));
    }
    let mut text = SAMPLE.to_owned();
    let mut missing = Vec::new();
    for (key, what) in REQUIRED {
        let answer =
            if io::stdin().is_terminal() && io::stderr().is_terminal() { ask(key, what)? } else { String::new() };
        if answer.is_empty() {
            missing.push(key);
        } else {
            text = text.replacen(&format!("\n{key}:\n"), &format!("\n{key}: {answer}\n"), 1);
        }
    }
    create(path, &text)?;
    remark(format_args!("{}: {}", path.display(), next_steps(path, &missing)));
    Ok(())
}

fn exists(path: &Path) -> CliError {
    CliError::usage(format_args!("{} exists already, and is not replaced: choose another name", path.display()))
}

fn next_steps(path: &Path, missing: &[&str]) -> String {
    let option = if path == Path::new(DEFAULT) { String::new() } else { format!(" --config {}", path.display()) };
    let fill_in = match missing {
        [] => String::new(),
        missing => format!("fill in {} under [MACHINE], then ", missing.join(", ")),
    };
    format!("{fill_in}run \"gf-machine-emulator check{option}\"")
}

/// Asks until the answer is valid or empty.
fn ask(key: &str, what: &str) -> Result<String, CliError> {
    loop {
        let read = || {
            let _ = write!(io::stderr(), "{what}: ");
            read_answer()
        };
        let answer = if key == "password" { terminal::read_hidden(read)? } else { read()? };
        match if answer.is_empty() { None } else { problem(key, &answer) } {
            Some(problem) => eprint(problem),
            None => return Ok(answer),
        }
    }
}

/// Reads a line. The end of the input is an empty answer.
fn read_answer() -> Result<String, CliError> {
    match read_line(&mut io::stdin().lock(), ANSWER_LIMIT_BYTES) {
        Ok(Some(Ok(line))) => Ok(line.trim().to_owned()),
        Ok(None) => Ok(String::new()),
        Ok(Some(Err(unusable))) => Err(CliError::failed(format_args!("cannot read the answer: {unusable}"))),
        Err(error) => Err(CliError::failed(format_args!("cannot read the answer: {error}"))),
    }
}

/// Returns what is wrong with a value.
fn problem(key: &str, value: &str) -> Option<String> {
    let problems = Config::from_cfg("", &format!("[MACHINE]\n{key}: {value}\n"), &|_| None).err()?;
    problems.list.into_iter().find(|problem| problem.line == Some(2)).map(|problem| problem.what)
}

/// Creates the file with its content, or leaves none. It is to have a password.
fn create(path: &Path, text: &str) -> Result<(), CliError> {
    let mut file = AtomicFile::create_private(path).map_err(CliError::usage)?;
    let cannot_write = |error| CliError::failed(format_args!("cannot write {}: {error}", path.display()));
    file.write_all(text.as_bytes()).map_err(cannot_write)?;
    file.persist_without_replacing().map(drop).map_err(|error| match error {
        Error::File { source, .. } if source.kind() == io::ErrorKind::AlreadyExists => exists(path),
        other => CliError::failed(other),
    })
}

/// Terminals on Unix.
#[cfg(unix)]
mod terminal {
    use std::io::{self, Write};

    use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

    use crate::error::CliError;
    use crate::signals;

    /// Reads with the terminal's echo off. A signal turns it on again.
    pub(super) fn read_hidden(read: impl FnOnce() -> Result<String, CliError>) -> Result<String, CliError> {
        let failed = |error| CliError::failed(format_args!("cannot hide what is typed: {error}"));
        let shown = tcgetattr(io::stdin()).map_err(failed)?;
        let mut hidden = shown.clone();
        hidden.local_modes.remove(LocalModes::ECHO);
        let restored = shown.clone();
        signals::on_stop(move || {
            show(&restored);
            signals::exit_early();
        });
        tcsetattr(io::stdin(), OptionalActions::Now, &hidden).map_err(failed)?;
        let answer = read();
        show(&shown);
        signals::on_stop(|| signals::exit_early());
        answer
    }

    fn show(shown: &Termios) {
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, shown);
        // The Enter that ended the answer was not shown.
        let _ = writeln!(io::stderr());
    }
}

/// Other terminals.
#[cfg(not(unix))]
mod terminal {
    use crate::error::CliError;
    use crate::output::remark;

    /// Reads an answer, which this system's terminal shows.
    pub(super) fn read_hidden(read: impl FnOnce() -> Result<String, CliError>) -> Result<String, CliError> {
        remark("(it is shown while you type)");
        read()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sample_has_an_empty_line_for_each_required_value() {
        for (key, _) in REQUIRED {
            assert_eq!(SAMPLE.matches(&format!("\n{key}:\n")).count(), 1, "{key}");
        }
    }

    #[test]
    fn answers_are_checked_as_the_file_is() {
        assert_eq!(problem("serial", "12345678"), None);
        assert_eq!(problem("hostname", "ABC-123"), None);
        assert_eq!(problem("password", &"0".repeat(64)), None);
        for (key, value) in [("serial", "S1x"), ("hostname", "A B"), ("password", "secret")] {
            let problem = problem(key, value).unwrap();
            assert!(problem.contains(key) && !problem.contains("secret"), "{problem}");
        }
    }
}
