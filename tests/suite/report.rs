//! Reports: everything recorded is on the page, as text only.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::iter;
use std::path::{Path, PathBuf};

use gf_emulator_core::config::Generation;
use gf_emulator_core::local_service::{Cut, Fault};
use gf_emulator_core::puls;
use gf_emulator_core::record::{Recording, SESSION_FILE};
use gf_emulator_core::report::Report;
use gf_emulator_tests::recordings::{HOSTILE, flower, hostile, jpeg, long};
use gf_emulator_tests::{PICTURES, Setup, endings_of};
use serde_json::{Value, json};

fn read(folder: &Path) -> Report {
    Report::read(Recording::open(folder).unwrap()).unwrap()
}

fn page(report: &Report) -> String {
    let mut page = Vec::new();
    report.write(&mut page).unwrap();
    String::from_utf8(page).unwrap()
}

/// Writes a recording of these entries, numbered from 1.
pub(crate) fn write_recording(folder: &Path, entries: impl IntoIterator<Item = Value>) {
    let session = json!({"kind": "session", "format": 1, "recorder": "a test", "side": "machine"});
    let mut text = String::new();
    for (n, mut entry) in (0_u32..).zip(iter::once(session).chain(entries)) {
        (entry["n"], entry["t"], entry["at"]) = (n.into(), f64::from(n).into(), "".into());
        writeln!(text, "{entry}").unwrap();
    }
    fs::write(folder.join(SESSION_FILE), text).unwrap();
}

/// The entry of a message from the service that requests an action.
pub(crate) fn request(id: u32, action_type: &str) -> Value {
    json!({"kind": "in", "bytes": 1, "json": {"id": id, "action_type": action_type, "status": "ready"}})
}

/// The entry of a download into `file`.
pub(crate) fn download(file: &str) -> Value {
    let response = json!({"bytes": 1, "file": file});
    json!({"kind": "http", "method": "GET", "url": "https://h/1", "status": 200, "request": {"bytes": 0}, "response": response})
}

fn upload(file: &str) -> Value {
    json!({"kind": "http", "method": "PUT", "url": "https://h/1", "request": {"bytes": 1, "file": file}})
}

/// Records a session with two settings reports, pictures (one of them twice), jobs, failures and a lost connection.
fn recorded(generation: Generation, folder: &Path) {
    let harness = Setup::new(generation)
        .service(|service| service.puls(flower(5)))
        .config(|config| {
            for (n, (name, _)) in PICTURES.into_iter().enumerate() {
                fs::write(config.emulator.image_dir.join(format!("{name}.jpg")), jpeg(n)).unwrap();
            }
            config.firmware.check = true;
        })
        .recorded(folder)
        .start();
    harness.expect(1001, "settings", "completed");
    for id in 1002..1008 {
        harness.expect(id, "lid_image", "completed");
    }
    harness.expect(1008, "head_image", "completed");
    harness.expect(1009, "motion", "completed");
    harness.expect(1010, "print", "completed");
    harness.service.send_text("this is not JSON\n").unwrap();
    harness.service.fault(Fault::status(404).on("GET", "/dl/"));
    harness.expect(1011, "print", "failed");
    harness.service.drop_connection(Cut::Drain);
    harness.start_action(1012, "settings");
    harness.wait("the second settings", |seen| endings_of(seen, 1012, "settings").len() == 1);
    harness.start_action(1013, "focus");
    harness.expect(1014, "lid_image", "completed");
    let (_service, _folder, ended) = harness.stop();
    ended.unwrap();
    if generation == Generation::V1 {
        // A 1.x machine sends a whole second report: change a value in it.
        let path = folder.join(SESSION_FILE);
        let mut text = fs::read_to_string(&path).unwrap();
        let at = text.rfind("\"AAid\":204").unwrap();
        text.replace_range(at + 7..at + 10, "205");
        fs::write(&path, text).unwrap();
    }
}

/// Returns the names of all elements.
fn elements(page: &str) -> BTreeSet<&str> {
    let names = page.split('<').skip(1).map(|rest| rest.split([' ', '>', '/', '\n']).find(|name| !name.is_empty()));
    names.flatten().collect()
}

#[test]
fn page_shows_the_whole_session() {
    for generation in [Generation::V2, Generation::V1] {
        let folder = tempfile::tempdir().unwrap();
        recorded(generation, folder.path());
        let report = read(folder.path());
        assert_eq!(report.actions(), 14);
        let page = page(&read(folder.path()));
        let count = |what: &str| page.matches(what).count();
        assert_eq!(count("<article "), 14);
        assert_eq!(count("data-outcome=\"completed\"><h3>"), 12);
        // The failed print, and `focus`, which machines ignore.
        assert_eq!((count("data-outcome=\"failed\"><h3>"), count("data-outcome=\"none\"><h3>")), (1, 1));
        for words in [
            "<!DOCTYPE html>",
            &format!("<title>Session of a {generation} machine</title>"),
            "GET /dl/job.puls → <b>404</b>",
            "not understood: </b>this is not JSON",
            "focus 1013</a> has no recorded ending",
            "Settings report: ",
            "air assist",
            "aria-label=\"machine to storage\"",
            "WebSocket closed: the machine has stopped",
            "<dt>total path</dt>",
        ] {
            assert!(page.contains(words), "{generation}: no {words}");
        }
        // Each picture and job is embedded once.
        assert_eq!(count("data:image/jpeg;base64,"), 6, "{generation}");
        assert!(count("<use href=\"#k") >= 3, "{generation}");
        assert_eq!(count("class=\"job\""), count("same job as above") + 1);
        // One row per entry.
        assert_eq!(count("<details class=\"row "), Recording::open(folder.path()).unwrap().count());
        if generation == Generation::V1 {
            assert!(page.contains(" settings changed since the last report"));
        }
    }
}

#[test]
fn recorded_markup_stays_text() {
    let folder = tempfile::tempdir().unwrap();
    hostile(folder.path());
    let page = page(&read(folder.path()));
    // Only elements that the page itself uses.
    let known = [
        "!DOCTYPE", "a", "article", "b", "body", "button", "caption", "dd", "details", "div", "dl", "dt", "fieldset",
        "footer", "form", "h1", "h2", "h3", "head", "header", "html", "i", "image", "input", "label", "legend", "li",
        "main", "meta", "nav", "option", "output", "p", "pre", "rect", "script", "section", "select", "small", "span",
        "style", "summary", "svg", "table", "tbody", "td", "th", "thead", "time", "title", "tr", "ul", "use",
    ];
    let unknown: Vec<_> = elements(&page).into_iter().filter(|name| !known.contains(name)).collect();
    assert_eq!(unknown, [""; 0]);
    for (what, times) in
        [("<script>", 1), ("<style>", 1), ("<meta ", 5), ("<form ", 1), ("<body>", 1), ("</script>", 1)]
    {
        assert_eq!(page.matches(what).count(), times, "{what}");
    }
    for tag in page.split('<').skip(1).filter_map(|rest| rest.split_once('>')).map(|(tag, _)| tag) {
        // Links stay inside the page, and only pictures are embedded.
        if let Some((_, link)) = tag.split_once(" href=\"") {
            assert!(link.starts_with('#') || link.starts_with("data:image/"), "{tag}");
        }
        let names: String = tag.split('"').step_by(2).collect();
        for attribute in [" style=", " src=", " formaction=", " srcdoc=", " xlink:", " on"] {
            assert!(!names.contains(attribute), "{tag}");
        }
    }
    assert!(!page.contains("root:"), "a file outside the recording");
    assert!(page.contains(&HOSTILE[0].replace('<', "&lt;").replace('>', "&gt;")), "shown as text");
    assert!(!page.contains(['\0', '\u{202e}', '\u{1b}', '\r']));
}

#[cfg(unix)]
#[test]
fn symbolic_links_are_not_followed() {
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret");
    fs::write(&secret, jpeg(0)).unwrap();
    let recording = folder.path().join("recording");
    fs::create_dir(&recording).unwrap();
    std::os::unix::fs::symlink(&secret, recording.join("a.jpg")).unwrap();
    write_recording(&recording, [request(1, "lid_image"), upload("a.jpg")]);
    let page = page(&read(&recording));
    assert!(page.contains("a.jpg: not a regular file") && !page.contains("data:image"), "{page}");
}

#[test]
fn pictures_over_the_limits_are_not_embedded() {
    let folder = tempfile::tempdir().unwrap();
    let mut long_request = request(1, "lid_image");
    long_request["json"]["filler"] = json!(vec!["x"; 100_000]);
    let mut entries = vec![long_request];
    // One picture over 4 MiB, and more pictures of 4 MiB than fit into 64 MiB.
    for n in 2..23_u32 {
        let mut picture = jpeg(0).to_vec();
        picture.extend(n.to_be_bytes());
        picture.resize(if n == 2 { (4 << 20) + 1 } else { 4 << 20 }, 0);
        fs::write(folder.path().join(format!("{n}.jpg")), picture).unwrap();
        entries.push(upload(&format!("{n}.jpg")));
    }
    write_recording(folder.path(), entries);
    let page = page(&read(folder.path()));
    assert!(page.contains("2.jpg: a picture of 4.2 MB, too large to show here"));
    assert!(page.contains("Truncated. The full entry is line 2 of session.jsonl."));
    assert_eq!(page.matches("data:image/jpeg").count(), 11);
    assert_eq!(page.matches("not shown: the limit of 67.1 MB of pictures").count(), 9);
    assert!(page.len() < 80 << 20, "{}", page.len());
}

#[test]
fn complex_drawing_is_embedded_as_png() {
    let folder = tempfile::tempdir().unwrap();
    // Cuts in all directions, each a few steps long.
    let mut job = puls::Builder::new().to_bytes();
    let mut state = 1_u32;
    for _ in 0..150_000 {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        job.extend([0x10 | u8::try_from(state >> 28).unwrap() | 1; 16]);
    }
    fs::write(folder.path().join("1.puls"), job).unwrap();
    write_recording(folder.path(), [request(1, "print"), download("1.puls")]);
    let page = page(&read(folder.path()));
    assert!(page.contains("href=\"data:image/png;base64,") && page.contains("<dt>total path</dt>"), "{}", page.len());
    assert!(page.len() < 2_000_000, "{}", page.len());
}

#[test]
fn page_shows_why_an_action_failed_or_was_cancelled() {
    let folder = tempfile::tempdir().unwrap();
    let harness = Setup::new(Generation::V2).slow().recorded(folder.path()).start();
    harness.service.fault(Fault::status(404).on("GET", "/dl/"));
    harness.expect(1, "print", "failed");
    harness.start_action(2, "print");
    harness.wait_event("print:download:completed", Some(2));
    harness.handle.press_button();
    harness.wait_event("print:running", Some(2));
    harness.handle.open_lid();
    harness.wait_event("print:cancelled", Some(2));
    harness.stop().2.unwrap();
    let page = page(&read(folder.path()));
    let (summary, actions) = page.split_once("id=\"actions\"").unwrap();
    // Among the problems, and with the action.
    for part in [summary, actions] {
        assert!(part.contains("the lid was opened") && part.contains("404"), "{part}");
    }
    assert_eq!(actions.matches("<p class=\"reason\">").count(), 2);
    assert_eq!(read(folder.path()).problems(), 3, "the download and the two actions");
}

#[test]
fn long_recording_is_split_into_pages() {
    let folder = tempfile::tempdir().unwrap();
    write_recording(folder.path(), (1..=50_000).map(|id| request(id, "print")));
    let rows = |page: &str| page.matches("<details class=\"row ").count();
    let first = page(&read(folder.path()));
    assert_eq!(rows(&first), 20_000);
    assert!(first.contains("entries 1 to 20000 of 50000") && first.contains("report --from 20001 "));
    assert!(first.contains("Conversation (50000)") && first.contains("Actions (50000)"));
    assert!(first.contains("18000 earlier actions not shown"));
    assert!(first.len() < 40 << 20, "{}", first.len());
    let last = Report::read_from(Recording::open(folder.path()).unwrap(), 40_001).unwrap();
    assert_eq!((last.shown(), last.entries()), (Some((40_001, 50_000)), 50_000));
    let page = page(&last);
    assert!(rows(&page) == 10_000 && page.contains("id=\"e40001\"") && page.contains("id=\"e50000\""));
    assert!(page.contains("entries 40001 to 50000 of 50000") && !page.contains("--from"));
    let none = Report::read_from(Recording::open(folder.path()).unwrap(), 50_001).unwrap();
    assert_eq!(none.shown(), None);
    none.write(&mut Vec::new()).unwrap();
}

#[test]
#[ignore = "writes the pages that .ci/browser/run looks at, into GF_BROWSER_DIR or a temporary folder"]
fn writes_pages_for_the_browser_tests() {
    let temporary = tempfile::tempdir().unwrap();
    let to = std::env::var_os("GF_BROWSER_DIR").map_or_else(|| temporary.path().into(), PathBuf::from);
    let make = |name: &str, record: &dyn Fn(&Path)| {
        let folder = tempfile::tempdir().unwrap();
        record(folder.path());
        fs::write(to.join(name), page(&read(folder.path()))).unwrap();
    };
    make("ordinary.html", &|folder| recorded(Generation::V2, folder));
    make("old.html", &|folder| recorded(Generation::V1, folder));
    make("hostile.html", &hostile);
    make("long.html", &|folder| long(folder, 10_000, 50));
}
