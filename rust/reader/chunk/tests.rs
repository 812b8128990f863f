//! Chunks of mutated lines.

#![allow(clippy::unwrap_used)]

use super::*;
use crate::key::Secret;

const SEEDS: [&str; 5] = [
    r#"{"type":"impression","id":"r1","shown_at":"2026-05-04T10:11:12.5+02:00","prompt":"p\u00e9\n","response":"r","slot":1,"policy_prob":2.5e-1,"offered":["thumbs","copy"],"x":{"a":[1,-2.5e3,null,true,"\ud83d\ude00"]}}"#,
    r#"{"type":"impression","id":7,"shown_at":"2026-05-04T10:11:12Z","messages":[{"role":"user","content":"hi"}],"response":"","parent":"r1","user":"u","session":9}"#,
    r#"{"type":"feedback","id":"f","response":"r1","kind":"thumbs","value":"up","at":"2026-05-04T10:11:13Z","version":3,"op":"upsert","actor":"user"}"#,
    r#"{"type":"feedback","id":"g","session":"s","kind":"rating","value":4.5,"at":"2026-05-04T10:11:13Z","comment":"fine"}"#,
    r#"{"type":"choice","id":"c","request":"q","winner":"tie","at":"2026-05-04T10:11:13Z"}"#,
];

fn accepted(bytes: &[u8]) -> Vec<bool> {
    let mut parser = Parser::new(Secret::new(&[7; 32]).unwrap(), "s");
    let piece = Piece::Lines {
        offset: 0,
        bytes: bytes.to_vec(),
        terminated: true,
    };
    let parsed = parse(&mut parser, "s", Work::Lines(piece));
    let lines = parsed.lines.iter();
    lines
        .map(|line| matches!(line.what, What::Row(_)))
        .collect()
}

#[test]
fn mutated_lines_neither_panic_nor_pass_as_json_when_they_are_not() {
    let mut random = crate::dice::dice(0x9E37_79B9_7F4A_7C15);
    let spice: &[&[u8]] = &[
        b"\"",
        b"\\",
        b"{",
        b"}",
        b"[",
        b"]",
        b",",
        b":",
        b"\\u",
        b"\\ud800",
        b"0",
        b"-",
        b"e9",
        b".",
        b"\xff",
        b"\0",
        b"null",
        b"NaN",
        b" ",
        b"\t",
        b"1e999",
        b"\xe2\x80",
        b"\"id\":1,",
    ];
    let mut passed = 0;
    for round in 0..20_000 {
        let mut line = SEEDS.get(round % SEEDS.len()).unwrap().as_bytes().to_vec();
        for _ in 0..=random(3) {
            let at = random(line.len());
            match random(4) {
                0 if line.len() > 1 => drop(line.remove(at)),
                1 => drop(line.splice(
                    at..at,
                    spice.get(random(spice.len())).unwrap().iter().copied(),
                )),
                2 => line.truncate(at + 1),
                _ => *line.get_mut(at).unwrap() ^= 1 << random(8),
            }
        }
        line.retain(|byte| *byte != b'\n');
        let neighbour = SEEDS.first().unwrap().as_bytes();
        let text = [neighbour, line.as_slice(), neighbour, b""].join(&b'\n');
        let found = accepted(&text);
        assert_eq!(found.len(), 3, "{line:?}");
        assert_eq!(
            (found.first(), found.last()),
            (Some(&true), Some(&true)),
            "{line:?}"
        );
        if found.get(1) == Some(&true) {
            passed += 1;
            assert!(
                serde_json::from_slice::<serde_json::Value>(&line).is_ok(),
                "{line:?}"
            );
        }
    }
    assert!(
        (500..19_000).contains(&passed),
        "{passed} of 20000 mutants are still good rows"
    );
}
