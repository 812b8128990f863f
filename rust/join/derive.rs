//! What the log says about every response, and the digest: a function of the state, never of how it came about.

use super::attribute::{Groups, Joined, Windows, attribute};
use super::held::Rows;
use super::observe::Given;
pub use super::observe::Observation;
use super::pairs::{self, Candidate, Pair, Pairing};
use super::passes::pass;
use super::priors::{Moment, priors};
use super::sums::{Named, Sums, Tally};
use super::{Shown, State};
use crate::count::Cells;
use crate::error::Result;
use crate::event::row::{Digest, Key};
use crate::event::{Kind, Side};
use crate::spill::sorter::{Sorted, Sorter};

/// Rows between two ticks.
pub(super) const OFTEN: u32 = 1 << 14;

/// Everything derived from the state, the observations excepted, which are handed out row by row.
pub struct Derived {
    /// Sum of the row hashes of live impressions, live feedback and observations.
    pub digest: Digest,
    /// Counters.
    pub cells: Cells,
    /// Live events by state of the join.
    pub states: Named,
    /// Live events that are not withdrawn, by kind.
    pub kinds: Named,
    /// Feedback rows refused for their clock, in order.
    pub skewed: Vec<u32>,
    /// Live impressions.
    pub impressions: u64,
    /// Those about which nothing at all was recorded.
    pub silent: u64,
    /// Live feedback events.
    pub feedback: u64,
    /// Counts worth a word in the report.
    pub notes: Named,
    pub(super) pairs: Sorted<{ pairs::SIZE }>,
}

impl Derived {
    /// Responses shown together, or regenerated, in the order of their rows.
    pub fn pairs(&self) -> impl Iterator<Item = Result<Pair>> {
        self.pairs
            .iter()
            .map(|record| record.map(|record| Pair::read(&record)))
    }
}

/// Derives the observations of all rows, in order, and everything else. `tick` is called now and then; an error it
/// returns stops the work.
pub fn derive(
    state: &mut State,
    windows: &Windows,
    tick: &mut dyn FnMut() -> Result<()>,
    mut emit: impl FnMut(&Observation) -> Result<()>,
) -> Result<Derived> {
    if state.logs.is_some() {
        return pass(state, windows, tick, emit);
    }
    let (rows, strata) = (&state.rows, &state.strata);
    let groups = Groups::new(rows);
    let mut tally = Tally::default();
    let (hits, choices) = join(rows, windows, &groups, &mut tally);
    let priors = looked_back(rows, &hits)?;
    let mut in_use = vec![false; strata.all.len()];
    for row in rows.shown.standing() {
        let stratum = rows.response(row).map(|shown| shown.stratum as usize);
        if let Some(used) = stratum.and_then(|stratum| in_use.get_mut(stratum)) {
            *used = true;
        }
    }
    let mut sums = Sums::new(strata, windows, tally.cells(strata, &in_use));
    let mut hits = hits.as_slice();
    for row in 0..rows.shown.len() as u32 {
        let (mine, rest) = hits.split_at(hits.partition_point(|hit| hit.row <= row));
        hits = rest;
        if row % OFTEN == 0 {
            tick()?;
        }
        let Some(shown) = rows.response(row).filter(|_| rows.shown.live(row)) else {
            emit(&Observation::default())?;
            continue;
        };
        let given = mine.iter().filter_map(|hit| rows.event(hit.event));
        let prior = priors.get(row as usize).copied().unwrap_or_default();
        emit(&sums.row(&shown, given.map(|event| Given::of(&event)), prior))?;
    }
    for event in rows.events.standing().filter_map(|row| rows.event(row)) {
        sums.digest.add(event.content);
    }
    let mut pairing = Pairing::new(strata, windows, &sums.cells, None);
    for group in groups.requests(rows) {
        let candidate = |row: &u32| Some(Candidate::of(*row, &rows.response(*row)?));
        let mut candidates: Vec<_> = group.iter().filter_map(candidate).collect();
        let choice = last_choice(rows, &choices, group);
        let choice = choice.and_then(|event| rows.winner(event));
        pairing.request(&mut candidates, choice)?;
    }
    for (row, parent) in rows.parents().filter(|(row, _)| rows.shown.live(*row)) {
        let candidate = |row: u32| Some(Candidate::of(row, &rows.response(row)?));
        if let Some(then) = candidate(row) {
            let first = rows.shown.find(parent).and_then(candidate);
            pairing.regenerated(first.as_ref(), &then)?;
        }
    }
    tally.unpaired([pairing.wide, pairing.lost]);
    let pairs = pairing.found.sorted()?;
    Ok(sums.done(tally, pairs))
}

/// An attributed event.
#[derive(Clone, Copy, Debug)]
struct Hit {
    row: u32,
    event: u32,
}

/// Users' feedback on responses by row, kind and time, and their choices by request and time.
fn join(
    rows: &Rows,
    windows: &Windows,
    groups: &Groups,
    tally: &mut Tally,
) -> (Vec<Hit>, Vec<u32>) {
    let (mut hits, mut choices) = (Vec::new(), Vec::new());
    for at in rows.events.standing() {
        let Some(event) = rows.event(at) else {
            continue;
        };
        tally.event(&event, rows.events.origin(at).1);
        let joined = attribute(rows, groups, windows, at, &event);
        tally.joined(at, &event, joined);
        match joined {
            Joined::Attributed { .. } if !event.by_user => {}
            Joined::Attributed { .. } if event.kind == Kind::Choice => choices.push(at),
            Joined::Attributed { row, .. } => hits.push(Hit { row, event: at }),
            _ => {}
        }
    }
    let event = |hit: u32| rows.event(hit);
    hits.sort_unstable_by(|one, other| {
        let order = |hit: &Hit| rows.order(hit.event);
        let rows = one.row.cmp(&other.row);
        rows.then_with(|| order(one).cmp(&order(other)))
    });
    choices.sort_unstable_by_key(|at| event(*at).map(|e| (e.target, e.at, e.received_at, e.key)));
    (hits, choices)
}

/// The last choice made in the request of these rows.
fn last_choice(rows: &Rows, choices: &[u32], group: &[u32]) -> Option<u32> {
    let request = rows.in_request(*group.first()?)?.0;
    let target = |at: &u32| rows.event(*at).map_or(Key::default(), |event| event.target);
    let after = choices.partition_point(|at| target(at) <= request);
    let last = choices.get(after.checked_sub(1)?)?;
    (target(last) == request).then_some(*last)
}

/// The priors of every row.
fn looked_back(rows: &Rows, hits: &[Hit]) -> Result<Vec<[u32; 2]>> {
    let mut moments = Sorter::new(None);
    let mut hits = hits;
    for row in rows.shown.standing() {
        let (mine, rest) = hits.split_at(hits.partition_point(|hit| hit.row <= row));
        hits = rest;
        let Some(shown) = rows.response(row).filter(|s| s.user != Key::default()) else {
            continue;
        };
        let given = mine.iter().filter_map(|hit| rows.event(hit.event));
        for moment in moments_of(row, &shown, given.map(|event| Given::of(&event))) {
            moments.push(moment.record())?;
        }
    }
    let mut found = vec![[0; 2]; rows.shown.len()];
    priors(moments.sorted()?.iter(), |row, counts| {
        if let Some(place) = found.get_mut(row as usize) {
            *place = counts;
        }
        Ok(())
    })?;
    Ok(found)
}

/// What happened to the user of a row: it was shown, and the first two-sided feedback came.
pub(super) fn moments_of(
    row: u32,
    shown: &Shown,
    given: impl Iterator<Item = Given>,
) -> impl Iterator<Item = Moment> {
    let two_sided = given.filter(|given| given.kind.side() == Side::Two);
    let first = two_sided.map(|given| given.at).min();
    let user = shown.user;
    let moment = move |time, feedback| Moment {
        user,
        time,
        row,
        feedback,
    };
    let was_shown = std::iter::once(moment(shown.shown_at, false));
    was_shown.chain(first.map(|time| moment(time, true)))
}
