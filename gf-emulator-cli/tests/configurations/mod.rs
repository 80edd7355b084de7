//! `check` on files of the newest Python clients, as their users bring them.

use std::fs;
use std::process::Stdio;

use gf_emulator_core::puls::Builder;

use crate::program::{Program, command};
use crate::{PASSWORD, file_url, folder, run};

const NEWEST: &str = include_str!("newest.cfg");
const GFHOME: &str = include_str!("gfhome.conf");

#[test]
fn the_newest_files_lack_only_identity_and_pictures() {
    for text in [NEWEST, GFHOME] {
        let folder = folder();
        let path = folder.path().join("my.cfg");
        fs::write(&path, text).unwrap();
        let ended = run(&folder, &["check", "--config", "my.cfg"]);
        ended.expect(2);
        let problems: Vec<_> = ended.stderr.lines().filter(|line| line.contains("my.cfg:")).collect();
        assert_eq!(problems.len(), 3, "{}", ended.stderr);
        for (problem, key) in problems.iter().zip(["serial", "hostname", "password"]) {
            assert!(problem.contains(&format!("{key} in [MACHINE] is missing")), "{problem}");
        }

        let mut filled_in = text.to_owned();
        for (key, value) in [("serial", "12345678"), ("hostname", "ABC-123"), ("password", PASSWORD)] {
            for separator in [" =", ":"] {
                filled_in = filled_in.replace(&format!("\n{key}{separator}\n"), &format!("\n{key}: {value}\n"));
            }
        }
        fs::write(&path, &filled_in).unwrap();
        let ended = run(&folder, &["check", "--config", "my.cfg"]);
        ended.expect(2);
        let [problem, advice] = ended.stderr.lines().skip(1).collect::<Vec<_>>()[..] else { panic!("{ended:?}") };
        assert!(advice.starts_with("Without a picture, actions that need it fail"), "{}", ended.stderr);
        let (dir, pictures) = problem.split_once(": these pictures are missing or too large: ").unwrap();
        assert!(dir.starts_with("image_dir "), "{problem}");

        let images = folder.path().join("images");
        fs::create_dir(&images).unwrap();
        for name in pictures.split(", ") {
            fs::write(images.join(name), b"\xff\xd8a picture\xff\xd9").unwrap();
        }
        let ended = run(&folder, &["check", "--config", "my.cfg"]);
        ended.expect(0);
        // The two names of the firmware keys in one file have always been remarked on.
        let remarks = ended.stdout.lines().filter(|line| line.contains("remark: "));
        let others: Vec<_> = remarks.filter(|line| !line.contains("takes precedence")).collect();
        assert_eq!(others, [""; 0]);
    }
}

#[test]
fn fetch_motion_warns_past_the_warning_level_and_runs_the_job() {
    let folder = folder();
    let job = Builder::new().move_to(3.0, 4.0).unwrap().to_bytes();
    let path = folder.path().join("job.puls");
    fs::write(&path, &job).unwrap();
    for (remark_bytes, is_logged) in [(job.len() + 1, false), (job.len(), true), (job.len() - 1, true), (0, false)] {
        let config = format!("[MACHINE]\nhostname: ABC-123\n[MOTION]\nremark_bytes: {remark_bytes}\n");
        fs::write(folder.path().join("gf-machine-emulator.cfg"), config).unwrap();
        let mut command = command(folder.path());
        command.arg("pipe").stdin(Stdio::piped());
        let mut program = Program::start(command);
        let url = file_url(&path);
        program.write(format!(r#"{{"id":2,"action_type":"motion","status":"ready","motion_url":"{url}"}}"#));
        program.close_stdin();
        let ended = program.end();
        ended.expect(0);
        assert!(ended.stdout.contains("motion:completed"), "{}", ended.stdout);
        let warning = format!("the job is large: {} bytes (remark_bytes: {remark_bytes})", job.len());
        assert_eq!(ended.stderr.contains(&warning), is_logged, "{remark_bytes}: {}", ended.stderr);
    }
}
