//! Imports of HAR files and of logs: a recording that can be read, or nothing.

#![no_main]

use gf_emulator_core::record::{Recording, import};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &[u8]| {
    let parent = tempfile::tempdir().expect("a folder for temporary files");
    let (file, folder) = (parent.path().join("file"), parent.path().join("recording"));
    std::fs::write(&file, text).expect("a folder for temporary files");
    match import(&file, &folder, false) {
        Ok(_) => {
            let mut recording = Recording::open(&folder).expect("an imported recording can be opened");
            assert!(recording.by_ref().all(|entry| entry.is_ok()));
            assert!(recording.skipped().is_empty(), "{:?}", recording.skipped());
        }
        Err(error) => {
            assert!(!error.to_string().contains('\n'));
            assert!(!folder.exists(), "a failed import leaves something behind");
        }
    }
});
