//! `completions`: writes a script that completes commands and options in a shell.

use clap::Command;
use clap_complete::Shell;

use crate::output::write_stdout;

/// Print a script that completes commands and options in a shell
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  mkdir -p ~/.local/share/bash-completion/completions
  gf-machine-emulator completions bash \\
      > ~/.local/share/bash-completion/completions/gf-machine-emulator
  mkdir -p ~/.zfunc
  gf-machine-emulator completions zsh > ~/.zfunc/_gf-machine-emulator
      With \"fpath+=~/.zfunc\" before \"compinit\" in ~/.zshrc.
  mkdir -p ~/.config/fish/completions
  gf-machine-emulator completions fish \\
      > ~/.config/fish/completions/gf-machine-emulator.fish
  gf-machine-emulator completions powershell >> $PROFILE

Exit codes: 0 done; 2 wrong usage.")]
pub(crate) struct Arguments {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

pub(crate) fn run(arguments: &Arguments, mut command: Command) {
    let name = command.get_name().to_owned();
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut command, &name, &mut script);
    if arguments.shell == Shell::Bash {
        script = with_right_labels(&script, &name);
    }
    write_stdout(&script);
}

/// Corrects a script for bash: if the program's name has a hyphen, `clap_complete` uses two forms of it, and completes
/// nothing after the name of a command (<https://github.com/clap-rs/clap/issues/6421>).
fn with_right_labels(script: &[u8], name: &str) -> Vec<u8> {
    let script = String::from_utf8_lossy(script);
    script.replace(&name.replace('-', "__subcmd__"), &name.replace('-', "__")).into_bytes()
}
