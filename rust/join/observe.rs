//! What the feedback on one response says about it.

use super::Event;
use crate::event::row::{Key, RowHash};
use crate::event::{Kind, Side, TWO_SIDED};

/// What is recorded about one response.
#[derive(Clone, Debug, Default, PartialEq)]
#[allow(missing_docs)] // the columns of the observations table, explained there
pub struct Observation {
    pub offered: u32,
    pub closed_kinds: u32,
    pub o_kinds: u32,
    pub pos_kinds: u32,
    pub neg_kinds: u32,
    pub rating: Option<f32>,
    pub o: bool,
    pub r: Option<f32>,
    pub n_pos: u16,
    pub n_neg: u16,
    pub conflict: bool,
    pub first_delay_ms: Option<i64>,
    pub dwell_ms: Option<f32>,
    pub closed: bool,
    pub age_ms: i64,
    pub cell: u32,
    pub len_bucket: u8,
    pub hour_of_week: u8,
    pub user_prior_exp: u32,
    pub user_prior_obs: u32,
    pub live: bool,
    /// From the response to the first feedback of each kind in `o_kinds`, in the order of its bits. Not hashed: it
    /// follows from the events, which are.
    pub delays_ms: Vec<i64>,
}

/// What an attributed event says.
#[derive(Clone, Copy)]
pub struct Given {
    /// Kind.
    pub kind: Kind,
    /// Microseconds since 1970.
    pub at: i64,
    /// Number to store.
    pub value: f32,
    /// Its label.
    pub label: Option<bool>,
}

impl Given {
    /// What an event says.
    pub fn of(event: &Event) -> Self {
        Self {
            kind: event.kind,
            at: event.at,
            value: event.value,
            label: event.label,
        }
    }
}

/// What the events of one row say, the time it was shown at given; they are sorted by kind and time, and the last of a kind stands.
pub(super) fn observe(given: impl Iterator<Item = Given>, shown_at: i64) -> Observation {
    let mut seen = Observation::default();
    let (mut labels, mut last) = ([false; 2], i64::MIN);
    for event in given {
        let mask = event.kind.mask();
        let delay = (event.at - shown_at).max(0) / 1000;
        seen.first_delay_ms = Some(seen.first_delay_ms.map_or(delay, |first| first.min(delay)));
        if seen.o_kinds & mask == 0 {
            seen.delays_ms.push(delay);
        }
        seen.o_kinds |= mask;
        match event.kind {
            Kind::Rating => seen.rating = Some(event.value),
            Kind::Dwell => seen.dwell_ms = Some(event.value),
            _ => {}
        }
        let Some(label) = event.label else { continue };
        let (set, clear) = if label { (mask, 0) } else { (0, mask) };
        seen.pos_kinds = (seen.pos_kinds & !mask) | set;
        seen.neg_kinds = (seen.neg_kinds & !mask) | clear;
        match (event.kind.side(), label) {
            (Side::Positive, true) => seen.n_pos = seen.n_pos.saturating_add(1),
            (Side::Negative, true) => seen.n_neg = seen.n_neg.saturating_add(1),
            (Side::Two, _) => {
                let count = if label {
                    &mut seen.n_pos
                } else {
                    &mut seen.n_neg
                };
                *count = count.saturating_add(1);
                if let Some(given) = labels.get_mut(usize::from(label)) {
                    *given = true;
                }
                if event.at >= last {
                    last = event.at;
                    seen.r = Some(f32::from(u8::from(label)));
                }
            }
            _ => {}
        }
    }
    seen.o = seen.o_kinds & TWO_SIDED != 0;
    seen.conflict = labels == [true; 2];
    seen
}

impl Observation {
    /// Hash of the row of the response with this key; what `hash` held is forgotten.
    pub fn hash(&self, key: Key, hash: &mut RowHash) -> Key {
        hash.clear();
        hash.key(Some(key));
        for mask in [
            self.offered,
            self.closed_kinds,
            self.o_kinds,
            self.pos_kinds,
            self.neg_kinds,
            self.cell,
        ] {
            hash.int(Some(i64::from(mask)));
        }
        for flag in [self.o, self.conflict, self.closed] {
            hash.int(Some(i64::from(flag)));
        }
        for number in [self.rating, self.r, self.dwell_ms] {
            hash.int(number.map(|number| i64::from(number.to_bits())));
        }
        hash.int(Some(i64::from(self.n_pos)))
            .int(Some(i64::from(self.n_neg)));
        hash.int(self.first_delay_ms).int(Some(self.age_ms));
        hash.int(Some(i64::from(self.len_bucket)))
            .int(Some(i64::from(self.hour_of_week)));
        hash.int(Some(i64::from(self.user_prior_exp)))
            .int(Some(i64::from(self.user_prior_obs)));
        hash.done()
    }
}
