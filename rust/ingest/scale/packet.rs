//! Letters: packets of records of one size, few bytes each.
//!
//! | bytes | what |
//! |---|---|
//! | 1 | version |
//! | 1 | what the records are |
//! | 4, 4 | number of records, bytes that follow; little-endian |
//! | | their fields, one after the other |
//!
//! A field is a column of numbers; that by which the records are sorted is one of differences. What is sent is the
//! least number, the greatest common divisor of what the others are above it, and the quotients, as many bytes of
//! each as the largest needs: all first bytes, all second bytes, ..., each column of bytes through zstd if that is
//! shorter. So what is the same in all records takes nothing, times of a log in seconds take no microseconds, and of
//! n sorted hashes log2(n) bits each are saved.

use zstd::bulk::{Compressor, Decompressor};

use crate::error::{Error, Result};

const VERSION: u8 = 2;
/// Records of a packet.
const MOST: usize = 1 << 16;
const LEVEL: i32 = 1;

/// What the records of a packet are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    /// The fingerprint of a key that a shard has.
    Print,
    /// Another shard that has one.
    Shared,
    /// A row under its own key.
    Own,
    /// A response under a key by which it can be met.
    Candidate,
    /// An event under the key of what it is about.
    Told,
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

impl Kind {
    /// Bytes of the fields before that by which the records are sorted, of that, and of those behind it.
    fn fields(self) -> (&'static [usize], usize, &'static [usize]) {
        match self {
            Self::Print => (&[], 6, &[]),
            Self::Shared => (&[], 6, &[4]),
            Self::Own => (&[1], 16, &[4, 8, 8, 1, 16]),
            Self::Candidate => (&[1], 16, &[1, 8, 16, 4, 4, 4, 16, 7]),
            Self::Told => (&[1], 16, &[1, 8, 8, 16, 4, 2, 4, 1, 16]),
            Self::Given => (&[], 4, &[1, 8, 8, 16, 4, 1]),
            Self::Pair => (&[], 4, &[4, 1, 1, 16, 16, 1, 2, 1, 2, 4]),
            Self::Moment => (&[], 16, &[8, 4, 1]),
            Self::Prior => (&[], 4, &[4, 4]),
            Self::Shown => (&[], 16, &[16, 16, 16, 16, 16, 8, 8, 4, 4, 4]),
            Self::Event => (&[], 16, &[16, 16, 16, 8, 8, 8, 4, 4, 2, 2, 1]),
            Self::Echo => (&[], 4, &[4, 8, 8, 8]),
            Self::Dead => (&[1], 4, &[]),
        }
    }

    /// First byte and bytes of each field, and whether it is the one of differences.
    fn columns(self) -> impl Iterator<Item = (usize, usize, bool)> {
        let (before, sorted, after) = self.fields();
        let before = before.iter().map(|width| (*width, false));
        let after = after.iter().map(|width| (*width, false));
        let widths = before.chain([(sorted, true)]).chain(after);
        widths.scan(0, |next, (width, sorted)| {
            let from = *next;
            *next += width;
            Some((from, width, sorted))
        })
    }
}

/// Adds records to a letter.
pub(super) fn pack<const N: usize>(
    letter: &mut Vec<u8>,
    kind: Kind,
    records: &[[u8; N]],
) -> Result<()> {
    let broken = |error: std::io::Error| Error::Internal(error.to_string());
    for records in records.chunks(MOST) {
        let mut zstd = Compressor::new(LEVEL).map_err(broken)?;
        let mut packed = Vec::new();
        for (from, width, sorted) in kind.columns() {
            let number = |record: &[u8; N]| {
                let mut number = [0; 16];
                let field = record.get(from..from + width);
                if let (Some(low), Some(field)) = (number.get_mut(16 - width..), field) {
                    low.copy_from_slice(field);
                }
                u128::from_be_bytes(number)
            };
            let mut values: Vec<u128> = records.iter().map(number).collect();
            if sorted {
                let mut last = 0;
                for value in &mut values {
                    let before = std::mem::replace(&mut last, *value);
                    *value = value.wrapping_sub(before) & ones(width);
                }
            }
            let least = values.iter().min().copied().unwrap_or_default();
            let mut step = 0;
            for value in &mut values {
                *value -= least;
                if step != 1 {
                    step = divisor(step, *value);
                }
            }
            if step > 1 {
                values
                    .iter_mut()
                    .for_each(|value| *value = divided(*value, step).0);
            }
            let most = values.iter().max().copied().unwrap_or_default();
            let bytes = (u128::BITS - most.leading_zeros()).div_ceil(8);
            varint(&mut packed, least);
            varint(&mut packed, step);
            packed.push(bytes as u8);
            for byte in 0..bytes {
                let column: Vec<u8> = values
                    .iter()
                    .map(|value| (value >> (8 * byte)) as u8)
                    .collect();
                let short = zstd.compress(&column).map_err(broken)?;
                if short.len() + 4 < column.len() {
                    varint(&mut packed, short.len() as u128);
                    packed.extend(short);
                } else {
                    varint(&mut packed, 0);
                    packed.extend(column);
                }
            }
        }
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
        if *of == kind as u8 {
            opened(packed, kind, count, &mut records).ok_or_else(wrong)?;
        }
    }
    Ok(records)
}

/// Reads a packet; none if it is not as it was written.
fn opened<const N: usize>(
    mut packed: &[u8],
    kind: Kind,
    count: usize,
    records: &mut Vec<[u8; N]>,
) -> Option<()> {
    let mut zstd = Decompressor::new().ok()?;
    let first = records.len();
    records.resize(first + count, [0; N]);
    let records = records.get_mut(first..)?;
    let mut values = Vec::with_capacity(count);
    let mut end = 0;
    for (from, width, sorted) in kind.columns() {
        end = from + width;
        let (least, step) = (read(&mut packed)?, read(&mut packed)?);
        let bytes = packed.split_off_first()?;
        values.clear();
        values.resize(count, 0u128);
        for byte in 0..u32::from(*bytes) {
            let short = usize::try_from(read(&mut packed)?).ok()?;
            let whole;
            let column = if short == 0 {
                packed.split_off(..count)?
            } else {
                whole = zstd.decompress(packed.split_off(..short)?, count).ok()?;
                whole.as_slice()
            };
            if column.len() != count {
                return None;
            }
            for (value, part) in values.iter_mut().zip(column) {
                *value |= u128::from(*part).checked_shl(8 * byte)?;
            }
        }
        let mut last = 0;
        for (record, value) in records.iter_mut().zip(&values) {
            let mut value = value.wrapping_mul(step).wrapping_add(least);
            if sorted {
                last = value.wrapping_add(last) & ones(width);
                value = last;
            }
            let bytes = value.to_be_bytes();
            let low = bytes.get(bytes.len() - width..)?;
            record.get_mut(from..end)?.copy_from_slice(low);
        }
    }
    (packed.is_empty() && end == N).then_some(())
}

/// The largest number of so many bytes.
fn ones(bytes: usize) -> u128 {
    u128::MAX >> (128 - 8 * bytes)
}

/// The greatest common divisor.
fn divisor(mut one: u128, mut other: u128) -> u128 {
    while other != 0 {
        (one, other) = (other, divided(one, other).1);
    }
    one
}

/// Quotient and rest; most numbers are small, and those are divided faster.
fn divided(one: u128, by: u128) -> (u128, u128) {
    match (u64::try_from(one), u64::try_from(by)) {
        (Ok(one), Ok(by)) => ((one / by).into(), (one % by).into()),
        _ => (one / by, one % by),
    }
}

/// Seven bits a byte, the low ones first.
fn varint(bytes: &mut Vec<u8>, mut value: u128) {
    while value > 127 {
        bytes.push(value as u8 | 128);
        value >>= 7;
    }
    bytes.push(value as u8);
}

fn read(bytes: &mut &[u8]) -> Option<u128> {
    let mut value = 0;
    for place in 0..19 {
        let byte = bytes.split_off_first()?;
        value |= u128::from(byte & 127) << (7 * place);
        if *byte < 128 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::event::row::Key;
    use crate::spill::bytes::Writer;

    /// Moments of so many users, in seconds.
    fn records(count: u32) -> Vec<[u8; 29]> {
        let record = |number: u32| {
            let user = Key::of(&(number / 2).to_le_bytes());
            let time = i64::from(number % 1000) * 1_000_000;
            Writer::default().key(user).i64(time).u32(number).done()
        };
        let mut records: Vec<_> = (0..count).map(record).collect();
        records.sort_unstable();
        records
    }

    #[test]
    fn records_come_back_in_order_by_kind() {
        let (few, many) = (records(3), records(200_000));
        let mut letter = Vec::new();
        pack(&mut letter, Kind::Moment, &many).unwrap();
        pack::<29>(&mut letter, Kind::Shared, &[]).unwrap();
        let other: Vec<[u8; 12]> = vec![[255; 12], [0; 12], [7; 12]];
        pack(&mut letter, Kind::Prior, &other).unwrap();
        pack(&mut letter, Kind::Moment, &few).unwrap();
        let both = [many, few].concat();
        assert_eq!(unpack::<29>(&letter, Kind::Moment).unwrap(), both);
        assert_eq!(unpack::<12>(&letter, Kind::Prior).unwrap(), other);
        assert!(unpack::<10>(&letter, Kind::Shared).unwrap().is_empty());
        assert!(
            letter.len() < 200_006 * 13,
            "half a key, ten bits of time, eighteen of a row: {}",
            letter.len()
        );
    }

    #[test]
    fn sorted_hashes_take_few_bits_more_than_their_set_says() {
        let print = |number: u32| {
            let [a, b, c, d, e, ..] = Key::of(&number.to_le_bytes()).0;
            [0, a, b, c, d, e]
        };
        let mut prints: Vec<_> = (0..1 << 15).map(print).collect();
        prints.sort_unstable();
        let mut letter = Vec::new();
        pack(&mut letter, Kind::Print, &prints).unwrap();
        assert_eq!(unpack::<6>(&letter, Kind::Print).unwrap(), prints);
        let bits = letter.len() as f64 * 8.0 / f64::from(1 << 15);
        let least = 40.0 - 15.0 + std::f64::consts::E.log2();
        assert!(bits < least + 0.6, "{bits} bits each of at least {least}");
    }

    #[test]
    fn what_was_not_written_so_is_refused() {
        let mut letter = Vec::new();
        pack(&mut letter, Kind::Moment, &records(100)).unwrap();
        for at in [0, 2, 3, 6, 9] {
            let mut changed = letter.clone();
            *changed.get_mut(at).unwrap() ^= 0x55;
            assert!(unpack::<29>(&changed, Kind::Moment).is_err(), "{at}");
        }
        let cut = letter.get(..letter.len() - 1).unwrap();
        assert!(unpack::<29>(cut, Kind::Moment).is_err());
        assert!(unpack::<30>(&letter, Kind::Moment).is_err());
    }
}
