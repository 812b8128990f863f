//! The reading half of a run: pieces to the parsers, lines back in order, each one booked.

use std::cell::{Cell, RefCell};
use std::path::PathBuf;
use std::time::Instant;

use super::deliver::{Planned, Source, deliver};
use super::{Progress, Run, books};
use crate::error::{Error, Result};
use crate::event::Reason;
use crate::event::row::{Impression, Key};
use crate::fan;
use crate::join::{AHEAD, Fate};
use crate::reader::chunk::{self, Line, Parsed, What};
use crate::reader::input::{Input, Mark, STDIN, packed};
use crate::reader::line::{Parser, Row};
use crate::store::facts::Lineage;
use crate::store::ledger::Torn;
use crate::unchecked;

/// Row numbers are 32 bits wide; a chunk adds fewer than 2^25.
pub(super) const MOST_ROWS: usize = (1 << 32) - (1 << 25);

/// What passes through the threads: pieces on the way in, parsed lines on the way out.
pub(super) enum Item<T> {
    Lines {
        src: usize,
        /// No later run finds more of the last line.
        sealed: bool,
        content: T,
    },
    End {
        src: usize,
        /// None of a table that is no file.
        input: Option<Box<Input>>,
        /// Where records stopped, and whether another of their sequence may follow there.
        stop: Option<(u64, bool)>,
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
        let planned = |(path, src): (PathBuf, usize)| {
            let before = self.before.get(src);
            Planned {
                path,
                src,
                mark: before.map(|source| source.mark.clone()),
                open: before.is_some_and(|source| source.open),
            }
        };
        let ahead = plan.iter().any(|(path, _)| packed(path));
        let mut plan = plan
            .into_iter()
            .map(planned)
            .collect::<Vec<_>>()
            .into_iter();
        let worker = |_| {
            let mut parser = Parser::new(options.secret.clone(), &options.source)
                .mapped(options.mapping.clone())
                .keeping(options.keep_addresses);
            move |item| match item {
                Item::Lines {
                    src,
                    sealed,
                    content,
                } => {
                    let content = chunk::parse(&mut parser, &options.source, content);
                    Item::Lines {
                        src,
                        sealed,
                        content,
                    }
                }
                Item::End { src, input, stop } => Item::End { src, input, stop },
                Item::Fail(error) => Item::Fail(error),
            }
        };
        let mut reading: Option<Source<'_>> = None;
        let draw = move || loop {
            let drawn = match &mut reading {
                Some(source) => source(),
                None => match deliver(plan.next()?, options) {
                    Ok(opened) => {
                        reading = opened;
                        continue;
                    }
                    Err(error) => Err(error),
                },
            };
            match drawn {
                Ok(Some(item)) => return Some(item),
                Ok(None) => reading = None,
                Err(error) => return Some(Item::Fail(error)),
            }
        };
        let progress = RefCell::new(progress);
        let done = Cell::new(self.done);
        let mut last = Instant::now();
        fan::ordered(
            (0..options.threads.max(1)).map(worker).collect(),
            ahead,
            draw,
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
            Item::End { src, input, stop } => {
                let Some(source) = self.sources.get_mut(src) else {
                    return Ok(());
                };
                if let Some((end, open)) = stop.filter(|_| source.torn.is_none()) {
                    (source.mark.text, source.open) = (end, open);
                }
                let text = source.mark.text;
                let cut = input.as_ref().is_some_and(|input| input.cut());
                source.mark = input.map_or_else(Mark::default, |input| input.done(text));
                if cut || source.is_cut() {
                    self.read.insert(src);
                    return self.cut(src, cut);
                }
                Ok(())
            }
            Item::Lines {
                src,
                sealed,
                content: parsed,
            } => {
                if self.state.lens().into_iter().any(|rows| rows >= MOST_ROWS) {
                    return Err(Error::Value(
                        "the store is full: a table holds at most 2^32 - 2^25 rows".into(),
                    ));
                }
                if self.read.insert(src) {
                    self.resume(src);
                }
                if let Some(source) = self.sources.get_mut(src) {
                    source.addresses += parsed.addresses;
                }
                for lines in parsed.lines.chunks(AHEAD) {
                    self.fetch(lines);
                    for line in lines {
                        self.line(src, line, &parsed, sealed)?;
                        if !line.more {
                            self.done.bytes += line.length + u64::from(line.newline);
                            self.done.lines += 1;
                        }
                    }
                }
                Ok(())
            }
        }
    }

    /// Asks for what lines will need.
    fn fetch(&self, lines: &[Line]) {
        let rows = &self.state.rows;
        let person = |row: &Impression<_>| [row.session, row.user].map(Option::unwrap_or_default);
        lines.iter().for_each(unchecked::fetch);
        for line in lines {
            match &line.what {
                What::Row(Row::Impression(row)) => rows.fetch(row.key, person(row)),
                What::Row(Row::Feedback(row)) => rows.events.fetch(row.key),
                _ => {}
            }
        }
        for line in lines {
            match &line.what {
                What::Row(Row::Impression(row)) => {
                    rows.fetch_rows(row.key, person(row));
                }
                What::Row(Row::Feedback(row)) => rows.events.fetch_rows(row.key),
                _ => {}
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
        source.set_cut(false);
    }

    /// Notes where the compressed stream of an input is cut off, or that it is so no longer.
    fn cut(&mut self, src: usize, cut: bool) -> Result<()> {
        let Some(source) = self.sources.get_mut(src) else {
            return Ok(());
        };
        let again = source.path != STDIN; // it is never read on
        source.set_cut(cut && again);
        if !cut {
            return Ok(());
        }
        let (from, bad) = books::cut_of(src, source);
        if again {
            self.sample(from, &bad);
            return Ok(());
        }
        source.balance.lines += 1;
        self.refuse(from, &bad, None)
    }

    fn line(&mut self, src: usize, line: &Line, parsed: &Parsed, sealed: bool) -> Result<()> {
        let continued = std::mem::take(&mut self.continued) && matches!(line.what, What::Blank);
        let Some(source) = self.sources.get_mut(src) else {
            return Ok(());
        };
        let from = Lineage {
            src: src as u32,
            line: source.lines + 1 - if line.more { line.lines } else { 0 },
            off: line.offset,
            len: line.length,
        };
        let torn = matches!(&line.what, What::Bad(bad) if bad.reason == Reason::Torn);
        let kept_open = torn && !sealed && source.path != STDIN;
        if !kept_open && !line.more {
            source.mark.text = line.offset + line.length + u64::from(line.newline);
            source.open = line.open;
            source.lines += if continued { 0 } else { line.lines };
        }
        if continued || matches!(line.what, What::Header) {
            return Ok(());
        }
        if line.more {
            source.balance.expanded += 1;
        } else {
            source.balance.lines += 1;
        }
        match &line.what {
            What::Blank | What::Header => source.balance.blank += 1,
            What::Skipped => source.balance.skipped += 1,
            What::Row(Row::Impression(row)) => {
                let row = row.text(parsed.texts());
                let fate = self.state.impression(&row, from.src)?;
                if matches!(fate, Fate::Lost { conflict: true }) {
                    let bad = self.conflict(row.key, row.content)?;
                    return self.refuse(from, &bad, None);
                }
                self.settle(src, fate);
                if matches!(fate, Fate::Lost { .. }) {
                    return self.echo(row.key, from);
                }
                let bytes = self.impressions.rows.push(&row, from);
                self.impressions.pushed(bytes)?;
            }
            What::Row(Row::Feedback(row)) => {
                let row = row.text(parsed.texts());
                let fate = self.state.feedback(&row, from.src)?;
                self.settle(src, fate);
                if !matches!(fate, Fate::Lost { .. }) {
                    let bytes = self.feedback.rows.push(&row, from);
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
                return self.refuse(from, bad, parsed.text(line));
            }
        }
        Ok(())
    }

    /// Remembers where an impression was repeated.
    fn echo(&mut self, key: Key, from: Lineage) -> Result<()> {
        let Some(echoes) = &mut self.echoes else {
            return Ok(());
        };
        if let Some((row, ..)) = self.state.standing(key)? {
            echoes.push((row, from));
        }
        Ok(())
    }
}
