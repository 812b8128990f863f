//! The join state: what must be remembered of every event, text excepted, in at most 80 bytes each; and when even
//! those are more than the memory that a run may take, on disk.
//!
//! Which of several rows with one id stands never depends on the order of arrival: impressions keep the smaller
//! (received_at, absent last; content hash), feedback the larger (version; received_at, absent first; retract over
//! upsert; content hash).
//!
//! # Beyond memory
//!
//! Rows are decided one by one as they arrive, and only the row that stands under the same id matters to that. When
//! the rows in memory reach half the budget, all of them go to disk: the rows in the order of their numbers (`log`),
//! their keys in one more sorted run, of which 1.6 bytes a key stay in memory (`spill::seen`), and a bit says which
//! stand. A later row is looked up in memory, then in the runs from the newest on, so it meets its fate, and the
//! parts get their rows, exactly as without a budget. What follows from the rows is then derived in passes that sort
//! records by the key each rule needs, and read them once in that order (`passes`).

pub mod attribute;
pub(crate) mod beside;
pub mod derive;
mod held;
mod index;
pub(crate) mod log;
pub(crate) mod meet;
mod observe;
mod pack;
pub mod pairs;
mod passes;
pub(crate) mod priors;
mod state;
pub(crate) mod sums;
#[cfg(test)]
mod tests;

pub(crate) use held::AHEAD;
pub(crate) use pack::Bits;
pub use state::State;

use crate::event::Kind;
use crate::event::row::Key;

/// A response shown, as far as the join needs it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shown {
    /// Id.
    pub key: Key,
    /// Content.
    pub content: Key,
    /// Request, zero when absent.
    pub request: Key,
    /// Session, zero when absent.
    pub session: Key,
    /// User, zero when absent.
    pub user: Key,
    /// Microseconds since 1970.
    pub shown_at: i64,
    /// Microseconds since 1970, the largest number when absent.
    pub received_at: i64,
    /// Code of the stratum.
    pub stratum: u32,
    /// Logged propensity, NaN when absent.
    pub policy_prob: f32,
}

/// A feedback event.
#[derive(Clone, Copy, Debug, PartialEq)]
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
}

impl Default for Event {
    fn default() -> Self {
        Self {
            key: Key::default(),
            content: Key::default(),
            target: Key::default(),
            at: 0,
            version: 0,
            received_at: 0,
            value: 0.0,
            kind: Kind::Custom,
            about: About::Response,
            label: None,
            retract: false,
            by_user: false,
        }
    }
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
