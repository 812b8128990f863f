//! How often a user had been shown something before, and how often two-sided feedback of theirs had come.

use crate::error::Result;
use crate::event::row::Key;
use crate::spill::bytes::{Reader, Writer};

/// Bytes of a record.
pub const SIZE: usize = 16 + 8 + 4 + 1;

/// Bytes of a record of the counts before a row.
pub const PRIOR: usize = 4 + 2 * 4;

/// The record of a row's counts.
pub fn prior(row: u32, [shown, given]: [u32; 2]) -> [u8; PRIOR] {
    Writer::default().u32(row).u32(shown).u32(given).done()
}

/// The counts in a record.
pub fn prior_of(record: &[u8; PRIOR]) -> [u32; 2] {
    let mut from = Reader(record);
    from.u32();
    [from.u32(), from.u32()]
}

/// What happened to a user: they were shown a row, or gave its first two-sided feedback.
#[derive(Clone, Copy)]
pub struct Moment {
    /// User.
    pub user: Key,
    /// When.
    pub time: i64,
    /// Row number.
    pub row: u32,
    /// Whether it is feedback.
    pub feedback: bool,
}

impl Moment {
    /// Sorts by user and time.
    pub fn record(&self) -> [u8; SIZE] {
        let key = Writer::default().key(self.user).i64(self.time);
        key.u32(self.row).u8(u8::from(self.feedback)).done()
    }

    fn read(record: &[u8; SIZE]) -> Self {
        let mut from = Reader(record);
        Self {
            user: from.key(),
            time: from.i64(),
            row: from.u32(),
            feedback: from.u8() == 1,
        }
    }
}

/// Gives every row that was shown the counts of what came before it, from sorted moments.
pub fn priors(
    moments: impl Iterator<Item = Result<[u8; SIZE]>>,
    mut emit: impl FnMut(u32, [u32; 2]) -> Result<()>,
) -> Result<()> {
    let (mut now, mut before, mut counts) = (None, [0; 2], [0u32; 2]);
    for record in moments {
        let moment = Moment::read(&record?);
        let then = now.replace((moment.user, moment.time));
        if then.is_none_or(|(user, _)| user != moment.user) {
            (before, counts) = ([0; 2], [0; 2]);
        } else if then != now {
            before = counts;
        }
        let [exposures, feedback] = &mut counts;
        if moment.feedback {
            *feedback += 1;
        } else {
            *exposures += 1;
            emit(moment.row, before)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_happens_at_the_same_time_was_not_before() {
        let moment = |user: &str, time, row, feedback| {
            let user = Key::of(user.as_bytes());
            Moment {
                user,
                time,
                row,
                feedback,
            }
        };
        let mut records: Vec<_> = [
            moment("a", 5, 0, false),
            moment("a", 5, 1, false),
            moment("a", 5, 0, true),
            moment("a", 6, 2, false),
            moment("a", 9, 2, true),
            moment("a", 9, 3, false),
            moment("b", 7, 4, false),
        ]
        .iter()
        .map(Moment::record)
        .collect();
        records.sort_unstable();
        let mut found = [None; 5];
        let done = priors(records.into_iter().map(Ok), |row, counts| {
            if let Some(place) = found.get_mut(row as usize) {
                *place = Some(counts);
            }
            Ok(())
        });
        assert!(done.is_ok());
        assert_eq!(found, [[0, 0], [0, 0], [2, 1], [3, 1], [0, 0]].map(Some));
    }
}
