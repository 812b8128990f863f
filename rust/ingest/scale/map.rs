//! The first stage: the text of a shard into parts, its rows without text beside them.

use serde::{Deserialize, Serialize};

use super::common::{Of, Prints};
use super::rows::{EVENT, Rows, SHOWN, dead, echo};
use super::{DRIVER, Kept, Letter, Settings, fresh, written};
use crate::count::Stratum;
use crate::error::Result;
use crate::ingest::{Budget, Opener, Progress, Run, Sample};
use crate::join::About;
use crate::join::log::{events_of, responses_of};
use crate::join::meet::Tag;
use crate::store::ledger::Source;
use crate::store::part::Part;

/// What the driver hears of a shard.
#[derive(Serialize, Deserialize)]
pub(super) struct Mapped {
    pub impressions: Vec<Part>,
    pub feedback: Vec<Part>,
    pub quarantine: Vec<Part>,
    pub rows: Kept,
    pub sources: Vec<Source>,
    pub samples: Vec<Sample>,
    pub strata: Vec<Stratum<Box<str>>>,
    pub sessions: bool,
    pub bytes: u64,
    pub lines: u64,
}

/// Reads the inputs of a shard as a run of its own does.
pub(super) fn map(
    settings: &Settings,
    number: usize,
    tables: Option<Opener>,
) -> Result<Vec<Letter>> {
    let shard = settings.shard(number)?;
    let options = settings.options(Budget::Default, tables)?;
    let name = fresh(settings, number)?;
    let before = vec![Source::default(); shard.first];
    let mut run = Run::over(&settings.root, settings.generation, before, &options, &name);
    let plan = run.plan(&shard.inputs)?;
    run.echoes = Some(Vec::new());
    run.read(plan, &mut |_| Ok(()))?;
    let (impressions, feedback) = run.facts()?;
    let quarantine = run.refused()?;

    let (mut rows, mut prints) = (Rows::default(), Prints::new(settings.bits));
    let mut sessions = false;
    for (row, (live, known)) in (0..).zip(responses_of(&run.state.rows)) {
        rows.shown.push(known.record());
        reopen(&mut run.sources, known.src, live, 0);
        if !live {
            rows.dead.push(dead(SHOWN, row));
            continue;
        }
        let of = &known.shown;
        prints.has(Of::Response, of.key);
        prints.asks(Of::Response, known.parent);
        prints.has(Of::Request, of.request);
        prints.has(Of::Session, of.session);
        prints.has(Of::User, of.user);
    }
    for (row, (live, known)) in (0..).zip(events_of(&run.state.rows)) {
        rows.events.push(known.record());
        reopen(&mut run.sources, known.src, live, 1);
        let of = &known.event;
        sessions |= of.about == About::Session;
        if !live {
            rows.dead.push(dead(EVENT, row));
            continue;
        }
        prints.has(Of::Event, of.key);
        if !of.retract {
            prints.asks(Tag::of(of.about).into(), of.target);
        }
    }
    let echoes = run.echoes.unwrap_or_default().into_iter();
    rows.echoes
        .extend(echoes.map(|(row, from)| echo(row, from)));

    let Progress { bytes, lines } = run.done;
    let mapped = Mapped {
        impressions,
        feedback,
        quarantine,
        rows: rows.keep(settings, &name)?,
        sources: run.sources.split_off(shard.first),
        samples: run.samples,
        strata: run.state.strata.all,
        sessions,
        bytes,
        lines,
    };
    let mut letters = prints.letters(settings)?;
    letters.push((DRIVER, written(&mapped)?));
    Ok(letters)
}

/// Takes back what the books say of a row that lost within its shard, for what became of it is decided among all.
fn reopen(sources: &mut [Source], src: u32, live: bool, duplicate: i64) {
    if let Some(source) = sources.get_mut(src as usize).filter(|_| !live) {
        source.balance.committed += 1;
        source.balance.duplicate -= duplicate;
    }
}
