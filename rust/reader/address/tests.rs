//! Addresses by what they are, by their names, and inside texts; a copy by recursion as the measure.

#![allow(clippy::unwrap_used)]

use serde_json::Value;

use super::*;

fn left(raw: &str) -> (String, u64) {
    let mut out = String::new();
    let count = without(raw, Some("content"), &mut out);
    (out, count)
}

#[test]
fn addresses_go_and_everything_else_stays_as_written() {
    for raw in [
        r#"{"a": 1.50, "b":"\u00e9", "ip_country":"DE", "email_verified":true, "ip":null}"#,
        r#"{"agent":"Chrome/120.0.0.0", "zip":"12345", "tip":"x", "package":"unskew@1.2.3", "at":"10:30"}"#,
        r#"{"content":"ada@example.org", "description":"skip", "address":"5 Main St"}"#,
        r#"["{not json", "@", "a@b"]"#,
        "12",
    ] {
        assert_eq!(left(raw), (raw.to_owned(), 0));
    }
}

#[test]
fn values_are_known_by_what_they_are() {
    for text in [
        "ada@example.org",
        "Ada <ada.l+x@mail.example.org>.",
        "https://x.org/?to=ada%40example.org",
        "203.0.113.7",
        "203.0.113.7:8080",
        "203.0.113.7, 10.0.0.1",
        "2001:db8::1",
        "[2001:db8::1]:443",
        "fe80::1%eth0",
        "203.0.113.0/24",
    ] {
        let raw = format!(r#"{{"a":1,"b":["{text}",2],"c":{{"d":"{text}"}}}}"#);
        assert_eq!(
            left(&raw),
            (r#"{"a":1,"b":[2],"c":{}}"#.to_owned(), 2),
            "{text}"
        );
    }
}

#[test]
fn names_say_what_a_value_is() {
    for name in [
        "email",
        "user_email",
        "userEmail",
        "useremail",
        "e-mail",
        "EMAIL_ADDRESS",
        "email_hash",
        "contact.mail",
        "ip",
        "client_ip",
        "clientIp",
        "clientip",
        "ipAddress",
        "x-forwarded-for",
        "REMOTE_ADDR",
        "net.peer.ip",
        "ip_v4",
        "ip\u{5f}1",
    ] {
        assert!(names_address(name), "{name}");
    }
    for name in [
        "zip",
        "tip",
        "ship_to",
        "ip_country",
        "mailing",
        "address",
        "model",
        "",
        "_",
        "7",
    ] {
        assert!(!names_address(name), "{name}");
    }
}

#[test]
fn json_inside_a_string_is_looked_into() {
    let raw = r#"{"metadata":"{\"user_email\":\"x\",\"n\":1}","s":"[1]"}"#;
    assert_eq!(
        left(raw),
        (r#"{"metadata":"{\"n\":1}","s":"[1]"}"#.to_owned(), 1)
    );
}

/// The same by recursion, over values whose texts are written as `to_string` writes them.
fn slow(value: &Value) -> (Value, u64) {
    let address = |value: &Value| {
        let text = value.as_str();
        text.is_some_and(|text| {
            !text.starts_with(['{', '[']) && (has_mail(text) || is_network(text))
        })
    };
    let flag = |value: &Value| value.is_null() || value.is_boolean();
    match value {
        Value::Array(items) => {
            let left: Vec<_> = items.iter().filter(|item| !address(item)).collect();
            let (kept, counts): (Vec<_>, Vec<_>) = left.iter().map(|item| slow(item)).unzip();
            let gone = (items.len() - left.len()) as u64;
            (Value::Array(kept), gone + counts.iter().sum::<u64>())
        }
        Value::Object(members) => {
            let (mut kept, mut count) = (serde_json::Map::new(), 0);
            for (name, value) in members {
                let free = name == "content";
                if !free && ((names_address(name) && !flag(value)) || address(value)) {
                    count += 1;
                    continue;
                }
                let (copy, more) = if free {
                    (value.clone(), 0)
                } else {
                    slow(value)
                };
                kept.insert(name.clone(), copy);
                count += more;
            }
            (Value::Object(kept), count)
        }
        Value::String(text) if text.starts_with(['{', '[']) => {
            match serde_json::from_str(text).map(|inner| slow(&inner)) {
                Ok((inner, count)) if count > 0 => (Value::from(inner.to_string()), count),
                _ => (value.clone(), 0),
            }
        }
        _ => (value.clone(), 0),
    }
}

fn any(random: &mut impl FnMut(usize) -> usize, depth: usize) -> Value {
    const NAMES: [&str; 6] = ["a", "client_ip", "content", "d", "email", "zip"];
    match random(if depth == 0 { 6 } else { 12 }) {
        0 => Value::Null,
        1 => Value::from(true),
        2 => Value::from(7),
        3 => Value::from("ada@example.org"),
        4 => Value::from("10.0.0.1"),
        5 => Value::from(
            *["x", "", "[", "{\"", "\u{e9}\n\"\\"]
                .get(random(5))
                .unwrap(),
        ),
        6 | 7 => (0..random(4)).map(|_| any(random, depth - 1)).collect(),
        8 | 9 => {
            let names = NAMES.iter().filter(|_| random(2) == 0).collect::<Vec<_>>();
            let member = |name: &&str| ((*name).to_owned(), any(random, depth - 1));
            Value::Object(names.into_iter().map(member).collect())
        }
        _ => Value::from(any(random, depth - 1).to_string()),
    }
}

#[test]
fn copies_are_those_of_a_slow_copy_by_recursion() {
    let mut random = crate::dice::dice(0x9E37_79B9_7F4A_7C15);
    let mut found = [0_u32; 4];
    for _ in 0..20_000 {
        let value = any(&mut random, 6);
        let raw = value.to_string();
        let (slow, count) = slow(&value);
        assert_eq!(left(&raw), (slow.to_string(), count), "{raw}");
        *found.get_mut(count.min(3) as usize).unwrap() += 1;
    }
    assert!(found.iter().all(|count| *count > 500), "{found:?}");
}

#[test]
fn depth_costs_no_stack() {
    let nested = |text: &str, depth| {
        let (begin, end) = (r#"{"a":["#.repeat(depth), "]}".repeat(depth));
        format!("{begin}{text}{end}")
    };
    let (mut raw, mut expected) = (nested(r#""a@b.de""#, 31), nested("", 31));
    for _ in 0..14 {
        raw = Value::from(nested(&raw, 1)).to_string();
        expected = Value::from(nested(&expected, 1)).to_string();
    }
    let small = std::thread::Builder::new().stack_size(1 << 16);
    let copied = small.spawn(move || left(&raw)).unwrap().join().unwrap();
    assert_eq!(copied, (expected, 1));
}

#[test]
fn what_has_no_sign_has_no_address() {
    let pieces = [
        "a", "1", "::", ":", ".", "@", "ip", "IP", "mail", "_", " ", "{", "[", "b", "fe80", "0",
    ];
    let mut random = crate::dice::dice(7);
    let mut passed = 0;
    for _ in 0..20_000 {
        let mut text = || {
            let count = random(7);
            let drawn = (0..count).filter_map(|_| pieces.get(random(pieces.len())));
            drawn.copied().collect::<String>()
        };
        let raw = format!(r#"{{"{}":"{}","n":[1,"{}"]}}"#, text(), text(), text());
        let mut nodes = Vec::new();
        if !has_sign(&raw) && grow(&raw, &mut nodes) {
            passed += 1;
            let strings = nodes.iter().filter_map(|node| node.text(&raw));
            let found = |text: &str| has_mail(text) || is_network(text) || is_json(text);
            assert!(
                !strings
                    .into_iter()
                    .any(|text| found(&text) || names_address(&text))
            );
        }
    }
    assert!(passed > 200, "{passed}");
}
