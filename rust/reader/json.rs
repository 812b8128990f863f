//! Strict JSON: one object's known fields, with every rule of RFC 8259 enforced in the unknown ones too.
//!
//! serde_json does the grammar, `strict` what it leaves out.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::arena::Arena;
use super::cursor::{Cursor, Digits, Padded};
use super::strict::{Check, Name, Nested, classify, repeated, repeats};
use crate::event::row::Span;
use crate::event::{Bad, Reason};

macro_rules! fields {
    ($($variant:ident = $name:literal),* $(,)?) => {
        /// A key that the canonical format knows.
        #[allow(missing_docs)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub enum Field { $($variant),* }
        impl Field {
            /// Every field, in order.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];
            /// The key in the file.
            pub fn name(self) -> &'static str { match self { $(Self::$variant => $name),* } }
            /// The one with this key.
            pub fn named(name: &str) -> Option<Self> { match name { $($name => Some(Self::$variant),)* _ => None } }
            /// The key as it is mostly written, with the colon behind it.
            #[inline]
            pub(super) fn quoted(self) -> Option<&'static Padded> {
                static QUOTED: [Padded; FIELDS] = [$(Padded::new(concat!("\"", $name, "\":"))),*];
                QUOTED.get(self as usize)
            }
            /// Bit in a mask of fields.
            pub const fn mask(self) -> u32 { 1 << self as u8 }
        }
    };
}

fields! {
    Type = "type", Id = "id", ShownAt = "shown_at", Response = "response", Prompt = "prompt",
    Messages = "messages", Request = "request", Session = "session", Turn = "turn", User = "user",
    Model = "model", Surface = "surface", Lang = "lang", Slot = "slot", NSlots = "n_slots",
    PolicyId = "policy_id", PolicyProb = "policy_prob", Offered = "offered", Parent = "parent",
    ReceivedAt = "received_at", Kind = "kind", At = "at", Value = "value", Actor = "actor",
    Version = "version", Op = "op", Comment = "comment", Winner = "winner",
}

const FIELDS: usize = Field::ALL.len();

/// A field's value; text lies in the arena.
///
/// Three words, so that it moves as such: copies by the byte wait for one another.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[repr(u64)]
pub enum Value<'de> {
    /// The key is not there.
    #[default]
    Absent,
    /// null
    Null,
    /// true or false
    Bool(bool),
    /// An integer.
    Int(i64),
    /// An integer above the range of `Int`.
    Big(u64),
    /// Any other number.
    Float(f64),
    /// A string.
    Text(Span),
    /// `messages` and `offered`: an array or object as written.
    Raw(&'de str),
    /// An array or object in another field.
    Nested,
    /// A time that a mapping has read: microseconds since 1970.
    Instant(i64),
}

/// The fields of one line, in memory that serves the next one too.
#[derive(Debug, Default)]
pub struct Fields<'de> {
    /// Of those that are known; the others say what an earlier line said.
    values: [Value<'de>; FIELDS],
    /// Mask of the fields that were set.
    pub known: u32,
    /// Keys that the format does not know, with their values as written, in the order of the line.
    pub unknown: Vec<(Cow<'de, str>, &'de str)>,
}

impl<'de> Fields<'de> {
    /// The value of a field.
    #[inline]
    pub fn get(&self, field: Field) -> Value<'de> {
        if self.known & field.mask() == 0 {
            return Value::Absent;
        }
        self.values.get(field as usize).copied().unwrap_or_default()
    }

    /// Forgets all of them.
    pub fn clear(&mut self) {
        self.known = 0;
        self.unknown.clear();
    }

    /// Gives a field its value.
    #[inline]
    pub fn set(&mut self, field: Field, value: Value<'de>) {
        self.known |= field.mask();
        if let Some(slot) = self.values.get_mut(field as usize) {
            *slot = value;
        }
    }
}

/// A JSON number as a value; none if it is infinite.
pub fn number(raw: &str) -> Option<Value<'static>> {
    let mut cursor = Cursor::new(raw);
    let found = cursor.number()?;
    let whole = cursor.at == raw.len();
    whole.then(|| digits(&found, || Some(raw))).flatten()
}

/// The number of which these are the digits; `raw` is how it is written.
#[inline]
pub(super) fn digits<'l>(
    digits: &Digits,
    raw: impl FnOnce() -> Option<&'l str>,
) -> Option<Value<'static>> {
    let value = match POWERS.get(digits.places) {
        Some(power) if digits.count <= EXACT => digits.sum as f64 / power,
        _ => return long(raw()?),
    };
    Some(match (digits.places, digits.sum, digits.negative) {
        (0, 1.., true) => Value::Int(-(digits.sum as i64)),
        (0, _, false) => Value::Int(digits.sum as i64),
        (_, _, negative) => Value::Float(if negative { -value } else { value }),
    })
}

/// Digits of which both they and their power of ten are exact, so that one division rounds right (Clinger, How to read
/// floating point numbers accurately, 1990).
const EXACT: usize = 15;
const POWERS: [f64; EXACT + 1] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
];

fn long(raw: &str) -> Option<Value<'static>> {
    let whole = raw.parse().ok().map(Value::Int);
    let whole = whole.or_else(|| raw.parse().ok().map(Value::Big));
    whole.or_else(|| {
        let value = raw.parse().ok().filter(|value: &f64| value.is_finite());
        value.map(Value::Float)
    })
}

/// The fields of the object on `line`; strings of known fields are written to `arena`.
pub fn scan<'de>(line: &'de str, arena: &mut Arena<'_>) -> Result<Fields<'de>, Bad> {
    if !line.trim_ascii_start().starts_with('{') {
        return Err(match serde_json::from_str::<IgnoredAny>(line) {
            Ok(_) => Bad::new(Reason::NotObject, "", "a JSON value, but not an object"),
            Err(error) => {
                let mut bad = classify(&error, line);
                bad.message += "; a line is an object, which begins with {";
                bad
            }
        });
    }
    let mut scan = Scan {
        fields: Fields::default(),
        arena,
        check: Check::default(),
    };
    let mut json = serde_json::Deserializer::from_str(line);
    let parsed = json.deserialize_map(&mut scan).and_then(|()| json.end());
    let Scan {
        mut fields,
        mut check,
        ..
    } = scan;
    if let Err(error) = parsed {
        return Err(check.fault.take().unwrap_or_else(|| classify(&error, line)));
    }
    let mut names: Vec<&str> = fields.unknown.iter().map(|(key, _)| key.as_ref()).collect();
    if repeats(&mut names) {
        return Err(repeated());
    }
    for (_, raw) in &fields.unknown {
        check.raw(raw)?;
    }
    for value in &mut fields.values {
        if let Value::Raw(raw) = value {
            check.raw(raw)?;
            if *raw == "null" {
                *value = Value::Null;
            }
        }
    }
    Ok(fields)
}

/// The value of `key` as written; a slow second look for the rare known key that a line's type does not use.
pub fn raw_of<'de>(line: &'de str, field: Field) -> Option<&'de str> {
    let mut raw: std::collections::HashMap<String, &'de RawValue> =
        serde_json::from_str(line).ok()?;
    raw.remove(field.name()).map(RawValue::get)
}

/// Whether `line` is one whole JSON object.
pub fn is_whole_object(line: &str) -> bool {
    line.trim_ascii_start().starts_with('{') && serde_json::from_str::<IgnoredAny>(line).is_ok()
}

struct Scan<'a, 'c, 'de> {
    fields: Fields<'de>,
    arena: &'a mut Arena<'c>,
    check: Check,
}

impl<'de> Visitor<'de> for &mut Scan<'_, '_, 'de> {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key_seed(Name)? {
            self.check.key()?;
            let Some(field) = Field::named(&key) else {
                let raw: &'de RawValue = map.next_value()?;
                self.fields.unknown.push((key, raw.get()));
                continue;
            };
            if self.fields.get(field) != Value::Absent {
                return Err(self.check.fail(repeated()));
            }
            let value = if matches!(field, Field::Messages | Field::Offered) {
                let raw: &'de RawValue = map.next_value()?;
                Value::Raw(raw.get())
            } else {
                map.next_value_seed(Scalar {
                    arena: self.arena,
                    check: &mut self.check,
                })?
            };
            self.fields.set(field, value);
        }
        Ok(())
    }
}

/// The value of a known field.
struct Scalar<'a, 'c> {
    arena: &'a mut Arena<'c>,
    check: &'a mut Check,
}

impl<'de> DeserializeSeed<'de> for Scalar<'_, '_> {
    type Value = Value<'de>;
    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Self::Value, D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Scalar<'_, '_> {
    type Value = Value<'de>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }
    fn visit_bool<E>(self, value: bool) -> Result<Value<'de>, E> {
        Ok(Value::Bool(value))
    }
    fn visit_i64<E>(self, value: i64) -> Result<Value<'de>, E> {
        Ok(Value::Int(value))
    }
    fn visit_u64<E>(self, value: u64) -> Result<Value<'de>, E> {
        Ok(i64::try_from(value).map_or(Value::Big(value), Value::Int))
    }
    fn visit_f64<E>(self, value: f64) -> Result<Value<'de>, E> {
        Ok(Value::Float(value))
    }
    fn visit_str<E>(self, text: &str) -> Result<Value<'de>, E> {
        Ok(Value::Text(self.arena.push(text)))
    }
    fn visit_unit<E>(self) -> Result<Value<'de>, E> {
        Ok(Value::Null)
    }
    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<Value<'de>, A::Error> {
        Nested {
            check: self.check,
            depth: 2,
        }
        .visit_seq(items)
        .map(|()| Value::Nested)
    }
    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Value<'de>, A::Error> {
        Nested {
            check: self.check,
            depth: 2,
        }
        .visit_map(map)
        .map(|()| Value::Nested)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::strict::MAX_KEYS;
    use super::*;

    fn reason(line: &str) -> Option<Reason> {
        scan(line, &mut Arena::writing(&mut String::new()))
            .err()
            .map(|bad| bad.reason)
    }

    #[test]
    fn each_fault_has_its_reason() {
        let deep = |n: usize| format!("{{\"x\":{}{}}}", "[".repeat(n), "]".repeat(n));
        let wide = |n: usize| {
            let keys: Vec<String> = (0..n).map(|i| format!("\"k{i}\":0")).collect();
            format!("{{{}}}", keys.join(","))
        };
        for (line, expected) in [
            (r#"{"id":"a"}"#.to_owned(), None),
            (
                r#"{"id":"a","x":{"y":[1,2.5e3,null,true,"\ud83d\ude00"]}}"#.to_owned(),
                None,
            ),
            (r#"{"id":"a","id":"b"}"#.to_owned(), Some(Reason::DupKey)),
            (
                r#"{"id":"a","\u0069d":"b"}"#.to_owned(),
                Some(Reason::DupKey),
            ),
            (r#"{"x":1,"x":2}"#.to_owned(), Some(Reason::DupKey)),
            (r#"{"x":1,"\u0078":2}"#.to_owned(), Some(Reason::DupKey)),
            (
                r#"{"x":{"a":1,"\u0061":2}}"#.to_owned(),
                Some(Reason::DupKey),
            ),
            (
                r#"{"value":[{"a":1,"a":2}]}"#.to_owned(),
                Some(Reason::DupKey),
            ),
            (
                r#"{"messages":[{"role":"a","role":"b"}]}"#.to_owned(),
                Some(Reason::DupKey),
            ),
            (r#"{"id":"\ud800"}"#.to_owned(), Some(Reason::Surrogate)),
            (r#"{"x":"\udc00"}"#.to_owned(), Some(Reason::Surrogate)),
            (r#"{"x":["\ud800x"]}"#.to_owned(), Some(Reason::Surrogate)),
            (r#"{"\ud800":1}"#.to_owned(), Some(Reason::Surrogate)),
            (r#"{"x":1e400}"#.to_owned(), Some(Reason::Number)),
            (r#"{"value":-1e400}"#.to_owned(), Some(Reason::Number)),
            (r#"{"value":NaN}"#.to_owned(), Some(Reason::Number)),
            (r#"{"x":Infinity}"#.to_owned(), Some(Reason::Number)),
            (r#"{"x":[-Infinity]}"#.to_owned(), Some(Reason::Number)),
            (r#"{"x":01}"#.to_owned(), Some(Reason::Json)),
            (r#"{"x":1} {"y":2}"#.to_owned(), Some(Reason::Json)),
            (r#"{"x":1,}"#.to_owned(), Some(Reason::Json)),
            ("{\"x\":\"a\tb\"}".to_owned(), Some(Reason::Json)),
            ("garbage".to_owned(), Some(Reason::Json)),
            ("null".to_owned(), Some(Reason::NotObject)),
            ("[1]".to_owned(), Some(Reason::NotObject)),
            ("\"a\"".to_owned(), Some(Reason::NotObject)),
            (deep(63), None),
            (deep(64), Some(Reason::Depth)),
            (deep(100_000), Some(Reason::Depth)),
            (deep(20).replace("\"x\"", "\"value\""), None),
            (deep(64).replace("\"x\"", "\"value\""), Some(Reason::Depth)),
            (
                deep(100_000).replace("\"x\"", "\"value\""),
                Some(Reason::Depth),
            ),
            (wide(MAX_KEYS), None),
            (wide(MAX_KEYS + 1), Some(Reason::TooLong)),
        ] {
            assert_eq!(
                reason(&line),
                expected,
                "{}",
                line.get(..60.min(line.len())).unwrap()
            );
        }
    }

    #[test]
    fn who_writes_no_json_is_told_how_a_line_begins() {
        for line in ["nope", "id,response", "'id': 1", "[1"] {
            let bad = scan(line, &mut Arena::writing(&mut String::new())).unwrap_err();
            assert_eq!(bad.reason, Reason::Json, "{line}");
            assert!(bad.message.ends_with("begins with {"), "{}", bad.message);
        }
    }

    #[test]
    fn the_column_of_escapes_and_exact_integers_survive() {
        let mut arena = String::new();
        let line =
            r#"{"id":18446744073709551615,"version":-9223372036854775808,"user":"a\u00e9\n"}"#;
        let fields = scan(line, &mut Arena::writing(&mut arena)).unwrap();
        assert_eq!(fields.get(Field::Id), Value::Big(u64::MAX));
        assert_eq!(fields.get(Field::Version), Value::Int(i64::MIN));
        assert_eq!(fields.get(Field::Prompt), Value::Absent);
        match fields.get(Field::User) {
            Value::Text(span) => {
                assert_eq!(Arena::writing(&mut arena).texts().of(span), "a\u{e9}\n")
            }
            other => assert_eq!(other, Value::Null),
        }
    }
}
