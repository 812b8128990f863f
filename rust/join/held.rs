//! The rows of the join state that are in memory.

use hashbrown::HashMap;

use super::index::Index;
use super::pack::{Bits, Column, Keyed, PackedEvent, PackedShown, Pages};
use super::{Event, Shown};
use crate::event::row::{Key, Winner};
use crate::unchecked;

/// Rows whose memory to ask for at once: few enough to be still at hand when they are taken.
///
/// A row takes a few looks at places that no cache holds, and each such look costs as much as everything else that is
/// done with the row. Whoever asks for the places of some rows beforehand waits for all of them at once.
pub const AHEAD: usize = 64;
/// Code of nobody.
const NOBODY: u32 = u32::MAX;

/// One table: its rows, which of them are live, and where each came from.
pub struct Held<T> {
    rows: Pages<T>,
    live: Bits,
    index: Index,
    /// First row of each stretch with one source and namespace.
    origins: Vec<(u32, u32, u16)>,
}

impl<T> Default for Held<T> {
    fn default() -> Self {
        Self {
            rows: Pages::default(),
            live: Bits::default(),
            index: Index::default(),
            origins: Vec::new(),
        }
    }
}

impl<T: Keyed> Held<T> {
    /// Number of rows.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether a row stands.
    #[inline]
    pub fn live(&self, row: u32) -> bool {
        self.live.get(row)
    }

    /// The rows that stand.
    pub fn standing(&self) -> impl Iterator<Item = u32> {
        (0..self.len() as u32).filter(|row| self.live(*row))
    }

    /// Marks a row as one that lost.
    pub fn kill(&mut self, row: u32) {
        self.live.clear(row);
    }

    /// Source and namespace of a row.
    pub fn origin(&self, row: u32) -> (u32, u16) {
        let after = self.origins.partition_point(|(first, ..)| *first <= row);
        let known = after.checked_sub(1).and_then(|at| self.origins.get(at));
        known.map_or((0, 0), |(_, src, space)| (*src, *space))
    }

    /// Asks for the memory where the index has a key.
    #[inline]
    pub fn fetch(&self, key: Key) {
        self.index.fetch(key);
    }

    /// Asks for the rows that `find` will look at, when the index is at hand.
    #[inline]
    pub fn fetch_rows(&self, key: Key) {
        self.index.with(key).for_each(|row| self.fetch_row(row));
    }

    /// Asks for a row.
    #[inline]
    pub fn fetch_row(&self, row: u32) {
        self.rows.get(row).into_iter().for_each(unchecked::fetch);
    }

    /// The row that stands under a key.
    pub fn find(&self, key: Key) -> Option<u32> {
        let same = |row: u32| self.rows.get(row).is_some_and(|known| known.key() == key);
        self.index.find(key, same)
    }

    /// Keys and rows of all that the index knows.
    pub fn keys(&self) -> impl Iterator<Item = (Key, u32)> {
        let key = |row: u32| self.rows.get(row).map(|known| (known.key(), row));
        self.index.rows().filter_map(key)
    }

    /// Adds a row; a live one takes the place of `old` under its key.
    fn push(&mut self, packed: T, live: bool, old: Option<u32>, src: u32, space: u16) -> u32 {
        let row = self.rows.len() as u32;
        let origin = self.origins.last().map(|(_, src, space)| (*src, *space));
        if origin != Some((src, space)) {
            self.origins.push((row, src, space));
        }
        self.rows.push(packed);
        self.live.push(live);
        match old {
            _ if !live => {}
            Some(old) => self.index.replace(packed.key(), old, row),
            None => self.index.insert(packed.key(), row),
        }
        row
    }

    fn bytes(&self) -> usize {
        let origins = self.origins.capacity() * size_of::<(u32, u32, u16)>();
        self.rows.bytes() + self.live.bytes() + self.index.bytes() + origins
    }
}

/// Sessions with their users, a code each.
#[derive(Default)]
struct People {
    keys: Pages<[Key; 2]>,
    index: Index,
}

impl People {
    fn find(&self, person: [Key; 2]) -> Option<u32> {
        let same = |code: u32| self.keys.get(code) == Some(&person);
        self.index.find(mixed(person), same)
    }

    fn code(&mut self, person: [Key; 2]) -> u32 {
        if person == [Key::default(); 2] {
            return NOBODY;
        }
        if let Some(code) = self.find(person) {
            return code;
        }
        let code = self.keys.len() as u32;
        self.keys.push(person);
        self.index.insert(mixed(person), code);
        code
    }
}

/// Where a session and its user stand in the index.
fn mixed([session, user]: [Key; 2]) -> Key {
    let [session, user] = [session, user].map(|key| u128::from_le_bytes(key.0));
    Key((session ^ user.rotate_left(1)).to_le_bytes())
}

/// All rows in memory.
pub struct Rows {
    /// Responses.
    pub shown: Held<PackedShown>,
    /// Feedback.
    pub events: Held<PackedEvent>,
    people: People,
    prob: Column<u32>,
    stratum: Column<u16>,
    version: [Column<u32>; 2],
    parents: Pages<(Key, [u8; 4])>,
    winners: Pages<(Key, [u8; 5])>,
}

impl Default for Rows {
    fn default() -> Self {
        Self {
            shown: Held::default(),
            events: Held::default(),
            people: People::default(),
            prob: Column::new(f32::NAN.to_bits()),
            stratum: Column::new(0),
            version: [Column::new(0), Column::new(0)],
            parents: Pages::default(),
            winners: Pages::default(),
        }
    }
}

impl Rows {
    /// Asks for the memory where the indexes have a response and its session.
    #[inline]
    pub fn fetch(&self, key: Key, person: [Key; 2]) {
        self.shown.fetch(key);
        self.people.index.fetch(mixed(person));
    }

    /// Asks for the rows of both, when the indexes are at hand.
    #[inline]
    pub fn fetch_rows(&self, key: Key, person: [Key; 2]) {
        self.shown.fetch_rows(key);
        let codes = self.people.index.with(mixed(person));
        let keys = codes.filter_map(|code| self.people.keys.get(code));
        keys.for_each(unchecked::fetch);
    }

    /// Adds a response, which regenerates that of the key `parent`.
    pub fn push_shown(
        &mut self,
        shown: &Shown,
        parent: Option<Key>,
        (live, old, src): (bool, Option<u32>, u32),
    ) -> u32 {
        let person = self.people.code([shown.session, shown.user]);
        let packed = PackedShown::of(shown, person);
        let row = self.shown.push(packed, live, old, src, 0);
        let prob = shown.policy_prob;
        let prob = if prob.is_nan() { f32::NAN } else { prob };
        self.prob.push(row, prob.to_bits());
        self.stratum.push(row, (shown.stratum >> 16) as u16);
        if let Some(parent) = parent {
            self.parents.push((parent, row.to_le_bytes()));
        }
        row
    }

    /// Adds an event.
    pub fn push_event(
        &mut self,
        event: &Event,
        winner: Option<Winner>,
        (live, old, src, space): (bool, Option<u32>, u32, u16),
    ) -> u32 {
        let packed = PackedEvent::of(event);
        let row = self.events.push(packed, live, old, src, space);
        let [low, high] = &mut self.version;
        low.push(row, event.version as u32);
        high.push(row, (event.version >> 32) as u32);
        if let Some(winner) = winner {
            let (tag, key) = coded(winner);
            let [a, b, c, d] = row.to_le_bytes();
            self.winners.push((key, [tag, a, b, c, d]));
        }
        row
    }

    /// A response.
    #[inline]
    pub fn response(&self, row: u32) -> Option<Shown> {
        let packed = self.shown.rows.get(row)?;
        let person = self.people.keys.get(packed.person());
        let person = person.copied().unwrap_or_default();
        let prob = f32::from_bits(self.prob.get(row));
        Some(packed.row(person, self.stratum.get(row), prob))
    }

    /// The key of what an event is about.
    #[inline]
    pub fn target(&self, event: u32) -> Option<Key> {
        self.events.rows.get(event).map(PackedEvent::target)
    }

    /// The user of every session with a user, as a code.
    pub fn users(&self) -> Vec<u32> {
        let mut codes = HashMap::new();
        let people = (0..self.people.keys.len() as u32).filter_map(|at| self.people.keys.get(at));
        let code = |[_, user]: &[Key; 2]| {
            let next = codes.len() as u32;
            match *user == Key::default() {
                true => NOBODY,
                false => *codes.entry(*user).or_insert(next),
            }
        };
        people.map(code).collect()
    }

    /// To which of the users a response that stands was shown, and when.
    #[inline]
    pub fn shown_to(&self, row: u32, users: &[u32]) -> Option<(u32, i64)> {
        let packed = self.shown.rows.get(row).filter(|_| self.shown.live(row))?;
        let user = users.get(packed.person() as usize);
        let user = user.filter(|user| **user != NOBODY);
        user.map(|user| (*user, packed.shown_at()))
    }

    /// Stratum of a response.
    #[inline]
    pub fn stratum(&self, row: u32) -> Option<u32> {
        let packed = self.shown.rows.get(row);
        packed.map(|packed| packed.stratum(self.stratum.get(row)))
    }

    /// Request of a response, and the order in it.
    #[inline]
    pub fn in_request(&self, row: u32) -> Option<(Key, i64, Key)> {
        self.shown.rows.get(row).map(PackedShown::in_request)
    }

    /// When a response was shown.
    #[inline]
    pub fn shown_at(&self, row: u32) -> Option<i64> {
        self.shown.rows.get(row).map(PackedShown::shown_at)
    }

    /// The order of an event among those about one response.
    #[inline]
    pub fn order(&self, row: u32) -> Option<(u8, i64, i64, Key)> {
        self.events.rows.get(row).map(PackedEvent::order)
    }

    /// An event.
    #[inline]
    pub fn event(&self, row: u32) -> Option<Event> {
        let [low, high] = &self.version;
        let version = i64::from(high.get(row) as i32) << 32 | i64::from(low.get(row));
        Some(self.events.rows.get(row)?.row(version))
    }

    /// Rows that regenerate, with the key of the response that each regenerates, in the order of rows.
    pub fn parents(&self) -> impl Iterator<Item = (u32, Key)> {
        let count = self.parents.len() as u32;
        let parent = |at| self.parents.get(at);
        let parents = (0..count).filter_map(parent);
        parents.map(|(key, row)| (u32::from_le_bytes(*row), *key))
    }

    /// Winner of a choice.
    pub fn winner(&self, row: u32) -> Option<Winner> {
        let (mut from, mut to) = (0, self.winners.len() as u32);
        while from < to {
            let middle = from + (to - from) / 2;
            let (key, [tag, a, b, c, d]) = *self.winners.get(middle)?;
            match u32::from_le_bytes([a, b, c, d]).cmp(&row) {
                std::cmp::Ordering::Less => from = middle + 1,
                std::cmp::Ordering::Greater => to = middle,
                std::cmp::Ordering::Equal => return decoded(tag, key),
            }
        }
        None
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        let [low, high] = &self.version;
        let people = self.people.keys.bytes() + self.people.index.bytes();
        let columns = self.prob.bytes() + self.stratum.bytes() + low.bytes() + high.bytes();
        let few = self.parents.bytes() + self.winners.bytes();
        self.shown.bytes() + self.events.bytes() + people + columns + few
    }

    /// Bytes that the rows need, counted by their number; cheap, and without the slack of pages.
    pub fn needed(&self) -> usize {
        let rows = self.shown.len() + self.events.len();
        let few = self.parents.len() + self.winners.len();
        rows * 80 + few * 21 + self.people.keys.len() * 40
    }
}

/// Tag and key of a winner.
pub fn coded(winner: Winner) -> (u8, Key) {
    match winner {
        Winner::Response(key) => (1, key),
        Winner::Tie => (2, Key::default()),
        Winner::BothBad => (3, Key::default()),
    }
}

/// The winner with this tag and key.
pub fn decoded(tag: u8, key: Key) -> Option<Winner> {
    match tag {
        1 => Some(Winner::Response(key)),
        2 => Some(Winner::Tie),
        3 => Some(Winner::BothBad),
        _ => None,
    }
}
