//! Why a command is refused, in terms of what the caller can do next. The gRPC code is chosen elsewhere.

use crate::catalog::FieldProblem;
use crate::domain::id::RunId;
use crate::domain::time::Timestamp;
use crate::secrets::SecretError;
use crate::store::{BackupError, StoreError};

/// A refused command. Nothing was stored.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// There is no such thing.
    #[error("there is no {what} `{name}`")]
    NotFound {
        /// `server`, `resource`, `run`, `package`.
        what: &'static str,
        /// As the caller named it.
        name: String,
    },
    /// It is there already.
    #[error("{message}")]
    Exists {
        /// What is there.
        what: &'static str,
        /// Its id.
        id: String,
        /// What happened and what to do.
        message: String,
    },
    /// Fields of the request are wrong.
    #[error("{}", summary(.0))]
    Invalid(Vec<FieldProblem>),
    /// Not before its server opens for work.
    #[error("{message}")]
    Closed {
        /// When it opens, and what to do.
        message: String,
        /// When it opens.
        opens: Timestamp,
    },
    /// Not in the present state.
    #[error("{message}")]
    NotNow {
        /// What stands in the way and what to do.
        message: String,
        /// The runs that stand in the way.
        runs: Vec<RunId>,
        /// The resources that stand in the way, as SERVER/PACKAGE/NAME.
        resources: Vec<String>,
    },
    /// Packages that it requires are not there.
    #[error("{message}")]
    Missing {
        /// What is missing and what to do.
        message: String,
        /// Each package, and what to do about it.
        packages: Vec<(String, String)>,
    },
    /// A queue is full.
    #[error("{0}")]
    Full(String),
    /// The caller may not.
    #[error("{0}")]
    Denied(String),
    /// This daemon lacks a master key: others may have it, and this one may get it.
    #[error("{0}")]
    NoKey(String),
    /// The store could not.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There is no backup.
    #[error(transparent)]
    Backup(#[from] BackupError),
    /// A fault in settled or in what it was given to keep.
    #[error("{0}")]
    Internal(String),
}

impl Refusal {
    /// One field is wrong.
    pub fn field(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Invalid(vec![FieldProblem { field: field.into(), message: message.into() }])
    }

    /// Something stands in the way.
    pub fn not_now(message: impl Into<String>) -> Self {
        Self::NotNow { message: message.into(), runs: Vec::new(), resources: Vec::new() }
    }

    /// An open run stands in the way.
    pub fn busy(run: RunId) -> Self {
        let message = format!(
            "run {run} is still open on this resource: wait for it, or cancel it (settlectl run cancel {run})"
        );
        Self::NotNow { message, runs: vec![run], resources: Vec::new() }
    }
}

impl From<SecretError> for Refusal {
    fn from(error: SecretError) -> Self {
        match error {
            SecretError::OtherKey(_) => Self::NoKey(error.to_string()),
            SecretError::Damaged | SecretError::KeyFile { .. } => Self::Internal(error.to_string()),
        }
    }
}

fn summary(problems: &[FieldProblem]) -> String {
    let each: Vec<_> = problems.iter().map(|p| format!("{}: {}", p.field, p.message)).collect();
    each.join("; ")
}
