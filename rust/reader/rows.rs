//! The fields of a record to the row that they make.

use super::arena::Arena;
use super::json::{Field, Fields, Value};
use super::line::{Parser, Row};
use super::typed::{missing, no_id, wrong};
use crate::event::row::{Feedback, Impression, Key, Span, Target, Winner};
use crate::event::value::{self, Scalar};
use crate::event::{Bad, Kind, Reason};
use crate::key::Space;
use crate::mapping::Make;

/// A line being given types.
pub(super) struct Line<'a, 'c, 'de> {
    pub fields: &'a mut Fields<'de>,
    pub arena: Arena<'c>,
    pub parser: &'a mut Parser,
}

impl Line<'_, '_, '_> {
    pub fn row(&mut self, make: Make) -> Result<Row, Bad> {
        match make {
            Make::Impression => self.impression().map(Row::Impression),
            Make::Feedback => self.feedback().map(Row::Feedback),
            Make::Choice => self.choice().map(Row::Feedback),
        }
    }

    fn impression(&mut self) -> Result<Impression<Span>, Bad> {
        let id = self.own_id()?;
        let shown_at = self
            .time(Field::ShownAt)?
            .ok_or_else(|| missing(Field::ShownAt))?;
        let response = self
            .text(Field::Response)?
            .ok_or_else(|| missing(Field::Response))?;
        let (messages, rendered) = self.messages()?;
        let prompt = self
            .text(Field::Prompt)?
            .or(rendered)
            .ok_or_else(|| missing(Field::Prompt))?;
        let request = self.id(Field::Request)?;
        let mut row = Impression {
            key: self.key(Space::Response, id),
            content: Key::default(),
            id,
            request,
            request_key: request.map(|id| self.key(Space::Request, id)),
            session: self.person(Field::Session)?,
            turn: self
                .whole(Field::Turn, 0, i64::from(i32::MAX))?
                .and_then(|n| i32::try_from(n).ok()),
            user: self.person(Field::User)?,
            prompt_hash: Key::of(self.of(prompt).as_bytes()),
            shown_at,
            received_at: self.time(Field::ReceivedAt)?,
            source: self.source(),
            surface: self.text(Field::Surface)?,
            lang: self.text(Field::Lang)?,
            model: self.text(Field::Model)?,
            policy_id: self.text(Field::PolicyId)?,
            policy_prob: self.probability()?,
            slot: self
                .whole(Field::Slot, 0, i64::from(i16::MAX))?
                .and_then(|n| i16::try_from(n).ok()),
            n_slots: self
                .whole(Field::NSlots, 1, i64::from(i16::MAX))?
                .and_then(|n| i16::try_from(n).ok()),
            offered: self.offered()?,
            prompt,
            response,
            messages,
            parent: self
                .id(Field::Parent)?
                .map(|id| self.key(Space::Response, id)),
            extra: self.extra(),
            response_chars: i32::try_from(characters(self.of(response))).unwrap_or(i32::MAX),
            text_hash: Key::of(self.of(response).as_bytes()),
        };
        row.content = row.text(self.arena.texts()).hashed(&mut self.parser.hash);
        Ok(row)
    }

    fn feedback(&mut self) -> Result<Feedback<Span>, Bad> {
        let kind = self
            .text(Field::Kind)?
            .ok_or_else(|| missing(Field::Kind))?;
        let kind = Kind::named(self.of(kind)).ok_or_else(|| {
            Bad::new(
                Reason::UnknownKind,
                "kind",
                "no such kind of feedback; `custom` takes anything",
            )
        })?;
        if kind == Kind::Choice {
            return Err(wrong(Field::Kind, "a line of type choice for a choice"));
        }
        let (response, request) = (self.id(Field::Response)?, self.id(Field::Request)?);
        let target = match (response, request, self.person(Field::Session)?) {
            (Some(id), _, _) => Target::Response(self.key(Space::Response, id)),
            (None, Some(id), _) => Target::Request(self.key(Space::Request, id)),
            (None, None, Some(key)) => Target::Session(key),
            (None, None, None) => {
                return Err(no_id(
                    Field::Response,
                    "response, request or session is required",
                ));
            }
        };
        let (value, label) = match self.fields.get(Field::Value) {
            Value::Absent | Value::Null => (Scalar::Null, None),
            Value::Bool(value) => (Scalar::Bool(value), None),
            Value::Int(value) => (Scalar::Number(value as f64), None),
            Value::Big(value) => (Scalar::Number(value as f64), None),
            Value::Float(value) => (Scalar::Number(value), None),
            Value::Text(span) => (Scalar::Text(self.of(span)), Some(span)),
            Value::Raw(_) | Value::Nested | Value::Instant(_) => {
                return Err(wrong(Field::Value, "a number, a bool or a string"));
            }
        };
        let value = if self.retract()? {
            None
        } else {
            value::parse(kind, value)?
        };
        self.event(kind, target, None, (response, request), (value, label))
    }

    fn choice(&mut self) -> Result<Feedback<Span>, Bad> {
        let request = self
            .id(Field::Request)?
            .ok_or_else(|| no_id(Field::Request, "request is required"))?;
        let winner = self
            .id(Field::Winner)?
            .ok_or_else(|| missing(Field::Winner))?;
        let target = Target::Request(self.key(Space::Request, request));
        let (won, response, label) = match self.of(winner) {
            "tie" => (Winner::Tie, None, Some(winner)),
            "both_bad" => (Winner::BothBad, None, Some(winner)),
            _ => (
                Winner::Response(self.key(Space::Response, winner)),
                Some(winner),
                None,
            ),
        };
        self.event(
            Kind::Choice,
            target,
            Some(won),
            (response, Some(request)),
            (None, label),
        )
    }

    fn event(
        &mut self,
        kind: Kind,
        target: Target,
        winner: Option<Winner>,
        (response, request): (Option<Span>, Option<Span>),
        (value, label): (Option<f64>, Option<Span>),
    ) -> Result<Feedback<Span>, Bad> {
        let id = self.own_id()?;
        let mut row = Feedback {
            key: self.key(Space::Event, id),
            content: Key::default(),
            id,
            target,
            winner,
            response,
            request,
            user: self.person(Field::User)?,
            at: self.time(Field::At)?.ok_or_else(|| missing(Field::At))?,
            received_at: self.time(Field::ReceivedAt)?,
            source: self.source(),
            kind,
            value,
            label,
            actor: self.actor()?,
            version: self.whole(Field::Version, i64::MIN, i64::MAX)?.unwrap_or(0),
            retract: self.retract()?,
            comment: self.text(Field::Comment)?,
            extra: self.extra(),
        };
        row.content = row.text(self.arena.texts()).hashed(&mut self.parser.hash);
        Ok(row)
    }

    fn key(&self, space: Space, id: Span) -> Key {
        self.parser.ids.key(space, self.of(id))
    }

    /// The source's name; what is written for a chunk begins with it.
    fn source(&self) -> Span {
        let from = self.arena.chunk.len();
        let to = from + self.parser.source.len();
        Span { from, to }
    }

    pub(super) fn of(&self, span: Span) -> &str {
        self.arena.texts().of(span)
    }
}

/// Characters of a text: the bytes that begin one, counted in stretches of which a byte can hold the count.
fn characters(text: &str) -> usize {
    const STRETCH: usize = 128;
    let begins = |byte: &u8| u8::from(*byte as i8 >= -0x40);
    let stretches = text.as_bytes().chunks(STRETCH);
    stretches
        .map(|bytes| usize::from(bytes.iter().map(begins).sum::<u8>()))
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_are_those_of_the_standard_library() {
        for length in 0..600 {
            let text: String = "aé日😀".chars().cycle().take(length).collect();
            for text in [text, "x".repeat(length), "語".repeat(length)] {
                assert_eq!(characters(&text), text.chars().count(), "{text}");
            }
        }
    }
}
