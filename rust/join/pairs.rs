//! Pairs of responses: chosen between, shown together without a choice, or one regenerated into the other.

use super::Shown;
use super::attribute::Windows;
use crate::count::{Cells, Strata};
use crate::error::Result;
use crate::event::Kind;
use crate::event::row::{Key, Winner};
use crate::spill::Place;
use crate::spill::bytes::{Reader, Writer};
use crate::spill::sorter::Sorter;

/// Requests with more candidates than this form no pairs; they are counted.
const WIDEST: usize = 16;
/// Bytes of a record.
pub const SIZE: usize = 2 * 4 + 2 + 2 * 16 + 2 * 3 + 4;

/// Two responses in the order of their slots.
#[derive(Clone, Debug, PartialEq)]
pub struct Pair {
    /// Row numbers.
    pub rows: [u32; 2],
    /// Ids.
    pub keys: [Key; 2],
    /// Positions.
    pub slots: [Option<i16>; 2],
    /// a, b, tie, both_bad; none when no choice was made.
    pub winner: Option<&'static str>,
    /// choice or regenerate.
    pub source: &'static str,
    /// Product of the two logged propensities.
    pub p_shown: Option<f32>,
}

const SOURCES: [&str; 2] = ["choice", "regenerate"];
const WINNERS: [&str; 4] = ["a", "b", "tie", "both_bad"];

impl Pair {
    /// Sorts by rows and source.
    pub fn record(&self) -> [u8; SIZE] {
        let [a, b] = self.rows;
        let place = |known: &[&str], word| known.iter().position(|known| *known == word);
        let source = place(&SOURCES, self.source).unwrap_or(0) as u8;
        let winner = self.winner.and_then(|winner| place(&WINNERS, winner));
        let winner = winner.map_or(9, |winner| winner as u8);
        let mut record = Writer::default().u32(a).u32(b).u8(source).u8(winner);
        for key in self.keys {
            record = record.key(key);
        }
        for slot in self.slots {
            let known = u8::from(slot.is_some());
            record = record.u8(known).u16(slot.unwrap_or(0) as u16);
        }
        record.f32(self.p_shown.unwrap_or(f32::NAN)).done()
    }

    /// From a record.
    pub fn read(record: &[u8; SIZE]) -> Self {
        let mut from = Reader(record);
        let rows = [(); 2].map(|()| from.u32());
        let (source, winner) = (from.u8() as usize, from.u8() as usize);
        let keys = [(); 2].map(|()| from.key());
        let slots = [(); 2].map(|()| (from.u8(), from.u16()));
        let p_shown = from.f32();
        Self {
            rows,
            keys,
            slots: slots.map(|(known, slot)| (known == 1).then_some(slot as i16)),
            winner: WINNERS.get(winner).copied(),
            source: SOURCES.get(source).copied().unwrap_or("choice"),
            p_shown: (!p_shown.is_nan()).then_some(p_shown),
        }
    }
}

/// A response, as far as pairs need it.
#[derive(Clone, Copy, Debug)]
pub struct Candidate {
    /// Row number.
    pub row: u32,
    /// Id.
    pub key: Key,
    /// Microseconds since 1970.
    pub shown_at: i64,
    /// Stratum.
    pub stratum: u32,
    /// Logged propensity, NaN when absent.
    pub policy_prob: f32,
}

impl Candidate {
    /// That of a row.
    pub fn of(row: u32, shown: &Shown) -> Self {
        Self {
            row,
            key: shown.key,
            shown_at: shown.shown_at,
            stratum: shown.stratum,
            policy_prob: shown.policy_prob,
        }
    }
}

/// Collects pairs.
pub struct Pairing<'a> {
    strata: &'a Strata,
    windows: &'a Windows,
    cells: &'a Cells,
    /// Records of the pairs.
    pub found: Sorter<SIZE>,
    /// Requests that are too wide.
    pub wide: u64,
    /// Responses that regenerate one that is not known.
    pub lost: u64,
}

impl<'a> Pairing<'a> {
    /// Without pairs.
    pub fn new(
        strata: &'a Strata,
        windows: &'a Windows,
        cells: &'a Cells,
        place: Option<&Place>,
    ) -> Self {
        Self {
            strata,
            windows,
            cells,
            found: Sorter::new(place),
            wide: 0,
            lost: 0,
        }
    }

    /// Adds the pairs of a request, given the last choice made in it.
    pub fn request(&mut self, rows: &mut [Candidate], choice: Option<Winner>) -> Result<()> {
        if rows.len() < 2 {
            return Ok(());
        }
        if rows.len() > WIDEST {
            self.wide += 1;
            return Ok(());
        }
        rows.sort_unstable_by_key(|row| (self.strata.slot(row.stratum), row.key));
        if choice.is_none() && !rows.iter().all(|row| self.asked(row)) {
            return Ok(());
        }
        for (at, a) in rows.iter().enumerate() {
            for b in rows.iter().skip(at + 1) {
                let winner = match choice {
                    Some(Winner::Response(key)) if key == a.key => Some("a"),
                    Some(Winner::Response(key)) if key == b.key => Some("b"),
                    Some(Winner::Response(_)) => continue,
                    Some(Winner::Tie) => Some("tie"),
                    Some(Winner::BothBad) => Some("both_bad"),
                    None => None,
                };
                let p_shown = a.policy_prob * b.policy_prob;
                self.add(a, b, winner, "choice", p_shown)?;
            }
        }
        Ok(())
    }

    /// Adds the pair of a response and the one that it regenerates, if that is known.
    pub fn regenerated(&mut self, first: Option<&Candidate>, then: &Candidate) -> Result<()> {
        match first.filter(|first| first.row != then.row) {
            Some(first) => self.add(first, then, Some("b"), "regenerate", f32::NAN),
            None => {
                self.lost += 1;
                Ok(())
            }
        }
    }

    /// Whether a choice was offered on this row and can no longer come.
    fn asked(&self, row: &Candidate) -> bool {
        self.windows.closed(row.shown_at)
            && self.cells.offered(row.stratum) & Kind::Choice.mask() != 0
    }

    fn add(
        &mut self,
        a: &Candidate,
        b: &Candidate,
        winner: Option<&'static str>,
        source: &'static str,
        p_shown: f32,
    ) -> Result<()> {
        let pair = Pair {
            rows: [a.row, b.row],
            keys: [a.key, b.key],
            slots: [a, b].map(|row| self.strata.slot(row.stratum)),
            winner,
            source,
            p_shown: (!p_shown.is_nan()).then_some(p_shown),
        };
        self.found.push(pair.record())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_survive_their_records() {
        for (winner, source, p_shown) in [
            (Some("both_bad"), "choice", Some(0.25)),
            (None, "choice", None),
            (Some("b"), "regenerate", None),
        ] {
            let pair = Pair {
                rows: [3, u32::MAX],
                keys: [Key::of(b"a"), Key::of(b"b")],
                slots: [Some(-1), None],
                winner,
                source,
                p_shown,
            };
            assert_eq!(Pair::read(&pair.record()), pair);
        }
    }
}
