//! The rules of a mapping over one line.

use std::ops::Range;

use super::cell::{Cell, cell, plain};
use super::members::Members;
use super::memory::Memory;
use super::path::{At, Item, Record};
use super::table::{Group, Literal, Make, Mapping, Rule, Test, UNMAPPED};
use crate::event::{Bad, Reason};
use crate::reader::arena::Arena;
use crate::reader::json::{self, Field, Fields, Value};
use crate::reader::tree::Shape;

/// Most items in a line, over all groups.
const MOST_ITEMS: usize = 100_000;
/// Most bytes of text that the rows of one line may hold.
const MOST_TEXT: usize = 64 << 20;

/// What a rule makes of an item, before the checks of canonical rows.
pub struct Draft<'r> {
    /// The type of the row.
    pub make: Make,
    record: &'r Record<'r>,
    cells: Vec<(Field, Cell)>,
    extra: Vec<(&'r str, At)>,
}

/// What became of an item: the number of its rule, and a draft, nothing (skipped), or why not.
pub struct Found<'r> {
    /// Number of the rule, or `UNMAPPED`.
    pub rule: u16,
    /// The draft.
    pub draft: Result<Option<Draft<'r>>, Bad>,
}

impl Draft<'_> {
    /// The fields as if read from a canonical line.
    pub fn fields(&self) -> Fields<'_> {
        let mut fields = Fields::default();
        for (field, cell) in &self.cells {
            let value = match cell {
                Cell::Value(value) => *value,
                Cell::Json(json) => Value::Raw(json),
                Cell::Raw(at) => Value::Raw(self.record.raw(*at)),
            };
            fields.set(*field, value);
        }
        let extra = self.extra.iter();
        fields.unknown = extra
            .map(|(name, at)| ((*name).into(), self.record.raw(*at)))
            .collect();
        fields
    }
}

impl Mapping {
    /// Gives everything on `line`; what `give` answers false to leaves no text in `arena`.
    pub fn apply(
        &self,
        line: &str,
        memory: &mut Memory,
        arena: &mut Arena<'_>,
        mut give: impl FnMut(&mut Arena<'_>, Found) -> bool,
    ) -> Result<(), Bad> {
        let begin = arena.end();
        let Some(mut record) = Record::new(line, memory) else {
            let reason = json::scan(line, arena).err();
            arena.back_to(begin);
            return Err(reason.unwrap_or_else(|| Bad::new(Reason::Json, "", "not strict JSON")));
        };
        let mut lists = Vec::with_capacity(self.groups.len());
        for group in &self.groups {
            lists.push(items(group, &mut record)?);
        }
        let mut given = false;
        for (group, list) in self.groups.iter().zip(lists) {
            for item in list {
                let mut known = false;
                for rule in &group.rules {
                    if !rule.applies(&mut record, item) {
                        continue;
                    }
                    (known, given) = (true, true);
                    let from = arena.end();
                    let draft = if from - begin > MOST_TEXT {
                        Err(Bad::new(
                            Reason::TooLong,
                            "",
                            "the rows of one line hold more than 64 MiB of text",
                        ))
                    } else {
                        rule.draft(&mut record, item, arena)
                    };
                    let rule = rule.name;
                    if !give(arena, Found { rule, draft }) {
                        arena.back_to(from);
                    }
                }
                if !known {
                    given = true;
                    give(arena, skipped());
                }
            }
        }
        if !given {
            give(arena, skipped());
        }
        memory.nodes = record.into_nodes();
        Ok(())
    }
}

fn skipped() -> Found<'static> {
    Found {
        rule: UNMAPPED,
        draft: Ok(None),
    }
}

/// The items of a group, by number in `record.items`.
fn items(group: &Group, record: &mut Record<'_>) -> Result<Range<usize>, Bad> {
    if record.items.is_empty() {
        record.items.push(Item {
            at: Record::ROOT,
            place: 0,
            name: None,
            parent: 0,
        });
    }
    let mut list = 0..1;
    for steps in &group.each {
        let first = record.items.len();
        for parent in list {
            let start = record
                .items
                .get(parent)
                .map_or(Record::ROOT, |item| item.at);
            let before = steps.split_last().map_or(&[][..], |(_, before)| before);
            for container in record.walk(start, before, parent) {
                for (place, at) in record.items_of(container).into_iter().enumerate() {
                    let name = record.name_of(container, at);
                    record.items.push(Item {
                        at,
                        place,
                        name,
                        parent,
                    });
                }
                if record.items.len() > MOST_ITEMS {
                    let message = format!("more than {MOST_ITEMS} items");
                    return Err(Bad::new(Reason::TooLong, "", message));
                }
            }
        }
        list = first..record.items.len();
    }
    Ok(list)
}

impl Rule {
    fn applies(&self, record: &mut Record<'_>, item: usize) -> bool {
        let mut stands =
            |path: &super::table::Path| record.any(path, item, |record, at| !record.empty(at));
        self.has.iter().all(&mut stands)
            && !self.lacks.iter().any(&mut stands)
            && self.when.iter().all(|test| test.holds(record, item))
    }

    fn draft<'r>(
        &'r self,
        record: &'r mut Record<'_>,
        item: usize,
        arena: &mut Arena<'_>,
    ) -> Result<Option<Draft<'r>>, Bad> {
        let Some(make) = self.make else {
            return Ok(None);
        };
        let mut cells = Vec::with_capacity(self.columns.len());
        let mut said = false;
        let members = Members::of(record, item);
        for column in &self.columns {
            // Messages say more than a prompt; the table has them first.
            if said && column.field == Field::Prompt {
                continue;
            }
            let found = match (&members, &column.gate) {
                (Some(members), Some(gate)) => match members.get(record, gate.number) {
                    None => continue,
                    Some(at) if gate.plain => plain(record, item, column.field, at, arena),
                    Some(_) => cell(record, item, column.field, &column.specs, arena)?,
                },
                _ => cell(record, item, column.field, &column.specs, arena)?,
            };
            if let Some(cell) = found {
                said |= column.field == Field::Messages && !matches!(cell, Cell::Value(_));
                cells.push((column.field, cell));
            }
        }
        let mut extra = Vec::new();
        for (name, path) in &self.extra {
            let stands = |record: &Record<'_>, at| !record.empty(at);
            if let Some(at) = record.find_any(path, item, stands) {
                extra.push((name.as_str(), at));
            }
        }
        Ok(Some(Draft {
            make,
            record,
            cells,
            extra,
        }))
    }
}

impl Test {
    fn holds(&self, record: &mut Record<'_>, item: usize) -> bool {
        let known =
            |record: &Record<'_>, at| self.any.iter().any(|literal| equal(record, at, literal));
        self.from.iter().any(|path| record.any(path, item, known))
    }
}

fn equal(record: &Record<'_>, at: At, literal: &Literal) -> bool {
    match (record.shape(at), literal) {
        (Shape::Bool(value), Literal::Bool(other)) => value == *other,
        (Shape::Number, Literal::Int(other)) => record.raw(at).parse() == Ok(*other as f64),
        (Shape::Number, Literal::Float(other)) => record.raw(at).parse() == Ok(*other),
        (Shape::Text { .. }, Literal::Text(other)) => {
            record.text(at).is_some_and(|text| text == *other)
        }
        _ => false,
    }
}
