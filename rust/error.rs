//! One error enum for the crate; each variant holds what a person needs to find the fault.

use std::path::Path;

/// Everything that can go wrong in the core.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file or directory could not be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file concerned.
        path: String,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// A compressed input is truncated, damaged or expands beyond reason.
    #[error(
        "{path}: {reason} after {offset} bytes of text: {message}; nothing of this run was committed"
    )]
    Corrupt {
        /// The file concerned.
        path: String,
        /// `corrupt` or `ratio`.
        reason: &'static str,
        /// Decompressed bytes delivered before the fault.
        offset: u64,
        /// What the decompressor found.
        message: String,
    },
    /// An input that was ingested before is no longer what it was.
    #[error(
        "{path}: {found}; {expected} were ingested from it before. Restore it, or give the new file another name"
    )]
    Rewritten {
        /// The file concerned.
        path: String,
        /// What it looks like now.
        found: String,
        /// What was consumed.
        expected: String,
    },
    /// More bad lines than the budget allows.
    #[error(
        "{quarantined} of {lines} lines are bad, the budget is {budget}; nothing was committed. Most frequent: {reasons}. Mend the input or raise `--max-bad`"
    )]
    Budget {
        /// Bad lines of this run.
        quarantined: u64,
        /// Lines of this run.
        lines: u64,
        /// How many were allowed.
        budget: u64,
        /// Reasons with counts, the most frequent first.
        reasons: String,
    },
    /// Another process holds the store.
    #[error("{0}: another process is writing to this store; wait for it to end")]
    Locked(String),
    /// Stored bytes are not the bytes that were committed.
    #[error("{path}: {found}, expected {expected}; the file was changed after it was committed")]
    Checksum {
        /// The file concerned.
        path: String,
        /// What was found.
        found: String,
        /// What the ledger says.
        expected: String,
    },
    /// A caller asked to stop (a signal, or an exception in the progress callback).
    #[error("interrupted; nothing of this run was committed")]
    Interrupted,
    /// A fault of the program itself, caught before it could cross into Python.
    #[error("internal error: {0}; nothing was committed. Please report it")]
    Internal(String),
    /// An argument is outside what the function accepts.
    #[error("{0}")]
    Value(String),
}

impl Error {
    /// An input or output error at `path`.
    pub fn io(path: impl AsRef<Path>) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::Io {
            path: path.as_ref().display().to_string(),
            source,
        }
    }

    /// An Arrow error while writing or reading `path`.
    pub(crate) fn arrow(path: impl AsRef<Path>) -> impl FnOnce(arrow_schema::ArrowError) -> Self {
        move |error| match error {
            arrow_schema::ArrowError::IoError(_, source) => Self::io(path)(source),
            other => Self::Checksum {
                path: path.as_ref().display().to_string(),
                found: other.to_string(),
                expected: "an Arrow stream".to_owned(),
            },
        }
    }
}

/// Result of the crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Runs `work`; a panic becomes an error, so that none ever reaches Python.
pub fn guarded<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
        Err(Error::Internal(
            text.unwrap_or_else(|| "a thread failed".to_owned()),
        ))
    })
}

#[cfg(test)]
#[allow(clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_an_error() {
        let outcome: Result<()> = guarded(|| panic!("lost {}", "count"));
        let text = outcome
            .err()
            .map(|error| error.to_string())
            .unwrap_or_default();
        assert_eq!(
            text,
            "internal error: lost count; nothing was committed. Please report it"
        );
    }
}
