//! A value in a record as a field of a canonical row.

use std::borrow::Cow;

use super::path::{At, Item, Record};
use super::table::{Cast, Chat, Literal, Path, Piece, Source, Spec, Time};
use super::units::{has_zone, micros};
use twox_hash::XxHash3_128;

use crate::event::row::Span;
use crate::event::{Bad, Reason, time};
use crate::reader::arena::Arena;
use crate::reader::json::{Field, Value, number};
use crate::reader::tree::Shape;

/// Most messages of a thread.
const MOST_MESSAGES: usize = 1000;

/// What a field becomes.
#[derive(Debug)]
pub(super) enum Cell {
    /// A scalar; text lies in the arena.
    Value(Value<'static>),
    /// JSON of a list or object.
    Json(String),
    /// JSON of a list or object that stands in the record.
    Raw(At),
}

/// What stands at `at` as a field, if nothing else may.
pub(super) fn plain(
    record: &mut Record<'_>,
    item: usize,
    field: Field,
    at: At,
    arena: &mut Arena<'_>,
) -> Option<Cell> {
    let mut look = Look::new(record, item, field, arena);
    let shape = look.record.shape(at);
    match field {
        Field::Offered | Field::Messages => (shape == Shape::Array).then_some(Cell::Raw(at)),
        _ if shape == Shape::Null || (!look.may_be_empty() && look.record.empty(at)) => None,
        _ => look.value(at).map(Cell::Value),
    }
}

/// The first of `specs` that finds something.
pub(super) fn cell(
    record: &mut Record<'_>,
    item: usize,
    field: Field,
    specs: &[Spec],
    arena: &mut Arena<'_>,
) -> Result<Option<Cell>, Bad> {
    let mut nested = false;
    for spec in specs {
        let mut look = Look::new(record, item, field, arena);
        if let Some(cell) = look.spec(spec)? {
            return Ok(Some(cell));
        }
        nested |= look.nested;
    }
    Ok(nested.then_some(Cell::Value(Value::Nested)))
}

struct Look<'a, 'c, 'l> {
    record: &'a mut Record<'l>,
    item: usize,
    field: Field,
    arena: &'a mut Arena<'c>,
    /// A list or object was passed over.
    nested: bool,
}

impl<'a, 'c, 'l> Look<'a, 'c, 'l> {
    fn new(
        record: &'a mut Record<'l>,
        item: usize,
        field: Field,
        arena: &'a mut Arena<'c>,
    ) -> Self {
        Self {
            record,
            item,
            field,
            arena,
            nested: false,
        }
    }
}

impl Look<'_, '_, '_> {
    fn spec(&mut self, spec: &Spec) -> Result<Option<Cell>, Bad> {
        let found = match &spec.source {
            Source::Is(Literal::List(words)) => return Ok(words_of(words)),
            Source::Is(literal) => Some(self.literal(literal)),
            Source::Join(pieces) => self.join(pieces),
            Source::Messages(chat) => return Ok(self.messages(chat).map(Cell::Json)),
            Source::From(paths) if matches!(self.field, Field::Offered | Field::Messages) => {
                let found = self
                    .record
                    .first(paths, self.item, true, |shape| shape == Shape::Array)
                    .0;
                return Ok(found.map(Cell::Raw));
            }
            Source::From(paths) => self.from(paths, spec.cast == Some(Cast::Text)),
        };
        let Some(mut value) = found else {
            return Ok(None);
        };
        if spec.map.is_some() {
            value = self.mapped(value, spec)?;
        }
        if spec.cast == Some(Cast::Number) {
            value = self.number(value)?;
        }
        if let Some(form) = &spec.time {
            value = self.time(value, form)?;
        }
        Ok(Some(Cell::Value(value)))
    }

    fn wrong(&self, reason: Reason, message: impl Into<String>) -> Bad {
        Bad::new(reason, self.field.name(), message)
    }

    fn push(&mut self, text: &str) -> Value<'static> {
        Value::Text(self.arena.push(text))
    }

    fn of(&self, span: Span) -> &str {
        self.arena.texts().of(span)
    }

    fn literal(&mut self, literal: &Literal) -> Value<'static> {
        match literal {
            Literal::Bool(value) => Value::Bool(*value),
            Literal::Int(value) => Value::Int(*value),
            Literal::Float(value) => Value::Float(*value),
            Literal::Text(text) => self.push(text),
            Literal::List(_) => Value::Nested,
        }
    }

    /// The value at the first path that has one; several (under `*`) are joined by line ends.
    fn from(&mut self, paths: &[Path], whole: bool) -> Option<Value<'static>> {
        let scalar = |shape| whole || !matches!(shape, Shape::Array | Shape::Object);
        let empty = self.may_be_empty();
        let (found, rest, passed) = self.record.first(paths, self.item, empty, scalar);
        self.nested |= passed;
        let at = found?;
        if rest.is_empty() && !whole {
            return self.value(at);
        }
        let from = self.arena.end();
        self.add(at);
        for at in rest {
            self.arena.more.push('\n');
            self.add(at);
        }
        Some(Value::Text(self.arena.since(from)))
    }

    /// An answer may be empty; everywhere else an empty text says that nothing was set.
    fn may_be_empty(&self) -> bool {
        matches!(self.field, Field::Response | Field::Prompt)
    }

    /// The value at `at`.
    fn value(&mut self, at: At) -> Option<Value<'static>> {
        match self.record.shape(at) {
            Shape::Bool(value) => Some(Value::Bool(value)),
            Shape::Number => number(self.record.raw(at)),
            Shape::Array | Shape::Object => Some(Value::Nested),
            Shape::Null | Shape::Text { .. } => {
                let text = self.record.text(at);
                let text = text.as_deref().unwrap_or_else(|| self.record.raw(at));
                Some(Value::Text(self.arena.hold(text)))
            }
        }
    }

    /// Appends the text of a string, or any other value as written.
    fn add(&mut self, at: At) {
        match self.record.text(at) {
            Some(text) => self.arena.more.push_str(&text),
            None => self.arena.more.push_str(self.record.raw(at)),
        }
    }

    fn join(&mut self, pieces: &[Piece]) -> Option<Value<'static>> {
        let from = self.arena.end();
        for piece in pieces {
            match piece {
                Piece::Text(text) => self.arena.more.push_str(text),
                Piece::Hash => {
                    let hash = XxHash3_128::oneshot(self.record.raw(Record::ROOT).as_bytes());
                    self.arena.more.push_str(&format!("{hash:032x}"));
                }
                Piece::Place(up) => match self.record.above(self.item, *up).copied() {
                    Some(Item { name: Some(at), .. }) => self.add(at),
                    item => {
                        let place = item.map_or(0, |item| item.place);
                        self.arena.more.push_str(&place.to_string());
                    }
                },
                Piece::Path(path) => {
                    let scalar = |shape| !matches!(shape, Shape::Array | Shape::Object);
                    let found = self
                        .record
                        .first(std::slice::from_ref(path), self.item, false, scalar)
                        .0;
                    let Some(at) = found else {
                        self.arena.back_to(from);
                        return None;
                    };
                    self.add(at);
                }
            }
        }
        Some(Value::Text(self.arena.since(from)))
    }

    /// A list of messages in the canonical form.
    fn messages(&mut self, chat: &Chat) -> Option<String> {
        if let (Some(last), Some(parent)) = (&chat.last, &chat.parent) {
            let thread = self.thread(&chat.each, last, parent);
            return self.said(&thread, chat);
        }
        chat.each.iter().find_map(|path| {
            let items = self.record.all(path, self.item);
            self.said(&items, chat)
        })
    }

    /// Messages as JSON; none if there are none, or if one of them has no role.
    fn said(&mut self, messages: &[At], chat: &Chat) -> Option<String> {
        let kept = messages
            .len()
            .checked_sub(chat.drop)
            .filter(|kept| *kept > 0)?;
        let mut said = Vec::with_capacity(kept);
        for message in messages.iter().take(kept) {
            let role = self.part(*message, &chat.role)?;
            let role = chat.roles.get(&role).cloned().unwrap_or(role);
            let content = self.part(*message, &chat.content).unwrap_or_default();
            said.push(serde_json::json!({"role": role, "content": content}));
        }
        serde_json::to_string(&said).ok()
    }

    /// The messages up to `last`, each found by the id of the one it answers.
    fn thread(&mut self, among: &[Path], last: &Path, parent: &str) -> Vec<At> {
        let Some(all) = among
            .iter()
            .find_map(|path| self.record.all(path, self.item).pop())
        else {
            return Vec::new();
        };
        let mut found: Vec<At> = Vec::new();
        let mut next = self.record.all(last, self.item).pop();
        while let Some(message) = next
            .and_then(|id| self.record.text(id))
            .and_then(|id| self.record.named(all, &id))
        {
            if found.len() >= MOST_MESSAGES || found.contains(&message) {
                break;
            }
            found.push(message);
            next = self.record.named(message, parent);
        }
        found.reverse();
        found
    }

    /// The text at the first path of a message that has one.
    fn part(&mut self, message: At, paths: &[Path]) -> Option<String> {
        for path in paths {
            let found = self.record.walk(message, &path.steps, self.item);
            let texts: Vec<Cow<'_, str>> = found
                .iter()
                .filter_map(|at| self.record.text(*at))
                .collect();
            if !texts.is_empty() {
                return Some(texts.join("\n"));
            }
        }
        None
    }

    fn mapped(&mut self, value: Value<'static>, spec: &Spec) -> Result<Value<'static>, Bad> {
        let word: Cow<'_, str> = match value {
            Value::Text(span) => Cow::Borrowed(self.of(span)),
            Value::Bool(value) => Cow::Borrowed(if value { "true" } else { "false" }),
            Value::Int(value) => Cow::Owned(value.to_string()),
            Value::Big(value) => Cow::Owned(value.to_string()),
            Value::Float(value) => Cow::Owned(value.to_string()),
            _ => return Ok(value),
        };
        let known = spec.map.as_ref().and_then(|map| map.get(word.as_ref()));
        match known.or(spec.other.as_ref()) {
            Some(literal) => Ok(self.literal(literal)),
            None if spec.keep => Ok(value),
            None if self.field == Field::Kind => {
                let message = "a name of feedback that the mapping does not know";
                Err(self.wrong(Reason::UnknownKind, message))
            }
            None => Err(self.wrong(Reason::Type, "a word that the mapping does not know")),
        }
    }

    fn number(&self, value: Value<'static>) -> Result<Value<'static>, Bad> {
        let Value::Text(span) = value else {
            return Ok(value);
        };
        let text = self.of(span).trim();
        let plain = serde_json::from_str::<serde_json::Number>(text).is_ok();
        let read = if plain { number(text) } else { None };
        read.ok_or_else(|| self.wrong(Reason::Type, "expected a number, or a number in a string"))
    }

    fn time(&mut self, value: Value<'static>, form: &Time) -> Result<Value<'static>, Bad> {
        let written = match (value, form) {
            (Value::Text(span), Time::Text(zone)) => {
                let mut text = self.of(span).to_owned();
                if let Some(zone) = zone.as_ref().filter(|_| !has_zone(&text)) {
                    text.push_str(zone);
                }
                if self.field != Field::Version {
                    return Ok(self.push(&text));
                }
                return time::parse(self.field.name(), &text).map(Value::Int);
            }
            (_, Time::Text(_)) => return Ok(value),
            (Value::Text(span), _) => Cow::Borrowed(self.of(span)),
            (Value::Int(number), _) => Cow::Owned(number.to_string()),
            (Value::Float(number), _) => Cow::Owned(number.to_string()),
            _ => return Err(self.wrong(Reason::Type, "expected a number of time units since 1970")),
        };
        let Time::Units(power) = form else {
            return Ok(value);
        };
        let micros = micros(written.trim(), *power).ok_or_else(|| {
            self.wrong(Reason::Type, "expected a number of time units since 1970")
        })?;
        Ok(if self.field == Field::Version {
            Value::Int(micros)
        } else {
            Value::Instant(micros)
        })
    }
}

fn words_of(words: &[String]) -> Option<Cell> {
    serde_json::to_string(words).ok().map(Cell::Json)
}
