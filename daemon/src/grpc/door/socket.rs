//! The unix socket: bound so that it never exists with wrong rights, and never takes a live daemon's place.

use std::io;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use tokio::net::{UnixListener, UnixStream};

/// Owner and group may connect, nobody else.
const MODE: u32 = 0o660;
/// Where the system keeps its groups.
const GROUPS: &str = "/etc/group";

/// Why the socket cannot be bound.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// A daemon answers there.
    #[error(
        "another settled is running and answers at {0}: stop it first, or give this one another listen.unix and data_dir"
    )]
    Live(PathBuf),
    /// Something that is not a socket has the path.
    #[error("{0} exists and is not a socket: remove it, or set listen.unix to another path")]
    NotASocket(PathBuf),
    /// There is no such group.
    #[error("there is no group `{0}` in {GROUPS}: create it, or give its number as listen.unix_group")]
    NoGroup(String),
    /// The system refuses.
    #[error("the socket {path} cannot be made: {doing}: {error}")]
    Io {
        /// The socket.
        path: PathBuf,
        /// What was tried.
        doing: &'static str,
        /// What the system says.
        error: io::Error,
    },
}

/// Binds the socket at `path` (mode 0660, of `group` if one is given: a name or a number).
///
/// A socket file that a dead daemon left is replaced; one that answers is not touched.
pub async fn bind(path: &Path, group: Option<&str>) -> Result<UnixListener, BindError> {
    let failed = |doing| move |error| BindError::Io { path: path.to_owned(), doing, error };
    let gid = group.map(gid_of).transpose()?;
    refuse_live(path).await?;
    // Made under another name and moved into place, so that nobody ever finds it with other rights, or half made.
    let beside = path.with_file_name(format!(".{}", std::process::id()));
    match std::fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed("clear")(error)),
        _ => {}
    }
    let listener = UnixListener::bind(&beside).map_err(failed("bind"))?;
    if gid.is_some() {
        std::os::unix::fs::chown(&beside, None, gid).map_err(failed("give to the group"))?;
    }
    std::fs::set_permissions(&beside, std::fs::Permissions::from_mode(MODE)).map_err(failed("set rights"))?;
    std::fs::rename(&beside, path).map_err(failed("move into place"))?;
    Ok(listener)
}

/// Whatever stands at the path must be a socket that nobody serves.
async fn refuse_live(path: &Path) -> Result<(), BindError> {
    let failed = |doing| move |error| BindError::Io { path: path.to_owned(), doing, error };
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed("look at what is there")(error)),
        Ok(found) if !found.file_type().is_socket() => return Err(BindError::NotASocket(path.to_owned())),
        Ok(_) => {}
    }
    match UnixStream::connect(path).await {
        Ok(_) => Err(BindError::Live(path.to_owned())),
        Err(error) if matches!(error.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound) => {
            Ok(())
        }
        Err(error) => Err(failed("ask whether it is in use")(error)),
    }
}

fn gid_of(group: &str) -> Result<u32, BindError> {
    if let Ok(number) = group.parse() {
        return Ok(number);
    }
    let missing = || BindError::NoGroup(group.to_owned());
    let text = std::fs::read_to_string(GROUPS).map_err(|_| missing())?;
    let number = |line: &str| {
        let mut fields = line.split(':');
        (fields.next() == Some(group)).then(|| fields.nth(1)?.parse().ok()).flatten()
    };
    text.lines().find_map(number).ok_or_else(missing)
}
