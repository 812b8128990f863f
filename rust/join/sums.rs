//! Sums over the live rows: what became of the events, and the counters and the digest of the responses.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::attribute::{Joined, Windows};
use super::derive::Derived;
use super::observe::{Given, Observation, observe};
use super::pairs;
use super::{About, Event, Shown};
use crate::count::{Cells, Counts, Strata, len_bucket};
use crate::event::row::{Digest, Key, RowHash};
use crate::event::time::hour_of_week;
use crate::event::{ALL_KINDS, Kind, Side};
use crate::spill::sorter::Sorted;

/// Counts by name.
pub type Named = BTreeMap<Cow<'static, str>, u64>;

/// Counts of the live events.
#[derive(Clone, Default, Serialize, Deserialize)]
pub struct Tally {
    /// Two-sided kinds seen, by namespace.
    two_sided: Vec<u32>,
    states: Named,
    kinds: Named,
    skewed: Vec<u32>,
    notes: Named,
}

impl Tally {
    /// Counts the kind of an event of a namespace.
    pub fn event(&mut self, event: &Event, space: u16) {
        if event.retract {
            return;
        }
        *self.kinds.entry(event.kind.name().into()).or_default() += 1;
        if event.by_user && event.kind.side() == Side::Two {
            if self.two_sided.len() <= space as usize {
                self.two_sided.resize(space as usize + 1, 0);
            }
            if let Some(mask) = self.two_sided.get_mut(space as usize) {
                *mask |= event.kind.mask();
            }
        }
    }

    /// Counts the state of the event of a row.
    pub fn joined(&mut self, at: u32, event: &Event, joined: Joined) {
        let state = match joined {
            Joined::Attributed { early, .. } => {
                match event.about {
                    About::Request if event.kind != Kind::Choice => self.note("joined_by_request"),
                    About::Session => self.note("joined_by_session"),
                    _ => {}
                }
                match (event.by_user, early) {
                    (false, _) => "attributed_other_actor",
                    (true, true) => "attributed_early",
                    (true, false) => "attributed",
                }
            }
            Joined::Pending => "pending",
            Joined::Orphan => "orphan",
            Joined::OutOfWindow => "out_of_window",
            Joined::Ambiguous => "ambiguous",
            Joined::Retracted => "retracted",
            Joined::Skew => {
                self.skewed.push(at);
                "skew"
            }
        };
        *self.states.entry(state.into()).or_default() += 1;
    }

    fn note(&mut self, name: &'static str) {
        *self.notes.entry(name.into()).or_default() += 1;
    }

    /// The cells, once every event was counted.
    pub fn cells(&self, strata: &Strata, in_use: &[bool]) -> Cells {
        Cells::new(strata, in_use, |space| {
            self.two_sided.get(space as usize).copied().unwrap_or(0)
        })
    }

    /// Adds the counts of other events.
    pub fn add(&mut self, other: Self) {
        if self.two_sided.len() < other.two_sided.len() {
            self.two_sided.resize(other.two_sided.len(), 0);
        }
        for (mask, more) in self.two_sided.iter_mut().zip(other.two_sided) {
            *mask |= more;
        }
        for (counts, more) in [
            (&mut self.states, other.states),
            (&mut self.kinds, other.kinds),
            (&mut self.notes, other.notes),
        ] {
            for (name, count) in more {
                *counts.entry(name).or_default() += count;
            }
        }
        self.skewed.extend(other.skewed);
    }

    /// Notes what formed no pair.
    pub fn unpaired(&mut self, [wide, lost]: [u64; 2]) {
        for (name, count) in [
            ("requests_too_wide_for_pairs", wide),
            ("regenerated_unknown", lost),
        ] {
            if count > 0 {
                *self.notes.entry(name.into()).or_default() += count;
            }
        }
    }
}

/// What the observation of a response follows from, its feedback excepted.
#[derive(Clone, Copy)]
pub struct Frame<'a> {
    /// Strata of all rows.
    pub strata: &'a Strata,
    /// Times that decide.
    pub windows: &'a Windows,
    /// Their cells.
    pub cells: &'a Cells,
}

/// The observation of a live row, and what the sums take from it.
pub struct Seen {
    /// Observation.
    pub row: Observation,
    hashes: [Key; 2],
    unknown: bool,
}

impl Frame<'_> {
    /// The observation of a live row; `given` is sorted by kind and time, `hash` serves row after row.
    pub fn see(
        &self,
        shown: &Shown,
        given: impl Iterator<Item = Given>,
        prior: [u32; 2],
        hash: &mut RowHash,
    ) -> Seen {
        let (stratum, windows) = (shown.stratum, self.windows);
        let mut row = observe(given, shown.shown_at);
        row.offered = self.cells.offered(stratum);
        row.closed = windows.closed(shown.shown_at);
        row.closed_kinds = if row.closed { ALL_KINDS } else { 0 };
        row.age_ms = (windows.watermark - shown.shown_at).div_euclid(1000);
        row.cell = self.cells.cell(stratum);
        let known = self.strata.all.get(stratum as usize);
        row.len_bucket = known.map_or(len_bucket(0), |stratum| stratum.len_bucket);
        row.hour_of_week = hour_of_week(shown.shown_at);
        [row.user_prior_exp, row.user_prior_obs] = prior;
        row.live = true;
        Seen {
            hashes: [shown.content, row.hash(shown.key, hash)],
            unknown: self.strata.offer_unknown(stratum),
            row,
        }
    }
}

/// Sums over the live impressions.
#[derive(Default, Serialize, Deserialize)]
pub struct Sums {
    /// Counters, by cell.
    counts: Vec<Counts>,
    /// The digest so far.
    pub digest: Digest,
    impressions: u64,
    silent: u64,
    unknown: u64,
}

impl Sums {
    /// Over nothing, in these cells.
    pub fn new(cells: &Cells) -> Self {
        Self {
            counts: vec![Counts::default(); cells.keys.len()],
            ..Self::default()
        }
    }

    /// Adds a row.
    pub fn add(
        &mut self,
        Seen {
            row,
            hashes,
            unknown,
        }: &Seen,
    ) {
        if let Some(counts) = self.counts.get_mut(row.cell as usize) {
            counts.see(
                row.closed,
                row.o,
                [row.o_kinds, row.pos_kinds, row.neg_kinds],
            );
        }
        self.unknown += u64::from(*unknown);
        self.impressions += 1;
        self.silent += u64::from(row.o_kinds == 0);
        hashes.iter().for_each(|hash| self.digest.add(*hash));
    }

    /// Adds what was summed over other rows.
    pub fn merge(&mut self, other: &Self) {
        for (counts, more) in self.counts.iter_mut().zip(&other.counts) {
            counts.add(more);
        }
        self.digest.add(other.digest.key());
        self.impressions += other.impressions;
        self.silent += other.silent;
        self.unknown += other.unknown;
    }

    /// Everything.
    pub fn done(
        self,
        mut cells: Cells,
        mut tally: Tally,
        pairs: Sorted<{ pairs::SIZE }>,
    ) -> Derived {
        if self.unknown > 0 {
            tally.notes.insert("offered_unknown".into(), self.unknown);
        }
        tally.skewed.sort_unstable();
        cells.counts = self.counts;
        let Tally {
            states,
            kinds,
            skewed,
            notes,
            ..
        } = tally;
        let feedback = states.values().sum::<u64>();
        Derived {
            digest: self.digest,
            cells,
            states,
            kinds,
            skewed,
            impressions: self.impressions,
            silent: self.silent,
            feedback,
            notes,
            pairs,
        }
    }
}
