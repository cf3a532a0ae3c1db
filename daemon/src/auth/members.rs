//! Groups of users, as the user database of the system has them.

use nix::unistd::{Gid, Uid, User, getgrouplist};

/// Tells of which groups a user is a member.
pub trait Members: Send + Sync {
    /// The groups of a user, its own among them; none when nobody knows the user.
    fn groups_of(&self, uid: u32) -> Vec<u32>;
}

/// The user database of the system (`/etc/passwd`, `/etc/group`, and what else the machine's name service asks).
#[derive(Debug, Clone, Copy)]
pub(super) struct UserDatabase;

impl Members for UserDatabase {
    fn groups_of(&self, uid: u32) -> Vec<u32> {
        let found = User::from_uid(Uid::from_raw(uid)).and_then(|user| match user {
            Some(user) => {
                let name = std::ffi::CString::new(user.name).map_err(|_| nix::errno::Errno::EINVAL)?;
                getgrouplist(&name, user.gid)
            }
            None => Ok(Vec::new()),
        });
        match found {
            Ok(groups) => groups.into_iter().map(Gid::as_raw).collect(),
            Err(error) => {
                tracing::warn!(uid, %error, "the groups of a user cannot be looked up: only what its own id is given counts");
                Vec::new()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_is_in_its_own_group_and_a_user_whom_nobody_knows_in_none() {
        assert!(UserDatabase.groups_of(0).contains(&0));
        assert_eq!(UserDatabase.groups_of(3_999_999_999), Vec::<u32>::new());
    }
}
