//! Groups of users, as the user database of the system has them.

use nix::unistd::{Gid, Uid, User, getgrouplist};

/// Tells of which groups a user is a member.
pub trait Members: Send + Sync {
    /// The groups of a user, its own among them; `None` when nobody knows the user, and in words why it cannot be told. May take its
    /// time, and holds up the thread that asks.
    fn groups_of(&self, uid: u32) -> Result<Option<Vec<u32>>, String>;
}

/// The user database of the system (`/etc/passwd`, `/etc/group`, and what else the machine's name service asks).
#[derive(Debug, Clone, Copy)]
pub(super) struct UserDatabase;

impl Members for UserDatabase {
    fn groups_of(&self, uid: u32) -> Result<Option<Vec<u32>>, String> {
        let Some(user) = User::from_uid(Uid::from_raw(uid)).map_err(|error| error.to_string())? else {
            return Ok(None);
        };
        let name = std::ffi::CString::new(user.name).map_err(|error| error.to_string())?;
        let groups = getgrouplist(&name, user.gid).map_err(|error| error.to_string())?;
        Ok(Some(groups.into_iter().map(Gid::as_raw).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_is_in_its_own_group_and_a_user_whom_nobody_knows_is_told_as_such() {
        assert!(UserDatabase.groups_of(0).unwrap().unwrap().contains(&0));
        assert_eq!(UserDatabase.groups_of(3_999_999_999), Ok(None));
    }
}
