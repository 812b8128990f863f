//! The stages of a partition: what has one key, whatever shards it comes from.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::map::{OWN, SHOWN};
use super::packet::{Kind, pack};
use super::{DRIVER, Letter, Post, Settings, records, written};
use crate::error::Result;
use crate::join::meet::{JOINED, Meeting};
use crate::join::pairs::{Pair, Pairing};
use crate::join::priors::{self, PRIOR, prior, priors};
use crate::join::sums::Tally;
use crate::spill::bytes::{Reader, Writer};
use crate::spill::sorter::Sorter;

/// Bytes of what became of a row that does not stand.
pub(super) const LOST: usize = 1 + 4 + 1 + 8;

/// What became of a row that does not stand.
#[derive(Clone, Copy, PartialEq)]
#[repr(u8)]
pub(super) enum Fell {
    /// It stood until a better one came.
    Later = 1,
    /// It repeats the one that stood when it came.
    Repeat,
    /// It is worse than the one that stood when it came.
    Worse,
}

/// Of the rows under each key one stands, by the rule of `join`; they come in the order of shards and in that of rows,
/// and what becomes of each is what a single run says.
pub(super) fn winners(letters: &[Letter]) -> Result<Vec<Letter>> {
    let mut all = records::<OWN>(letters, Kind::Own).collect::<Result<Vec<_>>>()?;
    let key = |record: &[u8; OWN]| record.first_chunk::<17>().copied();
    all.sort_by_key(|(_, record)| key(record)); // stable
    let (mut post, mut gone) = (Post::new(Kind::Lost, letters.len()), BTreeMap::new());
    for rows in all.chunk_by(|(_, one), (_, next)| key(one) == key(next)) {
        let [first, rest @ ..] = rows else {
            continue;
        };
        let (mut stands, mut later) = (first, Vec::new());
        for row in rest {
            let ((_, content, _), (_, best, _)) = (fields(&row.1), fields(&stands.1));
            if better(&row.1, &stands.1) {
                later.push(stands);
                stands = row;
            } else {
                let fell = if content == best {
                    Fell::Repeat
                } else {
                    Fell::Worse
                };
                let (table, record) = lost(&row.1, fell, best);
                let count: &mut [u32; 2] = gone.entry(row.0).or_default();
                if let Some(count) = count.get_mut(usize::from(table)) {
                    *count += 1;
                }
                post.give(row.0, record);
            }
        }
        for row in later {
            post.give(row.0, lost(&row.1, Fell::Later, fields(&stands.1).1).1);
        }
    }
    let mut letters = post.letters()?;
    letters.push((DRIVER, written(&Won { gone })?));
    Ok(letters)
}

/// What the driver hears of a partition.
#[derive(Serialize, Deserialize)]
pub(super) struct Won {
    /// By shard, responses and feedback that are not to be in its parts.
    pub gone: BTreeMap<i64, [u32; 2]>,
}

/// Whether a row takes the place of the one before it.
fn better(row: &[u8; OWN], stands: &[u8; OWN]) -> bool {
    // version, received_at, retract, content: bytes that compare as they do
    let order = |record: &[u8; OWN]| record.get(17..OWN - 4).map(<[u8]>::to_vec);
    match row.first() {
        Some(&SHOWN) => order(row) < order(stands),
        _ => order(row) > order(stands),
    }
}

/// The table of a row, and the record of what became of it.
fn lost(row: &[u8; OWN], fell: Fell, stands: u64) -> (u8, [u8; LOST]) {
    let (table, _, number) = fields(row);
    let lost = Writer::default().u8(table).u32(number).u8(fell as u8);
    (table, lost.u64(stands).done())
}

/// Table, content and number of a row.
fn fields(record: &[u8; OWN]) -> (u8, u64, u32) {
    let mut from = Reader(record);
    let table = from.u8();
    from.key();
    from.i64();
    from.i64();
    from.u8();
    (table, from.u64(), from.u32())
}

/// What the driver hears of what met.
#[derive(Serialize, Deserialize)]
pub(super) struct Met {
    pub tally: Tally,
    /// Requests that are too wide, and responses that regenerate one that is not known.
    pub unpaired: [u64; 2],
}

/// Feedback to the rows that it is about, pairs to the shards of their first rows.
pub(super) fn met(settings: &Settings, letters: &[Letter]) -> Result<Vec<Letter>> {
    let (strata, windows) = (settings.strata(), settings.windows());
    let cells = settings.cells(&strata);
    let mut sorter = Sorter::<JOINED>::new(None);
    for record in records(letters, Kind::Join) {
        sorter.push(record?.1)?;
    }
    let mut tally = Tally::default();
    let pairing = Pairing::new(&strata, &windows, &cells, None);
    let mut meeting = Meeting::new(&windows, pairing, Sorter::new(None), &mut tally);
    for record in sorter.sorted()?.iter() {
        meeting.take(&record?)?;
    }
    meeting.end()?;
    let Meeting { pairing, given, .. } = meeting;
    let mut post = Post::new(Kind::Given, letters.len());
    for record in given.sorted()?.iter() {
        let record = record?;
        post.give(settings.shard_of(Reader(&record).u32()), record);
    }
    let mut pairs: Vec<_> = letters.iter().map(|_| Vec::new()).collect();
    let unpaired = [pairing.wide, pairing.lost];
    for record in pairing.found.sorted()?.iter() {
        let record = record?;
        let [row, _] = Pair::read(&record).rows;
        if let Some(to) = pairs.get_mut(settings.shard_of(row) as usize) {
            to.push(record);
        }
    }
    let mut answers = post.letters()?;
    for ((_, letter), pairs) in answers.iter_mut().zip(&pairs) {
        pack(letter, Kind::Pair, pairs)?;
    }
    answers.push((DRIVER, written(&Met { tally, unpaired })?));
    Ok(answers)
}

/// What each row's user had been shown and had said before.
pub(super) fn users(settings: &Settings, letters: &[Letter]) -> Result<Vec<Letter>> {
    let mut sorter = Sorter::<{ priors::SIZE }>::new(None);
    for record in records(letters, Kind::Moment) {
        sorter.push(record?.1)?;
    }
    let mut post = Post::<PRIOR>::new(Kind::Prior, letters.len());
    priors(sorter.sorted()?.iter(), |row, counts| {
        post.give(settings.shard_of(row), prior(row, counts));
        Ok(())
    })?;
    let mut letters = post.letters()?;
    letters.push((DRIVER, Vec::new()));
    Ok(letters)
}
