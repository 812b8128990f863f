//! What shards have in common. Each says which keys it has, by fingerprints that are too short to tell any two apart
//! but seldom fail to; who has a key that nobody else seems to have keeps to itself what is under it.
//!
//! | key | whom a shard is told of |
//! |---|---|
//! | of a row | all others that have it; each sends them its own row, and all come to the same end |
//! | response, request, session | one of those where it was shown, if it is also elsewhere |
//! | user | one of those who have it, if there are several |
//!
//! Fingerprints decide nothing: whatever they bring together is told apart by the whole keys.

use super::packet::{Kind, pack, unpack};
use super::rows::{keep, kept};
use super::{DRIVER, Kept, Letter, Post, Settings, empty, records};
use crate::error::Result;
use crate::event::row::Key;
use crate::join::meet::Tag;

/// Most bytes of a fingerprint: of 4 billion keys, one in 250 has that of another, and is sent for nothing.
const BYTES: usize = 5;
/// Bytes of a fingerprint with what it is of and how a shard has it.
const PRINT: usize = 1 + BYTES;
/// Bytes of a fingerprint with what it is of and another shard that has it.
const SHARED: usize = 1 + BYTES + 4;

/// What a key is of.
#[derive(Clone, Copy, PartialEq)]
#[repr(u8)]
pub(super) enum Of {
    Response,
    Request,
    Session,
    User,
    /// A row of responses.
    Shown,
    /// A row of feedback.
    Event,
}

impl From<Tag> for Of {
    fn from(tag: Tag) -> Self {
        match tag {
            Tag::Response => Self::Response,
            Tag::Request => Self::Request,
            Tag::Session => Self::Session,
        }
    }
}

/// A shard has what was shown under the key.
const HAS: u8 = 1;
/// A shard has feedback about it.
const ASKS: u8 = 2;

/// Bits of a fingerprint for inputs of so many bytes: as many as count them. A line takes a hundred bytes or more, so
/// of a hundred keys one at most has the fingerprint of another; more often where the inputs are compressed.
pub(super) fn bits(bytes: u128) -> u32 {
    (u128::BITS - bytes.leading_zeros()).clamp(8, 8 * BYTES as u32)
}

/// The keys of a shard.
pub(super) struct Prints {
    bits: u32,
    all: Vec<(u64, u8)>,
}

impl Prints {
    /// None, in a job whose fingerprints have so many bits.
    pub fn new(bits: u32) -> Self {
        let all = Vec::new();
        Self { bits, all }
    }

    /// Notes a key under which the shard has something.
    pub fn has(&mut self, of: Of, key: Key) {
        self.add(of, key, HAS);
    }

    /// Notes a key that feedback is about.
    pub fn asks(&mut self, of: Of, key: Key) {
        self.add(of, key, ASKS);
    }

    fn add(&mut self, of: Of, key: Key, how: u8) {
        if key != Key::default() {
            self.all.push((print(of, key, self.bits), how));
        }
    }

    /// To the shards that collect them; each collects its range of fingerprints.
    pub fn letters(mut self, settings: &Settings) -> Result<Vec<Letter>> {
        let mut post = Post::<PRINT>::new(Kind::Print, settings);
        self.all.sort_unstable();
        for same in self.all.chunk_by(|(one, _), (next, _)| one == next) {
            let Some((print, _)) = same.first() else {
                continue;
            };
            let mut how = same.iter().fold(0, |all, (_, how)| all | how);
            let of = (print >> (8 * BYTES)) as u8;
            if how & HAS != 0 && of != Of::Session as u8 {
                how = HAS; // what is here answers by itself
            }
            let [.., a, b, c, d, e] = print.to_be_bytes();
            let low = u64::from_be_bytes([0, 0, 0, a, b, c, d, e]);
            let to = (u128::from(low) * settings.shards.len() as u128) >> self.bits;
            post.give(to as i64, [how << 4 | of, a, b, c, d, e]);
        }
        let mut letters = empty(settings);
        post.write(&mut letters)?;
        Ok(letters)
    }
}

/// What a key is of, and its fingerprint.
fn print(of: Of, key: Key, bits: u32) -> u64 {
    let first = key.head().checked_shr(u64::BITS - bits);
    (of as u64) << (8 * BYTES) | first.unwrap_or(0)
}

/// Tells shards of others, given the fingerprints in a range of all of them.
pub(super) fn common(settings: &Settings, letters: &[Letter]) -> Result<Vec<Letter>> {
    let mut all = Vec::new();
    for record in records::<PRINT>(letters, Kind::Print) {
        let (shard, [head, a, b, c, d, e]) = record?;
        let print = u64::from_be_bytes([0, 0, head & 15, a, b, c, d, e]);
        all.push((print, shard, head >> 4));
    }
    all.sort_unstable();
    let mut post = Post::<SHARED>::new(Kind::Shared, settings);
    let mut tell = |to: i64, of: u8, print: u64, other: i64| {
        let [.., a, b, c, d, e] = print.to_be_bytes();
        let [f, g, h, i] = (other as u32).to_be_bytes();
        post.give(to, [of, a, b, c, d, e, f, g, h, i]);
    };
    for held in all.chunk_by(|(one, ..), (next, ..)| one == next) {
        let [(print, ..), _, ..] = held else {
            continue;
        };
        let of = (print >> (8 * BYTES)) as u8;
        let owns = held.iter().filter(|(.., how)| how & HAS != 0);
        let owners: Vec<i64> = owns.map(|(_, shard, _)| *shard).collect();
        let row = match of {
            of if of == Of::Response as u8 => Some(Of::Shown as u8),
            of if of == Of::Event as u8 => Some(of),
            _ => None,
        };
        if let Some(row) = row {
            for one in &owners {
                for other in owners.iter().filter(|other| *other != one) {
                    tell(*one, row, *print, *other);
                }
            }
        }
        let asked = held.iter().any(|(.., how)| how & ASKS != 0);
        let meets = match of {
            of if of == Of::Event as u8 => false,
            of if of == Of::Session as u8 => asked,
            _ => true,
        };
        let at = print.checked_rem(owners.len() as u64).unwrap_or(0);
        if let Some(owner) = owners.get(at as usize).filter(|_| meets) {
            for (_, shard, _) in held.iter().filter(|(_, shard, _)| shard != owner) {
                tell(*shard, of, *print, *owner);
            }
        }
    }
    let mut letters = empty(settings);
    post.write(&mut letters)?;
    letters.push((DRIVER, Vec::new()));
    Ok(letters)
}

/// What a shard was told of others.
pub(super) struct Shared {
    bits: u32,
    told: Vec<[u8; SHARED]>,
}

impl Shared {
    /// From the letters of all who told it.
    pub fn told(settings: &Settings, letters: &[Letter]) -> Result<Self> {
        let told = records(letters, Kind::Shared).map(|record| Ok(record?.1));
        let mut told = told.collect::<Result<Vec<_>>>()?;
        told.sort_unstable();
        let bits = settings.bits;
        Ok(Self { bits, told })
    }

    /// From a file.
    pub fn read(settings: &Settings, file: &Kept) -> Result<Self> {
        let told = unpack(&kept(settings, file)?, Kind::Shared)?;
        let bits = settings.bits;
        Ok(Self { bits, told })
    }

    /// As a file.
    pub fn keep(&self, settings: &Settings, name: &str) -> Result<Kept> {
        let mut file = Vec::new();
        pack(&mut file, Kind::Shared, &self.told)?;
        keep(settings, &format!("{name}-shared"), &file)
    }

    /// The others to whom belongs what is under a key.
    pub fn others(&self, of: Of, key: Key) -> impl Iterator<Item = i64> {
        let [.., a, b, c, d, e] = print(of, key, self.bits).to_be_bytes();
        let print = [of as u8, a, b, c, d, e];
        let head = |record: &[u8; SHARED]| record.first_chunk::<PRINT>().copied();
        let first = self
            .told
            .partition_point(|record| head(record) < Some(print));
        let rest = self.told.get(first..).unwrap_or_default().iter();
        let mine = rest.take_while(move |record| head(record) == Some(print));
        mine.map(|[.., a, b, c, d]| i64::from(u32::from_be_bytes([*a, *b, *c, *d])))
    }

    /// The one shard to which it belongs: this one, `me`, unless another was named.
    pub fn owner(&self, of: Of, key: Key, me: i64) -> i64 {
        self.others(of, key).next().unwrap_or(me)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn key(name: &str) -> Key {
        Key::of(name.as_bytes())
    }

    /// What each of three shards is told, when all of them tell what they have.
    fn met(tell: impl Fn(i64, &mut Prints)) -> Vec<Shared> {
        let settings = Settings {
            shards: vec![Default::default(); 3],
            bits: 40,
            ..Settings::default()
        };
        let mut sent = vec![Vec::new(); 3];
        for by in 0..3 {
            let mut prints = Prints::new(settings.bits);
            tell(by, &mut prints);
            for (to, letter) in prints.letters(&settings).unwrap() {
                sent.get_mut(to as usize).unwrap().push((by, letter));
            }
        }
        let mut told = vec![Vec::new(); 3];
        for (by, letters) in (0..).zip(&sent) {
            for (to, letter) in common(&settings, letters).unwrap() {
                if to != DRIVER {
                    told.get_mut(to as usize).unwrap().push((by, letter));
                }
            }
        }
        told.iter()
            .map(|told| Shared::told(&settings, told).unwrap())
            .collect()
    }

    fn others(told: &[Shared], of: Of, name: &str) -> Vec<Vec<i64>> {
        let others = |told: &Shared| told.others(of, key(name)).collect();
        told.iter().map(others).collect()
    }

    #[test]
    fn what_one_shard_has_is_its_own_affair() {
        let told = met(|by, prints| {
            for of in [Of::Response, Of::Request, Of::Session, Of::User, Of::Event] {
                prints.has(of, key(&format!("of {by}")));
                prints.asks(of, key(&format!("of {by}")));
                prints.asks(of, key("nobody's"));
                prints.has(of, Key::default());
            }
        });
        assert!(told.iter().all(|told| told.told.is_empty()));
    }

    #[test]
    fn what_several_have_belongs_to_one_who_has_what_was_shown() {
        let told = met(|by, prints| {
            for of in [Of::Response, Of::Request, Of::Session, Of::User] {
                if by > 0 {
                    prints.has(of, key("k"));
                } else if of != Of::User {
                    prints.asks(of, key("k"));
                }
            }
        });
        for of in [Of::Response, Of::Request, Of::Session] {
            let mut owners = others(&told, of, "k").concat();
            owners.dedup();
            assert!(owners == [1] || owners == [2]);
            assert_eq!(others(&told, of, "k").concat().len(), 2);
        }
        assert_eq!(others(&told, Of::User, "k").concat().len(), 1);
        assert_eq!(others(&told, Of::Shown, "k"), [vec![], vec![2], vec![1]]);
    }

    #[test]
    fn sessions_meet_when_asked_for_and_rows_of_feedback_when_repeated() {
        let told = met(|_, prints| {
            prints.has(Of::Session, key("silent"));
            prints.has(Of::Event, key("f"));
        });
        assert!(others(&told, Of::Session, "silent").concat().is_empty());
        assert_eq!(others(&told, Of::Event, "f"), [[1, 2], [0, 2], [0, 1]]);
    }
}
