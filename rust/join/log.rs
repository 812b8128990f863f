//! The rows of the join state that are on disk.

use super::held::{Rows, coded, decoded};
use super::pack::Bits;
use super::{Event, Shown};
use crate::error::Result;
use crate::event::Kind;
use crate::event::row::{Key, Winner};
use crate::spill::Place;
use crate::spill::blocks::{Blocks, Scan};
use crate::spill::bytes::{Reader, Writer};
use crate::spill::seen::Seen;

/// Bytes of a response.
pub const SHOWN: usize = 6 * 16 + 2 * 8 + 3 * 4;
/// Bytes of an event.
pub const EVENT: usize = 4 * 16 + 3 * 8 + 2 * 4 + 2 * 2 + 1;

/// One table on disk: its rows by number, which of them are live, and where each key is.
pub struct Log<const N: usize> {
    rows: Blocks<N>,
    live: Bits,
    seen: Seen,
}

impl<const N: usize> Log<N> {
    fn new(place: &Place) -> Result<Self> {
        Ok(Self {
            rows: Blocks::new(place)?,
            live: Bits::default(),
            seen: Seen::new(place)?,
        })
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.live.len()
    }

    /// Marks a row as one that lost.
    pub fn kill(&mut self, row: u32) {
        self.live.clear(row);
    }

    /// The row that was the last to stand under a key.
    pub fn find(&self, key: Key) -> Result<Option<u32>> {
        self.seen.find(key)
    }

    fn push(&mut self, row: &[u8; N], live: bool) -> Result<()> {
        self.live.push(live);
        self.rows.push(row)
    }

    /// Says where these keys are, whose rows are counted from `base`.
    fn add(&mut self, base: u32, keys: impl Iterator<Item = (Key, u32)>) -> Result<()> {
        self.seen
            .add(keys.map(|(key, row)| (key, base + row)).collect())
    }

    /// All rows by number, and whether each stands.
    pub fn scan(&self) -> impl Iterator<Item = Result<(u32, bool, [u8; N])>> {
        let rows: Scan<'_, N> = self.rows.scan(0, self.live.len() as u64);
        let numbered = (0..).zip(rows);
        numbered.map(|(row, record)| record.map(|record| (row, self.live.get(row), record)))
    }
}

/// All rows on disk.
pub struct Logs {
    /// Responses.
    pub shown: Log<SHOWN>,
    /// Feedback.
    pub events: Log<EVENT>,
}

/// A response on disk.
pub struct LoggedShown {
    /// The row.
    pub shown: Shown,
    /// Response that it regenerates, zero when none.
    pub parent: Key,
    /// Source.
    pub src: u32,
}

/// An event on disk.
pub struct LoggedEvent {
    /// The row.
    pub event: Event,
    /// Winner of a choice.
    pub winner: Option<Winner>,
    /// Source.
    pub src: u32,
    /// Namespace.
    pub space: u16,
}

impl Logs {
    /// No rows.
    pub fn new(place: &Place) -> Result<Self> {
        Ok(Self {
            shown: Log::new(place)?,
            events: Log::new(place)?,
        })
    }

    /// Takes the rows over.
    pub fn take(&mut self, rows: &mut Rows) -> Result<()> {
        let base = self.shown.len() as u32;
        for (live, known) in responses_of(rows) {
            self.shown.push(&known.record(), live)?;
        }
        self.shown.add(base, rows.shown.keys())?;
        let base = self.events.len() as u32;
        for (live, known) in events_of(rows) {
            self.events.push(&known.record(), live)?;
        }
        self.events.add(base, rows.events.keys())?;
        *rows = Rows::default();
        Ok(())
    }

    /// A response.
    pub fn response(&self, row: u32) -> Result<Option<LoggedShown>> {
        let record = self.shown.rows.get(row)?;
        Ok(record.map(|record| LoggedShown::read(&record)))
    }

    /// An event.
    pub fn event(&self, row: u32) -> Result<Option<LoggedEvent>> {
        let record = self.events.rows.get(row)?;
        Ok(record.map(|record| LoggedEvent::read(&record)))
    }

    /// All responses by row; none for those that lost.
    pub fn responses(&self) -> impl Iterator<Item = Result<(u32, Option<LoggedShown>)>> {
        let read = |record: [u8; SHOWN]| LoggedShown::read(&record);
        let rows = self.shown.scan();
        rows.map(move |row| row.map(|(row, live, record)| (row, live.then(|| read(record)))))
    }

    /// The events that stand, by row.
    pub fn standing(&self) -> impl Iterator<Item = Result<(u32, LoggedEvent)>> {
        self.events.scan().filter_map(|row| match row {
            Ok((_, false, _)) => None,
            Ok((row, true, record)) => Some(Ok((row, LoggedEvent::read(&record)))),
            Err(error) => Some(Err(error)),
        })
    }

    /// Forgets where keys are; no row can be found or added from now on.
    pub fn seal(&mut self) {
        self.shown.seen.forget();
        self.events.seen.forget();
    }

    /// Bytes in memory.
    pub fn bytes(&self) -> usize {
        let bits = self.shown.live.bytes() + self.events.live.bytes();
        let seen = self.shown.seen.bytes() + self.events.seen.bytes();
        bits + seen + self.shown.rows.bytes() + self.events.rows.bytes()
    }
}

/// Responses in memory by row, and whether each stands.
pub fn responses_of(rows: &Rows) -> impl Iterator<Item = (bool, LoggedShown)> {
    let mut parents = rows.parents().peekable();
    (0..rows.shown.len() as u32).filter_map(move |row| {
        let parent = parents.next_if(|(child, _)| *child == row);
        let parent = parent.map_or(Key::default(), |(_, parent)| parent);
        let (shown, src) = (rows.response(row)?, rows.shown.origin(row).0);
        Some((rows.shown.live(row), LoggedShown { shown, parent, src }))
    })
}

/// Events in memory by row, and whether each stands.
pub fn events_of(rows: &Rows) -> impl Iterator<Item = (bool, LoggedEvent)> {
    (0..rows.events.len() as u32).filter_map(|row| {
        let event = rows.event(row)?;
        let (src, space) = rows.events.origin(row);
        let choice = event.kind == Kind::Choice;
        let winner = if choice { rows.winner(row) } else { None };
        let known = LoggedEvent {
            event,
            winner,
            src,
            space,
        };
        Some((rows.events.live(row), known))
    })
}

impl LoggedShown {
    /// As bytes.
    pub fn record(&self) -> [u8; SHOWN] {
        let of = &self.shown;
        let keys = Writer::default()
            .key(of.key)
            .key(of.content)
            .key(of.request);
        let keys = keys.key(of.session).key(of.user).key(self.parent);
        let times = keys.i64(of.shown_at).i64(of.received_at);
        times
            .u32(of.stratum)
            .u32(self.src)
            .f32(of.policy_prob)
            .done()
    }

    /// From bytes.
    pub fn read(record: &[u8; SHOWN]) -> Self {
        let mut from = Reader(record);
        let [key, content, request, session, user, parent] = [(); 6].map(|()| from.key());
        let (shown_at, received_at) = (from.i64(), from.i64());
        let (stratum, src, policy_prob) = (from.u32(), from.u32(), from.f32());
        let shown = Shown {
            key,
            content,
            request,
            session,
            user,
            shown_at,
            received_at,
            stratum,
            policy_prob,
        };
        Self { shown, parent, src }
    }
}

impl LoggedEvent {
    /// As bytes.
    pub fn record(&self) -> [u8; EVENT] {
        let of = &self.event;
        let (tag, winner) = self.winner.map_or((0, Key::default()), coded);
        let keys = Writer::default().key(of.key).key(of.content);
        let keys = keys.key(of.target).key(winner);
        let times = keys.i64(of.at).i64(of.received_at).i64(of.version);
        let numbers = times.f32(of.value).u32(self.src).u16(self.space);
        numbers.u16(of.flags()).u8(tag).done()
    }

    /// From bytes.
    pub fn read(record: &[u8; EVENT]) -> Self {
        let mut from = Reader(record);
        let [key, content, target, winner] = [(); 4].map(|()| from.key());
        let [at, received_at, version] = [(); 3].map(|()| from.i64());
        let (value, src, space) = (from.f32(), from.u32(), from.u16());
        let event = Event {
            key,
            content,
            target,
            at,
            version,
            received_at,
            value,
            ..Event::default()
        };
        Self {
            event: event.flagged(from.u16()),
            winner: decoded(from.u8(), winner),
            src,
            space,
        }
    }
}
