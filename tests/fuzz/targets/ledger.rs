//! Any text as a ledger file, with the checksum it should have.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use unskew::store::ledger;

fuzz_target!(|data: &str| {
    let checksum = twox_hash::XxHash3_128::oneshot(data.as_bytes());
    let text = format!("{data}\n{checksum:032x}\n");
    if let Ok(ledger) = ledger::parse(Path::new("ledger"), &text) {
        assert!(
            ledger
                .files()
                .all(|name| name.split('/').all(|part| part != ".."))
        );
    }
});
