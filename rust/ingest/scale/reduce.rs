//! What meets, whatever shards it comes from: responses with their feedback and each other, users with their past.

use serde::{Deserialize, Serialize};

use super::packet::Kind;
use super::{DRIVER, Letter, Post, Settings, empty, records, written};
use crate::error::Result;
use crate::join::meet::{GIVEN, JOINED, Meeting, arrived};
use crate::join::pairs::{self, Pair, Pairing};
use crate::join::priors::{self, Moment, PRIOR, prior, priors};
use crate::join::sums::Tally;
use crate::spill::bytes::Reader;
use crate::spill::sorter::Sorter;

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
    for kind in [Kind::Candidate, Kind::Told] {
        for record in records(letters, kind) {
            let (by, record) = record?;
            sorter.push(arrived(record, settings.shard(by as usize)?.base))?;
        }
    }
    let mut tally = Tally::default();
    let pairing = Pairing::new(&strata, &windows, &cells, None);
    let mut meeting = Meeting::new(&windows, pairing, Sorter::new(None), &mut tally);
    for record in sorter.sorted()?.iter() {
        meeting.take(&record?)?;
    }
    meeting.end()?;
    let Meeting { pairing, given, .. } = meeting;
    let mut post = Post::<GIVEN>::new(Kind::Given, settings);
    for record in given.sorted()?.iter() {
        let record = record?;
        post.give(settings.shard_of(Reader(&record).u32()), record);
    }
    let mut answers = empty(settings);
    post.write(&mut answers)?;
    let mut post = Post::<{ pairs::SIZE }>::new(Kind::Pair, settings);
    let unpaired = [pairing.wide, pairing.lost];
    for record in pairing.found.sorted()?.iter() {
        let record = record?;
        let [row, _] = Pair::read(&record).rows;
        post.give(settings.shard_of(row), record);
    }
    post.write(&mut answers)?;
    answers.push((DRIVER, written(&Met { tally, unpaired })?));
    Ok(answers)
}

/// What each row's user had been shown and had said before.
pub(super) fn users(settings: &Settings, letters: &[Letter]) -> Result<Vec<Letter>> {
    let mut sorter = Sorter::<{ priors::SIZE }>::new(None);
    for record in records(letters, Kind::Moment) {
        sorter.push(record?.1)?;
    }
    let mut post = Post::<PRIOR>::new(Kind::Prior, settings);
    priors(sorter.sorted()?.iter().map(Moment::read), |row, counts| {
        post.give(settings.shard_of(row), prior(row, counts));
        Ok(())
    })?;
    let mut letters = empty(settings);
    post.write(&mut letters)?;
    letters.push((DRIVER, Vec::new()));
    Ok(letters)
}
