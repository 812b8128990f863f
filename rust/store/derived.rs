//! The derived tables, rewritten by every commit: observations (row-aligned with impressions), pairs, cells; and the
//! quarantine.

use super::columns::{
    Bool, Bytes, F32, I16, I32, I64, I64s, Key16, PerKind, Text, U8, U16, U32, U64, table,
};
use super::facts::Lineage;
use crate::count::Cells;
use crate::event::Bad;
use crate::event::row::Key;
use crate::join::derive::Observation;
use crate::join::pairs::Pair;

table! {
    /// One row for each row of impressions.
    Observations {
        offered: U32, closed_kinds: U32, o_kinds: U32, pos_kinds: U32, neg_kinds: U32, rating: F32 or null, o: Bool, r: F32 or null,
        n_pos: U16, n_neg: U16, conflict: Bool, first_delay_ms: I64 or null, dwell_ms: F32 or null, closed: Bool, age_ms: I64,
        cell: U32, len_bucket: U8, hour_of_week: U8, user_prior_exp: U32, user_prior_obs: U32, live: Bool, delays_ms: I64s,
    }
}

table! {
    /// Pairs of responses.
    Pairs {
        request_id: Text or null, key_a: Key16, key_b: Key16, row_a: I64, row_b: I64, slot_a: I16 or null, slot_b: I16 or null,
        winner: Text or null, source: Text, p_shown: F32 or null, o: Bool,
    }
}

table! {
    /// Counters.
    Counters {
        surface: Text or null, model: Text or null, slot: I16 or null, n_slots: I16 or null, lang: Text or null, len_bucket: U8, offered: U32,
        n_exp: U64, n_closed: U64, n_obs: U64, n_obs_by_kind: PerKind, n_pos_by_kind: PerKind, n_neg_by_kind: PerKind,
    }
}

table! {
    /// Refused lines.
    Quarantine {
        file: Text, src: I32, line: I64, off: I64, len: I64, reason: Text, field: Text, message: Text,
        digest: Key16 or null, raw: Bytes or null, generation: I64,
    }
}

impl Observations {
    /// Adds a row.
    pub fn push(&mut self, seen: &Observation) {
        self.offered.append_value(seen.offered);
        self.closed_kinds.append_value(seen.closed_kinds);
        self.o_kinds.append_value(seen.o_kinds);
        self.pos_kinds.append_value(seen.pos_kinds);
        self.neg_kinds.append_value(seen.neg_kinds);
        self.rating.append_option(seen.rating);
        self.o.append_value(seen.o);
        self.r.append_option(seen.r);
        self.n_pos.append_value(seen.n_pos);
        self.n_neg.append_value(seen.n_neg);
        self.conflict.append_value(seen.conflict);
        self.first_delay_ms.append_option(seen.first_delay_ms);
        self.dwell_ms.append_option(seen.dwell_ms);
        self.closed.append_value(seen.closed);
        self.age_ms.append_value(seen.age_ms);
        self.cell.append_value(seen.cell);
        self.len_bucket.append_value(seen.len_bucket);
        self.hour_of_week.append_value(seen.hour_of_week);
        self.user_prior_exp.append_value(seen.user_prior_exp);
        self.user_prior_obs.append_value(seen.user_prior_obs);
        self.live.append_value(seen.live);
        self.delays_ms.values().append_slice(&seen.delays_ms);
        self.delays_ms.append(true);
    }
}

impl Pairs {
    /// Adds a row; `request` is the id of the request of its first response.
    pub fn push(&mut self, pair: &Pair, request: Option<&str>) {
        let ([row_a, row_b], [key_a, key_b]) = (pair.rows, pair.keys);
        let [slot_a, slot_b] = pair.slots;
        self.request_id
            .append_option(request.filter(|_| pair.source == "choice"));
        self.key_a.append(key_a);
        self.key_b.append(key_b);
        self.row_a.append_value(i64::from(row_a));
        self.row_b.append_value(i64::from(row_b));
        self.slot_a.append_option(slot_a);
        self.slot_b.append_option(slot_b);
        self.winner.append_option(pair.winner);
        self.source.append_value(pair.source);
        self.p_shown.append_option(pair.p_shown);
        self.o.append_value(pair.winner.is_some());
    }
}

impl Counters {
    /// Adds all cells, in order.
    pub fn push_all(&mut self, cells: &Cells) {
        for (key, counts) in cells.keys.iter().zip(&cells.counts) {
            self.surface.append_option(key.surface.as_deref());
            self.model.append_option(key.model.as_deref());
            self.slot.append_option(key.slot);
            self.n_slots.append_option(key.n_slots);
            self.lang.append_option(key.lang.as_deref());
            self.len_bucket.append_value(key.len_bucket);
            self.offered.append_value(key.offered.unwrap_or_default());
            self.n_exp.append_value(counts.n_exp);
            self.n_closed.append_value(counts.n_closed);
            self.n_obs.append_value(counts.n_obs);
            for (builder, by_kind) in [
                (&mut self.n_obs_by_kind, &counts.n_obs_by_kind),
                (&mut self.n_pos_by_kind, &counts.n_pos_by_kind),
                (&mut self.n_neg_by_kind, &counts.n_neg_by_kind),
            ] {
                builder.values().append_slice(by_kind);
                builder.append(true);
            }
        }
    }
}

/// A refused line, as the quarantine keeps it.
pub struct Refused<'a> {
    /// Name of the file.
    pub file: &'a str,
    /// Where it was.
    pub from: Lineage,
    /// Why.
    pub bad: &'a Bad,
    /// Keyed hash of its bytes, if they were held.
    pub digest: Option<Key>,
    /// Its bytes, if asked for.
    pub raw: Option<&'a [u8]>,
    /// Generation that refused it.
    pub generation: u64,
}

impl Quarantine {
    /// Adds a row.
    pub fn push(&mut self, row: &Refused<'_>) {
        self.file.append_value(row.file);
        self.src.append_value(row.from.src as i32);
        self.line.append_value(row.from.line as i64);
        self.off.append_value(row.from.off as i64);
        self.len.append_value(row.from.len as i64);
        self.reason.append_value(row.bad.reason.name());
        self.field.append_value(row.bad.field);
        self.message.append_value(&row.bad.message);
        self.digest.append(row.digest);
        self.raw.append_option(row.raw);
        self.generation.append_value(row.generation as i64);
    }
}
