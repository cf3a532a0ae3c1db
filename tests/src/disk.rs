//! A disk that is full when a test wants it.

use std::path::Path;
use std::process::Command;

/// A small file system, unmounted when dropped.
pub struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    /// One of 2 MiB; `None` when this user may not mount.
    pub fn mount() -> Option<Self> {
        Self::of("2m")
    }

    /// One of this size, in the words of tmpfs; `None` when this user may not mount.
    pub fn of(size: &str) -> Option<Self> {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"])
            .arg(directory.path())
            .output()
            .is_ok_and(|done| done.status.success());
        mounted.then(|| Self(directory))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Leaves no room.
    pub fn fill(&self) {
        let filler = self.0.path().join("filler");
        // The last write fails: that is when it is full.
        while std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&filler)
            .and_then(|mut file| std::io::Write::write_all(&mut file, &[0; 4096]))
            .is_ok()
        {}
    }

    /// Leaves room for so many pages of 4 KiB.
    pub fn leave(&self, pages: u64) {
        self.fill();
        let filler = std::fs::OpenOptions::new().write(true).open(self.0.path().join("filler"));
        let filler = filler.expect("it was just filled");
        let length = filler.metadata().expect("its length").len();
        filler.set_len(length.saturating_sub(pages * 4096)).expect("it can be cut");
    }

    /// Makes room again.
    pub fn free(&self) {
        std::fs::remove_file(self.0.path().join("filler")).expect("it was filled before");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("-l").arg(self.0.path()).status();
        assert!(unmounted.is_ok_and(|status| status.success()) || std::thread::panicking());
    }
}
