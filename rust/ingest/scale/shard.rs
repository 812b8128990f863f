//! The later stages of a shard: its rows without text, which lie beside its parts until the commit.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_128;

use super::fallen::{Books, Conflict, DEAD, Fallen};
use super::map::{EVENT, SHOWN};
use super::packet::{Kind, pack, unpack};
use super::reduce::LOST;
use super::{DRIVER, Kept, Letter, Post, Settings, Shard, fresh, records, written};
use crate::error::{Error, Result};
use crate::join::attribute::Joined;
use crate::join::beside;
use crate::join::log::{self, LoggedEvent, LoggedShown};
use crate::join::meet::{GIVEN, JOINED, shown, told, trimmed};
use crate::join::pairs::{self, Pair};
use crate::join::priors::{self, PRIOR};
use crate::join::sums::{Summed, Sums, Tally};
use crate::spill::FOLDER;
use crate::spill::bytes::Reader;
use crate::spill::sorter::{Sorted, Sorter};
use crate::store::derived::{Observations, Pairs};
use crate::store::load;
use crate::store::part::Part;
use crate::store::writer::Table;

/// Writes a file that the commit deletes.
pub(super) fn keep(settings: &Settings, name: &str, bytes: &[u8]) -> Result<Kept> {
    let kept = Kept {
        path: format!("{FOLDER}/{name}"),
        checksum: format!("{:032x}", xxh3_128(bytes)),
    };
    let path = settings.root.join(&kept.path);
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path);
    file.and_then(|mut file| file.write_all(bytes))
        .map_err(Error::io(&path))?;
    Ok(kept)
}

fn kept(settings: &Settings, kept: &Kept) -> Result<Vec<u8>> {
    let path = settings.root.join(&kept.path);
    let bytes = std::fs::read(&path).map_err(Error::io(&path))?;
    let found = format!("{:032x}", xxh3_128(&bytes));
    if found != kept.checksum {
        return Err(Error::Checksum {
            path: path.display().to_string(),
            found: format!("checksum {found}"),
            expected: kept.checksum.clone(),
        });
    }
    Ok(bytes)
}

/// The rows of a shard, numbered as in the store.
struct Rows {
    base: [u32; 2],
    shown: Vec<Option<LoggedShown>>,
    events: Vec<Option<LoggedEvent>>,
}

impl Rows {
    fn read(shard: &Shard, bytes: &[u8]) -> Result<Self> {
        let shown = |record: &[u8; log::SHOWN]| {
            let mut known = LoggedShown::read(record);
            let code = shard.codes.get(known.shown.stratum as usize);
            known.shown.stratum = code.copied().unwrap_or_default();
            Some(known)
        };
        let event = |record: &[u8; log::EVENT]| Some(LoggedEvent::read(record));
        let mut rows = Self {
            base: shard.base,
            shown: unpack(bytes, Kind::Shown)?.iter().map(shown).collect(),
            events: unpack(bytes, Kind::Event)?.iter().map(event).collect(),
        };
        for record in unpack::<DEAD>(bytes, Kind::Dead)? {
            let mut from = Reader(&record);
            let (table, row) = (from.u8(), from.u32() as usize);
            if table == EVENT {
                rows.events.get_mut(row).and_then(Option::take);
            } else {
                rows.shown.get_mut(row).and_then(Option::take);
            }
        }
        Ok(rows)
    }

    /// Feedback that stands.
    fn standing(&self) -> impl Iterator<Item = (u32, &LoggedEvent)> {
        let numbered = (self.base[1]..).zip(&self.events);
        numbered.filter_map(|(row, known)| Some((row, known.as_ref()?)))
    }

    /// All responses; none for those that do not stand.
    fn responses(self) -> impl Iterator<Item = Result<(u32, Option<LoggedShown>)>> {
        (self.base[0]..).zip(self.shown).map(Ok)
    }
}

/// What the driver hears of the rows that stand.
#[derive(Serialize, Deserialize)]
pub(super) struct Standing {
    pub rows: Kept,
    pub impressions: Vec<Part>,
    pub feedback: Vec<Part>,
    /// Largest time.
    pub latest: Option<i64>,
    pub tally: Tally,
    /// Strata in which a response stands.
    pub strata: Vec<u32>,
    pub books: Books,
    /// Impressions that lost to another content.
    pub conflicts: Vec<Conflict>,
}

/// Sends the rows that stand to where they meet.
pub(super) fn meet(settings: &Settings, number: usize, letters: &[Letter]) -> Result<Vec<Letter>> {
    let mut shard = settings.shard(number)?.clone();
    let mut bytes = kept(settings, &shard.rows)?;
    let fallen = records::<LOST>(letters, Kind::Lost).collect::<Result<Vec<_>>>()?;
    let (mut books, mut conflicts) = (Books::new(), Vec::new());
    if !fallen.is_empty() {
        let fallen = fallen.into_iter().map(|(_, record)| record).collect();
        let fallen = Fallen::new(settings, fallen);
        (books, conflicts) = fallen.books(&shard, &bytes)?;
        let name = fresh(settings, number)?;
        shard.impressions =
            fallen.without(SHOWN, &shard.impressions, &format!("impressions/{name}"))?;
        shard.feedback = fallen.without(EVENT, &shard.feedback, &format!("feedback/{name}"))?;
        bytes = fallen.rows(&bytes)?;
        shard.rows = keep(settings, &format!("{name}-rows"), &bytes)?;
    }
    let rows = Rows::read(&shard, &bytes)?;
    drop(bytes);

    let mut post = Post::<JOINED>::new(Kind::Join, settings.partitions);
    let mut send = |record: [u8; JOINED]| {
        let mut from = Reader(&record);
        from.u8();
        post.send(from.key(), trimmed(record));
    };
    let (mut tally, mut latest, mut strata) = (Tally::default(), None, Vec::new());
    for (row, known) in rows.standing() {
        let event = &known.event;
        latest = latest.max(Some(event.at));
        tally.event(event, known.space);
        if event.retract {
            tally.joined(row, event, Joined::Retracted);
        } else {
            send(told(row, known));
        }
    }
    for row in rows.responses() {
        let (row, Some(known)) = row? else {
            continue;
        };
        latest = latest.max(Some(known.shown.shown_at));
        strata.push(known.shown.stratum);
        shown(row, &known, settings.sessions).for_each(&mut send);
    }
    strata.sort_unstable();
    strata.dedup();
    let standing = Standing {
        rows: shard.rows,
        impressions: shard.impressions,
        feedback: shard.feedback,
        latest,
        tally,
        strata,
        books,
        conflicts,
    };
    let mut letters = post.letters()?;
    letters.push((DRIVER, written(&standing)?));
    Ok(letters)
}

/// What the driver hears when a shard knows the feedback on its rows.
#[derive(Serialize, Deserialize)]
pub(super) struct Paired {
    pub pairs: Vec<Part>,
    pub given: Kept,
}

/// Writes the pairs, keeps the feedback, and sends what happened to users.
pub(super) fn pair(settings: &Settings, number: usize, letters: &[Letter]) -> Result<Vec<Letter>> {
    let shard = settings.shard(number)?;
    let name = fresh(settings, number)?;
    let pairs: Sorted<{ pairs::SIZE }> = sorted(letters, Kind::Pair)?;
    let mut table = Table::<Pairs>::new(&settings.root, format!("pairs/{name}"));
    let read = pairs
        .iter()
        .map(|record| record.map(|record| Pair::read(&record)));
    load::with_requests(
        &settings.root,
        &shard.impressions,
        shard.base[0],
        read,
        |pair, request| {
            let pushed = table.rows.push(pair, request);
            pushed.map_err(Error::arrow(&settings.root))?;
            table.pushed(0)
        },
    )?;
    let pairs = table.finish(false)?;
    let given: Sorted<GIVEN> = sorted(letters, Kind::Given)?;
    let mut file = Vec::new();
    let all: Vec<_> = given.iter().collect::<Result<_>>()?;
    pack(&mut file, Kind::Given, &all)?;
    let rows = Rows::read(shard, &kept(settings, &shard.rows)?)?;
    let mut post = Post::<{ priors::SIZE }>::new(Kind::Moment, settings.partitions);
    beside::happened(rows.responses(), given.iter(), |moment| {
        post.send(moment.user, moment.record());
        Ok(())
    })?;
    let given = keep(settings, &format!("{name}-given"), &file)?;
    let mut letters = post.letters()?;
    letters.push((DRIVER, written(&Paired { pairs, given })?));
    Ok(letters)
}

/// What the driver hears at the end.
#[derive(Serialize, Deserialize)]
pub(super) struct Observed {
    pub observations: Vec<Part>,
    pub sums: Summed,
}

/// Writes the observations, in parts with the rows of those of the impressions.
pub(super) fn observe(
    settings: &Settings,
    number: usize,
    letters: &[Letter],
) -> Result<Vec<Letter>> {
    let shard = settings.shard(number)?;
    let (strata, windows) = (settings.strata(), settings.windows());
    let mut sums = Sums::new(&strata, &windows, settings.cells(&strata));
    let rows = Rows::read(shard, &kept(settings, &shard.rows)?)?;
    for (_, known) in rows.standing() {
        sums.digest.add(known.event.content);
    }
    let given = kept(settings, &shard.given)?;
    let given: Sorted<GIVEN> = sorted(&[(0, given)], Kind::Given)?;
    let counts: Sorted<PRIOR> = sorted(letters, Kind::Prior)?;
    let name = format!("observations/{}", fresh(settings, number)?);
    let mut table = Table::<Observations>::new(&settings.root, name);
    let mut ends = shard.impressions.iter().map(|part| part.rows);
    let (mut row, mut end) = (0, ends.next().unwrap_or(0));
    beside::observe(
        rows.responses(),
        given.iter(),
        counts.iter(),
        &mut sums,
        |seen| {
            while row == end && end > 0 {
                table.cut()?;
                (row, end) = (0, ends.next().unwrap_or(0));
            }
            row += 1;
            table.rows.push(seen);
            table.pushed(0)
        },
    )?;
    let (observations, sums) = (table.finish(false)?, sums.summed());
    Ok(vec![(DRIVER, written(&Observed { observations, sums })?)])
}

fn sorted<const N: usize>(letters: &[Letter], kind: Kind) -> Result<Sorted<N>> {
    let mut sorter = Sorter::new(None);
    for record in records(letters, kind) {
        sorter.push(record?.1)?;
    }
    sorter.sorted()
}
