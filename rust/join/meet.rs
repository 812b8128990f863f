//! What meets under one key, response, request or session: records that sort into groups, and what a group says.

use std::ops::Range;

use super::attribute::{Found, Joined, Windows};
use super::log::{LoggedEvent, LoggedShown};
use super::observe::Given;
use super::pairs::{Candidate, Pairing};
use super::sums::Tally;
use super::{About, Event, held};
use crate::error::Result;
use crate::event::Kind;
use crate::event::row::{Key, Winner};
use crate::spill::bytes::{Reader, Writer};
use crate::spill::sorter::Sorter;

/// Bytes of a record of what is joined.
pub const JOINED: usize = 1 + 16 + 8 + 1 + 51;
/// Bytes of a record of feedback on a row.
pub const GIVEN: usize = 4 + 1 + 8 + 8 + 16 + 4 + 1;

/// Where a record says what it is, and when that was.
const ORDER: Range<usize> = 17..26;
/// Where it has the key of a response, before the number of its row.
const OF_RESPONSE: Range<usize> = 26..42;
/// Where it has the number of the row of an event, after when that was received and its key.
const OF_EVENT: usize = 26 + 8 + 16;

/// What a record is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Tag {
    /// A response.
    Response,
    /// A request.
    Request,
    /// A session.
    Session,
}

impl Tag {
    /// Of what an event is about.
    pub fn of(about: About) -> Self {
        match about {
            About::Response => Self::Response,
            About::Request => Self::Request,
            About::Session => Self::Session,
        }
    }
}

/// What it is, in the order in which a group needs them.
#[derive(Clone, Copy)]
#[repr(u8)]
enum Role {
    Shown,
    Event,
    Regenerated,
}

/// In a session the order is that of time; elsewhere what was shown comes first.
fn begin(tag: Tag, key: Key, role: Role, time: i64) -> Writer<JOINED> {
    let group = Writer::default().u8(tag as u8).key(key);
    match tag {
        Tag::Session => group.i64(time).u8(role as u8),
        Tag::Response | Tag::Request => group.u8(role as u8).i64(time),
    }
}

/// The record of an event that is not withdrawn.
pub fn told(row: u32, known: &LoggedEvent) -> [u8; JOINED] {
    let event = &known.event;
    let tag = Tag::of(event.about);
    let (winner, key) = known.winner.map_or((0, Key::default()), held::coded);
    let begun = begin(tag, event.target, Role::Event, event.at);
    let order = begun.i64(event.received_at).key(event.key).u32(row);
    let said = order.u16(event.flags()).f32(event.value);
    said.u8(winner).key(key).done()
}

/// The records of a response: one for each key by which it can be met, that of its session only if `sessions`.
pub fn shown(
    row: u32,
    known: &LoggedShown,
    sessions: bool,
) -> impl Iterator<Item = [u8; JOINED]> + use<> {
    let shown = known.shown;
    let session = if sessions {
        shown.session
    } else {
        Key::default()
    };
    let keys = [
        (Tag::Response, shown.key, Role::Shown),
        (Tag::Response, known.parent, Role::Regenerated),
        (Tag::Request, shown.request, Role::Shown),
        (Tag::Session, session, Role::Shown),
    ];
    let keys = keys
        .into_iter()
        .filter(|(_, key, _)| *key != Key::default());
    keys.map(move |(tag, key, role)| {
        let begun = begin(tag, key, role, shown.shown_at);
        let row = begun.key(shown.key).u32(row).u32(shown.stratum);
        row.f32(shown.policy_prob).done()
    })
}

/// A record as it travels: what it is before when it was, and without the key of a response in its session, which
/// nobody needs.
pub fn posted(mut record: [u8; JOINED]) -> [u8; JOINED] {
    if record.first() == Some(&(Tag::Session as u8)) {
        record.get_mut(ORDER).unwrap_or_default().rotate_right(1);
        if !is_told(&record) {
            record.get_mut(OF_RESPONSE).unwrap_or_default().fill(0);
        }
    }
    record
}

/// Whether a record that travels is one of an event.
pub fn is_told(posted: &[u8; JOINED]) -> bool {
    posted.get(ORDER.start) == Some(&(Role::Event as u8))
}

/// A record that came from where rows of responses and feedback were counted from zero, not from `base`.
pub fn arrived(mut posted: [u8; JOINED], base: [u32; 2]) -> [u8; JOINED] {
    let ([shown, events], told) = (base, is_told(&posted));
    let (at, base) = if told {
        (OF_EVENT, events)
    } else {
        (OF_RESPONSE.end, shown)
    };
    if let Some(row) = posted.get_mut(at..at + 4) {
        let number = base.wrapping_add(Reader(row).u32());
        row.copy_from_slice(&number.to_be_bytes());
    }
    if posted.first() == Some(&(Tag::Session as u8)) {
        posted.get_mut(ORDER).unwrap_or_default().rotate_left(1);
    }
    posted
}

/// Takes the records in order.
pub struct Meeting<'a> {
    windows: &'a Windows,
    /// The pairs.
    pub pairing: Pairing<'a>,
    /// What users said about rows.
    pub given: Sorter<GIVEN>,
    /// What became of the events.
    pub tally: &'a mut Tally,
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

impl<'a> Meeting<'a> {
    /// Without any.
    pub fn new(
        windows: &'a Windows,
        pairing: Pairing<'a>,
        given: Sorter<GIVEN>,
        tally: &'a mut Tally,
    ) -> Self {
        Self {
            windows,
            pairing,
            given,
            tally,
            group: Group::default(),
        }
    }

    /// Takes the next record.
    pub fn take(&mut self, record: &[u8; JOINED]) -> Result<()> {
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
    pub fn end(&mut self) -> Result<()> {
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

/// What a record of feedback on a row says.
pub(super) fn given_of(record: &[u8; GIVEN]) -> Given {
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
