//! One line to one typed row, or to the reason why not.

use std::borrow::Cow;
use std::sync::Arc;

use hashbrown::HashMap;

use super::json::{Field, Fields, Value, raw_of, scan};
use super::typed::{missing, no_id, wrong};
use crate::event::row::{Feedback, Impression, Key, Span, Target, Winner};
use crate::event::value::{self, Scalar};
use crate::event::{Bad, Kind, Reason};
use crate::key::{Secret, Space};
use crate::mapping::{Draft, Found, Make, Mapping};

/// A parsed line.
#[derive(Debug)]
pub enum Row {
    /// A response shown.
    Impression(Box<Impression<Span>>),
    /// Feedback or a choice.
    Feedback(Box<Feedback<Span>>),
}

#[rustfmt::skip]
const IMPRESSION: u32 = mask(&[
    Field::Type, Field::Id, Field::ShownAt, Field::Response, Field::Prompt, Field::Messages, Field::Request,
    Field::Session, Field::Turn, Field::User, Field::Model, Field::Surface, Field::Lang, Field::Slot, Field::NSlots,
    Field::PolicyId, Field::PolicyProb, Field::Offered, Field::Parent, Field::ReceivedAt,
]);
#[rustfmt::skip]
const EVENT: u32 = mask(&[
    Field::Type, Field::Id, Field::Request, Field::At, Field::User, Field::Actor, Field::Version, Field::Op,
    Field::Comment, Field::ReceivedAt,
]);
const FEEDBACK: u32 = EVENT | mask(&[Field::Response, Field::Session, Field::Kind, Field::Value]);
const CHOICE: u32 = EVENT | mask(&[Field::Winner]);

const fn mask(mut fields: &[Field]) -> u32 {
    let mut mask = 0;
    while let [first, rest @ ..] = fields {
        mask |= first.mask();
        fields = rest;
    }
    mask
}

/// Pseudonyms kept at hand; beyond this the cache starts again.
const CACHED: usize = 1 << 16;

/// Gives types to the lines of one source; owned by one thread.
pub struct Parser {
    secret: Secret,
    source: String,
    mapping: Option<Arc<Mapping>>,
    users: HashMap<String, Key>,
    sessions: HashMap<String, Key>,
}

impl Parser {
    /// A parser of the namespace `source`.
    pub fn new(secret: Secret, source: &str) -> Self {
        Self {
            secret,
            source: source.to_owned(),
            mapping: None,
            users: HashMap::new(),
            sessions: HashMap::new(),
        }
    }

    /// The same for the records of another product; none = canonical lines.
    pub fn mapped(self, mapping: Option<Arc<Mapping>>) -> Self {
        Self { mapping, ..self }
    }

    /// The mapping, if lines are not canonical.
    pub fn mapping(&self) -> Option<Arc<Mapping>> {
        self.mapping.clone()
    }

    /// The row on `line`; its text is appended to `arena`, or nothing is.
    pub fn parse(&mut self, line: &str, arena: &mut String) -> Result<Row, Bad> {
        let start = arena.len();
        let row = self.row(line, arena);
        if row.is_err() {
            arena.truncate(start);
        }
        row
    }

    fn row(&mut self, line: &str, arena: &mut String) -> Result<Row, Bad> {
        let mut fields = scan(line, arena)?;
        let kind = match fields.get(Field::Type) {
            Value::Text(span) => span.of(arena).to_owned(),
            Value::Absent | Value::Null => return Err(missing(Field::Type)),
            _ => return Err(wrong(Field::Type, "a string")),
        };
        let known = match kind.as_str() {
            "impression" => IMPRESSION,
            "feedback" => FEEDBACK,
            "choice" => CHOICE,
            "gold" => {
                return Err(wrong(
                    Field::Type,
                    "gold labels go into a file of their own, given by --gold",
                ));
            }
            _ => return Err(wrong(Field::Type, "one of impression, feedback, choice")),
        };
        for field in Field::ALL {
            if known & field.mask() == 0 && fields.get(*field) != Value::Absent {
                let raw = raw_of(line, *field).ok_or_else(|| wrong(*field, "a value"))?;
                fields.unknown.push((Cow::Borrowed(field.name()), raw));
            }
        }
        let make = match kind.as_str() {
            "impression" => Make::Impression,
            "feedback" => Make::Feedback,
            _ => Make::Choice,
        };
        let mut line = Line {
            fields,
            arena,
            parser: self,
        };
        line.row(make)
    }

    /// Gives every record on `line` with the number of its rule: a row, nothing when it is skipped, or why not.
    pub fn records(
        &mut self,
        mapping: &Mapping,
        line: &str,
        arena: &mut String,
        give: &mut impl FnMut(u16, Result<Option<Row>, Bad>),
    ) -> Result<(), Bad> {
        mapping.apply(line, arena, |arena, Found { rule, draft }| {
            let row = draft.and_then(|draft: Option<Draft>| {
                let Some(draft) = &draft else { return Ok(None) };
                let mut line = Line {
                    fields: draft.fields(),
                    arena,
                    parser: self,
                };
                line.row(draft.make).map(Some)
            });
            let kept = matches!(row, Ok(Some(_)));
            give(rule, row);
            kept
        })
    }

    pub(super) fn person(&mut self, role: &'static str, id: &str) -> Key {
        let known = if role == Field::User.name() {
            &mut self.users
        } else {
            &mut self.sessions
        };
        if let Some(key) = known.get(id) {
            return *key;
        }
        let key = self.secret.person(&self.source, role, id);
        if known.len() >= CACHED {
            known.clear();
        }
        known.insert(id.to_owned(), key);
        key
    }
}

/// A line being given types.
pub(super) struct Line<'a, 'de> {
    pub fields: Fields<'de>,
    pub arena: &'a mut String,
    pub parser: &'a mut Parser,
}

impl Line<'_, '_> {
    fn row(&mut self, make: Make) -> Result<Row, Bad> {
        match make {
            Make::Impression => self.impression().map(|row| Row::Impression(Box::new(row))),
            Make::Feedback => self.feedback().map(|row| Row::Feedback(Box::new(row))),
            Make::Choice => self.choice().map(|row| Row::Feedback(Box::new(row))),
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
            prompt_hash: Key::of(prompt.of(self.arena).as_bytes()),
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
            response_chars: i32::try_from(response.of(self.arena).chars().count())
                .unwrap_or(i32::MAX),
            text_hash: Key::of(response.of(self.arena).as_bytes()),
        };
        row.content = row.text(self.arena).hash();
        Ok(row)
    }

    fn feedback(&mut self) -> Result<Feedback<Span>, Bad> {
        let kind = self
            .text(Field::Kind)?
            .ok_or_else(|| missing(Field::Kind))?;
        let kind = Kind::named(kind.of(self.arena)).ok_or_else(|| {
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
            Value::Text(span) => (Scalar::Text(span.of(self.arena)), Some(span)),
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
        let (won, response, label) = match winner.of(self.arena) {
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
        row.content = row.text(self.arena).hash();
        Ok(row)
    }

    fn key(&self, space: Space, id: Span) -> Key {
        self.parser
            .secret
            .id(&self.parser.source, space, id.of(self.arena))
    }

    /// The source's name; every chunk's arena begins with it.
    fn source(&self) -> Span {
        Span {
            from: 0,
            to: self.parser.source.len(),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<(Row, String), Bad> {
        let mut arena = "canonical".to_owned();
        let mut parser = Parser::new(Secret::new(&[7; 32]).unwrap(), "canonical");
        parser.parse(line, &mut arena).map(|row| (row, arena))
    }

    fn impression(fields: &str) -> Result<(Impression<Span>, String), Bad> {
        let line = format!(
            r#"{{"type":"impression","id":"r1","shown_at":"2026-05-04T10:11:12Z","prompt":"p","response":"r"{fields}}}"#
        );
        parse(&line).map(|(row, arena)| match row {
            Row::Impression(row) => (*row, arena),
            Row::Feedback(_) => panic!("an impression was read as feedback"),
        })
    }

    #[test]
    fn integers_and_strings_name_the_same_response() {
        let a =
            r#"{"type":"feedback","id":1,"response":5,"kind":"copy","at":"2026-05-04T10:11:12Z"}"#;
        let b = r#"{"type":"feedback","id":"1","response":"5","kind":"copy","at":"2026-05-04T10:11:12Z"}"#;
        match (parse(a).unwrap().0, parse(b).unwrap().0) {
            (Row::Feedback(a), Row::Feedback(b)) => {
                assert_eq!((a.key, a.target, a.content), (b.key, b.target, b.content))
            }
            _ => panic!("feedback was read as an impression"),
        }
    }

    #[test]
    fn unknown_and_foreign_fields_are_kept_in_the_order_of_their_names() {
        let (row, arena) = impression(r#","z":1.50,"kind":{"a":[]},"b\n":"\u00e9""#).unwrap();
        assert_eq!(
            row.extra.unwrap().of(&arena),
            r#"{"b\n":"\u00e9","kind":{"a":[]},"z":1.50}"#
        );
    }

    #[test]
    fn messages_become_the_prompt() {
        let line = r#"{"type":"impression","id":1,"shown_at":"2026-05-04T10:11:12Z","response":"r",
            "messages":[{"role":"user","content":"hi"},{"role":"tool","content":null,"x":1}]}"#;
        match parse(&line.replace('\n', "")).unwrap() {
            (Row::Impression(row), arena) => {
                assert_eq!(row.prompt.of(&arena), "user: hi\ntool: ");
                assert!(row.messages.unwrap().of(&arena).starts_with("[{\"role\""));
            }
            _ => panic!("an impression was read as feedback"),
        }
    }

    #[test]
    fn an_empty_offer_is_not_an_unknown_offer() {
        assert_eq!(impression(r#","offered":[]"#).unwrap().0.offered, Some(0));
        assert_eq!(impression(r#","offered":null"#).unwrap().0.offered, None);
        assert_eq!(
            impression(r#","offered":["thumbs","copy"]"#)
                .unwrap()
                .0
                .offered,
            Some(0b1001)
        );
    }

    #[test]
    fn each_fault_has_its_reason_and_field() {
        for (fields, reason, field) in [
            (r#","offered":["nope"]"#, Reason::UnknownKind, "offered"),
            (r#","offered":"thumbs""#, Reason::Type, "offered"),
            (r#","policy_prob":0"#, Reason::Number, "policy_prob"),
            (r#","policy_prob":1.01"#, Reason::Number, "policy_prob"),
            (r#","slot":1.0"#, Reason::Type, "slot"),
            (r#","slot":40000"#, Reason::Number, "slot"),
            (r#","model":7"#, Reason::Type, "model"),
            (r#","request":1.5"#, Reason::IdRange, "request"),
            (r#","request":1e30"#, Reason::IdRange, "request"),
            (
                r#","request":123456789012345678901234567890"#,
                Reason::IdRange,
                "request",
            ),
            (r#","request":"""#, Reason::NoId, "request"),
            (r#","user":true"#, Reason::Type, "user"),
            (
                r#","received_at":"1999-01-01T00:00:00Z""#,
                Reason::TimeRange,
                "received_at",
            ),
            (
                r#","received_at":"2026-01-01T00:00:00""#,
                Reason::Type,
                "received_at",
            ),
            (r#","messages":[{"content":"x"}]"#, Reason::Type, "messages"),
        ] {
            let bad = impression(fields).unwrap_err();
            assert_eq!((bad.reason, bad.field), (reason, field), "{fields}");
        }
        let event = r#"{"type":"feedback","id":"f","response":"r","kind":"thumbs","value":"up","at":"2026-05-04T10:11:12Z"}"#;
        assert!(parse(event).is_ok());
        for (from, to, reason) in [
            (r#""id":"f","#, "", Reason::NoId),
            (r#""response":"r","#, "", Reason::NoId),
            (r#""thumbs""#, r#""smile""#, Reason::UnknownKind),
            (r#""thumbs""#, r#""choice""#, Reason::Type),
            (r#""up""#, r#""maybe""#, Reason::Type),
            (r#""type":"feedback","#, "", Reason::Missing),
            (r#""feedback""#, r#""gold""#, Reason::Type),
            (r#","at":"2026-05-04T10:11:12Z""#, "", Reason::Missing),
            (r#""value":"up""#, r#""op":"undo""#, Reason::Type),
            (r#","value":"up""#, "", Reason::Missing),
            (r#""kind""#, r#""actor":"me","kind""#, Reason::Type),
        ] {
            assert_eq!(
                parse(&event.replace(from, to)).unwrap_err().reason,
                reason,
                "{from} -> {to}"
            );
        }
    }
}
