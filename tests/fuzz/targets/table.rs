//! Actions tables: what is loaded can be written and loaded again.

#![no_main]

use gf_emulator_core::actions::Table;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

fuzz_target!(|text: &str| {
    match Table::from_text("x", text) {
        Ok(table) => {
            let value: Value = serde_json::from_str(text).expect("a table is JSON");
            let again = Table::from_text("x", &value.to_string()).expect("it was loaded before");
            assert_eq!(format!("{table:?}"), format!("{again:?}"));
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});
