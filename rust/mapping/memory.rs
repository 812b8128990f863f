//! What is remembered from line to line: in which orders objects write their keys, and where in each the keys are that a
//! mapping asks for.

use hashbrown::HashMap;
use serde::Deserialize;

use super::table::{Group, Mapping, Path, Piece, Rule, Source, Step};
use crate::reader::orders::Orders;
use crate::reader::tree::Node;

/// What one thread remembers; it changes how long a look takes, never what it finds.
#[derive(Debug, Default)]
pub struct Memory {
    pub(super) orders: Orders,
    /// Room for the values of a line.
    pub(super) nodes: Vec<Node>,
}

/// A name of members, and its number among those that are remembered.
#[derive(Debug, Deserialize)]
#[serde(from = "String")]
pub(super) struct Key {
    pub name: String,
    pub number: Option<usize>,
}

impl From<String> for Key {
    fn from(name: String) -> Self {
        Self { name, number: None }
    }
}

impl Mapping {
    /// The memory of a thread before its first line.
    pub fn memory(&self) -> Memory {
        Memory {
            orders: Orders::new(self.keys.clone()),
            nodes: Vec::new(),
        }
    }
}

/// Gives each name its number.
pub(super) fn number(groups: &mut [Group]) -> HashMap<String, usize> {
    let mut numbers = HashMap::new();
    for group in groups {
        for steps in &mut group.each {
            number_of(steps, &mut numbers);
        }
        for path in group.rules.iter_mut().flat_map(Rule::paths) {
            number_of(&mut path.steps, &mut numbers);
        }
    }
    numbers
}

fn number_of(steps: &mut [Step], numbers: &mut HashMap<String, usize>) {
    for step in steps {
        match step {
            Step::Key(key) => {
                let next = numbers.len();
                key.number = Some(*numbers.entry_ref(key.name.as_str()).or_insert(next));
            }
            Step::Of(path) => number_of(&mut path.steps, numbers),
            _ => {}
        }
    }
}

impl Rule {
    fn paths(&mut self) -> impl Iterator<Item = &mut Path> {
        let when = self.when.iter_mut().flat_map(|test| &mut test.from);
        let stand = self.has.iter_mut().chain(&mut self.lacks);
        let columns = self.columns.iter_mut();
        let specs = columns.flat_map(|column| &mut column.specs);
        let columns = specs.flat_map(|spec| spec.source.paths());
        let extra = self.extra.iter_mut().map(|(_, path)| path);
        when.chain(stand).chain(columns).chain(extra)
    }
}

impl Source {
    fn paths(&mut self) -> Vec<&mut Path> {
        match self {
            Self::From(paths) => paths.iter_mut().collect(),
            Self::Is(_) => Vec::new(),
            Self::Join(pieces) => {
                let paths = pieces.iter_mut().filter_map(|piece| match piece {
                    Piece::Path(path) => Some(path),
                    _ => None,
                });
                paths.collect()
            }
            Self::Messages(chat) => {
                let said = chat.role.iter_mut().chain(&mut chat.content);
                chat.each
                    .iter_mut()
                    .chain(&mut chat.last)
                    .chain(said)
                    .collect()
            }
        }
    }
}
