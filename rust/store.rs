//! The store: a directory of append-only fact tables, derived tables and a ledger that says which files count.
//!
//! Whoever writes holds a lock on the directory that dies with the process. Files that no ledger names are leftovers
//! of a run that did not end; the next writer deletes them.

pub mod columns;
pub mod derived;
pub mod facts;
pub mod ledger;
pub mod load;
pub mod part;
pub mod verify;
pub mod writer;

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use ledger::{Attachment, Ledger};

use crate::error::{Error, Result};
use crate::spill;

/// Folders of tables.
pub const TABLES: [&str; 6] = [
    "impressions",
    "feedback",
    "observations",
    "pairs",
    "cells",
    "quarantine",
];
/// Folders of attachments.
pub const FOLDERS: [&str; 4] = ["gold", "nuisances", "targets", "audit"];

/// A store held for writing.
pub struct Store {
    /// Its directory.
    pub root: PathBuf,
    /// The newest commit, if any.
    pub ledger: Option<Ledger>,
    _lock: File,
}

/// The newest commit of the store at `root`.
pub fn open(root: &Path) -> Result<Ledger> {
    let none = || {
        let source = std::io::Error::new(
            std::io::ErrorKind::NotFound,
            "no store here; `unskew ingest --store` makes one",
        );
        Error::Io {
            path: root.display().to_string(),
            source,
        }
    };
    if !root.join(ledger::FOLDER).is_dir() {
        return Err(none());
    }
    ledger::newest(root)?.ok_or_else(none)
}

impl Store {
    /// Locks the store at `root`, which must be one, and gives it with its newest commit.
    pub fn reopen(root: &Path) -> Result<(Self, Ledger)> {
        open(root)?; // or `lock` would make one
        let store = Self::lock(root)?;
        let ledger = store.newest()?;
        Ok((store, ledger))
    }

    /// The newest commit, which there must be.
    fn newest(&self) -> Result<Ledger> {
        let none = || Error::Value(format!("{}: nothing was ingested yet", self.root.display()));
        self.ledger.clone().ok_or_else(none)
    }

    /// Locks the store at `root`, made if it is not there, and deletes what an unfinished run left.
    pub fn lock(root: &Path) -> Result<Self> {
        let make = |folder: &Path| {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(folder)
                .map_err(Error::io(folder))?;
            if folder
                .symlink_metadata()
                .map_err(Error::io(folder))?
                .is_symlink()
                && folder != root
            {
                let source = std::io::Error::other(
                    "a symbolic link inside the store; it must be a directory",
                );
                return Err(Error::Io {
                    path: folder.display().to_string(),
                    source,
                });
            }
            Ok(())
        };
        let known = |name: &OsStr| {
            let mut folders = TABLES.into_iter().chain(FOLDERS).chain([spill::FOLDER]);
            folders.any(|known| name == known)
        };
        let mut foreign = false;
        if root.is_dir() && !root.join("lock").exists() && !root.join(ledger::FOLDER).exists() {
            for entry in std::fs::read_dir(root).map_err(Error::io(root))? {
                foreign |= !known(&entry.map_err(Error::io(root))?.file_name());
            }
        }
        if foreign {
            return Err(Error::Value(format!(
                "{}: a directory with other files in it; give the store a new or empty directory",
                root.display()
            )));
        }
        make(root)?;
        let path = root.join("lock");
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&path)
            .map_err(Error::io(&path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(Error::Locked(root.display().to_string())),
            Err(TryLockError::Error(error)) => return Err(Error::io(&path)(error)),
        }
        let folders = TABLES.into_iter().chain(FOLDERS);
        for folder in folders.chain([ledger::FOLDER, spill::FOLDER]) {
            make(&root.join(folder))?;
        }
        let store = Self {
            root: root.to_owned(),
            ledger: ledger::newest(root)?,
            _lock: lock,
        };
        store.sweep()?;
        Ok(store)
    }

    /// Commits `ledger` under the next number.
    pub fn commit(&mut self, mut next: Ledger) -> Result<()> {
        next.version = ledger::VERSION;
        next.ledger = self.ledger.as_ref().map_or(1, |ledger| ledger.ledger + 1);
        for folder in TABLES.into_iter().chain(FOLDERS) {
            ledger::sync(&self.root.join(folder))?;
        }
        if next.ledger == 1 {
            self.sync_names()?;
        }
        ledger::write(&self.root, &next)?;
        self.ledger = Some(next); // readers see it, whatever fails from here on
        ledger::sync(&self.root.join(ledger::FOLDER))?;
        drop(self.sweep()); // what cannot be deleted now is left to the next writer
        Ok(())
    }

    /// Makes the names of the folders durable, and of those above them as far as they may be opened.
    fn sync_names(&self) -> Result<()> {
        ledger::sync(&self.root)?;
        let root = self.root.canonicalize().map_err(Error::io(&self.root))?;
        for above in root.ancestors().skip(1) {
            drop(ledger::sync(above));
        }
        Ok(())
    }

    /// Deletes every file that neither the newest commit nor the one before it names; readers may still hold that,
    /// so it goes only after an erasure.
    pub fn sweep(&self) -> Result<()> {
        let mut kept: HashSet<PathBuf> = HashSet::new();
        if let Some(newest) = &self.ledger {
            kept.insert(ledger::path(&self.root, newest.ledger));
            kept.extend(newest.files().map(|name| self.root.join(name)));
            let before = ledger::read(&self.root, newest.ledger.saturating_sub(1));
            if let Some(before) = before.ok().filter(|_| !newest.erasure) {
                kept.insert(ledger::path(&self.root, before.ledger));
                kept.extend(before.files().map(|name| self.root.join(name)));
            }
        }
        let folders = TABLES.into_iter().chain(FOLDERS);
        for folder in folders.chain([ledger::FOLDER, spill::FOLDER]) {
            let folder = self.root.join(folder);
            for entry in std::fs::read_dir(&folder).map_err(Error::io(&folder))? {
                let path = entry.map_err(Error::io(&folder))?.path();
                if !kept.contains(&path) {
                    spill::remove(&path)?;
                }
            }
        }
        Ok(())
    }

    /// Moves temporary files into `folder` under the id, and commits.
    pub fn attach(
        &mut self,
        folder: &str,
        id: &str,
        files: &[PathBuf],
        generation: u64,
    ) -> Result<()> {
        let word = |text: &str| {
            !text.is_empty()
                && text.len() <= 128
                && !text.starts_with('.')
                && text
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
        };
        if !FOLDERS.contains(&folder) {
            return Err(Error::Value(format!(
                "folder is {folder:?}; it must be one of {}",
                FOLDERS.join(", ")
            )));
        }
        if !word(id) {
            return Err(Error::Value(format!(
                "id is {id:?}; it must be 1 to 128 letters, digits, '.', '_' or '-'"
            )));
        }
        let mut next = self.newest()?;
        if generation > next.generation {
            let newest = next.generation;
            return Err(Error::Value(format!(
                "generation is {generation}; the newest of this store is {newest}"
            )));
        }
        let mut attachment = Attachment {
            folder: folder.to_owned(),
            id: id.to_owned(),
            files: vec![],
            checksums: vec![],
            generation,
        };
        for from in files {
            let ending = from
                .extension()
                .map(|ending| ending.to_string_lossy())
                .unwrap_or_default();
            if !word(&ending) {
                return Err(Error::Value(format!(
                    "{}: a file to attach needs an ending",
                    from.display()
                )));
            }
            let name = format!("{folder}/{id}.{:06}.{ending}", next.ledger + 1);
            if attachment.files.contains(&name) {
                return Err(Error::Value(format!(
                    "{}: a second file with this ending",
                    from.display()
                )));
            }
            let to = self.root.join(&name);
            if std::fs::rename(from, &to).is_err() {
                std::fs::copy(from, &to).map_err(Error::io(from))?;
                std::fs::remove_file(from).map_err(Error::io(from))?;
            }
            std::fs::set_permissions(&to, std::fs::Permissions::from_mode(0o600))
                .map_err(Error::io(&to))?;
            File::open(&to)
                .and_then(|file| file.sync_all())
                .map_err(Error::io(&to))?;
            attachment.checksums.push(part::hash(&to)?.0);
            attachment.files.push(name);
        }
        next.erasure = false;
        next.attachments
            .retain(|known| (known.folder.as_str(), known.id.as_str()) != (folder, id));
        next.attachments.push(attachment);
        self.commit(next)
    }
}
