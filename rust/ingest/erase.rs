//! One person taken out of a store: their rows become blanks, which keep their numbers, and everything else is
//! derived anew, as if they had never been there.
//!
//! Which rows are theirs is found by one sort of keys, and the state before is given up, but for a bit a row, before
//! the one after is made: a budget of memory holds here as it does for a run that reads lines. Beside it stand a few
//! bits for each row, and the numbers of the rows of others that had lost to theirs.

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
use crate::join::Bits;
use crate::key::Secret;
use crate::spill::Place;
use crate::spill::bytes::{Reader, Writer};
use crate::spill::sorter::Sorter;
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

/// Rows of one table.
#[derive(Default)]
struct Marks {
    /// Those of the person.
    theirs: Bits,
    /// Those that were live before.
    lived: Bits,
}

/// What is known of the rows of impressions and of feedback.
#[derive(Default)]
struct Marked {
    impressions: Marks,
    feedback: Marks,
}

/// Bytes of a record: a key, who says it, and a row of feedback.
const SAID: usize = 16 + 1 + 4;
/// The key is that of an impression of somebody else.
const OTHERS: u8 = 0;
/// The key is that of an impression of the person.
const THEIRS: u8 = 1;
/// The key is what feedback of nobody is about.
const NOBODYS: u8 = 2;

/// Erases the person `user` from the store at `root`, in one commit: impressions that name them, feedback that
/// names them, and feedback that names nobody and is about their responses, requests or sessions. The join holds
/// `memory` bytes, and the rest goes to disk.
pub fn erase(
    user: &str,
    root: &Path,
    secret: Secret,
    memory: Option<u64>,
    progress: &mut dyn FnMut(Progress) -> Result<()>,
) -> Result<Erased> {
    let (mut store, ledger) = Store::reopen(root)?;
    let place = memory.map(|memory| Place::new(root, memory));
    let state = load::state(root, &ledger, &secret, false, place.clone())?;
    let live = |row: Result<(u32, bool)>| row.map(|(_, live)| live);
    let mut marked = Marked::default();
    marked.impressions.lived = state.shown_books().map(live).collect::<Result<_>>()?;
    marked.feedback.lived = state.event_books().map(live).collect::<Result<_>>()?;
    // A watermark that is not the largest time was given by the caller of the last run, and stays.
    let given = ledger.watermark.clone();
    let latest = state.latest()?.map(time::format);
    let given = given.filter(|text| Some(text) != latest.as_ref());
    drop(state);
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
        memory,
        tables: None,
        cursor: None,
        keep_addresses: false,
    };
    let mut run = Run::new(&store, &options)?;
    marked.find(root, &ledger, &options.secret, user, place.as_ref())?;
    let impressions = marked.impressions.theirs.count();
    let feedback = marked.feedback.theirs.count();
    let committed = impressions + feedback > 0;
    if committed {
        let done = run
            .blank(&ledger, &marked)
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

impl Marked {
    /// Marks the rows of a person.
    fn find(
        &mut self,
        root: &Path,
        ledger: &Ledger,
        secret: &Secret,
        user: &str,
        place: Option<&Place>,
    ) -> Result<()> {
        let is_them = |key: Option<Key>, source: &str| {
            key.is_some_and(|key| key == secret.person(source, "user", user))
        };
        let mut said = Sorter::new(place);
        let mut pushed = Ok(());
        let mut say = |key: Key, who: u8, row: usize| {
            let record: [u8; SAID] = Writer::default().key(key).u8(who).u32(row as u32).done();
            if pushed.is_ok() {
                pushed = said.push(record);
            }
        };
        let theirs = &mut self.impressions.theirs;
        for part in &ledger.parts.impressions {
            for batch in part::read(root, part, IMPRESSION_KEYS)? {
                facts::impressions(&batch?, secret, false, |row, _| {
                    let mine = is_them(row.user, row.source);
                    theirs.push(mine);
                    let who = if mine { THEIRS } else { OTHERS };
                    let keys = [Some(row.key), row.request_key, row.session];
                    keys.into_iter().flatten().for_each(|key| say(key, who, 0));
                })
                .map_err(Error::arrow(root.join(&part.path)))?;
            }
        }
        let theirs = &mut self.feedback.theirs;
        for part in &ledger.parts.feedback {
            for batch in part::read(root, part, &[])? {
                facts::events(&batch?, secret, |row, _| {
                    let (Target::Response(key) | Target::Request(key) | Target::Session(key)) =
                        row.target;
                    if row.user.is_none() {
                        say(key, NOBODYS, theirs.len());
                    }
                    theirs.push(is_them(row.user, row.source));
                })
                .map_err(Error::arrow(root.join(&part.path)))?;
            }
        }
        pushed?;
        let mut group = None;
        for record in said.sorted()?.iter() {
            let record = record?;
            let mut from = Reader(&record);
            let (key, who, row) = (from.key(), from.u8(), from.u32());
            let first = match group {
                Some((of, first)) if of == key => first,
                _ => who,
            };
            group = Some((key, first));
            if who == NOBODYS && first == THEIRS {
                theirs.set(row); // what is shared with somebody else begins with them
            }
        }
        Ok(())
    }
}

impl Run<'_> {
    /// Writes the parts with their rows anew, and sets state and books accordingly.
    fn blank(&mut self, ledger: &Ledger, marked: &Marked) -> Result<Parts> {
        self.erasure = true;
        let mut parts = ledger.parts.clone();
        let (mut shown, mut given) = (Impressions::default(), Events::default());
        let wrong = || Error::arrow(&self.root);
        shown.push(&Impression::blank(), Lineage::default());
        given.push(&Feedback::blank(), Lineage::default());
        let blank = shown.batch().map_err(wrong())?;
        self.rewrite(
            &mut parts.impressions,
            "impressions",
            &blank,
            &marked.impressions.theirs,
        )?;
        let blank = given.batch().map_err(wrong())?;
        self.rewrite(
            &mut parts.feedback,
            "feedback",
            &blank,
            &marked.feedback.theirs,
        )?;
        let after = Ledger {
            parts: parts.clone(),
            ..ledger.clone()
        };
        let place = self.place();
        self.state = load::state(&self.root, &after, &self.options.secret, false, place)?;
        let void = self.rebook(marked)?;
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
        theirs: &Bits,
    ) -> Result<()> {
        let mut first = 0;
        for (number, part) in parts.iter_mut().enumerate() {
            let rows = first..first + part.rows as u32;
            first = rows.end;
            if !rows.clone().any(|row| theirs.get(row)) {
                continue;
            }
            let mut mine = rows.map(|row| theirs.get(row));
            *part = self.replace(part, table, number, |batch| {
                let picks = mine.by_ref().take(batch.num_rows()).enumerate();
                let picks: Vec<_> = picks
                    .map(|(row, theirs)| if theirs { (1, 0) } else { (0, row) })
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
    fn rebook(&mut self, marked: &Marked) -> Result<Vec<u32>> {
        let mut book = |of: &Marks, row: usize, (src, lives): (u32, bool), shown: bool| {
            let Some(source) = self.sources.get_mut(src as usize) else {
                return false;
            };
            let (theirs, lived) = (of.theirs.get(row as u32), of.lived.get(row as u32));
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
        for (row, now) in self.state.shown_books().enumerate() {
            if book(&marked.impressions, row, now?, true) {
                void.push(row as u32);
            }
        }
        for (row, now) in self.state.event_books().enumerate() {
            book(&marked.feedback, row, now?, false);
        }
        Ok(void)
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
