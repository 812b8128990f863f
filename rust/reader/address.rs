//! Addresses of people, e-mail and IP, in fields that nobody learns from.

use std::net::{IpAddr, SocketAddr};
use std::ops::ControlFlow;

use memchr::memchr2;

use super::tree::{Node, Shape, grow, inside};

/// Words at the end of a name that do not change what it names.
const SUFFIXES: &[&str] = &["address", "addresses", "addr", "hash", "raw", "v4", "v6"];
/// Last words of names of addresses.
const WORDS: &[&str] = &["email", "emails", "mail", "ip", "ips", "ipv4", "ipv6"];
/// Endings of names of addresses, written without what separates words.
const ENDINGS: &[&str] = &[
    "email",
    "emailaddress",
    "ipaddress",
    "ipaddr",
    "clientip",
    "userip",
    "remoteip",
    "sourceip",
    "realip",
    "remoteaddr",
    "remoteaddress",
    "forwardedfor",
];

/// Bytes of the longest name of an address.
const LONGEST: usize = 100;

/// Appends the JSON value `raw` without members and items that hold an address; returns how many those were.
///
/// Left out is a string that contains an e-mail address or consists of IP addresses, and whatever is no flag under a
/// name that says so, such as `email` or `client_ip`. JSON inside a string is treated alike. Values of members named
/// `free` are free text, which stays. With nothing to leave out, `raw` is appended as it is.
pub fn without(raw: &str, free: Option<&str>, out: &mut String) -> u64 {
    let (mut nodes, from) = (Vec::new(), out.len());
    let mut count = 0;
    if may_hold(raw, &mut nodes) {
        let mut copy = Copy {
            text: raw,
            nodes: &nodes,
            free,
            count: 0,
            out,
        };
        copy.value(0);
        count = copy.count;
    }
    if count == 0 {
        out.truncate(from);
        out.push_str(raw);
    }
    count
}

/// Whether an address may be in the JSON value `raw`, a quick look at its texts; `nodes` are its values then.
pub fn may_hold(raw: &str, nodes: &mut Vec<Node>) -> bool {
    let may = |node: &Node| {
        let text = node.text(raw);
        let after = raw.get(node.to as usize..).unwrap_or_default();
        let is_name = || after.trim_start().starts_with(':');
        text.is_some_and(|text| {
            text.starts_with([' ', '{', '['])
                || (is_name() && names_address(&text))
                || has_mail(&text)
                || is_network(&text)
        })
    };
    grow(raw, nodes) && nodes.iter().any(may)
}

struct Copy<'a> {
    text: &'a str,
    nodes: &'a [Node],
    free: Option<&'a str>,
    count: u64,
    out: &'a mut String,
}

impl Copy<'_> {
    fn value(&mut self, at: u32) {
        let Some(node) = self.nodes.get(at as usize) else {
            return;
        };
        let ends = match node.shape {
            Shape::Object => ('{', '}'),
            Shape::Array => ('[', ']'),
            _ => return self.scalar(node),
        };
        self.out.push(ends.0);
        let mut members = Vec::new();
        inside(self.nodes, at, |key, value| {
            members.push((key, value));
            ControlFlow::<()>::Continue(())
        });
        let mut first = true;
        for (key, at) in members {
            let key = key.and_then(|key| self.nodes.get(key as usize));
            let Some(value) = self.nodes.get(at as usize) else {
                continue;
            };
            let free = key
                .zip(self.free)
                .is_some_and(|(key, free)| key.is(self.text, free));
            if !free && self.is_address(key, value) {
                self.count += 1;
                continue;
            }
            if !std::mem::take(&mut first) {
                self.out.push(',');
            }
            if let Some(key) = key {
                self.out.push_str(key.raw(self.text));
                self.out.push(':');
            }
            if free {
                self.out.push_str(value.raw(self.text));
            } else {
                self.value(at);
            }
        }
        self.out.push(ends.1);
    }

    fn scalar(&mut self, node: &Node) {
        if let Some(text) = node.text(self.text).filter(|text| is_json(text)) {
            let mut inner = String::new();
            let count = without(&text, self.free, &mut inner);
            if count > 0 {
                self.count += count;
                self.out
                    .push_str(&serde_json::Value::from(inner).to_string());
                return;
            }
        }
        self.out.push_str(node.raw(self.text));
    }

    fn is_address(&self, key: Option<&Node>, value: &Node) -> bool {
        let flag = matches!(value.shape, Shape::Null | Shape::Bool(_));
        let name = key.filter(|_| !flag).and_then(|key| key.text(self.text));
        name.is_some_and(|name| names_address(&name))
            || value
                .text(self.text)
                .is_some_and(|text| !is_json(&text) && (has_mail(&text) || is_network(&text)))
    }
}

/// Whether a string holds a JSON object or list.
fn is_json(text: &str) -> bool {
    text.trim_start_matches(' ').starts_with(['{', '[']) && grow(text, &mut Vec::new())
}

/// Whether a field of this name holds an address.
fn names_address(name: &str) -> bool {
    // Most texts are let through by the pairs of letters that are not in them: ip, mail, remote, forwarded.
    let pair = |pair: &[u8]| {
        let pair = [0, 1].map(|at| pair.get(at).unwrap_or(&0).to_ascii_lowercase());
        matches!(&pair, b"ip" | b"ma" | b"mo" | b"fo")
    };
    if name.len() > LONGEST || !name.as_bytes().windows(2).any(pair) {
        return false;
    }
    let (mut words, mut lower) = (vec![String::new()], false);
    for letter in name.chars() {
        if !letter.is_alphanumeric() || (letter.is_uppercase() && lower) {
            words.push(String::new());
        }
        lower = letter.is_lowercase();
        if let Some(word) = words.last_mut().filter(|_| letter.is_alphanumeric()) {
            word.extend(letter.to_lowercase());
        }
    }
    let whole = words.concat();
    words.retain(|word| !word.is_empty() && word.bytes().any(|byte| !byte.is_ascii_digit()));
    while words
        .last()
        .is_some_and(|word| SUFFIXES.contains(&word.as_str()))
    {
        words.pop();
    }
    words
        .last()
        .is_some_and(|word| WORDS.contains(&word.as_str()))
        || ENDINGS.iter().any(|ending| whole.ends_with(ending))
}

/// Whether an e-mail address stands anywhere in `text`.
fn has_mail(text: &str) -> bool {
    if memchr2(b'@', b'%', text.as_bytes()).is_none() {
        return false;
    }
    let found = |sign: &str| {
        text.match_indices(sign).any(|(at, _)| {
            let before = text.get(..at).and_then(|before| before.chars().next_back());
            let after = text.get(at + sign.len()..).unwrap_or_default();
            let domain = |letter: char| letter.is_alphanumeric() || letter == '-' || letter == '.';
            let end = after.find(|letter| !domain(letter)).unwrap_or(after.len());
            let host = after.get(..end).unwrap_or_default().trim_end_matches('.');
            let top = host.rsplit_once('.').map_or("", |(_, top)| top);
            before.is_some_and(|letter| letter.is_alphanumeric() || "._%+-\"'".contains(letter))
                && top.chars().count() > 1
                && (top.starts_with("xn--") || top.chars().all(char::is_alphabetic))
        })
    };
    found("@") || found("%40")
}

/// Whether `text` is an IP address or several of them, with ports or lengths of networks or without.
fn is_network(text: &str) -> bool {
    if !text.starts_with(|first: char| first.is_ascii_hexdigit() || ": [".contains(first)) {
        return false;
    }
    let mut parts = text
        .split([',', ';', ' '])
        .filter(|part| !part.is_empty())
        .peekable();
    parts.peek().is_some()
        && parts.all(|part| {
            let bare = part.split(['/', '%']).next().unwrap_or_default();
            let bare = bare.trim_matches(['[', ']']);
            bare.parse::<IpAddr>().is_ok() || part.parse::<SocketAddr>().is_ok()
        })
}

#[cfg(test)]
mod tests {
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
}
