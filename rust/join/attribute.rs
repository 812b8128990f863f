//! Which response a feedback event is about, whatever order the two arrived in.

use super::{About, Event, NONE, State};
use crate::event::Kind;
use crate::event::row::{Key, Winner};

/// Feedback may be this much earlier than its response (clocks differ); it then counts as immediate.
pub const TOLERANCE: i64 = 3_600_000_000;

/// Times that decide, in microseconds.
#[derive(Clone, Copy, Debug)]
pub struct Windows {
    /// Feedback counts this long after its response was shown.
    pub window: i64,
    /// Feedback may arrive this much later.
    pub lateness: i64,
    /// Everything before this instant has arrived.
    pub watermark: i64,
}

impl Windows {
    /// Whether the window of a response shown then has passed.
    pub fn closed(&self, shown_at: i64) -> bool {
        shown_at
            .saturating_add(self.window)
            .saturating_add(self.lateness)
            <= self.watermark
    }
}

/// State of an event in the join.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Joined {
    /// It is about this row; its time was moved forward to the response if `early`.
    Attributed {
        /// Row number; for choices the row shown last.
        row: u32,
        /// Whether it came before its response, within the tolerance.
        early: bool,
    },
    /// Its response has not come yet.
    Pending,
    /// Its response did not come in time.
    Orphan,
    /// Too late after its response.
    OutOfWindow,
    /// Too early before its response.
    Skew,
    /// About a request or session in which several responses were shown at once.
    Ambiguous,
    /// Withdrawn.
    Retracted,
}

/// Rows by request and by session, for the events that do not name a response.
#[derive(Default)]
pub struct Groups {
    by_request: Vec<u32>,
    by_session: Vec<u32>,
}

impl Groups {
    /// The groups that the live events and the pairs need.
    pub fn new(state: &State) -> Self {
        let live = || {
            (0..state.shown.len() as u32)
                .filter(|row| state.shown.get(*row as usize).is_some_and(|s| s.live))
        };
        let shown = |row: &u32| state.shown.get(*row as usize);
        let mut by_request: Vec<u32> = live()
            .filter(|row| shown(row).is_some_and(|s| s.request != Key::default()))
            .collect();
        by_request.sort_unstable_by_key(|row| shown(row).map(|s| (s.request, s.shown_at, s.key)));
        let mut by_session = Vec::new();
        if state
            .events
            .iter()
            .any(|event| event.live && event.about == About::Session)
        {
            by_session.extend(live().filter(|row| shown(row).is_some_and(|s| s.session != NONE)));
            by_session
                .sort_unstable_by_key(|row| shown(row).map(|s| (s.session, s.shown_at, s.key)));
        }
        Self {
            by_request,
            by_session,
        }
    }

    /// Live rows of a request, in the order they were shown.
    pub fn request(&self, state: &State, key: Key) -> &[u32] {
        run(&self.by_request, |row| {
            state
                .shown
                .get(row as usize)
                .map(|shown| shown.request)
                .cmp(&Some(key))
        })
    }

    fn session(&self, state: &State, key: Key) -> &[u32] {
        let Some(code) = state.session(key) else {
            return &[];
        };
        run(&self.by_session, |row| {
            state
                .shown
                .get(row as usize)
                .map(|shown| shown.session)
                .cmp(&Some(code))
        })
    }

    /// The requests in which several responses were shown.
    pub fn requests<'a>(&'a self, state: &'a State) -> impl Iterator<Item = &'a [u32]> {
        let request = |row: &u32| state.shown.get(*row as usize).map(|shown| shown.request);
        self.by_request
            .chunk_by(move |one, next| request(one) == request(next))
            .filter(|rows| rows.len() > 1)
    }
}

/// The rows of a sorted list that compare equal.
fn run(rows: &[u32], compare: impl Fn(u32) -> std::cmp::Ordering) -> &[u32] {
    let from = rows.partition_point(|row| compare(*row).is_lt());
    let rest = rows.get(from..).unwrap_or_default();
    rest.get(..rest.partition_point(|row| compare(*row).is_eq()))
        .unwrap_or_default()
}

/// Joins one live event.
pub fn attribute(state: &State, groups: &Groups, windows: &Windows, event: &Event) -> Joined {
    if event.retract {
        return Joined::Retracted;
    }
    let unseen = if event.at.saturating_add(windows.lateness) <= windows.watermark {
        Joined::Orphan
    } else {
        Joined::Pending
    };
    let shown_at = |row: u32| {
        state
            .shown
            .get(row as usize)
            .map_or(0, |shown| shown.shown_at)
    };
    let row = match event.about {
        About::Response => state.row_of(event.target),
        About::Request if event.kind == Kind::Choice => {
            let rows = groups.request(state, event.target);
            match state.winners.get(event.winner as usize) {
                Some(Winner::Response(key)) => {
                    let won = state.row_of(*key);
                    rows.last()
                        .copied()
                        .filter(|_| won.is_some_and(|won| rows.contains(&won)))
                }
                _ => rows.last().copied(),
            }
        }
        About::Request => match groups.request(state, event.target) {
            [row] => Some(*row),
            [] => None,
            _ => return Joined::Ambiguous,
        },
        About::Session => {
            let rows = groups.session(state, event.target);
            let before = rows.partition_point(|row| shown_at(*row) <= event.at);
            let (before, _) = rows.split_at_checked(before).unwrap_or_default();
            match before {
                [.., one, last] if shown_at(*one) == shown_at(*last) => return Joined::Ambiguous,
                _ => before.last().copied(),
            }
        }
    };
    let Some(row) = row else { return unseen };
    match event.at - shown_at(row) {
        delay if delay < -TOLERANCE => Joined::Skew,
        delay if delay > windows.window => Joined::OutOfWindow,
        delay => Joined::Attributed {
            row,
            early: delay < 0,
        },
    }
}
