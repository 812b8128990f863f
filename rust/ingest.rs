//! One run: inputs read once, rows appended, everything else derived, one commit.

mod books;
mod commit;

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::Instant;

pub use books::{Budget, FileReport, Report, Sample};

use crate::error::{Error, Result};
use crate::event::row::Span;
use crate::event::{Bad, Reason};
use crate::join::{Fate, State};
use crate::key::{Secret, Space};
use crate::reader::chunk::{self, Line, Parsed, What};
use crate::reader::fan;
use crate::reader::input::{self, Input, STDIN};
use crate::reader::line::{Parser, Row};
use crate::reader::lines::{Piece, Pieces};
use crate::store::derived::{Quarantine, Refused};
use crate::store::facts::{Events, Impressions, Lineage};
use crate::store::ledger::{Balance, Source, Torn};
use crate::store::writer::Table;
use crate::store::{Store, load};

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
    /// Keep the bytes of refused lines.
    pub keep_raw: bool,
}

/// How far a run is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Progress {
    /// Text bytes done.
    pub bytes: u64,
    /// Lines done.
    pub lines: u64,
}

enum Item {
    Piece {
        src: usize,
        compressed: bool,
        piece: Piece,
    },
    End {
        src: usize,
        input: Box<Input>,
    },
    Fail(Error),
}

enum Output {
    Parsed {
        src: usize,
        compressed: bool,
        parsed: Parsed,
    },
    End {
        src: usize,
        input: Box<Input>,
    },
    Fail(Error),
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
    let plan = run.plan(&inputs);
    let outcome = if plan.is_empty() && run.settings_stand(&store) {
        Ok(false)
    } else {
        run.load(&store)
            .and_then(|()| run.read(plan, progress))
            .and_then(|()| run.commit(&mut store))
    };
    match outcome {
        Ok(committed) => run.report(&store, committed, started.elapsed()),
        Err(error) => {
            drop(run);
            store.sweep()?;
            Err(error)
        }
    }
}

fn absolute(inputs: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut seen = HashSet::new();
    let mut paths = Vec::new();
    for input in inputs {
        let path = if input == Path::new(STDIN) {
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
    /// The first line continues one that was accepted without its newline.
    continued: bool,
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
        let name = |table: &str| format!("{table}/g{generation:06}");
        Ok(Self {
            options,
            root: store.root.clone(),
            generation,
            before: sources.clone(),
            sources,
            named: Vec::new(),
            read: HashSet::new(),
            state: State::default(),
            impressions: Table::new(&store.root, name("impressions")),
            feedback: Table::new(&store.root, name("feedback")),
            quarantine: Table::new(&store.root, name("quarantine")),
            samples: Vec::new(),
            lost: Vec::new(),
            continued: false,
            done: Progress::default(),
        })
    }

    /// The inputs worth opening, with their sources.
    fn plan(&mut self, inputs: &[PathBuf]) -> Vec<(PathBuf, usize)> {
        let mut plan = Vec::new();
        for path in inputs {
            let name = path.display().to_string();
            let known = self
                .sources
                .iter()
                .position(|source| source.path == name && name != STDIN);
            let src = known.unwrap_or_else(|| {
                self.sources.push(Source {
                    path: name,
                    ..Source::default()
                });
                self.sources.len() - 1
            });
            self.named.push(src);
            let stands = known.is_some()
                && self
                    .sources
                    .get(src)
                    .is_some_and(|s| input::stands(path, &s.mark));
            if !stands {
                plan.push((path.clone(), src));
            }
        }
        plan
    }

    fn load(&mut self, store: &Store) -> Result<()> {
        if let Some(ledger) = &store.ledger {
            self.state = load::state(&store.root, ledger, &self.options.secret, false)?;
        }
        Ok(())
    }

    fn read(
        &mut self,
        plan: Vec<(PathBuf, usize)>,
        progress: &mut dyn FnMut(Progress) -> Result<()>,
    ) -> Result<()> {
        let options = self.options;
        let opened: Vec<_> = plan
            .into_iter()
            .map(|(path, src)| {
                (
                    path,
                    src,
                    self.before.get(src).map(|source| source.mark.clone()),
                )
            })
            .collect();
        let worker = |_| {
            let mut parser = Parser::new(options.secret.clone(), &options.source);
            move |item| match item {
                Item::Piece {
                    src,
                    compressed,
                    piece,
                } => Output::Parsed {
                    src,
                    compressed,
                    parsed: chunk::parse(&mut parser, &options.source, piece),
                },
                Item::End { src, input } => Output::End { src, input },
                Item::Fail(error) => Output::Fail(error),
            }
        };
        let produce = move |give: &mut dyn FnMut(Item) -> bool| {
            for (path, src, mark) in opened {
                match deliver(&path, src, mark.as_ref(), give) {
                    Ok(true) => {}
                    Ok(false) => return,
                    Err(error) => {
                        give(Item::Fail(error));
                        return;
                    }
                }
            }
        };
        let progress = std::cell::RefCell::new(progress);
        let mut last = Instant::now();
        fan::ordered(
            (0..options.threads.max(1)).map(worker).collect(),
            produce,
            |output| {
                self.take(output)?;
                if last.elapsed().as_millis() >= 50 {
                    last = Instant::now();
                    (progress.borrow_mut())(self.done)?;
                }
                Ok(())
            },
            || (progress.borrow_mut())(Progress::default()),
        )
    }

    fn take(&mut self, output: Output) -> Result<()> {
        match output {
            Output::Fail(error) => Err(error),
            Output::End { src, input } => {
                if let Some(source) = self.sources.get_mut(src) {
                    let text = source.mark.text;
                    source.mark = input.done(text);
                }
                Ok(())
            }
            Output::Parsed {
                src,
                compressed,
                parsed,
            } => {
                if self.read.insert(src) {
                    self.resume(src);
                }
                let count = parsed.lines.len();
                let begin = parsed.lines.first().map_or(0, |line| line.offset);
                for (at, line) in parsed.lines.iter().enumerate() {
                    let whole = parsed.terminated || at + 1 < count;
                    self.line(src, line, &parsed, begin, (whole, compressed))?;
                    self.done.bytes += line.length + 1;
                }
                self.done.lines += count as u64;
                Ok(())
            }
        }
    }

    /// Takes back what was said about the incomplete last line of the run before.
    fn resume(&mut self, src: usize) {
        let Some(source) = self.sources.get_mut(src) else {
            return;
        };
        self.continued = std::mem::take(&mut source.open);
        if source.torn.take().is_some() {
            source.balance.lines -= 1;
            source.balance.quarantined -= 1;
            books::count(&mut source.reasons, Reason::Torn, -1);
        }
    }

    fn line(
        &mut self,
        src: usize,
        line: &Line,
        parsed: &Parsed,
        begin: u64,
        (whole, compressed): (bool, bool),
    ) -> Result<()> {
        let continued = std::mem::take(&mut self.continued) && matches!(line.what, What::Blank);
        let Some(source) = self.sources.get_mut(src) else {
            return Ok(());
        };
        let from = Lineage {
            src: src as u32,
            line: source.lines + 1,
            off: line.offset,
            len: line.length,
        };
        let torn = matches!(&line.what, What::Bad(bad) if bad.reason == Reason::Torn);
        let kept_open = torn && !compressed && source.path != STDIN;
        if !kept_open {
            source.mark.text = line.offset + line.length + u64::from(whole);
            source.open = !whole;
            source.lines += u64::from(!continued);
        }
        if continued {
            return Ok(());
        }
        source.balance.lines += 1;
        match &line.what {
            What::Blank => source.balance.blank += 1,
            What::Row(Row::Impression(row)) => {
                let row = row.text(&parsed.arena);
                let fate = self.state.impression(&row, from.src);
                if matches!(fate, Fate::Lost { conflict: true }) {
                    return self.refuse(from, &conflict(), None);
                }
                self.settle(src, fate);
                if !matches!(fate, Fate::Lost { .. }) {
                    let bytes = self
                        .impressions
                        .rows
                        .push(&row, from)
                        .map_err(Error::arrow(&self.root))?;
                    self.impressions.pushed(bytes)?;
                }
            }
            What::Row(Row::Feedback(row)) => {
                let row = row.text(&parsed.arena);
                let fate = self.state.feedback(&row, from.src);
                self.settle(src, fate);
                if !matches!(fate, Fate::Lost { .. }) {
                    let bytes = self
                        .feedback
                        .rows
                        .push(&row, from)
                        .map_err(Error::arrow(&self.root))?;
                    self.feedback.pushed(bytes)?;
                }
            }
            What::Bad(bad) if kept_open => {
                source.torn = Some(Torn {
                    line: from.line,
                    off: from.off,
                    len: from.len,
                });
                source.balance.quarantined += 1;
                books::count(&mut source.reasons, bad.reason, 1);
                self.sample(from, bad);
            }
            What::Bad(bad) => {
                let at = Span {
                    from: (line.offset - begin) as usize,
                    to: (line.offset - begin + line.length) as usize,
                };
                let bytes = parsed.bytes.get(at.from..at.to);
                return self.refuse(from, bad, bytes);
            }
        }
        Ok(())
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
        self.quarantine
            .rows
            .push(&row)
            .map_err(Error::arrow(&self.root))?;
        self.quarantine.pushed(row.raw.map_or(0, <[u8]>::len))?;
        self.sample(from, bad);
        Ok(())
    }
}

fn conflict() -> Bad {
    Bad::new(
        Reason::Conflict,
        "id",
        "another row with this id and other content stands",
    )
}

/// Reads one input to its end; false when nobody listens any more.
fn deliver(
    path: &Path,
    src: usize,
    mark: Option<&input::Mark>,
    give: &mut dyn FnMut(Item) -> bool,
) -> Result<bool> {
    let Some(input) = input::open(path, mark)? else {
        return Ok(true);
    };
    let (compressed, mut offset) = (input.compressed, input.text);
    let mut pieces = Pieces::new(input, offset);
    loop {
        match pieces.next_piece() {
            Ok(Some(piece)) => {
                offset = piece.end();
                if !give(Item::Piece {
                    src,
                    compressed,
                    piece,
                }) {
                    return Ok(false);
                }
            }
            Ok(None) => {
                return Ok(give(Item::End {
                    src,
                    input: Box::new(pieces.into_inner()),
                }));
            }
            Err(error) => return Err(pieces.into_inner().fault(error, offset)),
        }
    }
}
