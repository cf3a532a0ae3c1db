//! The daemon's parts as the composition root wires them, on scripted servers that answer at once.

use std::collections::BTreeMap;
use std::sync::Arc;

use settled::catalog::Catalog;
use settled::clock::{Clock, SystemClock};
use settled::dispatch::Crew;
use settled::domain::id::DaemonId;
use settled::domain::turn::Turn;
use settled::engine::{AddServer, Asked, EditPolicy, Engine, Install, Lease, Login, Sealing};
use settled::hub::Hub;
use settled::secrets::MasterKey;
use settled::store::{self, Opened};
use settled_tests::scripted::{Patience, Scripted};
use settled_tests::sim::{catalog, knobs};
use tokio::sync::Semaphore;

/// A daemon without its drivers.
pub(crate) struct House {
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) engine: Engine,
    pub(crate) crew: Crew,
}

impl House {
    pub(crate) async fn open(url: &str) -> anyhow::Result<Self> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let knobs = knobs();
        let Opened { store, writer } = store::open(url, None, Arc::clone(&clock)).await?;
        let hub = Hub::new(&writer);
        let installation = store.about().installation;
        let catalog: Catalog = catalog()?;
        let keys = MasterKey::new([7; 32].into()).into();
        let sealing = Sealing::open(&store, &writer, keys, &clock).await?;
        let me = DaemonId(clock.ulid());
        let engine = Engine::new(store, writer, hub, catalog, sealing, Arc::clone(&clock), me, knobs.engine);
        // Longer than any measurement, so that nobody needs to renew it.
        let lease = Lease::new(std::time::Duration::from_secs(86_400), Arc::clone(&clock));
        engine.renew_lease(&lease, true).await?;
        engine.keep_packages(engine.catalog()).await?;
        let crew = Crew {
            engine: engine.clone(),
            remote: Arc::new(Scripted::new(Arc::clone(&clock), Patience::Waits)),
            lease,
            installation,
            gate: settled::auth::Gate::new(0, settled::auth::Grants::default(), Arc::clone(&clock)),
            permits: Arc::new(Semaphore::new(knobs.at_work_max)),
            settings: knobs.dispatch,
            drain: settled::dispatch::Drain::default(),
        };
        Ok(Self { clock, engine, crew })
    }

    pub(crate) fn asked(&self, method: &'static str) -> Asked {
        let request_id = self.clock.ulid().to_string();
        let (principal, digest) = ("unix:0".to_owned(), "digest".to_owned());
        let (peer, verb) = ("bench".to_owned(), settled::auth::Verb::Operate);
        Asked { principal, method, request_id, digest, peer, verb }
    }

    pub(crate) async fn add_server(&self, name: String) -> anyhow::Result<()> {
        let ask = AddServer {
            host: name.clone(),
            name,
            port: 22,
            user: String::new(),
            host_key: String::new(),
            login: Login::Agent,
            labels: BTreeMap::new(),
            via: String::new(),
            policy: EditPolicy::default(),
        };
        self.engine.add_server(self.asked("Servers.Create"), ask).await?;
        Ok(())
    }

    pub(crate) async fn install(&self, server: String, name: String) -> anyhow::Result<()> {
        let ask = Install {
            server,
            package: "task".to_owned(),
            name,
            parameters: BTreeMap::new(),
            secrets: BTreeMap::new(),
            turn: Turn::default(),
            with_requirements: false,
        };
        self.engine.install(self.asked("Resources.Install"), ask).await?;
        Ok(())
    }
}
