//! What serde_json tolerates and we do not, in values that nobody reads: repeated keys, deep nesting, lone surrogates,
//! overflowing numbers.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

use crate::event::{Bad, Reason};

/// Deepest accepted nesting; the line's own object is level 1.
pub const MAX_DEPTH: u32 = 64;
/// Most keys in a line, at all levels together.
pub const MAX_KEYS: usize = 10_000;

/// The refusal of a repeated key.
pub(super) fn repeated() -> Bad {
    Bad::new(Reason::DupKey, "", "a key appears twice in one object")
}

/// Whether a name occurs twice.
pub(super) fn repeats(names: &mut [&str]) -> bool {
    names.sort_unstable();
    names
        .windows(2)
        .any(|pair| matches!(pair, [one, next] if one == next))
}

/// The reason behind serde_json's complaint.
pub(super) fn classify(error: &serde_json::Error, line: &str) -> Bad {
    let text = error.to_string();
    let reason = if text.contains("surrogate") || text.contains("unexpected end of hex escape") {
        Reason::Surrogate
    } else if text.contains("number out of range") || is_not_finite(line, error.column()) {
        Reason::Number
    } else if text.contains("recursion limit") {
        Reason::Depth
    } else {
        Reason::Json
    };
    Bad::new(reason, "", text.replace(" at line 1 column", " at byte"))
}

/// Whether the error stands at a NaN or Infinity, which JSON does not have.
fn is_not_finite(line: &str, column: usize) -> bool {
    let from = column.saturating_sub(2);
    line.as_bytes()
        .get(from..(from + 12).min(line.len()))
        .is_some_and(|near| {
            ["NaN", "Infinity", "nan", "inf"].iter().any(|word| {
                near.windows(word.len())
                    .take(3)
                    .any(|window| window == word.as_bytes())
            })
        })
}

/// Rules that hold in every value, read or not.
#[derive(Default)]
pub(super) struct Check {
    keys: usize,
    /// Why the walk stopped.
    pub fault: Option<Bad>,
}

impl Check {
    /// Walks a value as written.
    pub fn raw(&mut self, raw: &str) -> Result<(), Bad> {
        if !raw.starts_with([
            '{', '[', '"', '-', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9',
        ]) {
            return Ok(());
        }
        let mut json = serde_json::Deserializer::from_str(raw);
        Nested {
            check: self,
            depth: 2,
        }
        .deserialize(&mut json)
        .map_err(|error| {
            let mut bad = self.fault.take().unwrap_or_else(|| classify(&error, raw));
            bad.message.push_str(" (inside a value)");
            bad
        })
    }

    /// Stops the walk.
    pub fn fail<E: serde::de::Error>(&mut self, bad: Bad) -> E {
        self.fault = Some(bad);
        E::custom("refused")
    }

    /// Counts a key.
    pub fn key<E: serde::de::Error>(&mut self) -> Result<(), E> {
        self.keys += 1;
        if self.keys > MAX_KEYS {
            return Err(self.fail(Bad::new(
                Reason::TooLong,
                "",
                format!("more than {MAX_KEYS} keys"),
            )));
        }
        Ok(())
    }

    fn level<E: serde::de::Error>(&mut self, depth: u32) -> Result<(), E> {
        if depth > MAX_DEPTH {
            return Err(self.fail(Bad::new(
                Reason::Depth,
                "",
                format!("nested deeper than {MAX_DEPTH}"),
            )));
        }
        Ok(())
    }
}

/// Walks a value that is not read.
pub(super) struct Nested<'a> {
    pub check: &'a mut Check,
    pub depth: u32,
}

impl<'de> DeserializeSeed<'de> for Nested<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_any(self)
    }
}

macro_rules! accept {
    ($($name:ident: $type:ty),*) => { $(fn $name<E>(self, _: $type) -> Result<(), E> { Ok(()) })* };
}

impl<'de> Visitor<'de> for Nested<'_> {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }
    accept!(visit_bool: bool, visit_i64: i64, visit_u64: u64, visit_f64: f64, visit_str: &str);
    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        self.check.level(self.depth)?;
        while items
            .next_element_seed(Nested {
                check: self.check,
                depth: self.depth + 1,
            })?
            .is_some()
        {}
        Ok(())
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        self.check.level(self.depth)?;
        let mut keys: Vec<Cow<'de, str>> = Vec::new();
        while let Some(key) = map.next_key_seed(Name)? {
            self.check.key()?;
            keys.push(key);
            map.next_value_seed(Nested {
                check: self.check,
                depth: self.depth + 1,
            })?;
        }
        let mut names: Vec<&str> = keys.iter().map(AsRef::as_ref).collect();
        if repeats(&mut names) {
            Err(self.check.fail(repeated()))
        } else {
            Ok(())
        }
    }
}

/// A key, borrowed when it is written without escapes.
pub(super) struct Name;

impl<'de> DeserializeSeed<'de> for Name {
    type Value = Cow<'de, str>;
    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Self::Value, D::Error> {
        json.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Name {
    type Value = Cow<'de, str>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }
    fn visit_borrowed_str<E>(self, key: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(key))
    }
    fn visit_str<E>(self, key: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(key.to_owned()))
    }
}
