//! Sorting of more records than memory holds: sorted runs in a file, merged as they are read.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

use super::Place;
use super::blocks::{Blocks, Scan};
use crate::error::Result;

/// Takes records in any order.
pub struct Sorter<const N: usize> {
    held: Vec<[u8; N]>,
    /// Most records held, and where the others go.
    limit: Option<(usize, Place)>,
    runs: Runs<N>,
}

type Runs<const N: usize> = Option<(Blocks<N>, Vec<(usize, u64)>)>;

impl<const N: usize> Sorter<N> {
    /// One that holds a quarter of what memory there is, or everything when there is no place.
    pub fn new(place: Option<&Place>) -> Self {
        let most = |place: &Place| (place.memory / 4) as usize / N;
        Self {
            held: Vec::new(),
            limit: place.map(|place| (most(place).max(1), place.clone())),
            runs: None,
        }
    }

    /// Adds a record.
    pub fn push(&mut self, record: [u8; N]) -> Result<()> {
        if let Some((most, _)) = self.limit {
            let held = self.held.len();
            if held >= most {
                self.spill()?;
            } else if held == self.held.capacity() {
                self.held.reserve_exact(held.max(64).min(most - held));
            }
        }
        self.held.push(record);
        Ok(())
    }

    fn spill(&mut self) -> Result<()> {
        let Some((_, place)) = &self.limit else {
            return Ok(());
        };
        self.held.sort_unstable_by(order);
        let (blocks, runs) = match &mut self.runs {
            Some(runs) => runs,
            none => none.insert((Blocks::new(place)?, Vec::new())),
        };
        runs.push((blocks.cut()?, self.held.len() as u64));
        for record in &self.held {
            blocks.push(record)?;
        }
        self.held.clear();
        Ok(())
    }

    /// The records, sorted.
    pub fn sorted(mut self) -> Result<Sorted<N>> {
        if self.runs.is_some() {
            self.spill()?;
            self.held = Vec::new();
        }
        self.held.sort_unstable_by(order);
        if let Some((blocks, _)) = &mut self.runs {
            blocks.cut()?;
        }
        Ok(Sorted {
            held: self.held,
            runs: self.runs,
        })
    }
}

/// The order of the bytes; the first sixteen are compared as one number.
fn order<const N: usize>(one: &[u8; N], other: &[u8; N]) -> Ordering {
    let head = |record: &[u8; N]| record.first_chunk().copied().map(u128::from_be_bytes);
    head(one).cmp(&head(other)).then_with(|| one.cmp(other))
}

/// Sorted records, which may be read more than once.
pub struct Sorted<const N: usize> {
    held: Vec<[u8; N]>,
    runs: Runs<N>,
}

impl<const N: usize> Sorted<N> {
    /// The records in order.
    pub fn iter(&self) -> Merge<'_, N> {
        let mut merge = Merge {
            held: self.held.iter(),
            heap: BinaryHeap::new(),
            scans: Vec::new(),
            failed: None,
        };
        if let Some((blocks, runs)) = &self.runs {
            for (first, records) in runs {
                merge.scans.push(blocks.scan(*first, *records));
                merge.refill(merge.scans.len() - 1);
            }
        }
        merge
    }
}

/// Sorted records; nothing follows an error.
pub struct Merge<'a, const N: usize> {
    held: std::slice::Iter<'a, [u8; N]>,
    heap: BinaryHeap<Reverse<([u8; N], usize)>>,
    scans: Vec<Scan<'a, N>>,
    failed: Option<crate::error::Error>,
}

impl<const N: usize> Merge<'_, N> {
    fn refill(&mut self, run: usize) {
        match self.scans.get_mut(run).and_then(Iterator::next) {
            Some(Ok(record)) => self.heap.push(Reverse((record, run))),
            Some(Err(error)) => self.failed = Some(error),
            None => {}
        }
    }
}

impl<const N: usize> Iterator for Merge<'_, N> {
    type Item = Result<[u8; N]>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(record) = self.held.next() {
            return Some(Ok(*record));
        }
        if let Some(error) = self.failed.take() {
            self.heap.clear();
            return Some(Err(error));
        }
        let Reverse((record, run)) = self.heap.pop()?;
        self.refill(run);
        Some(Ok(record))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::event::row::Key;
    use crate::spill::scratch;

    #[test]
    fn any_amount_of_memory_gives_the_same_order() {
        let records: Vec<[u8; 16]> = (0..5_000u32)
            .map(|number| Key::of(&(number % 4_000).to_le_bytes()).0)
            .collect();
        let mut expected = records.clone();
        expected.sort();
        for memory in [1, 64 * 100, 64 * 4_999, 64 * 5_000, 64 * 10_000] {
            let place = scratch("sorter", memory);
            let mut sorter = Sorter::new(Some(&place));
            for record in &records {
                sorter.push(*record).unwrap();
            }
            let sorted = sorter.sorted().unwrap();
            for _ in 0..2 {
                let found: Vec<_> = sorted.iter().map(Result::unwrap).collect();
                assert_eq!(found, expected, "{memory}");
            }
        }
    }

    #[test]
    fn damage_ends_the_records_with_an_error() {
        let mut sorter = Sorter::new(Some(&scratch("sorted", 64 * 600)));
        for number in 0..5_000u32 {
            sorter.push(Key::of(&number.to_le_bytes()).0).unwrap();
        }
        let sorted = sorter.sorted().unwrap();
        sorted.runs.as_ref().unwrap().0.damage(20_000);
        let found: Vec<_> = sorted.iter().collect();
        assert!(found.last().unwrap().is_err() && found.len() < 5_000);
        assert_eq!(found.iter().filter(|record| record.is_err()).count(), 1);
    }
}
