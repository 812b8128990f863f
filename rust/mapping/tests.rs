//! A table with every kind of step, over sound and broken lines.

#![allow(clippy::unwrap_used)]

use super::{Draft, Found, Make, Mapping, Memory, UNMAPPED};
use crate::event::row::Texts;
use crate::event::{Bad, Reason};
use crate::reader::arena::Arena;
use crate::reader::json::{Field, Fields, Value};

const TABLE: &str = r#"{"names":["turn","vote","known"],"groups":[
 {"each":[],"rules":[{"name":0,"make":"impression","when":[{"from":[{"up":0,"steps":[{"key":"type"}]}],"any":["turn",1]}],
  "has":[{"up":0,"steps":[{"key":"id"}]}],"lacks":[],"extra":[["all",{"up":null,"steps":[]}]],"columns":[
   {"field":"id","specs":[{"source":{"join":["hash",{"text":"-"},{"path":{"up":0,"steps":[{"key":"id"}]}}]}}]},
   {"field":"messages","specs":[{"source":{"messages":{"each":[{"up":0,"steps":[{"key":"tree"}]}],
     "last":{"up":0,"steps":[{"key":"last"}]},"parent":"up","drop":0,"role":[{"up":0,"steps":[{"key":"role"}]}],
     "content":[{"up":0,"steps":[{"key":"c"},"each",{"where":["t","x"]},{"key":"c"}]}],"roles":{"h":"user"}}}}]},
   {"field":"shown_at","specs":[{"source":{"from":[{"up":0,"steps":[{"key":"at"}]}]},"time":{"units":6}}]},
   {"field":"response","specs":[{"source":{"from":[{"up":0,"steps":[{"key":"in"},"json",{"key":"a"},"pairs",{"key":"k"}]}]},"as":"text"}]},
   {"field":"slot","specs":[{"source":{"from":[{"up":0,"steps":[{"key":"slot"}]}]},"as":"number"}]}]}]},
 {"each":[[{"key":"votes"},"each"],[{"key":"of"},"each"]],"rules":[
  {"name":1,"make":"feedback","when":[],"has":[{"up":1,"steps":[{"key":"by"}]}],"lacks":[{"up":0,"steps":[{"key":"no"}]}],"extra":[],
   "columns":[{"field":"id","specs":[{"source":{"join":[{"place":1},{"text":":"},{"place":0}]}}]},
    {"field":"kind","specs":[{"source":{"from":[{"up":0,"steps":[{"key":"k"}]}]},"map":{"up":"thumbs"},"else":"custom"}]},
    {"field":"value","specs":[{"source":{"from":[{"up":null,"steps":[{"key":"tree"},{"of":{"up":0,"steps":[{"key":"k"}]}},{"at":-1}]}]},"map":{},"keep":true}]}]},
  {"name":2,"make":null,"when":[],"has":[],"lacks":[{"up":1,"steps":[{"key":"by"}]}],"extra":[],"columns":[]}]}]}"#;

const LINE: &str = r#"{"type":"turn","id":7,"at":1777889472.5,"slot":"3","last":"b","tree":{"a":{"role":"h","up":null,"c":[{"t":"x","c":"é"}]},"b":{"role":"h","up":"a","c":[]}},"in":"{\"a\":[{\"key\":\"k\",\"value\":{\"arrayValue\":{\"values\":[{\"intValue\":\"1\"}]}}}]}","votes":[{"by":"u","of":[{"k":"up"},{"no":1}]},{"of":[{},{}]}]}"#;

/// Rule and make (or reason) of everything on a line.
type All = Vec<(u16, Result<Option<Make>, Reason>)>;

fn apply(mapping: &Mapping, line: &str) -> Result<(All, String), Bad> {
    let (mut more, mut all) = ("source".to_owned(), Vec::new());
    let (mut memory, mut arena) = (mapping.memory(), Arena::writing(&mut more));
    mapping.apply(line, &mut memory, &mut arena, |_, Found { rule, draft }| {
        let made = draft.map(|draft| draft.map(|draft| draft.make));
        let kept = matches!(made, Ok(Some(Make::Impression)));
        all.push((rule, made.map_err(|bad| bad.reason)));
        kept
    })?;
    Ok((all, more))
}

#[test]
fn every_item_is_accounted_for_and_only_what_is_kept_stays_in_the_arena() {
    let mapping = Mapping::parse(TABLE).unwrap();
    let (all, arena) = apply(&mapping, LINE).unwrap();
    let skipped = |rule| (rule, Ok(None));
    assert_eq!(
        all,
        [
            (0, Ok(Some(Make::Impression))),
            (1, Ok(Some(Make::Feedback))),
            skipped(UNMAPPED),
            skipped(2),
            skipped(2),
        ]
    );
    assert!(arena.starts_with("source"));
    assert!(arena.ends_with("[{\"intValue\":\"1\"}]3"), "{arena}");
    let (all, arena) = apply(&mapping, "{}").unwrap();
    assert_eq!((all, arena.as_str()), (vec![skipped(UNMAPPED)], "source"));
}

#[test]
fn mutated_lines_neither_panic_nor_lose_the_reason() {
    let mapping = Mapping::parse(TABLE).unwrap();
    let mut random = crate::dice::dice(0x9E37_79B9_7F4A_7C15);
    let spice = [
        "null",
        "[]",
        "{}",
        "\"\"",
        "1e3",
        "true",
        "\"a\"",
        "\"b\"",
        "[[",
        "\\\"",
        "-1",
        ",",
        "{\"up\":\"a\"}",
    ];
    let (mut sound, mut rows) = (0, 0);
    for _ in 0..6_000 {
        let mut line: Vec<char> = LINE.chars().collect();
        for _ in 0..=random(3) {
            let (from, with) = (random(line.len()), spice.get(random(spice.len())).unwrap());
            let to = (from + random(6)).min(line.len());
            drop(line.splice(from..to, with.chars()));
        }
        let line: String = line.into_iter().collect();
        if let Ok((all, _)) = apply(&mapping, &line) {
            sound += 1;
            rows += all.len();
        }
    }
    assert!(sound > 200, "{sound} of 6000 mutants are sound");
    assert!(rows > 2 * sound);
}

#[test]
fn text_that_grows_and_tables_that_are_none_are_refused() {
    let mapping = Mapping::parse(TABLE).unwrap();
    let items = format!("{{\"votes\":[{{\"of\":[{}0]}}]}}", "0,".repeat(100_000));
    assert_eq!(apply(&mapping, &items).unwrap_err().reason, Reason::TooLong);
    assert_eq!(
        apply(&mapping, "{\"id\":1,\"id\":2}").unwrap_err().reason,
        Reason::DupKey
    );
    assert!(Mapping::parse("{}").is_err());
    assert!(
        Mapping::parse(&TABLE.replace("\"names\":[\"turn\",\"vote\",\"known\"]", "\"names\":[]"))
            .is_err()
    );
    assert!(Mapping::parse(&TABLE.replace("\"slot\",\"specs\"", "\"slots\",\"specs\"")).is_err());
}

const PLAIN: &str = r#"{"names":["row","part"],"groups":[
 {"each":[],"rules":[{"name":0,"make":"feedback","when":[],"has":[],"lacks":[],
  "extra":[["more",{"up":0,"steps":[{"key":"g"}]}]],"columns":[
   {"field":"id","specs":[{"source":{"from":[{"up":0,"steps":[{"key":"a"}]}]}}]},
   {"field":"response","specs":[{"source":{"from":[{"up":0,"steps":[{"key":"b"}]}]}}]},
   {"field":"offered","specs":[{"source":{"from":[{"up":0,"steps":[{"key":"c"}]}]}}]},
   {"field":"value","specs":[{"source":{"from":[{"up":0,"steps":[{"key":"d"}]}]},"map":{"x":1},"keep":true}]},
   {"field":"comment","specs":[{"source":{"from":[{"up":0,"steps":[{"key":"e"},{"key":"a"}]},{"up":0,"steps":[{"key":"e"}]}]}}]},
   {"field":"user","specs":[{"source":{"from":[{"up":0,"steps":[{"key":"f"},"json",{"key":"b"}]},{"up":0,"steps":[{"key":"d"}]}]}}]}]}]},
 {"each":[[{"key":"g"},"each"]],"rules":[{"name":1,"make":"choice","when":[],"has":[],"lacks":[],"extra":[],"columns":[
   {"field":"id","specs":[{"source":{"from":[{"up":0,"steps":[{"key":"b"}]}]}}]},
   {"field":"user","specs":[{"source":{"from":[{"up":1,"steps":[{"key":"a"}]}]}}]},
   {"field":"winner","specs":[{"source":{"from":[{"up":0,"steps":[{"key":"a"}]}]},"as":"text"}]}]}]}]}"#;

/// An object with keys out of nine, some of them twice, absent or written with an escape, in any order.
fn object(random: &mut impl FnMut(usize) -> usize, depth: usize) -> String {
    let mut members: Vec<String> = Vec::new();
    for key in ["a", "b", "c", "d", "e", "f", "g", "h", "é"] {
        let times = [0, 1, 1, 1].get(random(4)).copied().unwrap();
        for _ in 0..times + usize::from(random(90) == 0) {
            let code = key.chars().next().unwrap() as u32;
            let key = match random(12) {
                0 => format!("\\u{code:04x}"),
                _ => key.to_owned(),
            };
            let value = match random(9) {
                0 if depth > 0 => object(random, depth - 1),
                1 if depth > 0 => {
                    let items: Vec<_> = (0..random(3)).map(|_| object(random, depth - 1)).collect();
                    format!("[{}]", items.join(", "))
                }
                2 if depth > 0 => serde_json::to_string(&object(random, 0)).unwrap(),
                3 => "null".to_owned(),
                4 => "\"\"".to_owned(),
                5 => format!("{}.5e0", random(9)),
                6 => "[\"thumbs\"]".to_owned(),
                7 => "true".to_owned(),
                _ => "\"x\"".to_owned(),
            };
            let space = " ".repeat(usize::from(random(9) == 0));
            members.push(format!("\"{key}\"{space}:{space}{value}"));
        }
    }
    if random(3) == 0 {
        for at in (1..members.len()).rev() {
            members.swap(at, random(at + 1));
        }
    }
    format!("{{{}}}", members.join(","))
}

/// Everything that a mapping makes of a line, its texts left in the line or not.
fn made(mapping: &Mapping, memory: &mut Memory, line: &str, within: bool) -> String {
    let (mut more, mut all) = (String::new(), String::new());
    let mut arena = Arena {
        chunk: if within { line } else { "" },
        more: &mut more,
    };
    let end = mapping.apply(line, memory, &mut arena, |arena, Found { rule, draft }| {
        let said = |draft: &Option<Draft<'_>>| {
            let fields = draft.as_ref().map(Draft::fields);
            fields.map_or_else(String::new, |fields| said(&fields, arena.texts()))
        };
        all.push_str(&format!("{rule} {:?}\n", draft.as_ref().map(said)));
        true
    });
    format!("{all}{end:?}")
}

/// Fields with their texts.
fn said(fields: &Fields<'_>, texts: Texts<'_>) -> String {
    let known = Field::ALL.iter().map(|field| match fields.get(*field) {
        Value::Text(span) => format!("{:?}", texts.of(span)),
        other => format!("{other:?}"),
    });
    format!("{:?} {:?}", known.collect::<Vec<_>>(), fields.unknown)
}

#[test]
fn neither_what_is_remembered_nor_where_texts_lie_changes_what_is_found() {
    let mut random = crate::dice::dice(0x2545_F491_4F6C_DD1D);
    for table in [PLAIN, TABLE] {
        let mapping = Mapping::parse(table).unwrap();
        let (mut memory, mut forgetful, mut sound) = (mapping.memory(), Memory::default(), 0);
        for _ in 0..3_000 {
            let line = object(&mut random, 2);
            let found = made(&mapping, &mut memory, &line, true);
            for memory in [&mut mapping.memory(), &mut forgetful] {
                for within in [true, false] {
                    assert_eq!(found, made(&mapping, memory, &line, within), "{line}");
                }
            }
            sound += usize::from(found.contains("Ok(())"));
        }
        assert!((1_000..2_900).contains(&sound), "{sound} of 3000 are sound");
    }
}
