//! Lifecycles: what a definition says, when it is worked off, and which stage follows which, also across versions.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::expression::Expression;
use super::id::LifecycleId;
use super::operation::Operation;
use super::time::Timestamp;
use super::window::Window;

/// Executions of a stage, when its definition does not say.
pub const ATTEMPTS_DEFAULT: u32 = 3;
/// The pause between two executions, when its definition does not say.
pub const BACKOFF_DEFAULT: Duration = Duration::from_secs(3_600);
/// How long a stage may wait, when its definition does not say.
pub const WAIT_DEFAULT: Duration = Duration::from_secs(7 * 86_400);
/// When a gate is looked at again, when its definition does not say.
pub const AGAIN_DEFAULT: Duration = Duration::from_secs(600);
/// How long a worker has without a word, when its definition does not say.
pub const LEASE_DEFAULT: Duration = Duration::from_secs(60);
/// Largest payload, in bytes, when its definition does not say.
pub const PAYLOAD_BYTES_DEFAULT: usize = 64 * 1024;

text_enum! {
    /// What works off the enrollments that are due.
    Activation {
        /// The daemon, as they become due.
        Cron = "cron",
        /// Only `settlectl lifecycle run`.
        Hand = "hand",
    }
}

text_enum! {
    /// What becomes of a stage that has waited for too long.
    Then {
        /// The enrollment fails.
        Fail = "fail",
        /// The next stage begins.
        Skip = "skip",
        /// Its action begins all the same.
        GoOn = "go_on",
    }
}

text_enum! {
    /// What ids of a type of subject look like.
    IdForm {
        /// Any text.
        String = "string",
        /// A whole number.
        Integer = "integer",
        /// A ULID.
        Ulid = "ulid",
        /// A UUID.
        Uuid = "uuid",
    }
}

/// A lifecycle as it is kept: one per code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lifecycle {
    /// Never changes.
    pub id: LifecycleId,
    /// Unique.
    pub code: String,
    /// For people.
    pub name: String,
    /// Whether anything of it is worked off.
    pub active: bool,
    /// Nothing is worked off before.
    pub starts_at: Option<Timestamp>,
    /// Nothing is worked off from here on.
    pub ends_at: Option<Timestamp>,
    /// What works it off.
    pub activation: Activation,
    /// Number of its newest version, from 1.
    pub revision: u32,
    /// What was due by then is worked off, because someone asked for it.
    pub run_at: Option<Timestamp>,
    /// When the record was made.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// Rises with every change; the store's guard.
    pub version: i64,
}

/// Why nothing of a lifecycle is worked off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rest {
    /// Someone has switched it off.
    Inactive,
    /// It begins later.
    NotYet(Timestamp),
    /// It has ended.
    Over(Timestamp),
    /// It waits for `settlectl lifecycle run`.
    ByHand,
}

impl Lifecycle {
    /// Why an enrollment that is due at `due` is not worked off now; `None`: it is.
    pub fn rests(&self, due: Timestamp, now: Timestamp) -> Option<Rest> {
        if !self.active {
            return Some(Rest::Inactive);
        }
        if let Some(starts) = self.starts_at.filter(|starts| now < *starts) {
            return Some(Rest::NotYet(starts));
        }
        if let Some(ended) = self.ends_at.filter(|ends| now >= *ends) {
            return Some(Rest::Over(ended));
        }
        let asked = self.run_at.is_some_and(|asked| due <= asked);
        (self.activation == Activation::Hand && !asked).then_some(Rest::ByHand)
    }

    /// Until when what is due is worked off now; `None`: nothing is.
    pub fn works_until(&self, now: Timestamp) -> Option<Timestamp> {
        let until = match self.activation {
            Activation::Cron => now,
            Activation::Hand => self.run_at?.min(now),
        };
        self.rests(until, now).is_none().then_some(until)
    }
}

/// One version of what a lifecycle does, as read from its text.
#[derive(Debug, Clone, PartialEq)]
pub struct Flow {
    /// Code of the lifecycle.
    pub code: String,
    /// For people.
    pub name: String,
    /// See [`Lifecycle::active`].
    pub active: bool,
    /// See [`Lifecycle::starts_at`].
    pub starts_at: Option<Timestamp>,
    /// See [`Lifecycle::ends_at`].
    pub ends_at: Option<Timestamp>,
    /// See [`Lifecycle::activation`].
    pub activation: Activation,
    /// IANA name of the zone of windows for subjects that are on no server.
    pub time_zone: String,
    /// Largest payload, in bytes.
    pub payload_bytes_max: usize,
    /// Which subjects it takes.
    pub subjects: Subjects,
    /// At least one; names are unique.
    pub stages: Vec<Stage>,
    /// The definition itself, TOML.
    pub source: String,
}

/// Which subjects a lifecycle takes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Subjects {
    /// Declared types by name.
    pub types: BTreeMap<String, SubjectType>,
    /// Only declared types are taken.
    pub strict: bool,
}

/// A declared type of subjects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubjectType {
    /// What its ids look like.
    pub form: IdForm,
    /// Other names of the type.
    pub aliases: Vec<String>,
}

/// One stage.
#[derive(Debug, Clone, PartialEq)]
pub struct Stage {
    /// Unique in its lifecycle.
    pub name: String,
    /// For people; may be empty.
    pub summary: String,
    /// What must hold before its action begins.
    pub gate: Option<Gate>,
    /// What it does.
    pub action: Action,
    /// Executions in total.
    pub attempts: u32,
    /// The pause between two executions.
    pub backoff: Duration,
    /// How long it may wait in all.
    pub max_wait: Duration,
    /// What becomes of it then.
    pub then: Then,
    /// When it may begin; without any, always.
    pub windows: Vec<Window>,
    /// When it must not begin.
    pub blackouts: Vec<Window>,
}

/// What must hold before an action begins.
#[derive(Debug, Clone, PartialEq)]
pub struct Gate {
    /// A resource that is probed first; what the probe saw is `probe`.
    pub probe: Option<Target>,
    /// What must hold.
    pub when: Option<Expression>,
    /// A time before which it does not open.
    pub until: Option<Expression>,
    /// When it is looked at again.
    pub again: Duration,
}

/// What a stage does.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// An operation of a package, as an ordinary run.
    Operation {
        /// Which.
        operation: Operation,
        /// On what.
        target: Target,
        /// Values of parameters.
        set: BTreeMap<String, Given>,
    },
    /// A script on a server, as an ordinary run of the package `stage_script`.
    Script {
        /// The text, for `/bin/sh -e`.
        script: String,
        /// Who runs it.
        user: String,
        /// Where; the subject's server when it is not given.
        server: Option<Given>,
    },
    /// A person decides.
    Approval {
        /// What is asked.
        question: String,
        /// Who may decide; empty: everyone who may operate.
        by: Vec<String>,
    },
    /// An endpoint outside is told, and does it.
    Webhook {
        /// Where it is.
        url: String,
        /// Name of the secret with which that is signed.
        secret: String,
        /// How long it may take.
        timeout: Duration,
    },
    /// A worker outside takes it.
    Work {
        /// Name of the queue.
        queue: String,
        /// How long a worker has without a word.
        lease: Duration,
    },
}

/// The queue of webhooks, from which only daemons take. No worker's queue is called so.
pub const CALLS: &str = "@webhooks";

/// How long a webhook may take when nobody says.
pub const CALL_DEFAULT: Duration = Duration::from_secs(10);

/// A resource that a stage is about.
#[derive(Debug, Clone, PartialEq)]
pub struct Target {
    /// Name of its package; when it is not given, the subject itself is meant.
    pub package: Option<String>,
    /// Its server; the subject's when it is not given.
    pub server: Option<Given>,
    /// Its name; that of the package when it is not given.
    pub name: Option<Given>,
}

/// A value of a definition.
#[derive(Debug, Clone, PartialEq)]
pub enum Given {
    /// As it stands.
    Fixed(String),
    /// The value of an expression, when it is needed.
    From(Expression),
}

impl Flow {
    /// The stage of this name.
    pub fn stage(&self, name: &str) -> Option<&Stage> {
        self.stages.iter().find(|stage| stage.name == name)
    }

    /// The name of its first stage.
    pub fn first(&self) -> &str {
        self.stages.first().map_or("", |stage| stage.name.as_str())
    }

    /// The name of the stage after this one; `None` when this is the last, or none of its stages.
    pub fn after(&self, name: &str) -> Option<&str> {
        let at = self.stages.iter().position(|stage| stage.name == name)?;
        self.stages.get(at + 1).map(|stage| stage.name.as_str())
    }

    fn has(&self, name: &str) -> bool {
        self.stage(name).is_some()
    }
}

/// A version that followed another one, and where its stages are that are gone.
#[derive(Debug, Clone, Copy)]
pub struct Step<'a> {
    /// What it says.
    pub flow: &'a Flow,
    /// From stages that are gone to those that take their place.
    pub mapping: &'a BTreeMap<String, String>,
}

/// Where an enrollment goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Way {
    /// To this stage of the newest version.
    Stage(String),
    /// It has done all that there is.
    Done,
    /// This stage is gone, and nobody has said where to go from there.
    Gone(String),
}

/// Where an enrollment is that waits before a stage which it has not begun. `later`: the versions after its own, oldest first. A stage
/// that was gone before anybody said where to go from there may be mapped by a later version.
pub fn stage_now(stage: &str, later: &[Step<'_>]) -> Way {
    let mut stage = stage;
    for step in later {
        if let Some(other) = step.mapping.get(stage).filter(|_| !step.flow.has(stage)) {
            stage = other;
        }
    }
    match later.last() {
        Some(newest) if !newest.flow.has(stage) => Way::Gone(stage.to_owned()),
        _ => Way::Stage(stage.to_owned()),
    }
}

/// Where an enrollment goes that has done a stage of the version `own`. `later`: the versions after it, oldest first.
pub fn stage_after(stage: &str, own: &Flow, later: &[Step<'_>]) -> Way {
    let newest = later.last().map_or(own, |step| step.flow);
    if newest.has(stage) {
        return newest.after(stage).map_or(Way::Done, |next| Way::Stage(next.to_owned()));
    }
    if later.iter().any(|step| !step.flow.has(stage) && step.mapping.contains_key(stage)) {
        return stage_now(stage, later);
    }
    own.after(stage).map_or(Way::Done, |next| stage_now(next, later))
}

/// Why a subject is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadSubject {
    /// Not of the form TYPE/ID.
    #[error("must be TYPE/ID, like user/42, server/web1 or resource/web1/nginx/nginx")]
    Form,
    /// The type is no name.
    #[error("`{0}` is no type of subjects: 1 to 40 lower case letters, digits, '-' and '_', a letter first")]
    Type(String),
    /// The id is empty, too long or unprintable.
    #[error("an id has 1 to 200 bytes and no control characters")]
    Id,
    /// The type is not declared.
    #[error("`{kind}` is not among the types that this lifecycle takes: {known}")]
    Undeclared {
        /// The type.
        kind: String,
        /// Those that are.
        known: String,
    },
    /// The id has not the declared form.
    #[error("`{id}` is no id of `{kind}`: ids of that type are of the form {form}")]
    IdForm {
        /// The id.
        id: String,
        /// The type.
        kind: String,
        /// The form.
        form: IdForm,
    },
}

/// Longest id of a subject, in bytes.
const ID_BYTES_MAX: usize = 200;

impl Subjects {
    /// Type and id of a subject, in their canonical form.
    pub fn take(&self, subject: &str) -> Result<(String, String), BadSubject> {
        let (kind, id) = subject.split_once('/').ok_or(BadSubject::Form)?;
        if !is_subject_type(kind) {
            return Err(BadSubject::Type(kind.chars().take(40).collect()));
        }
        if id.is_empty() || id.len() > ID_BYTES_MAX || id.chars().any(char::is_control) {
            return Err(BadSubject::Id);
        }
        let declared = self
            .types
            .iter()
            .find(|(name, declared)| *name == kind || declared.aliases.iter().any(|alias| alias == kind));
        match declared {
            Some((name, declared)) => match declared.form.canonical(id) {
                Some(id) => Ok((name.clone(), id)),
                None => {
                    Err(BadSubject::IdForm { id: id.to_owned(), kind: name.clone(), form: declared.form })
                }
            },
            None if self.strict => {
                let known: Vec<_> = self.types.keys().cloned().collect();
                Err(BadSubject::Undeclared { kind: kind.to_owned(), known: known.join(", ") })
            }
            None => Ok((kind.to_owned(), id.to_owned())),
        }
    }
}

/// Whether this may be the name of a type of subjects.
pub fn is_subject_type(name: &str) -> bool {
    name.len() <= 40
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_'))
}

impl IdForm {
    /// The one text of an id; `None` when it is none.
    fn canonical(self, id: &str) -> Option<String> {
        match self {
            Self::String => Some(id.to_owned()),
            Self::Integer => id.parse::<i64>().ok().map(|number| number.to_string()),
            Self::Ulid => {
                let ulid = ulid::Ulid::from_string(id).ok()?.to_string();
                ulid.eq_ignore_ascii_case(id).then_some(ulid)
            }
            Self::Uuid => {
                let groups: Vec<_> = id.split('-').map(str::len).collect();
                let hex = id.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
                (groups == [8, 4, 4, 4, 12] && hex).then(|| id.to_ascii_lowercase())
            }
        }
    }
}

impl fmt::Display for Rest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (text, at) = match self {
            Self::Inactive => ("its lifecycle is inactive", None),
            Self::NotYet(at) => ("its lifecycle begins at", Some(at)),
            Self::Over(at) => ("its lifecycle has ended at", Some(at)),
            Self::ByHand => ("its lifecycle is worked off by hand (settlectl lifecycle run)", None),
        };
        f.write_str(text)?;
        match at.and_then(|at| jiff::Timestamp::from_microsecond(at.0).ok()) {
            Some(at) => write!(f, " {at}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
