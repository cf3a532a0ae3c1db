//! Operations: what a package can do. Which status each leads to stands in `resource`.

use std::fmt;

/// What a run executes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operation {
    /// Puts the package on the server.
    Install,
    /// Applies new parameters.
    Update,
    /// Takes the package off.
    Remove,
    /// Keeps it registered, but at rest.
    Pause,
    /// Ends a pause.
    Resume,
    /// Looks, and changes nothing.
    Probe,
    /// Registers what is on the server already: looks, and changes nothing there.
    Adopt,
    /// First contact with a server. Not an operation of a package.
    Register,
    /// An operation that the package defines itself, for instance `rollback`.
    Own(String),
}

impl Operation {
    /// The word as stored and shown.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Install => "install",
            Self::Update => "update",
            Self::Remove => "remove",
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Probe => "probe",
            Self::Adopt => "adopt",
            Self::Register => "register",
            Self::Own(name) => name,
        }
    }

    /// Whether it works by steps, which may live on a server by themselves; the others only ask and are answered.
    pub const fn has_steps(&self) -> bool {
        !matches!(self, Self::Probe | Self::Adopt | Self::Register)
    }

    /// The operation of a word; every word that is not one of the known ones is a package's own.
    pub fn from_word(word: &str) -> Self {
        match word {
            "install" => Self::Install,
            "update" => Self::Update,
            "remove" => Self::Remove,
            "pause" => Self::Pause,
            "resume" => Self::Resume,
            "probe" => Self::Probe,
            "adopt" => Self::Adopt,
            "register" => Self::Register,
            own => Self::Own(own.to_owned()),
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
