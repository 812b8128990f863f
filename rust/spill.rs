//! What a run holds on disk when its memory is spent: key-only records, never text.
//!
//! Records have a fixed size and begin with what they are sorted by, so that their bytes compare as their fields do.
//! Files live in the store's folder `spill` with mode 0600 and lose their name as soon as they are open: whatever
//! becomes of the process, their room is free again once it is gone. Every block read is compared with the checksum
//! that was taken, in memory, when it was written.

pub mod blocks;
pub mod bytes;
pub mod seen;
pub mod sorter;

use std::fs::{File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::{Error, Result};

/// The folder of a store.
pub const FOLDER: &str = "spill";

/// Files made so far by this process.
static MADE: AtomicU64 = AtomicU64::new(0);

/// How much may be held in memory, and where the rest goes.
#[derive(Clone, Debug)]
pub struct Place {
    /// Bytes that the join may hold.
    pub memory: u64,
    folder: PathBuf,
}

impl Place {
    /// A place in the store at `root`.
    pub fn new(root: &Path, memory: u64) -> Self {
        Self {
            memory,
            folder: root.join(FOLDER),
        }
    }

    /// An empty file without a name, with what to call it in errors.
    pub fn file(&self) -> Result<(File, PathBuf)> {
        let made = MADE.fetch_add(1, Ordering::Relaxed);
        let name = format!("{}-{made:06}", std::process::id()); // a reader may spill beside a writer
        let path = self.folder.join(name);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .map_err(Error::io(&path))?;
        remove(&path)?;
        Ok((file, path))
    }
}

/// Deletes a file that may be gone already: a name lasts a moment here, and the next writer deletes what it finds.
pub fn remove(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(Error::io(path)(error)),
        _ => Ok(()),
    }
}

/// Bytes from a number with a unit, such as `256MB`.
pub fn size(text: &str) -> Result<u64> {
    let wrong = || {
        Error::Value(format!(
            "memory is {text:?}; expected a size of at least one byte, such as 256MB or 2GiB"
        ))
    };
    let text = text.trim();
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(digits).unwrap_or_default();
    let unit: u64 = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kb" => 1_000,
        "m" | "mb" => 1_000_000,
        "g" | "gb" => 1_000_000_000,
        "t" | "tb" => 1_000_000_000_000,
        "kib" => 1 << 10,
        "mib" => 1 << 20,
        "gib" => 1 << 30,
        "tib" => 1 << 40,
        _ => return Err(wrong()),
    };
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let bytes = number.checked_mul(unit).filter(|bytes| *bytes > 0);
    bytes.ok_or_else(wrong)
}

/// A place in a folder of its own, for tests.
#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(crate) fn scratch(name: &str, memory: u64) -> Place {
    let root = std::env::temp_dir().join(format!("unskew-{name}-{}", std::process::id()));
    std::fs::create_dir_all(root.join(FOLDER)).unwrap();
    Place::new(&root, memory)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn sizes_have_units() {
        for (text, bytes) in [
            ("1", 1),
            ("256MB", 256_000_000),
            ("2 GiB", 2 << 30),
            ("10kb", 10_000),
        ] {
            assert_eq!(size(text).ok(), Some(bytes), "{text}");
        }
        for text in ["", "0", "-1", "MB", "1.5GB", "1 PB", "99999999999999999TB"] {
            assert!(size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn files_are_for_their_owner_alone_and_have_no_name() {
        let place = scratch("file", 0);
        let (file, path) = place.file().unwrap();
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert!(!path.exists());
        remove(&path).unwrap(); // whoever deletes it second
        std::fs::remove_dir_all(place.folder.parent().unwrap()).unwrap();
    }
}
