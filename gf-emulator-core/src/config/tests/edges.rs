//! Offline configurations, configurations built in code, and invalid files.

use super::*;

#[test]
fn the_commented_keys_of_the_sample_are_valid() {
    let variable = |name: &str| (name == "GF_MACHINE_PASSWORD").then(|| PASSWORD.to_owned());
    let (first, second) = SAMPLE.split_once("# ------").expect("the line before the 2.6 names");
    let uncomment = |text: &str| {
        let out = |line: &str| match line.strip_prefix('#') {
            Some(rest) if rest.starts_with(|c: char| c.is_ascii_lowercase() || c == '[') => rest.to_owned(),
            _ => line.to_owned(),
        };
        text.lines().map(out).collect::<Vec<_>>().join("\n")
    };
    let first =
        uncomment(first).replace("\nserial:\n", "\nserial: 1\n").replace("\nhostname:\n", "\nhostname: ABC-123\n");
    let second = uncomment(&format!("# {second}")) + "\n[MACHINE]\nserial: 1\nhostname: ABC-123\n";
    for text in [first, second] {
        match Config::from_cfg("sample", &text, &variable) {
            Ok((_, warnings)) => assert_eq!(warnings, []),
            Err(problems) => panic!("{problems}"),
        }
    }
}

#[test]
fn an_offline_machine_needs_no_identity() {
    let offline = |text: &str| Config::read_cfg(Purpose::Offline, "test.cfg", text, &no_variable);
    for text in ["", "[MACHINE]\nserial:\nhostname:\npassword:\n", "[MACHINE]\npassword: not one\n"] {
        let (config, warnings) = offline(text).unwrap_or_else(|problems| panic!("{text}: {problems}"));
        assert_eq!((config.machine.serial, warnings), (0, Vec::new()), "{text}");
    }
    let (config, _) = offline(&format!("[MACHINE]\nserial: 7\npassword: {PASSWORD}\n")).unwrap();
    assert_eq!((config.machine.serial, config.machine.password.reveal()), (7, PASSWORD));
    let problems = offline("[MACHINE]\nserial: S7\n[EMULATOR]\nbutton: x\n").unwrap_err();
    assert_snapshot!(problems, @r"
    test.cfg:2: serial must be digits only, without the leading S
    test.cfg:4: button must be auto or wait
    ");
    // The environment's proxy is ignored.
    let proxy = |name: &str| name.eq_ignore_ascii_case("https_proxy").then(|| "socks5://wrong".to_owned());
    let (config, _) = Config::read_cfg(Purpose::Offline, "test.cfg", "", &proxy).unwrap();
    assert_eq!(config.service.proxy, None);
    let serial = |name: &str| (name == "GF_MACHINE_SERIAL").then(|| "5".to_owned());
    assert_eq!(Config::read_cfg(Purpose::Offline, "test.cfg", "", &serial).unwrap().0.machine.serial, 5);
}

#[test]
fn checks_a_configuration_built_in_code() {
    let mut config = Config::default();
    config.machine.serial = 1;
    config.machine.hostname = "ABC-123".into();
    config.machine.password = Secret::new(PASSWORD);
    assert_eq!(config.check(), Ok(()));

    let mut config = Config::default();
    config.service.server_url = "http://app.glowforge.com".into();
    config.service.status_service_url = "wss://status.glowforge.com/".into();
    config.service.user_agent = Some("a\r\nb".into());
    config.service.retry_for = Duration::MAX;
    config.machine.password = Secret::new("hunter2");
    config.machine.firmware = String::new();
    config.machine.head_id = Some(-4);
    config.machine.ip_address = "foo".into();
    config.emulator.time_scale = f64::NAN;
    config.emulator.material_thickness = "../x".into();
    config.motion.dir = PathBuf::new();
    config.firmware.status_file = Some(PathBuf::new());
    assert_snapshot!(config.check().expect_err("problems"), @r"
    configuration: service.server_url must be an https URL: http is for localhost, 127.x.x.x and [::1] only
    configuration: service.status_service_url must be a URL that does not end with a slash
    configuration: service.user_agent must be ASCII text on a single line
    configuration: service.retry_for must be at most a year
    configuration: machine.serial must be a number from 1 to 4294967295, digits only
    configuration: machine.hostname must be letters, digits, dots, dashes and underscores
    configuration: machine.password must be 64 hexadecimal digits (it is not shown here)
    configuration: machine.firmware must be a version such as 2.6.0-2228
    configuration: machine.ip_address must be an IP address such as 192.168.100.101
    configuration: machine.head_id must be a whole number from 0 to 4294967295
    configuration: firmware.status_file must be a path
    configuration: emulator.material_thickness must be text that matches the pictures' file names, such as .230 (letters, digits, dots, dashes, underscores)
    configuration: emulator.time_scale must be a number from 0 (immediate) to 1000; 1 is real time
    configuration: motion.dir must be a path
    ");
}

#[test]
fn rejects_files_that_cannot_be_read() {
    let dir = tempfile::tempdir().expect("a directory for the test");
    let at = |name: &str, content: &[u8]| {
        let path = dir.path().join(name);
        fs::write(&path, content).expect("a file for the test");
        path
    };
    let missing = Config::from_file(dir.path().join("none.cfg"));
    assert!(matches!(missing, Err(Error::File { doing: "read", .. })), "{missing:?}");

    let lines_of = |path: PathBuf| match Config::load(path) {
        Err(Error::Config(problems)) => problems.list.into_iter().map(|problem| problem.line).collect::<Vec<_>>(),
        other => panic!("{other:?}"),
    };
    assert_eq!(lines_of(at("latin1.cfg", b"[MACHINE]\nhostname: caf\xe9\n")), [Some(2)]);
    assert_eq!(lines_of(at("large.cfg", &vec![b'#'; (1 << 20) + 1])), [None]);
    // The limit splits a character.
    let mut large = vec![b'#'; 1 << 20];
    large.extend("\u{e9}".bytes());
    assert_eq!(lines_of(at("large-utf8.cfg", &large)), [None]);

    let bytes: Vec<u8> = b"\xef\xbb\xbf".iter().copied().chain(FILE_1X.replace('\n', "\r\n").bytes()).collect();
    // Checks only fields that the environment cannot override.
    let config = Config::from_file(at("windows.cfg", &bytes)).expect("no problems");
    assert_eq!(config.machine.hostname, "ABC-123");
    assert_eq!(config.motion.dir, Path::new("resources/MOTION"));
}

#[test]
fn a_password_is_never_shown() {
    let bad = "S3cretS3cretS3cret";
    let texts = [
        format!("[MACHINE]\npassword: {bad}\n"),
        format!("[MACHINE]\npassword {bad}\n"),
        format!("[MACHINE]\npassword: %({bad})s\n"),
        format!("[MACHINE]\npassword: {bad}%\n"),
        format!("[MACHINE]\npassword:\n{bad}\n"),
        format!(
            "[MACHINE]\npassword: {bad}\nserial: %(password)s\nfirmware: %(password)s\n[SERVICE]\nprotocol: {bad}\n"
        ),
        format!("[SERVICE]\nserver_url: https://user:{bad}@host\nstatus_service_url: wss://host/?{bad}\n"),
    ];
    for text in texts {
        let problems = read(&text).expect_err("problems");
        assert!(!format!("{problems} {problems:?}").to_lowercase().contains(&bad.to_lowercase()), "{problems}");
    }
    let config = clean(FILE_1X);
    assert!(!format!("{config:?}").contains(PASSWORD));
}

#[test]
fn a_lone_percent_sign_stands_as_it_is_and_is_remarked_on() {
    let text = with_identity("[DEFAULT]\na: 5%\n[SERVICE]\nuser_agent: 100% %(a)s %%\n[X]\n");
    let (config, warnings) = read(&text).expect("no problems");
    assert_eq!(config.service.user_agent.as_deref(), Some("100% 5% %"));
    let warnings: Vec<_> = warnings.iter().map(Warning::to_string).collect();
    assert_snapshot!(warnings.join("\n"), @r"
    line 6: a % in a is kept as it is: %(name)s refers to a key, %% is a percent sign
    line 8: a % in user_agent is kept as it is: %(name)s refers to a key, %% is a percent sign
    line 9: unknown section [X]
    ");
}

#[test]
fn pictures_go_to_capture_dir_before_dir() {
    let pictures = |keys: &str| {
        let text = with_identity(&format!("[LOGGING]\nsave_sent_images: True\n{keys}"));
        clean(&text).logging.sent_images_dir.expect("pictures are saved")
    };
    assert_eq!(pictures("dir: log\ncapture_dir: captures\n"), Path::new("captures"));
    assert_eq!(pictures("dir: log\ncapture_dir:\n"), Path::new("log"));
    assert_eq!(pictures(""), Path::new("."));
}

#[test]
fn a_size_of_zero_is_no_limit() {
    let motion = |bytes: u64| {
        let keys = format!("[MOTION]\nremark_bytes: {bytes}\nrefuse_bytes: {bytes}\nrefuse_inflated_bytes: {bytes}\n");
        clean(&with_identity(&keys)).motion
    };
    let unlimited = motion(0);
    assert_eq!(unlimited.max_download_bytes(), u64::MAX);
    assert_eq!(unlimited.limits().body_bytes, None);
    assert!(!unlimited.is_remarkable(0) && !unlimited.is_remarkable(u64::MAX));
    let limited = motion(7);
    assert_eq!((limited.max_download_bytes(), limited.limits().body_bytes), (7, Some(7)));
    assert_eq!([6, 7, 8].map(|bytes| limited.is_remarkable(bytes)), [false, true, true]);
}

#[test]
fn rejects_a_file_with_too_many_references() {
    use std::fmt::Write;

    let mut text = String::from("[MACHINE]\n");
    for n in 0..30_000 {
        writeln!(text, "key{n}: %(key{})s%(key{})s", n + 1, (n * 7) % 30_000).expect("writing to a String cannot fail");
    }
    assert!(read(&text).is_err());
}

proptest! {
    #[test]
    fn reads_any_text_without_a_panic(text in any::<String>()) {
        let _ = read(&text);
    }

    #[test]
    fn reads_anything_like_a_file_without_a_panic(
        lines in prop::collection::vec("( {0,2})(\\[?(MACHINE|DEFAULT|GENERAL|\u{c9}\u{130})\\]?|(a|b|serial|LOG_FILE) ?[:=]? ?(x|%\\((a|b)\\)s|%%|%|\u{e9}|[0-9]{0,9})(\r|\t)?|#x|)", 0..20),
    ) {
        let text = with_identity(&lines.join("\n"));
        match read(&text) {
            // The rules for files and for code agree.
            Ok((config, _)) => prop_assert_eq!(config.check(), Ok(())),
            Err(problems) => {
                prop_assert!(!problems.list.is_empty());
                let count = text.replace("\r\n", "\n").replace('\r', "\n").lines().count();
                prop_assert!(problems.list.iter().all(|p| p.line.is_none_or(|line| (1..=count).contains(&line))));
                prop_assert!(problems.list.is_sorted_by_key(|p| p.line.unwrap_or(usize::MAX)));
                prop_assert!(!problems.to_string().contains(PASSWORD));
            }
        }
    }

    #[test]
    fn every_value_is_accepted_or_rejected(key in 0..KEYS.len(), value in "[ -~]{0,30}") {
        let Key { section, name, .. } = KEYS[key];
        let machine = with_identity("");
        // Sections must be unique.
        let text = if section == "MACHINE" {
            let others: Vec<_> = machine.lines().filter(|line| !line.starts_with(name)).collect();
            format!("{}\n{name}: {value}\n", others.join("\n"))
        } else {
            format!("{machine}[{section}]\n{name}: {value}\n")
        };
        match read(&text) {
            Ok((config, _)) => prop_assert_eq!(config.check(), Ok(())),
            Err(problems) => prop_assert_eq!(problems.list.len(), 1),
        }
    }
}

#[test]
fn a_missing_key_is_reported_with_the_unknown_one() {
    let text = "[MACHINE]\nserail: 12345678\nhostname: ABC-123\n";
    let password = |name: &str| (name == "GF_MACHINE_PASSWORD").then(|| "0123456789abcdef".repeat(4));
    let problems = Config::from_cfg("my.cfg", text, &password).expect_err("the serial number is missing");
    let text = problems.to_string();
    assert!(text.contains("remark: my.cfg:2: unknown key serail in [MACHINE]: did you mean serial?"), "{text}");
}

#[test]
fn an_error_says_that_a_comment_is_part_of_a_value() {
    let problem = |value: &str| {
        let text = with_identity(&format!("[EMULATOR]\nbutton: {value}\n"));
        read(&text).unwrap_err().list.remove(0).what
    };
    assert_eq!(problem("press"), "button must be auto or wait");
    for value in ["auto # press it", "wait ; by hand"] {
        assert_eq!(problem(value), "button must be auto or wait; a comment after a value is taken as part of it");
    }
}
