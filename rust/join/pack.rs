//! Rows of the join state as few bytes as they need: 67 each, aligned to one, so that nothing is padding.
//!
//! Times lie in [2000, 2100) and two of them take 13 bytes; what few rows have stands in columns of its own, which
//! take nothing until the first row that has it.

use super::{About, Event, Shown};
use crate::event::Kind;
use crate::event::row::Key;
use crate::event::time::FIRST;

/// Rows of a page.
const PAGE: usize = 1 << 12;
/// Bits of a time.
const BITS: u32 = 52;
/// Code of a time that is absent.
const ABSENT: u64 = (1 << BITS) - 1;

/// Values in pages, so that growing neither copies nor doubles them.
pub struct Pages<T>(Vec<Vec<T>>);

impl<T> Default for Pages<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: Copy> Pages<T> {
    /// Adds a value.
    #[inline]
    pub fn push(&mut self, value: T) {
        if self.0.last().is_none_or(|page| page.len() == PAGE) {
            let room = if self.0.is_empty() { 0 } else { PAGE };
            self.0.push(Vec::with_capacity(room));
        }
        if let Some(page) = self.0.last_mut() {
            page.push(value);
        }
    }

    /// The value of a row.
    #[inline]
    pub fn get(&self, row: u32) -> Option<&T> {
        self.0.get(row as usize / PAGE)?.get(row as usize % PAGE)
    }

    /// Number of values.
    pub fn len(&self) -> usize {
        let last = self.0.last().map_or(0, Vec::len);
        self.0.len().saturating_sub(1) * PAGE + last
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        let pages = self.0.iter().map(|page| page.capacity() * size_of::<T>());
        pages.sum::<usize>() + self.0.capacity() * size_of::<Vec<T>>()
    }
}

/// A column that takes nothing until a value differs from the usual one.
pub struct Column<T> {
    values: Pages<T>,
    usual: T,
}

impl<T: Copy + PartialEq> Column<T> {
    /// An empty one.
    pub fn new(usual: T) -> Self {
        Self {
            values: Pages::default(),
            usual,
        }
    }

    /// Sets the value of the newest row.
    #[inline]
    pub fn push(&mut self, row: u32, value: T) {
        if value == self.usual && self.values.len() == 0 {
            return;
        }
        while self.values.len() < row as usize {
            self.values.push(self.usual);
        }
        self.values.push(value);
    }

    /// The value of a row.
    #[inline]
    pub fn get(&self, row: u32) -> T {
        self.values.get(row).copied().unwrap_or(self.usual)
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.values.bytes()
    }
}

/// A truth value for each row.
#[derive(Default)]
pub struct Bits {
    words: Vec<u64>,
    len: usize,
}

impl FromIterator<bool> for Bits {
    fn from_iter<I: IntoIterator<Item = bool>>(values: I) -> Self {
        let mut bits = Self::default();
        values.into_iter().for_each(|value| bits.push(value));
        bits
    }
}

impl Bits {
    /// Adds a value.
    pub fn push(&mut self, value: bool) {
        if self.len.is_multiple_of(64) {
            self.words.push(0);
        }
        if let Some(word) = self.words.last_mut() {
            *word |= u64::from(value) << (self.len % 64);
        }
        self.len += 1;
    }

    /// The value of a row.
    #[inline]
    pub fn get(&self, row: u32) -> bool {
        let word = self.words.get(row as usize / 64);
        word.is_some_and(|word| word >> (row % 64) & 1 == 1)
    }

    /// Makes the value of a row true.
    pub fn set(&mut self, row: u32) {
        if let Some(word) = self.words.get_mut(row as usize / 64) {
            *word |= 1 << (row % 64);
        }
    }

    /// Makes the value of a row false.
    pub fn clear(&mut self, row: u32) {
        if let Some(word) = self.words.get_mut(row as usize / 64) {
            *word &= !(1 << (row % 64));
        }
    }

    /// Number of values.
    pub fn len(&self) -> usize {
        self.len
    }

    /// How many are true.
    pub fn count(&self) -> u64 {
        let words = self.words.iter();
        words.map(|word| u64::from(word.count_ones())).sum()
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.words.capacity() * 8
    }
}

/// A row with a key.
pub trait Keyed: Copy {
    /// Its key.
    fn key(&self) -> Key;
}

/// A response shown. Its person, a session and a user, is a code; so is its stratum, of which this is the low half.
#[derive(Clone, Copy)]
pub struct PackedShown {
    key: Key,
    content: Key,
    request: Key,
    times: [u8; 13],
    person: [u8; 4],
    stratum: [u8; 2],
}

impl Keyed for PackedShown {
    #[inline]
    fn key(&self) -> Key {
        self.key
    }
}

impl PackedShown {
    /// Packs a row.
    pub fn of(row: &Shown, person: u32) -> Self {
        Self {
            key: row.key,
            content: row.content,
            request: row.request,
            times: times(row.shown_at, row.received_at, i64::MAX),
            person: person.to_le_bytes(),
            stratum: (row.stratum as u16).to_le_bytes(),
        }
    }

    /// Its request, and the order in it.
    #[inline]
    pub fn in_request(&self) -> (Key, i64, Key) {
        (self.request, self.shown_at(), self.key)
    }

    /// Microseconds since 1970.
    #[inline]
    pub fn shown_at(&self) -> i64 {
        both(self.times, 0).0
    }

    /// Code of the session and the user.
    #[inline]
    pub fn person(&self) -> u32 {
        u32::from_le_bytes(self.person)
    }

    /// Its stratum, given the high half.
    #[inline]
    pub fn stratum(&self, high: u16) -> u32 {
        u32::from(high) << 16 | u32::from(u16::from_le_bytes(self.stratum))
    }

    /// The row, given the keys of its person and what stands in columns.
    #[inline]
    pub fn row(&self, [session, user]: [Key; 2], high: u16, policy_prob: f32) -> Shown {
        let (shown_at, received_at) = both(self.times, i64::MAX);
        Shown {
            key: self.key,
            content: self.content,
            request: self.request,
            session,
            user,
            shown_at,
            received_at,
            stratum: self.stratum(high),
            policy_prob,
        }
    }
}

/// A feedback event.
#[derive(Clone, Copy)]
pub struct PackedEvent {
    key: Key,
    content: Key,
    target: Key,
    times: [u8; 13],
    value: [u8; 4],
    flags: [u8; 2],
}

impl Keyed for PackedEvent {
    #[inline]
    fn key(&self) -> Key {
        self.key
    }
}

impl PackedEvent {
    /// The order of what is said about one response.
    #[inline]
    pub fn order(&self) -> (u8, i64, i64, Key) {
        let (at, received_at) = both(self.times, i64::MIN);
        let [low, _] = self.flags;
        (low & 15, at, received_at, self.key)
    }

    /// What it is about.
    #[inline]
    pub fn target(&self) -> Key {
        self.target
    }

    /// Packs a row.
    pub fn of(row: &Event) -> Self {
        Self {
            key: row.key,
            content: row.content,
            target: row.target,
            times: times(row.at, row.received_at, i64::MIN),
            value: row.value.to_le_bytes(),
            flags: row.flags().to_le_bytes(),
        }
    }

    /// The row, given what stands in columns.
    #[inline]
    pub fn row(&self, version: i64) -> Event {
        let (at, received_at) = both(self.times, i64::MIN);
        let event = Event {
            key: self.key,
            content: self.content,
            target: self.target,
            at,
            version,
            received_at,
            value: f32::from_le_bytes(self.value),
            ..Event::default()
        };
        event.flagged(u16::from_le_bytes(self.flags))
    }
}

impl Event {
    /// Kind, target, label, withdrawn and actor in ten bits.
    pub fn flags(&self) -> u16 {
        let label = self.label.map_or(2, u16::from);
        self.kind as u16
            | (self.about as u16) << 4
            | label << 6
            | u16::from(self.retract) << 8
            | u16::from(self.by_user) << 9
    }

    /// The row with these.
    #[inline]
    pub fn flagged(self, flags: u16) -> Self {
        let kind = Kind::ALL.get(usize::from(flags & 15)).copied();
        Self {
            kind: kind.unwrap_or(Kind::Custom),
            about: match flags >> 4 & 3 {
                0 => About::Response,
                1 => About::Request,
                _ => About::Session,
            },
            label: match flags >> 6 & 3 {
                0 => Some(false),
                1 => Some(true),
                _ => None,
            },
            retract: flags >> 8 & 1 == 1,
            by_user: flags >> 9 & 1 == 1,
            ..self
        }
    }
}

fn times(first: i64, second: i64, none: i64) -> [u8; 13] {
    let code = |time: i64| time.saturating_sub(FIRST).clamp(0, ABSENT as i64 - 1) as u64;
    let second = if second == none { ABSENT } else { code(second) };
    let both = u128::from(code(first)) | u128::from(second) << BITS;
    let mut bytes = [0; 13];
    for (to, from) in bytes.iter_mut().zip(both.to_le_bytes()) {
        *to = from;
    }
    bytes
}

#[inline]
fn both(times: [u8; 13], none: i64) -> (i64, i64) {
    let [a, b, c, d, e, f, g, h, i, j, k, l, m] = times;
    let both = u128::from_le_bytes([a, b, c, d, e, f, g, h, i, j, k, l, m, 0, 0, 0]);
    let second = (both >> BITS) as u64 & ABSENT;
    let first = (both as u64 & ABSENT) as i64 + FIRST;
    let second = if second == ABSENT {
        none
    } else {
        second as i64 + FIRST
    };
    (first, second)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::time::END;

    #[test]
    fn two_times_survive_thirteen_bytes() {
        let ends = [FIRST, FIRST + 1, (FIRST + END) / 2, END - 1];
        for first in ends {
            for second in ends.into_iter().chain([i64::MAX]) {
                assert_eq!(
                    both(times(first, second, i64::MAX), i64::MAX),
                    (first, second)
                );
            }
        }
    }

    #[test]
    fn flags_survive_ten_bits() {
        for flags in 0..1 << 10 {
            let event = Event::default().flagged(flags);
            assert_eq!(Event::default().flagged(event.flags()), event);
        }
    }

    #[test]
    fn a_column_holds_nothing_until_a_value_is_unusual() {
        let mut column = Column::new(7u32);
        for row in 0..5_000 {
            column.push(row, 7);
        }
        assert_eq!(column.bytes(), 0);
        column.push(5_000, 8);
        column.push(5_001, 7);
        let seen: Vec<u32> = (4_999..5_003).map(|row| column.get(row)).collect();
        assert_eq!(seen, [7, 8, 7, 7]);
    }
}
