//! Whole files: both generations, the sample, and invalid ones.

mod edges;

use std::collections::HashSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use insta::assert_snapshot;
use proptest::prelude::*;

use super::keys::{KEYS, Key};
use super::read::Purpose;
use super::*;
use crate::Error;

const PASSWORD: &str = "0123456789abcdefFEDCBA98765432100123456789abcdef0123456789abcdef";

/// A file as the 1.x client uses it.
const FILE_1X: &str = "\
[GENERAL]
base_dir: resources
log_file: %(base_dir)s/LOG/emulator.log
log_level: WARNING

# Uncomment for the console.
#console_log_level: DEBUG

motion_dir: %(base_dir)s/MOTION
firmware_check: False
firmware_dir: %(base_dir)s/FW
image_dir: %(base_dir)s/IMG

[SERVICE]
server_url: https://app.example.com
status_service_url: wss://status.example.com

[MACHINE]
ip_address: 192.168.100.101
serial: 12345678
hostname: ABC-123
password: 0123456789abcdefFEDCBA98765432100123456789abcdef0123456789abcdef
head_serial: 123456789
firmware: 1.8.0-45
app_version: 40eabad213407ded5354957c88d88ff815c82a64
head_firmware: 199234110

[MATERIAL]
thickness: .125
";

/// A file as the 2.6 client uses it.
const FILE_26: &str = "\
[DEFAULT]
root = /var/gf

[SERVICE]
server_url = https://app.example.com/
status_service_url = wss://status.example.com/

[MACHINE]
serial = 12345678
hostname = ABC-123
password = 0123456789abcdefFEDCBA98765432100123456789abcdef0123456789abcdef
head_id = 1100
head_serial = 123456789
head_firmware = 199234110

[FACTORY_FIRMWARE]
check = True
download_dir = %(root)s/fw
fw_version = 2.6.0-2228
app_version = 40eabad2

[EMULATOR]
base_dir = %(root)s/emulator
firmware_check = False
firmware_dl_dir = %(base_dir)s/fw
motion_dl_dir = %(base_dir)s/motion
image_src_dir = %(base_dir)s/img
bypass_homing = True
material_thickness = .230

[LOGGING]
dir = %(root)s/log
file = %(dir)s/gf.log
level = INFO
console_level = ERROR
save_sent_images = True
save_puls = False

[THERMAL]
water_heater_percent = 50
max_start_temp = 27.5
max_run_temp = 33

[MOTION]
z_home_offset = -4
warm_up_delay = 3
cool_down_delay = 10.5
";

fn no_variable(_: &str) -> Option<String> {
    None
}

fn read(text: &str) -> Result<(Config, Vec<Warning>), Problems> {
    Config::from_cfg("test.cfg", text, &no_variable)
}

/// Reads a text that has neither problems nor warnings.
fn clean(text: &str) -> Config {
    match read(text) {
        Ok((config, warnings)) => {
            assert_eq!(warnings, []);
            config
        }
        Err(problems) => panic!("{problems}"),
    }
}

/// Returns a file with the required keys, followed by `more`.
fn with_identity(more: &str) -> String {
    format!("[MACHINE]\nserial: 12345678\nhostname: ABC-123\npassword: {PASSWORD}\n{more}")
}

fn problems(text: &str) -> String {
    read(text).expect_err("problems").to_string()
}

#[test]
fn reads_a_1x_file() {
    let config = clean(FILE_1X);
    assert_eq!(config.generation(), Generation::V1);
    assert_eq!(config.user_agent(), "OpenGlow/1.8.0-45");
    assert_eq!(config.service.server_url, "https://app.example.com");
    assert_eq!(config.machine.password.reveal(), PASSWORD);
    assert_eq!(config.machine.head_id, None);
    assert_eq!(config.logging.file.as_deref(), Some(Path::new("resources/LOG/emulator.log")));
    assert_eq!((config.logging.level, config.logging.console_level), (LogLevel::Warning, None));
    assert_eq!(config.motion.dir, Path::new("resources/MOTION"));
    assert_eq!(config.firmware.dir, Path::new("resources/FW"));
    assert_eq!(config.emulator.image_dir, Path::new("resources/IMG"));
    assert_eq!(config.emulator.material_thickness, ".125");
    assert!(!config.firmware.check);
    assert_eq!(config.check(), Ok(()));
}

#[test]
fn reads_a_26_file() {
    let (config, warnings) = read(FILE_26).expect("no problems");
    assert_eq!(config.generation(), Generation::V2);
    // Two names for the same setting; the first takes precedence.
    assert!(config.firmware.check);
    assert_eq!(config.firmware.dir, Path::new("/var/gf/fw"));
    let warnings: Vec<_> = warnings.iter().map(Warning::to_string).collect();
    assert_snapshot!(warnings.join("\n"), @r"
    line 24: firmware_check in [EMULATOR] is ignored: check in [FACTORY_FIRMWARE] on line 17 takes precedence
    line 25: firmware_dl_dir in [EMULATOR] is ignored: download_dir in [FACTORY_FIRMWARE] on line 18 takes precedence
    ");
    assert_eq!(config.service.server_url, "https://app.example.com");
    assert_eq!(config.service.status_service_url, "wss://status.example.com");
    assert_eq!(config.machine.app_version.as_deref(), Some("40eabad2"));
    assert_eq!(config.machine.head_id, Some(1100));
    assert_eq!(config.motion.dir, Path::new("/var/gf/emulator/motion"));
    assert!(config.emulator.bypass_homing && config.motion.keep, "save_puls deletes nothing");
    assert_eq!(config.logging.file.as_deref(), Some(Path::new("/var/gf/log/gf.log")));
    assert_eq!((config.logging.level, config.logging.console_level), (LogLevel::Info, Some(LogLevel::Error)));
    assert_eq!(config.logging.sent_images_dir.as_deref(), Some(Path::new("/var/gf/log")));
    assert_eq!(config.emulator.warm_up, Duration::from_secs(3));
    assert_eq!(config.emulator.cool_down, Duration::from_millis(10_500));
    assert_eq!(config.check(), Ok(()));
}

#[test]
fn reports_all_problems_at_once() {
    let text = "\
stray: 1
[GENERAL]
motion_dir: %(base)s/motion
firmware_check: yes
log_level: LOUD
just some words
[SERVICE]
server_url: http://app.glowforge.com
status_service_url: https://status.glowforge.com
protocol: 3
[MACHINE]
serial: S12345678
password: 0123
head_serial: none
head_serial: 5
firmware: 100%
app_version: %(build)s
[MATERIAL]
thickness: ../secret
[EMULATOR]
motion_dl_dir: elsewhere
material_thickness: .5
time_scale: -1
button: me
[emulator]
bypass_homing: 0
[MOTION]
z_home_offset: low
refuse_bytes: -1
";
    assert_snapshot!(problems(text), @r"
    test.cfg:1: a key before the first [section]
    test.cfg:3: motion_dir refers to %(base)s, which is not in its section or [DEFAULT]
    test.cfg:4: firmware_check must be True or False (case-sensitive)
    test.cfg:5: log_level must be DEBUG, INFO, WARNING, ERROR, CRITICAL or False
    test.cfg:6: expected a [section], a `key: value` or a # comment
    test.cfg:8: server_url must be an https URL: http is for localhost, 127.x.x.x and [::1] only
    test.cfg:9: status_service_url must be a URL such as wss://host
    test.cfg:10: protocol must be 1.x or 2.6, or empty to use the firmware version
    test.cfg:12: serial must be digits only, without the leading S
    test.cfg:13: password must be 64 hexadecimal digits (it is not shown here)
    test.cfg:14: head_serial must be a whole number from 0 to 4294967295
    test.cfg:15: duplicate key head_serial, first on line 14: remove one
    test.cfg:16: firmware must be a version such as 2.6.0-2228
    test.cfg:17: app_version refers to %(build)s, which is not in its section or [DEFAULT]
    test.cfg:19: thickness must be text that matches the pictures' file names, such as .230 (letters, digits, dots, dashes, underscores)
    test.cfg:22: material_thickness in [EMULATOR] differs from thickness in [MATERIAL] on line 19: remove one
    test.cfg:23: time_scale must be a number from 0 (immediate) to 1000; 1 is real time
    test.cfg:24: button must be auto or wait
    test.cfg:25: duplicate section [emulator], first on line 20: merge them
    test.cfg:26: bypass_homing must be True or False (case-sensitive)
    test.cfg:28: z_home_offset must be a number of half steps from -100 to 100
    test.cfg:29: refuse_bytes must be a number of bytes, or 0 for no limit
    test.cfg: hostname in [MACHINE] is missing: set it
    remark: test.cfg:16: a % in firmware is kept as it is: %(name)s refers to a key, %% is a percent sign
    ");
    let Err(Problems { list, .. }) = read(text) else { panic!("no problems") };
    let lines: Vec<_> = list.iter().filter_map(|problem| problem.line).collect();
    assert!(lines.is_sorted() && lines.len() + 1 == list.len(), "{lines:?}");
}

#[test]
fn reports_missing_keys() {
    assert_snapshot!(problems(""), @r"
    test.cfg: serial in [MACHINE] is missing: set it in the file, or set GF_MACHINE_SERIAL in the environment
    test.cfg: hostname in [MACHINE] is missing: set it
    test.cfg: password in [MACHINE] is missing: set it in the file, or set GF_MACHINE_PASSWORD in the environment
    ");
    assert_snapshot!(problems("[MACHINE]\nserial:\nhostname: ABC-123\npassword:\n"), @r"
    test.cfg:2: serial in [MACHINE] is missing: set it in the file, or set GF_MACHINE_SERIAL in the environment
    test.cfg:4: password in [MACHINE] is missing: set it in the file, or set GF_MACHINE_PASSWORD in the environment
    ");
}

#[test]
fn the_environment_overrides_the_file() {
    let environment = |name: &str| match name {
        "GF_MACHINE_SERIAL" => Some("87654321".to_owned()),
        "GF_MACHINE_PASSWORD" => Some("f".repeat(64)),
        _ => None,
    };
    // Valid, invalid, empty and missing keys.
    for machine in ["serial: 12345678\npassword: 0123\n", "serial:\npassword:\n", ""] {
        let text = format!("[MACHINE]\nhostname: ABC-123\n{machine}");
        let (config, _) = Config::from_cfg("test.cfg", &text, &environment).expect("no problems");
        assert_eq!(config.machine.serial, 87_654_321);
        assert_eq!(config.machine.password.reveal(), "f".repeat(64));
    }
    // An empty variable is ignored.
    let (config, _) = Config::from_cfg("test.cfg", FILE_1X, &|_| Some(String::new())).expect("no problems");
    assert_eq!(config.machine.serial, 12_345_678);

    let wrong = |name: &str| name.starts_with("GF_").then(|| "S-nonsense".to_owned());
    let text = Config::from_cfg("test.cfg", FILE_1X, &wrong).expect_err("both are wrong").to_string();
    assert_snapshot!(text, @r"
    test.cfg: GF_MACHINE_SERIAL in the environment must be digits only, without the leading S
    test.cfg: GF_MACHINE_PASSWORD in the environment must be 64 hexadecimal digits (it is not shown here)
    ");
}

#[test]
fn warns_about_unknown_names() {
    let text = with_identity(
        "pasword: x\ncolour: blue\nmotion_dir: here\nroot: data\napp_version: %(root)s\n[MASCHINE]\nserial: 1\n[OTHER]\na: b\n",
    );
    let (config, warnings) = read(&text).expect("no problems");
    assert_eq!(config.machine.serial, 12_345_678);
    let warnings: Vec<_> = warnings.iter().map(Warning::to_string).collect();
    assert_snapshot!(warnings.join("\n"), @r"
    line 5: unknown key pasword in [MACHINE]: did you mean password?
    line 6: unknown key colour in [MACHINE]
    line 7: unknown key motion_dir in [MACHINE]: it belongs in [GENERAL]
    line 10: unknown section [MASCHINE]: did you mean [MACHINE]?
    line 12: unknown section [OTHER]
    ");
}

#[test]
fn synonyms_must_have_equal_values() {
    let text = with_identity("[GENERAL]\nmotion_dir: a\n[EMULATOR]\nmotion_dl_dir: a\n");
    assert_eq!(clean(&text).motion.dir, Path::new("a"));
    let text = with_identity("[EMULATOR]\nmotion_dl_dir: a\n[GENERAL]\nmotion_dir: b\n");
    assert_snapshot!(problems(&text), @r"test.cfg:8: motion_dir in [GENERAL] differs from motion_dl_dir in [EMULATOR] on line 6: remove one");
    // A key in its own section takes precedence over [DEFAULT].
    let text = with_identity("[DEFAULT]\nmotion_dl_dir: a\n[EMULATOR]\ntime_scale: 1\n[GENERAL]\nmotion_dir: b\n");
    assert_eq!(clean(&text).motion.dir, Path::new("b"));
}

#[test]
fn default_applies_only_to_existing_sections() {
    let config = clean(&with_identity("[DEFAULT]\nhead_id: 7\nmotion_dir: x\nanything: goes\n"));
    assert_eq!(config.machine.head_id, Some(7));
    assert_eq!(config.motion.dir, Motion::default().dir);
}

#[test]
fn the_1x_console_key_replaces_the_file() {
    let logging = |text: &str| clean(&with_identity(text)).logging;
    let file = Some(Path::new("x.log"));

    let both = logging("[GENERAL]\nlog_file: x.log\nconsole_log_level: INFO\n");
    assert_eq!((both.file.as_deref(), both.console_level), (None, Some(LogLevel::Info)));
    let off = logging("[GENERAL]\nlog_file: x.log\nconsole_log_level: False\n");
    assert_eq!((off.file.as_deref(), off.console_level), (file, None));
    let new = logging("[LOGGING]\nfile: x.log\nconsole_level: INFO\n");
    assert_eq!((new.file.as_deref(), new.console_level), (file, Some(LogLevel::Info)));
    let mixed = logging("[GENERAL]\nlog_file: x.log\n[LOGGING]\nconsole_level: critical\n");
    assert_eq!((mixed.file.as_deref(), mixed.console_level), (file, Some(LogLevel::Critical)));
    assert_eq!(logging("[LOGGING]\nfile: x.log\nlevel: False\n").file, None);
}

/// Returns a non-default value for a field, and a function that reads the field.
fn example(field: &str) -> (&'static str, fn(&Config) -> String) {
    match field {
        "general.base_dir" | "emulator.base_dir" => ("x", |_| "x".into()),
        "thermal.heater" | "thermal.start" | "thermal.run" | "motion.z_home_offset" => ("5", |_| "5".into()),
        "logging.save_puls" => ("False", |c| python(!c.motion.keep)),
        "forgectrl.url" => ("http://127.0.0.1:8080", |_| "http://127.0.0.1:8080".into()),
        "logging.file" => ("x.log", |c| shown(c.logging.file.as_ref())),
        "logging.level" => ("ERROR", |c| format!("{:?}", c.logging.level).to_uppercase()),
        "logging.console_level" => {
            ("INFO", |c| c.logging.console_level.map(|level| format!("{level:?}").to_uppercase()).unwrap_or_default())
        }
        // Has an effect only with save_sent_images.
        "logging.dir" | "logging.capture_dir" => ("sent\nsave_sent_images: True", |c| {
            format!("{}\nsave_sent_images: True", shown(c.logging.sent_images_dir.as_ref()))
        }),
        "logging.sent_images_dir" => ("True", |c| python(c.logging.sent_images_dir.is_some())),
        "logging.record_dir" => ("x", |c| shown(c.logging.record_dir.as_ref())),
        "logging.record_serial" => ("True", |c| python(c.logging.record_serial)),
        "motion.dir" => ("x", |c| c.motion.dir.display().to_string()),
        "motion.keep" => ("False", |c| python(c.motion.keep)),
        "motion.remark_bytes" => ("77", |c| c.motion.remark_bytes.to_string()),
        "motion.refuse_bytes" => ("78", |c| c.motion.refuse_bytes.to_string()),
        "motion.refuse_inflated_bytes" => ("79", |c| c.motion.refuse_inflated_bytes.to_string()),
        "firmware.check" => ("False", |c| python(c.firmware.check)),
        "firmware.download" => ("True", |c| python(c.firmware.download == Some(true))),
        "firmware.dir" => ("x", |c| c.firmware.dir.display().to_string()),
        "firmware.status_file" => ("x.json", |c| shown(c.firmware.status_file.as_ref())),
        "emulator.image_dir" => ("x", |c| c.emulator.image_dir.display().to_string()),
        "emulator.material_thickness" => (".5", |c| c.emulator.material_thickness.clone()),
        "emulator.bypass_homing" => ("True", |c| python(c.emulator.bypass_homing)),
        "emulator.time_scale" => ("0.25", |c| c.emulator.time_scale.to_string()),
        "emulator.button" => ("wait", |c| format!("{:?}", c.emulator.button).to_lowercase()),
        "emulator.button_timeout" => ("7.5", |c| c.emulator.button_timeout.as_secs_f64().to_string()),
        "emulator.warm_up" => ("1.5", |c| c.emulator.warm_up.as_secs_f64().to_string()),
        "emulator.cool_down" => ("2.5", |c| c.emulator.cool_down.as_secs_f64().to_string()),
        "service.server_url" => ("http://localhost:1", |c| c.service.server_url.clone()),
        "service.status_service_url" => ("ws://localhost:1", |c| c.service.status_service_url.clone()),
        "service.protocol" => {
            ("1.x", |c| c.service.protocol.map(|generation| generation.to_string()).unwrap_or_default())
        }
        "service.ca_file" => ("x.pem", |c| shown(c.service.ca_file.as_ref())),
        "service.user_agent" => ("Test/1 (x)", Config::user_agent),
        "service.actions_file" => ("x.json", |c| shown(c.service.actions_file.as_ref())),
        "service.retry_for" => ("1.25", |c| c.service.retry_for.as_secs_f64().to_string()),
        "service.proxy" => ("http://h:1", |c| c.service.proxy.as_ref().map(ToString::to_string).unwrap_or_default()),
        "machine.serial" => ("42", |c| c.machine.serial.to_string()),
        "machine.hostname" => ("XYZ-987", |c| c.machine.hostname.clone()),
        "machine.password" => (PASSWORD, |c| c.machine.password.reveal().to_owned()),
        "machine.firmware" => ("1.2.3-4", |c| c.machine.firmware.clone()),
        "machine.app_version" => ("abc", |c| c.machine.app_version.clone().unwrap_or_default()),
        "machine.head_id" => ("1", |c| c.machine.head_id.unwrap_or_default().to_string()),
        "machine.head_serial" => ("2", |c| c.machine.head_serial.unwrap_or_default().to_string()),
        "machine.head_firmware" => ("3", |c| c.machine.head_firmware.unwrap_or_default().to_string()),
        "machine.ip_address" => ("10.0.0.1", |c| c.machine.ip_address.clone()),
        other => panic!("no example for {other}: add one"),
    }
}

fn shown(path: Option<&PathBuf>) -> String {
    path.map(|path| path.display().to_string()).unwrap_or_default()
}

fn python(value: bool) -> String {
    if value { "True".into() } else { "False".into() }
}

#[test]
fn an_address_of_another_service_needs_the_other_one() {
    let missing = |name: &str, line: u32| {
        Some(format!("test.cfg:{line}: {name} is not set, and would be the cloud's: set it, too"))
    };
    for (keys, expected) in [
        ("server_url: http://localhost:8080", missing("status_service_url", 6)),
        ("sever_url: http://localhost:8080\nstatus_service_url: ws://localhost:8080", missing("server_url", 7)),
        ("server_url: http://localhost:8080\nstatus_service_url: ws://localhost:8080", None),
        ("server_url: http://localhost:8080\nstatus_service_url: wss://status.glowforge.com", None),
        ("server_url: https://app.glowforge.com", None),
    ] {
        let text = with_identity(&format!("[SERVICE]\n{keys}\n"));
        let problems = read(&text).err().map(|problems| problems.to_string());
        assert_eq!(problems.as_deref().map(|text| text.lines().next().unwrap()), expected.as_deref(), "{keys}");
        assert!(Config::read_cfg(Purpose::Offline, "test.cfg", &text, &|_| None).is_ok(), "{keys}");
    }
}

#[test]
fn each_key_sets_its_field() {
    let variable = |name: &str| match name {
        "GF_MACHINE_SERIAL" => Some("1".to_owned()),
        "GF_MACHINE_PASSWORD" => Some("a".repeat(64)),
        _ => None,
    };
    for Key { section, name, field, .. } in KEYS {
        let (value, seen) = example(field);
        let of_machine =
            |text: &str| if *section == "MACHINE" { text.to_owned() } else { format!("[MACHINE]\n{text}") };
        let mut text = format!("[{section}]\n{name}: {value}\n");
        // The other address, too: one of the cloud and one of another service are an error.
        match *field {
            "service.server_url" => text.push_str("status_service_url: wss://localhost\n"),
            "service.status_service_url" => text.push_str("server_url: https://localhost\n"),
            _ => {}
        }
        // Other required keys are set elsewhere, so that only this key makes a difference.
        if *field != "machine.hostname" {
            text.push_str(&of_machine("hostname: ABC-123\n"));
        }
        if *field == "service.protocol" {
            // A matching version, which causes no warning.
            text.push_str("firmware: 1.6.0-35\n");
        }
        let no_variable_for_it = |variable_name: &str| match (*field, variable_name) {
            ("machine.serial", "GF_MACHINE_SERIAL") | ("machine.password", "GF_MACHINE_PASSWORD") => None,
            _ => variable(variable_name),
        };
        let (config, warnings) = Config::from_cfg("test.cfg", &text, &no_variable_for_it)
            .unwrap_or_else(|problems| panic!("[{section}] {name}: {problems}"));
        assert_eq!(warnings, [], "[{section}] {name}");
        assert_eq!(seen(&config), value, "[{section}] {name}");
        assert_eq!(config.check(), Ok(()), "[{section}] {name}");
    }
}

#[test]
fn synonyms_have_the_same_effect() {
    for key in KEYS {
        let (value, seen) = example(key.field);
        let Some(value) = value.lines().next() else { panic!("no value for {}", key.field) };
        let first = KEYS.iter().find(|other| other.field == key.field).expect("the key itself at least");
        let set = |key: &Key| {
            let mut draft = super::keys::Draft::default();
            (key.set)(&mut draft, value).expect("a good value");
            seen(&draft.finish(false))
        };
        assert_eq!(set(key), set(first), "{}", key.name);
    }
}

#[test]
fn the_sample_is_valid_with_the_required_keys() {
    let variable = |name: &str| match name {
        "GF_MACHINE_SERIAL" => Some("12345678".to_owned()),
        "GF_MACHINE_PASSWORD" => Some(PASSWORD.to_owned()),
        _ => None,
    };
    let filled_in = SAMPLE.replace("\nhostname:\n", "\nhostname: ABC-123\n");
    let (config, warnings) = Config::from_cfg("sample", &filled_in, &variable).expect("no problems");
    assert_eq!(warnings, []);
    assert_eq!(config.machine.firmware, "2.6.0-2228");
    assert_eq!(config.generation(), Generation::V2);
    assert_eq!((config.machine.head_id, config.machine.head_serial, config.machine.head_firmware), (None, None, None));
    // The sample shows the defaults.
    let default = Config::default();
    assert_eq!(config.service.server_url, default.service.server_url);
    assert_eq!(config.service.status_service_url, default.service.status_service_url);
    assert_eq!(config.service.retry_for, default.service.retry_for);
    assert_eq!(config.emulator.warm_up, default.emulator.warm_up);
    assert_eq!(config.emulator.cool_down, default.emulator.cool_down);
    assert_eq!(config.motion.remark_bytes, default.motion.remark_bytes);
    assert_eq!(config.motion.refuse_bytes, default.motion.refuse_bytes);
    assert_eq!(config.motion.refuse_inflated_bytes, default.motion.refuse_inflated_bytes);
}

#[test]
fn the_sample_lacks_only_the_required_keys() {
    let Err(Problems { list, .. }) = Config::from_cfg("sample", SAMPLE, &no_variable) else { panic!("no problems") };
    let what: Vec<_> = list.iter().map(|problem| problem.what.as_str()).collect();
    assert_snapshot!(what.join("\n"), @r"
    serial in [MACHINE] is missing: set it in the file, or set GF_MACHINE_SERIAL in the environment
    hostname in [MACHINE] is missing: set it
    password in [MACHINE] is missing: set it in the file, or set GF_MACHINE_PASSWORD in the environment
    ");
}

#[test]
fn the_sample_documents_exactly_the_known_keys() {
    let mut documented = HashSet::new();
    let mut section = "";
    for line in SAMPLE.lines() {
        // In contrast to prose, keys that are commented out have no space after the #.
        let line = line.strip_prefix('#').unwrap_or(line);
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            section = name;
        } else if !line.starts_with(' ')
            && let Some((name, _)) = line.split_once(':')
        {
            documented.insert((section, name));
        }
    }
    let known: HashSet<_> = KEYS.iter().map(|key| (key.section, key.name)).collect();
    assert_eq!(known.difference(&documented).collect::<Vec<_>>(), Vec::<&(&str, &str)>::new(), "not documented");
    assert_eq!(documented.difference(&known).collect::<Vec<_>>(), Vec::<&(&str, &str)>::new(), "not known");
}
