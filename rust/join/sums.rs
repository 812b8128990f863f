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
use crate::event::row::Digest;
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

/// Sums over the live impressions.
pub struct Sums<'a> {
    strata: &'a Strata,
    windows: &'a Windows,
    /// Counters.
    pub cells: Cells,
    /// The digest so far.
    pub digest: Digest,
    impressions: u64,
    silent: u64,
    unknown: u64,
}

/// Sums over some of the rows.
#[derive(Serialize, Deserialize)]
pub struct Summed {
    counts: Vec<Counts>,
    digest: Digest,
    live: [u64; 3],
}

impl<'a> Sums<'a> {
    /// Over nothing.
    pub fn new(strata: &'a Strata, windows: &'a Windows, cells: Cells) -> Self {
        Self {
            strata,
            windows,
            cells,
            digest: Digest::default(),
            impressions: 0,
            silent: 0,
            unknown: 0,
        }
    }

    /// The observation of a live row, added; `given` is sorted by kind and time.
    pub fn row(
        &mut self,
        shown: &Shown,
        given: impl Iterator<Item = Given>,
        prior: [u32; 2],
    ) -> Observation {
        let (stratum, windows) = (shown.stratum, self.windows);
        let mut seen = observe(given, shown.shown_at);
        seen.offered = self.cells.offered(stratum);
        seen.closed = windows.closed(shown.shown_at);
        seen.closed_kinds = if seen.closed { ALL_KINDS } else { 0 };
        seen.age_ms = (windows.watermark - shown.shown_at).div_euclid(1000);
        seen.cell = self.cells.cell(stratum);
        let known = self.strata.all.get(stratum as usize);
        seen.len_bucket = known.map_or(len_bucket(0), |stratum| stratum.len_bucket);
        seen.hour_of_week = hour_of_week(shown.shown_at);
        [seen.user_prior_exp, seen.user_prior_obs] = prior;
        seen.live = true;
        self.cells.add(
            seen.cell,
            seen.closed,
            seen.o,
            [seen.o_kinds, seen.pos_kinds, seen.neg_kinds],
        );
        self.unknown += u64::from(self.strata.offer_unknown(stratum));
        self.impressions += 1;
        self.silent += u64::from(seen.o_kinds == 0);
        self.digest.add(shown.content);
        self.digest.add(seen.hash(shown.key));
        seen
    }

    /// What was added, without what it was added to.
    pub fn summed(self) -> Summed {
        Summed {
            counts: self.cells.counts,
            digest: self.digest,
            live: [self.impressions, self.silent, self.unknown],
        }
    }

    /// Adds other rows.
    pub fn add(&mut self, other: Summed) {
        for (counts, more) in self.cells.counts.iter_mut().zip(&other.counts) {
            counts.add(more);
        }
        self.digest.add(other.digest.key());
        let live = [&mut self.impressions, &mut self.silent, &mut self.unknown];
        for (count, more) in live.into_iter().zip(other.live) {
            *count += more;
        }
    }

    /// Everything.
    pub fn done(self, mut tally: Tally, pairs: Sorted<{ pairs::SIZE }>) -> Derived {
        if self.unknown > 0 {
            tally.notes.insert("offered_unknown".into(), self.unknown);
        }
        tally.skewed.sort_unstable();
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
            cells: self.cells,
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
