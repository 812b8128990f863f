//! The rows of a shard without text, which lie beside its parts until the commit.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;

use twox_hash::XxHash3_128;

use super::packet::{Kind, pack, unpack};
use super::{Kept, Settings, Shard};
use crate::error::{Error, Result};
use crate::join::log::{self, LoggedEvent, LoggedShown};
use crate::spill::FOLDER;
use crate::spill::bytes::{Reader, Writer};
use crate::store::facts::Lineage;

/// Bytes of a repeat within a shard.
pub(super) const ECHO: usize = 4 + 4 + 3 * 8;
/// Bytes of the number of a row that does not stand.
pub(super) const DEAD: usize = 1 + 4;
/// Table of responses.
pub(super) const SHOWN: u8 = 0;
/// Table of feedback.
pub(super) const EVENT: u8 = 1;

/// Writes a file that the commit deletes.
pub(super) fn keep(settings: &Settings, name: &str, bytes: &[u8]) -> Result<Kept> {
    let kept = Kept {
        path: format!("{FOLDER}/{name}"),
        checksum: format!("{:032x}", XxHash3_128::oneshot(bytes)),
    };
    let path = settings.root.join(&kept.path);
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path);
    file.and_then(|mut file| file.write_all(bytes))
        .map_err(Error::io(&path))?;
    Ok(kept)
}

/// Reads it.
pub(super) fn kept(settings: &Settings, kept: &Kept) -> Result<Vec<u8>> {
    let path = settings.root.join(&kept.path);
    let bytes = std::fs::read(&path).map_err(Error::io(&path))?;
    let found = format!("{:032x}", XxHash3_128::oneshot(&bytes));
    if found != kept.checksum {
        return Err(Error::Checksum {
            path: path.display().to_string(),
            found: format!("checksum {found}"),
            expected: kept.checksum.clone(),
        });
    }
    Ok(bytes)
}

/// The rows of a shard, as they lie in a file.
#[derive(Default)]
pub(super) struct Rows {
    /// Responses.
    pub shown: Vec<[u8; log::SHOWN]>,
    /// Feedback.
    pub events: Vec<[u8; log::EVENT]>,
    /// Those that do not stand.
    pub dead: Vec<[u8; DEAD]>,
    /// Repeats within the shard.
    pub echoes: Vec<[u8; ECHO]>,
}

impl Rows {
    /// From a file.
    pub fn read(settings: &Settings, file: &Kept) -> Result<Self> {
        let bytes = kept(settings, file)?;
        Ok(Self {
            shown: unpack(&bytes, Kind::Shown)?,
            events: unpack(&bytes, Kind::Event)?,
            dead: unpack(&bytes, Kind::Dead)?,
            echoes: unpack(&bytes, Kind::Echo)?,
        })
    }

    /// As a file.
    pub fn keep(&self, settings: &Settings, name: &str) -> Result<Kept> {
        let mut file = Vec::new();
        pack(&mut file, Kind::Shown, &self.shown)?;
        pack(&mut file, Kind::Event, &self.events)?;
        pack(&mut file, Kind::Dead, &self.dead)?;
        pack(&mut file, Kind::Echo, &self.echoes)?;
        keep(settings, &format!("{name}-rows"), &file)
    }
}

/// The number of a row that does not stand.
pub(super) fn dead(table: u8, row: u32) -> [u8; DEAD] {
    Writer::default().u8(table).u32(row).done()
}

/// Where the row of a shard was repeated within it.
pub(super) fn echo(row: u32, from: Lineage) -> [u8; ECHO] {
    let place = Writer::default().u32(row).u32(from.src);
    place.u64(from.line).u64(from.off).u64(from.len).done()
}

/// From a record.
pub(super) fn echoed(record: &[u8; ECHO]) -> (u32, Lineage) {
    let mut from = Reader(record);
    let (row, src) = (from.u32(), from.u32());
    let (line, off, len) = (from.u64(), from.u64(), from.u64());
    (
        row,
        Lineage {
            src,
            line,
            off,
            len,
        },
    )
}

/// The rows of a shard, numbered as in the store.
pub(super) struct Numbered {
    base: [u32; 2],
    shown: Vec<Option<LoggedShown>>,
    events: Vec<Option<LoggedEvent>>,
}

impl Numbered {
    /// Numbers the rows of a shard.
    pub fn new(shard: &Shard, of: &Rows) -> Self {
        let shown = |record: &[u8; log::SHOWN]| {
            let mut known = LoggedShown::read(record);
            let code = shard.codes.get(known.shown.stratum as usize);
            known.shown.stratum = code.copied().unwrap_or_default();
            Some(known)
        };
        let event = |record: &[u8; log::EVENT]| Some(LoggedEvent::read(record));
        let mut rows = Self {
            base: shard.base,
            shown: of.shown.iter().map(shown).collect(),
            events: of.events.iter().map(event).collect(),
        };
        for record in &of.dead {
            let mut from = Reader(record);
            let (table, row) = (from.u8(), from.u32() as usize);
            if table == EVENT {
                rows.events.get_mut(row).and_then(Option::take);
            } else {
                rows.shown.get_mut(row).and_then(Option::take);
            }
        }
        rows
    }

    /// Feedback that stands.
    pub fn standing(&self) -> impl Iterator<Item = (u32, &LoggedEvent)> {
        let numbered = (self.base[1]..).zip(&self.events);
        numbered.filter_map(|(row, known)| Some((row, known.as_ref()?)))
    }

    /// All responses; none for those that do not stand.
    pub fn responses(self) -> impl Iterator<Item = Result<(u32, Option<LoggedShown>)>> {
        (self.base[0]..).zip(self.shown).map(Ok)
    }
}
