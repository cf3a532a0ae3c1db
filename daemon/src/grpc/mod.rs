//! The API: takes a request apart, asks the engine or the store one thing, and puts the answer together.
//!
//! Thin on purpose. It decides nothing about objects, writes nothing, and knows nothing of lanes or servers: those live behind the
//! engine. What it does decide is the contract's outside: the form of requests, page tokens, codes of refusals, and who gets in.

mod admin;
mod around;
mod asked;
mod audit;
mod backup;
mod check;
mod convert;
mod counted;
mod deadline;
mod door;
mod enrollments;
mod guard;
mod kept;
mod lifecycles;
mod methods;
mod notifiers;
mod packages;
mod pages;
mod pieces;
mod places;
mod reason;
mod refusals;
mod resources;
mod runs;
mod schedules;
mod serve;
mod servers;
mod shape;
mod shares;
mod sight;
mod status;
mod stream;
mod tokens;
mod traced;
mod transitions;
mod web;
mod wire;
mod work;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::Status;

pub use counted::Calls;
pub use door::{BindError, Credentials, Network, Patience, Places, Tls, TlsError, TlsFiles, bind};
pub use reason::{DOMAIN, Detail, Entry, Reason};
pub use serve::{NotServing, ServeError, answers, serve};
pub use shares::Portions;
pub use web::Origins;

use crate::auth::Gate;
use crate::catalog::{Catalog, FileProblem, Problem};
use crate::domain::time::Timestamp;
use crate::engine::reconcile::Report;
use crate::engine::{Cleaning, DrainOrder, Engine, Refusal};
use crate::traces::Traces;

/// What the API needs of the rest of the daemon.
pub struct GrpcParts {
    /// Commands and queries.
    pub engine: Engine,
    /// Who gets in.
    pub gate: Gate,
    /// Ends the streams and the serving.
    pub stop: CancellationToken,
    /// When this daemon started.
    pub started_at: Timestamp,
    /// What only the whole house can do.
    pub steward: Arc<dyn Steward>,
    /// What callers may take of the daemon.
    pub limits: Limits,
    /// Whether callers do better elsewhere.
    pub leaving: watch::Receiver<Leaving>,
    /// What is counted of calls.
    pub calls: Arc<Calls>,
    /// Where calls that ask for runs are told.
    pub traces: Traces,
}

/// Whether this daemon goes away, so that its callers do better elsewhere.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Leaving {
    /// It stays, or has nobody who would serve in its place.
    #[default]
    No,
    /// It stops, and is the only one: there is nowhere to go until it is back.
    Alone,
    /// It drains or stops, and another daemon serves: streams end, so that whoever reads them goes there.
    ToOthers,
}

/// What callers may take of the daemon.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// How many may be connected at once through the socket.
    pub places: door::Places,
    /// How many from the network.
    pub network_places: door::Places,
    /// How long a connection may be silent.
    pub patience: door::Patience,
    /// How long the message of a request may take to arrive.
    pub body: Duration,
    /// What one principal may take.
    pub portions: Portions,
}

/// What only the whole house can do, beside commands and queries.
#[async_trait]
pub trait Steward: Send + Sync {
    /// Makes the reconciler look now: it settles what is overdue, and tells what it found.
    async fn reconcile(&self) -> Result<Report, Refusal>;

    /// Reads the package definitions from where the configuration says.
    fn read_packages(&self) -> Result<Catalog, Vec<FileProblem>>;

    /// What is wrong with the text of a definition: in itself, for the timings of the configuration, and in what it requires beside
    /// these other texts and what is loaded.
    fn check_package(&self, source: &str, others: &[String], loaded: &Catalog) -> Vec<Problem>;

    /// Begins nothing new from here on, or serves again.
    fn drain(&self, order: DrainOrder, who: &str);

    /// How it drains; nothing while it serves.
    fn draining(&self) -> Option<Draining>;

    /// Until when enrollments and their log are kept.
    fn cleaning(&self) -> Cleaning;

    /// Whether there is a mail server.
    fn can_mail(&self) -> bool;

    /// What is not well with the daemon itself, each with what to do.
    fn warnings(&self) -> Vec<String>;
}

/// A daemon that begins nothing new.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draining {
    /// Since when.
    pub since: Timestamp,
    /// Who ordered it.
    pub who: String,
    /// When what is left is left running, if it does not wait for as long as it takes.
    pub until: Option<Timestamp>,
}

/// All services over the same parts. Cheap to clone.
#[derive(Clone)]
struct Api {
    parts: Arc<GrpcParts>,
    /// What goes on to its end when nobody waits for it any more.
    errands: TaskTracker,
}

impl Api {
    fn engine(&self) -> &Engine {
        &self.parts.engine
    }

    /// The status of a refusal.
    fn refuse(&self, refusal: impl Into<Refusal>) -> Status {
        status::refused(refusal.into(), self.engine())
    }
}
