//! Ingestion spread over the workers of an engine that exists: `map -> partition -> reduce -> merge`.
//!
//! An engine carries letters. A stage is a pure function from the letters to one addressee to letters to others; its
//! only side effects are files in the store under names that nobody else has and nobody knows before the commit. So
//! a stage that is killed, or run twice, changes nothing. Even stages run once for each shard, odd ones once for
//! each partition; what a stage has to say of the whole goes to the driver, which tells all workers before the next.
//!
//! | stage | by | reads | sends |
//! |---|---|---|---|
//! | 0 | shard | its inputs; writes their text into parts of the store | each row under its own key |
//! | 1 | partition | rows under one key | which do not stand, and why |
//! | 2 | shard | its rows; takes repeats out of its parts | those that stand, under the response, request and session of each |
//! | 3 | partition | what meets under one key | feedback on rows, pairs |
//! | 4 | shard | feedback on its rows; writes its pairs | what happened to each user |
//! | 5 | partition | what happened to one user | counts of what came before each row |
//! | 6 | shard | its rows, feedback, counts; writes its observations | nothing |
//!
//! The driver then makes one commit. The rows of a shard are the text parts' rows, kept beside them without text.

mod fallen;
mod job;
mod map;
mod packet;
mod reduce;
mod shard;

use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{Budget, Opener, Options};
use crate::count::{Cells, Strata, Stratum};
use crate::error::{Error, Result};
use crate::event::row::Key;
use crate::join::attribute::Windows;
use crate::join::sums::Tally;
use crate::key::Secret;
use crate::mapping::Mapping;
use crate::store::part::Part;

pub use job::Job;

/// Whom a stage tells what concerns all.
pub const DRIVER: i64 = -1;
/// Number of stages.
pub const STAGES: usize = 7;
const VERSION: u32 = 1;

/// An addressee, and what it gets.
pub type Letter = (i64, Vec<u8>);

/// What every worker knows; a text.
#[derive(Clone, Serialize, Deserialize)]
pub struct Settings {
    version: u32,
    root: PathBuf,
    generation: u64,
    source: String,
    /// Public name of the key, which each worker finds by itself.
    key_id: String,
    key_file: Option<PathBuf>,
    mapping: Option<String>,
    window: i64,
    lateness: i64,
    until: Option<i64>,
    keep_raw: bool,
    keep_addresses: bool,
    partitions: usize,
    shards: Vec<Shard>,
    // From here on what the driver learned.
    strata: Vec<Stratum<Box<str>>>,
    /// Strata in which a response stands.
    in_use: Vec<bool>,
    /// Whether any feedback is about a session.
    sessions: bool,
    watermark: Option<i64>,
    /// Counts of the events that stand.
    tally: Tally,
}

/// Inputs read by one worker.
#[derive(Clone, Default, Serialize, Deserialize)]
struct Shard {
    /// Number of the first among the sources.
    first: usize,
    inputs: Vec<PathBuf>,
    impressions: Vec<Part>,
    feedback: Vec<Part>,
    /// Rows without text.
    rows: Kept,
    /// Feedback on them.
    given: Kept,
    /// Numbers of its first response and its first feedback in the store.
    base: [u32; 2],
    /// Code in the store of each of its strata.
    codes: Vec<u32>,
}

/// A file beside the parts, gone after the commit.
#[derive(Clone, Default, Serialize, Deserialize)]
struct Kept {
    path: String,
    checksum: String,
}

/// Runs a stage for one addressee: the letters to it, in any order, with who sent each.
pub fn step(
    settings: &str,
    stage: usize,
    to: i64,
    mut letters: Vec<Letter>,
    tables: Option<Opener>,
) -> Result<Vec<Letter>> {
    let settings: Settings = read(settings.as_bytes())?;
    if settings.version != VERSION {
        return Err(Error::Value(format!(
            "the job has version {} and this worker {VERSION}; install the same version of unskew",
            settings.version
        )));
    }
    letters.sort_by_key(|(by, _)| *by);
    let senders = match stage {
        0 => 1,
        _ if stage % 2 == 1 => settings.shards.len(),
        _ => settings.partitions,
    };
    let whole = stage == 0 || letters.iter().map(|(by, _)| *by).eq(0..senders as i64);
    if letters.len() != senders || !whole {
        return Err(Error::Value(format!(
            "stage {stage} for {to}: {} letters, expected one from each of {senders}; the engine must give a stage \
             all letters to one addressee in one call",
            letters.len()
        )));
    }
    let number = to as usize;
    match stage {
        0 => map::map(&settings, number, tables),
        1 => reduce::winners(&letters),
        2 => shard::meet(&settings, number, &letters),
        3 => reduce::met(&settings, &letters),
        4 => shard::pair(&settings, number, &letters),
        5 => reduce::users(&settings, &letters),
        6 => shard::observe(&settings, number, &letters),
        _ => Err(Error::Value(format!(
            "stage is {stage}; there are {STAGES}"
        ))),
    }
}

impl Settings {
    fn options(&self, budget: Budget, tables: Option<Opener>) -> Result<Options> {
        let secret = Secret::find(self.key_file.as_deref())?;
        if secret.id != self.key_id {
            return Err(Error::Value(format!(
                "the job has key {}, this worker key {}; give all of them the same by a key file or UNSKEW_KEY",
                self.key_id, secret.id
            )));
        }
        let mapping = self.mapping.as_deref().map(Mapping::parse).transpose()?;
        Ok(Options {
            source: self.source.clone(),
            secret,
            budget,
            until: self.until,
            threads: 1,
            window: self.window,
            lateness: self.lateness,
            salvage: false,
            keep_raw: self.keep_raw,
            mapping: mapping.map(Arc::new),
            memory: None,
            tables,
            cursor: None,
            keep_addresses: self.keep_addresses,
        })
    }

    fn shard(&self, number: usize) -> Result<&Shard> {
        let none = || Error::Value(format!("there is no shard {number}"));
        self.shards.get(number).ok_or_else(none)
    }

    /// The shard of a response.
    fn shard_of(&self, row: u32) -> i64 {
        let after = self.shards.partition_point(|shard| shard.base[0] <= row);
        after.saturating_sub(1) as i64
    }

    fn windows(&self) -> Windows {
        Windows {
            window: self.window,
            lateness: self.lateness,
            watermark: self.watermark.unwrap_or(i64::MIN / 2),
        }
    }

    fn strata(&self) -> Strata {
        let mut strata = Strata::default();
        for stratum in &self.strata {
            strata.known(stratum);
        }
        strata
    }

    fn cells(&self, strata: &Strata) -> Cells {
        self.tally.cells(strata, &self.in_use)
    }
}

/// One letter to each of many.
struct Post<const N: usize> {
    kind: packet::Kind,
    boxes: Vec<Vec<[u8; N]>>,
}

impl<const N: usize> Post<N> {
    fn new(kind: packet::Kind, addressees: usize) -> Self {
        let boxes = (0..addressees).map(|_| Vec::new()).collect();
        Self { kind, boxes }
    }

    /// To an addressee, by its number.
    fn give(&mut self, to: i64, record: [u8; N]) {
        if let Some(to) = self.boxes.get_mut(to as usize) {
            to.push(record);
        }
    }

    /// To the partition of a key.
    fn send(&mut self, key: Key, record: [u8; N]) {
        let to = key.short() % (self.boxes.len() as u64).max(1);
        self.give(to as i64, record);
    }

    /// Also to those who get nothing, so that they come to their turn.
    fn letters(self) -> Result<Vec<Letter>> {
        let mut letters = Vec::with_capacity(self.boxes.len());
        for (to, records) in (0..).zip(&self.boxes) {
            let mut letter = Vec::new();
            packet::pack(&mut letter, self.kind, records)?;
            letters.push((to, letter));
        }
        Ok(letters)
    }
}

/// All records of a kind in letters, and who sent each.
fn records<const N: usize>(
    letters: &[Letter],
    kind: packet::Kind,
) -> impl Iterator<Item = Result<(i64, [u8; N])>> {
    letters.iter().flat_map(move |(by, letter)| {
        let (records, error) = match packet::unpack(letter, kind) {
            Ok(records) => (records, None),
            Err(error) => (Vec::new(), Some(Err(error))),
        };
        records
            .into_iter()
            .map(|record| Ok((*by, record)))
            .chain(error)
    })
}

/// A name that nobody else has.
fn fresh(settings: &Settings, number: usize) -> Result<String> {
    let mut random = [0; 8];
    getrandom::fill(&mut random)
        .map_err(|error| Error::Value(format!("no random numbers for a name: {error}")))?;
    let random = u64::from_le_bytes(random);
    Ok(format!(
        "g{:06}-{number:06}-{random:016x}",
        settings.generation
    ))
}

fn read<T: DeserializeOwned>(text: &[u8]) -> Result<T> {
    serde_json::from_slice(text)
        .map_err(|error| Error::Value(format!("a letter that cannot be read: {error}")))
}

fn written(document: &impl Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec(document).map_err(|error| Error::Value(error.to_string()))
}
