//! A user database that a test fills, breaks and mends.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use settled::auth::Members;

/// Who is in which groups. Nobody is known at first.
#[derive(Debug, Default)]
pub struct Users(Mutex<Book>);

#[derive(Debug, Default)]
struct Book {
    groups: BTreeMap<u32, Vec<u32>>,
    is_away: bool,
}

impl Users {
    fn book(&self) -> MutexGuard<'_, Book> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The user is in these groups.
    pub fn put(&self, uid: u32, groups: &[u32]) {
        self.book().groups.insert(uid, groups.to_vec());
    }

    /// Whether nobody can look anything up.
    pub fn set_away(&self, is_away: bool) {
        self.book().is_away = is_away;
    }
}

impl Members for Users {
    fn groups_of(&self, uid: u32) -> Result<Option<Vec<u32>>, String> {
        let book = self.book();
        if book.is_away { Err("too many open files".to_owned()) } else { Ok(book.groups.get(&uid).cloned()) }
    }
}
