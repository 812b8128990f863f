//! A look at inputs that writes nothing: what is in them, and what would come of it.

use std::collections::{BTreeMap, HashMap};
use std::ops::ControlFlow;
use std::path::PathBuf;

use serde::Serialize;

use super::deliver::{Planned, deliver};
use super::read::Item;
use super::{Options, Progress, Sample, absolute, books};
use crate::error::Result;
use crate::event::{Bad, Reason};
use crate::join::attribute::Windows;
use crate::join::derive::derive;
use crate::join::sums::Named;
use crate::join::{Fate, State};
use crate::mapping::UNMAPPED;
use crate::reader::chunk::{self, Line, Parsed, What};
use crate::reader::line::{Parser, Row};
use crate::reader::tree::{Node, Shape, grow, inside};
use crate::store::ledger::Balance;

/// Samples kept of each reason.
const SAMPLES: usize = 3;
/// Most names of fields that are listed.
const MOST_FIELDS: usize = 10_000;

/// What inputs hold.
#[derive(Debug, Default, Serialize)]
#[allow(missing_docs)]
pub struct Survey {
    pub balance: Balance,
    /// Refused records by reason.
    pub quarantine: BTreeMap<String, u64>,
    /// A few of them of each reason.
    pub samples: Vec<Sample>,
    /// Records by rule of the mapping; those without a rule under "".
    pub rules: BTreeMap<String, u64>,
    /// Impressions that name each of these fields.
    pub known: BTreeMap<&'static str, u64>,
    /// Live rows: impressions, silent, feedback.
    pub live: BTreeMap<&'static str, u64>,
    pub kinds: BTreeMap<String, u64>,
    pub states: BTreeMap<String, u64>,
    /// How often each field stands in the lines, by path; items of lists under `*`, pairs under their key.
    pub fields: BTreeMap<String, u64>,
    /// Fields that hold an e-mail or IP address and would be left out.
    pub addresses: u64,
    pub bytes: u64,
}

/// Reads `inputs` as a run with these options into an empty store would.
pub fn survey(
    inputs: &[PathBuf],
    options: &Options,
    progress: &mut dyn FnMut(Progress) -> Result<()>,
) -> Result<Survey> {
    let mut parser =
        Parser::new(options.secret.clone(), &options.source).mapped(options.mapping.clone());
    let mut look = Look {
        options,
        survey: Survey::default(),
        state: State::default(),
        file: String::new(),
        lines: 0,
        end: 0,
        before: 0,
        fields: HashMap::new(),
        nodes: Vec::new(),
    };
    for (src, path) in absolute(inputs)?.into_iter().enumerate() {
        (look.file, look.lines, look.end) = (path.display().to_string(), 0, 0);
        look.before = look.survey.balance.committed;
        let planned = Planned {
            path,
            src,
            mark: None,
            open: false,
        };
        let Some(mut source) = deliver(planned, options)? else {
            continue;
        };
        while let Some(item) = source()? {
            match item {
                Item::Lines { content, .. } => {
                    let parsed = chunk::parse(&mut parser, &options.source, content);
                    look.take(&parsed, src as u32)?;
                    progress(Progress {
                        bytes: look.survey.bytes,
                        lines: look.survey.balance.lines as u64,
                    })?;
                }
                Item::End { input, .. } => {
                    if let Some(input) = input.filter(|input| input.cut()) {
                        look.cut(input.done(0).size);
                    }
                }
                Item::Fail(error) => return Err(error),
            }
        }
    }
    look.done()
}

struct Look<'a> {
    options: &'a Options,
    survey: Survey,
    state: State,
    file: String,
    /// Lines of it, up to the one at hand.
    lines: u64,
    /// Text offset behind it.
    end: u64,
    /// Rows before it.
    before: i64,
    fields: HashMap<String, u64>,
    nodes: Vec<Node>,
}

impl Look<'_> {
    fn take(&mut self, parsed: &Parsed, src: u32) -> Result<()> {
        self.survey.addresses += parsed.addresses;
        for line in &parsed.lines {
            if !line.more {
                self.survey.bytes += line.length + u64::from(line.newline);
                self.lines += line.lines;
                self.end = line.offset + line.length + u64::from(line.newline);
            }
            if !matches!(line.what, What::Header) {
                self.line(line, parsed, src)?;
                self.names(line, parsed);
            }
        }
        Ok(())
    }

    fn line(&mut self, line: &Line, parsed: &Parsed, src: u32) -> Result<()> {
        let balance = &mut self.survey.balance;
        balance.lines += i64::from(!line.more);
        balance.expanded += i64::from(line.more);
        if let Some(mapping) = &self.options.mapping
            && !matches!(line.what, What::Blank)
        {
            let name = mapping.names.get(line.rule as usize).cloned();
            let refused = line.rule == UNMAPPED && matches!(line.what, What::Bad(_));
            if !refused {
                *self
                    .survey
                    .rules
                    .entry(name.unwrap_or_default())
                    .or_default() += 1;
            }
        }
        let fate = match &line.what {
            What::Blank | What::Header => {
                balance.blank += 1;
                return Ok(());
            }
            What::Skipped => {
                balance.skipped += 1;
                return Ok(());
            }
            What::Bad(bad) => {
                self.bad(bad, self.lines + 1 - line.lines, line.offset, line.length);
                return Ok(());
            }
            What::Row(Row::Impression(row)) => {
                let fate = self.state.impression(&row.text(parsed.texts()), src)?;
                if matches!(fate, Fate::New) {
                    for (name, known) in [
                        ("policy_prob", row.policy_prob.is_some()),
                        ("offered", row.offered.is_some()),
                        ("user", row.user.is_some()),
                        ("session", row.session.is_some()),
                        ("request", row.request.is_some()),
                        ("slot", row.slot.is_some()),
                        ("model", row.model.is_some()),
                    ] {
                        *self.survey.known.entry(name).or_default() += u64::from(known);
                    }
                }
                fate
            }
            What::Row(Row::Feedback(row)) => self.state.feedback(&row.text(parsed.texts()), src)?,
        };
        let conflict = match fate {
            Fate::New => false,
            Fate::Lost { conflict } | Fate::Won { conflict, .. } => conflict,
        };
        balance.committed += i64::from(matches!(fate, Fate::New));
        balance.duplicate += i64::from(!matches!(fate, Fate::New) && !conflict);
        balance.quarantined += i64::from(conflict);
        if conflict {
            books::count(&mut self.survey.quarantine, Reason::Conflict, 1);
        }
        Ok(())
    }

    fn bad(&mut self, bad: &Bad, line: u64, offset: u64, length: u64) {
        self.survey.balance.quarantined += 1;
        books::count(&mut self.survey.quarantine, bad.reason, 1);
        let reason = bad.reason.name();
        let known = self.survey.samples.iter();
        if known.filter(|sample| sample.reason == reason).count() < SAMPLES {
            self.survey.samples.push(Sample {
                file: self.file.clone(),
                line,
                offset,
                length,
                reason: reason.into(),
                field: bad.field.into(),
                message: bad.message.clone(),
            });
        }
    }

    /// Counts the place where a compressed file of `size` bytes is cut off.
    fn cut(&mut self, size: u64) {
        self.survey.balance.lines += 1;
        let bad = books::cut(size, self.survey.balance.committed - self.before);
        self.bad(&bad, self.lines + 1, self.end, 0);
    }

    /// Counts the fields of a line.
    fn names(&mut self, line: &Line, parsed: &Parsed) {
        let mut object = Vec::new();
        let bytes = parsed.text(line).unwrap_or_default();
        let json = match &parsed.header {
            None => bytes,
            Some(header) if header.object(bytes, &mut object).is_ok() => &object,
            Some(_) => return,
        };
        let Ok(text) = std::str::from_utf8(json) else {
            return;
        };
        if line.more || !grow(text, &mut self.nodes) {
            return;
        }
        let mut open = vec![(0, String::new())];
        while let Some((at, path)) = open.pop() {
            let Some(node) = self.nodes.get(at as usize) else {
                continue;
            };
            if !matches!(node.shape, Shape::Object | Shape::Array) {
                if self.fields.len() < MOST_FIELDS || self.fields.contains_key(&path) {
                    *self.fields.entry(path).or_default() += 1;
                }
                continue;
            }
            inside(&self.nodes, at, |key, value| {
                let name = match key.and_then(|key| self.nodes.get(key as usize)) {
                    Some(key) => key.text(text).unwrap_or_default().into_owned(),
                    None => "*".to_owned(),
                };
                let (name, value) = match self.pair(text, value).filter(|_| key.is_none()) {
                    Some(pair) => pair,
                    None => (name, value),
                };
                let before = if path.is_empty() {
                    String::new()
                } else {
                    format!("{path}/")
                };
                open.push((value, before + &name));
                ControlFlow::<()>::Continue(())
            });
        }
    }

    /// Key and value of `{key, value}`.
    fn pair(&self, text: &str, of: u32) -> Option<(String, u32)> {
        let (mut name, mut held, mut count) = (None, None, 0);
        inside(&self.nodes, of, |key, value| {
            let key = key.and_then(|key| self.nodes.get(key as usize));
            match key.and_then(|key| key.text(text)).as_deref() {
                Some("key") => {
                    let node = self.nodes.get(value as usize);
                    name = node
                        .and_then(|node| node.text(text))
                        .map(|name| name.into_owned());
                }
                Some("value") => held = Some(value),
                _ => {}
            }
            count += 1;
            ControlFlow::<()>::Continue(())
        });
        (count == 2).then_some(())?;
        name.zip(held)
    }

    fn done(mut self) -> Result<Survey> {
        let latest = self.state.latest()?;
        let watermark = self.options.until.or(latest);
        let windows = Windows {
            window: self.options.window,
            lateness: self.options.lateness,
            watermark: watermark.unwrap_or(i64::MIN / 2),
        };
        let derived = derive(
            &mut self.state,
            &windows,
            self.options.threads,
            &mut || Ok(()),
            |_| Ok(()),
        )?;
        let owned = |counts: Named| {
            counts
                .into_iter()
                .map(|(name, count)| (name.into_owned(), count))
                .collect()
        };
        let skewed = derived.skewed.len() as i64;
        self.survey.balance.committed -= skewed;
        self.survey.balance.quarantined += skewed;
        books::count(&mut self.survey.quarantine, Reason::Skew, skewed);
        self.survey.live = BTreeMap::from([
            ("impressions", derived.impressions),
            ("silent", derived.silent),
            ("feedback", derived.feedback),
        ]);
        self.survey.kinds = owned(derived.kinds);
        self.survey.states = owned(derived.states);
        self.survey.fields = self.fields.into_iter().collect();
        Ok(self.survey)
    }
}
