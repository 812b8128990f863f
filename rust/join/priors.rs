//! How often a user had been shown something before, and how often two-sided feedback of theirs had come.

use crate::error::Result;
use crate::event::row::Key;
use crate::event::time::FIRST;
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
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Moment<U> {
    /// User.
    pub user: U,
    /// When.
    pub time: i64,
    /// Row number.
    pub row: u32,
    /// Whether it is feedback.
    pub feedback: bool,
}

impl Moment<u32> {
    /// A number that sorts by user and time, which lies in [2000, 2100).
    pub fn packed(&self) -> u128 {
        let time = (self.time - FIRST) as u64;
        u128::from(self.user) << 96
            | u128::from(time) << 33
            | u128::from(self.row) << 1
            | u128::from(self.feedback)
    }

    /// The moment of a number.
    pub fn unpacked(packed: u128) -> Self {
        Self {
            user: (packed >> 96) as u32,
            time: ((packed >> 33) as u64 & (u64::MAX >> 1)) as i64 + FIRST,
            row: (packed >> 1) as u32,
            feedback: packed & 1 == 1,
        }
    }
}

impl Moment<Key> {
    /// Sorts by user and time.
    pub fn record(&self) -> [u8; SIZE] {
        let key = Writer::default().key(self.user).i64(self.time);
        key.u32(self.row).u8(u8::from(self.feedback)).done()
    }

    /// The moment of a record.
    pub fn read(record: Result<[u8; SIZE]>) -> Result<Self> {
        let record = record?;
        let mut from = Reader(&record);
        Ok(Self {
            user: from.key(),
            time: from.i64(),
            row: from.u32(),
            feedback: from.u8() == 1,
        })
    }
}

/// Gives every row that was shown the counts of what came before it, from sorted moments.
pub fn priors<U: Copy + PartialEq>(
    moments: impl Iterator<Item = Result<Moment<U>>>,
    mut emit: impl FnMut(u32, [u32; 2]) -> Result<()>,
) -> Result<()> {
    let (mut now, mut before, mut counts) = (None, [0; 2], [0u32; 2]);
    for moment in moments {
        let moment = moment?;
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
    use crate::event::time::END;

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
        let mut moments = [
            moment("a", 5, 0, false),
            moment("a", 5, 1, false),
            moment("a", 5, 0, true),
            moment("a", 6, 2, false),
            moment("a", 9, 2, true),
            moment("a", 9, 3, false),
            moment("b", 7, 4, false),
        ];
        moments.sort_unstable_by_key(Moment::record);
        let mut found = [None; 5];
        let done = priors(moments.into_iter().map(Ok), |row, counts| {
            if let Some(place) = found.get_mut(row as usize) {
                *place = Some(counts);
            }
            Ok(())
        });
        assert!(done.is_ok());
        assert_eq!(found, [[0, 0], [0, 0], [2, 1], [3, 1], [0, 0]].map(Some));
    }

    #[test]
    fn moments_survive_their_records_and_numbers_and_sort_alike() {
        let mut moments = Vec::new();
        for user in [0, 1, u32::MAX] {
            for time in [FIRST, FIRST + 1, END - 1] {
                for row in [u32::MAX, 1, 0] {
                    moments.extend([true, false].map(|feedback| Moment {
                        user,
                        time,
                        row,
                        feedback,
                    }));
                }
            }
        }
        let keyed = |moment: &Moment<u32>| Moment {
            user: Key(u128::from(moment.user).to_be_bytes()),
            time: moment.time,
            row: moment.row,
            feedback: moment.feedback,
        };
        for moment in &moments {
            assert_eq!(Moment::unpacked(moment.packed()), *moment);
            let read = Moment::read(Ok(keyed(moment).record()));
            assert_eq!(read.ok(), Some(keyed(moment)));
        }
        moments.sort_unstable_by_key(Moment::packed);
        assert!(moments.is_sorted_by_key(|moment| keyed(moment).record()));
    }
}
