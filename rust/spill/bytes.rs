//! Fields of a record as bytes: those that sort come first, and as big-endian numbers.

use crate::event::row::Key;

/// Writes a record.
pub struct Writer<const N: usize> {
    bytes: [u8; N],
    at: usize,
}

impl<const N: usize> Default for Writer<N> {
    fn default() -> Self {
        Self {
            bytes: [0; N],
            at: 0,
        }
    }
}

impl<const N: usize> Writer<N> {
    #[inline]
    fn put<const K: usize>(mut self, bytes: [u8; K]) -> Self {
        let to = self.bytes.get_mut(self.at..self.at + K);
        debug_assert!(to.is_some(), "a record of {N} bytes is too small");
        if let Some(to) = to {
            to.copy_from_slice(&bytes);
        }
        self.at += K;
        self
    }

    /// Adds a byte.
    pub fn u8(self, value: u8) -> Self {
        self.put([value])
    }

    /// Adds two bytes.
    pub fn u16(self, value: u16) -> Self {
        self.put(value.to_be_bytes())
    }

    /// Adds four bytes.
    pub fn u32(self, value: u32) -> Self {
        self.put(value.to_be_bytes())
    }

    /// Adds eight bytes.
    pub fn u64(self, value: u64) -> Self {
        self.put(value.to_be_bytes())
    }

    /// Adds a signed number.
    pub fn i64(self, value: i64) -> Self {
        self.put((value as u64 ^ 1 << 63).to_be_bytes())
    }

    /// Adds a number that does not sort.
    pub fn f32(self, value: f32) -> Self {
        self.u32(value.to_bits())
    }

    /// Adds a key.
    pub fn key(self, key: Key) -> Self {
        self.put(key.0)
    }

    /// The record; what was not written is zero.
    pub fn done(self) -> [u8; N] {
        self.bytes
    }
}

/// Reads a record, in the order in which it was written; zeros past its end.
pub struct Reader<'a>(pub &'a [u8]);

impl Reader<'_> {
    #[inline]
    fn take<const K: usize>(&mut self) -> [u8; K] {
        let (taken, rest) = self.0.split_first_chunk().unwrap_or((&[0; K], &[]));
        self.0 = rest;
        *taken
    }

    /// A byte.
    pub fn u8(&mut self) -> u8 {
        u8::from_be_bytes(self.take())
    }

    /// Two bytes.
    pub fn u16(&mut self) -> u16 {
        u16::from_be_bytes(self.take())
    }

    /// Four bytes.
    pub fn u32(&mut self) -> u32 {
        u32::from_be_bytes(self.take())
    }

    /// Eight bytes.
    pub fn u64(&mut self) -> u64 {
        u64::from_be_bytes(self.take())
    }

    /// A signed number.
    pub fn i64(&mut self) -> i64 {
        (u64::from_be_bytes(self.take()) ^ 1 << 63) as i64
    }

    /// A number that does not sort.
    pub fn f32(&mut self) -> f32 {
        f32::from_bits(self.u32())
    }

    /// A key.
    pub fn key(&mut self) -> Key {
        Key(self.take())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_sort_as_their_fields_do_and_are_read_back() {
        let times = [i64::MIN, -5, 0, 3, i64::MAX];
        let records: Vec<[u8; 30]> = times
            .iter()
            .map(|time| {
                let fields = Writer::default().i64(*time).u16(7).u32(9);
                fields.key(Key::of(b"k")).done()
            })
            .collect();
        assert!(records.is_sorted());
        for (record, time) in records.iter().zip(times) {
            let mut from = Reader(record);
            assert_eq!((from.i64(), from.u16(), from.u32()), (time, 7, 9));
            assert_eq!((from.key(), from.u32()), (Key::of(b"k"), 0));
        }
    }
}
