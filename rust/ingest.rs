//! One run: inputs read once, rows appended, everything else derived, one commit.

mod books;
mod commit;
mod compact;
mod deliver;
mod erase;
mod read;
pub mod scale;
mod survey;

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

pub use books::{Budget, FileReport, Report, Sample};
pub use compact::{Compacted, compact};
pub use erase::{Erased, erase};
pub use survey::{Survey, survey};

use crate::error::{Error, Result};
use crate::event::hash::Key;
use crate::event::{Bad, Reason};
use crate::join::{Fate, State};
use crate::key::{Secret, Space};
use crate::mapping::Mapping;
use crate::reader::input::{self, STDIN};
use crate::reader::table::Table as Rows;
use crate::spill::Place;
use crate::store::derived::{Quarantine, Refused};
use crate::store::facts::{Events, Impressions, Lineage};
use crate::store::ledger::{Balance, Source};
use crate::store::writer::Table;
use crate::store::{Store, load};

/// How the name of a table that is no file begins.
pub const ARROW: &str = "arrow:";

/// Opens the table in a Parquet file, or the one with a name that begins with `ARROW`.
pub type Opener = Box<dyn Fn(&str) -> Result<Rows> + Send + Sync>;

/// How to ingest.
pub struct Options {
    /// Namespace of the ids.
    pub source: String,
    /// Key of pseudonyms and ids.
    pub secret: Secret,
    /// How many bad lines are tolerated.
    pub budget: Budget,
    /// Everything before this instant has arrived; else the largest time committed.
    pub until: Option<i64>,
    /// Parsing threads.
    pub threads: usize,
    /// Feedback counts this long after its response was shown, microseconds.
    pub window: i64,
    /// Feedback may arrive this much later, microseconds.
    pub lateness: i64,
    /// Keep the rows before the place where a compressed file is cut off, instead of refusing it.
    pub salvage: bool,
    /// Keep the bytes of refused lines.
    pub keep_raw: bool,
    /// What the records are; canonical when absent.
    pub mapping: Option<Arc<Mapping>>,
    /// Bytes that the join may hold in memory; the rest goes to disk.
    pub memory: Option<u64>,
    /// Opens tables; without it there are none.
    pub tables: Option<Opener>,
    /// Where the next run reads the table on, kept with its source in the ledger; files know that by themselves.
    pub cursor: Option<String>,
    /// Keep fields that hold e-mail and IP addresses.
    pub keep_addresses: bool,
}

/// How far a run is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Progress {
    /// Text bytes done.
    pub bytes: u64,
    /// Lines done.
    pub lines: u64,
}

/// Reads `inputs` into the store at `root`, in one commit or not at all.
///
/// `progress` is called often; an error it returns stops the run.
pub fn ingest(
    inputs: &[PathBuf],
    root: &Path,
    options: &Options,
    progress: &mut dyn FnMut(Progress) -> Result<()>,
) -> Result<Report> {
    let started = Instant::now();
    let inputs = absolute(inputs)?;
    let mut store = Store::lock(root)?;
    let mut run = Run::new(&store, options)?;
    let plan = run.plan(&inputs)?;
    let outcome = if plan.is_empty() && run.settings_stand(&store) {
        Ok(false)
    } else {
        run.load(&store)
            .and_then(|()| run.read(plan, progress))
            .and_then(|()| run.commit(&mut store, progress))
    };
    match outcome {
        Ok(committed) => run.report(&store, committed, started.elapsed()),
        Err(error) => {
            drop(run);
            drop(store.sweep()); // what cannot be deleted now is left to the next writer
            Err(error)
        }
    }
}

fn absolute(inputs: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut seen = HashSet::new();
    let mut paths = Vec::new();
    for input in inputs {
        let path = if is_nameless(&input.to_string_lossy()) {
            input.clone()
        } else {
            std::fs::canonicalize(input).map_err(Error::io(input))?
        };
        if seen.insert(path.clone()) {
            paths.push(path);
        }
    }
    Ok(paths)
}

/// Whether the next input of this name is another one.
fn is_nameless(name: &str) -> bool {
    name == STDIN || name.starts_with(ARROW)
}

/// A refusal, with the beginnings of both content hashes.
fn conflict(lost: Key, stands: Key) -> Bad {
    let short = |content: Key| {
        content
            .0
            .iter()
            .take(4)
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>()
    };
    let (lost, stands) = (short(lost), short(stands));
    let message = format!("content {lost} loses to content {stands} under the same id");
    Bad::new(Reason::Conflict, "id", message)
}

/// The state of a run.
struct Run<'a> {
    options: &'a Options,
    root: PathBuf,
    generation: u64,
    sources: Vec<Source>,
    before: Vec<Source>,
    /// Inputs of this run, with the source of each.
    named: Vec<usize>,
    read: HashSet<usize>,
    state: State,
    impressions: Table<Impressions>,
    feedback: Table<Events>,
    quarantine: Table<Quarantine>,
    samples: Vec<Sample>,
    /// Impressions that lost to another content after they were accepted.
    lost: Vec<u32>,
    /// Impressions that repeat one that stands, by its number; kept by a run that is one of several.
    echoes: Option<Vec<(u32, Lineage)>>,
    /// The first line continues one that was accepted without its newline.
    continued: bool,
    /// Someone is being erased.
    erasure: bool,
    done: Progress,
}

impl<'a> Run<'a> {
    fn new(store: &Store, options: &'a Options) -> Result<Self> {
        let generation = store
            .ledger
            .as_ref()
            .map_or(1, |ledger| ledger.generation + 1);
        if let Some(ledger) = store
            .ledger
            .as_ref()
            .filter(|ledger| ledger.key_id != options.secret.id)
        {
            return Err(Error::Value(format!(
                "{}: the store was made with key {}, this run has key {}; give the same key by --key or UNSKEW_KEY",
                store.root.display(),
                ledger.key_id,
                options.secret.id
            )));
        }
        let sources = store
            .ledger
            .as_ref()
            .map_or_else(Vec::new, |ledger| ledger.sources.clone());
        let name = format!("g{generation:06}");
        Ok(Self::over(&store.root, generation, sources, options, &name))
    }

    /// A run of a generation with no state, after sources that were read, whose parts have this name.
    fn over(
        root: &Path,
        generation: u64,
        sources: Vec<Source>,
        options: &'a Options,
        name: &str,
    ) -> Self {
        let name = |table: &str| format!("{table}/{name}");
        Self {
            options,
            root: root.to_owned(),
            generation,
            before: sources.clone(),
            sources,
            named: Vec::new(),
            read: HashSet::new(),
            state: State::default(),
            impressions: Table::new(root, name("impressions")),
            feedback: Table::new(root, name("feedback")),
            quarantine: Table::new(root, name("quarantine")),
            samples: Vec::new(),
            lost: Vec::new(),
            echoes: None,
            continued: false,
            erasure: false,
            done: Progress::default(),
        }
    }

    /// The inputs worth opening, with their sources.
    fn plan(&mut self, inputs: &[PathBuf]) -> Result<Vec<(PathBuf, usize)>> {
        let named = |(src, source): (usize, &Source)| (source.path.clone(), src);
        let known: HashMap<String, usize> = self.sources.iter().enumerate().map(named).collect();
        let mapping = self
            .options
            .mapping
            .as_ref()
            .map(|mapping| mapping.id.clone());
        let mut plan = Vec::new();
        for path in inputs {
            let name = path.display().to_string();
            let cursor = self.options.cursor.clone();
            let known = known.get(&name).copied();
            let known = known.filter(|_| cursor.is_some() || !is_nameless(&name));
            let src = known.unwrap_or_else(|| {
                self.sources.push(Source {
                    path: name.clone(),
                    mapping: mapping.clone(),
                    ..Source::default()
                });
                self.sources.len() - 1
            });
            self.named.push(src);
            if let Some(source) = self.sources.get_mut(src).filter(|_| cursor.is_some()) {
                source.cursor = cursor;
            }
            if self
                .sources
                .get(src)
                .is_some_and(|source| source.mapping != mapping)
            {
                return Err(Error::Value(format!(
                    "{name}: it was ingested with another mapping before; use that one again, or make a new store"
                )));
            }
            let stands = known.is_some()
                && self
                    .sources
                    .get(src)
                    .is_some_and(|s| input::stands(path, &s.mark));
            if !stands {
                plan.push((path.clone(), src));
            }
        }
        Ok(plan)
    }

    /// Where the join goes when its memory is spent.
    fn place(&self) -> Option<Place> {
        let memory = self.options.memory;
        memory.map(|memory| Place::new(&self.root, memory))
    }

    fn load(&mut self, store: &Store) -> Result<()> {
        self.state = State::new(self.place());
        if let Some(ledger) = &store.ledger {
            let place = self.place();
            self.state = load::state(&store.root, ledger, &self.options.secret, false, place)?;
        }
        Ok(())
    }

    /// The refusal of an impression that lost to the one that stands under its key.
    fn conflict(&self, key: Key, lost: Key) -> Result<Bad> {
        let stands = self.state.standing(key)?;
        let stands = stands.map_or(Key::default(), |(_, stands, _)| stands.content);
        Ok(conflict(lost, stands))
    }

    /// Books an accepted or superseded row.
    fn settle(&mut self, src: usize, fate: Fate) {
        let mut book = |src: usize, change: fn(&mut Balance)| {
            if let Some(source) = self.sources.get_mut(src) {
                change(&mut source.balance);
            }
        };
        match fate {
            Fate::New => book(src, |balance| balance.committed += 1),
            Fate::Lost { .. } => book(src, |balance| balance.duplicate += 1),
            Fate::Won {
                src: old,
                row,
                conflict,
            } => {
                book(src, |balance| balance.committed += 1);
                book(old as usize, |balance| balance.committed -= 1);
                if conflict {
                    self.lost.push(row);
                } else {
                    book(old as usize, |balance| balance.duplicate += 1);
                }
            }
        }
    }

    fn refuse(&mut self, from: Lineage, bad: &Bad, bytes: Option<&[u8]>) -> Result<()> {
        let Some(source) = self.sources.get_mut(from.src as usize) else {
            return Ok(());
        };
        source.balance.quarantined += 1;
        books::count(&mut source.reasons, bad.reason, 1);
        let row = Refused {
            file: &source.path,
            from,
            bad,
            digest: bytes.map(|bytes| {
                self.options
                    .secret
                    .id(&self.options.source, Space::Line, bytes)
            }),
            raw: bytes.filter(|_| self.options.keep_raw),
            generation: self.generation,
        };
        self.quarantine.rows.push(&row);
        self.quarantine.pushed(row.raw.map_or(0, <[u8]>::len))?;
        self.sample(from, bad);
        Ok(())
    }
}
