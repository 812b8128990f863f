//! The orders in which objects write their keys: a log has few of them, and each comes back line after line.
//!
//! The orders met so far are a tree: a path from its root is an order, and what follows from it is found out once: that
//! its keys differ, and where each name that is wanted stands. An order that is not learned (there are too many, or its
//! keys are too many or too long) has no number, and whoever asks looks for himself.

use hashbrown::HashMap;

/// An order, by number.
pub type Order = u32;

/// Number of no order.
pub const NONE: Order = u32::MAX;
/// Most orders that are learned, beginnings of others included.
const MOST: usize = 2048;
/// Most keys of an order.
pub const MOST_KEYS: usize = 64;
/// Most bytes of a key.
const LONGEST: usize = 128;
/// Most keys that follow one beginning; an object with more of them is a table of its own.
const MOST_NEXT: usize = 16;
/// The place of a name that is not there.
const ABSENT: u8 = u8::MAX;

/// The orders of one thread.
#[derive(Debug, Default)]
pub struct Orders {
    /// Wanted names, with a number each.
    names: HashMap<String, usize>,
    /// What is known about each order; empty where nothing is learned.
    known: Vec<Known>,
}

#[derive(Debug)]
struct Known {
    /// Its last key as written, quotes included.
    raw: Box<[u8]>,
    escaped: bool,
    /// Its last key.
    key: String,
    /// The order without its last key.
    before: Order,
    keys: u8,
    /// Orders with one key more, the one met last first.
    next: Vec<Order>,
    /// Place of each wanted name among the keys.
    places: Box<[u8]>,
}

impl Orders {
    /// No orders but that of an object without keys; names are asked for by their numbers in `names`.
    pub fn new(names: HashMap<String, usize>) -> Self {
        let first = Known {
            raw: Box::default(),
            escaped: false,
            key: String::new(),
            before: NONE,
            keys: 0,
            next: Vec::new(),
            places: vec![ABSENT; names.len()].into(),
        };
        Self {
            names,
            known: vec![first],
        }
    }

    /// The order of an object without keys.
    pub fn first(&self) -> Order {
        if self.known.is_empty() { NONE } else { 0 }
    }

    /// The order with one key more, if `text` begins with a key that followed `order` before; whether the key has
    /// escapes, and its length as written.
    #[inline]
    pub fn follow(&mut self, order: Order, text: &[u8]) -> Option<(Order, bool, usize)> {
        let at = order as usize;
        let known = self.known.get(at)?;
        let place = known.next.iter().position(|next| {
            let next = self.known.get(*next as usize);
            next.is_some_and(|next| text.starts_with(&next.raw))
        })?;
        let next = &mut self.known.get_mut(at)?.next;
        next.swap(0, place);
        let order = *next.first()?;
        let known = self.known.get(order as usize)?;
        Some((order, known.escaped, known.raw.len()))
    }

    /// Learns that a key, written as `raw`, follows `order`; none if it is in `order` already.
    pub fn learn(&mut self, order: Order, raw: &str, key: &str) -> Option<Order> {
        let Some(known) = self.known.get(order as usize) else {
            return Some(NONE);
        };
        if self.keys(order).any(|other| other == key) {
            return None;
        }
        let room = self.known.len() < MOST && known.next.len() < MOST_NEXT;
        if !room || known.keys as usize >= MOST_KEYS || raw.len() > LONGEST {
            return Some(NONE);
        }
        let (keys, mut places) = (known.keys, known.places.clone());
        let wanted = self.names.get(key).and_then(|name| places.get_mut(*name));
        if let Some(place) = wanted {
            *place = keys;
        }
        let number = self.known.len() as Order;
        if let Some(known) = self.known.get_mut(order as usize) {
            known.next.push(number);
        }
        self.known.push(Known {
            raw: raw.as_bytes().into(),
            escaped: raw.contains('\\'),
            key: key.to_owned(),
            before: order,
            keys: keys + 1,
            next: Vec::new(),
            places,
        });
        Some(number)
    }

    /// Place of a wanted name among the keys of an order, if it is there.
    #[inline]
    pub fn place(&self, order: Order, name: usize) -> Option<u8> {
        let place = *self.known.get(order as usize)?.places.get(name)?;
        (place != ABSENT).then_some(place)
    }

    /// The keys of an order, the last first.
    fn keys(&self, order: Order) -> impl Iterator<Item = &str> {
        let at = |order: Order| self.known.get(order as usize);
        let all = std::iter::successors(at(order), move |known| at(known.before));
        all.filter(|known| known.before != NONE)
            .map(|known| known.key.as_str())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn orders() -> Orders {
        let names = ["a", "b", "z"].iter().enumerate();
        Orders::new(names.map(|(at, name)| ((*name).to_owned(), at)).collect())
    }

    fn learn(orders: &mut Orders, keys: &[&str]) -> Option<Order> {
        let first = orders.first();
        keys.iter().try_fold(first, |order, key| {
            orders.learn(order, &format!("\"{key}\""), key)
        })
    }

    #[test]
    fn an_order_says_where_each_wanted_name_stands() {
        let mut orders = orders();
        let order = learn(&mut orders, &["x", "b", "a"]).unwrap();
        assert_eq!(
            [0, 1, 2].map(|name| orders.place(order, name)),
            [Some(2), Some(1), None]
        );
        let (x, escaped, length) = orders.follow(orders.first(), b"\"x\":1").unwrap();
        assert_eq!((escaped, length), (false, 3));
        assert_eq!([0, 1, 2].map(|name| orders.place(x, name)), [None; 3]);
        assert!(orders.follow(x, b"\"x\"").is_none() && orders.follow(x, b"\"b").is_none());
        let other = orders.learn(x, r#""\u0062""#, "b").unwrap();
        assert_eq!(orders.place(other, 1), Some(1));
        assert_eq!(orders.follow(x, br#""\u0062":"#), Some((other, true, 8)));
        assert_eq!(orders.learn(other, "\"b\"", "b"), None); // it is there already
        assert_eq!(orders.place(NONE, 0), None);
    }

    #[test]
    fn what_is_learned_has_bounds() {
        let mut random = crate::dice::dice(0x9E37_79B9_7F4A_7C15);
        let mut orders = orders();
        for _ in 0..4_000 {
            let mut order = orders.first();
            for key in 0..random(200) {
                let tail = [0, 0, 0, 1, random(30), 200].get(random(6)).copied();
                let key = format!("{key}{}", "-".repeat(tail.unwrap()));
                let raw = format!("\"{key}\"");
                order = match orders.follow(order, raw.as_bytes()) {
                    Some((order, ..)) => order,
                    None => orders.learn(order, &raw, &key).unwrap(),
                };
            }
        }
        assert_eq!(orders.known.len(), MOST);
        for known in &orders.known {
            assert!(known.next.len() <= MOST_NEXT && usize::from(known.keys) <= MOST_KEYS);
            assert!(known.raw.len() <= LONGEST);
        }
    }
}
