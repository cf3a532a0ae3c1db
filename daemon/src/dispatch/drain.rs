//! Whether lanes begin anything new. A drain lets what runs come to its end, or hands it over where it stands.

use std::sync::Arc;

use tokio::sync::watch;

/// What a daemon does with work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// All that there is.
    #[default]
    Serve,
    /// What runs is followed to the end of its run; nothing is begun, no lane is taken, idle ones are given back.
    Finish,
    /// Every lane is given back at once: what runs on servers goes on there, for another daemon to take up.
    Detach,
}

/// A handle to that; all clones share it.
#[derive(Clone, Debug, Default)]
pub struct Drain(Arc<watch::Sender<Mode>>);

impl Drain {
    /// From here on, this.
    pub fn set(&self, mode: Mode) {
        self.0.send_replace(mode);
    }

    /// As it is now.
    pub fn mode(&self) -> Mode {
        *self.0.borrow()
    }

    /// Whether nothing new is begun.
    pub fn is_on(&self) -> bool {
        self.mode() != Mode::Serve
    }

    /// Changes with it.
    pub fn changes(&self) -> watch::Receiver<Mode> {
        self.0.subscribe()
    }

    /// Waits until every lane is to be given back.
    pub(super) async fn detaches(&self) {
        // It ends with its last handle, and this is one.
        let _ = self.changes().wait_for(|mode| *mode == Mode::Detach).await;
    }
}
