//! Exact counters: how often each kind of feedback was seen in each cell of the product.
//!
//! A stratum is what is known of an impression when it is read; a cell is a stratum once it is known which kinds the
//! source has at all, so that an unknown `offered` can be replaced by the two-sided ones among them.

use std::hash::{BuildHasher as _, Hash};

use hashbrown::{DefaultHashBuilder, HashTable};
use serde::{Deserialize, Serialize};

use crate::event::Kind;
use crate::event::row::Impression;

/// What an impression is counted by, in the order of the cells.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Stratum<T> {
    /// Where in the product.
    pub surface: Option<T>,
    /// Model.
    pub model: Option<T>,
    /// Position.
    pub slot: Option<i16>,
    /// Positions on the page.
    pub n_slots: Option<i16>,
    /// Language.
    pub lang: Option<T>,
    /// Bits of the response's number of characters: 0, 1, 2-3, 4-7, ...
    pub len_bucket: u8,
    /// Kinds offered, absent = unknown.
    pub offered: Option<u32>,
    /// Namespace.
    pub space: u16,
}

/// The strata seen, with a code each in order of appearance.
#[derive(Default)]
pub struct Strata {
    /// By code.
    pub all: Vec<Stratum<Box<str>>>,
    codes: HashTable<u32>,
    hasher: DefaultHashBuilder,
    spaces: Vec<Box<str>>,
}

/// Number of bits of a count of characters.
pub fn len_bucket(chars: i32) -> u8 {
    (32 - chars.max(0).leading_zeros()) as u8
}

impl Strata {
    /// Code of the stratum of an impression.
    pub fn code(&mut self, row: &Impression<&str>) -> u32 {
        let stratum = Stratum {
            surface: row.surface,
            model: row.model,
            slot: row.slot,
            n_slots: row.n_slots,
            lang: row.lang,
            len_bucket: len_bucket(row.response_chars),
            offered: row.offered,
            space: self.space(row.source),
        };
        self.code_of(&stratum)
    }

    /// Code of a stratum that was seen elsewhere.
    pub fn known(&mut self, stratum: &Stratum<Box<str>>) -> u32 {
        self.code_of(&Stratum {
            surface: stratum.surface.as_deref(),
            model: stratum.model.as_deref(),
            slot: stratum.slot,
            n_slots: stratum.n_slots,
            lang: stratum.lang.as_deref(),
            len_bucket: stratum.len_bucket,
            offered: stratum.offered,
            space: stratum.space,
        })
    }

    fn code_of(&mut self, stratum: &Stratum<&str>) -> u32 {
        let hash = self.hasher.hash_one(stratum);
        let all = &self.all;
        let same = |code: &u32| {
            all.get(*code as usize)
                .is_some_and(|known| known.is(stratum))
        };
        if let Some(code) = self.codes.find(hash, same) {
            return *code;
        }
        let code = self.all.len() as u32;
        self.all.push(stratum.owned());
        let (all, hasher) = (&self.all, &self.hasher);
        let rehash = |code: &u32| {
            all.get(*code as usize)
                .map_or(0, |known| hasher.hash_one(known))
        };
        self.codes.insert_unique(hash, code, rehash);
        code
    }

    /// Whether the log does not say what was offered in a stratum.
    pub fn offer_unknown(&self, stratum: u32) -> bool {
        self.all
            .get(stratum as usize)
            .is_some_and(|stratum| stratum.offered.is_none())
    }

    /// Slot of a stratum, if logged.
    pub fn slot(&self, stratum: u32) -> Option<i16> {
        self.all
            .get(stratum as usize)
            .and_then(|stratum| stratum.slot)
    }

    /// Code of a namespace.
    pub fn space(&mut self, source: &str) -> u16 {
        let known = self
            .spaces
            .iter()
            .position(|known| known.as_ref() == source);
        known.unwrap_or_else(|| {
            self.spaces.push(source.into());
            self.spaces.len() - 1
        }) as u16
    }
}

impl Stratum<&str> {
    fn owned(&self) -> Stratum<Box<str>> {
        Stratum {
            surface: self.surface.map(Into::into),
            model: self.model.map(Into::into),
            slot: self.slot,
            n_slots: self.n_slots,
            lang: self.lang.map(Into::into),
            len_bucket: self.len_bucket,
            offered: self.offered,
            space: self.space,
        }
    }
}

impl Stratum<Box<str>> {
    fn is(&self, other: &Stratum<&str>) -> bool {
        self.surface.as_deref() == other.surface
            && self.model.as_deref() == other.model
            && self.slot == other.slot
            && self.n_slots == other.n_slots
            && self.lang.as_deref() == other.lang
            && self.len_bucket == other.len_bucket
            && self.offered == other.offered
            && self.space == other.space
    }
}

/// The counters of one cell. Observations are counted over closed rows, so that n_obs / n_closed is a frequency.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Live impressions.
    pub n_exp: u64,
    /// Those whose window is closed.
    pub n_closed: u64,
    /// Closed ones with any two-sided feedback.
    pub n_obs: u64,
    /// Closed ones with anything recorded, by kind.
    pub n_obs_by_kind: [u64; 16],
    /// Closed ones recorded positive, or happened.
    pub n_pos_by_kind: [u64; 16],
    /// Closed ones recorded negative, or as not happened.
    pub n_neg_by_kind: [u64; 16],
}

impl Counts {
    /// Counts a live impression.
    pub fn see(&mut self, closed: bool, observed: bool, [seen, positive, negative]: [u32; 3]) {
        self.n_exp += 1;
        if !closed {
            return;
        }
        self.n_closed += 1;
        self.n_obs += u64::from(observed);
        let tables = [
            &mut self.n_obs_by_kind,
            &mut self.n_pos_by_kind,
            &mut self.n_neg_by_kind,
        ];
        for (table, mask) in tables.into_iter().zip([seen, positive, negative]) {
            for (count, kind) in table.iter_mut().zip(Kind::ALL) {
                *count += u64::from(mask & kind.mask() != 0);
            }
        }
    }

    /// Adds the counts of other rows.
    pub fn add(&mut self, other: &Self) {
        self.n_exp += other.n_exp;
        self.n_closed += other.n_closed;
        self.n_obs += other.n_obs;
        for (table, more) in [
            (&mut self.n_obs_by_kind, &other.n_obs_by_kind),
            (&mut self.n_pos_by_kind, &other.n_pos_by_kind),
            (&mut self.n_neg_by_kind, &other.n_neg_by_kind),
        ] {
            for (count, more) in table.iter_mut().zip(more) {
                *count += more;
            }
        }
    }
}

/// The cells of a store, sorted, with the cell of every stratum.
pub struct Cells {
    /// Descriptions, with `offered` resolved and `space` 0.
    pub keys: Vec<Stratum<Box<str>>>,
    /// Counters.
    pub counts: Vec<Counts>,
    cell_of: Vec<u32>,
    offered: Vec<u32>,
}

impl Cells {
    /// The cells of the strata in use; `kinds_of` gives the two-sided kinds seen in a namespace.
    pub fn new(strata: &Strata, in_use: &[bool], kinds_of: impl Fn(u16) -> u32) -> Self {
        let resolve = |stratum: &Stratum<Box<str>>| {
            let offered = stratum.offered.unwrap_or_else(|| kinds_of(stratum.space));
            Stratum {
                offered: Some(offered),
                space: 0,
                ..stratum.clone()
            }
        };
        let resolved: Vec<_> = strata.all.iter().map(resolve).collect();
        let mut keys: Vec<_> = resolved
            .iter()
            .zip(in_use)
            .filter(|(_, used)| **used)
            .map(|(key, _)| key.clone())
            .collect();
        keys.sort_unstable();
        keys.dedup();
        let cell_of = resolved
            .iter()
            .map(|key| keys.binary_search(key).unwrap_or_default() as u32)
            .collect();
        let offered = resolved
            .iter()
            .map(|key| key.offered.unwrap_or_default())
            .collect();
        Self {
            counts: vec![Counts::default(); keys.len()],
            keys,
            cell_of,
            offered,
        }
    }

    /// Cell of a stratum.
    pub fn cell(&self, stratum: u32) -> u32 {
        self.cell_of
            .get(stratum as usize)
            .copied()
            .unwrap_or_default()
    }

    /// Kinds offered in a stratum.
    pub fn offered(&self, stratum: u32) -> u32 {
        self.offered
            .get(stratum as usize)
            .copied()
            .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn length_buckets_are_numbers_of_bits() {
        let buckets = [0, 1, 2, 3, 4, 7, 8, i32::MAX].map(len_bucket);
        assert_eq!(buckets, [0, 1, 2, 2, 3, 3, 4, 31]);
    }

    #[test]
    fn cells_do_not_depend_on_the_order_of_appearance() {
        let row = |surface, offered| Impression {
            source: "s",
            surface: Some(surface),
            offered,
            ..Impression::default()
        };
        let rows = [
            row("b", None),
            row("a", Some(1)),
            row("b", Some(3)),
            row("a", None),
        ];
        let keys = |order: [usize; 4]| {
            let mut strata = Strata::default();
            for at in order {
                if let Some(row) = rows.get(at) {
                    strata.code(row);
                }
            }
            Cells::new(&strata, &[true; 4], |_| 3).keys
        };
        let sorted = keys([0, 1, 2, 3]);
        assert_eq!(
            sorted.len(),
            3,
            "an unknown offer equals the same offer spelled out"
        );
        assert_eq!(sorted, keys([3, 2, 1, 0]));
    }

    #[test]
    fn borrowed_and_owned_strata_hash_alike() {
        let mut strata = Strata::default();
        let row = Impression {
            source: "s",
            model: Some("m"),
            ..Impression::default()
        };
        let codes: Vec<u32> = (0..100).map(|_| strata.code(&row)).collect();
        assert_eq!(codes, vec![0; 100]);
    }
}
