//! Letters: packets of records of one size, few bytes each.
//!
//! | bytes | what |
//! |---|---|
//! | 1 | version |
//! | 1 | what the records are |
//! | 4, 4 | number of records, bytes that follow; little-endian |
//! | | zstd of the records turned on their side: all first bytes, all second bytes, ... |
//!
//! Turned so, what is the same in all records takes nothing, and neither does a key that stands in them twice; hashes
//! take what they are.

use crate::error::{Error, Result};

const VERSION: u8 = 1;
/// Records of a packet: two equal columns are then within the window of the compressor.
const MOST: usize = 1 << 14;
const LEVEL: i32 = 1;

/// What the records of a packet are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    /// A row under its own key.
    Own,
    /// A row that does not stand.
    Lost,
    /// A row or an event under a key by which they meet.
    Join,
    /// Feedback on a row.
    Given,
    /// Two rows.
    Pair,
    /// What happened to a user.
    Moment,
    /// Counts of what came before a row.
    Prior,
    /// Responses of a shard.
    Shown,
    /// Feedback of a shard.
    Event,
    /// Where responses of a shard were repeated within it.
    Echo,
    /// Numbers of responses and feedback of a shard that do not stand.
    Dead,
}

/// Adds records to a letter.
pub(super) fn pack<const N: usize>(
    letter: &mut Vec<u8>,
    kind: Kind,
    records: &[[u8; N]],
) -> Result<()> {
    for records in records.chunks(MOST) {
        let mut columns = Vec::with_capacity(N * records.len());
        for at in 0..N {
            columns.extend(records.iter().filter_map(|record| record.get(at)));
        }
        let packed = zstd::bulk::compress(&columns, LEVEL)
            .map_err(|error| Error::Internal(error.to_string()))?;
        letter.extend([VERSION, kind as u8]);
        letter.extend((records.len() as u32).to_le_bytes());
        letter.extend((packed.len() as u32).to_le_bytes());
        letter.extend(packed);
    }
    Ok(())
}

/// The records of a kind in a letter, in order.
pub(super) fn unpack<const N: usize>(mut letter: &[u8], kind: Kind) -> Result<Vec<[u8; N]>> {
    let wrong = || {
        Error::Value("a letter between two stages is not as it was written; do all workers have the same version?".into())
    };
    let mut records = Vec::new();
    while !letter.is_empty() {
        let Some(([version, of, a, b, c, d, e, f, g, h], rest)) = letter.split_first_chunk() else {
            return Err(wrong());
        };
        let (count, length) = (
            u32::from_le_bytes([*a, *b, *c, *d]) as usize,
            u32::from_le_bytes([*e, *f, *g, *h]) as usize,
        );
        let (packed, rest) = rest.split_at_checked(length).ok_or_else(wrong)?;
        letter = rest;
        if *version != VERSION || count == 0 || count > MOST {
            return Err(wrong());
        }
        if *of != kind as u8 {
            continue;
        }
        let columns = zstd::bulk::decompress(packed, N * count).map_err(|_| wrong())?;
        if columns.len() != N * count {
            return Err(wrong());
        }
        let first = records.len();
        records.resize(first + count, [0; N]);
        for (at, column) in columns.chunks_exact(count).enumerate() {
            for (record, byte) in records.iter_mut().skip(first).zip(column) {
                if let Some(place) = record.get_mut(at) {
                    *place = *byte;
                }
            }
        }
    }
    Ok(records)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::event::row::Key;

    fn records(count: u32) -> Vec<[u8; 40]> {
        let record = |number: u32| {
            let key = Key::of(&number.to_le_bytes()).0;
            let mut record = [7; 40];
            for at in [0..16, 20..36] {
                record.get_mut(at).unwrap().copy_from_slice(&key);
            }
            record
        };
        (0..count).map(record).collect()
    }

    #[test]
    fn records_come_back_in_order_by_kind() {
        let (few, many) = (records(3), records(40_000));
        let mut letter = Vec::new();
        pack(&mut letter, Kind::Own, &many).unwrap();
        pack::<40>(&mut letter, Kind::Lost, &[]).unwrap();
        pack(&mut letter, Kind::Join, &few).unwrap();
        assert_eq!(unpack::<40>(&letter, Kind::Own).unwrap(), many);
        assert_eq!(unpack::<40>(&letter, Kind::Join).unwrap(), few);
        assert!(unpack::<40>(&letter, Kind::Lost).unwrap().is_empty());
        assert!(
            letter.len() < 40_003 * 17,
            "a second time a key takes nothing: {}",
            letter.len()
        );
    }

    #[test]
    fn what_was_not_written_so_is_refused() {
        let mut letter = Vec::new();
        pack(&mut letter, Kind::Own, &records(100)).unwrap();
        for at in [0, 2, 3, 6, 9] {
            let mut changed = letter.clone();
            *changed.get_mut(at).unwrap() ^= 0x55;
            assert!(unpack::<40>(&changed, Kind::Own).is_err(), "{at}");
        }
        let cut = letter.get(..letter.len() - 1).unwrap();
        assert!(unpack::<40>(cut, Kind::Own).is_err());
        assert!(unpack::<39>(&letter, Kind::Own).is_err());
    }
}
