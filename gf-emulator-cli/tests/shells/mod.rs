//! `completions` and `man`: both are made from the definition of the command line, and so have every option of it.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::process::Command;

use tempfile::TempDir;

use crate::{folder, run};

const NAME: &str = "gf-machine-emulator";

/// Returns the options of every command, from its help. The key has the words after the program's name.
fn options(folder: &TempDir) -> BTreeMap<String, Vec<String>> {
    let mut found = BTreeMap::new();
    let mut waiting = vec![String::new()];
    while let Some(command) = waiting.pop() {
        let words: Vec<_> = command.split_whitespace().chain(["--help"]).collect();
        let help = run(folder, &words);
        help.expect(0);
        let mut options = Vec::new();
        let mut heading = "";
        for line in help.stdout.lines() {
            if !line.starts_with(' ') && !line.is_empty() {
                heading = line;
            }
            let words = line.split_whitespace();
            // `fleet` has commands on standard input, which come after its options.
            if heading == "Commands:" && options.is_empty() && line.starts_with("  ") && !line.starts_with("   ") {
                let names = words.take(1).filter(|name| *name != "help");
                waiting.extend(names.map(|name| format!("{command} {name}").trim().to_owned()));
            } else if heading.ends_with("ptions:") && line.trim_start().starts_with('-') {
                // "-q, --quiet", "-v, --verbose...", "--listen <[ADDR:]PORT>"
                let names = words.filter_map(|word| word.strip_prefix("--")).take(1);
                options.extend(names.map(|name| name.trim_end_matches('.').to_owned()));
            }
        }
        assert!(options.contains(&"quiet".to_owned()), "{command}: {options:?}");
        found.insert(command, options);
    }
    assert!(found.len() > 20 && found["serve"].contains(&"fault-profile".to_owned()), "{found:?}");
    found
}

fn completions(folder: &TempDir, shell: &str) -> String {
    let ended = run(folder, &["completions", shell]);
    ended.expect(0);
    assert_eq!(ended.stderr, "");
    ended.stdout
}

/// Each shell's script has a line of its own for every option of every command.
#[test]
fn completions_have_every_option_of_every_command() {
    let folder = folder();
    let options = options(&folder);
    for shell in ["zsh", "fish", "powershell", "elvish"] {
        let script = completions(&folder, shell);
        for option in options.values().flatten() {
            let commands = options.values().filter(|names| names.contains(option)).count();
            let forms = match shell {
                "zsh" => vec![format!("--{option}["), format!("--{option}=[")],
                "fish" => vec![format!(" -l {option} "), format!(" -l {option}\n")],
                "powershell" => vec![format!("::new('--{option}',")],
                _ => vec![format!("cand --{option} ")],
            };
            let lines: usize = forms.iter().map(|form| script.matches(form).count()).sum();
            assert!(lines >= commands, "{shell}: --{option} is in {lines} of {commands} commands");
        }
    }
    run(&folder, &["completions", "tcsh"]).expect(2);
}

/// Bash itself completes every option of every command.
#[test]
#[cfg(unix)]
fn bash_completes_every_option_of_every_command() {
    let folder = folder();
    let script = folder.path().join("completions.bash");
    fs::write(&script, completions(&folder, "bash")).unwrap();
    let bash = |program: &str| Command::new("bash").args(["-c", program, "bash"]).arg(&script).output();
    match bash("bash -n \"$1\"") {
        Ok(checked) => assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr)),
        Err(error) => return eprintln!("skipped: bash cannot be started: {error}"),
    }
    let options = options(&folder);
    let function = NAME.replace('-', "__");
    let mut questions = String::new();
    for command in options.keys() {
        let last = command.split(' ').next_back().filter(|word| !word.is_empty()).unwrap_or(NAME);
        writeln!(
            questions,
            "COMP_WORDS=({NAME} {command} --); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); COMPREPLY=()\n\
             _{function} {NAME} -- {last}; echo \"{command}|${{COMPREPLY[*]}}\""
        )
        .unwrap();
    }
    // Also where bash is the `sh` of the system.
    let answered = bash(&format!("set -o posix; . \"$1\"\n{questions}")).unwrap();
    let answers = String::from_utf8(answered.stdout).unwrap();
    let mut asked = 0;
    for line in answers.lines() {
        let (command, offered) = line.split_once('|').unwrap();
        let offered: Vec<_> = offered.split(' ').collect();
        for option in &options[command] {
            assert!(offered.contains(&format!("--{option}").as_str()), "{command}: no --{option} in {offered:?}");
        }
        asked += 1;
    }
    assert_eq!(asked, options.len(), "{answers}{}", String::from_utf8_lossy(&answered.stderr));
}

#[test]
fn each_command_has_a_manual_page_with_every_option_and_its_notes() {
    let folder = folder();
    let pages = folder.path().join("man1");
    fs::create_dir(&pages).unwrap();
    run(&folder, &["man", "--dir", "man1"]).expect(0);
    let options = options(&folder);
    assert_eq!(fs::read_dir(&pages).unwrap().count(), options.len());
    for (command, options) in &options {
        let name = format!("{NAME} {command}").trim().replace(' ', "-");
        let page = fs::read_to_string(pages.join(format!("{name}.1"))).unwrap();
        let text = page.replace("\\-", "-");
        assert!(text.contains(&format!(".TH {name} 1 ")), "{name}: {text}");
        for option in options {
            assert!(text.contains(&format!("--{option}\\fR")), "{name}: no --{option}: {text}");
        }
        // The lines of examples are not joined.
        assert!(
            text.contains("\n.nf\n") && text.contains("\nExit codes:") && text.contains("\n.fi\n"),
            "{name}: {text}"
        );
    }
    let alone = run(&folder, &["man"]);
    alone.expect(0);
    assert_eq!(alone.stdout, fs::read_to_string(pages.join("gf-machine-emulator.1")).unwrap());

    let ended = run(&folder, &["man", "--dir", "nowhere"]);
    ended.expect(2);
    assert!(ended.stderr.contains("there is no folder nowhere"), "{}", ended.stderr);
}
