//! Looking at jobs: pages, plots of a moment, and differences.

use std::fs;

use super::files;
use crate::run;

#[test]
fn view_writes_a_page_and_reports_the_file() {
    let folder = files();
    let ended = run(&folder, &["puls", "view", "packed.puls"]);
    ended.expect(0);
    assert!(ended.stdout.is_empty() && ended.stderr == "packed.html: open it in a browser\n", "{ended:?}");
    let page = fs::read_to_string(folder.path().join("packed.html")).unwrap();
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
fn plot_marks_a_moment() {
    let folder = files();
    for (at, words) in [("0:00.3", "At 0.30 s of "), ("0.3", "the head is at X "), ("1:00:00", "the job is over")] {
        let ended = run(&folder, &["puls", "plot", "job.puls", "-o", "-", "--at", at]);
        ended.expect(0);
        assert!(ended.stdout.contains(words), "{at}: {}", ended.stdout);
    }
    let ended = run(&folder, &["puls", "plot", "job.puls", "--at", "1:75"]);
    ended.expect(2);
    assert!(ended.stderr.contains("expected a time from 0 to "), "{ended:?}");
    // Without a step frequency there is no time.
    fs::write(folder.path().join("timeless.puls"), b"\x80GF1\x08\0\0\0\x01").unwrap();
    let ended = run(&folder, &["puls", "plot", "timeless.puls", "--at", "1"]);
    ended.expect(1);
    assert!(ended.stderr.contains("timeless.puls: the header has no step frequency"), "{ended:?}");
    assert!(!folder.path().join("timeless.svg").exists());
}
