//! The two fact tables, append-only: impressions and feedback, written from rows and read back as rows.

use arrow_array::RecordBatch;
use arrow_array::types::{Float32Type, Float64Type, Int16Type, Int32Type, Int64Type, UInt32Type};
use arrow_schema::ArrowError;
use serde::{Deserialize, Serialize};

use super::columns::{
    Bool, Columns, F32, F64, I8, I16, I32, I64, Key16, Text, Time, U32, number, table, text,
};
use crate::event::row::{Actor, Feedback, Impression, Target, Winner};
use crate::event::value::label;
use crate::event::{Kind, Side};
use crate::key::{Secret, Space};

/// Where a row came from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lineage {
    /// Index into the ledger's sources.
    pub src: u32,
    /// Line number, from 1.
    pub line: u64,
    /// Text offset of the line.
    pub off: u64,
    /// Its length without the newline.
    pub len: u64,
}

table! {
    /// Responses shown.
    Impressions {
        response_key: Key16, response_id: Text, request_id: Text or null, session_key: Key16 or null, turn: I32 or null,
        user_key: Key16 or null, prompt_hash: Key16, shown_at: Time, received_at: Time or null, source: Text, surface: Text or null,
        lang: Text or null, model: Text or null, policy_id: Text or null, policy_prob: F32 or null, slot: I16 or null, n_slots: I16 or null, offered: U32 or null,
        prompt: Text, response: Text, messages: Text or null, response_chars: I32, parent_response_key: Key16 or null,
        text_hash: Key16, content_hash: Key16, extra: Text or null, src: I32, line: I64, off: I64, len: I32,
    }
}

table! {
    /// Accepted versions of feedback events and choices.
    Events {
        event_key: Key16, event_id: Text, response_key: Key16 or null, response_id: Text or null, request_id: Text or null,
        session_key: Key16 or null, user_key: Key16 or null, event_at: Time, received_at: Time or null, source: Text, kind: Text,
        value: F64 or null, label: Text or null, polarity: I8, explicit: Bool, actor: Text, version: I64, op: Text, comment: Text or null,
        extra: Text or null, content_hash: Key16, src: I32, line: I64, off: I64, len: I32,
    }
}

impl Impressions {
    /// Adds a row; returns the bytes of its text.
    pub fn push(&mut self, row: &Impression<&str>, from: Lineage) -> usize {
        self.response_key.append(row.key);
        self.response_id.append_value(row.id);
        self.request_id.append_option(row.request);
        self.session_key.append(row.session);
        self.turn.append_option(row.turn);
        self.user_key.append(row.user);
        self.prompt_hash.append(row.prompt_hash);
        self.shown_at.append_value(row.shown_at);
        self.received_at.append_option(row.received_at);
        self.source.append_value(row.source);
        self.surface.append_option(row.surface);
        self.lang.append_option(row.lang);
        self.model.append_option(row.model);
        self.policy_id.append_option(row.policy_id);
        self.policy_prob.append_option(row.policy_prob);
        self.slot.append_option(row.slot);
        self.n_slots.append_option(row.n_slots);
        self.offered.append_option(row.offered);
        self.prompt.append_value(row.prompt);
        self.response.append_value(row.response);
        self.messages.append_option(row.messages);
        self.response_chars.append_value(row.response_chars);
        self.parent_response_key.append(row.parent);
        self.text_hash.append(row.text_hash);
        self.content_hash.append(row.content);
        self.extra.append_option(row.extra);
        self.src.append_value(from.src as i32);
        self.line.append_value(from.line as i64);
        self.off.append_value(from.off as i64);
        self.len.append_value(from.len as i32);
        let optional = [row.request, row.messages, row.extra];
        let optional: usize = optional.into_iter().flatten().map(str::len).sum();
        row.id.len() + row.prompt.len() + row.response.len() + optional
    }
}

/// Rows of a batch of impressions; `whole` reads the text too, else it is left empty.
pub fn impressions<'a>(
    batch: &'a RecordBatch,
    secret: &Secret,
    whole: bool,
    mut each: impl FnMut(Impression<&'a str>, u32),
) -> Result<(), ArrowError> {
    let of = Columns(batch);
    let prompt = if whole {
        Some((of.text("prompt")?, of.text("response")?))
    } else {
        None
    };
    let details = if whole {
        Some((
            of.text("messages")?,
            of.text("extra")?,
            of.text("policy_id")?,
            of.number::<Int32Type>("turn")?,
        ))
    } else {
        None
    };
    let (key, content) = (of.key("response_key")?, of.key("content_hash")?);
    let (id, request) = (of.text("response_id")?, of.text("request_id")?);
    let (session, user) = (of.key("session_key")?, of.key("user_key")?);
    let hashes = of.key("text_hash")?;
    let (hash, parent) = (of.key("prompt_hash")?, of.key("parent_response_key")?);
    let (shown, received) = (of.time("shown_at")?, of.time("received_at")?);
    let (source, surface) = (of.text("source")?, of.text("surface")?);
    let (lang, model) = (of.text("lang")?, of.text("model")?);
    let prob = of.number::<Float32Type>("policy_prob")?;
    let (slot, n_slots) = (
        of.number::<Int16Type>("slot")?,
        of.number::<Int16Type>("n_slots")?,
    );
    let (offered, chars) = (
        of.number::<UInt32Type>("offered")?,
        of.number::<Int32Type>("response_chars")?,
    );
    let src = of.number::<Int32Type>("src")?;
    for row in 0..batch.num_rows() {
        let source = source.value(row);
        let request = text(request, row);
        each(
            Impression {
                key: key.get(row).unwrap_or_default(),
                content: content.get(row).unwrap_or_default(),
                id: id.value(row),
                request,
                request_key: request.map(|id| secret.id(source, Space::Request, id)),
                session: session.get(row),
                turn: details.and_then(|(_, _, _, turn)| number(turn, row)),
                user: user.get(row),
                prompt_hash: hash.get(row).unwrap_or_default(),
                shown_at: shown.value(row),
                received_at: number(received, row),
                source,
                surface: text(surface, row),
                lang: text(lang, row),
                model: text(model, row),
                policy_id: details.and_then(|(_, _, policy, _)| text(policy, row)),
                policy_prob: number(prob, row),
                slot: number(slot, row),
                n_slots: number(n_slots, row),
                offered: number(offered, row),
                prompt: prompt.map_or("", |(prompt, _)| prompt.value(row)),
                response: prompt.map_or("", |(_, response)| response.value(row)),
                messages: details.and_then(|(messages, ..)| text(messages, row)),
                parent: parent.get(row),
                extra: details.and_then(|(_, extra, ..)| text(extra, row)),
                response_chars: chars.value(row),
                text_hash: hashes.get(row).unwrap_or_default(),
            },
            src.value(row) as u32,
        );
    }
    Ok(())
}

/// The columns of impressions that the join needs.
pub const IMPRESSION_KEYS: &[&str] = &[
    "response_key",
    "content_hash",
    "response_id",
    "request_id",
    "session_key",
    "user_key",
    "prompt_hash",
    "parent_response_key",
    "shown_at",
    "received_at",
    "source",
    "surface",
    "lang",
    "model",
    "policy_prob",
    "slot",
    "n_slots",
    "offered",
    "response_chars",
    "text_hash",
    "src",
];

impl Events {
    /// Adds a row; returns the bytes of its text.
    pub fn push(&mut self, row: &Feedback<&str>, from: Lineage) -> usize {
        let (response, session) = match (row.target, row.winner) {
            (Target::Response(key), _) | (_, Some(Winner::Response(key))) => (Some(key), None),
            (Target::Session(key), _) => (None, Some(key)),
            (Target::Request(_), _) => (None, None),
        };
        let positive = row.value.and_then(|value| label(row.kind, value));
        let polarity = match (row.kind.side(), positive) {
            (_, None) => 0,
            (Side::Negative, Some(happened)) => -i8::from(happened),
            (Side::Two, Some(false)) => -1,
            (_, Some(positive)) => i8::from(positive),
        };
        self.event_key.append(row.key);
        self.event_id.append_value(row.id);
        self.response_key.append(response);
        self.response_id.append_option(row.response);
        self.request_id.append_option(row.request);
        self.session_key.append(session);
        self.user_key.append(row.user);
        self.event_at.append_value(row.at);
        self.received_at.append_option(row.received_at);
        self.source.append_value(row.source);
        self.kind.append_value(row.kind.name());
        self.value.append_option(row.value);
        self.label.append_option(row.label);
        self.polarity.append_value(polarity);
        self.explicit.append_value(row.kind.side() == Side::Two);
        self.actor.append_value(row.actor.name());
        self.version.append_value(row.version);
        self.op
            .append_value(if row.retract { "retract" } else { "upsert" });
        self.comment.append_option(row.comment);
        self.extra.append_option(row.extra);
        self.content_hash.append(row.content);
        self.src.append_value(from.src as i32);
        self.line.append_value(from.line as i64);
        self.off.append_value(from.off as i64);
        self.len.append_value(from.len as i32);
        let optional = [row.response, row.request, row.label, row.comment, row.extra];
        let optional: usize = optional.into_iter().flatten().map(str::len).sum();
        row.id.len() + optional
    }
}

/// Rows of a batch of feedback.
pub fn events<'a>(
    batch: &'a RecordBatch,
    secret: &Secret,
    mut each: impl FnMut(Feedback<&'a str>, u32),
) -> Result<(), ArrowError> {
    let of = Columns(batch);
    let (key, content, id) = (
        of.key("event_key")?,
        of.key("content_hash")?,
        of.text("event_id")?,
    );
    let (response_key, response) = (of.key("response_key")?, of.text("response_id")?);
    let (request, session, user) = (
        of.text("request_id")?,
        of.key("session_key")?,
        of.key("user_key")?,
    );
    let (at, received) = (of.time("event_at")?, of.time("received_at")?);
    let (source, kind, value) = (
        of.text("source")?,
        of.text("kind")?,
        of.number::<Float64Type>("value")?,
    );
    let (label, actor) = (of.text("label")?, of.text("actor")?);
    let (version, op) = (of.number::<Int64Type>("version")?, of.text("op")?);
    let (comment, extra) = (of.text("comment")?, of.text("extra")?);
    let src = of.number::<Int32Type>("src")?;
    for row in 0..batch.num_rows() {
        let (source, request) = (source.value(row), text(request, row));
        let kind = Kind::named(kind.value(row)).unwrap_or(Kind::Custom);
        let request_key = || secret.id(source, Space::Request, request.unwrap_or_default());
        let (target, winner) = match (kind, response_key.get(row), session.get(row)) {
            (Kind::Choice, Some(key), _) => {
                (Target::Request(request_key()), Some(Winner::Response(key)))
            }
            (Kind::Choice, None, _) if text(label, row) == Some("tie") => {
                (Target::Request(request_key()), Some(Winner::Tie))
            }
            (Kind::Choice, None, _) => (Target::Request(request_key()), Some(Winner::BothBad)),
            (_, Some(key), _) => (Target::Response(key), None),
            (_, None, Some(key)) => (Target::Session(key), None),
            (_, None, None) => (Target::Request(request_key()), None),
        };
        each(
            Feedback {
                key: key.get(row).unwrap_or_default(),
                content: content.get(row).unwrap_or_default(),
                id: id.value(row),
                target,
                winner,
                response: text(response, row),
                request,
                user: user.get(row),
                at: at.value(row),
                received_at: number(received, row),
                source,
                kind,
                value: number(value, row),
                label: text(label, row),
                actor: Actor::named(actor.value(row)).unwrap_or(Actor::System),
                version: version.value(row),
                retract: op.value(row) == "retract",
                comment: text(comment, row),
                extra: text(extra, row),
            },
            src.value(row) as u32,
        );
    }
    Ok(())
}
