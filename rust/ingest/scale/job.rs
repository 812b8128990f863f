//! The driver: holds the store, learns from each stage what all workers must know, and commits.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::common::bits;
use super::fallen::Conflict;
use super::map::Mapped;
use super::reduce::Met;
use super::shard::{Observed, Paired, Standing};
use super::{Kept, Letter, STAGES, Settings, Shard, VERSION, read};
use crate::error::{Error, Result};
use crate::event::hash::Key;
use crate::ingest::books::SAMPLES;
use crate::ingest::read::MOST_ROWS;
use crate::ingest::{Budget, Options, Progress, Report, Run, Sample, absolute, conflict};
use crate::join::pairs;
use crate::join::sums::Sums;
use crate::spill::sorter::Sorter;
use crate::store::Store;
use crate::store::derived::{Observations, Pairs};
use crate::store::facts::{Events, Impressions};
use crate::store::ledger::{Parts, Source};
use crate::store::part::Part;
use crate::store::writer::{Rows, Table};

/// A job, and the lock on its store.
pub struct Job {
    store: Store,
    settings: Settings,
    budget: Budget,
    sources: Vec<Source>,
    samples: Vec<Sample>,
    parts: Parts,
    /// Impressions that lost to another content.
    conflicts: Vec<Conflict>,
    sums: Vec<Observed>,
    done: Progress,
    /// The next stage.
    stage: usize,
    started: Instant,
}

impl Job {
    /// Locks a new store at `root` and deals the inputs to at most so many shards of about equal size, in order.
    pub fn begin(
        inputs: &[PathBuf],
        root: &Path,
        options: &Options,
        key_file: Option<&Path>,
        mapping: Option<&str>,
        shards: usize,
    ) -> Result<Self> {
        let started = Instant::now();
        if shards == 0 {
            return Err(Error::Value("shards is 0; it must be at least 1".into()));
        }
        let inputs = absolute(inputs)?;
        let root = std::path::absolute(root).map_err(Error::io(root))?;
        let store = Store::lock(&root)?;
        if store.ledger.is_some() {
            return Err(Error::Value(format!(
                "{}: the store has rows already; give a new one, and add to it by `ingest`",
                root.display()
            )));
        }
        let mut run = Run::new(&store, options)?;
        let plan = run.plan(&inputs)?;
        let sources = run.sources;
        let size = |path: &PathBuf| std::fs::metadata(path).map_or(1, |known| known.len().max(1));
        let sizes: Vec<u64> = plan.iter().map(|(path, _)| size(path)).collect();
        let total: u128 = sizes.iter().map(|size| u128::from(*size)).sum();
        let (mut dealt, mut before): (Vec<Shard>, u128) = (Vec::new(), 0);
        let mut last = None;
        for ((path, src), size) in plan.into_iter().zip(sizes) {
            let number = before * shards as u128 / total.max(1);
            before += u128::from(size);
            if last != Some(number) {
                let first = Shard {
                    first: src,
                    ..Shard::default()
                };
                dealt.push(first);
                last = Some(number);
            }
            if let Some(shard) = dealt.last_mut() {
                shard.inputs.push(path);
            }
        }
        if dealt.is_empty() {
            return Err(Error::Value("no inputs".into()));
        }
        let settings = Settings {
            version: VERSION,
            generation: 1,
            source: options.source.clone(),
            key_id: options.secret.id.clone(),
            key_file: key_file
                .map(std::path::absolute)
                .transpose()
                .map_err(Error::io(&root))?,
            mapping: mapping.map(str::to_owned),
            window: options.window,
            lateness: options.lateness,
            until: options.until,
            keep_raw: options.keep_raw,
            keep_addresses: options.keep_addresses,
            bits: bits(total),
            shards: dealt,
            strata: Vec::new(),
            in_use: Vec::new(),
            sessions: false,
            watermark: None,
            tally: Default::default(),
            root,
        };
        Ok(Self {
            store,
            settings,
            budget: options.budget,
            sources,
            samples: Vec::new(),
            parts: Parts::default(),
            conflicts: Vec::new(),
            sums: Vec::new(),
            done: Progress::default(),
            stage: 0,
            started,
        })
    }

    /// What the workers of the next stage must know.
    pub fn settings(&self) -> Result<String> {
        serde_json::to_string(&self.settings).map_err(|error| Error::Value(error.to_string()))
    }

    /// Number of shards, which get the letters of the first stage.
    pub fn shards(&self) -> usize {
        self.settings.shards.len()
    }

    /// Takes what a stage tells the driver: one letter from each addressee of the stage, in any order.
    pub fn learn(&mut self, mut letters: Vec<Letter>) -> Result<()> {
        let stage = self.stage;
        letters.sort_by_key(|(by, _)| *by);
        let senders = self.shards();
        if !letters.iter().map(|(by, _)| *by).eq(0..senders as i64) {
            return Err(Error::Value(format!(
                "stage {stage}: {} letters to the driver, expected one from each of {senders}",
                letters.len()
            )));
        }
        match stage {
            0 => self.mapped(&letters)?,
            2 => {
                for ((_, letter), shard) in letters.iter().zip(&mut self.settings.shards) {
                    shard.shared = read::<Kept>(letter)?;
                }
            }
            3 => self.standing(&letters)?,
            4 => {
                let mut unpaired = [0; 2];
                for (_, letter) in &letters {
                    let met: Met = read(letter)?;
                    self.settings.tally.add(met.tally);
                    for (sum, more) in unpaired.iter_mut().zip(met.unpaired) {
                        *sum += more;
                    }
                }
                self.settings.tally.unpaired(unpaired);
            }
            5 => {
                for ((_, letter), shard) in letters.iter().zip(&mut self.settings.shards) {
                    let paired: Paired = read(letter)?;
                    self.parts.pairs.extend(paired.pairs);
                    shard.given = paired.given;
                }
            }
            7 => {
                for (_, letter) in &letters {
                    let mut seen: Observed = read(letter)?;
                    self.parts.observations.append(&mut seen.observations);
                    self.sums.push(seen);
                }
            }
            _ => {}
        }
        self.stage += 1;
        Ok(())
    }

    fn mapped(&mut self, letters: &[Letter]) -> Result<()> {
        let mut strata = self.settings.strata();
        for ((_, letter), shard) in letters.iter().zip(&mut self.settings.shards) {
            let mapped: Mapped = read(letter)?;
            shard.codes = mapped
                .strata
                .iter()
                .map(|stratum| strata.known(stratum))
                .collect();
            shard.rows = mapped.rows;
            shard.impressions = mapped.impressions;
            shard.feedback = mapped.feedback;
            let own = self.sources.iter_mut().skip(shard.first);
            for (source, read) in own.zip(mapped.sources) {
                *source = read;
            }
            self.parts.quarantine.extend(mapped.quarantine);
            for sample in mapped.samples {
                let known = self
                    .samples
                    .iter()
                    .filter(|known| known.reason == sample.reason);
                if known.count() < SAMPLES {
                    self.samples.push(sample);
                }
            }
            self.settings.sessions |= mapped.sessions;
            self.done.bytes += mapped.bytes;
            self.done.lines += mapped.lines;
        }
        self.settings.strata = strata.all;
        let options = self.settings.options(self.budget, None)?;
        self.run(&options).check_budget()
    }

    fn standing(&mut self, letters: &[Letter]) -> Result<()> {
        let (mut latest, mut base) = (None, [0; 2]);
        self.settings.in_use = vec![false; self.settings.strata.len()];
        for ((_, letter), shard) in letters.iter().zip(&mut self.settings.shards) {
            let standing: Standing = read(letter)?;
            shard.rows = standing.rows;
            shard.impressions = standing.impressions.clone();
            shard.base = base.map(|base| base as u32);
            let tables = [&standing.impressions, &standing.feedback];
            for (base, parts) in base.iter_mut().zip(tables) {
                *base += parts.iter().map(|part| part.rows as usize).sum::<usize>();
            }
            if base.into_iter().any(|rows| rows >= MOST_ROWS) {
                return Err(Error::Value(
                    "the store is full: a table holds at most 2^32 - 2^25 rows; make several stores".into(),
                ));
            }
            self.parts.impressions.extend(standing.impressions);
            self.parts.feedback.extend(standing.feedback);
            latest = latest.max(standing.latest);
            self.settings.tally.add(standing.tally);
            for code in standing.strata {
                if let Some(used) = self.settings.in_use.get_mut(code as usize) {
                    *used = true;
                }
            }
            for (src, [committed, duplicate]) in standing.books {
                if let Some(source) = self.sources.get_mut(src as usize) {
                    source.balance.committed += committed;
                    source.balance.duplicate += duplicate;
                }
            }
            self.conflicts.extend(standing.conflicts);
        }
        self.settings.watermark = self.settings.until.or(latest);
        Ok(())
    }

    /// A run over what the mappers read.
    fn run<'a>(&self, options: &'a Options) -> Run<'a> {
        let name = format!("g{:06}-merged", self.settings.generation);
        let root = &self.store.root;
        let mut run = Run::over(root, self.settings.generation, Vec::new(), options, &name);
        run.sources = self.sources.clone();
        run.named = (0..self.sources.len()).collect();
        run.read = HashSet::from_iter(run.named.iter().copied());
        run.samples = self.samples.clone();
        run.done = self.done;
        run
    }

    /// Makes everything that the stages wrote one commit.
    pub fn commit(mut self) -> Result<Report> {
        let outcome = self.merge();
        if outcome.is_err() {
            drop(self.store.sweep()); // what cannot be deleted now is left to the next writer
        }
        outcome
    }

    /// Deletes what was written.
    pub fn abandon(self) {
        drop(self.store.sweep()); // what cannot be deleted now is left to the next writer
    }

    fn merge(&mut self) -> Result<Report> {
        if self.stage != STAGES {
            return Err(Error::Value(format!(
                "the driver heard of {} stages of {STAGES}",
                self.stage
            )));
        }
        let options = self.settings.options(self.budget, None)?;
        let mut run = self.run(&options);
        let mut parts = std::mem::take(&mut self.parts);
        for (from, contents) in self.conflicts.drain(..) {
            let [lost, stands] = contents.map(|half| Key((u128::from(half) << 64).to_be_bytes()));
            run.refuse(from, &conflict(lost, stands), None)?;
        }
        run.check_budget()?;
        self.name::<Impressions>("impressions", true, &mut parts.impressions)?;
        self.name::<Events>("feedback", true, &mut parts.feedback)?;
        self.name::<Observations>("observations", true, &mut parts.observations)?;
        self.name::<Pairs>("pairs", true, &mut parts.pairs)?;
        self.name::<Pairs>("quarantine", false, &mut parts.quarantine)?;

        let cells = self.settings.cells(&self.settings.strata());
        let mut sums = Sums::new(&cells);
        for seen in self.sums.drain(..) {
            sums.merge(&seen.sums);
        }
        let pairs = Sorter::<{ pairs::SIZE }>::new(None).sorted()?;
        let derived = sums.done(cells, std::mem::take(&mut self.settings.tally), pairs);
        let watermark = self.settings.watermark;
        run.seal(&mut self.store, parts, &derived, watermark, &mut |_| Ok(()))?;
        run.report(&self.store, true, self.started.elapsed())
    }

    /// Gives parts the names that a run gives them; with `always`, there is at least one even without rows.
    fn name<R: Rows>(&self, table: &str, always: bool, parts: &mut Vec<Part>) -> Result<()> {
        let root = &self.store.root;
        let name = format!("{table}/g{:06}", self.settings.generation);
        if always && parts.is_empty() {
            *parts = Table::<R>::new(root, name).finish(true)?;
            return Ok(());
        }
        for (number, part) in parts.iter_mut().enumerate() {
            let named = format!("{name}-{number:04}.arrow");
            let to = root.join(&named);
            std::fs::rename(root.join(&part.path), &to).map_err(Error::io(&to))?;
            part.path = named;
        }
        Ok(())
    }
}
