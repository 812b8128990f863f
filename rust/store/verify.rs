//! Whether a store is what was committed: every checksum, every count, and the digest from the rows themselves.

use std::path::Path;

use serde::Serialize;

use super::ledger::Balance;
use super::{load, open, part};
use crate::error::{Error, Result};
use crate::event::time;
use crate::join::attribute::Windows;
use crate::join::derive::derive;
use crate::key::Secret;
use crate::spill::Place;

/// What was checked.
#[derive(Clone, Debug, Serialize)]
#[allow(missing_docs)]
pub struct Verified {
    pub store: String,
    pub ledger: u64,
    pub generation: u64,
    pub digest: String,
    pub files: u64,
    pub bytes: u64,
    pub impressions: u64,
    pub feedback: u64,
    pub balance: Balance,
}

/// Checks the newest commit of the store at `root`; the join holds `memory` bytes, and the rest goes to disk there.
pub fn verify(root: &Path, secret: &Secret, memory: Option<u64>) -> Result<Verified> {
    let ledger = open(root)?;
    let differs = |what: &str, found: String, expected: String| Error::Checksum {
        path: root.display().to_string(),
        found: format!("{what} {found}"),
        expected,
    };
    if ledger.key_id != secret.id {
        return Err(Error::Value(format!(
            "{}: the store was made with key {}, this run has key {}; give the same key by --key or UNSKEW_KEY",
            root.display(),
            ledger.key_id,
            secret.id
        )));
    }
    let (mut files, mut bytes) = (0, 0);
    let attached = ledger
        .attachments
        .iter()
        .flat_map(|kept| kept.files.iter().zip(&kept.checksums));
    let parts = ledger.parts.all().map(|part| (&part.path, &part.checksum));
    for (name, checksum) in parts.chain(attached) {
        bytes += part::verify(root, name, checksum)?;
        files += 1;
    }
    if !ledger.balance.holds() {
        return Err(differs(
            "books",
            format!("{:?}", ledger.balance),
            "books that balance".to_owned(),
        ));
    }
    let place = memory.map(|memory| Place::new(root, memory));
    let mut state = load::state(root, &ledger, secret, true, place)?;
    let [shown, given] = state.lens();
    let rows = |parts: &[part::Part]| parts.iter().map(|part| part.rows).sum::<u64>();
    for (what, found, expected) in [
        ("impressions", shown as u64, rows(&ledger.parts.impressions)),
        (
            "observations",
            rows(&ledger.parts.observations),
            rows(&ledger.parts.impressions),
        ),
        ("feedback", given as u64, rows(&ledger.parts.feedback)),
    ] {
        if found != expected {
            return Err(differs(what, format!("rows {found}"), expected.to_string()));
        }
    }
    let watermark = ledger
        .watermark
        .as_deref()
        .and_then(|text| time::parse("watermark", text).ok());
    let windows = Windows {
        window: ledger.window_us,
        lateness: ledger.lateness_us,
        watermark: watermark.unwrap_or(i64::MIN / 2),
    };
    let derived = derive(&mut state, &windows, 1, &mut || Ok(()), |_| Ok(()))?;
    let digest = derived.digest.to_string();
    if digest != ledger.digest {
        return Err(differs("digest", digest, ledger.digest));
    }
    Ok(Verified {
        store: root.display().to_string(),
        ledger: ledger.ledger,
        generation: ledger.generation,
        digest,
        files,
        bytes,
        impressions: derived.impressions,
        feedback: derived.feedback,
        balance: ledger.balance,
    })
}
