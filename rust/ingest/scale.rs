//! Ingestion spread over the workers of an engine that exists: `map -> partition -> reduce -> merge`.
//!
//! An engine carries letters. A stage is a pure function from the letters to one shard to letters to others; its
//! only side effects are files in the store under names that nobody else has and nobody knows before the commit. So
//! a stage that is killed, or run twice, changes nothing. Every stage runs once for each shard; what it has to say of
//! the whole goes to the driver, which tells all workers before the next.
//!
//! | stage | reads | sends |
//! |---|---|---|
//! | 0 map | the inputs of the shard; writes their text into parts of the store | fingerprints of its keys |
//! | 1 partition | a range of all fingerprints | of which keys another shard has some, and which |
//! | 2 | its rows | those that may be repeated elsewhere, to where |
//! | 3 | its rows and their repeats; takes out what does not stand | what stands, to where it meets |
//! | 4 reduce | what meets: under the response, request and session of each | feedback on rows, pairs |
//! | 5 | feedback on its rows; writes its pairs | what happened to each user |
//! | 6 reduce | what happened to users | counts of what came before each row |
//! | 7 | its rows, feedback, counts; writes its observations | nothing |
//!
//! The driver then makes one commit. The rows of a shard are the text parts' rows, kept beside them without text. What
//! a shard says to itself is kept there, too, and travels as the name of a file.

mod common;
mod fallen;
mod job;
mod map;
mod packet;
mod reduce;
mod rows;
mod shard;
mod stand;

use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{Budget, Opener, Options};
use crate::count::{Cells, Strata, Stratum};
use crate::error::{Error, Result};
use crate::join::attribute::Windows;
use crate::join::sums::Tally;
use crate::key::Secret;
use crate::mapping::Mapping;
use crate::store::part::Part;

pub use job::Job;

/// Whom a stage tells what concerns all.
pub const DRIVER: i64 = -1;
/// Number of stages.
pub const STAGES: usize = 8;
const VERSION: u32 = 2;

/// An addressee, and what it gets.
pub type Letter = (i64, Vec<u8>);

/// What every worker knows; a text.
#[derive(Clone, Default, Serialize, Deserialize)]
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
    /// Bits of a fingerprint.
    bits: u32,
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
    /// What it was told of others.
    shared: Kept,
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
        _ => settings.shards.len(),
    };
    let whole = stage == 0 || letters.iter().map(|(by, _)| *by).eq(0..senders as i64);
    if letters.len() != senders || !whole {
        return Err(Error::Value(format!(
            "stage {stage} for {to}: {} letters, expected one from each of {senders}; the engine must give a stage \
             all letters to one addressee in one call",
            letters.len()
        )));
    }
    if let Some(own) = of(&mut letters, to) {
        *own = rows::kept(&settings, &read(own)?)?;
    }
    let number = to as usize;
    let mut answers = match stage {
        0 => map::map(&settings, number, tables),
        1 => common::common(&settings, &letters),
        2 => shard::compare(&settings, number, &letters),
        3 => shard::meet(&settings, number, &letters),
        4 => reduce::met(&settings, &letters),
        5 => shard::pair(&settings, number, &letters),
        6 => reduce::users(&settings, &letters),
        7 => shard::observe(&settings, number, &letters),
        _ => Err(Error::Value(format!(
            "stage is {stage}; there are {STAGES}"
        ))),
    }?;
    if let Some(own) = of(&mut answers, to) {
        let name = format!("{}-to-itself", fresh(&settings, number)?);
        *own = written(&rows::keep(&settings, &name, own)?)?;
    }
    Ok(answers)
}

/// What a letter of or to this one says, if it says anything.
fn of(letters: &mut [Letter], me: i64) -> Option<&mut Vec<u8>> {
    let own = letters.iter_mut().find(|(other, _)| *other == me)?;
    Some(&mut own.1).filter(|letter| !letter.is_empty())
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

/// Records of one kind to many.
struct Post<const N: usize> {
    kind: packet::Kind,
    boxes: Vec<Vec<[u8; N]>>,
}

impl<const N: usize> Post<N> {
    fn new(kind: packet::Kind, settings: &Settings) -> Self {
        let boxes = settings.shards.iter().map(|_| Vec::new()).collect();
        Self { kind, boxes }
    }

    fn give(&mut self, to: i64, record: [u8; N]) {
        if let Some(to) = self.boxes.get_mut(to as usize) {
            to.push(record);
        }
    }

    /// Adds them to letters, sorted.
    fn write(self, letters: &mut [Letter]) -> Result<()> {
        for ((_, letter), mut records) in letters.iter_mut().zip(self.boxes) {
            records.sort_unstable();
            packet::pack(letter, self.kind, &records)?;
        }
        Ok(())
    }
}

/// A letter to each shard: who gets nothing must come to its turn, too.
fn empty(settings: &Settings) -> Vec<Letter> {
    let shards = 0..settings.shards.len() as i64;
    shards.map(|to| (to, Vec::new())).collect()
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
