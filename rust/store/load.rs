//! Reads parts back: the join state of a commit, and single columns of single rows.

use std::path::Path;

use arrow_array::types::{Int32Type, Int64Type};
use arrow_schema::ArrowError;

use super::columns::{Columns, text};
use super::facts::{self, IMPRESSION_KEYS, Lineage};
use super::ledger::Ledger;
use super::part::{self, Part};
use crate::error::{Error, Result};
use crate::join::State;
use crate::key::Secret;

/// The join state of a commit, once its facts have the checksums of the ledger. With `check`, those were compared
/// before, and every row's content hash is computed anew and compared.
pub fn state(store: &Path, ledger: &Ledger, secret: &Secret, check: bool) -> Result<State> {
    let mut state = State::default();
    let columns = if check { &[] } else { IMPRESSION_KEYS };
    let differs = |part: &Part| Error::Checksum {
        path: store.join(&part.path).display().to_string(),
        found: "a row whose content is not what its hash says".to_owned(),
        expected: "equal hashes".to_owned(),
    };
    if !check {
        for part in ledger
            .parts
            .impressions
            .iter()
            .chain(&ledger.parts.feedback)
        {
            part::verify(store, &part.path, &part.checksum)?;
        }
    }
    for part in &ledger.parts.impressions {
        let mut sound = true;
        for batch in part::read(store, part, columns)? {
            facts::impressions(&batch?, secret, check, |row, src| {
                sound &= !check || row.hash() == row.content;
                state.impression(&row, src);
            })
            .map_err(Error::arrow(store.join(&part.path)))?;
        }
        if !sound {
            return Err(differs(part));
        }
    }
    for part in &ledger.parts.feedback {
        let mut sound = true;
        for batch in part::read(store, part, &[])? {
            facts::events(&batch?, secret, |row, src| {
                sound &= !check || row.hash() == row.content;
                state.feedback(&row, src);
            })
            .map_err(Error::arrow(store.join(&part.path)))?;
        }
        if !sound {
            return Err(differs(part));
        }
    }
    Ok(state)
}

/// Where the given rows (ascending) of a fact table came from.
pub fn lineage(store: &Path, parts: &[Part], rows: &[u32]) -> Result<Vec<Lineage>> {
    let mut found = Vec::new();
    pick(
        store,
        parts,
        rows,
        &["src", "line", "off", "len"],
        |of, row| {
            found.push(Lineage {
                src: of.number::<Int32Type>("src")?.value(row) as u32,
                line: of.number::<Int64Type>("line")?.value(row) as u64,
                off: of.number::<Int64Type>("off")?.value(row) as u64,
                len: of.number::<Int32Type>("len")?.value(row) as u64,
            });
            Ok(())
        },
    )?;
    Ok(found)
}

/// Request ids of the given rows (ascending) of impressions.
pub fn request_ids(store: &Path, parts: &[Part], rows: &[u32]) -> Result<Vec<Option<String>>> {
    let mut found = Vec::new();
    pick(store, parts, rows, &["request_id"], |of, row| {
        found.push(text(of.text("request_id")?, row).map(str::to_owned));
        Ok(())
    })?;
    Ok(found)
}

fn pick(
    store: &Path,
    parts: &[Part],
    mut rows: &[u32],
    columns: &[&str],
    mut each: impl FnMut(&Columns<'_>, usize) -> Result<(), ArrowError>,
) -> Result<()> {
    let mut first = 0;
    for part in parts {
        let end = first + part.rows;
        if rows.first().is_some_and(|row| u64::from(*row) < end) {
            for batch in part::read(store, part, columns)? {
                let batch = batch?;
                let after = first + batch.num_rows() as u64;
                while let Some((row, rest)) = rows
                    .split_first()
                    .filter(|(row, _)| u64::from(**row) < after)
                {
                    let at = (u64::from(*row) - first) as usize;
                    each(&Columns(&batch), at).map_err(Error::arrow(store.join(&part.path)))?;
                    rows = rest;
                }
                first = after;
            }
        }
        first = end;
    }
    Ok(())
}
