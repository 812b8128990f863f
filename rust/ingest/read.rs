//! The reading half of a run: pieces to the parsers, lines back in order, each one booked.

use std::cell::{Cell, RefCell};
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::{Progress, Run, books};
use crate::error::{Error, Result};
use crate::event::Reason;
use crate::event::row::Span;
use crate::join::Fate;
use crate::reader::chunk::{self, Line, Parsed, What};
use crate::reader::fan;
use crate::reader::input::{self, Input, STDIN};
use crate::reader::line::{Parser, Row};
use crate::reader::lines::{Piece, Pieces};
use crate::store::facts::Lineage;
use crate::store::ledger::Torn;

/// Row numbers are 32 bits wide; a chunk adds fewer than 2^25.
const MOST_ROWS: usize = (1 << 32) - (1 << 25);

/// What passes through the threads: pieces on the way in, parsed lines on the way out.
pub(super) enum Item<T> {
    Lines {
        src: usize,
        compressed: bool,
        content: T,
    },
    End {
        src: usize,
        input: Box<Input>,
    },
    Fail(Error),
}

impl Run<'_> {
    /// Reads the planned inputs.
    pub(super) fn read(
        &mut self,
        plan: Vec<(PathBuf, usize)>,
        progress: &mut dyn FnMut(Progress) -> Result<()>,
    ) -> Result<()> {
        let options = self.options;
        let mark = |src: usize| self.before.get(src).map(|source| source.mark.clone());
        let plan: Vec<_> = plan
            .into_iter()
            .map(|(path, src)| (path, src, mark(src)))
            .collect();
        let worker = |_| {
            let mut parser = Parser::new(options.secret.clone(), &options.source)
                .mapped(options.mapping.clone());
            move |item| match item {
                Item::Lines {
                    src,
                    compressed,
                    content,
                } => {
                    let content = chunk::parse(&mut parser, &options.source, content);
                    Item::Lines {
                        src,
                        compressed,
                        content,
                    }
                }
                Item::End { src, input } => Item::End { src, input },
                Item::Fail(error) => Item::Fail(error),
            }
        };
        let produce = move |give: &mut dyn FnMut(Item<Piece>) -> bool| {
            for (path, src, mark) in plan {
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
        let progress = RefCell::new(progress);
        let done = Cell::new(self.done);
        let mut last = Instant::now();
        fan::ordered(
            (0..options.threads.max(1)).map(worker).collect(),
            produce,
            |item| {
                self.take(item)?;
                done.set(self.done);
                if last.elapsed().as_millis() >= 50 {
                    last = Instant::now();
                    (progress.borrow_mut())(done.get())?;
                }
                Ok(())
            },
            || (progress.borrow_mut())(done.get()),
        )
    }

    fn take(&mut self, item: Item<Parsed>) -> Result<()> {
        match item {
            Item::Fail(error) => Err(error),
            Item::End { src, input } => {
                if let Some(source) = self.sources.get_mut(src) {
                    let text = source.mark.text;
                    source.mark = input.done(text);
                }
                Ok(())
            }
            Item::Lines {
                src,
                compressed,
                content: parsed,
            } => {
                if self.state.shown.len().max(self.state.events.len()) >= MOST_ROWS {
                    return Err(Error::Value(
                        "the store is full: a table holds at most 2^32 - 2^25 rows".into(),
                    ));
                }
                if self.read.insert(src) {
                    self.resume(src);
                }
                let begin = parsed.lines.first().map_or(0, |line| line.offset);
                let last = parsed.lines.last().map_or(0, |line| line.offset);
                for line in &parsed.lines {
                    let whole = parsed.terminated || line.offset < last;
                    self.line(src, line, &parsed, begin, (whole, compressed))?;
                    if !line.more {
                        self.done.bytes += line.length + u64::from(whole);
                        self.done.lines += 1;
                    }
                }
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
            line: source.lines + u64::from(!line.more),
            off: line.offset,
            len: line.length,
        };
        let torn = matches!(&line.what, What::Bad(bad) if bad.reason == Reason::Torn);
        let kept_open = torn && !compressed && source.path != STDIN;
        if !kept_open && !line.more {
            source.mark.text = line.offset + line.length + u64::from(whole);
            source.open = !whole;
            source.lines += u64::from(!continued);
        }
        if continued {
            return Ok(());
        }
        if line.more {
            source.balance.expanded += 1;
        } else {
            source.balance.lines += 1;
        }
        match &line.what {
            What::Blank => source.balance.blank += 1,
            What::Skipped => source.balance.skipped += 1,
            What::Row(Row::Impression(row)) => {
                let row = row.text(&parsed.arena);
                let fate = self.state.impression(&row, from.src);
                if matches!(fate, Fate::Lost { conflict: true }) {
                    let bad = self.conflict(row.key, row.content);
                    return self.refuse(from, &bad, None);
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
}

/// Reads one input to its end; false when nobody listens any more.
pub(super) fn deliver(
    path: &Path,
    src: usize,
    mark: Option<&input::Mark>,
    give: &mut dyn FnMut(Item<Piece>) -> bool,
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
                if !give(Item::Lines {
                    src,
                    compressed,
                    content: piece,
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
