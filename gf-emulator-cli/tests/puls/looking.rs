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
