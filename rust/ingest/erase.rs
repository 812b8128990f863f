//! One person taken out of a store: their rows become blanks, which keep their numbers, and everything else is
//! derived anew, as if they had never been there.

use std::collections::HashSet;
use std::path::Path;

use arrow_array::types::{Int32Type, Int64Type};
use arrow_array::{BooleanArray, RecordBatch, new_null_array};
use arrow_schema::ArrowError;
use arrow_select::filter::filter_record_batch;
use arrow_select::interleave::interleave;
use serde::Serialize;

use super::{Budget, Options, Progress, Run, books};
use crate::error::{Error, Result};
use crate::event::row::{Feedback, Impression, Key, Target};
use crate::event::{Reason, time};
use crate::join::State;
use crate::key::Secret;
use crate::store::columns::Columns;
use crate::store::facts::{self, Events, IMPRESSION_KEYS, Impressions, Lineage};
use crate::store::ledger::{Ledger, Parts};
use crate::store::part::{self, Part, PartWriter};
use crate::store::{Store, load};

/// What was erased.
#[derive(Clone, Debug, Serialize)]
pub struct Erased {
    /// The store.
    pub store: String,
    /// Whether there was anything to erase.
    pub committed: bool,
    /// Number of the newest commit.
    pub ledger: u64,
    /// Number of commits of data.
    pub generation: u64,
    /// Store digest.
    pub digest: String,
    /// Impressions erased, older versions included.
    pub impressions: u64,
    /// Feedback events erased, older versions included.
    pub feedback: u64,
}

/// Rows of one person, by table, one flag for each row.
#[derive(Default)]
struct Theirs {
    impressions: Vec<bool>,
    feedback: Vec<bool>,
}

/// Erases the person `user` from the store at `root`, in one commit: impressions that name them, feedback that
/// names them, and feedback that names nobody and is about their responses, requests or sessions.
pub fn erase(
    user: &str,
    root: &Path,
    secret: Secret,
    progress: &mut dyn FnMut(Progress) -> Result<()>,
) -> Result<Erased> {
    let (mut store, ledger) = Store::reopen(root)?;
    let state = load::state(root, &ledger, &secret, false, None)?;
    // A watermark that is not the largest time was given by the caller of the last run, and stays.
    let given = ledger.watermark.clone();
    let latest = state.latest()?.map(time::format);
    let given = given.filter(|text| Some(text) != latest.as_ref());
    let options = Options {
        source: String::new(),
        secret,
        budget: Budget::Lines(u64::MAX),
        until: given.and_then(|text| time::parse("watermark", &text).ok()),
        threads: 1,
        window: ledger.window_us,
        lateness: ledger.lateness_us,
        mapping: None,
        salvage: false,
        keep_raw: false,
        memory: None,
        tables: None,
        cursor: None,
        keep_addresses: false,
    };
    let mut run = Run::new(&store, &options)?;
    run.state = state;
    let theirs = Theirs::find(root, &ledger, &options.secret, user)?;
    let count = |rows: &[bool]| rows.iter().filter(|theirs| **theirs).count() as u64;
    let (impressions, feedback) = (count(&theirs.impressions), count(&theirs.feedback));
    let committed = impressions + feedback > 0;
    if committed {
        let done = run
            .blank(&ledger, &theirs)
            .and_then(|parts| run.conclude(&mut store, parts, progress));
        if let Err(error) = done {
            drop(run);
            drop(store.sweep()); // what cannot be deleted now is left to the next writer
            return Err(error);
        }
    }
    let newest = store.ledger.clone().unwrap_or_default();
    Ok(Erased {
        store: root.display().to_string(),
        committed,
        ledger: newest.ledger,
        generation: newest.generation,
        digest: newest.digest,
        impressions,
        feedback,
    })
}

impl Theirs {
    fn find(root: &Path, ledger: &Ledger, secret: &Secret, user: &str) -> Result<Self> {
        let is_them = |key: Option<Key>, source: &str| {
            key.is_some_and(|key| key == secret.person(source, "user", user))
        };
        let mut theirs = Self::default();
        let (mut about, mut others) = (HashSet::new(), HashSet::new());
        for part in &ledger.parts.impressions {
            for batch in part::read(root, part, IMPRESSION_KEYS)? {
                facts::impressions(&batch?, secret, false, |row, _| {
                    let mine = is_them(row.user, row.source);
                    theirs.impressions.push(mine);
                    let keys = [Some(row.key), row.request_key, row.session];
                    let to = if mine { &mut about } else { &mut others };
                    to.extend(keys.into_iter().flatten());
                })
                .map_err(Error::arrow(root.join(&part.path)))?;
            }
        }
        about.retain(|key| !others.contains(key)); // shared with somebody else
        for part in &ledger.parts.feedback {
            for batch in part::read(root, part, &[])? {
                facts::events(&batch?, secret, |row, _| {
                    let (Target::Response(key) | Target::Request(key) | Target::Session(key)) =
                        row.target;
                    let nobody = row.user.is_none() && about.contains(&key);
                    theirs
                        .feedback
                        .push(nobody || is_them(row.user, row.source));
                })
                .map_err(Error::arrow(root.join(&part.path)))?;
            }
        }
        Ok(theirs)
    }
}

impl Run<'_> {
    /// Writes the parts with their rows anew, and sets state and books accordingly.
    fn blank(&mut self, ledger: &Ledger, theirs: &Theirs) -> Result<Parts> {
        self.erasure = true;
        let mut parts = ledger.parts.clone();
        let (mut shown, mut given) = (Impressions::default(), Events::default());
        let wrong = || Error::arrow(&self.root);
        shown
            .push(&Impression::blank(), Lineage::default())
            .map_err(wrong())?;
        given
            .push(&Feedback::blank(), Lineage::default())
            .map_err(wrong())?;
        let blank = shown.batch().map_err(wrong())?;
        self.rewrite(
            &mut parts.impressions,
            "impressions",
            &blank,
            &theirs.impressions,
        )?;
        let blank = given.batch().map_err(wrong())?;
        self.rewrite(&mut parts.feedback, "feedback", &blank, &theirs.feedback)?;
        let after = Ledger {
            parts: parts.clone(),
            ..ledger.clone()
        };
        let after = load::state(&self.root, &after, &self.options.secret, false, None)?;
        let before = std::mem::replace(&mut self.state, after);
        let void = self.rebook(&before, theirs);
        let void = load::lineage(&self.root, &ledger.parts.impressions, &void)?;
        self.requarantine(&mut parts.quarantine, &void)?;
        Ok(parts)
    }

    /// Replaces each part that has rows of theirs by one with `blank` in their places; line numbers stay.
    fn rewrite(
        &self,
        parts: &mut [Part],
        table: &str,
        blank: &RecordBatch,
        mut theirs: &[bool],
    ) -> Result<()> {
        for (number, part) in parts.iter_mut().enumerate() {
            let (mine, rest) = theirs
                .split_at_checked(part.rows as usize)
                .unwrap_or_default();
            theirs = rest;
            if !mine.contains(&true) {
                continue;
            }
            let mut mine = mine.iter();
            *part = self.replace(part, table, number, |batch| {
                let picks = mine.by_ref().take(batch.num_rows()).enumerate();
                let picks: Vec<_> = picks
                    .map(|(row, theirs)| if *theirs { (1, 0) } else { (0, row) })
                    .collect();
                let fields = batch.schema();
                let columns = fields.fields().iter().zip(batch.columns());
                let columns: Result<Vec<_>, _> = columns
                    .zip(blank.columns())
                    .map(|((field, known), blank)| match field.name().as_str() {
                        "src" | "line" | "off" | "len" => Ok(known.clone()),
                        _ => interleave(&[known, blank], &picks),
                    })
                    .collect();
                RecordBatch::try_new(fields, columns?)
            })?;
        }
        Ok(())
    }

    /// The part with its batches changed, under a name of this generation.
    fn replace(
        &self,
        part: &Part,
        table: &str,
        number: usize,
        mut change: impl FnMut(&RecordBatch) -> Result<RecordBatch, ArrowError>,
    ) -> Result<Part> {
        let name = format!("{table}/g{:06}-erased-{number:04}.arrow", self.generation);
        let mut batches = part::read(&self.root, part, &[])?.peekable();
        let schema = match batches.peek() {
            Some(Ok(batch)) => batch.schema(),
            _ => return Ok(part.clone()),
        };
        let mut writer = PartWriter::create(&self.root, &name, &schema)?;
        for batch in batches {
            writer.write(&change(&batch?).map_err(Error::arrow(&self.root))?)?;
        }
        writer.finish()
    }

    /// Takes the lines of the erased rows out of the books, and lets rows stand that had only lost to them; returns
    /// the impressions that are refused no longer.
    fn rebook(&mut self, before: &State, theirs: &Theirs) -> Vec<u32> {
        let mut book = |src: u32, theirs: bool, lived: bool, lives: bool, shown: bool| {
            let Some(source) = self.sources.get_mut(src as usize) else {
                return false;
            };
            let books = &mut source.balance;
            let settled = theirs || (lives && !lived);
            books.lines -= i64::from(theirs);
            books.committed += i64::from(lives && !lived) - i64::from(theirs && lived);
            if lived || !settled {
                return false;
            }
            if shown {
                books.quarantined -= 1;
                books::count(&mut source.reasons, Reason::Conflict, -1);
            } else {
                books.duplicate -= 1;
            }
            shown
        };
        let mut void = Vec::new();
        let shown = before.shown_books().zip(self.state.shown_books());
        for (row, (((src, lived), (_, lives)), theirs)) in
            shown.zip(&theirs.impressions).enumerate()
        {
            if book(src, *theirs, lived, lives, true) {
                void.push(row as u32);
            }
        }
        let events = before.event_books().zip(self.state.event_books());
        for (((src, lived), (_, lives)), theirs) in events.zip(&theirs.feedback) {
            book(src, *theirs, lived, lives, false);
        }
        void
    }

    /// Drops the refusals that are void, and all bytes of refused lines, for nothing says whose they are.
    fn requarantine(&self, parts: &mut [Part], void: &[Lineage]) -> Result<()> {
        let void: HashSet<_> = void.iter().map(|from| (from.src, from.line)).collect();
        for (number, part) in parts.iter_mut().enumerate() {
            *part = self.replace(part, "quarantine", number, |batch| {
                let of = Columns(batch);
                let (src, line) = (
                    of.number::<Int32Type>("src")?,
                    of.number::<Int64Type>("line")?,
                );
                let reason = of.text("reason")?;
                let stands = |row: usize| {
                    let at = (src.value(row) as u32, line.value(row) as u64);
                    reason.value(row) != Reason::Conflict.name() || !void.contains(&at)
                };
                let standing: BooleanArray =
                    (0..batch.num_rows()).map(|row| Some(stands(row))).collect();
                let kept = filter_record_batch(batch, &standing)?;
                let fields = kept.schema();
                let columns = fields.fields().iter().zip(kept.columns());
                let columns = columns.map(|(field, column)| match field.name().as_str() {
                    "raw" => new_null_array(field.data_type(), kept.num_rows()),
                    _ => column.clone(),
                });
                RecordBatch::try_new(kept.schema(), columns.collect())
            })?;
        }
        Ok(())
    }
}
