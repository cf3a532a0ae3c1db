//! Notices: what people asked to be told of, and what of it each of them wants.
//!
//! A notice follows from a change of an object alone, so whoever writes the change cannot forget it. It never knows how it reaches anyone.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::id::RunId;
use super::operation::Operation;
use super::resource::Resource;
use super::run::{Run, Subject};
use super::server::{Reach, Server};
use super::time::Timestamp;
use super::verdict::{Outcome, Reason};

/// For how long a notice that nobody takes is sent again.
pub const SENT_FOR: Duration = Duration::from_hours(24);
/// Longest mail address, in bytes (RFC 5321).
const ADDRESS_BYTES_MAX: usize = 254;
/// The first pause before it is sent again.
const PAUSE_FIRST: Duration = Duration::from_secs(10);
/// The longest one.
const PAUSE_MAX: Duration = Duration::from_hours(1);

text_enum! {
    /// What happened.
    NoticeEvent {
        /// A run has done what was asked.
        RunSucceeded = "run_succeeded",
        /// A run has not, or nobody can prove that it did.
        RunFailed = "run_failed",
        /// A run was not allowed to begin.
        RunBlocked = "run_blocked",
        /// Someone stopped a run.
        RunCancelled = "run_cancelled",
        /// A run stayed queued beyond its limit.
        RunNeverStarted = "run_never_started",
        /// Nothing has happened to an open run for longer than it should take.
        RunStuck = "run_stuck",
        /// A server cannot be reached.
        ServerUnreachable = "server_unreachable",
        /// A server refuses settled.
        ServerRefused = "server_refused",
        /// A server that could not be worked on can be again.
        ServerBack = "server_back",
        /// A step without a proven end holds a server's lane.
        LaneHeld = "lane_held",
        /// Nothing holds it any more.
        LaneFreed = "lane_freed",
        /// A server shows something else of a resource than was applied.
        ResourceDrifted = "resource_drifted",
        /// It shows again what was applied.
        ResourceAgrees = "resource_agrees",
        /// Somebody tries a notifier out.
        Test = "test",
    }
}

impl NoticeEvent {
    /// What people want to hear of who do not say: what went wrong.
    pub const TROUBLE: [Self; 8] = [
        Self::RunFailed,
        Self::RunBlocked,
        Self::RunNeverStarted,
        Self::RunStuck,
        Self::ServerUnreachable,
        Self::ServerRefused,
        Self::LaneHeld,
        Self::ResourceDrifted,
    ];

    /// Whether it is of a server as a whole, and of no package on it.
    pub fn is_of_server(self) -> bool {
        use NoticeEvent as E;
        matches!(self, E::ServerUnreachable | E::ServerRefused | E::ServerBack | E::LaneHeld | E::LaneFreed)
    }

    /// Whether someone can ask for it. The test comes to whom it is for, and to nobody else.
    pub fn can_be_asked_for(self) -> bool {
        self != Self::Test
    }
}

/// Something that happened, as it is told. Nothing in it is secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// What happened.
    pub event: NoticeEvent,
    /// Name of the server; empty for a test.
    pub server: String,
    /// The package, when it is about one.
    pub package: Option<String>,
    /// The name of the resource.
    pub resource: Option<String>,
    /// What the run does.
    pub operation: Option<Operation>,
    /// The run.
    pub run: Option<RunId>,
    /// Why a run did not succeed.
    pub reason: Option<Reason>,
    /// What happened, in a line.
    pub text: String,
    /// What else there is to know: what went wrong, what is different. May be empty.
    pub detail: String,
}

impl Notice {
    /// What a notifier that is tried out is told.
    pub fn test(notifier: &str) -> Self {
        let text =
            format!("This is a test of the notifier {notifier}: what it asks for would come like this");
        Self { text, ..Self::about(NoticeEvent::Test, "") }
    }

    fn about(event: NoticeEvent, server: &str) -> Self {
        Self {
            event,
            server: server.to_owned(),
            package: None,
            resource: None,
            operation: None,
            run: None,
            reason: None,
            text: String::new(),
            detail: String::new(),
        }
    }

    fn of_run(event: NoticeEvent, run: &Run, what: &str) -> Self {
        let (package, resource) = match &run.subject {
            Subject::Server => (None, None),
            Subject::Resource { package, name, .. } => (Some(package.clone()), Some(name.clone())),
        };
        let place = match (&package, &resource) {
            (Some(package), Some(name)) => format!("{}/{package}/{name}", run.server_name),
            _ => run.server_name.clone(),
        };
        Self {
            text: format!("{} of {place} {what}", run.operation),
            operation: Some(run.operation.clone()),
            run: Some(run.id),
            package,
            resource,
            ..Self::about(event, &run.server_name)
        }
    }
}

/// What the end of a run tells; nothing while it is open. A look is no work: what it saw is told of what it looked at.
pub fn of_run(run: &Run) -> Option<Notice> {
    let verdict = run.verdict().filter(|_| run.operation != Operation::Probe)?;
    let (event, what) = match (verdict.outcome, verdict.reason) {
        (Outcome::Succeeded, _) => (NoticeEvent::RunSucceeded, "has succeeded"),
        (Outcome::Cancelled, _) => (NoticeEvent::RunCancelled, "was cancelled"),
        (Outcome::Blocked, _) => (NoticeEvent::RunBlocked, "was not allowed to begin"),
        (Outcome::Failed, Some(Reason::NeverStarted)) => {
            (NoticeEvent::RunNeverStarted, "was never started within its limit")
        }
        (Outcome::Failed, _) => (NoticeEvent::RunFailed, "has failed"),
    };
    let detail = verdict.failure.as_ref().map(|failure| match failure.step.as_str() {
        "" => failure.message.clone(),
        step => format!("{step}: {}", failure.message),
    });
    let told = Notice::of_run(event, run, what);
    Some(Notice { reason: verdict.reason, detail: detail.unwrap_or_default(), ..told })
}

/// What is told of an open run to which nothing has happened for too long.
pub fn of_stuck(run: &Run, now: Timestamp) -> Option<Notice> {
    let at = run.stale_at().filter(|at| now > *at && run.operation != Operation::Probe)?;
    let silent = now.since(run.progress_at).as_secs();
    let waits = run.waiting().map(|w| format!("it waits: {} ({})", w.reason, w.who));
    let told = Notice::of_run(NoticeEvent::RunStuck, run, "is likely stuck");
    let since = format!(
        "nothing has happened to it for {silent} s; it was expected to show life {} s ago",
        now.since(at).as_secs()
    );
    Some(Notice { detail: waits.map_or(since.clone(), |waits| format!("{since}; {waits}")), ..told })
}

/// What a change of a server tells.
pub fn of_server(before: &Server, after: &Server) -> Vec<Notice> {
    let about = |event, text: String, detail: &str| Notice {
        text,
        detail: detail.to_owned(),
        ..Notice::about(event, &after.name)
    };
    let name = &after.name;
    let reach = match (before.reach, after.reach) {
        (old, new) if old == new => None,
        (_, Reach::Unreachable) => Some(about(
            NoticeEvent::ServerUnreachable,
            format!("{name} cannot be reached"),
            &after.reach_detail,
        )),
        (_, Reach::Refused) => {
            Some(about(NoticeEvent::ServerRefused, format!("{name} refuses settled"), &after.reach_detail))
        }
        (Reach::Unreachable | Reach::Refused, Reach::Ok) => {
            Some(about(NoticeEvent::ServerBack, format!("{name} can be worked on again"), ""))
        }
        _ => None,
    };
    let lane = match (&before.held, &after.held) {
        (None, Some(held)) => {
            let detail = match held.processes.join(", ") {
                none if none.is_empty() => format!("step {} is not proven to have ended", held.step),
                some => format!(
                    "step {} is not proven to have ended, and processes of it live: {some}",
                    held.step
                ),
            };
            let run = Some(held.step.run);
            let told = about(NoticeEvent::LaneHeld, format!("the lane of {name} is held"), &detail);
            Some(Notice { run, ..told })
        }
        (Some(_), None) => {
            Some(about(NoticeEvent::LaneFreed, format!("the lane of {name} is free again"), ""))
        }
        _ => None,
    };
    reach.into_iter().chain(lane).collect()
}

/// What a change of a resource tells. `before`: as far as it is known.
pub fn of_resource(before: Option<&Resource>, after: &Resource) -> Option<Notice> {
    let seen = after.observed.as_ref()?;
    let differed = before.and_then(|before| before.observed.as_ref()).is_some_and(|o| !o.differs.is_empty());
    let place = format!("{}/{}/{}", after.server_name, after.package, after.name);
    let (event, text) = match (differed, !seen.differs.is_empty()) {
        (false, true) => (NoticeEvent::ResourceDrifted, format!("{place} is not as it was applied")),
        (true, false) => (NoticeEvent::ResourceAgrees, format!("{place} is as it was applied again")),
        _ => return None,
    };
    let detail = seen.differs.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
    let (package, resource) = (Some(after.package.clone()), Some(after.name.clone()));
    Some(Notice { package, resource, text, detail, ..Notice::about(event, &after.server_name) })
}

/// What somebody wants to be told of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Which events.
    pub events: BTreeSet<NoticeEvent>,
    /// Only of servers with all of these labels.
    pub labels: BTreeMap<String, String>,
    /// Only of these packages; empty: of all, and of servers.
    pub packages: BTreeSet<String>,
}

impl Wanted {
    /// What is told when no event was named: what went wrong, as far as it can be of these packages.
    #[must_use]
    pub fn or_trouble(mut self) -> Self {
        if self.events.is_empty() {
            let of_servers = self.packages.is_empty();
            let trouble = NoticeEvent::TROUBLE.into_iter();
            self.events.extend(trouble.filter(|event| of_servers || !event.is_of_server()));
        }
        self
    }

    /// An event that can never be told, since nothing of servers is told beside packages.
    pub fn never_told(&self) -> Option<NoticeEvent> {
        let mut events = self.events.iter().copied();
        events.find(|event| !self.packages.is_empty() && event.is_of_server())
    }

    /// Whether this is told, where its server has these labels.
    pub fn fits(&self, notice: &Notice, labels: &BTreeMap<String, String>) -> bool {
        let of_package = |package: &String| self.packages.contains(package);
        self.events.contains(&notice.event)
            && self.labels.iter().all(|(key, value)| labels.get(key) == Some(value))
            && (self.packages.is_empty() || notice.package.as_ref().is_some_and(of_package))
    }
}

/// When a notice that was not taken is sent again, or that it is dead: after its time it was tried for the last time. `random` spreads what
/// has failed together; `asked`: how long whoever did not take it wants to be left alone.
pub fn again(
    made: Timestamp,
    attempt: u32,
    asked: Option<Duration>,
    now: Timestamp,
    random: u64,
) -> Option<Timestamp> {
    let last = made + SENT_FOR;
    let doubled = PAUSE_FIRST.saturating_mul(1 << attempt.saturating_sub(1).min(16)).min(PAUSE_MAX);
    let half = doubled / 2;
    let spread = half + half.mul_f64(f64::from(u32::try_from(random % 1_000).unwrap_or(0)) / 1_000.0);
    let pause = spread.max(asked.unwrap_or_default().min(PAUSE_MAX));
    (now < last).then(|| (now + pause).min(last))
}

/// Whether this is a mail address that needs no quoting: nothing in it can be taken for anything else.
pub fn is_address(text: &str) -> bool {
    let Some((local, domain)) = text.rsplit_once('@') else { return false };
    let in_local = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~.".contains(c);
    let in_domain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.');
    let part = |part: &str, fits: fn(char) -> bool| {
        !part.is_empty() && part.chars().all(fits) && part.split('.').all(|word| !word.is_empty())
    };
    text.len() <= ADDRESS_BYTES_MAX
        && part(local, in_local)
        && part(domain, in_domain)
        && !domain.starts_with('-')
}

#[cfg(test)]
mod tests;
