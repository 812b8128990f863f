//! Members of an object, found by the numbers of their names.

use super::memory::Key;
use super::path::{At, Record};
use super::table::{Column, Source, Step};
use crate::reader::orders::{MOST_KEYS, NONE, Order};

/// The only member of an item that a column looks into.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gate {
    /// Number of its name.
    pub number: usize,
    /// The column is this value as it is.
    pub plain: bool,
}

/// Where the values of an item's members are, in the order in which they are written.
pub(super) struct Members {
    at: At,
    order: Order,
    values: [u32; MOST_KEYS],
}

impl Members {
    /// Those of an item, if the order of its keys is known.
    pub fn of(record: &Record<'_>, item: usize) -> Option<Self> {
        let at = record.items.get(item)?.at;
        let order = record.order(at)?;
        let mut values = [0; MOST_KEYS];
        for (value, member) in values.iter_mut().zip(record.values(at)) {
            *value = member;
        }
        Some(Self { at, order, values })
    }

    /// The value under a name.
    pub fn get(&self, record: &Record<'_>, number: usize) -> Option<At> {
        let place = record.orders.place(self.order, number)?;
        let node = *self.values.get(usize::from(place))?;
        Some(self.at.of(node))
    }
}

impl Record<'_> {
    /// A member of an object, or of a list of pairs, under a name of the mapping.
    pub fn keyed(&self, at: At, key: &Key) -> Option<At> {
        match (self.order(at), key.number) {
            (Some(order), Some(number)) => {
                let place = self.orders.place(order, number)?;
                self.values(at).nth(place.into()).map(|node| at.of(node))
            }
            _ => self.named(at, &key.name),
        }
    }

    /// The order of an object's keys, if it is known.
    fn order(&self, at: At) -> Option<Order> {
        let (node, _) = self.node(at).filter(|_| !at.pairs)?;
        (node.order != NONE).then_some(node.order)
    }

    /// The values of an object.
    fn values(&self, at: At) -> impl Iterator<Item = u32> {
        let nodes = self.in_text(at).map(|text| &*text.nodes);
        let nodes = nodes.unwrap_or_default();
        let end = nodes.get(at.node as usize).map_or(0, |node| node.next);
        let first = Some(at.node + 2).filter(|first| *first < end);
        let next = move |value: &u32| nodes.get(*value as usize).map(|node| node.next + 1);
        std::iter::successors(first, move |value| next(value).filter(|next| *next < end))
    }
}

impl Column {
    /// The member without which nothing is found.
    pub fn gate(&self) -> Option<Gate> {
        let mut member = None;
        let mut plain = self.specs.len() == 1;
        for spec in &self.specs {
            let Source::From(paths) = &spec.source else {
                return None;
            };
            plain &= paths.len() == 1 && spec.map.is_none() && spec.cast.is_none();
            plain &= spec.time.is_none();
            for path in paths {
                let (Some(0), Some(Step::Key(key))) = (path.up, path.steps.first()) else {
                    return None;
                };
                if member.is_some_and(|member| member != key.number) {
                    return None;
                }
                member = Some(key.number);
                plain &= path.steps.len() == 1;
            }
        }
        let number = member??;
        Some(Gate { number, plain })
    }
}
