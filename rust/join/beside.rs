//! Rows in order, beside sorted records about them: what happened to their users, and the observations.

use super::derive::{Observation, moments_of};
use super::log::LoggedShown;
use super::meet::{GIVEN, given_of};
use super::priors::{Moment, PRIOR, prior_of};
use super::sums::{Frame, Sums};
use crate::error::Result;
use crate::event::row::{Key, RowHash};
use crate::spill::bytes::Reader;
use crate::spill::sorter::Merge;

/// Gives what happened to the users of rows that stand.
pub fn happened(
    rows: impl Iterator<Item = Result<(u32, Option<LoggedShown>)>>,
    given: Merge<'_, GIVEN>,
    mut emit: impl FnMut(Moment<Key>) -> Result<()>,
) -> Result<()> {
    let mut given = Beside::new(given);
    for row in rows {
        let (row, known) = row?;
        let mine = given.of(row)?;
        let Some(known) = known.filter(|known| known.shown.user != Key::default()) else {
            continue;
        };
        let (user, shown_at) = (known.shown.user, known.shown.shown_at);
        for moment in moments_of(row, user, shown_at, mine.iter().map(given_of)) {
            emit(moment)?;
        }
    }
    Ok(())
}

/// Gives the observation of every row, an empty one where it does not stand.
pub fn observe(
    rows: impl Iterator<Item = Result<(u32, Option<LoggedShown>)>>,
    given: Merge<'_, GIVEN>,
    counts: Merge<'_, PRIOR>,
    frame: Frame<'_>,
    sums: &mut Sums,
    mut emit: impl FnMut(&Observation) -> Result<()>,
) -> Result<()> {
    let (mut given, mut counts) = (Beside::new(given), Beside::new(counts));
    let mut hash = RowHash::default();
    for row in rows {
        let (row, known) = row?;
        let (mine, count) = (given.of(row)?, counts.of(row)?);
        let Some(known) = known else {
            emit(&Observation::default())?;
            continue;
        };
        let before = count.first().map_or([0; 2], prior_of);
        let seen = frame.see(&known.shown, mine.iter().map(given_of), before, &mut hash);
        sums.add(&seen);
        emit(&seen.row)?;
    }
    Ok(())
}

/// Sorted records read beside the rows whose numbers they begin with.
struct Beside<'a, const N: usize> {
    records: Merge<'a, N>,
    next: Option<[u8; N]>,
    mine: Vec<[u8; N]>,
    begun: bool,
}

impl<'a, const N: usize> Beside<'a, N> {
    fn new(records: Merge<'a, N>) -> Self {
        Self {
            records,
            next: None,
            mine: Vec::new(),
            begun: false,
        }
    }

    /// The records of a row; rows are asked for in order.
    fn of(&mut self, row: u32) -> Result<&[[u8; N]]> {
        self.mine.clear();
        if !self.begun {
            self.begun = true;
            self.next = self.records.next().transpose()?;
        }
        while let Some(record) = self.next.filter(|next| Reader(next).u32() <= row) {
            self.mine.push(record);
            self.next = self.records.next().transpose()?;
        }
        Ok(&self.mine)
    }
}
