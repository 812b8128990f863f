//! Which response a feedback event is about, whatever order the two arrived in.

use super::held::Rows;
use super::{About, Event};
use crate::error::Result;
use crate::event::Kind;
use crate::event::row::{Key, Winner};
use crate::fan;

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
    /// The groups that the live events and the pairs need; a share of the requests a thread.
    pub fn new(rows: &Rows, threads: usize) -> Result<Self> {
        let shown = |row: &u32| rows.response(*row);
        let shares = fan::shares(threads, |share| {
            let mine = |head: u64| (u128::from(head) * threads as u128) >> 64 == share as u128;
            let with_request = rows.shown.standing().filter_map(|row| {
                let (request, ..) = rows.in_request(row)?;
                let head = request.head();
                (request != Key::default() && mine(head)).then_some((head, row))
            });
            let mut heads: Vec<(u64, u32)> = with_request.collect();
            heads.sort_unstable_by(|(head, row), (other, next)| {
                let order = |row: u32| rows.in_request(row);
                head.cmp(other).then_with(|| order(*row).cmp(&order(*next)))
            });
            Ok(heads)
        })?;
        let by_request = shares.into_iter().flatten().map(|(_, row)| row).collect();
        let mut by_session = Vec::new();
        let about_session = |row| rows.event(row).is_some_and(|e| e.about == About::Session);
        if rows.events.standing().any(about_session) {
            by_session.extend(rows.shown.standing());
            by_session.retain(|row| shown(row).is_some_and(|s| s.session != Key::default()));
            by_session
                .sort_unstable_by_key(|row| shown(row).map(|s| (s.session, s.shown_at, s.key)));
        }
        Ok(Self {
            by_request,
            by_session,
        })
    }

    /// Live rows of a request, in the order they were shown.
    pub fn request(&self, rows: &Rows, key: Key) -> &[u32] {
        run(&self.by_request, |row| {
            rows.in_request(row)
                .map(|(request, ..)| request)
                .cmp(&Some(key))
        })
    }

    fn session(&self, rows: &Rows, key: Key) -> &[u32] {
        run(&self.by_session, |row| {
            rows.response(row)
                .map(|shown| shown.session)
                .cmp(&Some(key))
        })
    }

    /// The requests in which several responses were shown.
    pub fn requests<'a>(&'a self, rows: &'a Rows) -> impl Iterator<Item = &'a [u32]> {
        let request = |row: &u32| rows.in_request(*row).map(|(key, ..)| key);
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

/// What an event's target turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// This row, shown then.
    Row(u32, i64),
    /// Nothing.
    Nothing,
    /// Several responses.
    Several,
}

impl Found {
    /// State of an event that is not withdrawn.
    pub fn joined(self, at: i64, windows: &Windows) -> Joined {
        let (row, shown_at) = match self {
            Self::Row(row, shown_at) => (row, shown_at),
            Self::Several => return Joined::Ambiguous,
            Self::Nothing if at.saturating_add(windows.lateness) <= windows.watermark => {
                return Joined::Orphan;
            }
            Self::Nothing => return Joined::Pending,
        };
        match at - shown_at {
            delay if delay < -TOLERANCE => Joined::Skew,
            delay if delay > windows.window => Joined::OutOfWindow,
            delay => Joined::Attributed {
                row,
                early: delay < 0,
            },
        }
    }
}

/// Joins one live event, given its row.
pub fn attribute(
    rows: &Rows,
    groups: &Groups,
    windows: &Windows,
    at: u32,
    event: &Event,
) -> Joined {
    if event.retract {
        return Joined::Retracted;
    }
    let shown_at = |row: u32| rows.shown_at(row).unwrap_or(0);
    let some = |row: Option<u32>| row.map_or(Found::Nothing, |row| Found::Row(row, shown_at(row)));
    let found = match event.about {
        About::Response => some(rows.shown.find(event.target)),
        About::Request if event.kind == Kind::Choice => {
            let group = groups.request(rows, event.target);
            let last = group.last().copied();
            some(match rows.winner(at) {
                Some(Winner::Response(key)) => {
                    let won = rows.shown.find(key);
                    last.filter(|_| won.is_some_and(|won| group.contains(&won)))
                }
                _ => last,
            })
        }
        About::Request => match groups.request(rows, event.target) {
            [row] => some(Some(*row)),
            [] => Found::Nothing,
            _ => Found::Several,
        },
        About::Session => {
            let group = groups.session(rows, event.target);
            let before = group.partition_point(|row| shown_at(*row) <= event.at);
            let (before, _) = group.split_at_checked(before).unwrap_or_default();
            match before {
                [.., one, last] if shown_at(*one) == shown_at(*last) => Found::Several,
                _ => some(before.last().copied()),
            }
        }
    };
    found.joined(event.at, windows)
}
