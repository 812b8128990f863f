//! Mutated bytes into everything that reads bytes: lines, ledger files, parts. Nothing may panic, and what is
//! accepted must be what it claims to be.
//!
//! The same on every run. `UNSKEW_FUZZ` says how many executions; a tenth of the default is enough in a debug build.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use std::collections::BTreeSet;
use std::path::PathBuf;

use unskew::error::{Error, guarded};
use unskew::event::Reason;
use unskew::ingest::{Budget, Options, ingest};
use unskew::key::Secret;
use unskew::reader::arena::Arena;
use unskew::reader::chunk::{What, Work, parse};
use unskew::reader::json::{self, Field, Fields, Value};
use unskew::reader::line::{Parser, Row};
use unskew::reader::lines::Piece;
use unskew::store::{ledger, load, part};

const LINES: [&str; 6] = [
    r#"{"type":"impression","id":"r1","shown_at":"2026-05-04T10:11:12.5+02:00","prompt":"p\u00e9\n","response":"r","slot":1,"policy_prob":2.5e-1,"offered":["thumbs","copy"],"x":{"a":[1,-2.5e3,null,true,"\ud83d\ude00"]}}"#,
    r#"{"type":"impression","id":7,"shown_at":"2026-05-04T10:11:12Z","messages":[{"role":"user","content":"hi"}],"response":"","parent":"r1","user":"u","session":9}"#,
    r#"{"type":"feedback","id":"f","response":"r1","kind":"thumbs","value":"up","at":"2026-05-04T10:11:13Z","version":3,"op":"upsert","actor":"user"}"#,
    r#"{"type":"feedback","id":"g","session":"s","kind":"rating","value":4.5,"at":"2026-05-04T10:11:13Z","comment":"fine"}"#,
    r#"{"type":"choice","id":"c","request":"q","winner":"tie","at":"2026-05-04T10:11:13Z"}"#,
    "garbage\r",
];
#[rustfmt::skip]
const SPICE: [&[u8]; 26] = [
    b"\"", b"\\", b"{", b"}", b"[", b"]", b",", b":", b"\\u", b"\\ud800", b"0", b"-", b"e9", b".", b"\xff", b"\0",
    b"null", b"NaN", b" ", b"\t", b"1e999", b"\xe2\x80", b"\"id\":1,", b"\n", b"\xff\xff\xff\xff", b"\x00\x00\x00\x80",
];

/// Executions of a target that gets `share` of a thousand.
fn executions(share: usize) -> usize {
    let asked = std::env::var("UNSKEW_FUZZ")
        .ok()
        .and_then(|text| text.parse().ok());
    asked.unwrap_or(if cfg!(debug_assertions) {
        20_000
    } else {
        200_000
    }) * share
        / 1000
}

/// A generator of the same mutants on every run.
struct Mutator(u64);

impl Mutator {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % end.max(1) as u64) as usize
    }

    /// One to three edits: bits, deletions, insertions, cuts, and pieces moved within the bytes.
    fn mutate(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..=self.below(3) {
            let at = self.below(bytes.len());
            match self.below(6) {
                0 if !bytes.is_empty() => drop(bytes.remove(at)),
                1 => drop(bytes.splice(at..at, SPICE[self.below(SPICE.len())].iter().copied())),
                2 if self.below(4) == 0 => bytes.truncate(at),
                3 => {
                    let end = (at + self.below(24)).min(bytes.len());
                    let piece = bytes[at.min(end)..end].to_vec();
                    let to = self.below(bytes.len() + 1);
                    drop(bytes.splice(to..to, piece));
                }
                _ => {
                    if let Some(byte) = bytes.get_mut(at) {
                        *byte ^= 1 << self.below(8);
                    }
                }
            }
        }
    }
}

fn secret() -> Secret {
    Secret::new(&[7; 32]).unwrap()
}

/// The reader by hand, whatever it read before, and the one by serde_json find the same fields, texts and reasons.
fn agreed(parser: &mut Parser, line: &str) {
    fn said<'l>(
        fields: Fields<'l>,
        arena: &Arena<'_>,
    ) -> impl PartialEq + std::fmt::Debug + use<'l> {
        let said = |field: &Field| match fields.get(*field) {
            Value::Text(span) => (Value::Absent, arena.texts().of(span).to_owned()),
            Value::Float(number) => (Value::Null, number.to_bits().to_string()),
            other => (other, String::new()),
        };
        let known: Vec<_> = Field::ALL.iter().map(said).collect();
        (known, fields.unknown)
    }
    let (mut more, mut apart) = (String::new(), String::new());
    let mut arena = Arena {
        chunk: line,
        more: &mut more,
    };
    let mut fields = Fields::default();
    let before = LINES[line.len() % LINES.len()];
    let _ = parser.read(before, &mut fields, &mut arena);
    let ours = parser.read(line, &mut fields, &mut arena);
    let ours = ours.map(|()| said(fields, &arena));
    let mut arena = Arena::writing(&mut apart);
    let theirs = json::scan(line, &mut arena).map(|fields| said(fields, &arena));
    assert_eq!(ours, theirs, "{line}");
}

/// What a line is among others is what it is alone.
fn alike(parser: &mut Parser, among: &What, line: &str) {
    let (fields, mut more) = (&mut Fields::default(), "s".to_owned());
    let alone = parser.parse(line, fields, &mut Arena::writing(&mut more));
    let content = |row: &Row| match row {
        Row::Impression(row) => row.content,
        Row::Feedback(row) => row.content,
    };
    match (among, alone) {
        (What::Row(among), Ok(alone)) => assert_eq!(content(among), content(&alone), "{line}"),
        (What::Bad(bad), Err(alone)) if bad.reason != Reason::Nul => {
            assert_eq!(
                (bad.reason, &bad.message),
                (alone.reason, &alone.message),
                "{line}"
            );
        }
        (What::Bad(bad), _) => assert!(bad.reason == Reason::Nul, "{line}"),
        (What::Blank, alone) => assert!(alone.is_err(), "{line}"),
        (among, alone) => panic!("{among:?}, but {alone:?}: {line}"),
    }
}

#[test]
fn mutated_logs_are_accounted_for_line_by_line() {
    let (mut mutator, mut parser) = (Mutator(0x9E37_79B9_7F4A_7C15), Parser::new(secret(), "s"));
    let (mut rows, mut refused) = (0_u64, 0_u64);
    for round in 0..executions(940) {
        let two = [round, round / LINES.len()].map(|line| LINES[line % LINES.len()]);
        let mut bytes = two.join("\n").into_bytes();
        mutator.mutate(&mut bytes);
        let ended = bytes.last().is_none_or(|last| *last == b'\n');
        let (terminated, length) = (ended || mutator.below(8) > 0, bytes.len());
        if terminated {
            bytes.push(b'\n');
        }
        let text = bytes.clone();
        let parsed = parse(
            &mut parser,
            "s",
            Work::Lines(Piece::Lines {
                offset: 5,
                bytes,
                terminated,
            }),
        );
        let newlines = text.iter().filter(|byte| **byte == b'\n').count();
        assert_eq!(
            parsed.lines.len(),
            newlines + usize::from(!terminated),
            "{text:?}"
        );
        let last = parsed.lines.last().unwrap();
        assert_eq!(last.offset + last.length, 5 + length as u64, "{text:?}");
        if let Ok(text) = std::str::from_utf8(&text) {
            agreed(&mut parser, text.lines().next().unwrap_or_default());
        }
        for line in &parsed.lines {
            let from = (line.offset - 5) as usize;
            let alone = &text[from..from + line.length as usize];
            if let Ok(alone) = std::str::from_utf8(alone)
                && !line.open
            {
                alike(&mut parser, &line.what, alone);
            }
            match &line.what {
                What::Row(_) => {
                    rows += 1;
                    let line = &text[from..from + line.length as usize];
                    assert!(
                        serde_json::from_slice::<serde_json::Value>(line).is_ok(),
                        "{line:?}"
                    );
                }
                What::Bad(bad) => {
                    refused += 1;
                    assert!(!bad.message.is_empty());
                    let line = &text[from..from + line.length as usize];
                    assert!(
                        bad.reason != Reason::Json
                            || serde_json::from_slice::<serde_json::Value>(line).is_err(),
                        "{line:?}"
                    );
                }
                What::Blank | What::Header | What::Skipped => {}
            }
        }
    }
    assert!(
        rows * 100 > refused && refused * 100 > rows,
        "{rows} rows, {refused} refused"
    );
}

/// A store of the good lines, and its ledger.
fn store(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("unskew-fuzz-{name}-{}", std::process::id()));
    drop(std::fs::remove_dir_all(&folder));
    std::fs::create_dir_all(&folder).unwrap();
    let log = folder.join("log.jsonl");
    std::fs::write(&log, LINES.join("\n")).unwrap();
    let options = Options {
        source: "s".to_owned(),
        secret: secret(),
        budget: Budget::Default,
        until: None,
        threads: 1,
        window: 1 << 40,
        lateness: 0,
        memory: None,
        salvage: false,
        keep_raw: false,
        mapping: None,
        tables: None,
        cursor: None,
        keep_addresses: false,
    };
    ingest(&[log], &folder.join("store"), &options, &mut |_| Ok(())).unwrap();
    folder
}

#[test]
fn mutated_ledger_files_are_refused_or_read() {
    let folder = store("ledger");
    let path = ledger::path(&folder.join("store"), 1);
    let whole = std::fs::read_to_string(&path).unwrap();
    let body = whole.lines().next().unwrap();
    let (mut mutator, mut read) = (Mutator(7), 0);
    for round in 0..executions(58) {
        let mut bytes = body.as_bytes().to_vec();
        mutator.mutate(&mut bytes);
        let mut text = String::from_utf8_lossy(&bytes).into_owned();
        let checksum = twox_hash::XxHash3_128::oneshot(text.as_bytes());
        text += &format!("\n{checksum:032x}\n");
        if round % 4 == 0 {
            let mut bytes = text.into_bytes();
            mutator.mutate(&mut bytes);
            text = String::from_utf8_lossy(&bytes).into_owned();
        }
        if let Ok(ledger) = ledger::parse(&path, &text) {
            read += 1;
            let inside =
                |name: &str| !name.starts_with('/') && name.split('/').all(|part| part != "..");
            assert!(ledger.files().all(inside), "{text}");
        }
    }
    assert!(read > 0, "some mutants are still ledgers");
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn mutated_parts_are_refused_by_their_checksum_and_never_panic_without_it() {
    let folder = store("part");
    let root = folder.join("store");
    let whole = ledger::newest(&root).unwrap().unwrap();
    let mut ledgers = Vec::new();
    for table in 0..2 {
        let parts = [&whole.parts.impressions, &whole.parts.feedback];
        let path = root.join(&parts[table][0].path);
        let bytes = std::fs::read(&path).unwrap();
        ledgers.push((path, bytes, whole.clone()));
    }
    let (mut mutator, mut panics) = (Mutator(11), BTreeSet::new());
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {})); // arrow's reader panics, and that is caught
    for round in 0..executions(2) {
        let table = round % 2;
        let (path, bytes, ledger) = &mut ledgers[table];
        let mut mutant = bytes.clone();
        mutator.mutate(&mut mutant);
        std::fs::write(&*path, &mutant).unwrap();
        let refused = load::state(&root, &whole, &secret(), false, None);
        let found = matches!(refused, Err(Error::Checksum { .. }));
        let parts = [&mut ledger.parts.impressions, &mut ledger.parts.feedback];
        parts.into_iter().nth(table).unwrap()[0].checksum = part::hash(path).unwrap().0;
        let read = guarded(|| load::state(&root, ledger, &secret(), round % 4 < 2, None));
        if let Err(Error::Internal(text)) = read {
            panics.insert(text);
        }
        assert!(found || mutant == *bytes);
        std::fs::write(&*path, &*bytes).unwrap();
    }
    std::panic::set_hook(hook);
    assert_eq!(panics, BTreeSet::new());
    std::fs::remove_dir_all(folder).unwrap();
}
