//! `[access]`: who may do what.

use std::fmt;

use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::auth::{SELECTORS_MAX, Selector};

/// What the kernel tells of users and groups whom a user namespace does not know: all of them at once.
pub(super) const NOBODY: u32 = 65534;

/// `[access]`. Root and the daemon's own user are admins, whatever stands here; who stands in several lists has the highest role.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Access {
    /// Who may look.
    pub viewers: Vec<Grantee>,
    /// Who may look, and have work done on servers.
    pub operators: Vec<Grantee>,
    /// Who may do everything: change the fleet, too.
    pub admins: Vec<Grantee>,
    /// Who may look, or have work done, on some servers.
    pub scoped: Vec<Scoped>,
}

/// `[[access.scoped]]`: a role that holds on some servers.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Scoped {
    /// Who has it.
    pub who: Grantee,
    /// The role.
    pub role: ScopedRole,
    /// On servers that one of these fits.
    pub servers: Vec<Picked>,
}

/// A role that can hold on some servers. What an admin changes concerns all of them.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum ScopedRole {
    /// Looks.
    Viewer,
    /// Has work done.
    Operator,
}

/// `label:KEY=VALUE` or `server:NAME`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picked(pub Selector);

impl Access {
    /// Everybody who is named, with the key that names them.
    pub(super) fn named(&self) -> impl Iterator<Item = (&'static str, &Grantee)> {
        let lists = [
            ("access.viewers", &self.viewers),
            ("access.operators", &self.operators),
            ("access.admins", &self.admins),
        ];
        let all = lists.into_iter().flat_map(|(key, list)| list.iter().map(move |who| (key, who)));
        all.chain(self.scoped.iter().map(|scoped| ("access.scoped", &scoped.who)))
    }

    /// A scope that can be none: it names no servers, or too many.
    pub(super) fn misfit(&self) -> Option<String> {
        let scoped =
            self.scoped.iter().find(|scoped| !(1..=SELECTORS_MAX).contains(&scoped.servers.len()))?;
        Some(format!(
            "access.scoped gives {} the role {} on {} servers: name 1 to {SELECTORS_MAX} in `servers`, each as label:KEY=VALUE or server:NAME; \
             a role on all servers stands in access.viewers, access.operators or access.admins",
            scoped.who,
            match scoped.role {
                ScopedRole::Viewer => "viewer",
                ScopedRole::Operator => "operator",
            },
            scoped.servers.len()
        ))
    }
}

/// Longest name of a certificate, in bytes.
const CERTIFICATE_BYTES_MAX: usize = 200;

/// Who is given a role: users and groups by numeric id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Grantee {
    /// `unix:1000`: a user.
    User(u32),
    /// `unix-group:33`: whoever the system's user database has in the group.
    Group(u32),
    /// `cert:NAME`: whoever shows a certificate of this name over TCP.
    Certificate(String),
}

/// How one is written.
const FORM: &str = "a name such as unix:1000 (a user by its numeric id), unix-group:33 (a group) or cert:NAME (a client's certificate by its URI or DNS name)";

impl Grantee {
    fn read(text: &str) -> Option<Self> {
        let (kind, id) = text.split_once(':')?;
        if kind == "cert" {
            let fits = (1..=CERTIFICATE_BYTES_MAX).contains(&id.len());
            return (fits && id.chars().all(|c| c.is_ascii_graphic()))
                .then(|| Self::Certificate(id.to_owned()));
        }
        let id = id.parse().ok()?;
        match kind {
            "unix" => Some(Self::User(id)),
            "unix-group" => Some(Self::Group(id)),
            _ => None,
        }
    }

    /// Whether it stands for all whom a user namespace does not know.
    pub(super) fn is_nobody(&self) -> bool {
        matches!(self, Self::User(NOBODY) | Self::Group(NOBODY))
    }
}

impl fmt::Display for Grantee {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(uid) => write!(f, "unix:{uid}"),
            Self::Group(gid) => write!(f, "unix-group:{gid}"),
            Self::Certificate(name) => write!(f, "cert:{name}"),
        }
    }
}

impl Serialize for Picked {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Picked {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map(Self).map_err(D::Error::custom)
    }
}

impl Serialize for Grantee {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Grantee {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;

        impl Visitor<'_> for Text {
            type Value = Grantee;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(FORM)
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Grantee, E> {
                Grantee::read(text).ok_or_else(|| E::custom(format_args!("must be {FORM}")))
            }
        }

        deserializer.deserialize_str(Text)
    }
}
