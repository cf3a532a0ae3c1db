//! Maintenance windows: a run is not begun while they are closed. What has begun goes on to its end, with all its steps and attempts: half
//! a change is worse than one that ends late.

use std::time::Duration;

use super::{Lane, Next};
use crate::domain::run::Run;
use crate::domain::server::{Reach, Server};
use crate::domain::waiting::WaitReason;
use crate::domain::window::{Opening, Window};
use crate::engine::{LaneError, opening};

/// Longest sleep of a lane that waits for an opening: the clock on the wall may be set meanwhile.
const SLEEP_MAX: Duration = Duration::from_secs(60);

impl Lane {
    /// A queued run waits for the next opening. The server need not be asked for that, and its connection is let go of.
    pub(super) async fn closed(&mut self, run: &Run) -> Result<Option<Next>, LaneError> {
        let now = self.crew.engine.clock().now();
        let Some(server) = self.server.as_ref().filter(|server| server.reach != Reach::Paused) else {
            return Ok(None);
        };
        let (who, until) = match opening(&server.policy, now) {
            Opening::Now => return Ok(None),
            Opening::At(at) => (named(server), Some(at)),
            Opening::Unknown => (undecided(server), None),
        };
        self.rest();
        self.crew.remote.forget(self.hold.server).await;
        self.waits(run, WaitReason::Window, who, until).await?;
        let sleep = until.map_or(SLEEP_MAX, |at| at.since(now).min(SLEEP_MAX));
        Ok(Some(self.later(sleep)))
    }
}

fn named(server: &Server) -> String {
    let windows: Vec<_> = server.policy.windows.iter().map(Window::to_string).collect();
    format!("{} {}", windows.join(", "), server.policy.time_zone)
}

fn undecided(server: &Server) -> String {
    format!(
        "{}: settled's machine cannot tell when one opens there; set another time zone with `settlectl server edit {} --time-zone ZONE`",
        named(server),
        server.name
    )
}
