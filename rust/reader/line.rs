//! One line to one typed row, or to the reason why not.

use std::borrow::Cow;
use std::sync::Arc;

use super::arena::Arena;
use super::cursor::Cursor;
use super::json::{Field, Fields, Value, raw_of, scan};
use super::quick::{self, Habit};
use super::rows::Line;
use super::tree::Node;
use super::typed::{missing, wrong};
use crate::event::Bad;
use crate::event::row::{Feedback, Impression, Key, RowHash, Span};
use crate::key::{Ids, Secret, Space};
use crate::mapping::{Draft, Found, Make, Mapping, Memory, UNMAPPED};

/// A parsed line.
#[derive(Debug)]
pub enum Row {
    /// A response shown.
    Impression(Impression<Span>),
    /// Feedback or a choice.
    Feedback(Feedback<Span>),
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

/// Pseudonyms kept at hand, those of users and of sessions apart; few enough to stay in a core's own cache, where they are
/// found sooner than they are made.
const KEPT: usize = 1 << 12;

/// Gives types to the lines of one source; owned by one thread.
pub struct Parser {
    secret: Secret,
    pub(super) source: String,
    /// What makes the keys of ids, by their space.
    pub(super) ids: Ids,
    /// Kept from one row to the next.
    pub(super) hash: RowHash,
    /// The list of kinds offered that was read last, and what it says.
    pub(super) offered: (String, u32),
    mapping: Option<Arc<Mapping>>,
    memory: Memory,
    /// Keep fields that hold e-mail and IP addresses.
    pub(super) keep_addresses: bool,
    /// Such fields that were left out.
    pub(super) addresses: u64,
    /// Kept from one look for them to the next.
    pub(super) nodes: Vec<Node>,
    habit: Habit,
    /// Pseudonyms of users and of sessions behind keyed hashes of their ids, each at the place that the hash says.
    people: [Vec<(Key, Key)>; 2],
}

impl Parser {
    /// A parser of the namespace `source`.
    pub fn new(secret: Secret, source: &str) -> Self {
        Self {
            ids: secret.ids(source),
            secret,
            source: source.to_owned(),
            hash: RowHash::default(),
            offered: Default::default(),
            mapping: None,
            memory: Memory::default(),
            keep_addresses: false,
            addresses: 0,
            nodes: Vec::new(),
            habit: Habit::default(),
            people: [(); 2].map(|()| vec![Default::default(); KEPT]),
        }
    }

    /// The same for the records of another product; none = canonical lines.
    pub fn mapped(self, mapping: Option<Arc<Mapping>>) -> Self {
        let memory = mapping.as_ref().map(|mapping| mapping.memory());
        Self {
            memory: memory.unwrap_or_default(),
            mapping,
            ..self
        }
    }

    /// The same, fields that hold e-mail and IP addresses kept or not.
    pub fn keeping(self, keep_addresses: bool) -> Self {
        Self {
            keep_addresses,
            ..self
        }
    }

    /// The row on `line`, read by way of `fields`; a refused one leaves no text in `arena`.
    pub fn parse<'l>(
        &mut self,
        line: &'l str,
        fields: &mut Fields<'l>,
        arena: &mut Arena<'_>,
    ) -> Result<Row, Bad> {
        let start = arena.end();
        let read = self.read(line, fields, arena);
        let row = read.and_then(|()| self.row(line, fields, arena.again()));
        if row.is_err() {
            arena.back_to(start);
        }
        row
    }

    /// Reads a canonical line to `fields`, as for `parse`; the texts of a refused one stay in `arena`.
    pub fn read<'l>(
        &mut self,
        line: &'l str,
        fields: &mut Fields<'l>,
        arena: &mut Arena<'_>,
    ) -> Result<(), Bad> {
        let start = arena.end();
        let found = quick::read(Cursor::new(line), fields, arena, &mut self.habit);
        if !found.is_some_and(Cursor::is_last) {
            arena.back_to(start);
            *fields = scan(line, arena)?;
        }
        Ok(())
    }

    /// Reads the canonical line that `text` begins with to `fields`, if it is an ordinary one; its length without the
    /// newline, which nobody had to look for. None says nothing about a line.
    #[inline]
    pub fn next<'l>(
        &mut self,
        text: &'l str,
        fields: &mut Fields<'l>,
        arena: &mut Arena<'_>,
    ) -> Option<usize> {
        if self.mapping.is_some() {
            return None;
        }
        let start = arena.end();
        let found = quick::read(Cursor::of_line(text), fields, arena, &mut self.habit);
        let found = found.and_then(Cursor::line_end);
        if found.is_none() {
            arena.back_to(start);
        }
        found
    }

    /// The row on a canonical `line` that was read to `fields`; the texts of a refused one stay in `arena`.
    pub fn row<'l>(
        &mut self,
        line: &'l str,
        fields: &mut Fields<'l>,
        arena: Arena<'_>,
    ) -> Result<Row, Bad> {
        let kind = match fields.get(Field::Type) {
            Value::Text(span) => arena.texts().of(span),
            Value::Absent | Value::Null => return Err(missing(Field::Type)),
            _ => return Err(wrong(Field::Type, "a string")),
        };
        let (make, known) = match kind {
            "impression" => (Make::Impression, IMPRESSION),
            "feedback" => (Make::Feedback, FEEDBACK),
            "choice" => (Make::Choice, CHOICE),
            "gold" => {
                return Err(wrong(
                    Field::Type,
                    "gold labels go into a file of their own, given by --gold",
                ));
            }
            _ => return Err(wrong(Field::Type, "one of impression, feedback, choice")),
        };
        let foreign = fields.known & !known;
        for field in Field::ALL {
            if foreign & field.mask() != 0 {
                let raw = raw_of(line, *field).ok_or_else(|| wrong(*field, "a value"))?;
                fields.unknown.push((Cow::Borrowed(field.name()), raw));
            }
        }
        let mut line = Line {
            fields,
            arena,
            parser: self,
        };
        line.row(make)
    }

    /// Gives every record on `line` with the number of its rule: a row, nothing when it is skipped, or why not.
    ///
    /// # Errors
    /// Why the line as a whole is no record.
    pub fn records<'l>(
        &mut self,
        line: &'l str,
        fields: &mut Fields<'l>,
        arena: &mut Arena<'_>,
        give: &mut impl FnMut(u16, Result<Option<Row>, Bad>),
    ) -> Result<(), Bad> {
        let Some(mapping) = self.mapping.take() else {
            let row = self.parse(line, fields, arena)?;
            give(UNMAPPED, Ok(Some(row)));
            return Ok(());
        };
        let mut memory = std::mem::take(&mut self.memory);
        let applied = mapping.apply(line, &mut memory, arena, |arena, Found { rule, draft }| {
            let row = draft.and_then(|draft: Option<Draft<'_>>| {
                let Some(draft) = &draft else { return Ok(None) };
                let mut line = Line {
                    fields: &mut draft.fields(),
                    arena: arena.again(),
                    parser: self,
                };
                line.row(draft.make).map(Some)
            });
            let kept = matches!(row, Ok(Some(_)));
            give(rule, row);
            kept
        });
        (self.mapping, self.memory) = (Some(mapping), memory);
        applied
    }

    pub(super) fn person(&mut self, role: &'static str, id: &str) -> Key {
        let hash = self.ids.key(Space::Person, id);
        let [users, sessions] = &mut self.people;
        let known = if role == Field::User.name() {
            users
        } else {
            sessions
        };
        let known = known.get_mut(hash.short() as usize % KEPT);
        match known {
            Some((known, key)) if *known == hash => *key,
            known => {
                let key = self.secret.person(&self.source, role, id);
                if let Some(known) = known {
                    *known = (hash, key);
                }
                key
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;
    use crate::event::Reason;
    use crate::event::row::Texts;

    fn parse(line: &str) -> Result<(Row, String), Bad> {
        let mut arena = "canonical".to_owned();
        let mut parser = Parser::new(Secret::new(&[7; 32]).unwrap(), "canonical");
        let fields = &mut Fields::default();
        parser
            .parse(line, fields, &mut Arena::writing(&mut arena))
            .map(|row| (row, arena))
    }

    fn text(span: Span, more: &str) -> &str {
        Texts { chunk: "", more }.of(span)
    }

    fn impression(fields: &str) -> Result<(Impression<Span>, String), Bad> {
        let line = format!(
            r#"{{"type":"impression","id":"r1","shown_at":"2026-05-04T10:11:12Z","prompt":"p","response":"r"{fields}}}"#
        );
        parse(&line).map(|(row, arena)| match row {
            Row::Impression(row) => (row, arena),
            Row::Feedback(_) => panic!("an impression was read as feedback"),
        })
    }

    #[test]
    fn a_pseudonym_is_that_of_the_person_though_others_took_its_place() {
        let secret = Secret::new(&[7; 32]).unwrap();
        let mut parser = Parser::new(secret.clone(), "canonical");
        let ids: Vec<String> = (0..2 * KEPT).map(|id| id.to_string()).collect();
        for id in ids.iter().chain(&ids) {
            for role in ["user", "session", "user"] {
                let expected = secret.person("canonical", role, id);
                assert_eq!(parser.person(role, id), expected, "{role} {id}");
            }
        }
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
            text(row.extra.unwrap(), &arena),
            r#"{"b\n":"\u00e9","kind":{"a":[]},"z":1.50}"#
        );
    }

    #[test]
    fn messages_become_the_prompt() {
        let line = r#"{"type":"impression","id":1,"shown_at":"2026-05-04T10:11:12Z","response":"r",
            "messages":[{"role":"user","content":"hi"},{"role":"tool","content":null,"x":1}]}"#;
        match parse(&line.replace('\n', "")).unwrap() {
            (Row::Impression(row), arena) => {
                assert_eq!(text(row.prompt, &arena), "user: hi\ntool: ");
                assert!(text(row.messages.unwrap(), &arena).starts_with("[{\"role\""));
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
