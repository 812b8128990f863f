//! From keys to rows, at about eight and a half bytes a key whatever their number.
//!
//! A table is a sorted list with gaps. Its entries stand in the order of their hashes (24 bits of the key), each where
//! its hash stands among all hashes or, if that place is taken, as near behind as the order leaves. So whether a key is
//! there is seen at one place in memory, without a look at any row, and a table grows by an eighth at the price of
//! copying it in order. (Ordered linear probing: O. Amble and D. E. Knuth, Ordered hash tables, 1974.)
//!
//! 64 tables have shares of the keys between one and two times the smallest, spread evenly on a logarithmic scale, so
//! that they grow one after the other and the bytes of them all stay near the mean.

use crate::event::row::Key;
use crate::unchecked;

const TABLES: usize = 64;
/// Bits of a hash.
const BITS: u32 = 24;
/// Room behind the last home, for those that find theirs taken.
const BEHIND: usize = 8;
/// The hash of a place without an entry: above all others, so that a search ends there.
const NONE: u32 = (1 << BITS) - 1;
const FREE: Entry = Entry([u8::MAX; 7]);

/// Entries that come at a time, and how often that is enough for most searches.
const LINE: usize = 64 / size_of::<Entry>();
const LINES: usize = 3;

/// The hash of a key in the low 24 bits, its row above.
#[derive(Clone, Copy)]
struct Entry([u8; 7]);

impl Entry {
    #[inline]
    fn of(hash: u32, row: u32) -> Self {
        let ([a, b, c, _], [d, e, f, g]) = (hash.to_le_bytes(), row.to_le_bytes());
        Self([a, b, c, d, e, f, g])
    }

    #[inline]
    fn hash(self) -> u32 {
        let [a, b, c, d, ..] = self.0;
        u32::from_le_bytes([a, b, c, d]) & NONE
    }

    #[inline]
    fn taken(&self) -> bool {
        self.hash() < NONE
    }

    #[inline]
    fn row(self) -> u32 {
        let [.., d, e, f, g] = self.0;
        u32::from_le_bytes([d, e, f, g])
    }
}

/// The hash of a key, below that of a free place.
#[inline]
fn hash(key: Key) -> u32 {
    ((key.short() >> (64 - BITS)) as u32).min(NONE - 1)
}

#[derive(Clone, Default)]
struct Table {
    /// Places where hashes can be at home, and what found no place before the end.
    places: Vec<Entry>,
    homes: usize,
    count: usize,
}

impl Table {
    /// The place where a hash is at home, and all after it.
    #[inline]
    fn from(&self, hash: u32) -> &[Entry] {
        self.places.get(self.home(hash)..).unwrap_or_default()
    }

    #[inline]
    fn home(&self, hash: u32) -> usize {
        (hash as usize * self.homes) >> BITS
    }

    fn insert(&mut self, hash: u32, row: u32) {
        if self.count * 8 >= self.homes * 7 {
            self.grow();
        }
        self.count += 1;
        let home = self.home(hash);
        let here = self.from(hash);
        let before = here.iter().take_while(|entry| entry.hash() <= hash).count();
        let after = here.get(before..).unwrap_or_default();
        let moved = after.iter().take_while(|entry| entry.taken()).count();
        let (place, free) = (home + before, home + before + moved);
        if free == self.places.len() {
            if free == self.places.capacity() {
                self.places.reserve_exact(BEHIND);
            }
            self.places.push(FREE);
        }
        self.places.copy_within(place..free, place + 1);
        if let Some(place) = self.places.get_mut(place) {
            *place = Entry::of(hash, row);
        }
    }

    /// Makes room for an eighth more.
    fn grow(&mut self) {
        self.homes += (self.homes / 8).max(8);
        let mut places = Vec::with_capacity(self.homes + BEHIND);
        for entry in self.places.iter().filter(|entry| entry.taken()) {
            let free = places.len().max(self.home(entry.hash()));
            places.resize(free, FREE);
            places.push(*entry);
        }
        places.resize(places.len().max(self.homes), FREE);
        self.places = places;
    }
}

/// The index.
pub struct Index {
    tables: Vec<Table>,
    /// Table of each of 1024 shares of the keys.
    shares: Vec<u8>,
}

impl Default for Index {
    fn default() -> Self {
        // the k-th table's shares end at 2^(k / 64) - 1
        let table = |share: usize| (TABLES as f64 * (1.0 + share as f64 / 1024.0).log2()) as u8;
        Self {
            tables: vec![Table::default(); TABLES],
            shares: (0..1024).map(table).collect(),
        }
    }
}

impl Index {
    #[inline]
    fn table(&self, key: Key) -> usize {
        let share = u128::from_le_bytes(key.0) >> 64 & 1023; // other bits than those of the hash
        self.shares
            .get(share as usize)
            .map_or(0, |table| usize::from(*table))
    }

    /// The rows whose keys have the hash of this one.
    #[inline]
    pub fn with(&self, key: Key) -> impl Iterator<Item = u32> {
        let (table, hash) = (self.tables.get(self.table(key)), hash(key));
        let from = table.map_or([].as_slice(), |table| table.from(hash));
        from.iter()
            .skip_while(move |entry| entry.hash() < hash)
            .take_while(move |entry| entry.hash() == hash)
            .map(|entry| entry.row())
    }

    /// Asks for the memory where a key would stand.
    #[inline]
    pub fn fetch(&self, key: Key) {
        let table = self.tables.get(self.table(key));
        let places = table.map_or([].as_slice(), |table| table.from(hash(key)));
        let lines = places.iter().step_by(LINE).take(LINES);
        lines.for_each(unchecked::fetch);
    }

    /// The row for which `same` holds, among those with the hash of this key.
    #[inline]
    pub fn find(&self, key: Key, same: impl Fn(u32) -> bool) -> Option<u32> {
        self.with(key).find(|row| same(*row))
    }

    /// Adds a row whose key is not there.
    pub fn insert(&mut self, key: Key, row: u32) {
        let at = self.table(key);
        if let Some(table) = self.tables.get_mut(at) {
            table.insert(hash(key), row);
        }
    }

    /// Replaces the row of a key by another of the same key.
    pub fn replace(&mut self, key: Key, old: u32, new: u32) {
        let (at, hash) = (self.table(key), hash(key));
        let Some(table) = self.tables.get_mut(at) else {
            return;
        };
        let home = table.home(hash);
        let mut places = table.places.iter_mut().skip(home);
        let mine = |place: &&mut Entry| place.hash() == hash && place.row() == old;
        if let Some(place) = places.find(mine) {
            *place = Entry::of(hash, new);
        }
    }

    /// All rows, in no order.
    pub fn rows(&self) -> impl Iterator<Item = u32> {
        let entries = self.tables.iter().flat_map(|table| &table.places);
        entries
            .filter(|entry| entry.taken())
            .map(|entry| entry.row())
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        let places = self.tables.iter().map(|table| table.places.capacity());
        places.sum::<usize>() * size_of::<Entry>() + self.shares.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(row: u32) -> Key {
        Key::of(&row.to_le_bytes())
    }

    #[test]
    fn a_key_takes_between_eight_and_nine_bytes() {
        let mut index = Index::default();
        for row in 0..400_000 {
            index.insert(key(row), row);
            if row > 30_000 && row % 1_000 == 0 {
                let each = index.bytes() as f64 / f64::from(row + 1);
                assert!((8.2..8.9).contains(&each), "{row}: {each}");
            }
        }
        for row in (0..400_000).step_by(997) {
            let same = |found| key(found) == key(row);
            assert_eq!(index.find(key(row), same), Some(row));
            assert_eq!(index.find(key(row + 400_000), same), None);
        }
        let mut rows: Vec<u32> = index.rows().collect();
        rows.sort_unstable();
        assert!(rows.into_iter().eq(0..400_000));
    }

    #[test]
    fn keys_of_one_hash_or_of_the_last_ones_are_told_apart() {
        // as a map from keys to rows would have it, for hashes that are few, close together and at the end
        let close = |number: u32| {
            let hash = u64::from(number % 7).wrapping_neg() << (64 - BITS - number % 2);
            let both = u128::from(hash) | u128::from(number) << 96;
            Key(both.to_le_bytes())
        };
        let mut index = Index::default();
        let mut known = std::collections::BTreeMap::new();
        for number in (0..2_000).chain(500..700) {
            let row = number + 10_000 * known.len() as u32;
            match known.insert(close(number).0, row) {
                Some(old) => index.replace(close(number), old, row),
                None => index.insert(close(number), row),
            }
        }
        for (key, row) in &known {
            assert_eq!(index.find(Key(*key), |found| found == *row), Some(*row));
        }
        assert_eq!(index.find(close(2_001), |_| false), None);
        let mut rows: Vec<u32> = index.rows().collect();
        rows.sort_unstable();
        let mut all: Vec<u32> = known.into_values().collect();
        all.sort_unstable();
        assert_eq!(rows, all);
    }
}
