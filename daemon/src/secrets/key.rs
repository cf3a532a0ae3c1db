//! A master key, and the file that it is kept in.

use std::fmt;
use std::path::Path;

use chacha20poly1305::{KeyInit as _, XChaCha20Poly1305};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::{KEY_BYTES, SecretError};

/// What the keys of the rows are sealed with.
#[derive(Clone)]
pub struct MasterKey {
    key: Zeroizing<[u8; KEY_BYTES]>,
    id: String,
}

impl MasterKey {
    /// The master key of these bytes.
    pub fn new(key: Zeroizing<[u8; KEY_BYTES]>) -> Self {
        let id = hex::encode(&Sha256::digest([b"settled key id".as_slice(), &key[..]].concat())[..8]);
        Self { key, id }
    }

    /// Reads settled's own key file, which is made from `fresh` when it does not exist: with mode 0600, and wholly or not at all, whenever
    /// the power goes.
    pub fn from_own_file(path: &Path, fresh: impl FnOnce() -> [u8; KEY_BYTES]) -> Result<Self, SecretError> {
        if !path.exists() {
            write_private(path, &Zeroizing::new(fresh())[..])
                .map_err(|e| bad(path, format!("cannot be made: {e}")))?;
        }
        Self::from_file(path, None)
    }

    /// Reads a key file that the operator has named: 32 bytes, which nobody else may read.
    ///
    /// Below `credentials`, systemd's directory of this service, its group may read: systemd 254 and later gives the service's user
    /// access by a list, and the mask of that list shows as the group's right (0440).
    pub fn from_file(path: &Path, credentials: Option<&Path>) -> Result<Self, SecretError> {
        let bad = |message: String| bad(path, message);
        let mode =
            std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(path).map_err(|e| bad(e.to_string()))?);
        let handed_over = credentials.is_some_and(|dir| path.starts_with(dir));
        if mode & (if handed_over { 0o037 } else { 0o077 }) != 0 {
            return Err(bad(format!("others may read it (mode {:o}): chmod 600 it", mode & 0o777)));
        }
        if !handed_over {
            on_disk(path).map_err(|e| bad(format!("cannot be made to last: {e}")))?;
        }
        let bytes = Zeroizing::new(std::fs::read(path).map_err(|e| bad(e.to_string()))?);
        let key: [u8; KEY_BYTES] =
            bytes[..].try_into().map_err(|_| bad(format!("holds {} bytes, not {KEY_BYTES}", bytes.len())))?;
        Ok(Self::new(Zeroizing::new(key)))
    }

    /// Names the key, without telling it.
    pub fn id(&self) -> &str {
        &self.id
    }

    pub(super) fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new(&(*self.key).into())
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MasterKey").field("id", &self.id).finish_non_exhaustive()
    }
}

fn bad(path: &Path, message: String) -> SecretError {
    SecretError::KeyFile { path: path.display().to_string(), message }
}

/// What somebody has put there may be in memory only: it is on the disk, under its name, before anything is sealed with it.
fn on_disk(path: &Path) -> std::io::Result<()> {
    let directory = path.parent().filter(|directory| !directory.as_os_str().is_empty());
    for place in [Some(path), directory].into_iter().flatten() {
        match std::fs::File::open(place)?.sync_all() {
            // Nothing can be on its way to a disk that is not written to.
            Err(error) if error.kind() == std::io::ErrorKind::ReadOnlyFilesystem => {}
            other => other?,
        }
    }
    Ok(())
}

/// What is sealed with a key is lost with it: the file is on the disk, under its name, before anything can be.
fn write_private(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let beside = path.with_extension("new");
    if beside.exists() {
        std::fs::remove_file(&beside)?;
    }
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&beside, path)?;
    match path.parent() {
        Some(directory) => std::fs::File::open(directory)?.sync_all(),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p12_a_key_that_others_may_read_is_refused_but_for_the_group_of_a_credential() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("settled.key");
        std::fs::write(&path, [7; KEY_BYTES]).unwrap();
        let elsewhere = Path::new("/run/credentials/other.service");
        // (mode, as an ordinary file, as a credential)
        for (mode, ordinary, credential) in [
            (0o600, true, true),
            (0o400, true, true),
            (0o440, false, true),
            (0o460, false, false),
            (0o444, false, false),
        ] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            let read = |credentials| MasterKey::from_file(&path, credentials);
            assert_eq!(read(None).is_ok(), ordinary, "{mode:o}");
            assert_eq!(read(Some(elsewhere)).is_ok(), ordinary, "{mode:o} outside the directory");
            assert_eq!(read(Some(dir.path())).is_ok(), credential, "{mode:o} as a credential");
        }
        let message = MasterKey::from_file(&path, None).unwrap_err().to_string();
        assert!(message.contains("mode 444") && message.contains("chmod 600"), "{message}");
    }

    #[test]
    fn p12_a_key_is_made_once_and_only_where_settled_keeps_its_own() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        let named = MasterKey::from_file(&path, None).unwrap_err().to_string();
        assert!(named.contains("No such file") && !path.exists(), "{named}");
        // What a crash has left of an earlier attempt.
        std::fs::write(dir.path().join("key.new"), [1; 3]).unwrap();
        let made = MasterKey::from_own_file(&path, || [7; KEY_BYTES]).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
        let again = MasterKey::from_own_file(&path, || panic!("there is one")).unwrap();
        assert_eq!(again.id(), made.id());
        assert_eq!(MasterKey::from_file(&path, None).unwrap().id(), made.id());
    }
}
