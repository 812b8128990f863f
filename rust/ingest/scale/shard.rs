//! The later stages of a shard.

use serde::{Deserialize, Serialize};

use super::common::{Of, Shared};
use super::fallen::{Books, Conflict, Fallen};
use super::packet::{Kind, pack};
use super::rows::{EVENT, Numbered, Rows, SHOWN, keep, kept};
use super::stand::{self, OWN};
use super::{DRIVER, Kept, Letter, Post, Settings, empty, fresh, records, written};
use crate::error::Result;
use crate::join::attribute::Joined;
use crate::join::beside;
use crate::join::meet::{GIVEN, JOINED, Tag, is_told, posted, shown, told};
use crate::join::pairs::{self, Pair};
use crate::join::priors::{self, PRIOR};
use crate::join::sums::{Frame, Sums, Tally};
use crate::spill::bytes::Reader;
use crate::spill::sorter::{Sorted, Sorter};
use crate::store::derived::{Observations, Pairs};
use crate::store::load;
use crate::store::part::Part;
use crate::store::writer::Table;

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

/// Keeps what it was told of others, and sends them the rows that they seem to have, too.
pub(super) fn compare(
    settings: &Settings,
    number: usize,
    letters: &[Letter],
) -> Result<Vec<Letter>> {
    let shard = settings.shard(number)?;
    let shared = Shared::told(settings, letters)?;
    let mut post = Post::<OWN>::new(Kind::Own, settings);
    for row in stand::own(&Rows::read(settings, &shard.rows)?) {
        let mut from = Reader(&row);
        let of = if from.u8() == SHOWN {
            Of::Shown
        } else {
            Of::Event
        };
        for other in shared.others(of, from.key()) {
            post.give(other, row);
        }
    }
    let shared = shared.keep(settings, &fresh(settings, number)?)?;
    let mut letters = empty(settings);
    post.write(&mut letters)?;
    letters.push((DRIVER, written(&shared)?));
    Ok(letters)
}

/// Takes out the rows that do not stand, and sends those that do to where they meet.
pub(super) fn meet(settings: &Settings, number: usize, letters: &[Letter]) -> Result<Vec<Letter>> {
    let (mut shard, me) = (settings.shard(number)?.clone(), number as i64);
    let mut rows = Rows::read(settings, &shard.rows)?;
    let theirs = records(letters, Kind::Own).collect::<Result<Vec<_>>>()?;
    let (mut books, mut conflicts) = (Books::new(), Vec::new());
    if !theirs.is_empty() || !rows.dead.is_empty() {
        let of = stand::fates(me, theirs, &rows);
        let fallen = Fallen { settings, of };
        (books, conflicts) = fallen.books(&shard, &rows)?;
        let name = fresh(settings, number)?;
        shard.impressions =
            fallen.without(SHOWN, &shard.impressions, &format!("impressions/{name}"))?;
        shard.feedback = fallen.without(EVENT, &shard.feedback, &format!("feedback/{name}"))?;
        rows = fallen.rows(rows);
        shard.rows = rows.keep(settings, &name)?;
    }
    let rows = Numbered::new(&shard, &rows);

    let shared = Shared::read(settings, &shard.shared)?;
    let mut candidates = Post::<JOINED>::new(Kind::Candidate, settings);
    let mut events = Post::<JOINED>::new(Kind::Told, settings);
    let mut send = |record: [u8; JOINED]| {
        let mut from = Reader(&record);
        let of = match from.u8() {
            tag if tag == Tag::Request as u8 => Of::Request,
            tag if tag == Tag::Session as u8 => Of::Session,
            _ => Of::Response,
        };
        let to = shared.owner(of, from.key(), me);
        let record = posted(record);
        if is_told(&record) {
            events.give(to, record);
        } else {
            candidates.give(to, record);
        }
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
    let mut letters = empty(settings);
    candidates.write(&mut letters)?;
    events.write(&mut letters)?;
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
            table.rows.push(pair, request);
            table.pushed(0)
        },
    )?;
    let pairs = table.finish(false)?;
    let given: Sorted<GIVEN> = sorted(letters, Kind::Given)?;
    let mut file = Vec::new();
    let all: Vec<_> = given.iter().collect::<Result<_>>()?;
    pack(&mut file, Kind::Given, &all)?;
    let rows = Numbered::new(shard, &Rows::read(settings, &shard.rows)?);
    let shared = Shared::read(settings, &shard.shared)?;
    let mut post = Post::<{ priors::SIZE }>::new(Kind::Moment, settings);
    beside::happened(rows.responses(), given.iter(), |moment| {
        let to = shared.owner(Of::User, moment.user, number as i64);
        post.give(to, moment.record());
        Ok(())
    })?;
    let given = keep(settings, &format!("{name}-given"), &file)?;
    let mut letters = empty(settings);
    post.write(&mut letters)?;
    letters.push((DRIVER, written(&Paired { pairs, given })?));
    Ok(letters)
}

/// What the driver hears at the end.
#[derive(Serialize, Deserialize)]
pub(super) struct Observed {
    pub observations: Vec<Part>,
    pub sums: Sums,
}

/// Writes the observations, in parts with the rows of those of the impressions.
pub(super) fn observe(
    settings: &Settings,
    number: usize,
    letters: &[Letter],
) -> Result<Vec<Letter>> {
    let shard = settings.shard(number)?;
    let (strata, windows) = (settings.strata(), settings.windows());
    let cells = settings.cells(&strata);
    let mut sums = Sums::new(&cells);
    let rows = Numbered::new(shard, &Rows::read(settings, &shard.rows)?);
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
        Frame {
            strata: &strata,
            windows: &windows,
            cells: &cells,
        },
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
    let observations = table.finish(false)?;
    Ok(vec![(DRIVER, written(&Observed { observations, sums })?)])
}

fn sorted<const N: usize>(letters: &[Letter], kind: Kind) -> Result<Sorted<N>> {
    let mut sorter = Sorter::new(None);
    for record in records(letters, kind) {
        sorter.push(record?.1)?;
    }
    sorter.sorted()
}
