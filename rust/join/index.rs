//! From keys to rows, at about eight bytes a key whatever their number.
//!
//! A hash table that doubles holds up to twice what it needs, and both halves while it doubles. Here 64 tables have
//! shares of the keys between one and two times the smallest, spread evenly on a logarithmic scale, so that they
//! double one after the other and the bytes of them all stay near the mean.

use hashbrown::HashTable;

use crate::event::row::Key;

const TABLES: usize = 64;

/// The index.
pub struct Index {
    tables: Vec<HashTable<u32>>,
    /// Table of each of 1024 shares of the keys.
    shares: Vec<u8>,
}

impl Default for Index {
    fn default() -> Self {
        // the k-th table's shares end at 2^(k / 64) - 1
        let table = |share: usize| (TABLES as f64 * (1.0 + share as f64 / 1024.0).log2()) as u8;
        Self {
            tables: vec![HashTable::new(); TABLES],
            shares: (0..1024).map(table).collect(),
        }
    }
}

impl Index {
    fn table(&self, key: Key) -> usize {
        let share = u128::from_le_bytes(key.0) >> 64 & 1023; // other bits than those of `short`
        self.shares
            .get(share as usize)
            .map_or(0, |table| usize::from(*table))
    }

    /// The row for which `same` holds, among those with this key.
    pub fn find(&self, key: Key, same: impl Fn(u32) -> bool) -> Option<u32> {
        let table = self.tables.get(self.table(key))?;
        table.find(key.short(), |row| same(*row)).copied()
    }

    /// Adds a row whose key is not there; `key_of` gives those of the others.
    pub fn insert(&mut self, key: Key, row: u32, key_of: impl Fn(u32) -> Key) {
        let at = self.table(key);
        if let Some(table) = self.tables.get_mut(at) {
            table.insert_unique(key.short(), row, |row| key_of(*row).short());
        }
    }

    /// Replaces the row of a key by another of the same key.
    pub fn replace(&mut self, key: Key, old: u32, new: u32) {
        let at = self.table(key);
        let known = self
            .tables
            .get_mut(at)
            .and_then(|table| table.find_mut(key.short(), |row| *row == old));
        if let Some(row) = known {
            *row = new;
        }
    }

    /// All rows, in no order.
    pub fn rows(&self) -> impl Iterator<Item = u32> {
        self.tables.iter().flat_map(|table| table.iter().copied())
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        let tables = self.tables.iter().map(HashTable::allocation_size);
        tables.sum::<usize>() + self.shares.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_takes_between_eight_and_nine_bytes() {
        let key = |row: u32| Key::of(&row.to_le_bytes());
        let mut index = Index::default();
        for row in 0..400_000 {
            index.insert(key(row), row, key);
            if row > 30_000 && row % 1_000 == 0 {
                let each = index.bytes() as f64 / f64::from(row + 1);
                assert!((7.5..9.0).contains(&each), "{row}: {each}");
            }
        }
        for row in (0..400_000).step_by(997) {
            assert_eq!(
                index.find(key(row), |found| key(found) == key(row)),
                Some(row)
            );
        }
        assert_eq!(index.rows().count(), 400_000);
    }
}
