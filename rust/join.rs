//! The join state: what must be remembered of every event, text excepted (about 100 bytes each).
//!
//! Which of several rows with one id stands never depends on the order of arrival: impressions keep the smaller
//! (received_at, absent last; content hash), feedback the larger (version; received_at, absent first; retract over
//! upsert; content hash).

pub mod attribute;
pub mod derive;
pub mod pairs;

use std::cmp::Ordering;

use hashbrown::{HashMap, HashTable};

use crate::count::Strata;
use crate::event::Kind;
use crate::event::row::{Actor, Feedback, Impression, Key, Target, Winner};
use crate::event::value::label;

/// No code.
pub const NONE: u32 = u32::MAX;

/// A response shown, as far as the join needs it; its index is its row number.
#[derive(Clone, Debug)]
pub struct Shown {
    /// Id.
    pub key: Key,
    /// Content.
    pub content: Key,
    /// Request, zero when absent.
    pub request: Key,
    /// Microseconds since 1970.
    pub shown_at: i64,
    /// Microseconds since 1970, the largest number when absent.
    pub received_at: i64,
    /// Code of the session, or `NONE`.
    pub session: u32,
    /// Code of the user, or `NONE`.
    pub user: u32,
    /// Code of the stratum.
    pub stratum: u32,
    /// Source.
    pub src: u32,
    /// Logged propensity, NaN when absent.
    pub policy_prob: f32,
    /// False once another row with the same id won.
    pub live: bool,
}

/// A feedback event; its index is its row number in the feedback table.
#[derive(Clone, Debug)]
pub struct Event {
    /// Id.
    pub key: Key,
    /// Content.
    pub content: Key,
    /// Response, request or session.
    pub target: Key,
    /// Microseconds since 1970.
    pub at: i64,
    /// Version.
    pub version: i64,
    /// Microseconds since 1970, the smallest number when absent.
    pub received_at: i64,
    /// Number to store.
    pub value: f32,
    /// Source.
    pub src: u32,
    /// Index into `winners` for choices.
    pub winner: u32,
    /// Namespace.
    pub space: u16,
    /// Kind.
    pub kind: Kind,
    /// What `target` is.
    pub about: About,
    /// Label of `value`.
    pub label: Option<bool>,
    /// Withdrawn.
    pub retract: bool,
    /// Given by a user.
    pub by_user: bool,
    /// False once a newer version came.
    pub live: bool,
}

/// What an event's target is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum About {
    /// A response.
    Response,
    /// A request.
    Request,
    /// A session.
    Session,
}

/// What became of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Its id is new.
    New,
    /// Its id was known and the known row stands; `conflict` if their contents differ.
    Lost {
        /// Whether it is a different impression under the same id.
        conflict: bool,
    },
    /// It stands and the row before does not.
    Won {
        /// Row number of the loser.
        row: u32,
        /// Source of the loser.
        src: u32,
        /// Whether it was a different impression under the same id.
        conflict: bool,
    },
}

/// Everything remembered.
#[derive(Default)]
pub struct State {
    /// Responses, by row number.
    pub shown: Vec<Shown>,
    /// Feedback, by row number.
    pub events: Vec<Event>,
    /// Winners of choices.
    pub winners: Vec<Winner>,
    /// (row, key of the response it regenerates).
    pub parents: Vec<(u32, Key)>,
    /// What the counters group by.
    pub strata: Strata,
    shown_by_key: HashTable<u32>,
    event_by_key: HashTable<u32>,
    people: HashMap<Key, u32>,
}

impl State {
    /// Adds an impression of source `src`.
    pub fn impression(&mut self, row: &Impression<&str>, src: u32) -> Fate {
        let received_at = row.received_at.unwrap_or(i64::MAX);
        let known = self.row_of(row.key);
        if let Some(old) = known.and_then(|known| self.shown.get(known as usize)) {
            let conflict = old.content != row.content;
            if (old.received_at, old.content) <= (received_at, row.content) {
                return Fate::Lost { conflict };
            }
        }
        let new = self.shown.len() as u32;
        let shown = Shown {
            key: row.key,
            content: row.content,
            request: row.request_key.unwrap_or_default(),
            shown_at: row.shown_at,
            received_at,
            session: self.code(row.session),
            user: self.code(row.user),
            stratum: self.strata.code(row),
            src,
            policy_prob: row.policy_prob.unwrap_or(f32::NAN),
            live: !row.is_blank(),
        };
        if let Some(parent) = row.parent {
            self.parents.push((new, parent));
        }
        self.shown.push(shown);
        if row.is_blank() {
            return Fate::Lost { conflict: false };
        }
        let shown = &self.shown;
        let hash = |row: &u32| {
            shown
                .get(*row as usize)
                .map_or(0, |shown| shown.key.short())
        };
        let same = |known: &u32| {
            shown
                .get(*known as usize)
                .is_some_and(|shown| shown.key == row.key)
        };
        let Some(slot) = self.shown_by_key.find_mut(row.key.short(), same) else {
            self.shown_by_key.insert_unique(row.key.short(), new, hash);
            return Fate::New;
        };
        let old = std::mem::replace(slot, new);
        self.shown.get_mut(old as usize).map_or(Fate::New, |loser| {
            loser.live = false;
            Fate::Won {
                row: old,
                src: loser.src,
                conflict: loser.content != row.content,
            }
        })
    }

    /// Adds feedback of source `src`.
    pub fn feedback(&mut self, row: &Feedback<&str>, src: u32) -> Fate {
        let received_at = row.received_at.unwrap_or(i64::MIN);
        let events = &self.events;
        let same = |known: &u32| {
            events
                .get(*known as usize)
                .is_some_and(|event| event.key == row.key)
        };
        let known = self
            .event_by_key
            .find(row.key.short(), same)
            .and_then(|known| events.get(*known as usize));
        if let Some(old) = known {
            let order = (old.version, old.received_at, old.retract, old.content);
            if order.cmp(&(row.version, received_at, row.retract, row.content)) != Ordering::Less {
                return Fate::Lost { conflict: false };
            }
        }
        let (about, target) = match row.target {
            Target::Response(key) => (About::Response, key),
            Target::Request(key) => (About::Request, key),
            Target::Session(key) => (About::Session, key),
        };
        let winner = row.winner.map_or(NONE, |winner| {
            self.winners.push(winner);
            self.winners.len() as u32 - 1
        });
        let new = self.events.len() as u32;
        self.events.push(Event {
            key: row.key,
            content: row.content,
            target,
            at: row.at,
            version: row.version,
            received_at,
            value: row.value.unwrap_or(f64::NAN) as f32,
            src,
            winner,
            space: self.strata.space(row.source),
            kind: row.kind,
            about,
            label: row.value.and_then(|value| label(row.kind, value)),
            retract: row.retract,
            by_user: row.actor == Actor::User,
            live: !row.is_blank(),
        });
        if row.is_blank() {
            return Fate::Lost { conflict: false };
        }
        let events = &self.events;
        let hash = |row: &u32| {
            events
                .get(*row as usize)
                .map_or(0, |event| event.key.short())
        };
        let same = |known: &u32| {
            events
                .get(*known as usize)
                .is_some_and(|event| event.key == row.key)
        };
        let Some(slot) = self.event_by_key.find_mut(row.key.short(), same) else {
            self.event_by_key.insert_unique(row.key.short(), new, hash);
            return Fate::New;
        };
        let old = std::mem::replace(slot, new);
        self.events
            .get_mut(old as usize)
            .map_or(Fate::New, |loser| {
                loser.live = false;
                Fate::Won {
                    row: old,
                    src: loser.src,
                    conflict: false,
                }
            })
    }

    /// Row number of the live impression with this key.
    pub fn row_of(&self, key: Key) -> Option<u32> {
        let same = |known: &u32| {
            self.shown
                .get(*known as usize)
                .is_some_and(|shown| shown.key == key)
        };
        self.shown_by_key.find(key.short(), same).copied()
    }

    /// Code of the session with this pseudonym, if it was ever shown anything.
    pub fn session(&self, key: Key) -> Option<u32> {
        self.people.get(&key).copied()
    }

    fn code(&mut self, person: Option<Key>) -> u32 {
        let next = self.people.len() as u32;
        person.map_or(NONE, |key| *self.people.entry(key).or_insert(next))
    }

    /// Slot of a response, if logged.
    pub fn slot(&self, shown: &Shown) -> Option<i16> {
        self.strata
            .all
            .get(shown.stratum as usize)
            .and_then(|stratum| stratum.slot)
    }

    /// Largest time of a live row: the watermark.
    pub fn latest(&self) -> Option<i64> {
        let shown = self
            .shown
            .iter()
            .filter(|shown| shown.live)
            .map(|shown| shown.shown_at);
        let events = self
            .events
            .iter()
            .filter(|event| event.live)
            .map(|event| event.at);
        shown.chain(events).max()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// All orders of four things.
    fn orders() -> Vec<Vec<usize>> {
        let mut orders = Vec::new();
        for code in 0..256 {
            let order: Vec<usize> = (0..4).map(|place| code >> (2 * place) & 3).collect();
            if (0..4).all(|item| order.contains(&item)) {
                orders.push(order);
            }
        }
        orders
    }

    #[test]
    fn the_impression_that_stands_does_not_depend_on_the_order() {
        let row = |received_at, content: &str| Impression {
            key: Key::of(b"r"),
            content: Key::of(content.as_bytes()),
            source: "s",
            received_at,
            ..Impression::default()
        };
        let rows = [
            row(None, "a"),
            row(Some(5), "b"),
            row(Some(3), "c"),
            row(Some(3), "d"),
        ];
        let first = Key::of(b"c").min(Key::of(b"d"));
        for order in orders() {
            let mut state = State::default();
            for at in &order {
                state.impression(rows.get(*at).unwrap(), 0);
            }
            let live: Vec<Key> = state
                .shown
                .iter()
                .filter(|s| s.live)
                .map(|s| s.content)
                .collect();
            assert_eq!(live, [first], "{order:?}");
            assert!(
                state.row_of(Key::of(b"r")).is_some_and(|row| state
                    .shown
                    .get(row as usize)
                    .unwrap()
                    .live)
            );
        }
    }

    #[test]
    fn the_feedback_that_stands_does_not_depend_on_the_order() {
        let row = |version, received_at, retract, content: &str| Feedback {
            key: Key::of(b"f"),
            content: Key::of(content.as_bytes()),
            id: "f",
            target: Target::Response(Key::of(b"r")),
            winner: None,
            response: None,
            request: None,
            user: None,
            at: 0,
            received_at,
            source: "s",
            kind: Kind::Copy,
            value: Some(1.0),
            label: None,
            actor: Actor::User,
            version,
            retract,
            comment: None,
            extra: None,
        };
        let rows = [
            row(0, Some(9), false, "a"),
            row(1, None, false, "b"),
            row(1, Some(2), true, "c"),
            row(1, Some(2), false, "d"),
        ];
        for order in orders() {
            let mut state = State::default();
            let fates: Vec<Fate> = order
                .iter()
                .map(|at| state.feedback(rows.get(*at).unwrap(), 0))
                .collect();
            let live: Vec<bool> = state
                .events
                .iter()
                .filter(|e| e.live)
                .map(|e| e.retract)
                .collect();
            assert_eq!(live, [true], "{order:?}");
            assert_eq!(fates.iter().filter(|fate| **fate == Fate::New).count(), 1);
        }
    }

    #[test]
    fn a_row_of_state_is_about_a_hundred_bytes() {
        assert!(size_of::<Shown>() <= 88 && size_of::<Event>() <= 96);
    }
}
