//! One error enum for the crate; each variant holds what a person needs to find the fault.

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
    /// An argument is outside what the function accepts.
    #[error("{0}")]
    Value(String),
}

/// Result of the crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;
