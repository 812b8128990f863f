//! What the log says about every response, and the digest: a function of the state, never of how it came about.

use std::collections::BTreeMap;

use super::attribute::{Groups, Joined, Windows, attribute};
use super::pairs::{Pair, pairs};
use super::{About, Event, NONE, State};
use crate::count::{Cells, len_bucket};
use crate::error::Result;
use crate::event::row::{Digest, Key, RowHash};
use crate::event::time::hour_of_week;
use crate::event::{ALL_KINDS, Kind, Side, TWO_SIDED};

/// What is recorded about one response.
#[derive(Clone, Debug, Default, PartialEq)]
#[allow(missing_docs)] // the columns of the observations table, explained there
pub struct Observation {
    pub offered: u32,
    pub closed_kinds: u32,
    pub o_kinds: u32,
    pub pos_kinds: u32,
    pub neg_kinds: u32,
    pub rating: Option<f32>,
    pub o: bool,
    pub r: Option<f32>,
    pub n_pos: u16,
    pub n_neg: u16,
    pub conflict: bool,
    pub first_delay_ms: Option<i64>,
    pub dwell_ms: Option<f32>,
    pub closed: bool,
    pub age_ms: i64,
    pub cell: u32,
    pub len_bucket: u8,
    pub hour_of_week: u8,
    pub user_prior_exp: u32,
    pub user_prior_obs: u32,
    pub live: bool,
    /// From the response to the first feedback of each kind in `o_kinds`, in the order of its bits. Not hashed: it
    /// follows from the events, which are.
    pub delays_ms: Vec<i64>,
}

/// Everything derived from the state, the observations excepted, which are handed out row by row.
pub struct Derived {
    /// Sum of the row hashes of live impressions, live feedback and observations.
    pub digest: Digest,
    /// Counters.
    pub cells: Cells,
    /// Responses shown together, or regenerated.
    pub pairs: Vec<Pair>,
    /// Live events by state of the join.
    pub states: BTreeMap<&'static str, u64>,
    /// Live events that are not withdrawn, by kind.
    pub kinds: BTreeMap<&'static str, u64>,
    /// Feedback rows refused for their clock.
    pub skewed: Vec<u32>,
    /// Live impressions.
    pub impressions: u64,
    /// Those about which nothing at all was recorded.
    pub silent: u64,
    /// Live feedback events.
    pub feedback: u64,
    /// Counts worth a word in the report.
    pub notes: BTreeMap<&'static str, u64>,
}

/// Derives the observations of all rows, in order, and everything else.
pub fn derive(
    state: &State,
    windows: &Windows,
    mut emit: impl FnMut(&Observation) -> Result<()>,
) -> Result<Derived> {
    let groups = Groups::new(state);
    let mut joined = Join::new(state, windows, &groups);
    let priors = priors(state, &joined.hits);
    let mut in_use = vec![false; state.strata.all.len()];
    for shown in state.shown.iter().filter(|shown| shown.live) {
        if let Some(used) = in_use.get_mut(shown.stratum as usize) {
            *used = true;
        }
    }
    let mut cells = Cells::new(&state.strata, &in_use, |space| {
        joined.two_sided.get(space as usize).copied().unwrap_or(0)
    });
    let mut digest = Digest::default();
    let (mut impressions, mut silent) = (0, 0);
    let all = std::mem::take(&mut joined.hits);
    let mut hits = all.as_slice();
    for (row, shown) in state.shown.iter().enumerate() {
        let (mine, rest) = hits.split_at(hits.partition_point(|hit| hit.row as usize <= row));
        hits = rest;
        if !shown.live {
            emit(&Observation::default())?;
            continue;
        }
        let mut seen = observe(state, mine, shown.shown_at);
        seen.offered = cells.offered(shown.stratum);
        seen.closed = windows.closed(shown.shown_at);
        seen.closed_kinds = if seen.closed { ALL_KINDS } else { 0 };
        seen.age_ms = (windows.watermark - shown.shown_at).div_euclid(1000);
        seen.cell = cells.cell(shown.stratum);
        seen.len_bucket = state
            .strata
            .all
            .get(shown.stratum as usize)
            .map_or(len_bucket(0), |s| s.len_bucket);
        seen.hour_of_week = hour_of_week(shown.shown_at);
        (seen.user_prior_exp, seen.user_prior_obs) = priors.get(row).copied().unwrap_or_default();
        seen.live = true;
        cells.add(
            seen.cell,
            seen.closed,
            seen.o,
            [seen.o_kinds, seen.pos_kinds, seen.neg_kinds],
        );
        if state.strata.offer_unknown(shown.stratum) {
            joined.note("offered_unknown");
        }
        impressions += 1;
        silent += u64::from(seen.o_kinds == 0);
        digest.add(shown.content);
        digest.add(seen.hash(shown.key));
        emit(&seen)?;
    }
    for event in state.events.iter().filter(|event| event.live) {
        digest.add(event.content);
    }
    let pairs = pairs(state, windows, &groups, &cells, &mut joined);
    let Join {
        states,
        kinds,
        skewed,
        notes,
        ..
    } = joined;
    let feedback = states.values().sum::<u64>();
    Ok(Derived {
        digest,
        cells,
        pairs,
        states,
        kinds,
        skewed,
        impressions,
        silent,
        feedback,
        notes,
    })
}

/// An attributed event.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hit {
    pub row: u32,
    pub event: u32,
}

/// The live events, joined.
#[derive(Default)]
pub(super) struct Join {
    /// Users' feedback on responses, by row, kind, time.
    pub hits: Vec<Hit>,
    /// Choices, by request, time.
    pub choices: Vec<u32>,
    /// Two-sided kinds seen, by namespace.
    two_sided: Vec<u32>,
    states: BTreeMap<&'static str, u64>,
    kinds: BTreeMap<&'static str, u64>,
    skewed: Vec<u32>,
    /// Counts worth a word in the report.
    pub notes: BTreeMap<&'static str, u64>,
}

impl Join {
    fn new(state: &State, windows: &Windows, groups: &Groups) -> Self {
        let mut join = Self::default();
        for (at, event) in state
            .events
            .iter()
            .enumerate()
            .filter(|(_, event)| event.live)
        {
            join.add(at as u32, event, attribute(state, groups, windows, event));
        }
        let event = |hit: u32| state.events.get(hit as usize);
        join.hits.sort_unstable_by_key(|hit| {
            (
                hit.row,
                event(hit.event).map(|e| (e.kind, e.at, e.received_at, e.key)),
            )
        });
        join.choices
            .sort_unstable_by_key(|at| event(*at).map(|e| (e.target, e.at, e.received_at, e.key)));
        join
    }

    fn note(&mut self, name: &'static str) {
        *self.notes.entry(name).or_default() += 1;
    }

    fn add(&mut self, at: u32, event: &Event, found: Joined) {
        let mut count = |name| *self.states.entry(name).or_default() += 1;
        match found {
            Joined::Attributed { row, early } => {
                count(match (event.by_user, early) {
                    (false, _) => "attributed_other_actor",
                    (true, true) => "attributed_early",
                    (true, false) => "attributed",
                });
                match event.about {
                    About::Request if event.kind != Kind::Choice => self.note("joined_by_request"),
                    About::Session => self.note("joined_by_session"),
                    _ => {}
                }
                match (event.by_user, event.kind) {
                    (true, Kind::Choice) => self.choices.push(at),
                    (true, _) => self.hits.push(Hit { row, event: at }),
                    (false, _) => {}
                }
            }
            Joined::Pending => count("pending"),
            Joined::Orphan => count("orphan"),
            Joined::OutOfWindow => count("out_of_window"),
            Joined::Ambiguous => count("ambiguous"),
            Joined::Retracted => count("retracted"),
            Joined::Skew => {
                count("skew");
                self.skewed.push(at);
            }
        }
        if event.retract {
            return;
        }
        *self.kinds.entry(event.kind.name()).or_default() += 1;
        if event.by_user && event.kind.side() == Side::Two {
            if self.two_sided.len() <= event.space as usize {
                self.two_sided.resize(event.space as usize + 1, 0);
            }
            if let Some(mask) = self.two_sided.get_mut(event.space as usize) {
                *mask |= event.kind.mask();
            }
        }
    }
}

/// What the events of one row say; they are sorted by kind and time, and the last of a kind stands.
fn observe(state: &State, hits: &[Hit], shown_at: i64) -> Observation {
    let mut seen = Observation::default();
    let (mut labels, mut last) = ([false; 2], i64::MIN);
    for hit in hits {
        let Some(event) = state.events.get(hit.event as usize) else {
            continue;
        };
        let mask = event.kind.mask();
        let delay = (event.at - shown_at).max(0) / 1000;
        seen.first_delay_ms = Some(seen.first_delay_ms.map_or(delay, |first| first.min(delay)));
        if seen.o_kinds & mask == 0 {
            seen.delays_ms.push(delay);
        }
        seen.o_kinds |= mask;
        match event.kind {
            Kind::Rating => seen.rating = Some(event.value),
            Kind::Dwell => seen.dwell_ms = Some(event.value),
            _ => {}
        }
        let Some(label) = event.label else { continue };
        let (set, clear) = if label { (mask, 0) } else { (0, mask) };
        seen.pos_kinds = (seen.pos_kinds & !mask) | set;
        seen.neg_kinds = (seen.neg_kinds & !mask) | clear;
        match (event.kind.side(), label) {
            (Side::Positive, true) => seen.n_pos = seen.n_pos.saturating_add(1),
            (Side::Negative, true) => seen.n_neg = seen.n_neg.saturating_add(1),
            (Side::Two, _) => {
                let count = if label {
                    &mut seen.n_pos
                } else {
                    &mut seen.n_neg
                };
                *count = count.saturating_add(1);
                if let Some(given) = labels.get_mut(usize::from(label)) {
                    *given = true;
                }
                if event.at >= last {
                    last = event.at;
                    seen.r = Some(f32::from(u8::from(label)));
                }
            }
            _ => {}
        }
    }
    seen.o = seen.o_kinds & TWO_SIDED != 0;
    seen.conflict = labels == [true; 2];
    seen
}

/// For every row: how often its user had been shown something before, and how often two-sided feedback had come.
fn priors(state: &State, hits: &[Hit]) -> Vec<(u32, u32)> {
    let mut observed = vec![i64::MAX; state.shown.len()];
    for hit in hits {
        let event = state
            .events
            .get(hit.event as usize)
            .filter(|event| event.kind.side() == Side::Two);
        if let (Some(first), Some(event)) = (observed.get_mut(hit.row as usize), event) {
            *first = (*first).min(event.at);
        }
    }
    let shown = |row: u32| state.shown.get(row as usize);
    let known = |row: &u32| shown(*row).is_some_and(|shown| shown.live && shown.user != NONE);
    let mut rows: Vec<u32> = (0..state.shown.len() as u32).filter(known).collect();
    rows.sort_unstable_by_key(|row| shown(*row).map(|shown| (shown.user, shown.shown_at)));
    let mut priors = vec![(0, 0); state.shown.len()];
    let mut times: Vec<i64> = Vec::new();
    for mine in
        rows.chunk_by(|one, next| shown(*one).map(|s| s.user) == shown(*next).map(|s| s.user))
    {
        times.clear();
        times.extend(
            mine.iter()
                .filter_map(|row| observed.get(*row as usize))
                .filter(|time| **time < i64::MAX),
        );
        times.sort_unstable();
        let (mut before, mut feedback) = (0, 0);
        for (place, row) in mine.iter().enumerate() {
            let now = shown(*row).map_or(0, |shown| shown.shown_at);
            while before < place
                && mine
                    .get(before)
                    .is_some_and(|row| shown(*row).is_some_and(|s| s.shown_at < now))
            {
                before += 1;
            }
            while times.get(feedback).is_some_and(|time| *time < now) {
                feedback += 1;
            }
            if let Some(prior) = priors.get_mut(*row as usize) {
                *prior = (before as u32, feedback as u32);
            }
        }
    }
    priors
}

impl Observation {
    /// Hash of the row of the response with this key.
    pub fn hash(&self, key: Key) -> Key {
        let mut hash = RowHash::default();
        hash.key(Some(key));
        for mask in [
            self.offered,
            self.closed_kinds,
            self.o_kinds,
            self.pos_kinds,
            self.neg_kinds,
            self.cell,
        ] {
            hash.int(Some(i64::from(mask)));
        }
        for flag in [self.o, self.conflict, self.closed] {
            hash.int(Some(i64::from(flag)));
        }
        for number in [self.rating, self.r, self.dwell_ms] {
            hash.int(number.map(|number| i64::from(number.to_bits())));
        }
        hash.int(Some(i64::from(self.n_pos)))
            .int(Some(i64::from(self.n_neg)));
        hash.int(self.first_delay_ms).int(Some(self.age_ms));
        hash.int(Some(i64::from(self.len_bucket)))
            .int(Some(i64::from(self.hour_of_week)));
        hash.int(Some(i64::from(self.user_prior_exp)))
            .int(Some(i64::from(self.user_prior_obs)));
        hash.done()
    }
}
