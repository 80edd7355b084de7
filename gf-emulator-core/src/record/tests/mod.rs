//! Redaction, and the files of a recording.

mod disk;

use std::fs;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use self::disk::BlockedDisk;
use super::disk_calls::CountedFile;
use super::entry::Part;
use super::file_writer::BodyCache;
use super::folder::{NewSession, SESSION_FILE};
use super::line_writer::LineWriter;
use super::queue::Stamp;
use super::recorder::Recorder;
use super::redactor::Redactor;
use super::unredacted::{Body, Digest, Unredacted};
use super::{Entry, Event, Exchange, Recording};
use crate::{Config, Secret, Secrets};

const SERIAL: u32 = 12_345_678;
const PASSWORD: &str = "pass/wo\"rd é+%\\";
const TOKEN: &str = "eyJhbGciOiJIUzI1NiJ9.e30.x_y-z";
const QUERY: &str = "X-Sig=a%2Fpresigned%20secret&Expires=1234567890123";

fn config() -> Config {
    let mut config = Config::default();
    config.machine.serial = SERIAL;
    config.machine.password = Secret::new(PASSWORD);
    config
}

fn recorder(folder: &Path) -> Recorder {
    let recorder = Recorder::of_machine(folder, &config()).unwrap();
    let secrets = Secrets::default();
    recorder.add_secrets(&secrets);
    secrets.add_token(&Secret::new(TOKEN));
    secrets.add_query(QUERY);
    recorder
}

fn exchange(url: &str, error: Option<&str>, header: (&str, &str), body: &[u8]) -> Unredacted {
    let headers = || -> Map<_, _> { [(header.0.to_owned(), Value::from(header.1))].into_iter().collect() };
    let part = || Part { headers: headers(), bytes: body.len() as u64, ..Part::default() };
    let exchange = Exchange {
        method: "GET".into(),
        url: url.into(),
        error: error.map(str::to_owned),
        request: part(),
        response: part(),
        ..Exchange::default()
    };
    Unredacted::Http(Box::new(exchange), Body::Bytes(body.to_vec().into()), Body::Confidential(body.to_vec().into()))
}

/// Every secret in every encoding: none of these may be in a file.
fn forbidden() -> Vec<Vec<u8>> {
    let secrets = [PASSWORD, TOKEN, "a/presigned secret", QUERY, "12345678"];
    secrets.iter().flat_map(|secret| encodings(secret)).map(String::into_bytes).collect()
}

fn encodings(secret: &str) -> Vec<String> {
    let percent = |all: bool, upper: bool| -> String {
        let escaped = |byte: u8| match byte {
            b if !all && (b.is_ascii_alphanumeric() || b"-_.~".contains(&b)) => char::from(b).to_string(),
            b if upper => format!("%{b:02X}"),
            b => format!("%{b:02x}"),
        };
        secret.bytes().map(escaped).collect()
    };
    let json = serde_json::to_string(secret).unwrap();
    let json = json[1..json.len() - 1].to_owned();
    let escape = |unit: u16| format!("\\u{unit:04x}");
    let units: String = secret.encode_utf16().map(escape).collect();
    vec![
        secret.to_owned(),
        percent(true, true),
        percent(true, false),
        percent(false, true),
        percent(false, false),
        percent(false, true).replace("%20", "+"),
        json.replace('/', "\\/"),
        json,
        units.to_uppercase().replace("\\U", "\\u"),
        units,
    ]
}

/// Generates text and bytes with encoded secrets in between.
fn body_with_secrets() -> impl Strategy<Value = Vec<u8>> {
    let secret = (0..5_usize, 0..10_usize).prop_map(|(which, encoding)| {
        let secret = [PASSWORD, TOKEN, "a/presigned secret", QUERY, "12345678"][which];
        encodings(secret)[encoding].clone().into_bytes()
    });
    let piece = prop_oneof![
        3 => secret,
        2 => "\\PC{0,12}".prop_map(String::into_bytes),
        1 => proptest::collection::vec(any::<u8>(), 0..9),
        2 => "[{}\\[\\]\":,\\\\ \r\n?&%u0-9]{0,9}".prop_map(String::into_bytes),
        1 => Just(b"{\"serial\" : \"S12345678\", \"password\" :1}".to_vec()),
        1 => Just(b"\xff\xd8\xff".to_vec()),
        1 => Just(b"\x80GF1".to_vec()),
    ];
    let pieces = proptest::collection::vec(piece, 0..6).prop_map(|pieces| pieces.concat());
    pieces.prop_flat_map(|text| {
        let string = Value::from(String::from_utf8_lossy(&text).into_owned());
        let object = json!({(string.as_str().unwrap_or_default()): [string], "n": 12_345_678, "f": 912_345_678.5});
        prop_oneof![Just(text), Just(object.to_string().into_bytes())]
    })
}

fn check_no_secret(folder: &Path) -> Result<usize, TestCaseError> {
    let forbidden = forbidden();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let bytes = std::fs::read(&path).unwrap();
        for secret in &forbidden {
            let found = bytes.windows(secret.len()).any(|part| part == secret);
            prop_assert!(
                !found,
                "{} is in {}: {}",
                String::from_utf8_lossy(secret),
                path.display(),
                String::from_utf8_lossy(&bytes)
            );
        }
    }
    let text = std::fs::read_to_string(folder.join(SESSION_FILE)).unwrap();
    prop_assert!(text.ends_with('\n'));
    for line in text.lines() {
        let entry = serde_json::from_str::<Entry>(line);
        prop_assert!(entry.is_ok(), "{entry:?}: {line}");
    }
    Ok(text.lines().count())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn writes_valid_entries_without_secrets(all in proptest::collection::vec(body_with_secrets(), 4)) {
        let texts: Vec<_> = all.iter().map(|bytes| String::from_utf8_lossy(bytes).into_owned()).collect();
        let folder = tempfile::tempdir().unwrap();
        let recorder = recorder(folder.path());
        recorder.record(Unredacted::In(texts[0].clone()));
        recorder.record(Unredacted::Out(texts[1].as_str().into()));
        recorder.record(exchange(&texts[2], Some(&texts[3]), (&texts[0], &texts[1]), &all[2]));
        recorder.record(exchange("http://h/x", None, ("etag", &texts[3]), &all[0].repeat(3)));
        recorder.state("x", Some(texts[2].clone()));
        recorder.record(Unredacted::Event(Event::Closed { reason: texts[3].clone() }));
        drop(recorder);
        prop_assert!(check_no_secret(folder.path())? >= 5);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn redacts_secrets_anywhere_in_long_bodies(
        filler in 0..200_000_usize, encoding in 0..10_usize, which in 0..5_usize, start in 0..4_usize,
    ) {
        let folder = tempfile::tempdir().unwrap();
        let recorder = recorder(folder.path());
        let secret = &encodings([PASSWORD, TOKEN, "a/presigned secret", QUERY, "12345678"][which])[encoding];
        let start = [&b"<html>"[..], b"\xff\xd8\xff", b"\x80GF1 no job", b"\0\xff"][start];
        let body = [start, &vec![b'.'; filler], secret.as_bytes(), b"\r\n", &vec![b'-'; 70_000]].concat();
        recorder.record(exchange("http://h/x", None, ("etag", "x"), &body));
        let mut file = recorder.create_spill_file().unwrap();
        file.write_all(&body).unwrap();
        let digest = Digest::of(b"another");
        recorder.record(Unredacted::Http(Box::default(), Body::None, Body::Spilled(file, digest)));
        drop(recorder);
        check_no_secret(folder.path())?;
        let files = std::fs::read_dir(folder.path()).unwrap().count();
        prop_assert_eq!(files, 3);
    }
}

#[test]
fn redacts_unknown_values_by_name_across_block_boundaries() {
    let folder = tempfile::tempdir().unwrap();
    let recorder = recorder(folder.path());
    // The only white space is between a name and its value, and within the value.
    let body = "<i>\"password\" : \"an unknown secret\"</i>".repeat(5000);
    recorder.record(exchange("http://h/x", None, ("etag", "x"), body.as_bytes()));
    drop(recorder);
    let kept = std::fs::read_to_string(folder.path().join("000001_request.bin")).unwrap();
    assert_eq!(kept, "<i>\"password\" : ***</i>".repeat(5000));
}

#[cfg(unix)]
#[test]
fn records_an_exchange_whose_spilled_body_cannot_be_read() {
    for start in ["{", "\u{0}"] {
        let folder = tempfile::tempdir().unwrap();
        let recorder = recorder(folder.path());
        let path = folder.path().join("spilled");
        std::fs::write(&path, start).unwrap();
        let unreadable = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
        let digest = Digest::of(b"another");
        recorder.record(Unredacted::Http(
            Box::default(),
            Body::None,
            Body::Spilled(CountedFile::new(unreadable, &Arc::default()), digest),
        ));
        drop(recorder);
        let entries = entries(folder.path());
        assert!(matches!(&entries[0].event, Event::Http(http) if http.response.file.is_none()), "{entries:?}");
        let Event::State { state, detail: Some(detail), .. } = &entries[1].event else { panic!("{entries:?}") };
        assert!(state == "dropped" && detail.starts_with("000001_response: "), "{detail}");
        assert_eq!(entries.len(), 2);
    }
}

#[test]
fn body_cache_evicts_the_least_recently_used_digest() {
    let mut cache = BodyCache::default();
    let mut name_of = |n: u32| {
        let file = CountedFile::new(tempfile::tempfile().unwrap(), &Arc::default());
        let body = Body::Spilled(file, Digest::of(&n.to_le_bytes()));
        cache.find_or_insert(&body, &n.to_string()).map(str::to_owned)
    };
    assert_eq!((name_of(0), name_of(1)), (None, None));
    for n in 2..=1024 {
        assert_eq!((name_of(n), name_of(0)), (None, Some("0".to_owned())));
    }
    assert_eq!((name_of(1), name_of(0)), (None, Some("0".to_owned())));
    assert_eq!(name_of(3), Some("3".to_owned()));
}

fn entries(folder: &Path) -> Vec<Entry> {
    Recording::open(folder).unwrap().map(Result::unwrap).collect()
}

#[test]
fn distinguishes_pictures_that_differ_in_one_byte() {
    let folder = tempfile::tempdir().unwrap();
    let recorder = recorder(folder.path());
    let mut picture = b"\xff\xd8\xff".to_vec();
    picture.resize(450_000, 7);
    // More than fit in memory, so that some are compared by digest.
    let others = (10..20).map(|n| Some(n * 1000));
    for at in [None, Some(300_123), None].into_iter().chain(others).chain([None, Some(300_123), Some(5000)]) {
        let mut picture = picture.clone();
        if let Some(at) = at {
            picture[at] += 1;
        }
        recorder.record(exchange("http://h/x", None, ("a", "b"), &picture));
    }
    drop(recorder);
    let files: Vec<_> = entries(folder.path())
        .into_iter()
        .filter_map(|entry| if let Event::Http(http) = entry.event { http.request.file } else { None })
        .collect();
    let names: std::collections::BTreeSet<_> = files.iter().collect();
    assert_eq!((files.len(), names.len()), (16, 13), "{files:?}");
    assert!(files[0] == files[2] && files[0] == files[13] && files[1] == files[14], "{files:?}");
    assert_eq!(std::fs::read(folder.path().join(&files[15])).unwrap()[5000], 8);
}

#[test]
fn a_recording_has_its_first_line_when_it_gets_its_name() {
    let parent = tempfile::tempdir().unwrap();
    let names = |folder: &Path| fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name()).collect::<Vec<_>>();
    let folder = parent.path().join("rec");
    let (session, mut file) = NewSession::create(&folder).unwrap();
    file.write_all(b"the first line\n").unwrap();
    assert!(!folder.join(SESSION_FILE).exists() && names(&folder).len() == 1);
    // Two imports, which get the name at their end, would replace each other's files.
    let error = NewSession::create(&folder).err().unwrap().to_string();
    assert!(error.contains("another program is writing a recording there"), "{error}");
    session.publish().unwrap();
    assert_eq!(names(&folder), [SESSION_FILE]);
    let error = NewSession::create(&folder).err().unwrap().to_string();
    assert!(error.contains("it already contains a recording"), "{error}");
    let other = parent.path().join("other");
    let (session, _) = NewSession::create(&other).unwrap();
    fs::write(other.join(SESSION_FILE), "").unwrap();
    assert!(session.publish().unwrap_err().to_string().contains("it already contains a recording"));
}

#[test]
fn a_recording_removes_what_those_beside_it_have_left() {
    let parent = tempfile::tempdir().unwrap();
    let [dead, empty, other, new] = ["dead", "empty", "other", "new"].map(|name| parent.path().join(name));
    let leftover = |folder: &Path| folder.join(".arriving-1.part");
    for folder in [&dead, &empty, &other, &new] {
        fs::create_dir(folder).unwrap();
        fs::write(leftover(folder), "half").unwrap();
    }
    fs::write(dead.join(SESSION_FILE), "").unwrap();
    fs::write(other.join("letter.txt"), "").unwrap();
    drop(NewSession::create(&new).unwrap());
    let left = [&dead, &empty, &other, &new].map(|folder| leftover(folder).exists());
    assert_eq!(left, [false, false, true, false], "a folder without a recording is none of ours");
}

#[cfg(unix)]
#[test]
fn a_recording_is_readable_only_by_its_owner() {
    use std::os::unix::fs::PermissionsExt;
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("new");
    let recorder = recorder(&folder);
    recorder.record(exchange("http://h/x", None, ("a", "b"), b"\xff\xd8\xff picture"));
    drop(recorder);
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&folder), 0o700);
    for entry in std::fs::read_dir(&folder).unwrap() {
        assert_eq!(mode(&entry.unwrap().path()), 0o600);
    }
}

#[test]
fn a_recording_of_one_machine_needs_no_choice() {
    let folder = tempfile::tempdir().unwrap();
    let recorders = [
        Recorder::of_machine(folder.path().join("one"), &Config::default()).unwrap(),
        Recorder::of_machines(folder.path().join("fleet"), &[Config::default()]).unwrap().for_machine(1),
    ];
    for recorder in recorders {
        let folder = recorder.folder().to_owned();
        recorder.state("stopped", None);
        drop(recorder);
        for number in [None, Some(1)] {
            assert_eq!(Recording::open(&folder).unwrap().of_machine(number).unwrap().count(), 1);
        }
        for number in [0, 2] {
            let error = Recording::open(&folder).unwrap().of_machine(Some(number)).unwrap_err().to_string();
            assert!(
                error.contains(&format!("no machine {number}")) || error.contains(&format!("not {number}")),
                "{error}"
            );
        }
    }
}

#[test]
fn serial_numbers_of_machines_that_are_not_named_are_hidden() {
    let folder = tempfile::tempdir().unwrap();
    let recorder = Recorder::of_machines(folder.path(), &[]).unwrap();
    recorder.for_machine(1).record(exchange("https://h/sign_in", None, ("a", "b"), br#"{"serial": 87654321}"#));
    drop(recorder);
    let text = std::fs::read_to_string(folder.path().join("session.jsonl")).unwrap();
    assert!(text.contains(r#""serial":"***""#) && !text.contains("87654321"), "{text}");
}

#[test]
fn a_time_that_equals_a_serial_number_by_chance_is_no_secret() {
    let (disk, written) = BlockedDisk::unblocked();
    let mut writer = LineWriter::new(Box::new(disk), Redactor::new(&[345_678], []), Arc::default(), None);
    let at = SystemTime::UNIX_EPOCH + Duration::from_millis(345_678);
    let stamp = Stamp { elapsed: Duration::from_micros(12_345_678), at, machine: Some(345_678) };
    writer.write(stamp, Event::Closed { reason: "cut by 345678".into() });
    writer.finish().unwrap();
    let text = String::from_utf8(written.lock().unwrap().clone()).unwrap();
    let expected = r#"{"n":0,"t":12.345678,"at":"1970-01-01T00:05:45.678Z","machine":345678,"kind":"closed","reason":"cut by ***"}"#;
    assert_eq!(text.trim_end(), expected);
}

proptest! {
    #[test]
    fn a_time_is_read_again_as_it_was_written(t in proptest::num::f64::POSITIVE) {
        let line = format!(r#"{{"n":3,"t":{t:e},"at":"","kind":"opened","url":""}}"#);
        let entry: Entry = serde_json::from_str(&line).unwrap();
        prop_assert_eq!(entry.t.to_bits(), t.to_bits());
        prop_assert_eq!(serde_json::from_str::<Entry>(&serde_json::to_string(&entry).unwrap()).unwrap(), entry);
    }
}
