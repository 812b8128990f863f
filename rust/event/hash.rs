//! Hashes: of ids, of rows, and their sum, the store digest.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};
use twox_hash::XxHash3_128;

/// Bytes that most rows take.
const ROW: usize = 2 << 10;

/// A 128-bit hash: an id under the store's key, a person under HMAC, or the content of a row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Key(pub [u8; 16]);

impl Ord for Key {
    /// The order of the bytes, compared as one number.
    #[inline]
    fn cmp(&self, other: &Self) -> Ordering {
        u128::from_be_bytes(self.0).cmp(&u128::from_be_bytes(other.0))
    }
}

impl PartialOrd for Key {
    #[inline]
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Key {
    /// The hash of bytes, the same on every machine.
    pub fn of(bytes: &[u8]) -> Self {
        Self(XxHash3_128::oneshot(bytes).to_le_bytes())
    }

    /// The first eight of the bytes, ordered as keys are; most keys differ in them.
    pub fn head(&self) -> u64 {
        (u128::from_be_bytes(self.0) >> 64) as u64
    }

    /// Eight of the bytes, for hash tables.
    pub fn short(&self) -> u64 {
        u128::from_le_bytes(self.0) as u64
    }
}

/// Hash of a sequence of optional fields; lengths and absences are part of it.
pub struct RowHash(Vec<u8>);

impl Default for RowHash {
    fn default() -> Self {
        Self(Vec::with_capacity(ROW))
    }
}

impl RowHash {
    /// Forgets what was added.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// Adds bytes of variable length.
    pub fn text(&mut self, text: Option<&str>) -> &mut Self {
        self.int(text.map(|text| text.len() as i64));
        self.0.extend(text.unwrap_or_default().as_bytes());
        self
    }

    /// Adds a key.
    pub fn key(&mut self, key: Option<Key>) -> &mut Self {
        self.0.push(u8::from(key.is_some()));
        self.0.extend(key.unwrap_or_default().0);
        self
    }

    /// Adds an integer.
    pub fn int(&mut self, value: Option<i64>) -> &mut Self {
        self.0.push(u8::from(value.is_some()));
        self.0.extend(value.unwrap_or_default().to_le_bytes());
        self
    }

    /// The hash.
    pub fn done(&self) -> Key {
        Key::of(&self.0)
    }
}

/// Sum modulo 2^128 of row hashes: the store digest, the same in any order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Digest(u128);

impl Digest {
    /// Adds a row.
    pub fn add(&mut self, row: Key) {
        self.0 = self.0.wrapping_add(u128::from_le_bytes(row.0));
    }

    /// The sum, as that of one row.
    pub fn key(self) -> Key {
        Key(self.0.to_le_bytes())
    }
}

impl std::fmt::Display for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_the_order_of_their_bytes() {
        let mut keys: Vec<Key> = (0..500u32).map(|n| Key::of(&n.to_le_bytes())).collect();
        keys.sort_unstable();
        assert!(keys.is_sorted_by_key(|key| key.0));
    }

    #[test]
    fn the_digest_ignores_order() {
        let (mut one, mut other) = (Digest::default(), Digest::default());
        for row in ["a", "b", "c"] {
            one.add(Key::of(row.as_bytes()));
        }
        for row in ["c", "a", "b"] {
            other.add(Key::of(row.as_bytes()));
        }
        assert_eq!(one, other);
    }
}
