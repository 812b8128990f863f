//! What the log says about every response, and the digest: a function of the state, never of how it came about.

use std::cell::RefCell;
use std::cmp::Ordering;
use std::mem;
use std::ops::Range;
use std::sync::Mutex;

use super::State;
use super::attribute::{Groups, Joined, Windows, attribute};
use super::held::{AHEAD, Rows};
use super::observe::Given;
pub use super::observe::Observation;
use super::pairs::{self, Candidate, Pair, Pairing};
use super::passes::pass;
use super::priors::{Moment, priors};
use super::sums::{Frame, Named, Sums, Tally};
use crate::count::Cells;
use crate::error::Result;
use crate::event::row::{Digest, Key, RowHash};
use crate::event::{Kind, Side};
use crate::fan;
use crate::spill::sorter::Sorted;

/// Rows that a thread looks at in one go.
const STRETCH: usize = 1 << 12;

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
/// returns stops the work. Nothing depends on the number of threads.
pub fn derive(
    state: &mut State,
    windows: &Windows,
    threads: usize,
    tick: &mut dyn FnMut() -> Result<()>,
    mut emit: impl FnMut(&Observation) -> Result<()>,
) -> Result<Derived> {
    if state.logs.is_some() {
        return pass(state, windows, tick, emit);
    }
    let (rows, strata, threads) = (&state.rows, &state.strata, threads.max(1));
    let groups = Groups::new(rows, threads)?;
    let Told {
        hits,
        choices,
        mut tally,
    } = join(rows, windows, &groups, threads)?;
    tick()?;
    let priors = looked_back(rows, &hits, threads)?;
    tick()?;
    let mut in_use = vec![false; strata.all.len()];
    for row in rows.shown.standing() {
        let stratum = rows
            .stratum(row)
            .and_then(|stratum| in_use.get_mut(stratum as usize));
        if let Some(used) = stratum {
            *used = true;
        }
    }
    let cells = tally.cells(strata, &in_use);
    let frame = Frame {
        strata,
        windows,
        cells: &cells,
    };
    let see = |stretch: Range<u32>| {
        let (mut along, mut hash) = (Along::from(stretch.start, &hits), RowHash::default());
        along.fetch(rows, stretch.end);
        let see = |row| {
            let mine = along.of(row);
            let shown = rows.response(row).filter(|_| rows.shown.live(row))?;
            let prior = priors.get(row as usize).copied().unwrap_or_default();
            Some(frame.see(&shown, given(rows, mine), prior, &mut hash))
        };
        stretch.map(see).collect::<Vec<_>>()
    };
    let mut sums = Sums::new(&cells);
    let mut stretches = stretches(0..rows.shown.len() as u32, STRETCH);
    let tick = RefCell::new(tick);
    fan::ordered(
        vec![see; threads],
        false,
        || stretches.next(),
        |stretch| {
            (tick.borrow_mut())()?;
            for seen in stretch {
                let Some(seen) = seen else {
                    emit(&Observation::default())?;
                    continue;
                };
                sums.add(&seen);
                emit(&seen.row)?;
            }
            Ok(())
        },
        || (tick.borrow_mut())(),
    )?;
    for event in rows.events.standing().filter_map(|row| rows.event(row)) {
        sums.digest.add(event.content);
    }
    let mut pairing = Pairing::new(strata, windows, &cells, None);
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
    Ok(sums.done(cells, tally, pairs))
}

/// An attributed event.
#[derive(Clone, Copy, Debug)]
struct Hit {
    row: u32,
    event: u32,
}

/// What is known about the events.
#[derive(Default)]
struct Told {
    /// Users' feedback on responses, by row, kind and time.
    hits: Vec<Hit>,
    /// Users' choices, by request and time.
    choices: Vec<u32>,
    tally: Tally,
}

/// What each event is about, a stretch of them a thread.
fn join(rows: &Rows, windows: &Windows, groups: &Groups, threads: usize) -> Result<Told> {
    let count = rows.events.len();
    let told = fan::shares(threads, |share| {
        let mut told = Told::default();
        for some in stretches(shared(count, share, threads), AHEAD) {
            let targets = || some.clone().filter_map(|at| rows.target(at));
            targets().for_each(|target| rows.shown.fetch(target));
            targets().for_each(|target| rows.shown.fetch_rows(target));
            for at in some.clone().filter(|at| rows.events.live(*at)) {
                let Some(event) = rows.event(at) else {
                    continue;
                };
                told.tally.event(&event, rows.events.origin(at).1);
                let joined = attribute(rows, groups, windows, at, &event);
                told.tally.joined(at, &event, joined);
                match joined {
                    Joined::Attributed { .. } if !event.by_user => {}
                    Joined::Attributed { .. } if event.kind == Kind::Choice => {
                        told.choices.push(at);
                    }
                    Joined::Attributed { row, .. } => told.hits.push(Hit { row, event: at }),
                    _ => {}
                }
            }
        }
        told.hits
            .sort_unstable_by(|one, other| in_order(rows, one, other));
        Ok(told)
    })?;
    let mut all = Told::default();
    for more in told {
        all.hits.extend(more.hits);
        all.choices.extend(more.choices);
        all.tally.add(more.tally);
    }
    all.hits.sort_by(|one, other| in_order(rows, one, other)); // merges what is sorted
    all.choices.sort_unstable_by_key(|at| {
        let event = rows.event(*at);
        event.map(|e| (e.target, e.at, e.received_at, e.key))
    });
    Ok(all)
}

fn in_order(rows: &Rows, one: &Hit, other: &Hit) -> Ordering {
    let order = |hit: &Hit| rows.order(hit.event);
    let row = one.row.cmp(&other.row);
    row.then_with(|| order(one).cmp(&order(other)))
}

/// Hits along the rows.
struct Along<'a>(&'a [Hit]);

impl<'a> Along<'a> {
    /// Those of rows from this one on.
    fn from(row: u32, hits: &'a [Hit]) -> Self {
        Self(hits.split_at(hits.partition_point(|hit| hit.row < row)).1)
    }

    /// Asks for the events of rows before this one.
    fn fetch(&self, rows: &Rows, to: u32) {
        let mine = self.0.iter().take_while(|hit| hit.row < to);
        mine.for_each(|hit| rows.events.fetch_row(hit.event));
    }

    /// Those of a row; a later call can only be about a later row.
    fn of(&mut self, row: u32) -> &'a [Hit] {
        let before = self.0.iter().take_while(|hit| hit.row < row).count();
        let rest = self.0.split_at(before).1;
        let (mine, rest) = rest.split_at(rest.iter().take_while(|hit| hit.row == row).count());
        self.0 = rest;
        mine
    }
}

/// What hits say.
fn given(rows: &Rows, hits: &[Hit]) -> impl Iterator<Item = Given> {
    hits.iter()
        .filter_map(|hit| rows.event(hit.event))
        .map(|event| Given::of(&event))
}

/// The last choice made in the request of these rows.
fn last_choice(rows: &Rows, choices: &[u32], group: &[u32]) -> Option<u32> {
    let request = rows.in_request(*group.first()?)?.0;
    let target = |at: &u32| rows.event(*at).map_or(Key::default(), |event| event.target);
    let after = choices.partition_point(|at| target(at) <= request);
    let last = choices.get(after.checked_sub(1)?)?;
    (target(last) == request).then_some(*last)
}

/// The priors of every row: first a share of the rows a thread, then a share of the users.
fn looked_back(rows: &Rows, hits: &[Hit], threads: usize) -> Result<Vec<[u32; 2]>> {
    let (users, count) = (rows.users(), rows.shown.len());
    let dealt = fan::shares(threads, |share| {
        let mut dealt = vec![Vec::new(); threads];
        let mine = shared(count, share, threads);
        let mut along = Along::from(mine.start, hits);
        for stretch in stretches(mine, STRETCH) {
            along.fetch(rows, stretch.end);
            for row in stretch {
                let mine = along.of(row);
                let Some((user, shown_at)) = rows.shown_to(row, &users) else {
                    continue;
                };
                let moments = moments_of(row, user, shown_at, given(rows, mine));
                if let Some(theirs) = dealt.get_mut(user as usize % threads) {
                    theirs.extend(moments.map(|moment| moment.packed()));
                }
            }
        }
        Ok(dealt.into_iter().map(Mutex::new).collect::<Vec<_>>())
    })?;
    let shares = fan::shares(threads, |share| {
        let taken = |dealt: &Vec<Mutex<_>>| Some(mem::take(&mut *dealt.get(share)?.lock().ok()?));
        let mut theirs = dealt.iter().filter_map(taken);
        let mut moments: Vec<u128> = theirs.next().unwrap_or_default();
        for more in theirs {
            moments.reserve_exact(more.len());
            moments.extend(more);
        }
        moments.sort_unstable();
        let moments = moments
            .into_iter()
            .map(|packed| Ok(Moment::unpacked(packed)));
        let mut found = Vec::new();
        priors(moments, |row, counts| {
            found.push((row, counts));
            Ok(())
        })?;
        Ok(found)
    })?;
    let mut found = vec![[0; 2]; rows.shown.len()];
    for (row, counts) in shares.into_iter().flatten() {
        if let Some(place) = found.get_mut(row as usize) {
            *place = counts;
        }
    }
    Ok(found)
}

/// What happened to the user of a row: it was shown, and the first two-sided feedback came.
pub(super) fn moments_of<U: Copy>(
    row: u32,
    user: U,
    shown_at: i64,
    given: impl Iterator<Item = Given>,
) -> impl Iterator<Item = Moment<U>> {
    let two_sided = given.filter(|given| given.kind.side() == Side::Two);
    let first = two_sided.map(|given| given.at).min();
    let moment = move |time, feedback| Moment {
        user,
        time,
        row,
        feedback,
    };
    let was_shown = std::iter::once(moment(shown_at, false));
    was_shown.chain(first.map(|time| moment(time, true)))
}

/// The share of rows of a thread.
fn shared(count: usize, share: usize, threads: usize) -> Range<u32> {
    let bound = |share: usize| (count * share / threads) as u32;
    bound(share)..bound(share + 1)
}

/// Rows, so many at a time.
fn stretches(rows: Range<u32>, length: usize) -> impl Iterator<Item = Range<u32>> {
    let end = rows.end;
    let stretch = move |first: u32| first..end.min(first.saturating_add(length as u32));
    rows.step_by(length).map(stretch)
}
