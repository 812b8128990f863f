//! Which of several rows under one key stands, whatever shards they are in.

use std::collections::{BTreeMap, HashSet};

use super::rows::{self, EVENT, Rows, SHOWN};
use crate::event::row::Key;
use crate::join::log::{LoggedEvent, LoggedShown};
use crate::spill::bytes::{Reader, Writer};

/// Bytes of a row under its own key.
pub(super) const OWN: usize = 1 + 16 + 4 + 8 + 8 + 1 + 16;
/// Where its table and key end, and its number.
const HEAD: usize = 1 + 16;
const ROW: usize = HEAD + 4;

/// What became of a row that does not stand, and the beginning of the content of that to which it lost.
pub(super) type Fate = (Fell, u64);

/// What became of a row that does not stand.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Fell {
    /// It stood until a better one came.
    Later,
    /// It repeats the one that stood when it came.
    Repeat,
    /// It is worse than the one that stood when it came.
    Worse,
}

/// Rows under their own keys, with what decides between several.
pub(super) fn own(rows: &Rows) -> impl Iterator<Item = [u8; OWN]> {
    let responses = (0..).zip(&rows.shown).map(|(row, record)| {
        let of = LoggedShown::read(record).shown;
        let head = Writer::default().u8(SHOWN).key(of.key).u32(row).i64(0);
        head.i64(of.received_at).u8(0).key(of.content).done()
    });
    let events = (0..).zip(&rows.events).map(|(row, record)| {
        let of = LoggedEvent::read(record).event;
        let head = Writer::default().u8(EVENT).key(of.key).u32(row);
        let order = head.i64(of.version).i64(of.received_at);
        order.u8(u8::from(of.retract)).key(of.content).done()
    });
    responses.chain(events)
}

/// What becomes of the rows of shard `me`, by table, beside those that others sent, with the shard of each. They come
/// in the order of shards and in that of rows, and what becomes of each is what a single run says; so every shard that
/// has a key comes to the same end. Rows that lost within the shard are asked again: they may have lost before, to a
/// row of another.
pub(super) fn fates(
    me: i64,
    mut all: Vec<(i64, [u8; OWN])>,
    rows: &Rows,
) -> [BTreeMap<u32, Fate>; 2] {
    let dead: HashSet<_> = rows.dead.iter().copied().collect();
    let mut several: HashSet<_> = all.iter().map(|(_, row)| head(row)).collect();
    let fell = |row: &[u8; OWN]| {
        let [table, ..] = *row;
        dead.contains(&rows::dead(table, number(row)))
    };
    several.extend(own(rows).filter(fell).map(|row| head(&row)));
    let own = own(rows).filter(|row| several.contains(&head(row)));
    all.extend(own.map(|row| (me, row)));
    all.sort_unstable_by_key(|(shard, row)| (head(row), *shard, number(row)));
    let mut fates = [BTreeMap::new(), BTreeMap::new()];
    for rows in all.chunk_by(|(_, one), (_, next)| head(one) == head(next)) {
        let [first, rest @ ..] = rows else {
            continue;
        };
        let mut fell = |(shard, row): &(i64, [u8; OWN]), fell: Fell, stands: &[u8; OWN]| {
            let [responses, events] = &mut fates;
            let fates = if head(row).first() == Some(&SHOWN) {
                responses
            } else {
                events
            };
            if *shard == me {
                fates.insert(number(row), (fell, content(stands).head()));
            }
        };
        let (mut stands, mut later) = (first, Vec::new());
        for row in rest {
            if better(&row.1, &stands.1) {
                later.push(stands);
                stands = row;
            } else if content(&row.1) == content(&stands.1) {
                fell(row, Fell::Repeat, &stands.1);
            } else {
                fell(row, Fell::Worse, &stands.1);
            }
        }
        for row in later {
            fell(row, Fell::Later, &stands.1);
        }
    }
    fates
}

/// Whether a row takes the place of the one before it.
fn better(row: &[u8; OWN], stands: &[u8; OWN]) -> bool {
    // version, received_at, withdrawn, content: bytes that compare as they do
    let order = |row: &[u8; OWN]| row.get(ROW..).map(<[u8]>::to_vec);
    match row.first() {
        Some(&SHOWN) => order(row) < order(stands),
        _ => order(row) > order(stands),
    }
}

/// Table and key of a row.
pub(super) fn head(row: &[u8; OWN]) -> [u8; HEAD] {
    row.first_chunk().copied().unwrap_or([0; HEAD])
}

fn number(row: &[u8; OWN]) -> u32 {
    Reader(row.get(HEAD..).unwrap_or_default()).u32()
}

fn content(row: &[u8; OWN]) -> Key {
    Key(row.last_chunk().copied().unwrap_or_default())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::join::{Event, Shown};

    /// Numbers that look drawn.
    fn draw(seed: &mut u64, below: u64) -> u64 {
        *seed = Key::of(&seed.to_le_bytes()).short();
        *seed % below
    }

    fn key(number: u64) -> Key {
        Key::of(&number.to_le_bytes())
    }

    fn shown(seed: &mut u64) -> LoggedShown {
        let shown = Shown {
            key: key(draw(seed, 3)),
            content: key(draw(seed, 3)),
            request: Key::default(),
            session: Key::default(),
            user: Key::default(),
            shown_at: 0,
            received_at: draw(seed, 2) as i64,
            stratum: 0,
            policy_prob: 0.0,
        };
        let (parent, src) = (Key::default(), 0);
        LoggedShown { shown, parent, src }
    }

    fn event(seed: &mut u64) -> LoggedEvent {
        let event = Event {
            key: key(draw(seed, 3)),
            content: key(draw(seed, 3)),
            version: draw(seed, 2) as i64,
            retract: draw(seed, 2) == 0,
            ..Event::default()
        };
        let (winner, src, space) = (None, 0, 0);
        LoggedEvent {
            event,
            winner,
            src,
            space,
        }
    }

    /// Marks all rows, so that all are asked.
    fn marked(mut rows: Rows) -> Rows {
        for (table, count) in [(SHOWN, rows.shown.len()), (EVENT, rows.events.len())] {
            let all = 0..count as u32;
            rows.dead.extend(all.map(|row| rows::dead(table, row)));
        }
        rows
    }

    #[test]
    fn every_shard_comes_to_the_end_of_one_that_has_all_rows() {
        let mut seed = 1;
        for _ in 0..300 {
            let mut shards = [(); 3].map(|()| Rows::default());
            let mut all = Rows::default();
            for rows in &mut shards {
                for _ in 0..draw(&mut seed, 4) {
                    rows.shown.push(shown(&mut seed).record());
                    rows.events.push(event(&mut seed).record());
                }
                all.shown.extend(&rows.shown);
                all.events.extend(&rows.events);
            }
            let whole = fates(0, Vec::new(), &marked(all));
            let mut first = 0;
            for (me, rows) in (0..).zip(&shards) {
                let others = (0..).zip(&shards).filter(|(other, _)| *other != me);
                let theirs =
                    others.flat_map(|(other, rows)| own(rows).map(move |row| (other, row)));
                let theirs = theirs.collect();
                let copy = Rows {
                    shown: rows.shown.clone(),
                    events: rows.events.clone(),
                    ..Rows::default()
                };
                let count = rows.shown.len() as u32;
                for (mine, whole) in fates(me, theirs, &marked(copy)).iter().zip(&whole) {
                    let here = whole.range(first..first + count);
                    assert!(
                        here.map(|(row, fate)| (row - first, *fate))
                            .eq(mine.iter().map(|(row, fate)| (*row, *fate)))
                    );
                }
                first += count;
            }
        }
    }
}
