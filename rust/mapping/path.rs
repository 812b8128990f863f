//! Values in a record: paths through objects, lists, JSON inside strings and lists of pairs.

use std::borrow::Cow;
use std::ops::ControlFlow;

use super::memory::Memory;
use super::table::{Path, Step};
use crate::reader::orders::Orders;
use crate::reader::tree::{Node, Shape, grow_among, inside};

/// The names under which OpenTelemetry writes a typed value.
const TYPED: [&str; 7] = [
    "stringValue",
    "intValue",
    "boolValue",
    "doubleValue",
    "arrayValue",
    "kvlistValue",
    "bytesValue",
];

/// A value: a node of a text; `pairs` when it lies in a list of pairs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct At {
    text: u32,
    pub node: u32,
    pub pairs: bool,
}

impl At {
    /// Another value of the same text.
    pub fn of(self, node: u32) -> Self {
        Self { node, ..self }
    }
}

/// An item on the way from the record to what is nested in it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Item {
    pub at: At,
    /// Number in its list.
    pub place: usize,
    /// Its name, if it lies in an object.
    pub name: Option<At>,
    /// Number of the item it lies in; its own for the record.
    pub parent: usize,
}

/// A text, its values, and the string it was found in.
pub(super) struct Text<'a> {
    text: Cow<'a, str>,
    pub nodes: Vec<Node>,
    of: Option<At>,
}

/// A record, the texts inside its strings, and the items of the list at hand.
pub(super) struct Record<'a> {
    line: Text<'a>,
    inner: Vec<Text<'a>>,
    pub orders: &'a mut Orders,
    pub items: Vec<Item>,
}

impl<'a> Record<'a> {
    /// The record on a line, unless the line breaks a rule of JSON.
    pub fn new(line: &'a str, memory: &'a mut Memory) -> Option<Self> {
        let mut nodes = std::mem::take(&mut memory.nodes);
        let sound = grow_among(line, &mut nodes, &mut memory.orders)
            && nodes
                .first()
                .is_some_and(|node| node.shape == Shape::Object);
        let line = Text {
            text: Cow::Borrowed(line),
            nodes,
            of: None,
        };
        sound.then(|| Self {
            line,
            inner: Vec::new(),
            orders: &mut memory.orders,
            items: Vec::new(),
        })
    }

    /// Its room for the values of the next line.
    pub fn into_nodes(self) -> Vec<Node> {
        self.line.nodes
    }

    /// The record itself.
    pub const ROOT: At = At {
        text: 0,
        node: 0,
        pairs: false,
    };

    /// What stands at `at`.
    pub fn shape(&self, at: At) -> Shape {
        self.node(at).map_or(Shape::Null, |(node, _)| node.shape)
    }

    /// The value as written.
    pub fn raw(&self, at: At) -> &str {
        self.node(at).map_or("null", |(node, text)| node.raw(text))
    }

    /// The text of a string.
    pub fn text(&self, at: At) -> Option<Cow<'_, str>> {
        self.node(at).and_then(|(node, text)| node.text(text))
    }

    pub fn in_text(&self, at: At) -> Option<&Text<'a>> {
        match (at.text as usize).checked_sub(1) {
            Some(inner) => self.inner.get(inner),
            None => Some(&self.line),
        }
    }

    pub fn node(&self, at: At) -> Option<(&Node, &str)> {
        let text = self.in_text(at)?;
        Some((text.nodes.get(at.node as usize)?, &text.text))
    }

    /// Everything at `path`, seen from `item`.
    pub fn all(&mut self, path: &Path, item: usize) -> Vec<At> {
        let above = self.above(item, path.up.unwrap_or(0));
        let start = above.filter(|_| path.up.is_some());
        let start = start.map_or(Self::ROOT, |item| item.at);
        self.walk(start, &path.steps, item)
    }

    /// The item so many levels above `item`.
    pub fn above(&self, item: usize, levels: usize) -> Option<&Item> {
        let mut at = item;
        for _ in 0..levels {
            at = self.items.get(at)?.parent;
        }
        self.items.get(at)
    }

    /// The value at a path that neither branches nor opens a string; none if it does.
    pub fn straight(&self, path: &Path, item: usize) -> Option<Option<At>> {
        let plain = |step: &Step| {
            matches!(
                step,
                Step::Key(_) | Step::At(_) | Step::Pairs | Step::Where(..)
            )
        };
        if !path.steps.iter().all(plain) {
            return None;
        }
        let start = match path.up {
            Some(levels) => self.above(item, levels).map_or(Self::ROOT, |item| item.at),
            None => Self::ROOT,
        };
        Some(
            path.steps
                .iter()
                .try_fold(start, |at, step| self.step(at, step)),
        )
    }

    /// The first value at `path` for which `fit` holds.
    pub fn find_any(
        &mut self,
        path: &Path,
        item: usize,
        fit: impl Fn(&Self, At) -> bool,
    ) -> Option<At> {
        match self.straight(path, item) {
            Some(found) => found.filter(|at| fit(self, *at)),
            None => self.all(path, item).into_iter().find(|at| fit(self, *at)),
        }
    }

    /// Whether `fit` holds for something at `path`.
    pub fn any(&mut self, path: &Path, item: usize, fit: impl Fn(&Self, At) -> bool) -> bool {
        self.find_any(path, item, fit).is_some()
    }

    /// Whether nothing is said at `at`: null, or an empty string.
    pub fn empty(&self, at: At) -> bool {
        matches!(self.raw(at), "null" | "\"\"")
    }

    /// What stands at the first of the paths where something fits, what else stands there, and whether any value
    /// was passed over.
    ///
    /// Null never counts, an empty string only if `empty`.
    pub fn first(
        &mut self,
        paths: &[Path],
        item: usize,
        empty: bool,
        fit: impl Fn(Shape) -> bool,
    ) -> (Option<At>, Vec<At>, bool) {
        let mut passed = false;
        for path in paths {
            if let Some(found) = self.straight(path, item) {
                let found = found.filter(|at| empty || !self.empty(*at));
                match found.map(|at| (at, self.shape(at))) {
                    None | Some((_, Shape::Null)) => {}
                    Some((at, shape)) if fit(shape) => return (Some(at), Vec::new(), passed),
                    Some(_) => passed = true,
                }
                continue;
            }
            let mut found = self.all(path, item);
            found.retain(|at| match self.shape(*at) {
                Shape::Null => false,
                _ => empty || !self.empty(*at),
            });
            let before = found.len();
            found.retain(|at| fit(self.shape(*at)));
            passed |= found.len() < before;
            if !found.is_empty() {
                let first = found.remove(0);
                return (Some(first), found, passed);
            }
        }
        (None, Vec::new(), passed)
    }

    /// The values that a few steps lead to; paths inside them start from `item`.
    pub fn walk(&mut self, start: At, steps: &[Step], item: usize) -> Vec<At> {
        let mut found = vec![start];
        for step in steps {
            match step {
                Step::Each => found = found.iter().flat_map(|at| self.items_of(*at)).collect(),
                Step::Json => found = found.iter().filter_map(|at| self.parsed(*at)).collect(),
                Step::Of(path) => {
                    let name = self.all(path, item).first().and_then(|at| self.text(*at));
                    let Some(name) = name.map(Cow::into_owned) else {
                        return Vec::new();
                    };
                    found = found
                        .iter()
                        .filter_map(|at| self.named(*at, &name))
                        .collect();
                }
                _ => {
                    found = found.iter().filter_map(|at| self.step(*at, step)).collect();
                }
            }
        }
        found
    }

    fn step(&self, at: At, step: &Step) -> Option<At> {
        match step {
            Step::Key(key) => self.keyed(at, key),
            Step::Where(key, is) => {
                let value = self.named(at, key)?;
                let text = self.text(value).unwrap_or_else(|| self.raw(value).into());
                (text == *is).then_some(at)
            }
            Step::At(place) => {
                let items = self.items_of(at);
                let place = if *place < 0 {
                    items.len() as i64 + place
                } else {
                    *place
                };
                items.get(usize::try_from(place).ok()?).copied()
            }
            Step::Pairs => Some(At { pairs: true, ..at }),
            Step::Each | Step::Json | Step::Of(_) => None,
        }
    }

    /// A member of an object, or of a list of pairs.
    pub fn named(&self, at: At, name: &str) -> Option<At> {
        self.member(at, name).map(|at| self.plain(at))
    }

    /// The items of a list, or the values of an object.
    pub fn items_of(&self, at: At) -> Vec<At> {
        let mut items = Vec::new();
        if let Shape::Array | Shape::Object = self.shape(at) {
            self.inside(at, |_, item| {
                items.push(self.plain(item));
                ControlFlow::<()>::Continue(())
            });
        }
        items
    }

    /// The name of a value of an object: the node before it.
    pub fn name_of(&self, container: At, value: At) -> Option<At> {
        let node = value.node.checked_sub(1)?;
        let named = self.shape(container) == Shape::Object && !container.pairs;
        named.then_some(At { node, ..value })
    }

    fn inside<T>(&self, at: At, mut each: impl FnMut(&str, At) -> ControlFlow<T>) -> Option<T> {
        let text = self.in_text(at)?;
        inside(&text.nodes, at.node, |key, node| {
            let key = key.and_then(|key| text.nodes.get(key as usize));
            let key = key.and_then(|key| key.text(&text.text)).unwrap_or_default();
            each(&key, At { node, ..at })
        })
    }

    fn member(&self, at: At, name: &str) -> Option<At> {
        match self.shape(at) {
            Shape::Object => self.find(at, name),
            Shape::Array if at.pairs => self.inside(at, |_, pair| {
                let key = self.find(pair, "key").and_then(|key| self.node(key));
                let known = key.is_some_and(|(key, text)| key.is(text, name));
                match known.then(|| self.find(pair, "value")).flatten() {
                    Some(value) => ControlFlow::Break(value),
                    None => ControlFlow::Continue(()),
                }
            }),
            _ => None,
        }
    }

    /// A member of an object.
    fn find(&self, of: At, name: &str) -> Option<At> {
        let (node, text) = self.node(of)?;
        let nodes = &self.in_text(of)?.nodes;
        let mut key = of.node + 1;
        while node.shape == Shape::Object && key < node.next {
            let value = key + 1;
            if nodes.get(key as usize)?.is(text, name) {
                return Some(At { node: value, ..of });
            }
            key = nodes.get(value as usize)?.next;
        }
        None
    }

    /// A typed value of OpenTelemetry without its type; other values as they are.
    fn plain(&self, at: At) -> At {
        let mut at = at;
        while at.pairs && self.shape(at) == Shape::Object {
            let inner = self.inside(at, |key, value| {
                if TYPED.contains(&key) || key == "values" {
                    ControlFlow::Break(value)
                } else {
                    ControlFlow::Continue(())
                }
            });
            match inner {
                Some(inner) => at = inner,
                None => break,
            }
        }
        at
    }

    /// The JSON inside a string; an object or list as it is.
    fn parsed(&mut self, at: At) -> Option<At> {
        match self.shape(at) {
            Shape::Object | Shape::Array => return Some(at),
            Shape::Text { .. } => {}
            _ => return None,
        }
        let known = self.inner.iter().position(|text| text.of == Some(at));
        let number = match known {
            Some(number) => number,
            None => {
                let text = self.text(at)?.into_owned();
                let mut nodes = Vec::new();
                if !grow_among(&text, &mut nodes, self.orders) {
                    nodes.clear();
                }
                self.inner.push(Text {
                    text: Cow::Owned(text),
                    nodes,
                    of: Some(at),
                });
                self.inner.len() - 1
            }
        };
        let text = self.inner.get(number)?;
        (!text.nodes.is_empty()).then_some(At {
            text: number as u32 + 1,
            node: 0,
            pairs: false,
        })
    }
}
