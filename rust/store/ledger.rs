//! The ledger: numbered files, each the whole truth of one commit with its checksum.
//!
//! A ledger file is written under a temporary name, made durable, and linked to the next number, which fails if
//! that number exists; nothing is ever renamed over.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};
use twox_hash::XxHash3_128;

use super::part::Part;
use crate::error::{Error, Result};
use crate::event::Reason;
use crate::reader::input::{Mark, STDIN};

/// Version of the store's layout.
pub const VERSION: u32 = 1;
/// Folder of the ledger.
pub const FOLDER: &str = "ledger";

/// Where lines went; `lines + expanded = committed + duplicate + quarantined + blank + skipped`.
///
/// The last two are those of mappings: records beyond the first of their line, and records that are not carried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Balance {
    pub lines: i64,
    pub committed: i64,
    pub duplicate: i64,
    pub quarantined: i64,
    pub blank: i64,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub expanded: i64,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub skipped: i64,
}

fn is_zero(count: &i64) -> bool {
    *count == 0
}

fn is_no_count(count: &u64) -> bool {
    *count == 0
}

impl Balance {
    /// Whether every line is accounted for.
    pub fn holds(&self) -> bool {
        let sound = self.committed + self.duplicate + self.blank + self.skipped;
        self.lines + self.expanded == sound + self.quarantined
    }

    /// The sum of two.
    pub fn plus(&self, other: &Self, sign: i64) -> Self {
        Self {
            lines: self.lines + sign * other.lines,
            committed: self.committed + sign * other.committed,
            duplicate: self.duplicate + sign * other.duplicate,
            quarantined: self.quarantined + sign * other.quarantined,
            blank: self.blank + sign * other.blank,
            expanded: self.expanded + sign * other.expanded,
            skipped: self.skipped + sign * other.skipped,
        }
    }
}

/// A last line that is not complete yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Torn {
    pub line: u64,
    pub off: u64,
    pub len: u64,
}

/// An input that was read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// Absolute path, or `-`.
    pub path: String,
    /// How far it was read.
    pub mark: Mark,
    /// Lines that are done with.
    pub lines: u64,
    /// Whether the last of them lacks its newline.
    pub open: bool,
    /// Its last line, if not complete.
    pub torn: Option<Torn>,
    /// Its books.
    pub balance: Balance,
    /// Refused lines by reason.
    pub reasons: BTreeMap<String, u64>,
    /// Checksum of the mapping it was read with, none for canonical lines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mapping: Option<String>,
    /// The last value of the column by which a table is read on, as SQL; empty when no row had one yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// Fields left out because they hold an e-mail or IP address.
    #[serde(default, skip_serializing_if = "is_no_count")]
    pub addresses: u64,
    /// Committed lines now refused for their clock; the join decides anew in every commit.
    pub skew: u64,
}

impl Source {
    /// Whether it is a compressed file that was cut off when it was read.
    pub fn is_cut(&self) -> bool {
        self.path != STDIN && self.reasons.contains_key(Reason::Corrupt.name())
    }

    /// Books whether it is: a cut is one refused line, of no length.
    pub fn set_cut(&mut self, cut: bool) {
        let change = i64::from(cut) - i64::from(self.is_cut());
        self.balance.lines += change;
        self.balance.quarantined += change;
        let name = Reason::Corrupt.name();
        match change {
            1 => drop(self.reasons.insert(name.to_owned(), 1)),
            -1 => drop(self.reasons.remove(name)),
            _ => {}
        }
    }
}

/// The parts of every table, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Parts {
    pub impressions: Vec<Part>,
    pub feedback: Vec<Part>,
    pub observations: Vec<Part>,
    pub pairs: Vec<Part>,
    pub cells: Vec<Part>,
    pub quarantine: Vec<Part>,
}

impl Parts {
    /// Every part.
    pub fn all(&self) -> impl Iterator<Item = &Part> {
        let tables = [
            &self.impressions,
            &self.feedback,
            &self.observations,
            &self.pairs,
            &self.cells,
            &self.quarantine,
        ];
        tables.into_iter().flatten()
    }
}

/// Files that Python keeps beside the tables.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Attachment {
    pub folder: String,
    pub id: String,
    pub files: Vec<String>,
    pub checksums: Vec<String>,
    pub generation: u64,
}

/// One commit.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Ledger {
    /// Layout.
    pub version: u32,
    /// Number of this file.
    pub ledger: u64,
    /// Number of commits of data.
    pub generation: u64,
    /// Sum of the hashes of the live rows.
    pub digest: String,
    /// RFC 3339.
    pub watermark: Option<String>,
    /// Attribution window.
    pub window_us: i64,
    /// Lateness.
    pub lateness_us: i64,
    /// Public name of the key.
    pub key_id: String,
    /// Tables.
    pub parts: Parts,
    /// Files of Python.
    pub attachments: Vec<Attachment>,
    /// Inputs.
    pub sources: Vec<Source>,
    /// Books of all inputs.
    pub balance: Balance,
    /// Live events by kind.
    pub kinds: BTreeMap<String, u64>,
    /// Live events by state of the join.
    pub states: BTreeMap<String, u64>,
    /// Live rows: impressions, silent impressions, feedback.
    pub live: BTreeMap<String, u64>,
    /// Counts worth a word.
    pub notes: BTreeMap<String, u64>,
    /// Whether someone was erased by it, so that nothing of the commit before may stay.
    #[serde(default)]
    pub erasure: bool,
}

impl Ledger {
    /// Names of all files that this commit needs, below the store.
    pub fn files(&self) -> impl Iterator<Item = &str> {
        let attached = self
            .attachments
            .iter()
            .flat_map(|attachment| attachment.files.iter());
        self.parts
            .all()
            .map(|part| part.path.as_str())
            .chain(attached.map(String::as_str))
    }
}

/// Path of ledger file `number`.
pub fn path(store: &Path, number: u64) -> PathBuf {
    store.join(FOLDER).join(format!("{number:012}"))
}

/// Numbers of the ledger files, ascending.
pub fn numbers(store: &Path) -> Result<Vec<u64>> {
    let folder = store.join(FOLDER);
    let mut numbers = Vec::new();
    for entry in std::fs::read_dir(&folder).map_err(Error::io(&folder))? {
        let name = entry.map_err(Error::io(&folder))?.file_name();
        let name = name.to_string_lossy();
        if name.len() == 12 && name.bytes().all(|byte| byte.is_ascii_digit()) {
            numbers.extend(name.parse::<u64>().ok());
        }
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// The newest commit.
pub fn newest(store: &Path) -> Result<Option<Ledger>> {
    numbers(store)?
        .last()
        .map(|number| read(store, *number))
        .transpose()
}

/// Reads ledger file `number`.
pub fn read(store: &Path, number: u64) -> Result<Ledger> {
    let path = path(store, number);
    let bytes = std::fs::read(&path).map_err(Error::io(&path))?;
    parse(&path, &String::from_utf8_lossy(&bytes))
}

/// The commit in the text of the ledger file at `path`.
pub fn parse(path: &Path, text: &str) -> Result<Ledger> {
    let broken = |found: String, expected: &str| Error::Checksum {
        path: path.display().to_string(),
        found,
        expected: expected.to_owned(),
    };
    let (body, checksum) = text
        .trim_end()
        .rsplit_once('\n')
        .ok_or_else(|| broken("one line".to_owned(), "a document and its checksum"))?;
    let found = format!("{:032x}", XxHash3_128::oneshot(body.as_bytes()));
    if found != checksum {
        return Err(broken(format!("checksum {found}"), checksum));
    }
    #[derive(Deserialize)]
    struct Layout {
        version: u32,
    }
    if let Ok(Layout { version }) = serde_json::from_str(body)
        && version != VERSION
    {
        let path = path.display();
        return Err(Error::Value(format!(
            "{path}: the store has version {version}, this program reads {VERSION}"
        )));
    }
    let ledger: Ledger = serde_json::from_str(body)
        .map_err(|error| broken(error.to_string(), "a ledger of this version"))?;
    let inside = |name: &str| {
        Path::new(name)
            .components()
            .all(|part| matches!(part, Component::Normal(_)))
    };
    if !ledger.files().all(inside) {
        return Err(broken(
            "a path that leaves the store".to_owned(),
            "paths inside it",
        ));
    }
    Ok(ledger)
}

/// Makes `ledger` the newest commit in one step, which fails if its number exists.
pub fn write(store: &Path, ledger: &Ledger) -> Result<()> {
    let body = serde_json::to_string(ledger).map_err(|error| Error::Value(error.to_string()))?;
    let folder = store.join(FOLDER);
    let temporary = folder.join("next");
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&temporary)
        .map_err(Error::io(&temporary))?;
    let checksum = XxHash3_128::oneshot(body.as_bytes());
    writeln!(file, "{body}\n{checksum:032x}")
        .and_then(|()| file.sync_all())
        .map_err(Error::io(&temporary))?;
    let path = path(store, ledger.ledger);
    let linked = std::fs::hard_link(&temporary, &path).map_err(Error::io(&path));
    drop(std::fs::remove_file(&temporary)); // else the next writer deletes it
    linked
}

/// Makes the names in a folder durable.
pub fn sync(folder: &Path) -> Result<()> {
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(Error::io(folder))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn folder(name: &str) -> PathBuf {
        let store =
            std::env::temp_dir().join(format!("unskew-ledger-{name}-{}", std::process::id()));
        drop(std::fs::remove_dir_all(&store));
        std::fs::create_dir_all(store.join(FOLDER)).unwrap();
        store
    }

    fn entry(number: u64) -> Ledger {
        Ledger {
            version: VERSION,
            ledger: number,
            digest: "d".repeat(32),
            ..Ledger::default()
        }
    }

    #[test]
    fn a_number_is_written_once_and_the_newest_is_read() {
        let store = folder("once");
        for number in [1, 2, 10] {
            write(&store, &entry(number)).unwrap();
        }
        assert!(
            matches!(write(&store, &entry(2)), Err(Error::Io { .. })),
            "a commit was written over"
        );
        std::fs::write(store.join(FOLDER).join("next"), "left behind").unwrap();
        assert_eq!(newest(&store).unwrap(), Some(entry(10)));
        std::fs::remove_dir_all(store).unwrap();
    }

    #[test]
    fn every_flipped_byte_is_noticed() {
        let store = folder("flipped");
        write(&store, &entry(1)).unwrap();
        let whole = std::fs::read(path(&store, 1)).unwrap();
        for at in 0..whole.len() - 1 {
            let mut bytes = whole.clone();
            *bytes.get_mut(at).unwrap() ^= 1;
            std::fs::write(path(&store, 1), bytes).unwrap();
            assert!(
                matches!(read(&store, 1), Err(Error::Checksum { .. })),
                "byte {at}"
            );
        }
        std::fs::remove_dir_all(store).unwrap();
    }

    #[test]
    fn other_versions_and_paths_that_leave_the_store_are_refused() {
        let store = folder("foreign");
        write(
            &store,
            &Ledger {
                version: 2,
                ..entry(1)
            },
        )
        .unwrap();
        let found = read(&store, 1).unwrap_err().to_string();
        assert!(
            found.ends_with("the store has version 2, this program reads 1"),
            "{found}"
        );
        let part = Part {
            path: "../canary".to_owned(),
            rows: 0,
            bytes: 0,
            checksum: String::new(),
        };
        let parts = Parts {
            impressions: vec![part],
            ..Parts::default()
        };
        write(&store, &Ledger { parts, ..entry(2) }).unwrap();
        assert!(matches!(read(&store, 2), Err(Error::Checksum { .. })));
        std::fs::remove_dir_all(store).unwrap();
    }
}
