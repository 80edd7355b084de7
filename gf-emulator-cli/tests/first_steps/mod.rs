//! `init`, and where a configuration is found.

use std::fs;
use std::path::Path;

use gf_emulator_core::config::SAMPLE;
use serde_json::Value;

use crate::program::{Program, command};
use crate::{PASSWORD, configure, folder, run};

#[test]
fn init_writes_the_sample_for_its_owner_alone_and_replaces_nothing() {
    let folder = folder();
    let ended = run(&folder, &["init"]);
    ended.expect(0);
    for words in ["fill in serial, hostname, password under [MACHINE]", "\"gf-machine-emulator check\""] {
        assert!(ended.stderr.contains(words), "{words}: {}", ended.stderr);
    }
    let path = folder.path().join("gf-machine-emulator.cfg");
    assert_eq!(fs::read_to_string(&path).unwrap(), SAMPLE);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
    fs::write(&path, "mine").unwrap();
    let ended = run(&folder, &["init"]);
    ended.expect(2);
    assert!(ended.stderr.contains("gf-machine-emulator.cfg exists already"), "{}", ended.stderr);
    assert_eq!(fs::read_to_string(&path).unwrap(), "mine");

    let ended = run(&folder, &["init", "other.cfg"]);
    ended.expect(0);
    assert!(ended.stderr.contains("check --config other.cfg"), "{}", ended.stderr);
    let ended = run(&folder, &["init", "nowhere/my.cfg"]);
    ended.expect(2);
    assert!(ended.stderr.contains("cannot write in nowhere: "), "{}", ended.stderr);
    let ended = run(&folder, &["init", "-"]);
    ended.expect(0);
    assert_eq!(ended.stdout, SAMPLE);
}

#[test]
#[cfg(unix)]
fn init_does_not_follow_a_link_to_a_file() {
    let folder = folder();
    for target in ["mine", "nowhere"] {
        let link = folder.path().join(format!("link-to-{target}"));
        std::os::unix::fs::symlink(target, &link).unwrap();
        run(&folder, &["init", link.to_str().unwrap()]).expect(2);
        assert!(!folder.path().join(target).exists());
    }
}

/// A program in a terminal, which `script` of util-linux gives it.
#[cfg(target_os = "linux")]
struct Terminal {
    child: std::process::Child,
    output: crossbeam_channel::Receiver<u8>,
    shown: String,
}

#[cfg(target_os = "linux")]
impl Terminal {
    /// Runs the binary. `None` if there is no `script`.
    fn start(folder: &std::path::Path, arguments: &str) -> Option<Self> {
        use std::io::Read;
        use std::process::Stdio;
        let program = command(folder).get_program().to_owned().into_string().unwrap();
        let mut script = std::process::Command::new("script");
        // It echoes what is typed, as a terminal does.
        script.args(["-q", "-e", "-E", "always", "-c", &format!("{program} {arguments}"), "typescript"]);
        script.current_dir(folder).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = script.spawn().ok()?;
        let (sender, output) = crossbeam_channel::unbounded();
        let stdout = child.stdout.take().unwrap();
        std::thread::spawn(move || {
            std::io::BufReader::new(stdout).bytes().map_while(Result::ok).try_for_each(|byte| sender.send(byte))
        });
        Some(Self { child, output, shown: String::new() })
    }

    /// Waits for these words, and then types a line.
    #[track_caller]
    fn answer(&mut self, words: &str, line: &str) {
        use std::io::Write;
        let before = self.shown.len();
        while !self.shown[before..].contains(words) {
            match self.output.recv_timeout(crate::program::LIMIT) {
                Ok(byte) => self.shown.push(byte.into()),
                Err(e) => panic!("{words}: {e}: {}", self.shown),
            }
        }
        self.child.stdin.as_mut().unwrap().write_all(format!("{line}\n").as_bytes()).unwrap();
    }

    /// Waits for its end. Returns everything that it showed.
    fn end(mut self) -> String {
        while let Ok(byte) = self.output.recv_timeout(crate::program::LIMIT) {
            self.shown.push(byte.into());
        }
        assert!(self.child.wait().unwrap().success(), "{}", self.shown);
        self.shown
    }
}

#[test]
#[cfg(target_os = "linux")]
fn init_asks_on_a_terminal_and_does_not_show_the_password() {
    let folder = folder();
    let Some(mut terminal) = Terminal::start(folder.path(), "init my.cfg") else {
        return eprintln!("skipped: there is no `script`");
    };
    // A wrong answer is explained, and asked for again.
    terminal.answer("Serial number (digits only): ", "S12x");
    terminal.answer("Serial number (digits only): ", "12345678");
    terminal.answer("Hostname (such as ABC-123): ", "ABC-123");
    terminal.answer("not shown): ", PASSWORD);
    let shown = terminal.end();
    assert!(shown.contains("ABC-123") && !shown.contains(PASSWORD), "{shown}");
    assert!(shown.contains("serial must be ") && shown.contains("check --config my.cfg"), "{shown}");
    let text = fs::read_to_string(folder.path().join("my.cfg")).unwrap();
    for line in ["\nserial: 12345678\n", "\nhostname: ABC-123\n", &format!("\npassword: {PASSWORD}\n")] {
        assert!(text.contains(line), "{line} is missing");
    }
    let checked = run(&folder, &["check", "--config", "my.cfg"]);
    assert!(checked.stdout.contains("file        my.cfg (from --config)"), "{checked:?}");
    assert!(checked.stderr.contains("these pictures are missing or too large: "), "{checked:?}");
}

/// The first file of the search order is taken, and `check` says why.
#[test]
fn the_configuration_is_found_in_the_documented_order() {
    let folder = folder();
    configure(&folder, "https://app.glowforge.com", "wss://status.glowforge.com", "", "");
    let here = folder.path().join("gf-machine-emulator.cfg");
    let home = folder.path().join("home");
    let below = if cfg!(windows) {
        "AppData"
    } else if cfg!(target_os = "macos") {
        "Library/Application Support"
    } else {
        ".config"
    };
    let of_user = home.join(below).join("gf-machine-emulator");
    fs::create_dir_all(&of_user).unwrap();
    for path in
        [folder.path().join("option.cfg"), folder.path().join("variable.cfg"), of_user.join("gf-machine-emulator.cfg")]
    {
        fs::copy(&here, path).unwrap();
    }
    let check = |arguments: &[&str], variable: &str| {
        let mut check = command(folder.path());
        check.arg("check").args(arguments).env("HOME", &home).env("APPDATA", home.join(below));
        check.env("GF_MACHINE_CONFIG", variable);
        Program::start(check).end()
    };
    let expect = |arguments: &[&str], variable: &str, words: &str| {
        let ended = check(arguments, variable);
        ended.expect(0);
        assert!(ended.stdout.contains(words), "{words}: {}", ended.stdout);
    };
    expect(&["--config", "option.cfg"], "variable.cfg", "option.cfg (from --config)");
    expect(&[], "variable.cfg", "variable.cfg (from GF_MACHINE_CONFIG in the environment)");
    expect(&[], "", "gf-machine-emulator.cfg (in the current directory)");
    fs::remove_file(&here).unwrap();
    expect(&[], "", "gf-machine-emulator.cfg (in your folder for configurations)");
    // A file that is named is the only one.
    let ended = check(&[], "nowhere.cfg");
    ended.expect(2);
    assert!(ended.stderr.contains("nowhere.cfg (from GF_MACHINE_CONFIG in the environment)"), "{}", ended.stderr);

    fs::remove_dir_all(&home).unwrap();
    let ended = check(&[], "");
    ended.expect(2);
    let of_user = of_user.join("gf-machine-emulator.cfg").display().to_string();
    for words in ["  gf-machine-emulator.cfg\n", &of_user, "gf-machine-emulator init"] {
        assert!(ended.stderr.contains(words), "{words}: {}", ended.stderr);
    }
}

#[test]
fn check_prints_json_in_the_form_of_puls_check() {
    let folder = folder();
    let check = |code| {
        let ended = run(&folder, &["check", "--json"]);
        ended.expect(code);
        assert_eq!(ended.stdout.lines().count(), 1, "{}", ended.stdout);
        serde_json::from_str::<Value>(&ended.stdout).unwrap()
    };
    let without = check(2);
    assert_eq!((&without["file"], &without["good"]), (&Value::Null, &Value::Bool(false)));
    assert!(without["error"].as_str().unwrap().contains("there is no configuration file"), "{without}");

    configure(&folder, "https://app.glowforge.com", "wss://status.glowforge.com", "", "wings: 2");
    let good = check(0);
    assert_eq!((&good["file"], &good["good"]), (&"gf-machine-emulator.cfg".into(), &true.into()));
    assert_eq!((&good["error"], &good["findings"][0]["severity"]), (&Value::Null, &"remark".into()), "{good}");
    assert_eq!(good["settings"]["generation"], "2.6 (firmware 2.6.0-2228)");
    assert!(!good.to_string().contains(PASSWORD));

    let path = folder.path().join("gf-machine-emulator.cfg");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("serial: 12345678", "serial: 1x")).unwrap();
    let wrong = check(2);
    let finding = wrong["findings"].as_array().unwrap().iter().find(|finding| finding["severity"] == "error").unwrap();
    let line = text.lines().position(|line| line.starts_with("serial")).unwrap() + 1;
    assert_eq!((finding["line"].as_u64(), &wrong["good"]), (Some(line as u64), &false.into()), "{wrong}");
    assert!(finding["message"].as_str().unwrap().contains("serial"), "{wrong}");
}

#[test]
fn the_documents_show_the_print_of_the_demo() {
    let folder = folder();
    let demo = run(&folder, &["demo"]);
    demo.expect(0);
    let jobs = fs::read_dir(folder.path().join("gf-machine-emulator-demo/motion")).unwrap();
    let print =
        jobs.map(|job| job.unwrap().path()).find(|job| job.to_string_lossy().ends_with("_print_1013.puls")).unwrap();
    fs::copy(print, folder.path().join("print.puls")).unwrap();
    let drawn = run(&folder, &["puls", "plot", "print.puls", "--view", "job", "-o", "-"]);
    drawn.expect(0);
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    if !root.join("README.md").exists() {
        return; // in a package of this crate
    }
    let text = |name: &str| fs::read_to_string(root.join(name)).unwrap();
    assert!(
        text("examples/job.svg").trim_end() == drawn.stdout.trim_end(),
        "copy the print of the demo to print.puls, and write examples/job.svg again: puls plot print.puls --view job -o ..."
    );
    let (_, progress) = demo.stdout.split_once("print:progress 0/").unwrap();
    let ticks = progress.split(' ').next().unwrap();
    for document in ["README.md", "docs/tour.md"] {
        assert!(text(document).contains(&format!("print:progress 0/{ticks} (1013)")), "{document}: {ticks} ticks");
    }
}
