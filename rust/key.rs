//! The per-user secret: pseudonyms of people, and 128-bit ids that nobody else can aim at.

use std::env;
use std::fs::{DirBuilder, File, OpenOptions};
use std::hash::Hasher as _;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use siphasher::sip128::{Hasher128 as _, SipHasher13};

use crate::error::{Error, Result};
use crate::event::row::Key;

/// What an id names; the same text in two spaces has two keys.
#[derive(Clone, Copy)]
#[repr(u8)]
pub enum Space {
    /// Responses.
    Response = 1,
    /// Requests.
    Request = 2,
    /// Feedback events and choices.
    Event = 3,
    /// Lines that were refused.
    Line = 4,
    /// People and sessions, while a run lasts; what is stored is their pseudonym.
    Person = 5,
}

/// The key of pseudonyms and ids; never printed, never written into a store.
#[derive(Clone)]
pub struct Secret {
    people: Hmac<Sha256>,
    ids: SipHasher13,
    /// Public name of the key.
    pub id: String,
}

impl Secret {
    /// From `file`, else from the variable UNSKEW_KEY, else from the user's own key file, made once.
    pub fn find(file: Option<&Path>) -> Result<Self> {
        let key = match (file, env::var_os("UNSKEW_KEY")) {
            (Some(path), _) => read(path)?,
            (None, Some(text)) if !text.is_empty() => text.into_encoded_bytes(),
            (None, _) => own(&config()?)?,
        };
        Self::new(key.trim_ascii())
    }

    /// From the key itself, at least 16 bytes.
    pub fn new(key: &[u8]) -> Result<Self> {
        if key.len() < 16 {
            return Err(Error::Value(format!(
                "the key has {} bytes; at least 16 are needed",
                key.len()
            )));
        }
        let people =
            Hmac::<Sha256>::new_from_slice(key).map_err(|error| Error::Value(error.to_string()))?;
        let derive = |purpose: &str| {
            let mut bytes = [0; 16];
            let mac = people.clone().chain_update(purpose).finalize().into_bytes();
            for (to, from) in bytes.iter_mut().zip(mac) {
                *to = from;
            }
            bytes
        };
        let id = derive("unskew key id")
            .iter()
            .take(8)
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let ids = SipHasher13::new_with_key(&derive("unskew ids"));
        Ok(Self { people, ids, id })
    }

    /// Key of an id: SipHash-1-3-128 of namespace, space and id.
    pub fn id(&self, source: &str, space: Space, id: impl AsRef<[u8]>) -> Key {
        self.ids(source).key(space, id)
    }

    /// What makes the keys of the ids of one namespace.
    pub fn ids(&self, source: &str) -> Ids {
        let mut hasher = self.ids;
        hasher.write(&(source.len() as u64).to_le_bytes());
        hasher.write(source.as_bytes());
        Ids(hasher)
    }

    /// Pseudonym of a person or session: HMAC-SHA256 of namespace, role and id, cut to 16 bytes.
    pub fn person(&self, source: &str, role: &str, id: &str) -> Key {
        let mut mac = self.people.clone();
        for part in [source, role, id] {
            mac.update(&(part.len() as u64).to_le_bytes());
            mac.update(part.as_bytes());
        }
        let mut key = Key::default();
        for (to, from) in key.0.iter_mut().zip(mac.finalize().into_bytes()) {
            *to = from;
        }
        key
    }
}

/// Makes the keys of the ids of one namespace.
#[derive(Clone, Copy)]
pub struct Ids(SipHasher13);

impl Ids {
    /// Key of an id, as by [`Secret::id`].
    pub fn key(&self, space: Space, id: impl AsRef<[u8]>) -> Key {
        let mut hasher = self.0;
        hasher.write(&[space as u8]);
        hasher.write(id.as_ref());
        Key(hasher.finish128().as_bytes())
    }
}

fn config() -> Result<PathBuf> {
    let base = match (env::var_os("XDG_CONFIG_HOME"), env::var_os("HOME")) {
        (Some(config), _) if Path::new(&config).is_absolute() => PathBuf::from(config),
        (_, Some(home)) if !home.is_empty() => PathBuf::from(home).join(".config"),
        _ => {
            return Err(Error::Value(
                "no home directory for the key file; pass --key FILE or set UNSKEW_KEY".into(),
            ));
        }
    };
    Ok(base.join("unskew"))
}

fn read(path: &Path) -> Result<Vec<u8>> {
    let mut key = Vec::new();
    let file = File::open(path).map_err(Error::io(path))?;
    file.take(4096)
        .read_to_end(&mut key)
        .map_err(Error::io(path))?;
    Ok(key)
}

/// The key file in `folder`, made with mode 0600 if it is not there; two processes that race agree on one.
fn own(folder: &Path) -> Result<Vec<u8>> {
    let path = folder.join("key");
    if !path.exists() {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(Error::io(folder))?;
        let mut random = [0; 32];
        getrandom::fill(&mut random)
            .map_err(|error| Error::Value(format!("no random numbers for a key: {error}")))?;
        let key: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
        let temporary = folder.join(format!(".key.{}", std::process::id()));
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&temporary)
            .map_err(Error::io(&temporary))?;
        let written = writeln!(file, "{key}").and_then(|()| file.sync_all());
        let linked = written.and_then(|()| match std::fs::hard_link(&temporary, &path) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => Err(error),
            _ => Ok(()),
        });
        std::fs::remove_file(&temporary).map_err(Error::io(&temporary))?;
        linked.map_err(Error::io(&path))?;
    }
    read(&path)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn spaces_sources_and_keys_separate_ids() {
        let (one, other) = (
            Secret::new(&[1; 32]).unwrap(),
            Secret::new(&[2; 32]).unwrap(),
        );
        let mut seen = vec![
            one.id("a", Space::Response, "x"),
            one.id("a", Space::Event, "x"),
            one.id("b", Space::Response, "x"),
            other.id("a", Space::Response, "x"),
            one.person("a", "user", "x"),
            one.person("a", "session", "x"),
            other.person("a", "user", "x"),
        ];
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), 7);
        assert_ne!(one.id, other.id);
    }

    #[test]
    fn a_short_key_is_refused() {
        assert!(Secret::new(b"short").is_err());
    }
}
