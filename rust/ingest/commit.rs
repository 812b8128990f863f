//! The end of a run: the derived tables, the books, the commit.

use super::{Progress, Run, books};
use crate::error::Result;
use crate::event::{Bad, Reason, time};
use crate::join::attribute::Windows;
use crate::join::derive::{Derived, derive};
use crate::join::sums::Named;
use crate::store::derived::{Counters, Observations, Pairs, Quarantine, Refused};
use crate::store::facts::Lineage;
use crate::store::ledger::{Attachment, Ledger, Parts, Source};
use crate::store::part::Part;
use crate::store::writer::Table;
use crate::store::{Store, load};

/// Ending of the quarantine part that the next commit writes anew.
pub(super) const OPEN: &str = "-open-0000.arrow";

impl Run<'_> {
    /// Whether the settings are those of the newest commit, so that without new lines nothing would change.
    pub(super) fn settings_stand(&self, store: &Store) -> bool {
        store.ledger.as_ref().is_some_and(|ledger| {
            let until = self.options.until.map(time::format);
            (ledger.window_us, ledger.lateness_us) == (self.options.window, self.options.lateness)
                && (until.is_none() || until == ledger.watermark)
        })
    }

    /// Whether a table with a cursor that did not move gave nothing but rows that were read before.
    fn only_repeats(&self) -> bool {
        let cursors = |sources: &[Source]| -> Vec<_> {
            sources.iter().map(|source| source.cursor.clone()).collect()
        };
        self.options.cursor.is_some()
            && cursors(&self.sources) == cursors(&self.before)
            && self.impressions.is_empty()
            && self.feedback.is_empty()
    }

    /// Writes what is derived and commits; false when there was nothing to commit.
    pub(super) fn commit(
        &mut self,
        store: &mut Store,
        progress: &mut dyn FnMut(Progress) -> Result<()>,
    ) -> Result<bool> {
        if self.read.is_empty() && self.sources == self.before && self.settings_stand(store) {
            return Ok(false);
        }
        if self.only_repeats() && self.settings_stand(store) {
            self.sources = self.before.clone();
            self.read.clear();
            return Ok(false);
        }
        let mut parts = store
            .ledger
            .as_ref()
            .map_or_else(Parts::default, |ledger| ledger.parts.clone());
        let first = parts.impressions.is_empty();
        let (impressions, feedback) = (self.impressions.end(first)?, self.feedback.end(first)?);
        parts.impressions.extend(impressions);
        parts.feedback.extend(feedback);
        self.refuse_losers(&parts.impressions)?;
        self.check_budget()?;
        self.conclude(store, parts, progress)?;
        Ok(true)
    }

    /// The parts of impressions and feedback, durable.
    pub(super) fn facts(&mut self) -> Result<(Vec<Part>, Vec<Part>)> {
        Ok((
            self.impressions.finish(false)?,
            self.feedback.finish(false)?,
        ))
    }

    /// Ends the parts of refused lines.
    pub(super) fn refused(&mut self) -> Result<Vec<Part>> {
        self.quarantine.finish(false)
    }

    /// Derives everything from the facts in `parts` and the state, and commits.
    pub(super) fn conclude(
        &mut self,
        store: &mut Store,
        mut parts: Parts,
        progress: &mut dyn FnMut(Progress) -> Result<()>,
    ) -> Result<()> {
        let latest = self.state.latest()?;
        let watermark = self.options.until.or(latest);
        let windows = Windows {
            window: self.options.window,
            lateness: self.options.lateness,
            watermark: watermark.unwrap_or(i64::MIN / 2),
        };
        let mut observations = Table::<Observations>::new(
            &store.root,
            format!("observations/g{:06}", self.generation),
        );
        let mut ends = parts.impressions.iter().map(|part| part.rows);
        let (mut row, mut end) = (0, ends.next().unwrap_or(0));
        let done = self.done;
        let threads = self.options.threads;
        let mut tick = || progress(done);
        let derived = derive(&mut self.state, &windows, threads, &mut tick, |seen| {
            while row == end && end > 0 {
                observations.cut()?;
                (row, end) = (0, ends.next().unwrap_or(0));
            }
            row += 1;
            observations.rows.push(seen);
            observations.pushed(0)
        })?;
        parts.observations = observations.end(true)?;
        parts.pairs = self.pairs(&derived, &parts.impressions)?;
        observations.durable()?;
        self.seal(store, parts, &derived, watermark, progress)
    }

    /// Writes the counters and the last of the quarantine, and commits.
    pub(super) fn seal(
        &mut self,
        store: &mut Store,
        mut parts: Parts,
        derived: &Derived,
        watermark: Option<i64>,
        progress: &mut dyn FnMut(Progress) -> Result<()>,
    ) -> Result<()> {
        parts.cells = self.cells(derived)?;
        let open = self.open_quarantine(derived, &parts.feedback)?;
        parts.quarantine.retain(|part| !part.path.ends_with(OPEN));
        parts.quarantine.extend(self.refused()?);
        parts.quarantine.extend(open);

        self.impressions.durable()?;
        self.feedback.durable()?;
        progress(self.done)?; // the last moment to stop

        let named = |counts: &Named| {
            counts
                .iter()
                .map(|(name, count)| (name.to_string(), *count))
                .collect()
        };
        let live = [
            ("impressions", derived.impressions),
            ("silent", derived.silent),
            ("feedback", derived.feedback),
        ];
        store.commit(Ledger {
            generation: self.generation,
            digest: derived.digest.to_string(),
            watermark: watermark.map(time::format),
            window_us: self.options.window,
            lateness_us: self.options.lateness,
            key_id: self.options.secret.id.clone(),
            parts,
            attachments: self.attachments(store),
            erasure: self.erasure,
            balance: self.balance()?,
            sources: self.sources.clone(),
            kinds: named(&derived.kinds),
            states: named(&derived.states),
            notes: named(&derived.notes),
            live: live
                .into_iter()
                .map(|(name, count)| (name.to_owned(), count))
                .collect(),
            ..Ledger::default()
        })
    }

    /// The attachments that go on: all, or after an erasure the gold labels alone, for the rest was made from rows
    /// that are gone.
    fn attachments(&self, store: &Store) -> Vec<Attachment> {
        let mut kept = store
            .ledger
            .as_ref()
            .map_or_else(Vec::new, |ledger| ledger.attachments.clone());
        kept.retain(|attachment| !self.erasure || attachment.folder == "gold");
        kept
    }

    /// Moves impressions that lost after they were accepted from the committed to the refused lines.
    pub(super) fn refuse_losers(&mut self, parts: &[Part]) -> Result<()> {
        let mut rows = std::mem::take(&mut self.lost);
        rows.sort_unstable();
        for (row, from) in rows.iter().zip(load::lineage(&self.root, parts, &rows)?) {
            if let Some(lost) = self.state.response(*row)? {
                self.refuse(from, &self.conflict(lost.key, lost.content)?, None)?;
            }
        }
        Ok(())
    }

    fn table<R: crate::store::writer::Rows>(&self, name: &str) -> Table<R> {
        Table::new(&self.root, format!("{name}/g{:06}", self.generation))
    }

    fn pairs(&self, derived: &Derived, impressions: &[Part]) -> Result<Vec<Part>> {
        let mut table = self.table::<Pairs>("pairs");
        let pairs = derived.pairs();
        load::with_requests(&self.root, impressions, 0, pairs, |pair, request| {
            table.rows.push(pair, request);
            table.pushed(0)
        })?;
        table.finish(true)
    }

    fn cells(&self, derived: &Derived) -> Result<Vec<Part>> {
        let mut table = self.table::<Counters>("cells");
        table.rows.push_all(&derived.cells);
        table.pushed(0)?;
        table.finish(true)
    }

    /// The refusals that may change: incomplete last lines, and feedback refused for its clock.
    fn open_quarantine(&mut self, derived: &Derived, feedback: &[Part]) -> Result<Vec<Part>> {
        for source in &mut self.sources {
            let skew = std::mem::take(&mut source.skew) as i64;
            source.balance.committed += skew;
            source.balance.quarantined -= skew;
            books::count(&mut source.reasons, Reason::Skew, -skew);
        }
        let mut refused = Vec::new();
        for (src, source) in self.sources.iter().enumerate() {
            if let Some(torn) = &source.torn {
                let from = Lineage {
                    src: src as u32,
                    line: torn.line,
                    off: torn.off,
                    len: torn.len,
                };
                refused.push((
                    from,
                    Bad::new(
                        Reason::Torn,
                        "",
                        "the last line ends without a newline and is not complete",
                    ),
                ));
            }
            if source.is_cut() {
                refused.push(books::cut_of(src, source));
            }
        }
        for from in load::lineage(&self.root, feedback, &derived.skewed)? {
            let bad = Bad::new(
                Reason::Skew,
                "at",
                "more than an hour before its response was shown",
            );
            if let Some(source) = self.sources.get_mut(from.src as usize) {
                source.skew += 1;
                source.balance.committed -= 1;
                source.balance.quarantined += 1;
                books::count(&mut source.reasons, Reason::Skew, 1);
            }
            self.sample(from, &bad);
            refused.push((from, bad));
        }
        let mut table = Table::<Quarantine>::new(
            &self.root,
            format!("quarantine/g{:06}-open", self.generation),
        );
        for (from, bad) in &refused {
            let file = self
                .sources
                .get(from.src as usize)
                .map_or("", |source| source.path.as_str());
            let generation = self.generation;
            let row = Refused {
                file,
                from: *from,
                bad,
                digest: None,
                raw: None,
                generation,
            };
            table.rows.push(&row);
            table.pushed(0)?;
        }
        table.finish(true)
    }
}
