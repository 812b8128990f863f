//! What the rows on disk say, in passes over sorted records; the answer is that of `derive`, bit for bit.
//!
//! | pass | reads | in the order of | gives |
//! |---|---|---|---|
//! | 1 | rows and events as they lie | rows | kinds offered, cells; records for 2 |
//! | 2 | responses and the events that name them; requests with their candidates, events and choices; sessions with what was shown and said in them | (what it is, key), for sessions then time | what each event is about, pairs; records for 3 and the notes of clocks |
//! | 3 | rows beside what was said about them | rows | when users were shown something and first answered |
//! | 4 | those moments | users, time | counts of what came before each row |
//! | 5 | rows beside what was said about them and those counts | rows | observations, digest, counters |
//!
//! Every pass holds one group at most: the candidates of one request are the largest.

use super::attribute::{Joined, Windows};
use super::beside::{happened, observe};
use super::derive::{Derived, Observation};
use super::log::{LoggedEvent, LoggedShown, Logs};
use super::meet::{GIVEN, JOINED, Meeting, shown, told};
use super::pairs::Pairing;
use super::priors::{Moment, PRIOR, prior, priors};
use super::sums::{Frame, Sums, Tally};
use super::{About, State};
use crate::error::{Error, Result};
use crate::event::row::Digest;
use crate::spill::Place;
use crate::spill::sorter::{Sorted, Sorter};

/// Rows between two ticks.
const OFTEN: u32 = 1 << 14;

/// Derives everything from the rows on disk.
pub(super) fn pass(
    state: &mut State,
    windows: &Windows,
    tick: &mut dyn FnMut() -> Result<()>,
    mut emit: impl FnMut(&Observation) -> Result<()>,
) -> Result<Derived> {
    let mut done = 0u32;
    let mut tick = || {
        done = done.wrapping_add(1);
        if done.is_multiple_of(OFTEN) {
            tick()
        } else {
            Ok(())
        }
    };
    state.unload()?;
    let State {
        strata,
        logs,
        place,
        ..
    } = state;
    let (Some(logs), Some(place)) = (logs, place) else {
        return Err(Error::Internal("nothing was spilled".into()));
    };
    logs.seal();
    let mut tally = Tally::default();
    let mut in_use = vec![false; strata.all.len()];
    let mut digest = Digest::default();
    let records = first(logs, place, &mut tally, |shown, event| {
        tick()?;
        if let Some(used) = shown.and_then(|shown| in_use.get_mut(shown.shown.stratum as usize)) {
            *used = true;
        }
        if let Some(event) = event {
            digest.add(event.event.content);
        }
        Ok(())
    })?;
    let cells = tally.cells(strata, &in_use);
    let mut sums = Sums::new(&cells);
    sums.digest = digest;
    let pairing = Pairing::new(strata, windows, &cells, Some(place));
    let mut second = Meeting::new(windows, pairing, Sorter::new(Some(place)), &mut tally);
    for record in records.sorted()?.iter() {
        tick()?;
        second.take(&record?)?;
    }
    second.end()?;
    let Meeting { pairing, given, .. } = second;
    let (unpaired, pairs) = ([pairing.wide, pairing.lost], pairing.found.sorted()?);
    tally.unpaired(unpaired);
    let given = given.sorted()?;

    let counts = look_back(logs, place, &given, &mut tick)?;
    let rows = logs.responses();
    let frame = Frame {
        strata,
        windows,
        cells: &cells,
    };
    observe(
        rows,
        given.iter(),
        counts.iter(),
        frame,
        &mut sums,
        |seen| {
            tick()?;
            emit(seen)
        },
    )?;
    Ok(sums.done(cells, tally, pairs))
}

/// The first pass: one record for each key by which a live row can be met.
fn first(
    logs: &Logs,
    place: &Place,
    tally: &mut Tally,
    mut see: impl FnMut(Option<&LoggedShown>, Option<&LoggedEvent>) -> Result<()>,
) -> Result<Sorter<JOINED>> {
    let mut records = Sorter::new(Some(place));
    let mut sessions = false;
    for row in logs.standing() {
        let (row, known) = row?;
        let event = &known.event;
        see(None, Some(&known))?;
        tally.event(event, known.space);
        if event.retract {
            tally.joined(row, event, Joined::Retracted);
            continue;
        }
        sessions |= event.about == About::Session;
        records.push(told(row, &known))?;
    }
    for row in logs.responses() {
        let (row, Some(known)) = row? else {
            continue;
        };
        see(Some(&known), None)?;
        for record in shown(row, &known, sessions) {
            records.push(record)?;
        }
    }
    Ok(records)
}

/// The third and fourth pass: counts of what came before each row, by row.
fn look_back(
    logs: &Logs,
    place: &Place,
    given: &Sorted<GIVEN>,
    tick: &mut dyn FnMut() -> Result<()>,
) -> Result<Sorted<PRIOR>> {
    let mut moments = Sorter::new(Some(place));
    happened(logs.responses(), given.iter(), |moment| {
        tick()?;
        moments.push(moment.record())
    })?;
    let mut counts = Sorter::new(Some(place));
    priors(moments.sorted()?.iter().map(Moment::read), |row, before| {
        tick()?;
        counts.push(prior(row, before))
    })?;
    counts.sorted()
}
