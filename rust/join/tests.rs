//! Tests of the join state: order of arrival, size, and what is on disk.

#![allow(clippy::unwrap_used)]

use super::*;
use crate::error::{Error, Result};
use crate::event::row::{Actor, Feedback, Impression, Target, Winner};
use crate::event::time::FIRST;

/// All orders of four things.
fn orders() -> Vec<Vec<usize>> {
    let mut orders = Vec::new();
    for code in 0..256 {
        let order: Vec<usize> = (0..4).map(|place| code >> (2 * place) & 3).collect();
        if (0..4).all(|item| order.contains(&item)) {
            orders.push(order);
        }
    }
    orders
}

#[test]
fn the_impression_that_stands_does_not_depend_on_the_order() {
    let row = |received_at: Option<i64>, content: &str| Impression {
        key: Key::of(b"r"),
        content: Key::of(content.as_bytes()),
        source: "s",
        received_at: received_at.map(|time| FIRST + time),
        ..Impression::default()
    };
    let rows = [
        row(None, "a"),
        row(Some(5), "b"),
        row(Some(3), "c"),
        row(Some(3), "d"),
    ];
    let first = Key::of(b"c").min(Key::of(b"d"));
    for order in orders() {
        let mut state = State::default();
        for at in &order {
            state.impression(rows.get(*at).unwrap(), 0).unwrap();
        }
        let rows = &state.rows;
        let live: Vec<Key> = rows
            .shown
            .standing()
            .map(|row| rows.response(row).unwrap().content)
            .collect();
        assert_eq!(live, [first], "{order:?}");
        let (row, standing, _) = state.standing(Key::of(b"r")).unwrap().unwrap();
        assert_eq!(standing.content, first);
        assert!(rows.shown.live(row));
    }
}

#[test]
fn the_feedback_that_stands_does_not_depend_on_the_order() {
    let row = |version, received_at: Option<i64>, retract, content: &str| Feedback {
        key: Key::of(b"f"),
        content: Key::of(content.as_bytes()),
        id: "f",
        target: Target::Response(Key::of(b"r")),
        winner: None,
        response: None,
        request: None,
        user: None,
        at: 0,
        received_at: received_at.map(|time| FIRST + time),
        source: "s",
        kind: Kind::Copy,
        value: Some(1.0),
        label: None,
        actor: Actor::User,
        version,
        retract,
        comment: None,
        extra: None,
    };
    let rows = [
        row(0, Some(9), false, "a"),
        row(1, None, false, "b"),
        row(1, Some(2), true, "c"),
        row(1, Some(2), false, "d"),
    ];
    for order in orders() {
        let mut state = State::default();
        let fates: Vec<Fate> = order
            .iter()
            .map(|at| state.feedback(rows.get(*at).unwrap(), 0).unwrap())
            .collect();
        let rows = &state.rows;
        let live: Vec<bool> = rows
            .events
            .standing()
            .map(|row| rows.event(row).unwrap().retract)
            .collect();
        assert_eq!(live, [true], "{order:?}");
        assert_eq!(fates.iter().filter(|fate| **fate == Fate::New).count(), 1);
    }
}

fn key(what: &str, number: u32) -> Key {
    Key::of(format!("{what}{number}").as_bytes())
}

/// A response that says everything: a request of its own, when it was received, and a propensity.
fn response(number: u32) -> Impression<&'static str> {
    Impression {
        key: key("r", number),
        content: key("content", number),
        source: "s",
        request_key: Some(key("q", number)),
        session: Some(key("session", number / 10)),
        user: Some(key("user", number / 100)),
        shown_at: FIRST + i64::from(number),
        received_at: Some(FIRST + i64::from(number) + 1),
        policy_prob: Some(1.0 / (1.0 + number as f32)),
        parent: (number % 10 == 3).then(|| key("r", number - 1)),
        ..Impression::default()
    }
}

/// Feedback that says everything: when it was received, and a version.
fn feedback(number: u32) -> Feedback<&'static str> {
    let choice = number % 10 == 3;
    Feedback {
        key: key("f", number),
        content: key("said", number),
        target: if choice {
            Target::Request(key("q", number))
        } else {
            Target::Response(key("r", number))
        },
        winner: choice.then(|| Winner::Response(key("r", number))),
        at: FIRST + i64::from(number),
        received_at: Some(FIRST + i64::from(number) + 2),
        source: "s",
        kind: if choice { Kind::Choice } else { Kind::Rating },
        value: Some(f64::from(number)),
        actor: Actor::User,
        version: i64::from(number) + 1,
        ..Feedback::blank()
    }
}

#[test]
fn an_event_takes_at_most_eighty_bytes() {
    // besides: 4 for a version beyond 32 bits, 2 for strata beyond 16, 40 for each session with its user, 21 for each choice and each regenerated response; and the room that
    // is left in the last page of each column
    let last_pages = 4096 * (67 + 67 + 4 + 4 + 32 + 20 + 21);
    let mut state = State::default();
    for number in 0..65_536u32 {
        state.impression(&response(number), number / 7_000).unwrap();
        state.feedback(&feedback(number), number / 7_000).unwrap();
        let (events, tenth) = (2 * number as usize + 2, number as usize / 10 + 1);
        if events > 20_000 && number % 500 == 0 {
            let bound = 80 * events + (40 + 2 * 21) * tenth + last_pages;
            assert!(state.bytes() <= bound, "{events}: {}", state.bytes());
        }
    }
    // now the pages of what every event has are full
    let others = 6_554 * (40 + 2 * 21) + 4_096 * (32 + 20 + 21);
    let each = (state.bytes() - others) as f64 / 131_072.0;
    assert!(each <= 80.0, "{each}");
}

#[test]
fn rows_on_disk_are_the_rows_that_were_in_memory() {
    let place = crate::spill::scratch("state", 30_000);
    let (mut held, mut spilled) = (State::default(), State::new(Some(place)));
    for number in 0..2_000u32 {
        let (shown, said) = (response(number * 7 % 1_500), feedback(number * 7 % 1_500));
        let fates = [&mut held, &mut spilled].map(|state| {
            let shown = state.impression(&shown, number / 9).unwrap();
            (shown, state.feedback(&said, number / 9).unwrap())
        });
        assert_eq!(fates[0], fates[1]);
    }
    spilled.unload().unwrap();
    assert!(spilled.rows.bytes() < 20_000);
    let logs = spilled.logs.unwrap();
    for row in logs.responses() {
        let (row, known) = row.unwrap();
        let known = known.unwrap();
        assert_eq!(Some(known.shown), held.rows.response(row));
        assert_eq!(known.src, held.rows.shown.origin(row).0);
        let parent = held.rows.parents().find(|(child, _)| *child == row);
        assert_eq!(known.parent, parent.map_or(Key::default(), |(_, key)| key));
    }
    for row in logs.standing() {
        let (row, known) = row.unwrap();
        assert_eq!(Some(known.event), held.rows.event(row));
        assert_eq!((known.src, known.space), held.rows.events.origin(row));
        assert_eq!(known.winner, held.rows.winner(row));
    }
}

#[test]
fn passes_and_threads_say_what_memory_says_and_stop_when_told() {
    let windows = attribute::Windows {
        window: 500,
        lateness: 100,
        watermark: FIRST + 3_000,
    };
    let filled = |place| {
        let mut state = State::new(place);
        for number in 0..3_000 {
            state.impression(&response(number), 0).unwrap();
            state.feedback(&feedback(number), 0).unwrap();
        }
        state
    };
    let derived = |mut state: State, threads, tick: &mut dyn FnMut() -> Result<()>| {
        let mut seen = Vec::new();
        let done = derive::derive(&mut state, &windows, threads, tick, |row| {
            seen.push(row.clone());
            Ok(())
        });
        done.map(|done| {
            let pairs: Vec<_> = done.pairs().map(Result::unwrap).collect();
            (done.digest, done.states, done.cells.counts, pairs, seen)
        })
    };
    let place = crate::spill::scratch("passes", 100_000);
    let held = derived(filled(None), 1, &mut || Ok(())).unwrap();
    for threads in [2, 3, 5] {
        let several = derived(filled(None), threads, &mut || Ok(()));
        assert_eq!(several.unwrap(), held, "{threads} threads");
        let stopped = derived(filled(None), threads, &mut || Err(Error::Interrupted));
        assert!(matches!(stopped, Err(Error::Interrupted)));
    }
    let mut ticks = 0;
    let spilled = derived(filled(Some(place.clone())), 1, &mut || {
        ticks += 1;
        Ok(())
    });
    assert_eq!(spilled.unwrap(), held);
    assert!(ticks > 0);
    let stopped = derived(filled(Some(place)), 1, &mut || Err(Error::Interrupted));
    assert!(matches!(stopped, Err(Error::Interrupted)));
}
