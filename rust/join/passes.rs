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

use super::attribute::{Found, Joined, Windows};
use super::derive::{Derived, OFTEN, Observation, moments_of};
use super::log::{LoggedEvent, LoggedShown, Logs};
use super::observe::Given;
use super::pairs::{Candidate, Pairing};
use super::priors::priors;
use super::sums::{Sums, Tally};
use super::{About, Event, State, held};
use crate::error::{Error, Result};
use crate::event::Kind;
use crate::event::row::{Digest, Key, Winner};
use crate::spill::Place;
use crate::spill::bytes::{Reader, Writer};
use crate::spill::sorter::{Merge, Sorted, Sorter};

/// Bytes of a record of what is joined.
const JOINED: usize = 1 + 16 + 8 + 1 + 51;
/// Bytes of a record of feedback on a row.
const GIVEN: usize = 4 + 1 + 8 + 8 + 16 + 4 + 1;
/// Bytes of a record of the counts before a row.
const PRIOR: usize = 4 + 2 * 4;

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
    let mut sums = Sums::new(strata, windows, tally.cells(strata, &in_use));
    sums.digest = digest;
    let mut second = Second {
        windows,
        pairing: Pairing::new(strata, windows, &sums.cells, Some(place)),
        given: Sorter::new(Some(place)),
        tally: &mut tally,
        group: Group::default(),
    };
    for record in records.sorted()?.iter() {
        tick()?;
        second.take(&record?)?;
    }
    second.end()?;
    let Second { pairing, given, .. } = second;
    let (unpaired, pairs) = ([pairing.wide, pairing.lost], pairing.found.sorted()?);
    tally.unpaired(unpaired);
    let given = given.sorted()?;

    let counts = look_back(logs, place, &given, &mut tick)?;
    let (mut given, mut counts) = (Beside::new(given.iter()), Beside::new(counts.iter()));
    for row in logs.responses() {
        tick()?;
        let (row, known) = row?;
        let (mine, count) = (given.of(row)?, counts.of(row)?);
        let Some(known) = known else {
            emit(&Observation::default())?;
            continue;
        };
        let prior = count.first().map_or([0; 2], |record| {
            let mut from = Reader(record);
            from.u32();
            [from.u32(), from.u32()]
        });
        emit(&sums.row(&known.shown, mine.iter().map(given_of), prior))?;
    }
    Ok(sums.done(tally, pairs))
}

/// What a record of the second pass is about.
#[derive(Clone, Copy, PartialEq)]
#[repr(u8)]
enum Tag {
    Response,
    Request,
    Session,
}

/// What it is, in the order in which a group needs them.
#[derive(Clone, Copy)]
#[repr(u8)]
enum Role {
    Shown,
    Event,
    Regenerated,
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
        let tag = match event.about {
            About::Response => Tag::Response,
            About::Request => Tag::Request,
            About::Session => Tag::Session,
        };
        sessions |= tag == Tag::Session;
        let (winner, key) = known.winner.map_or((0, Key::default()), held::coded);
        let begun = begin(tag, event.target, Role::Event, event.at);
        let order = begun.i64(event.received_at).key(event.key).u32(row);
        let said = order.u16(event.flags()).f32(event.value);
        records.push(said.u8(winner).key(key).done())?;
    }
    for row in logs.responses() {
        let (row, Some(known)) = row? else {
            continue;
        };
        let shown = &known.shown;
        see(Some(&known), None)?;
        let mut add = |tag, key, role| {
            let begun = begin(tag, key, role, shown.shown_at);
            let row = begun.key(shown.key).u32(row).u32(shown.stratum);
            records.push(row.f32(shown.policy_prob).done())
        };
        add(Tag::Response, shown.key, Role::Shown)?;
        if known.parent != Key::default() {
            add(Tag::Response, known.parent, Role::Regenerated)?;
        }
        if shown.request != Key::default() {
            add(Tag::Request, shown.request, Role::Shown)?;
        }
        if sessions && shown.session != Key::default() {
            add(Tag::Session, shown.session, Role::Shown)?;
        }
    }
    Ok(records)
}

/// In a session the order is that of time; elsewhere what was shown comes first.
fn begin(tag: Tag, key: Key, role: Role, time: i64) -> Writer<JOINED> {
    let group = Writer::default().u8(tag as u8).key(key);
    match tag {
        Tag::Session => group.i64(time).u8(role as u8),
        Tag::Response | Tag::Request => group.u8(role as u8).i64(time),
    }
}

/// The second pass.
struct Second<'a> {
    windows: &'a Windows,
    pairing: Pairing<'a>,
    given: Sorter<GIVEN>,
    tally: &'a mut Tally,
    group: Group,
}

/// What was shown under one key so far.
#[derive(Default)]
struct Group {
    /// What it is, and its key.
    head: (u8, Key),
    /// The response, or the candidates of the request, in the order they were shown.
    rows: Vec<Candidate>,
    /// The newest two rows of the session.
    newest: [Option<(u32, i64)>; 2],
    /// The last choice made.
    choice: Option<((i64, i64, Key), Winner)>,
}

impl Second<'_> {
    fn take(&mut self, record: &[u8; JOINED]) -> Result<()> {
        let mut from = Reader(record);
        let head = (from.u8(), from.key());
        if head != self.group.head {
            self.end()?;
            self.group.head = head;
        }
        let session = head.0 == Tag::Session as u8;
        let (time, role) = if session {
            (from.i64(), from.u8())
        } else {
            let role = from.u8();
            (from.i64(), role)
        };
        if role == Role::Event as u8 {
            return self.event(head, time, &mut from);
        }
        let candidate = Candidate {
            key: from.key(),
            row: from.u32(),
            shown_at: time,
            stratum: from.u32(),
            policy_prob: from.f32(),
        };
        if role == Role::Regenerated as u8 {
            let first = self.group.rows.first();
            return self.pairing.regenerated(first, &candidate);
        }
        if session {
            let [_, last] = self.group.newest;
            self.group.newest = [last, Some((candidate.row, time))];
        } else {
            self.group.rows.push(candidate);
        }
        Ok(())
    }

    fn event(&mut self, (tag, target): (u8, Key), at: i64, from: &mut Reader<'_>) -> Result<()> {
        let (received_at, key, number) = (from.i64(), from.key(), from.u32());
        let event = Event {
            key,
            target,
            at,
            received_at,
            ..Event::default().flagged(from.u16())
        };
        let value = from.f32();
        let winner = held::decoded(from.u8(), from.key());
        let group = &mut self.group;
        let row = |row: &Candidate| Found::Row(row.row, row.shown_at);
        let last = group.rows.last().map_or(Found::Nothing, row);
        let found = match (tag == Tag::Session as u8, group.newest, &event.kind) {
            (true, [Some((_, one)), Some((_, last))], _) if one == last => Found::Several,
            (true, [_, last], _) => last.map_or(Found::Nothing, |(row, at)| Found::Row(row, at)),
            (false, _, Kind::Choice) => match winner {
                Some(Winner::Response(won)) if group.rows.iter().all(|row| row.key != won) => {
                    Found::Nothing
                }
                _ => last,
            },
            (false, ..) if group.rows.len() > 1 => Found::Several,
            (false, ..) => last,
        };
        let joined = found.joined(at, self.windows);
        self.tally.joined(number, &event, joined);
        match joined {
            Joined::Attributed { .. } if !event.by_user => {}
            Joined::Attributed { .. } if event.kind == Kind::Choice => {
                let order = (at, received_at, key);
                if group.choice.is_none_or(|(last, _)| last < order) {
                    group.choice = winner.map(|winner| (order, winner));
                }
            }
            Joined::Attributed { row, .. } => {
                let order = Writer::default().u32(row).u8(event.kind as u8).i64(at);
                let order = order.i64(received_at).key(key).f32(value);
                let label = event.label.map_or(2, u8::from);
                self.given.push(order.u8(label).done())?;
            }
            _ => {}
        }
        Ok(())
    }

    /// Ends a group.
    fn end(&mut self) -> Result<()> {
        let mut group = std::mem::take(&mut self.group);
        if group.head.0 == Tag::Request as u8 {
            let choice = group.choice.map(|(_, winner)| winner);
            self.pairing.request(&mut group.rows, choice)?;
        }
        group.rows.clear();
        self.group.rows = group.rows;
        Ok(())
    }
}

/// The third and fourth pass: counts of what came before each row, by row.
fn look_back(
    logs: &Logs,
    place: &Place,
    given: &Sorted<GIVEN>,
    tick: &mut dyn FnMut() -> Result<()>,
) -> Result<Sorted<PRIOR>> {
    let mut moments = Sorter::new(Some(place));
    let mut given = Beside::new(given.iter());
    for row in logs.responses() {
        tick()?;
        let (row, known) = row?;
        let mine = given.of(row)?;
        let Some(known) = known.filter(|known| known.shown.user != Key::default()) else {
            continue;
        };
        for moment in moments_of(row, &known.shown, mine.iter().map(given_of)) {
            moments.push(moment.record())?;
        }
    }
    let mut counts = Sorter::new(Some(place));
    priors(moments.sorted()?.iter(), |row, [shown, given]| {
        tick()?;
        counts.push(Writer::default().u32(row).u32(shown).u32(given).done())
    })?;
    counts.sorted()
}

/// Sorted records read beside the rows whose numbers they begin with.
struct Beside<'a, const N: usize> {
    records: Merge<'a, N>,
    next: Option<[u8; N]>,
    mine: Vec<[u8; N]>,
    begun: bool,
}

impl<'a, const N: usize> Beside<'a, N> {
    fn new(records: Merge<'a, N>) -> Self {
        Self {
            records,
            next: None,
            mine: Vec::new(),
            begun: false,
        }
    }

    /// The records of a row; rows are asked for in order.
    fn of(&mut self, row: u32) -> Result<&[[u8; N]]> {
        self.mine.clear();
        if !self.begun {
            self.begun = true;
            self.next = self.records.next().transpose()?;
        }
        while let Some(record) = self.next.filter(|next| Reader(next).u32() <= row) {
            self.mine.push(record);
            self.next = self.records.next().transpose()?;
        }
        Ok(&self.mine)
    }
}

fn given_of(record: &[u8; GIVEN]) -> Given {
    let mut from = Reader(record);
    from.u32();
    let (kind, at) = (from.u8(), from.i64());
    from.i64();
    from.key();
    let (value, label) = (from.f32(), from.u8());
    Given {
        kind: Kind::ALL
            .get(kind as usize)
            .copied()
            .unwrap_or(Kind::Custom),
        at,
        value,
        label: [Some(false), Some(true)]
            .get(label as usize)
            .copied()
            .flatten(),
    }
}
