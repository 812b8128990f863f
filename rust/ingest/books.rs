//! The books of a run: budget, samples, and the report that Python gets.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Run;
use crate::error::{Error, Result};
use crate::event::{Bad, Reason};
use crate::store::Store;
use crate::store::facts::Lineage;
use crate::store::ledger::{Balance, Source};

/// Samples kept of each reason.
pub(super) const SAMPLES: usize = 5;

/// How many bad lines are tolerated.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Budget {
    /// The larger of 1000 and 1 % of the run's lines.
    Default,
    /// A number of lines.
    Lines(u64),
    /// A percentage of the run's lines.
    Percent(f64),
}

impl Budget {
    /// From `N` or `P%`.
    pub fn parse(text: &str) -> Result<Self> {
        let wrong = || {
            Error::Value(format!(
                "max_bad is {text:?}; expected a number of lines or a percentage, such as 500 or 2%"
            ))
        };
        match text.strip_suffix('%') {
            Some(percent) => {
                let percent: f64 = percent.trim().parse().map_err(|_| wrong())?;
                if (0.0..=100.0).contains(&percent) {
                    Ok(Self::Percent(percent))
                } else {
                    Err(wrong())
                }
            }
            None => text.trim().parse().map(Self::Lines).map_err(|_| wrong()),
        }
    }

    /// The number of lines tolerated among `lines`.
    pub fn of(self, lines: u64) -> u64 {
        match self {
            Self::Default => (lines / 100).max(1000),
            Self::Lines(count) => count,
            Self::Percent(percent) => (lines as f64 * percent / 100.0).floor() as u64,
        }
    }
}

/// A refused line, for the report.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Sample {
    pub file: String,
    pub line: u64,
    pub offset: u64,
    pub length: u64,
    pub reason: Cow<'static, str>,
    pub field: Cow<'static, str>,
    pub message: String,
}

/// One input of the run; books are those of the whole file since its first byte.
#[derive(Clone, Debug, Serialize)]
#[allow(missing_docs)]
pub struct FileReport {
    pub path: String,
    /// `read`, `resumed` or `unchanged`.
    pub status: &'static str,
    #[serde(flatten)]
    pub balance: Balance,
    pub reasons: BTreeMap<String, u64>,
    /// Bytes of the file seen.
    pub bytes: u64,
}

/// What a run did.
#[derive(Clone, Debug, Serialize)]
#[allow(missing_docs)]
pub struct Report {
    pub store: String,
    /// Whether this run made a commit.
    pub committed: bool,
    pub ledger: u64,
    pub generation: u64,
    pub digest: String,
    pub watermark: Option<String>,
    pub window_us: i64,
    pub lateness_us: i64,
    pub key_id: String,
    pub files: Vec<FileReport>,
    /// Books of this run.
    pub balance: Balance,
    /// Books of the store.
    pub total: Balance,
    /// Refused lines of this run, by reason.
    pub quarantine: BTreeMap<String, u64>,
    pub samples: Vec<Sample>,
    /// Live rows: impressions, silent, feedback.
    pub live: BTreeMap<String, u64>,
    pub silent_share: Option<f64>,
    pub kinds: BTreeMap<String, u64>,
    pub states: BTreeMap<String, u64>,
    pub notes: BTreeMap<String, u64>,
    /// Fields that this run left out because they hold an e-mail or IP address.
    pub addresses: u64,
    /// Text bytes read by this run.
    pub bytes: u64,
    pub seconds: f64,
}

/// Counts a reason up or down.
pub fn count(reasons: &mut BTreeMap<String, u64>, reason: Reason, change: i64) {
    let entry = reasons.entry(reason.name().to_owned()).or_default();
    *entry = entry.saturating_add_signed(change);
    if *entry == 0 {
        reasons.remove(reason.name());
    }
}

/// The refusal of what a compressed file lacks that is cut off after `size` bytes, with so many `rows` before.
pub fn cut(size: u64, rows: i64) -> Bad {
    let message =
        format!("the compressed file is cut off after {size} bytes; {rows} rows before are kept");
    Bad::new(Reason::Corrupt, "", message)
}

/// Where the text of a source that is cut off ends, and the refusal.
pub fn cut_of(src: usize, source: &Source) -> (Lineage, Bad) {
    let torn = source.torn.as_ref();
    let from = Lineage {
        src: src as u32,
        line: source.lines + 1 + u64::from(torn.is_some()),
        off: torn.map_or(source.mark.text, |torn| torn.off + torn.len),
        len: 0,
    };
    (from, cut(source.mark.size, source.balance.committed))
}

fn total(sources: &[Source]) -> (Balance, BTreeMap<String, u64>) {
    let mut reasons: BTreeMap<String, u64> = BTreeMap::new();
    let mut sum = Balance::default();
    for source in sources {
        sum = sum.plus(&source.balance, 1);
        for (reason, count) in &source.reasons {
            *reasons.entry(reason.clone()).or_default() += count;
        }
    }
    (sum, reasons)
}

impl Run<'_> {
    /// Keeps a refused line for the report.
    pub(super) fn sample(&mut self, from: Lineage, bad: &Bad) {
        if self
            .samples
            .iter()
            .filter(|sample| sample.reason == bad.reason.name())
            .count()
            >= SAMPLES
        {
            return;
        }
        let file = self
            .sources
            .get(from.src as usize)
            .map(|source| source.path.clone())
            .unwrap_or_default();
        self.samples.push(Sample {
            file,
            line: from.line,
            offset: from.off,
            length: from.len,
            reason: bad.reason.name().into(),
            field: bad.field.into(),
            message: bad.message.clone(),
        });
    }

    /// Books and reasons of this run alone.
    fn changes(&self) -> (Balance, BTreeMap<String, u64>) {
        let ((now, mut reasons), (before, old)) = (total(&self.sources), total(&self.before));
        for (reason, count) in old {
            if let Some(known) = reasons.get_mut(&reason) {
                *known = known.saturating_sub(count);
            }
        }
        reasons.retain(|_, count| *count > 0);
        (now.plus(&before, -1), reasons)
    }

    /// Books of all inputs ever read, which must hold.
    pub(super) fn balance(&self) -> Result<Balance> {
        for source in &self.sources {
            if !source.balance.holds() {
                return Err(Error::Value(format!(
                    "{}: the books do not balance: {:?}",
                    source.path, source.balance
                )));
            }
        }
        Ok(total(&self.sources).0)
    }

    /// Refuses a run with too many bad lines.
    pub(super) fn check_budget(&self) -> Result<()> {
        let (balance, reasons) = self.changes();
        let (lines, quarantined) = (
            (balance.lines + balance.expanded).max(0) as u64,
            balance.quarantined.max(0) as u64,
        );
        let budget = self.options.budget.of(lines);
        if quarantined <= budget {
            return Ok(());
        }
        let mut reasons: Vec<_> = reasons.into_iter().collect();
        reasons.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        let named: Vec<_> = reasons
            .iter()
            .take(3)
            .map(|(reason, count)| format!("{reason} {count}"))
            .collect();
        let first = self
            .samples
            .first()
            .map(|s| format!("; first {} line {}: {}", s.file, s.line, s.message));
        let reasons = named.join(", ") + &first.unwrap_or_default();
        Err(Error::Budget {
            quarantined,
            lines,
            budget,
            reasons,
        })
    }

    /// The report.
    pub(super) fn report(&self, store: &Store, committed: bool, took: Duration) -> Result<Report> {
        let ledger = store.ledger.clone().unwrap_or_default();
        let (balance, quarantine) = self.changes();
        let file = |src: &usize| {
            let source = self.sources.get(*src)?;
            let status = match (self.read.contains(src), self.before.get(*src).is_some()) {
                (_, false) => "read",
                (true, true) => "resumed",
                (false, true) => "unchanged",
            };
            Some(FileReport {
                path: source.path.clone(),
                status,
                balance: source.balance,
                reasons: source.reasons.clone(),
                bytes: source.mark.size,
            })
        };
        let addresses =
            |sources: &[Source]| sources.iter().map(|source| source.addresses).sum::<u64>();
        let (shown, silent) = (ledger.live.get("impressions"), ledger.live.get("silent"));
        let share = shown
            .zip(silent)
            .filter(|(shown, _)| **shown > 0)
            .map(|(n, silent)| *silent as f64 / *n as f64);
        Ok(Report {
            store: store.root.display().to_string(),
            committed,
            ledger: ledger.ledger,
            generation: ledger.generation,
            digest: ledger.digest,
            watermark: ledger.watermark,
            window_us: ledger.window_us,
            lateness_us: ledger.lateness_us,
            key_id: ledger.key_id,
            files: self.named.iter().filter_map(file).collect(),
            balance,
            total: ledger.balance,
            quarantine,
            samples: self.samples.clone(),
            live: ledger.live,
            silent_share: share,
            kinds: ledger.kinds,
            states: ledger.states,
            notes: ledger.notes,
            addresses: addresses(&self.sources) - addresses(&self.before),
            bytes: self.done.bytes,
            seconds: took.as_secs_f64(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn budgets_are_lines_or_percentages() {
        assert_eq!(Budget::parse("12").ok(), Some(Budget::Lines(12)));
        assert_eq!(
            Budget::parse("2.5 %").ok().map(|budget| budget.of(1000)),
            Some(25)
        );
        assert_eq!(
            (Budget::Default.of(10), Budget::Default.of(1_000_000)),
            (1000, 10_000)
        );
        assert!(
            ["", "-1", "101%", "x", "1e3"]
                .iter()
                .all(|text| Budget::parse(text).is_err())
        );
    }
}
