//! Any bytes as a part of impressions, with the checksum it should have.
#![no_main]

use libfuzzer_sys::fuzz_target;
use unskew::error::Error;
use unskew::key::Secret;
use unskew::store::ledger::Ledger;
use unskew::store::load;
use unskew::store::part::{self, Part};

fuzz_target!(
    init: std::panic::set_hook(Box::new(|_| {})), // arrow's reader panics, and that is caught
    |data: &[u8]| {
        let folder = std::env::temp_dir();
        let name = format!("unskew-fuzz-{}.arrow", std::process::id());
        std::fs::write(folder.join(&name), data).expect("a temporary file");
        let mut ledger = Ledger::default();
        let (checksum, bytes) = part::hash(&folder.join(&name)).expect("the file just written");
        ledger.parts.impressions.push(Part { path: name, rows: 1, bytes, checksum });
        let secret = Secret::new(&[7; 32]).expect("a key of 32 bytes");
        let read = unskew::error::guarded(|| load::state(&folder, &ledger, &secret, false, None));
        if matches!(read, Err(Error::Internal(_))) {
            std::process::abort();
        }
    }
);
