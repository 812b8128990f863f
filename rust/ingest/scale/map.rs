//! The first stage: the text of a shard into parts, its rows without text beside them.

use serde::{Deserialize, Serialize};

use super::packet::{Kind, pack};
use super::{DRIVER, Kept, Letter, Post, Settings, fresh, shard, written};
use crate::count::Stratum;
use crate::error::Result;
use crate::event::row::Key;
use crate::ingest::{Budget, Opener, Progress, Run, Sample};
use crate::join::About;
use crate::join::log::{events_of, responses_of};
use crate::spill::bytes::{Reader, Writer};
use crate::store::facts::Lineage;
use crate::store::ledger::Source;
use crate::store::part::Part;

/// Bytes of a row under its own key.
pub(super) const OWN: usize = 1 + 16 + 8 + 8 + 1 + 8 + 4;
/// Bytes of a repeat within a shard.
pub(super) const ECHO: usize = 4 + 4 + 3 * 8;
/// Table of responses.
pub(super) const SHOWN: u8 = 0;
/// Table of feedback.
pub(super) const EVENT: u8 = 1;

/// What the driver hears of a shard.
#[derive(Serialize, Deserialize)]
pub(super) struct Mapped {
    pub impressions: Vec<Part>,
    pub feedback: Vec<Part>,
    pub quarantine: Vec<Part>,
    pub rows: Kept,
    pub lens: [usize; 2],
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

    let (mut kept, mut post) = (Vec::new(), Post::new(Kind::Own, settings.partitions));
    let (mut records, mut sessions) = (Vec::new(), false);
    for (row, (live, known)) in (0..).zip(responses_of(&run.state.rows)) {
        let of = &known.shown;
        let own = own(SHOWN, of.key, 0, of.received_at, false, of.content, row);
        post.send(of.key, own);
        records.push(known.record());
        reopen(&mut run.sources, known.src, live, 0);
    }
    pack(&mut kept, Kind::Shown, &records)?;
    let mut records = Vec::new();
    for (row, (live, known)) in (0..).zip(events_of(&run.state.rows)) {
        let of = &known.event;
        let (received_at, content) = (of.received_at, of.content);
        let own = own(
            EVENT,
            of.key,
            of.version,
            received_at,
            of.retract,
            content,
            row,
        );
        post.send(of.key, own);
        records.push(known.record());
        sessions |= of.about == About::Session;
        reopen(&mut run.sources, known.src, live, 1);
    }
    pack(&mut kept, Kind::Event, &records)?;
    let echoes = run.echoes.unwrap_or_default().into_iter();
    let echoes: Vec<_> = echoes.map(|(row, from)| echo(row, from)).collect();
    pack(&mut kept, Kind::Echo, &echoes)?;

    let Progress { bytes, lines } = run.done;
    let mapped = Mapped {
        impressions,
        feedback,
        quarantine,
        rows: shard::keep(settings, &format!("{name}-rows"), &kept)?,
        lens: run.state.lens(),
        sources: run.sources.split_off(shard.first),
        samples: run.samples,
        strata: run.state.strata.all,
        sessions,
        bytes,
        lines,
    };
    let mut letters = post.letters()?;
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

/// A row under its own key, with what decides between several; of the content the first half does.
fn own(
    table: u8,
    key: Key,
    version: i64,
    received_at: i64,
    retract: bool,
    content: Key,
    row: u32,
) -> [u8; OWN] {
    let order = Writer::default().u8(table).key(key).i64(version);
    let order = order.i64(received_at).u8(u8::from(retract));
    order.u64(half(content)).u32(row).done()
}

/// The first half of a key, which sorts as the key does.
pub(super) fn half(key: Key) -> u64 {
    (u128::from_be_bytes(key.0) >> 64) as u64
}

/// Where the row of a shard was repeated within it.
fn echo(row: u32, from: Lineage) -> [u8; ECHO] {
    let place = Writer::default().u32(row).u32(from.src);
    place.u64(from.line).u64(from.off).u64(from.len).done()
}

/// From a record.
pub(super) fn echoed(record: &[u8; ECHO]) -> (u32, Lineage) {
    let mut from = Reader(record);
    let (row, src) = (from.u32(), from.u32());
    let (line, off, len) = (from.u64(), from.u64(), from.u64());
    (
        row,
        Lineage {
            src,
            line,
            off,
            len,
        },
    )
}
