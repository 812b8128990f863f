//! The two readers of JSON agree.

#![allow(clippy::unwrap_used)]

use super::super::arena::Arena;
use super::super::json;
use super::*;

/// Whether both readers accept a line; they must agree.
fn accepted(line: &str) -> bool {
    let mut nodes = Vec::new();
    let mine = grow(line, &mut nodes)
        && nodes
            .first()
            .is_some_and(|node| node.shape == Shape::Object);
    assert_eq!(
        mine,
        json::scan(line, &mut Arena::writing(&mut String::new())).is_ok(),
        "{line:?}"
    );
    mine
}

#[test]
fn it_agrees_with_the_reader_of_canonical_lines_on_every_rule() {
    let deep = |n: usize| format!("{{\"x\":{}{}}}", "[".repeat(n), "]".repeat(n));
    let wide = |n: usize| {
        let keys: Vec<String> = (0..n).map(|i| format!("\"k{i}\":0")).collect();
        format!("{{{}}}", keys.join(","))
    };
    let good = [
        r#"{"id":"a","x":{"y":[1,2.5e3,null,true,"\ud83d\ude00"]}}"#,
        " { } ",
        "{\"a\":[]}",
    ];
    assert!(good.iter().all(|line| accepted(line)));
    assert!(accepted(&deep(63)) && accepted(&wide(MAX_KEYS)));
    for line in [
        r#"{"id":"a","id":"b"}"#,
        r#"{"x":1,"\u0078":2}"#,
        r#"{"x":{"a":1,"\u0061":2}}"#,
        r#"{"x":"\ud800"}"#,
        r#"{"x":"\udc00"}"#,
        r#"{"x":["\ud800x"]}"#,
        r#"{"x":"\ud800\u0041"}"#,
        r#"{"x":"\u00g0"}"#,
        r#"{"x":"\u+123"}"#,
        r#"{"x":1e400}"#,
        r#"{"x":NaN}"#,
        r#"{"x":01}"#,
        r#"{"x":-}"#,
        r#"{"x":1.}"#,
        r#"{"x":.5}"#,
        r#"{"x":1e}"#,
        r#"{"x":+1}"#,
        r#"{"x":1} {"y":2}"#,
        r#"{"x":1,}"#,
        r#"{,"x":1}"#,
        r#"{"x":[1,]}"#,
        r#"{"x":[,1]}"#,
        r#"{"x" 1}"#,
        r#"{"x":}"#,
        r#"{x:1}"#,
        "{\"x\":\"a\tb\"}",
        "{",
        "",
        r#"{"x":[}"#,
        r#"{"x":"\x"}"#,
        r#"{"x":tru}"#,
        "null",
        "[1]",
    ] {
        assert!(!accepted(line), "{line}");
    }
    for line in [
        deep(64),
        deep(100_000),
        wide(MAX_KEYS + 1),
        format!("{{\"x\":{}}}", "9".repeat(400)),
    ] {
        assert!(!accepted(&line));
    }
}

/// Lines before change neither what is accepted nor where values are.
fn assert_same(line: &str, orders: &mut Orders) {
    let (mut alone, mut among) = (Vec::new(), Vec::new());
    let sound = grow(line, &mut alone);
    assert_eq!(grow_among(line, &mut among, orders), sound, "{line}");
    let what = |node: &Node| (node.shape, node.from, node.to, node.next);
    let [alone, among] = [alone, among].map(|nodes| nodes.iter().map(what).collect::<Vec<_>>());
    assert!(!sound || alone == among, "{line}");
}

#[test]
fn tables_in_objects_are_read_as_they_are_whatever_is_known_of_others() {
    let mut random = crate::dice::dice(0x2545_F491_4F6C_DD1D);
    let mut orders = Orders::new(Default::default());
    for _ in 0..2_000 {
        let kinds = 1 + random(300);
        let keys: Vec<String> = (0..random(100))
            .map(|_| random(kinds).to_string())
            .collect();
        let long = "k".repeat(random(140));
        let members = keys
            .iter()
            .map(|key| format!("\"{key}\":0,"))
            .collect::<String>();
        let line = format!("{{\"t\":{{{members}\"{long}\":[]}},{members}\"x\":{{}}}}");
        assert_same(&line, &mut orders);
    }
}

#[test]
fn it_agrees_on_mutated_lines() {
    let seed = r#"{"a":"\u00e9\ud83d\ude00\n","b":[1,-2.5e3,null,true,{"c":{}}],"d":{"a":0.1,"b":""},"e":[[],[]]}"#;
    let mut random = crate::dice::dice(0x9E37_79B9_7F4A_7C15);
    let spice = [
        "\"", "\\", "{", "}", "[", "]", ",", ":", "\\u", "\\ud800", "0", "-", "e9", ".", " ",
        "null", "\"a\":1,",
    ];
    let (mut passed, mut orders) = (0, Orders::new(Default::default()));
    for _ in 0..8_000 {
        let mut line: Vec<char> = seed.chars().collect();
        for _ in 0..=random(3) {
            let at = random(line.len());
            match random(3) {
                0 if line.len() > 1 => drop(line.remove(at)),
                1 => drop(line.splice(at..at, spice.get(random(spice.len())).unwrap().chars())),
                _ => *line.get_mut(at).unwrap() = char::from(32 + random(95) as u8),
            }
        }
        let line: String = line.into_iter().collect();
        passed += usize::from(accepted(&line));
        assert_same(&line, &mut orders);
    }
    assert!(
        (300..7_000).contains(&passed),
        "{passed} of 8000 mutants are still good"
    );
}

#[test]
fn values_lie_where_they_are_written() {
    let text = r#" {"a" : [1, "x\n"], "b": {"c": -0.5}} "#;
    let mut nodes = Vec::new();
    assert!(grow(text, &mut nodes));
    let raw: Vec<&str> = nodes.iter().map(|node| node.raw(text)).collect();
    assert_eq!(
        raw,
        [
            text.trim(),
            "\"a\"",
            "[1, \"x\\n\"]",
            "1",
            "\"x\\n\"",
            "\"b\"",
            "{\"c\": -0.5}",
            "\"c\"",
            "-0.5"
        ]
    );
    let mut members = Vec::new();
    inside(&nodes, 0, |key, value| {
        members.push((key, value));
        ControlFlow::<()>::Continue(())
    });
    assert_eq!(members, [(Some(1), 2), (Some(5), 6)]);
    assert_eq!(nodes.get(4).unwrap().text(text).unwrap(), "x\n");
}
