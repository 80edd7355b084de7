//! Recordings: each entry can be written and read again, and the recording can be shown and exported.

#![no_main]

use gf_emulator_core::record::{Bodies, Entry, Recording, SESSION_FILE, export_har};
use gf_emulator_core::report::Report;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

fuzz_target!(|text: &[u8]| {
    let folder = tempfile::tempdir().expect("a folder for temporary files");
    std::fs::write(folder.path().join(SESSION_FILE), text).expect("a folder for temporary files");
    let open = || Recording::open(folder.path());
    let mut recording = match open() {
        Ok(recording) => recording,
        Err(error) => return assert!(!error.to_string().contains('\n')),
    };
    for entry in &mut recording {
        let entry = entry.expect("the file can be read");
        let json = serde_json::to_string(&entry).expect("an entry can be written");
        let again: Entry = serde_json::from_str(&json).expect("an entry can be read again");
        assert_eq!(serde_json::to_string(&again).expect("an entry can be written"), json);
    }
    assert!(recording.skipped().iter().all(|skipped| !skipped.reason.contains('\n')));
    let mut page = Vec::new();
    Report::read(open().expect("it was opened before"))
        .expect("it can be read")
        .write(&mut page)
        .expect("it is in memory");
    assert!(String::from_utf8(page).expect("a page is UTF-8").contains("</html>"));
    for bodies in [Bodies::Embedded, Bodies::Referenced] {
        let mut har = Vec::new();
        export_har(open().expect("it was opened before"), bodies, &mut har).expect("it can be read");
        serde_json::from_slice::<Value>(&har).expect("a HAR file is JSON");
    }
});
