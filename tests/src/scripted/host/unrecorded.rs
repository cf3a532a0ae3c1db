//! Payloads that no record tells of: the server has lost its state directory, and with it every lock.

use std::time::Duration;

use settled::domain::step::StepId;

use super::{Host, Live, Stage};

impl Host {
    /// Everything that the step protocol has stored is gone; what runs goes on, and nobody watches it.
    pub(in crate::scripted) fn lose_state(&mut self) {
        for (id, one) in std::mem::take(&mut self.tries) {
            if let Stage::Live(live) = one.stage {
                self.unrecorded.insert(id, live);
            }
        }
        self.reaped.clear();
        self.cancelled_early.clear();
        (self.epoch, self.installation) = (0, None);
    }

    /// Ends what has ended by now; `all`: power goes.
    pub(super) fn end_unrecorded(&mut self, now: Duration, all: bool) {
        let end = |live: &Live| if all { now } else { live.began + live.play.takes };
        for (_, live) in self.unrecorded.extract_if(.., |_, live| end(live) <= now) {
            self.witness[live.witness].gone = Some(end(&live));
        }
    }

    /// An operator gives it up: it counts as cleared away.
    pub(super) fn give_up_unrecorded(&mut self, id: StepId, now: Duration) {
        if let Some(live) = self.unrecorded.remove(&id) {
            self.witness[live.witness].given_up = Some(now);
            self.reaped.insert(id);
        }
    }
}
