//! Addresses of people, e-mail and IP, in fields that nobody learns from.

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};

use memchr::memchr2;

use super::tree::{Node, Shape, grow};

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
    let mut copies = vec![Copy::new(Cow::Borrowed(raw))];
    while let Some(copy) = copies.last_mut() {
        if let Some(inner) = copy.run(free) {
            copies.push(Copy::new(Cow::Owned(inner)));
            continue;
        }
        let Some(done) = copies.pop() else { break };
        let Some(outer) = copies.last_mut() else {
            out.push_str(if done.count > 0 { &done.out } else { raw });
            return done.count;
        };
        outer.put(&done);
    }
    0
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
    has_sign(raw) && grow(raw, nodes) && nodes.iter().any(may)
}

/// Whether anything stands in a JSON value without which there is no address: the marks of mail and of IP addresses,
/// letters of the names, an escape, or what may be JSON in a string.
fn has_sign(raw: &str) -> bool {
    const ENDS: [bool; 256] = among(b"@%.\\ {[:pPaAoO");
    let raw = raw.as_bytes();
    let is_sign = |at: usize, byte: u8| {
        let before = at.checked_sub(1).and_then(|at| raw.get(at).copied());
        let pair = [before.unwrap_or(b' '), byte];
        match pair {
            [_, b'@' | b'%' | b'.' | b'\\'] | [b'"', b' ' | b'{' | b'['] => true,
            [before, b':'] => before != b'"', // that of a member follows its name, and IPv6 has two
            _ => names_begin(&pair),
        }
    };
    let ends = |byte: u8| ENDS.get(usize::from(byte)) == Some(&true);
    let mut bytes = raw.iter().enumerate();
    bytes.any(|(at, byte)| ends(*byte) && is_sign(at, *byte))
}

/// Which bytes are among some.
const fn among(mut some: &[u8]) -> [bool; 256] {
    let mut table = [false; 256];
    while let [byte, rest @ ..] = some {
        let (_, behind) = table.split_at_mut(*byte as usize);
        if let [found, ..] = behind {
            *found = true;
        }
        some = rest;
    }
    table
}

/// A JSON text on its way to a copy, the innermost last where texts lie in texts.
struct Copy<'a> {
    text: Cow<'a, str>,
    /// Its values, none when there is nothing to leave out.
    nodes: Vec<Node>,
    /// Number of the next one.
    at: u32,
    /// Lists and objects around it, and whether they are empty so far.
    open: Vec<(u32, bool)>,
    count: u64,
    out: String,
}

impl<'a> Copy<'a> {
    fn new(text: Cow<'a, str>) -> Self {
        let mut nodes = Vec::new();
        if !may_hold(&text, &mut nodes) {
            nodes.clear();
        }
        Self {
            text,
            nodes,
            at: 0,
            open: Vec::new(),
            count: 0,
            out: String::new(),
        }
    }

    fn node(&self, at: u32) -> Option<Node> {
        self.nodes.get(at as usize).copied()
    }

    /// Copies up to a string that holds JSON, which is returned, or to the end.
    fn run(&mut self, free: Option<&str>) -> Option<String> {
        loop {
            while let Some((around, _)) = self.open.last()
                && let Some(around) = self.node(*around).filter(|node| node.next == self.at)
            {
                let end = if around.shape == Shape::Object {
                    '}'
                } else {
                    ']'
                };
                self.out.push(end);
                self.open.pop();
            }
            let around = self.open.last().and_then(|(around, _)| self.node(*around));
            let key = around.filter(|node| node.shape == Shape::Object);
            let key = key.and_then(|_| self.node(self.at));
            self.at += u32::from(key.is_some());
            let value = self.node(self.at)?;
            let is_free = key.is_some_and(|key| free.is_some_and(|free| key.is(&self.text, free)));
            if around.is_some() && !is_free && self.is_address(key, &value) {
                self.count += 1;
                self.at = value.next;
                continue;
            }
            if let Some((_, empty)) = self.open.last_mut()
                && !std::mem::take(empty)
            {
                self.out.push(',');
            }
            if let Some(key) = key {
                self.out.push_str(key.raw(&self.text));
                self.out.push(':');
            }
            if matches!(value.shape, Shape::Object | Shape::Array) && !is_free {
                let begin = if value.shape == Shape::Object {
                    '{'
                } else {
                    '['
                };
                self.out.push(begin);
                self.open.push((self.at, true));
                self.at += 1;
                continue;
            }
            self.at = value.next;
            let text = value
                .text(&self.text)
                .filter(|text| !is_free && is_json(text));
            if let Some(text) = text {
                return Some(text.into_owned());
            }
            self.out.push_str(value.raw(&self.text));
        }
    }

    /// Puts the copy of the string that `run` returned into its place.
    fn put(&mut self, done: &Copy<'_>) {
        if done.count > 0 {
            self.count += done.count;
            let copy = serde_json::Value::from(done.out.as_str());
            self.out.push_str(&copy.to_string());
        } else if let Some(value) = self.node(self.at.saturating_sub(1)) {
            self.out.push_str(value.raw(&self.text)); // a string is one node, the last one
        }
    }

    fn is_address(&self, key: Option<Node>, value: &Node) -> bool {
        let flag = matches!(value.shape, Shape::Null | Shape::Bool(_));
        let name = key.filter(|_| !flag);
        let name = name.as_ref().and_then(|key| key.text(&self.text));
        name.is_some_and(|name| names_address(&name))
            || value
                .text(&self.text)
                .is_some_and(|text| !is_json(&text) && (has_mail(&text) || is_network(&text)))
    }
}

/// Whether a string holds a JSON object or list.
fn is_json(text: &str) -> bool {
    text.trim_start_matches(' ').starts_with(['{', '[']) && grow(text, &mut Vec::new())
}

/// Whether one of the pairs of letters that the names need: ip, mail, remote, forwarded. Most texts have none.
fn names_begin(pair: &[u8]) -> bool {
    let pair = [0, 1].map(|at| pair.get(at).unwrap_or(&0).to_ascii_lowercase());
    matches!(&pair, b"ip" | b"ma" | b"mo" | b"fo")
}

/// Whether a field of this name holds an address.
fn names_address(name: &str) -> bool {
    if name.len() > LONGEST || !name.as_bytes().windows(2).any(names_begin) {
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
mod tests;
