//! When driving a run panics: the panic costs an attempt, or the step that lives on the server is taken up again.

use super::stepping::Work;
use super::{Lane, Next, failures};
use crate::domain::run::Event;
use crate::engine::LaneError;

/// Panics without progress between them after which the run in hand is ended as broken, if nothing of it lives on the server.
const BROKEN_MAX: u32 = 3;

impl Lane {
    /// A step panicked. Nothing is assumed: everything is read again.
    pub fn broke(&mut self) -> Next {
        tracing::error!(server = %self.hold.server, "a step of a lane panicked; the lane starts again from what is stored");
        self.broken += 1;
        self.work = None;
        self.server = None;
        let wait = self.crew.settings.poll * self.broken.min(BROKEN_MAX);
        Next::At(self.crew.engine.clock().monotonic() + wait)
    }

    /// Ends the run over which steps panicked again and again; one that may live on the server is left to its time.
    pub(super) async fn end_broken(&mut self) -> Result<Next, LaneError> {
        self.broken = 0;
        self.rest();
        match self.waiting_run().await? {
            Some(run) if run.live_step().is_none() => {
                let message =
                    "a fault in settled: driving it panicked; the daemon's log tells more".to_owned();
                let failure = failures::plain(run.id, message, self.crew.engine.clock().now());
                let run = self.tell(&run, Event::Broken(failure)).await?;
                Work::log_end(&run, run.position().attempt);
                Ok(Next::Now)
            }
            _ => Ok(self.later(self.crew.settings.unreachable_retry)),
        }
    }

    /// Whether steps panicked again and again.
    pub(super) const fn is_broken(&self) -> bool {
        self.broken >= BROKEN_MAX
    }

    /// Something of a run was brought to its end: panics before it do not count any more.
    pub(super) const fn progressed(&mut self) {
        self.broken = 0;
    }
}
