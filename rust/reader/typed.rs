//! Fields of a line as the types the rows want.

use std::borrow::Cow;
use std::fmt::{self, Write as _};

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};

use super::address::{may_hold, without};
use super::json::{Field, Value};
use super::rows::Line;
use crate::event::row::{Actor, Key, Span};
use crate::event::{Bad, Kind, Reason, time};

/// A message: who says what, and whether it has other members.
struct Message<'a> {
    role: Cow<'a, str>,
    content: Option<Cow<'a, str>>,
    more: bool,
}

#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Message<'a> {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        json.deserialize_map(Members)
    }
}

struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = Message<'de>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a message")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let (mut role, mut content, mut more) = (None, None, false);
        while let Some(Text(key)) = map.next_key()? {
            match key.as_ref() {
                "role" => role = Some(map.next_value::<Text<'de>>()?.0),
                "content" => {
                    content = map.next_value::<Option<Text<'de>>>()?.map(|text| text.0);
                }
                _ => {
                    more = true;
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        let role = role.ok_or_else(|| A::Error::missing_field("role"))?;
        Ok(Message {
            role,
            content,
            more,
        })
    }
}

/// Writes a text as JSON.
fn quote(text: &str, out: &mut String) {
    let plain = |byte: u8| byte >= 0x20 && byte != b'"' && byte != b'\\';
    if !text.bytes().all(plain) {
        return out.push_str(&serde_json::Value::from(text).to_string());
    }
    out.push('"');
    out.push_str(text);
    out.push('"');
}

pub(super) fn missing(field: Field) -> Bad {
    Bad::new(
        Reason::Missing,
        field.name(),
        format!("{} is required", field.name()),
    )
}

pub(super) fn wrong(field: Field, expected: &str) -> Bad {
    Bad::new(Reason::Type, field.name(), format!("expected {expected}"))
}

pub(super) fn no_id(field: Field, message: &str) -> Bad {
    Bad::new(Reason::NoId, field.name(), message)
}

impl Line<'_, '_, '_> {
    pub(super) fn text(&self, field: Field) -> Result<Option<Span>, Bad> {
        match self.fields.get(field) {
            Value::Absent | Value::Null => Ok(None),
            Value::Text(span) => Ok(Some(span)),
            _ => Err(wrong(field, "a string")),
        }
    }

    pub(super) fn own_id(&mut self) -> Result<Span, Bad> {
        self.id(Field::Id)?
            .ok_or_else(|| no_id(Field::Id, "id is required"))
    }

    /// A string, or an exact integer as its digits.
    pub(super) fn id(&mut self, field: Field) -> Result<Option<Span>, Bad> {
        let from = self.arena.end();
        let written = match self.fields.get(field) {
            Value::Absent | Value::Null => return Ok(None),
            Value::Text(span) if span.from == span.to => {
                return Err(no_id(field, "an id cannot be empty"));
            }
            Value::Text(span) => return Ok(Some(span)),
            Value::Int(id) => write!(self.arena.more, "{id}"),
            Value::Big(id) => write!(self.arena.more, "{id}"),
            Value::Float(_) => {
                return Err(Bad::new(
                    Reason::IdRange,
                    field.name(),
                    "expected a string or an exact 64-bit integer",
                ));
            }
            _ => return Err(wrong(field, "a string or an exact integer")),
        };
        written.map_err(|_| wrong(field, "an id"))?;
        Ok(Some(self.arena.since(from)))
    }

    pub(super) fn person(&mut self, field: Field) -> Result<Option<Key>, Bad> {
        let id = self.id(field)?;
        Ok(id.map(|id| self.parser.person(field.name(), self.arena.texts().of(id))))
    }

    pub(super) fn time(&self, field: Field) -> Result<Option<i64>, Bad> {
        if let Value::Instant(at) = self.fields.get(field) {
            return time::within(field.name(), at).map(Some);
        }
        self.text(field)?
            .map(|text| time::parse(field.name(), self.of(text)))
            .transpose()
    }

    pub(super) fn whole(&self, field: Field, least: i64, most: i64) -> Result<Option<i64>, Bad> {
        let out = || {
            Bad::new(
                Reason::Number,
                field.name(),
                format!("expected an integer from {least} to {most}"),
            )
        };
        match self.fields.get(field) {
            Value::Absent | Value::Null => Ok(None),
            Value::Int(value) if (least..=most).contains(&value) => Ok(Some(value)),
            Value::Int(_) | Value::Big(_) => Err(out()),
            _ => Err(wrong(field, "an integer")),
        }
    }

    pub(super) fn probability(&self) -> Result<Option<f32>, Bad> {
        let value = match self.fields.get(Field::PolicyProb) {
            Value::Absent | Value::Null => return Ok(None),
            Value::Int(value) => value as f64,
            Value::Float(value) => value,
            _ => return Err(wrong(Field::PolicyProb, "a number")),
        };
        let stored = value as f32;
        if value > 0.0 && value <= 1.0 && stored > 0.0 {
            return Ok(Some(stored));
        }
        Err(Bad::new(
            Reason::Number,
            "policy_prob",
            "a propensity must be in (0, 1]",
        ))
    }

    pub(super) fn offered(&mut self) -> Result<Option<u32>, Bad> {
        let Value::Raw(raw) = self.fields.get(Field::Offered) else {
            return Ok(None);
        };
        let (known, mask) = &self.parser.offered;
        if !known.is_empty() && known == raw {
            return Ok(Some(*mask));
        }
        let kinds: Vec<Text<'_>> =
            serde_json::from_str(raw).map_err(|_| wrong(Field::Offered, "a list of kinds"))?;
        let mask = kinds.iter().try_fold(0, |mask, Text(name)| {
            let unknown = || {
                Bad::new(
                    Reason::UnknownKind,
                    "offered",
                    "a kind of feedback that does not exist",
                )
            };
            Ok(mask | Kind::named(name.as_ref()).ok_or_else(unknown)?.mask())
        })?;
        self.parser.offered = (raw.to_owned(), mask);
        Ok(Some(mask))
    }

    /// `messages` as written, and as text: one `role: content` a message.
    pub(super) fn messages(&mut self) -> Result<(Option<Span>, Option<Span>), Bad> {
        let Value::Raw(raw) = self.fields.get(Field::Messages) else {
            return Ok((None, None));
        };
        let messages: Vec<Message<'_>> = serde_json::from_str(raw).map_err(|_| {
            wrong(
                Field::Messages,
                "a list of {role, content} with text content",
            )
        })?;
        let start = self.arena.end();
        self.arena.more.push_str(raw);
        if messages.iter().any(|message| message.more) {
            self.anonymous(start, Some("content"));
        }
        let from = self.arena.end();
        for (place, message) in messages.iter().enumerate() {
            let content = message.content.as_deref().unwrap_or_default();
            for piece in [
                if place > 0 { "\n" } else { "" },
                message.role.as_ref(),
                ": ",
                content,
            ] {
                self.arena.more.push_str(piece);
            }
        }
        let written = Span {
            from: start,
            to: from,
        };
        Ok((Some(written), Some(self.arena.since(from))))
    }

    pub(super) fn actor(&self) -> Result<Actor, Bad> {
        let Some(name) = self.text(Field::Actor)? else {
            return Ok(Actor::User);
        };
        Actor::named(self.of(name))
            .ok_or_else(|| wrong(Field::Actor, "one of user, annotator, judge, system"))
    }

    pub(super) fn retract(&self) -> Result<bool, Bad> {
        match self.text(Field::Op)?.map(|op| self.of(op)) {
            None | Some("upsert") => Ok(false),
            Some("retract") => Ok(true),
            Some(_) => Err(wrong(Field::Op, "upsert or retract")),
        }
    }

    /// Unknown fields as one JSON object, in the order of their names.
    pub(super) fn extra(&mut self) -> Option<Span> {
        if self.fields.unknown.is_empty() {
            return None;
        }
        self.fields.unknown.sort_unstable();
        let from = self.arena.end();
        let more = &mut *self.arena.more;
        more.push('{');
        for (place, (name, raw)) in self.fields.unknown.iter().enumerate() {
            if place > 0 {
                more.push(',');
            }
            quote(name, more);
            more.push(':');
            more.push_str(raw);
        }
        more.push('}');
        self.anonymous(from, None);
        let extra = self.arena.since(from);
        (extra.to > extra.from + 2).then_some(extra)
    }

    /// Leaves addresses out of the JSON written since `from`, except for what members named `free` say.
    fn anonymous(&mut self, from: usize, free: Option<&str>) {
        let from = from - self.arena.chunk.len();
        let raw = self.arena.more.get(from..).unwrap_or_default();
        if !self.parser.keep_addresses && may_hold(raw, &mut self.parser.nodes) {
            let raw = self.arena.more.split_off(from);
            self.parser.addresses += without(&raw, free, self.arena.more);
        }
    }
}
