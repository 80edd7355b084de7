//! Looking at jobs: pages, plots of a moment, and differences.

use std::fs;

use gf_emulator_core::puls::{Builder, code, tick};

use super::{files, job};
use crate::run;

#[test]
fn view_writes_a_page_and_reports_the_file() {
    let folder = files();
    let ended = run(&folder, &["puls", "view", "packed.puls"]);
    ended.expect(0);
    assert!(ended.stdout.is_empty() && ended.stderr == "packed.puls.html: open it in a browser\n", "{ended:?}");
    let page = fs::read_to_string(folder.path().join("packed.puls.html")).unwrap();
    assert!(page.starts_with("<!DOCTYPE html>") && page.contains("<h1>packed.puls</h1>"), "{page}");

    let ended = run(&folder, &["puls", "view", "job.puls", "-o", "-"]);
    ended.expect(0);
    assert!(ended.stdout.starts_with("<!DOCTYPE html>") && ended.stderr.is_empty(), "{}", ended.stderr);
}

#[test]
fn a_failed_view_leaves_no_file() {
    let folder = files();
    for (arguments, code, words) in [
        (&["cut.puls"][..], 1, "cut.puls: the compressed file ends"),
        (&["no.puls"], 1, "no.puls: not a pulse file"),
        (&["job.puls", "-o", "no/such/folder.html"], 2, "cannot write no/such/folder.html: "),
        (&["job.puls", "-o", "job.puls"], 2, "job.puls"),
    ] {
        let ended = run(&folder, &[&["puls", "view"], arguments].concat());
        ended.expect(code);
        assert!(ended.stderr.contains(words), "{ended:?}");
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 4, "a file is left");
}

#[test]
fn view_says_what_it_leaves_out() {
    let folder = files();
    let body = [tick::Z_STEP, 0, tick::Z_STEP | tick::Z_POSITIVE, 0].repeat(20_000);
    fs::write(folder.path().join("lens.puls"), [Builder::new().to_bytes(), body].concat()).unwrap();
    let ended = run(&folder, &["puls", "view", "lens.puls"]);
    ended.expect(0);
    assert!(
        ended.stderr.contains("lens.puls.html: remark: too many changes for a page: it shows the lens every "),
        "{ended:?}"
    );
    let page = fs::read_to_string(folder.path().join("lens.puls.html")).unwrap();
    assert!(page.contains("too many changes for a page") && page.len() < 1_000_000, "{}", page.len());
}

#[test]
fn plot_marks_a_moment() {
    let folder = files();
    for (at, words) in [("0:00.3", "At 0.30 s of "), ("0.3", "the head is at X "), ("1:00:00", "the job is over")] {
        let ended = run(&folder, &["puls", "plot", "job.puls", "-o", "-", "--at", at]);
        ended.expect(0);
        assert!(ended.stdout.contains(words), "{at}: {}", ended.stdout);
        let is_after = ended.stderr.contains("job.puls: remark: --at is after the end of the job, which is at ");
        assert_eq!(is_after, at == "1:00:00", "{at}: {}", ended.stderr);
    }
    let ended = run(&folder, &["puls", "plot", "job.puls", "--at", "1:75"]);
    ended.expect(2);
    assert!(ended.stderr.contains("expected a time from 0 to "), "{ended:?}");
    // Without a step frequency there is no time.
    fs::write(folder.path().join("timeless.puls"), b"\x80GF1\x08\0\0\0\x01").unwrap();
    let ended = run(&folder, &["puls", "plot", "timeless.puls", "--at", "1"]);
    ended.expect(1);
    assert!(ended.stderr.contains("timeless.puls: the header has no step frequency"), "{ended:?}");
    assert!(!folder.path().join("timeless.puls.svg").exists());
}

#[test]
fn diff_exits_as_diff_does() {
    let folder = files();
    let ended = run(&folder, &["puls", "diff", "job.puls", "packed.puls"]);
    ended.expect(0);
    assert_eq!((ended.stdout.as_str(), ended.stderr.as_str()), ("no difference\n", ""));

    let mut other = job();
    other.set(code::SERIAL_LOCK, 4712).unwrap().move_to(0.0, 30.0).unwrap();
    fs::write(folder.path().join("other.puls"), other.to_bytes()).unwrap();
    let ended = run(&folder, &["puls", "diff", "job.puls", "other.puls"]);
    ended.expect(1);
    for words in ["MCsn     4711 in A, 4712 in B\n", "apart    at most 30.00 mm, at ", "dose     "] {
        assert!(ended.stdout.contains(words), "{words}: {}", ended.stdout);
    }
    assert!(ended.stderr.ends_with("job.puls and other.puls differ\n"), "{ended:?}");

    let ended = run(&folder, &["puls", "diff", "--json", "job.puls", "other.puls", "-o", "both.png", "--size", "400"]);
    ended.expect(1);
    let found: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!((&found["same"], &found["header"][0]["b"]), (&false.into(), &4712.into()));
    assert_eq!(&fs::read(folder.path().join("both.png")).unwrap()[1..4], b"PNG");
    assert!(ended.stderr.starts_with("both.png: "), "{ended:?}");

    for (arguments, words) in [
        (&["job.puls", "cut.puls"][..], "cut.puls: the compressed file ends"),
        (&["no.puls", "job.puls"], "no.puls: not a pulse file"),
        (&["job.puls", "gone.puls"], "cannot read gone.puls"),
        (&["job.puls"], "required arguments"),
        (&["-", "-"], "standard input can be one of the two files only"),
        (&["job.puls", "other.puls", "-o", "both.pdf"], "both.pdf: SVG or PNG?"),
        (&["job.puls", "other.puls", "-o", "no/such/folder.svg"], "cannot write no/such/folder.svg: "),
    ] {
        let ended = run(&folder, &[&["puls", "diff"], arguments].concat());
        ended.expect(2);
        assert!(ended.stderr.contains(words), "{ended:?}");
    }
}
