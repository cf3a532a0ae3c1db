//! What the commands of a batch will look at, so that it is loaded for all of them at once.
//!
//! A wish is only a hint: what a command did not name is loaded when it asks, and what it named and does not use is only read in vain.

use std::collections::BTreeSet;

use crate::domain::id::{ResourceId, RunId, ServerId};
use crate::domain::step::StepId;

/// A request id with those who use it: (principal, method, request id).
pub(super) type RequestKey = (String, String, String);

/// What is to be loaded.
#[derive(Debug, Default)]
pub struct Wants {
    pub(super) requests: BTreeSet<RequestKey>,
    pub(super) servers: BTreeSet<ServerId>,
    pub(super) server_names: BTreeSet<String>,
    pub(super) lanes: BTreeSet<ServerId>,
    pub(super) queues: BTreeSet<String>,
    pub(super) resources: BTreeSet<ResourceId>,
    pub(super) paths: BTreeSet<(String, String, String)>,
    pub(super) runs: BTreeSet<RunId>,
    pub(super) steps: BTreeSet<StepId>,
}

impl Wants {
    /// The answer kept for a request.
    pub fn request(&mut self, principal: &str, method: &str, id: &str) {
        self.requests.insert((principal.to_owned(), method.to_owned(), id.to_owned()));
    }

    /// A server by id or name, with the length of its queue.
    pub fn queue_of(&mut self, server: &str) {
        match server.parse() {
            Ok(id) => drop(self.servers.insert(id)),
            Err(_) => drop(self.server_names.insert(server.to_owned())),
        }
        self.queues.insert(server.to_owned());
    }

    /// A resource by id or SERVER/PACKAGE/NAME, with its server and the length of its queue.
    pub fn resource(&mut self, named: &str) {
        if let Ok(id) = named.parse() {
            self.resources.insert(id);
        } else if let [server, package, name] = named.split('/').collect::<Vec<_>>()[..] {
            self.path(server, package, name);
        }
    }

    /// The resource with this name, if there is one, with its server and the length of its queue.
    pub fn path(&mut self, server: &str, package: &str, name: &str) {
        self.queue_of(server);
        self.paths.insert((server.to_owned(), package.to_owned(), name.to_owned()));
    }

    /// The lane of a server.
    pub fn lane(&mut self, server: ServerId) {
        self.lanes.insert(server);
    }

    /// A resource.
    pub fn resource_id(&mut self, id: ResourceId) {
        self.resources.insert(id);
    }

    /// A run, with what it works on and the number of its last try.
    pub fn run(&mut self, id: RunId) {
        self.runs.insert(id);
    }

    /// A step.
    pub fn step(&mut self, id: StepId) {
        self.steps.insert(id);
    }
}
