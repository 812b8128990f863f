//! Any bytes as lines of a log: all are accounted for, and what is accepted is JSON.
#![no_main]

use libfuzzer_sys::fuzz_target;
use unskew::key::Secret;
use unskew::reader::chunk::{What, Work, parse};
use unskew::reader::line::Parser;
use unskew::reader::lines::Pieces;

fuzz_target!(|data: &[u8]| {
    let secret = Secret::new(&[7; 32]).expect("a key of 32 bytes");
    let (mut parser, mut pieces) = (Parser::new(secret, "s"), Pieces::new(data, 0));
    let mut end = 0;
    while let Some(piece) = pieces.next_piece().expect("bytes in memory") {
        let parsed = parse(&mut parser, "s", Work::Lines(piece));
        for line in &parsed.lines {
            assert!(line.offset >= end);
            end = line.offset + line.length;
            if let What::Row(_) = line.what {
                let line = &data[line.offset as usize..end as usize];
                assert!(serde_json::from_slice::<serde_json::Value>(line).is_ok());
            }
        }
    }
    assert!(end <= data.len() as u64);
});
