//! The fields of an ordinary canonical line, in one pass from its bytes.
//!
//! `json` says what a line is, and why it is refused. This finds the same fields several times as fast or answers none,
//! which says nothing about the line: a rule is broken, or something is written as hardly any program writes it, such as a
//! known key with escapes or a list where a scalar belongs. Texts without escapes stay in the chunk.

use std::borrow::Cow;

use hashbrown::HashMap;

use super::arena::Arena;
use super::cursor::{Cursor, unescape};
use super::json::{Field, Fields, Value, digits};
use super::orders::Orders;
use super::strict::MAX_KEYS;
use super::tree::{self, Node};
use crate::event::row::Span;

/// Unknown keys that are compared one by one.
const FEW: usize = 16;
/// The place before the first key.
const START: usize = Field::ALL.len();

/// What the lines before tell about the next one; whatever it holds, the fields found are the same.
pub(super) struct Habit {
    /// The key that came after each key, by the type of the line: unknown yet, impression, feedback, another.
    after: [[Option<Field>; START + 1]; 4],
    /// The list of kinds offered that was seen last, as written; one without keys, which would have to be counted.
    offered: String,
    /// Values inside a value that is not read.
    nodes: Vec<Node>,
    /// The orders of keys in them.
    orders: Orders,
}

impl Default for Habit {
    fn default() -> Self {
        Self {
            after: [[None; START + 1]; 4],
            offered: String::new(),
            nodes: Vec::new(),
            orders: Orders::new(HashMap::new()),
        }
    }
}

/// Reads the object at the first place of a text to `fields`; the place behind it. Without an answer they are of no use.
pub(super) fn read<'l>(
    cursor: Cursor<'l>,
    fields: &mut Fields<'l>,
    arena: &mut Arena<'_>,
    habit: &mut Habit,
) -> Option<Cursor<'l>> {
    fields.clear();
    Quick {
        text: arena.place(cursor.text),
        arena,
        habit,
        fields,
        keys: 0,
    }
    .run(cursor)
}

/// The cursor is not in it: a place that is handed from step to step stays in a register.
struct Quick<'a, 'c, 'l> {
    arena: &'a mut Arena<'c>,
    habit: &'a mut Habit,
    fields: &'a mut Fields<'l>,
    /// Where the text lies in the chunk.
    text: Option<usize>,
    keys: usize,
}

impl<'l> Quick<'_, '_, 'l> {
    fn run(mut self, mut cursor: Cursor<'l>) -> Option<Cursor<'l>> {
        let (mut context, mut last) = (0, START);
        cursor.space();
        cursor.byte(b'{')?;
        cursor.space();
        loop {
            self.keys += 1;
            match self.key(&mut cursor, context, last)? {
                Ok(field) => {
                    if self.fields.known & field.mask() != 0 {
                        return None;
                    }
                    let value = self.value(&mut cursor, field)?;
                    self.fields.set(field, value);
                    last = field as usize;
                    if let (Field::Type, Value::Text(span)) = (field, value) {
                        context = match self.arena.texts().of(span).as_bytes().first() {
                            Some(b'i') => 1,
                            Some(b'f') => 2,
                            _ => 3,
                        };
                    }
                }
                Err(name) => {
                    let raw = self.nested(&mut cursor)?;
                    self.fields.unknown.push((Cow::Borrowed(name), raw));
                }
            }
            cursor.space();
            if cursor.byte(b',').is_none() {
                break;
            }
            cursor.space();
        }
        cursor.byte(b'}')?;
        (self.keys <= MAX_KEYS && self.distinct()).then_some(cursor)
    }

    /// The next key, a known one or its name, with the colon behind it.
    #[inline(always)]
    fn key(
        &mut self,
        cursor: &mut Cursor<'l>,
        context: usize,
        last: usize,
    ) -> Option<Result<Field, &'l str>> {
        let expected = self.habit.after.get_mut(context)?.get_mut(last)?;
        if let Some(field) = *expected
            && field.quoted().is_some_and(|key| cursor.padded(key))
        {
            cursor.space();
            return Some(Ok(field));
        }
        let (name, behind) = other_key(*cursor)?;
        *cursor = behind;
        let field = Field::named(name);
        if field.is_some() {
            *expected = field;
        }
        Some(field.ok_or(name))
    }

    /// The value of a known field.
    #[inline(always)]
    fn value(&mut self, cursor: &mut Cursor<'l>, field: Field) -> Option<Value<'l>> {
        let (from, first) = (cursor.at, cursor.peek()?);
        if first == b'"' && !matches!(field, Field::Offered | Field::Messages) {
            return self.text(cursor).map(Value::Text);
        }
        match (field, first) {
            (_, b'n') => cursor.word("null").map(|()| Value::Null),
            (Field::Offered, b'[') => {
                let known = !self.habit.offered.is_empty();
                if known && cursor.word(&self.habit.offered).is_some() {
                    return cursor.since(from).map(Value::Raw);
                }
                let keys = self.keys;
                let raw = self.nested(cursor)?;
                if self.keys == keys {
                    self.habit.offered.clear();
                    self.habit.offered.push_str(raw);
                }
                Some(Value::Raw(raw))
            }
            (Field::Messages, b'[') => self.nested(cursor).map(Value::Raw),
            (Field::Offered | Field::Messages, _) => None,
            (_, b't') => cursor.word("true").map(|()| Value::Bool(true)),
            (_, b'f') => cursor.word("false").map(|()| Value::Bool(false)),
            _ => {
                let mut behind = *cursor;
                let found = behind.number()?;
                *cursor = behind;
                digits(&found, || cursor.since(from))
            }
        }
    }

    #[inline(always)]
    fn text(&mut self, cursor: &mut Cursor<'l>) -> Option<Span> {
        let from = cursor.at + 1;
        let escaped = cursor.string()?;
        let to = cursor.at - 1;
        if let (Some(text), false) = (self.text, escaped) {
            let (from, to) = (text + from, text + to);
            return Some(Span { from, to });
        }
        let (raw, end) = (cursor.text.get(from..to)?, self.arena.end());
        unescape(raw, self.arena.more)?;
        Some(self.arena.since(end))
    }

    /// Any value as written.
    #[inline(always)]
    fn nested(&mut self, cursor: &mut Cursor<'l>) -> Option<&'l str> {
        let (from, mut behind) = (cursor.at, *cursor);
        let Habit { nodes, orders, .. } = &mut *self.habit;
        tree::pass(&mut behind, nodes, orders, &mut self.keys)?;
        *cursor = behind;
        cursor.since(from)
    }

    /// Whether the unknown keys differ.
    fn distinct(&self) -> bool {
        let unknown = &self.fields.unknown;
        let mut before = unknown.iter().enumerate();
        unknown.len() <= FEW
            && before.all(|(at, (name, _))| unknown.iter().take(at).all(|(other, _)| other != name))
    }
}

/// The name of a key that was not expected, and the place behind its colon.
#[inline(never)]
fn other_key(mut cursor: Cursor<'_>) -> Option<(&str, Cursor<'_>)> {
    let from = cursor.at + 1;
    if cursor.string()? {
        return None;
    }
    let name = cursor.text.get(from..cursor.at - 1)?;
    cursor.space();
    cursor.byte(b':')?;
    cursor.space();
    Some((name, cursor))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::super::json::{number, scan};
    use super::*;

    /// Fields with their texts, and the unknown ones.
    type Read<'l> = (Vec<(Value<'l>, String)>, Vec<(Cow<'l, str>, &'l str)>);

    fn said<'l>(fields: &Fields<'l>, arena: &Arena<'_>) -> Read<'l> {
        let known = Field::ALL.iter().map(|field| match fields.get(*field) {
            Value::Text(span) => {
                let text = arena.texts().of(span).to_owned();
                (Value::Text(Span::default()), text)
            }
            Value::Float(value) => (Value::Null, format!("{:x}", value.to_bits())),
            other => (other, String::new()),
        });
        (known.collect(), fields.unknown.clone())
    }

    /// Whether a line is ordinary; its fields must be those of the other reader then, in a chunk or not.
    fn ordinary(line: &str, habit: &mut Habit) -> bool {
        let (chunk, mut more) = (format!("before\n{line}\nafter"), String::new());
        let mut apart = String::new();
        let mut written = Arena::writing(&mut apart);
        let theirs = scan(line, &mut written).map(|fields| said(&fields, &written));
        let within = chunk.get("before\n".len()..).unwrap();
        let within = within.get(..line.len()).unwrap();
        let (mut found, mut fields) = (false, Fields::default());
        for line in [line, within] {
            more.clear();
            let mut arena = Arena {
                chunk: &chunk,
                more: &mut more,
            };
            let mine = read(Cursor::new(line), &mut fields, &mut arena, habit);
            let mine = mine.filter(|cursor| cursor.is_last());
            let mine = mine.map(|_| said(&fields, &arena));
            found = mine.is_some();
            assert!(mine.is_none() || mine == theirs.clone().ok(), "{line}");
        }
        found
    }

    const LINES: [&str; 6] = [
        r#"{"type":"impression","id":"r1","shown_at":"2026-05-04T10:11:12Z","prompt":"p\u00e9\n\"q\"","response":"r","slot":1,"policy_prob":0.25,"offered":["thumbs","copy"],"meta":{"a":[1,-2.5e3,null,true,"\ud83d\ude00"]}}"#,
        r#"{"type":"impression","id":7,"messages":[{"role":"user","content":"hi"}],"response":"","parent":null,"user":"日本","session":-9,"offered":[]}"#,
        r#" { "type" : "feedback" , "id" : "f", "value" : true , "at":"x" , "version" : -0, "x":1e2,"y":[] } "#,
        r#"{"type":"feedback","id":"g","session":"s","kind":"rating","value":4.5,"comment":"fi/ne"}"#,
        r#"{"value":18446744073709551615,"version":-9223372036854775808,"slot":123456789012345678901,"turn":0.1e-7}"#,
        r#"{"type":"choice","winner":"tie","value":false,"policy_prob":0.1234567890123456,"turn":12345678.9012345}"#,
    ];

    #[test]
    fn ordinary_lines_have_the_same_fields_in_any_order_of_lines() {
        let mut habit = Habit::default();
        for _ in 0..3 {
            assert!(LINES.iter().all(|line| ordinary(line, &mut habit)));
        }
    }

    #[test]
    fn what_is_out_of_the_ordinary_is_left_to_the_other_reader() {
        let deep = |n: usize| format!("{{\"x\":{}{}}}", "[".repeat(n), "]".repeat(n));
        let wide = |n: usize| {
            let keys: Vec<String> = (0..n).map(|i| format!("\"k{i}\":0")).collect();
            format!("{{\"x\":{{{}}}}}", keys.join(","))
        };
        let mut habit = Habit::default();
        assert!(ordinary(&deep(63), &mut habit) && ordinary(&wide(MAX_KEYS - 1), &mut habit));
        for line in [
            "",
            "{",
            "{}",
            "[1]",
            r#"{"id":"a","id":"b"}"#,
            r#"{"\u0069d":"b"}"#,
            r#"{"x":1,"x":2}"#,
            r#"{"x":{"a":1,"\u0061":2}}"#,
            r#"{"id":["a"]}"#,
            r#"{"offered":"thumbs"}"#,
            r#"{"offered":["a"]]}"#,
            r#"{"id":"\ud800"}"#,
            r#"{"value":1e400}"#,
            r#"{"value":01}"#,
            r#"{"value":NaN}"#,
            r#"{"id":"a"} x"#,
            r#"{"id":"a",}"#,
            "{\"id\":\"a\tb\"}",
            &deep(64),
            &wide(MAX_KEYS),
        ] {
            assert!(!ordinary(line, &mut habit), "{line:.60}");
        }
    }

    #[test]
    fn mutated_lines_are_read_alike_or_left() {
        let mut random = crate::dice::dice(0x9E37_79B9_7F4A_7C15);
        let spice = [
            "\"",
            "\\",
            "{",
            "}",
            "[",
            "]",
            ",",
            ":",
            "\\u",
            "\\ud800",
            "0",
            "-",
            "e9",
            ".",
            " ",
            "null",
            "\"id\":1,",
            "\"offered\":[\"thumbs\"],",
            "\t",
            "é",
        ];
        let (mut habit, mut found) = (Habit::default(), 0);
        for round in 0..20_000 {
            let mut line: Vec<char> = LINES.get(round % LINES.len()).unwrap().chars().collect();
            for _ in 0..=random(3) {
                let at = random(line.len());
                match random(3) {
                    0 if line.len() > 1 => drop(line.remove(at)),
                    1 => drop(line.splice(at..at, spice.get(random(spice.len())).unwrap().chars())),
                    _ => *line.get_mut(at).unwrap() = char::from(32 + random(95) as u8),
                }
            }
            found += usize::from(ordinary(&line.into_iter().collect::<String>(), &mut habit));
        }
        assert!(
            (1_000..19_000).contains(&found),
            "{found} of 20000 mutants are ordinary"
        );
    }

    #[test]
    fn decimals_are_rounded_as_the_standard_library_does() {
        let mut random = crate::dice::dice(7);
        for _ in 0..100_000 {
            let digits: String = (0..1 + random(17))
                .map(|_| char::from(b'0' + random(10) as u8))
                .collect();
            let (whole, part) = digits.split_at(random(digits.len()));
            let whole = whole.trim_start_matches('0');
            let text = format!("{}{whole}.{part}", if whole.is_empty() { "0" } else { "" });
            for text in [format!("-{text}"), text] {
                let expected: f64 = text.parse().unwrap();
                let Some(Value::Float(found)) = number(&text) else {
                    panic!("{text} is no decimal");
                };
                assert_eq!(found.to_bits(), expected.to_bits(), "{text}");
            }
        }
    }

    #[test]
    fn whole_numbers_are_exact_up_to_64_bits() {
        let mut random = crate::dice::dice(8);
        for _ in 0..100_000 {
            let (first, count) = (1 + random(9), random(20));
            let digits = (0..count).map(|_| char::from(b'0' + random(10) as u8));
            let text = format!("{first}{}", digits.collect::<String>());
            for text in [format!("-{text}"), text] {
                let whole = text.parse().ok().map(Value::Int);
                let big = || text.parse().ok().map(Value::Big);
                let float = || text.parse().ok().map(Value::Float);
                assert_eq!(number(&text), whole.or_else(big).or_else(float), "{text}");
            }
        }
        for (text, expected) in [
            ("0", Some(Value::Int(0))),
            ("-0", Some(Value::Float(-0.0))),
            ("01", None),
            ("1 ", None),
            ("+1", None),
            ("", None),
        ] {
            assert_eq!(number(text), expected, "{text}");
        }
    }
}
