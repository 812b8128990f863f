//! The join state: rows are added, and each is told its fate.

use std::cmp::Ordering;

use super::held::Rows;
use super::log::{LoggedEvent, LoggedShown, Logs};
use super::{About, Event, Fate, Shown};
use crate::count::Strata;
use crate::error::Result;
use crate::event::row::{Actor, Feedback, Impression, Key, Target};
use crate::event::value::label;
use crate::spill::Place;

/// Everything remembered.
#[derive(Default)]
pub struct State {
    /// What the counters group by.
    pub strata: Strata,
    pub(crate) rows: Rows,
    pub(super) logs: Option<Logs>,
    pub(super) place: Option<Place>,
}

impl State {
    /// An empty one, with a place for what is more than memory holds.
    pub fn new(place: Option<Place>) -> Self {
        Self {
            place,
            ..Self::default()
        }
    }

    /// Adds an impression of source `src`.
    pub fn impression(&mut self, row: &Impression<&str>, src: u32) -> Result<Fate> {
        let received_at = row.received_at.unwrap_or(i64::MAX);
        let known = self.standing(row.key)?;
        if let Some((_, old, _)) = &known {
            let conflict = old.content != row.content;
            if (old.received_at, old.content) <= (received_at, row.content) {
                return Ok(Fate::Lost { conflict });
            }
        }
        let shown = Shown {
            key: row.key,
            content: row.content,
            request: row.request_key.unwrap_or_default(),
            session: row.session.unwrap_or_default(),
            user: row.user.unwrap_or_default(),
            shown_at: row.shown_at,
            received_at,
            stratum: self.strata.code(row),
            policy_prob: row.policy_prob.unwrap_or(f32::NAN),
        };
        let base = self.logs.as_ref().map_or(0, |logs| logs.shown.len()) as u32;
        let old = known.as_ref().and_then(|(old, ..)| old.checked_sub(base));
        self.rows
            .push_shown(&shown, row.parent, (!row.is_blank(), old, src));
        let fate = match known {
            _ if row.is_blank() => Fate::Lost { conflict: false },
            None => Fate::New,
            Some((old, loser, src)) => {
                match (old.checked_sub(base), &mut self.logs) {
                    (Some(old), _) => self.rows.shown.kill(old),
                    (None, Some(logs)) => logs.shown.kill(old),
                    (None, None) => {}
                }
                Fate::Won {
                    row: old,
                    src,
                    conflict: loser.content != row.content,
                }
            }
        };
        self.relieve()?;
        Ok(fate)
    }

    /// Adds feedback of source `src`.
    pub fn feedback(&mut self, row: &Feedback<&str>, src: u32) -> Result<Fate> {
        let received_at = row.received_at.unwrap_or(i64::MIN);
        let known = self.standing_event(row.key)?;
        if let Some((_, old, _)) = &known {
            let order = (old.version, old.received_at, old.retract, old.content);
            if order.cmp(&(row.version, received_at, row.retract, row.content)) != Ordering::Less {
                return Ok(Fate::Lost { conflict: false });
            }
        }
        let (about, target) = match row.target {
            Target::Response(key) => (About::Response, key),
            Target::Request(key) => (About::Request, key),
            Target::Session(key) => (About::Session, key),
        };
        let event = Event {
            key: row.key,
            content: row.content,
            target,
            at: row.at,
            version: row.version,
            received_at,
            value: row.value.unwrap_or(f64::NAN) as f32,
            kind: row.kind,
            about,
            label: row.value.and_then(|value| label(row.kind, value)),
            retract: row.retract,
            by_user: row.actor == Actor::User,
        };
        let base = self.logs.as_ref().map_or(0, |logs| logs.events.len()) as u32;
        let old = known.as_ref().and_then(|(old, ..)| old.checked_sub(base));
        let space = self.strata.space(row.source);
        self.rows
            .push_event(&event, row.winner, (!row.is_blank(), old, src, space));
        let fate = match known {
            _ if row.is_blank() => Fate::Lost { conflict: false },
            None => Fate::New,
            Some((old, _, src)) => {
                match (old.checked_sub(base), &mut self.logs) {
                    (Some(old), _) => self.rows.events.kill(old),
                    (None, Some(logs)) => logs.events.kill(old),
                    (None, None) => {}
                }
                Fate::Won {
                    row: old,
                    src,
                    conflict: false,
                }
            }
        };
        self.relieve()?;
        Ok(fate)
    }

    /// Sends the rows to disk when they take half of what memory there is.
    fn relieve(&mut self) -> Result<()> {
        let full = |place: &Place| self.rows.needed() as u64 > place.memory / 2;
        if self.place.as_ref().is_some_and(full) {
            self.unload()?;
        }
        Ok(())
    }

    /// Sends all rows to disk.
    pub(super) fn unload(&mut self) -> Result<()> {
        let Some(place) = &self.place else {
            return Ok(());
        };
        let logs = match &mut self.logs {
            Some(logs) => logs,
            none => none.insert(Logs::new(place)?),
        };
        logs.take(&mut self.rows)
    }

    /// Row number, row and source of the live impression with this key.
    pub fn standing(&self, key: Key) -> Result<Option<(u32, Shown, u32)>> {
        let base = self.logs.as_ref().map_or(0, |logs| logs.shown.len()) as u32;
        if let Some(row) = self.rows.shown.find(key) {
            let shown = self.rows.response(row);
            return Ok(shown.map(|shown| (base + row, shown, self.rows.shown.origin(row).0)));
        }
        let Some(logs) = &self.logs else {
            return Ok(None);
        };
        let Some(row) = logs.shown.find(key)? else {
            return Ok(None);
        };
        let known = logs.response(row)?;
        Ok(known.map(|known| (row, known.shown, known.src)))
    }

    /// The same of the live event.
    fn standing_event(&self, key: Key) -> Result<Option<(u32, Event, u32)>> {
        let base = self.logs.as_ref().map_or(0, |logs| logs.events.len()) as u32;
        if let Some(row) = self.rows.events.find(key) {
            let event = self.rows.event(row);
            return Ok(event.map(|event| (base + row, event, self.rows.events.origin(row).0)));
        }
        let Some(logs) = &self.logs else {
            return Ok(None);
        };
        let Some(row) = logs.events.find(key)? else {
            return Ok(None);
        };
        let known = logs.event(row)?;
        Ok(known.map(|known| (row, known.event, known.src)))
    }

    /// An impression by its row number, live or not.
    pub fn response(&self, row: u32) -> Result<Option<Shown>> {
        let base = self.logs.as_ref().map_or(0, |logs| logs.shown.len()) as u32;
        match (row.checked_sub(base), &self.logs) {
            (Some(row), _) => Ok(self.rows.response(row)),
            (None, Some(logs)) => Ok(logs.response(row)?.map(|known| known.shown)),
            (None, None) => Ok(None),
        }
    }

    /// Rows of impressions and of feedback.
    pub fn lens(&self) -> [usize; 2] {
        let logs = self.logs.as_ref();
        let [shown, events] = logs.map_or([0; 2], |logs| [logs.shown.len(), logs.events.len()]);
        [
            shown + self.rows.shown.len(),
            events + self.rows.events.len(),
        ]
    }

    /// Source of each impression, and whether it is live.
    pub fn shown_books(&self) -> impl Iterator<Item = Result<(u32, bool)>> {
        let logged = self.logs.iter().flat_map(|logs| logs.shown.scan());
        let book = |(_, live, record)| (LoggedShown::read(&record).src, live);
        let held = &self.rows.shown;
        let rows = (0..held.len() as u32).map(|row| (held.origin(row).0, held.live(row)));
        logged.map(move |row| row.map(book)).chain(rows.map(Ok))
    }

    /// Source of each event, and whether it is live.
    pub fn event_books(&self) -> impl Iterator<Item = Result<(u32, bool)>> {
        let logged = self.logs.iter().flat_map(|logs| logs.events.scan());
        let book = |(_, live, record)| (LoggedEvent::read(&record).src, live);
        let held = &self.rows.events;
        let rows = (0..held.len() as u32).map(|row| (held.origin(row).0, held.live(row)));
        logged.map(move |row| row.map(book)).chain(rows.map(Ok))
    }

    /// Slot of a stratum, if logged.
    pub fn slot(&self, stratum: u32) -> Option<i16> {
        self.strata.slot(stratum)
    }

    /// Bytes held in memory, strata excepted.
    pub fn bytes(&self) -> usize {
        self.rows.bytes() + self.logs.as_ref().map_or(0, Logs::bytes)
    }

    /// Largest time of a live row: the watermark.
    pub fn latest(&self) -> Result<Option<i64>> {
        let shown = self.rows.shown.standing();
        let shown = shown.filter_map(|row| self.rows.shown_at(row));
        let events = self.rows.events.standing();
        let events = events.filter_map(|row| self.rows.event(row));
        let mut latest = shown.chain(events.map(|event| event.at)).max();
        let Some(logs) = &self.logs else {
            return Ok(latest);
        };
        for row in logs.responses() {
            latest = latest.max(row?.1.map(|known| known.shown.shown_at));
        }
        for row in logs.standing() {
            latest = latest.max(Some(row?.1.event.at));
        }
        Ok(latest)
    }
}
