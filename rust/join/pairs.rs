//! Pairs of responses: chosen between, shown together without a choice, or one regenerated into the other.

use super::State;
use super::attribute::{Groups, Windows};
use super::derive::Join;
use crate::count::Cells;
use crate::event::Kind;
use crate::event::row::{Key, Winner};

/// Requests with more candidates than this form no pairs; they are counted.
const WIDEST: usize = 16;

/// Two responses in the order of their slots.
#[derive(Clone, Debug, PartialEq)]
pub struct Pair {
    /// Row numbers.
    pub rows: [u32; 2],
    /// a, b, tie, both_bad; none when no choice was made.
    pub winner: Option<&'static str>,
    /// choice or regenerate.
    pub source: &'static str,
    /// Product of the two logged propensities.
    pub p_shown: Option<f32>,
}

/// All pairs, sorted by rows.
pub(super) fn pairs(
    state: &State,
    windows: &Windows,
    groups: &Groups,
    cells: &Cells,
    join: &mut Join,
) -> Vec<Pair> {
    let mut found = Vec::new();
    let mut wide = 0;
    for rows in groups.requests(state) {
        let rows = in_slot_order(state, rows);
        if rows.len() > WIDEST {
            wide += 1;
            continue;
        }
        match choice(state, &join.choices, &rows) {
            Some(Winner::Response(key)) => {
                let Some(won) = state.row_of(key) else {
                    continue;
                };
                for [a, b] in couples(&rows).filter(|couple| couple.contains(&won)) {
                    found.push(pair(state, [a, b], Some(if a == won { "a" } else { "b" })));
                }
            }
            Some(Winner::Tie) => {
                found.extend(couples(&rows).map(|rows| pair(state, rows, Some("tie"))))
            }
            Some(Winner::BothBad) => {
                found.extend(couples(&rows).map(|rows| pair(state, rows, Some("both_bad"))))
            }
            None if rows.iter().all(|row| asked(state, windows, cells, *row)) => {
                found.extend(couples(&rows).map(|rows| pair(state, rows, None)));
            }
            None => {}
        }
    }
    let mut lost = 0;
    for (row, parent) in &state.parents {
        let child = state.shown.get(*row as usize).filter(|shown| shown.live);
        match (child, state.row_of(*parent)) {
            (Some(_), Some(first)) if first != *row => {
                let rows = [first, *row];
                found.push(Pair {
                    rows,
                    winner: Some("b"),
                    source: "regenerate",
                    p_shown: None,
                });
            }
            (Some(_), _) => lost += 1,
            (None, _) => {}
        }
    }
    found.sort_unstable_by_key(|pair| (pair.rows, pair.source));
    for (name, count) in [
        ("requests_too_wide_for_pairs", wide),
        ("regenerated_unknown", lost),
    ] {
        if count > 0 {
            join.notes.insert(name, count);
        }
    }
    found
}

fn in_slot_order(state: &State, rows: &[u32]) -> Vec<u32> {
    let mut rows = rows.to_vec();
    let order = |row: &u32| {
        state
            .shown
            .get(*row as usize)
            .map(|shown| (state.slot(shown), shown.key))
    };
    rows.sort_unstable_by_key(order);
    rows
}

fn couples(rows: &[u32]) -> impl Iterator<Item = [u32; 2]> {
    rows.iter()
        .enumerate()
        .flat_map(|(at, a)| rows.iter().skip(at + 1).map(|b| [*a, *b]))
}

/// The last choice made in the request of these rows.
fn choice(state: &State, choices: &[u32], rows: &[u32]) -> Option<Winner> {
    let request = state.shown.get(*rows.first()? as usize)?.request;
    let target = |at: &u32| {
        state
            .events
            .get(*at as usize)
            .map_or(Key::default(), |event| event.target)
    };
    let after = choices.partition_point(|at| target(at) <= request);
    let last = choices
        .get(after.checked_sub(1)?)
        .filter(|at| target(at) == request)?;
    state
        .winners
        .get(state.events.get(*last as usize)?.winner as usize)
        .copied()
}

/// Whether a choice was offered on this row and can no longer come.
fn asked(state: &State, windows: &Windows, cells: &Cells, row: u32) -> bool {
    state.shown.get(row as usize).is_some_and(|shown| {
        windows.closed(shown.shown_at) && cells.offered(shown.stratum) & Kind::Choice.mask() != 0
    })
}

fn pair(state: &State, rows: [u32; 2], winner: Option<&'static str>) -> Pair {
    let p = rows.map(|row| {
        state
            .shown
            .get(row as usize)
            .map_or(f32::NAN, |shown| shown.policy_prob)
    });
    let p_shown = p.iter().product::<f32>();
    Pair {
        rows,
        winner,
        source: "choice",
        p_shown: (!p_shown.is_nan()).then_some(p_shown),
    }
}
