//! Reads parts back: the join state of a commit, and single columns of single rows.

use std::path::Path;

use arrow_array::types::{Int32Type, Int64Type};

use super::columns::{Columns, text};
use super::facts::{self, IMPRESSION_KEYS, Lineage};
use super::ledger::Ledger;
use super::part::{self, Part};
use crate::error::{Error, Result};
use crate::join::State;
use crate::join::pairs::Pair;
use crate::key::Secret;
use crate::spill::Place;

/// The join state of a commit, once its facts have the checksums of the ledger. With `check`, those were compared
/// before, and every row's content hash is computed anew and compared. `place` takes what is more than memory holds.
pub fn state(
    store: &Path,
    ledger: &Ledger,
    secret: &Secret,
    check: bool,
    place: Option<Place>,
) -> Result<State> {
    let mut state = State::new(place);
    let mut stored = Ok(());
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
                if stored.is_ok() {
                    stored = state.impression(&row, src).map(drop);
                }
            })
            .map_err(Error::arrow(store.join(&part.path)))?;
            std::mem::replace(&mut stored, Ok(()))?;
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
                if stored.is_ok() {
                    stored = state.feedback(&row, src).map(drop);
                }
            })
            .map_err(Error::arrow(store.join(&part.path)))?;
            std::mem::replace(&mut stored, Ok(()))?;
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
        rows.iter().map(|row| Ok((*row, ()))),
        &["src", "line", "off", "len"],
        |of, row, ()| {
            let at = |of: &Columns<'_>| {
                Ok(Lineage {
                    src: of.number::<Int32Type>("src")?.value(row) as u32,
                    line: of.number::<Int64Type>("line")?.value(row) as u64,
                    off: of.number::<Int64Type>("off")?.value(row) as u64,
                    len: of.number::<Int32Type>("len")?.value(row) as u64,
                })
            };
            found.push(at(of).map_err(Error::arrow(store))?);
            Ok(())
        },
    )?;
    Ok(found)
}

/// Gives each pair, in the order of their first rows, with the id of the request of that row; `base` is the number of
/// the first row in the parts.
pub fn with_requests(
    store: &Path,
    parts: &[Part],
    base: u32,
    pairs: impl Iterator<Item = Result<Pair>>,
    mut each: impl FnMut(&Pair, Option<&str>) -> Result<()>,
) -> Result<()> {
    let pairs = pairs.map(|pair| pair.map(|pair| (pair.rows[0] - base, pair)));
    pick(store, parts, pairs, &["request_id"], |of, row, pair| {
        let id = of.text("request_id").map_err(Error::arrow(store))?;
        each(&pair, text(id, row))
    })
}

/// Gives each item with the place of its row in a batch; the items come in the order of their rows.
fn pick<T>(
    store: &Path,
    parts: &[Part],
    items: impl Iterator<Item = Result<(u32, T)>>,
    columns: &[&str],
    mut each: impl FnMut(&Columns<'_>, usize, T) -> Result<()>,
) -> Result<()> {
    let (mut items, mut first) = (items.peekable(), 0);
    let comes = |item: Option<&Result<(u32, T)>>, end: u64| {
        item.is_some_and(|item| !matches!(item, Ok((row, _)) if u64::from(*row) >= end))
    };
    for part in parts {
        let end = first + part.rows;
        if comes(items.peek(), end) {
            for batch in part::read(store, part, columns)? {
                let batch = batch?;
                let after = first + batch.num_rows() as u64;
                while comes(items.peek(), after) {
                    let Some((row, item)) = items.next().transpose()? else {
                        break;
                    };
                    each(&Columns(&batch), (u64::from(row) - first) as usize, item)?;
                }
                first = after;
            }
        }
        first = end;
    }
    Ok(())
}
