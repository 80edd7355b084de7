//! Reports: what a recording has is in the page, and nothing that a service says is more than text there.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use gf_emulator_core::config::Generation;
use gf_emulator_core::local_service::{Cut, Fault};
use gf_emulator_core::puls;
use gf_emulator_core::record::{Recording, SESSION_FILE};
use gf_emulator_core::report::Report;
use gf_emulator_tests::recordings::{HOSTILE, flower, hostile, jpeg, long};
use gf_emulator_tests::{PICTURES, Setup, endings_of};
use serde_json::json;

fn read(folder: &Path) -> Report {
    Report::read(Recording::open(folder).unwrap()).unwrap()
}

fn page(folder: &Path) -> String {
    let mut page = Vec::new();
    read(folder).write(&mut page).unwrap();
    String::from_utf8(page).unwrap()
}

/// A session with one of everything: settings twice, pictures, one of them twice, jobs, failures and a cut.
fn recorded(generation: Generation, folder: &Path) {
    let bench = Setup::new(generation)
        .service(|service| service.puls(flower(5)))
        .config(|config| {
            for (n, (name, _)) in PICTURES.into_iter().enumerate() {
                fs::write(config.emulator.image_dir.join(format!("{name}.jpg")), jpeg(n)).unwrap();
            }
            config.firmware.check = true;
        })
        .recorded(folder)
        .start();
    bench.expect(1001, "settings", "completed");
    for id in 1002..1008 {
        bench.expect(id, "lid_image", "completed");
    }
    bench.expect(1008, "head_image", "completed");
    bench.expect(1009, "motion", "completed");
    bench.expect(1010, "print", "completed");
    bench.service.send_text("this is no JSON\n").unwrap();
    bench.service.fault(Fault::status(404).on("GET", "/dl/"));
    bench.expect(1011, "print", "failed");
    bench.service.drop_connection(Cut::Drain);
    bench.ask(1012, "settings");
    bench.wait("the second settings", |seen| endings_of(seen, 1012, "settings").len() == 1);
    bench.ask(1013, "focus");
    bench.expect(1014, "lid_image", "completed");
    let (_service, _folder, ended) = bench.stop();
    ended.unwrap();
    if generation == Generation::V1 {
        // Its second report is a whole one, in which something has changed.
        let path = folder.join(SESSION_FILE);
        let mut text = fs::read_to_string(&path).unwrap();
        let at = text.rfind("\"AAid\":204").unwrap();
        text.replace_range(at + 7..at + 10, "205");
        fs::write(&path, text).unwrap();
    }
}

/// Between the tags, and the tags' names.
fn elements(page: &str) -> BTreeSet<&str> {
    let names = page.split('<').skip(1).map(|rest| rest.split([' ', '>', '/', '\n']).find(|name| !name.is_empty()));
    names.flatten().collect()
}

#[test]
fn a_session_is_told_whole() {
    for generation in [Generation::V2, Generation::V1] {
        let folder = tempfile::tempdir().unwrap();
        recorded(generation, folder.path());
        let report = read(folder.path());
        assert_eq!(report.actions(), 14);
        let page = page(folder.path());
        let count = |what: &str| page.matches(what).count();
        assert_eq!(count("<article "), 14);
        assert_eq!(count("data-outcome=\"completed\"><h3>"), 12);
        // The failed print, and `focus`, which no machine does.
        assert_eq!((count("data-outcome=\"failed\"><h3>"), count("data-outcome=\"none\"><h3>")), (1, 1));
        for words in [
            "<!DOCTYPE html>",
            &format!("<title>A session of a {generation} machine</title>"),
            "GET /dl/job.puls → <b>404</b>",
            "not understood: </b>this is no JSON",
            "focus 1013</a> has no ending here",
            "Settings report: ",
            "air assist",
            "aria-label=\"machine to storage\"",
            "WebSocket closed: the machine has stopped",
            "<dt>travelled</dt>",
        ] {
            assert!(page.contains(words), "{generation}: no {words}");
        }
        // Each picture once, however often it was sent; the job too.
        assert_eq!(count("data:image/jpeg;base64,"), 6, "{generation}");
        assert!(count("<use href=\"#k") >= 3, "{generation}");
        assert_eq!(count("class=\"job\""), count("the same job again") + 1);
        // Its conversation row by row, as it was recorded.
        assert_eq!(count("<details class=\"row "), Recording::open(folder.path()).unwrap().count());
        if generation == Generation::V1 {
            assert!(page.contains(" settings changed since the last one"), "the second report tells what changed");
        }
    }
}

#[test]
fn nothing_that_is_recorded_is_more_than_text() {
    let folder = tempfile::tempdir().unwrap();
    hostile(folder.path());
    let page = page(folder.path());
    // What is in the page is what the page is made of; without its own style and script nothing else looks like a tag.
    let known = [
        "!DOCTYPE", "a", "article", "b", "body", "button", "caption", "dd", "details", "div", "dl", "dt", "fieldset",
        "footer", "form", "h1", "h2", "h3", "head", "header", "html", "i", "image", "input", "label", "legend", "li",
        "main", "meta", "nav", "option", "output", "p", "pre", "rect", "script", "section", "select", "small", "span",
        "style", "summary", "svg", "table", "tbody", "td", "th", "thead", "time", "title", "tr", "ul", "use",
    ];
    let strange: Vec<_> = elements(&page).into_iter().filter(|name| !known.contains(name)).collect();
    assert_eq!(strange, [""; 0]);
    for (what, times) in
        [("<script>", 1), ("<style>", 1), ("<meta ", 5), ("<form ", 1), ("<body>", 1), ("</script>", 1)]
    {
        assert_eq!(page.matches(what).count(), times, "{what}");
    }
    for tag in page.split('<').skip(1).filter_map(|rest| rest.split_once('>')).map(|(tag, _)| tag) {
        // Every link stays inside the page, and every embedded thing is a picture.
        if let Some((_, link)) = tag.split_once(" href=\"") {
            assert!(link.starts_with('#') || link.starts_with("data:image/"), "{tag}");
        }
        let names: String = tag.split('"').step_by(2).collect();
        for attribute in [" style=", " src=", " formaction=", " srcdoc=", " xlink:", " on"] {
            assert!(!names.contains(attribute), "{tag}");
        }
    }
    assert!(!page.contains("root:"), "a file that is not the recording's");
    assert!(page.contains(&HOSTILE[0].replace('<', "&lt;").replace('>', "&gt;")), "it is shown, as text");
    assert!(!page.contains(['\0', '\u{202e}', '\u{1b}', '\r']));
}

#[cfg(unix)]
#[test]
fn a_link_is_not_followed() {
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret");
    fs::write(&secret, jpeg(0)).unwrap();
    let recording = folder.path().join("recording");
    fs::create_dir(&recording).unwrap();
    std::os::unix::fs::symlink(&secret, recording.join("a.jpg")).unwrap();
    let text = [
        json!({"n": 0, "t": 0.0, "at": "", "kind": "session", "format": 1, "recorder": "a test", "side": "machine"}),
        json!({"n": 1, "t": 0.0, "at": "", "kind": "in", "bytes": 1, "json": {"id": 1, "action_type": "lid_image", "status": "ready"}}),
        json!({"n": 2, "t": 0.0, "at": "", "kind": "http", "method": "PUT", "url": "https://h/1", "request": {"bytes": 1, "file": "a.jpg"}}),
    ];
    fs::write(recording.join("session.jsonl"), text.map(|line| format!("{line}\n")).concat()).unwrap();
    let page = page(&recording);
    assert!(page.contains("a.jpg: it is no file") && !page.contains("data:image"), "{page}");
}

#[test]
fn what_is_too_much_is_named_and_not_shown() {
    let folder = tempfile::tempdir().unwrap();
    let mut lines = vec![
        json!({"n": 0, "t": 0.0, "at": "", "kind": "session", "format": 1, "recorder": "a test", "side": "machine"}),
    ];
    lines.push(json!({"n": 1, "t": 0.0, "at": "", "kind": "in", "bytes": 1, "json": {"id": 1, "action_type": "lid_image", "status": "ready", "much": vec!["x"; 100_000]}}));
    // Twenty pictures of 4 MiB are more than a page takes, and one of more than that is more than it shows.
    for n in 2..23_u32 {
        let mut picture = jpeg(0).to_vec();
        picture.extend(n.to_be_bytes());
        picture.resize(if n == 2 { (4 << 20) + 1 } else { 4 << 20 }, 0);
        fs::write(folder.path().join(format!("{n}.jpg")), picture).unwrap();
        lines.push(json!({"n": n, "t": 0.0, "at": "", "kind": "http", "method": "PUT", "url": "https://h/1", "request": {"bytes": 1, "file": format!("{n}.jpg")}}));
    }
    let text = lines.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n") + "\n";
    fs::write(folder.path().join("session.jsonl"), text).unwrap();
    let page = page(folder.path());
    assert!(page.contains("2.jpg: a picture of 4.2 MB, too large to be shown here"));
    assert!(page.contains("This is not all of it: line 2 of session.jsonl is."));
    assert_eq!(page.matches("data:image/jpeg").count(), 11);
    assert_eq!(page.matches("not shown: there are 67.1 MB of pictures").count(), 9);
    assert!(page.len() < 80 << 20, "{}", page.len());
}

#[test]
fn a_drawing_of_very_many_lines_is_a_picture() {
    let folder = tempfile::tempdir().unwrap();
    // Cuts in all directions, each a few steps long.
    let mut job = puls::Builder::new().to_bytes();
    let mut state = 1_u32;
    for _ in 0..150_000 {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        job.extend([0x10 | u8::try_from(state >> 28).unwrap() | 1; 16]);
    }
    fs::write(folder.path().join("1.puls"), job).unwrap();
    let lines = [
        json!({"n": 0, "t": 0.0, "at": "", "kind": "session", "format": 1, "recorder": "a test", "side": "machine"}),
        json!({"n": 1, "t": 0.0, "at": "", "kind": "in", "bytes": 1, "json": {"id": 1, "action_type": "print", "status": "ready"}}),
        json!({"n": 2, "t": 0.0, "at": "", "kind": "http", "method": "GET", "url": "https://h/1", "status": 200, "request": {"bytes": 0}, "response": {"bytes": 1, "file": "1.puls"}}),
    ];
    fs::write(folder.path().join("session.jsonl"), lines.map(|line| format!("{line}\n")).concat()).unwrap();
    let page = page(folder.path());
    assert!(page.contains("href=\"data:image/png;base64,") && page.contains("<dt>travelled</dt>"), "{}", page.len());
    assert!(page.len() < 2_000_000, "{}", page.len());
}

#[test]
fn why_an_action_failed_or_was_cancelled_is_on_the_page() {
    let folder = tempfile::tempdir().unwrap();
    let bench = Setup::new(Generation::V2).slow().recorded(folder.path()).start();
    bench.service.fault(Fault::status(404).on("GET", "/dl/"));
    bench.expect(1, "print", "failed");
    bench.ask(2, "print");
    bench.wait_event("print:download:completed", Some(2));
    bench.handle.press_button();
    bench.wait_event("print:running", Some(2));
    bench.handle.open_lid();
    bench.wait_event("print:cancelled", Some(2));
    bench.stop().2.unwrap();
    let page = page(folder.path());
    let (summary, actions) = page.split_once("id=\"actions\"").unwrap();
    // Among what went wrong, and with the action.
    for part in [summary, actions] {
        assert!(part.contains("the lid was opened") && part.contains("404"), "{part}");
    }
    assert_eq!(actions.matches("<p class=\"reason\">").count(), 2);
    assert_eq!(read(folder.path()).troubles(), 3, "the download and the two actions");
}

/// A recording of so many messages, each of an action of its own.
fn much(folder: &Path, messages: u64) {
    let mut text =
        json!({"n": 0, "t": 0.0, "at": "", "kind": "session", "format": 1, "recorder": "a test", "side": "machine"})
            .to_string();
    for n in 1..=messages {
        let message = r#""kind":"in","bytes":1,"json":{"#;
        write!(text, "\n{{\"n\":{n},\"t\":{n}.0,\"at\":\"\",{message}\"id\":{n},\"action_type\":\"print\",\"status\":\"ready\"}}}}").unwrap();
    }
    fs::write(folder.join(SESSION_FILE), text + "\n").unwrap();
}

#[test]
fn a_page_has_so_many_rows_and_the_next_one_the_next() {
    let folder = tempfile::tempdir().unwrap();
    much(folder.path(), 50_000);
    let rows = |page: &str| page.matches("<details class=\"row ").count();
    let first = page(folder.path());
    assert_eq!(rows(&first), 20_000);
    assert!(first.contains("entries 1 to 20000 of 50000") && first.contains("report --from 20001 "));
    assert!(first.contains("Conversation (50000)") && first.contains("Actions (50000)"));
    assert!(first.contains("18000 actions before these are left out"));
    assert!(first.len() < 40 << 20, "{}", first.len());
    let last = Report::read_from(Recording::open(folder.path()).unwrap(), 40_001).unwrap();
    assert_eq!((last.shown(), last.entries()), (Some((40_001, 50_000)), 50_000));
    let mut page = Vec::new();
    last.write(&mut page).unwrap();
    let page = String::from_utf8(page).unwrap();
    assert!(rows(&page) == 10_000 && page.contains("id=\"e40001\"") && page.contains("id=\"e50000\""));
    assert!(page.contains("entries 40001 to 50000 of 50000") && !page.contains("--from"));
    let none = Report::read_from(Recording::open(folder.path()).unwrap(), 50_001).unwrap();
    assert_eq!(none.shown(), None);
    none.write(&mut Vec::new()).unwrap();
}

/// For `.ci/browser/run`: the pages that a browser is to look at.
#[test]
fn pages_are_left_for_a_browser() {
    let Some(to) = std::env::var_os("GF_BROWSER_DIR").map(PathBuf::from) else { return };
    let make = |name: &str, record: &dyn Fn(&Path)| {
        let folder = tempfile::tempdir().unwrap();
        record(folder.path());
        fs::write(to.join(name), page(folder.path())).unwrap();
    };
    make("ordinary.html", &|folder| recorded(Generation::V2, folder));
    make("old.html", &|folder| recorded(Generation::V1, folder));
    make("hostile.html", &hostile);
    make("long.html", &|folder| long(folder, 10_000, 50));
}
