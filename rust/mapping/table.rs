//! The compiled form of a mapping.

use std::collections::BTreeMap;

use hashbrown::HashMap;
use serde::Deserialize;
use twox_hash::XxHash3_128;

use super::members::Gate;
use super::memory::{Key, number};
use crate::error::{Error, Result};
use crate::reader::json::Field;

/// Number of no rule.
pub const UNMAPPED: u16 = u16::MAX;

/// A mapping: rules in groups, each group over one list of items.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mapping {
    /// Checksum of the table: what was read with another one is not what this one would read.
    #[serde(skip)]
    pub id: String,
    /// Names of the rules.
    pub names: Vec<String>,
    pub(super) groups: Vec<Group>,
    /// Names that are looked for, with their numbers.
    #[serde(skip)]
    pub(super) keys: HashMap<String, usize>,
}

/// The rules over the items at one path; an item to which none applies is skipped.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Group {
    /// Paths from list to list; empty for the record itself.
    pub each: Vec<Vec<Step>>,
    pub rules: Vec<Rule>,
}

/// What an item becomes when the rule applies.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Rule {
    pub name: u16,
    /// None = known, and not carried.
    pub make: Option<Make>,
    pub when: Vec<Test>,
    pub has: Vec<Path>,
    pub lacks: Vec<Path>,
    pub columns: Vec<Column>,
    pub extra: Vec<(String, Path)>,
}

/// A canonical type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Make {
    /// A response shown.
    Impression,
    /// Feedback.
    Feedback,
    /// A choice.
    Choice,
}

/// One of the values must stand at one of the paths.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Test {
    pub from: Vec<Path>,
    pub any: Vec<Literal>,
}

/// A way to a value.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Path {
    /// Levels of nesting above the item; none = from the record itself.
    pub up: Option<usize>,
    pub steps: Vec<Step>,
}

/// A step of a path.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Step {
    /// Member of an object.
    Key(Key),
    /// Item of a list; negative from its end.
    At(i64),
    /// Every item of a list, every value of an object.
    Each,
    /// The value, if its member of this name is this text, or this JSON.
    Where(String, String),
    /// Member of an object whose name stands at a path from the item.
    Of(Box<Path>),
    /// The JSON inside a string.
    Json,
    /// A list of `{key, value}` as an object, with the typed values of OpenTelemetry as plain ones.
    Pairs,
}

/// A field, and the ways to it; the first that finds something is taken.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Column {
    #[serde(deserialize_with = "field")]
    pub field: Field,
    pub specs: Vec<Spec>,
    #[serde(skip)]
    pub gate: Option<Gate>,
}

/// A way to a field.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Spec {
    pub source: Source,
    pub map: Option<BTreeMap<String, Literal>>,
    /// What a value outside `map` becomes.
    #[serde(rename = "else")]
    pub other: Option<Literal>,
    /// Values outside `map` stay as they are.
    #[serde(default)]
    pub keep: bool,
    #[serde(rename = "as")]
    pub cast: Option<Cast>,
    pub time: Option<Time>,
}

/// Where a value comes from.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Source {
    /// The first of these paths at which something stands.
    From(Vec<Path>),
    /// Always the same.
    Is(Literal),
    /// Text with values in it; nothing if one of them is absent.
    Join(Vec<Piece>),
    /// A list of messages.
    Messages(Chat),
}

/// A piece of a text.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Piece {
    /// As it stands.
    Text(String),
    /// The value at a path.
    Path(Path),
    /// The number of an item in its list, from 0, or its name in an object; of the item so many levels above.
    Place(usize),
    /// Checksum of the whole record, for records without an id.
    Hash,
}

/// How to read a list of messages.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Chat {
    /// The messages, or with `last` an object of messages by id.
    pub each: Vec<Path>,
    /// Id of the last message; the others are found by `parent`.
    pub last: Option<Path>,
    pub parent: Option<String>,
    /// So many messages at the end are not part of the prompt.
    pub drop: usize,
    pub role: Vec<Path>,
    pub content: Vec<Path>,
    pub roles: BTreeMap<String, String>,
}

/// A value in the file.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(untagged)]
pub(super) enum Literal {
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    List(Vec<String>),
}

/// What a value is turned into.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Cast {
    /// Strings become the number in them.
    Number,
    /// Anything but a string becomes its JSON.
    Text,
}

/// How a time is written.
#[derive(Debug, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Time {
    /// RFC 3339; the zone is added where the text has none.
    Text(Option<String>),
    /// A number of units since 1970, each 10^n microseconds.
    Units(i32),
}

fn field<'de, D: serde::Deserializer<'de>>(json: D) -> std::result::Result<Field, D::Error> {
    let name = String::deserialize(json)?;
    let known = Field::ALL.iter().find(|field| field.name() == name);
    known
        .copied()
        .ok_or_else(|| serde::de::Error::custom(format!("no such field: {name}")))
}

impl Mapping {
    /// From the JSON that Python compiles.
    pub fn parse(text: &str) -> Result<Self> {
        let wrong = |message: String| Error::Value(format!("mapping: {message}"));
        let mut mapping: Self =
            serde_json::from_str(text).map_err(|error| wrong(error.to_string()))?;
        let named = |rule: &Rule| (rule.name as usize) < mapping.names.len();
        if mapping.names.len() >= UNMAPPED as usize
            || !mapping
                .groups
                .iter()
                .flat_map(|group| &group.rules)
                .all(named)
        {
            return Err(wrong("a rule without a name".to_owned()));
        }
        mapping.keys = number(&mut mapping.groups);
        let rules = mapping.groups.iter_mut().flat_map(|group| &mut group.rules);
        for column in rules.flat_map(|rule| &mut rule.columns) {
            column.gate = column.gate();
        }
        mapping.id = format!("{:032x}", XxHash3_128::oneshot(text.as_bytes()));
        Ok(mapping)
    }
}
