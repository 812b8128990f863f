//! Which keys are on disk: sorted runs of (key, row), with a filter that spares nearly all look-ups of keys that are
//! not there. The filter never decides.

use super::Place;
use super::blocks::Blocks;
use super::bytes::{Reader, Writer};
use crate::error::Result;
use crate::event::row::Key;

/// Bits of a filter for each key: about one look-up in a hundred is in vain.
const BITS: usize = 10;
/// Bits set for a key, all in one line of the cache.
const PROBES: usize = 6;

/// Keys with their rows.
pub struct Seen {
    blocks: Blocks<20>,
    runs: Vec<Run>,
}

struct Run {
    first: usize,
    records: usize,
    /// First key of each block.
    fences: Vec<Key>,
    filter: Vec<[u64; 8]>,
}

impl Seen {
    /// Nothing.
    pub fn new(place: &Place) -> Result<Self> {
        Ok(Self {
            blocks: Blocks::new(place)?,
            runs: Vec::new(),
        })
    }

    /// Adds keys, which count from now on, whatever was said of them before.
    pub fn add(&mut self, mut keys: Vec<(Key, u32)>) -> Result<()> {
        if keys.is_empty() {
            return Ok(());
        }
        keys.sort_unstable();
        let first = self.blocks.cut()?;
        let each = Blocks::<20>::EACH;
        let fences = keys.iter().step_by(each).map(|(key, _)| *key).collect();
        let mut filter = vec![[0; 8]; (keys.len() * BITS).div_ceil(512)];
        for (key, row) in &keys {
            self.blocks
                .push(&Writer::default().key(*key).u32(*row).done())?;
            let (line, bits) = probes(*key, filter.len());
            if let Some(line) = filter.get_mut(line) {
                for bit in bits {
                    if let Some(word) = line.get_mut(bit / 64) {
                        *word |= 1 << (bit % 64);
                    }
                }
            }
        }
        self.blocks.cut()?;
        self.runs.push(Run {
            first,
            records: keys.len(),
            fences,
            filter,
        });
        Ok(())
    }

    /// The row of a key, as it was said last.
    pub fn find(&self, key: Key) -> Result<Option<u32>> {
        for run in self.runs.iter().rev().filter(|run| run.may_have(key)) {
            let after = run.fences.partition_point(|fence| *fence <= key);
            let Some(at) = after.checked_sub(1) else {
                continue;
            };
            let records = self.blocks.block(run.first + at)?;
            let each = Blocks::<20>::EACH;
            let records = records
                .get(..each.min(run.records - at * each))
                .unwrap_or_default();
            if let Ok(place) = records.binary_search_by_key(&key, |record| Reader(record).key()) {
                let row = records.get(place).map(|record| {
                    let mut from = Reader(record);
                    from.key();
                    from.u32()
                });
                return Ok(row);
            }
        }
        Ok(None)
    }

    /// Forgets all keys.
    pub fn forget(&mut self) {
        self.runs = Vec::new();
    }

    /// Bytes in memory.
    pub fn bytes(&self) -> usize {
        let run = |run: &Run| run.fences.capacity() * 16 + run.filter.capacity() * 64;
        self.blocks.bytes() + self.runs.iter().map(run).sum::<usize>()
    }
}

impl Run {
    fn may_have(&self, key: Key) -> bool {
        let (line, mut bits) = probes(key, self.filter.len());
        let set = |line: &[u64; 8], bit: usize| {
            line.get(bit / 64)
                .is_some_and(|word| word >> (bit % 64) & 1 == 1)
        };
        let line = self.filter.get(line);
        line.is_some_and(|line| bits.all(|bit| set(line, bit)))
    }
}

/// Line and bits of a key in a filter of so many lines.
fn probes(key: Key, lines: usize) -> (usize, impl Iterator<Item = usize>) {
    let high = (u128::from_le_bytes(key.0) >> 64) as u64;
    let line = (u128::from(key.short()) * lines as u128) >> 64;
    let bits = (0..PROBES).map(move |probe| (high >> (9 * probe)) as usize & 511);
    (line as usize, bits)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::spill::scratch;

    #[test]
    fn a_key_has_the_row_that_was_said_last_and_others_have_none() {
        let key = |number: u32| Key::of(&number.to_le_bytes());
        let mut seen = Seen::new(&scratch("seen", 0)).unwrap();
        let mut expected = std::collections::HashMap::new();
        for run in 0..7u32 {
            let keys = (0..1_500).map(|at| (key(run * 1_000 + at), run * 10_000 + at));
            let keys: Vec<_> = keys.collect();
            expected.extend(keys.iter().copied());
            seen.add(keys).unwrap();
        }
        for number in 0..10_000 {
            let found = seen.find(key(number)).unwrap();
            assert_eq!(found, expected.get(&key(number)).copied(), "{number}");
        }
        let strangers = (10_000..30_000).map(key);
        let vain = strangers.filter(|key| seen.runs.iter().any(|run| run.may_have(*key)));
        let share = vain.count() as f64 / 20_000.0 / seen.runs.len() as f64;
        assert!(share < 0.02, "{share}");
    }
}
