//! The composition root: opens, wires, starts in order, drains in reverse. The only file that knows everyone.

mod collector;
mod drain;
mod duties;
mod fit;
mod health;
mod keys;
mod living;
mod metrics;
mod outward;
mod reload;
mod steward;
mod tls;

use std::fs::File;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::auth::{Gate, Grants, Role, Scope};
use crate::catalog::Catalog;
use crate::clock::{Clock, SystemClock};
use crate::config::{self, Config, Grantee};
use crate::dispatch::{self, Crew};
use crate::domain::freshness::Thresholds;
use crate::domain::id::DaemonId;
use crate::domain::timings::Timings;
use crate::engine::{self, Engine, Lease};
use crate::grpc::{self, GrpcParts};
use crate::hub::Hub;
use crate::lifecycles::{self, Keeper};
use crate::process::{Part, Process, Systemd};
use crate::reconciler::Reconciler;
use crate::remote::Remote;
use crate::remote::ssh::{SshExec, SshSettings};
use crate::remote::step::Steps;
use crate::scheduler;
use crate::store::{self, Opened, StoreError};

/// How much more time the start asks for, again and again, while the store is brought up to date.
const MORE_TIME: Duration = Duration::from_secs(60);
/// How long a lane without work is kept, and its epoch with it.
const LANE_LINGER: Duration = Duration::from_secs(30);
/// How long one look at a running step waits for news.
const ATTACH_WAIT: Duration = Duration::from_secs(20);
/// How long lanes get to leave at a stop.
const LEAVE_WITHIN: Duration = Duration::from_secs(1);

pub use reload::{Anew, ReadAgain, SetLevel};

use drain::Drains;
use health::Ground;
use keys::KeyFiles;
use living::Living;
use reload::Reloading;
use steward::{Now, Servant};
use tls::Certificates;

/// What a test may bring in place of the real thing.
pub struct Parts {
    /// The only "now".
    pub clock: Arc<dyn Clock>,
    /// What touches servers.
    pub remote: Arc<dyn Remote>,
    /// How a reload reads the configuration.
    pub anew: Anew,
}

/// Serves until it is asked to stop. Remote steps are left running for the next start.
pub fn run(config: Config, process: Process, anew: Anew) -> BoxFuture<'static, anyhow::Result<()>> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let remote = ssh_remote(&config, Arc::clone(&clock));
    run_with(config, process, Parts { clock, remote, anew })
}

/// Like [`run`], with these parts. Boxed, so that the daemon is compiled once, here, and not again in each program that runs it.
pub fn run_with(config: Config, process: Process, parts: Parts) -> BoxFuture<'static, anyhow::Result<()>> {
    serve(config, process, parts).boxed()
}

async fn serve(config: Config, process: Process, parts: Parts) -> anyhow::Result<()> {
    let Parts { clock, remote, anew } = parts;
    make_private_dir(&config.data_dir)?;
    let listener = grpc::bind(&config.listen.unix, config.listen.unix_group.as_deref()).await?;
    let certificate_files = tls::stamp(&config.listen);
    let network = tls::listen(&config).await?;
    let figures_at = metrics::listen(config.listen.metrics).await?;
    let house =
        with_more_time(&process.systemd, &*clock, open(&config, &process, Arc::clone(&clock), remote))
            .await?;
    // Ends the parts: at once when a stop detaches, and when nothing is at work any more when it drains.
    let stop = CancellationToken::new();
    let drains = Arc::new(Drains::new(house.engine.clone(), house.crew.drain.clone(), &process));

    let living = Arc::new(Living::new(config.clone()));
    let certificates = Certificates::watched(network.as_ref(), certificate_files, (&living, &clock), &stop);
    let look_every = duties::look_every(&config);
    let reconciler = Reconciler::new(house.engine.clone(), house.crew.lease.clone(), duties::LOOK_EVERY_MAX);
    let reconciler = Arc::new(Now::new(reconciler, Arc::clone(&clock)));
    let key_files = Arc::new(KeyFiles::of(&house.engine, &living, &process));
    let (traces, telling) = collector::traces(&config, &house, &clock, &stop);
    let servant = Servant {
        reconciler: Arc::clone(&reconciler),
        living: Arc::clone(&living),
        drains: Arc::clone(&drains),
        hearts: process.hearts.clone(),
        patience: process.patience(),
        certificates: certificates.clone(),
        key_files: Arc::clone(&key_files),
        ground: Ground::of(&house, &traces),
    };
    let (started_at, calls) = (clock.now(), Arc::<grpc::Calls>::default());
    let parts = GrpcParts {
        engine: house.engine.clone(),
        gate: house.crew.gate.clone(),
        stop: stop.clone(),
        started_at,
        steward: Arc::new(servant),
        limits: limits(&config),
        leaving: drains.leaving(),
        calls: Arc::clone(&calls),
        traces: traces.clone(),
    };
    let serving = tokio::spawn(grpc::serve(listener, network, parts));
    let working =
        tokio::spawn(dispatch::run(house.crew.clone(), alive(&process, Part::Dispatcher), stop.clone()));
    let (webhooks, notices) = outward::senders(&house, &config, &clock);
    let notifying = tokio::spawn(notices.run(alive(&process, Part::Notices), stop.clone()));
    let calling = tokio::spawn(webhooks.run(alive(&process, Part::Webhooks), stop.clone()));
    let keeping =
        tokio::spawn(lifecycles::run(keeper(&house), alive(&process, Part::Lifecycles), stop.clone()));
    if let Some(listener) = figures_at {
        let figures = metrics::Sources::of(&house, &reconciler, calls, traces, started_at);
        tokio::spawn(metrics::serve(figures, listener, stop.clone()));
    }
    let renewing =
        duties::renew(config.lane.renew(), &house, &process.hearts, Arc::clone(&clock), stop.clone());
    let renewing = tokio::spawn(renewing);
    let duties = duties::duties(&house, look_every, reconciler, Arc::clone(&living), key_files);
    let ticking = scheduler::run(duties, Arc::clone(&clock), alive(&process, Part::Reconciler), stop.clone());
    let ticking = tokio::spawn(ticking);
    tokio::spawn(Arc::clone(&drains).tell(stop.clone()));
    tokio::spawn(Arc::clone(&drains).send_callers_away(stop.clone()));
    let at_stop = Arc::clone(&living);
    let reloading =
        Reloading { anew, living, crew: house.crew.clone(), drains: Arc::clone(&drains), certificates };
    tokio::spawn(reloading.serve(process.clone(), stop.clone()));

    // What ended meanwhile is told below; a stop while nobody was served yet is a stop like any other.
    let asked = process.stop.soft_token();
    if let Some(served) = asked.run_until_cancelled(grpc::answers(&config.listen.unix, &*clock)).await {
        served?;
    }
    tell_ready(&config.listen.unix, house.engine.store().about());
    if !asked.is_cancelled() {
        process.systemd.ready(&drains.status());
    }
    let over = async {
        tokio::select! {
            () = asked.cancelled() => {}
            why = house.over => return Err(why),
        }
        let run = &at_stop.config().run;
        if run.drain == config::Drain::Finish {
            drains.finish(run.drain_grace()).await;
        }
        process.systemd.stopping("leaving remote steps running for the next start");
        Ok(())
    };
    let parts = [
        (working, "the dispatcher"),
        (renewing, "the renewal of the lease"),
        (keeping, "what moves enrollments on"),
        (calling, "what sends webhooks"),
        (notifying, "what sends notices"),
        (telling, "what sends traces"),
    ];
    let outcome = first_to_end(over, &stop, serving, parts, ticking, &*clock).await;
    detach(&house.engine, &*clock).await;
    outcome
}

/// Whoever reads the log sees who serves, where, and with what.
fn tell_ready(socket: &Path, about: &store::About) {
    let store::About { engine, installation, .. } = about;
    tracing::info!(socket = %socket.display(), database = engine, %installation, "ready");
}

/// The roles that the configuration gives.
fn grants(access: &config::Access) -> Grants {
    let mut grants = Grants::default();
    let config::Access { viewers, operators, admins, scoped } = access;
    let mut give = |who: &Grantee, role, scope| match who {
        Grantee::User(uid) => grants.user_on(*uid, role, scope),
        Grantee::Group(gid) => grants.group_on(*gid, role, scope),
        Grantee::Certificate(name) => grants.certificate_on(name, role, scope),
    };
    for (list, role) in [(viewers, Role::Viewer), (operators, Role::Operator), (admins, Role::Admin)] {
        for who in list {
            give(who, role, Scope::Whole);
        }
    }
    for config::Scoped { who, role, servers } in scoped {
        let role = match role {
            config::ScopedRole::Viewer => Role::Viewer,
            config::ScopedRole::Operator => Role::Operator,
        };
        give(who, role, Scope::Of(servers.iter().map(|picked| picked.0.clone()).collect()));
    }
    grants
}

/// What moves enrollments on.
fn keeper(house: &House) -> Keeper {
    let drain = house.crew.drain.clone();
    let (engine, lease) = (house.engine.clone(), house.crew.lease.clone());
    Keeper::new(engine, lease, house.crew.settings.shared, move || drain.is_on())
}

/// What a part calls to say by when it is heard of again.
fn alive(process: &Process, part: Part) -> impl Fn(Duration) + Send + Sync + use<> {
    let hearts = process.hearts.clone();
    move |until| hearts.alive(part, until)
}

/// Opens what takes its time, a migration for instance, and asks systemd for more of it as long as that goes on.
async fn with_more_time<T>(systemd: &Systemd, clock: &dyn Clock, opening: impl Future<Output = T>) -> T {
    let mut opening = pin!(opening);
    loop {
        systemd.extend_timeout(MORE_TIME);
        tokio::select! {
            opened = &mut opening => return opened,
            () = clock.sleep_until(clock.monotonic() + MORE_TIME / 3) => {}
        }
    }
}

/// Gives the lanes back, so that whoever comes next need not wait. A store that does not answer costs no more than a moment.
async fn detach(engine: &Engine, clock: &dyn Clock) {
    tokio::select! {
        freed = engine.detach() => match freed {
            Ok(lanes) => tracing::info!(lanes, "stopped; what runs on servers goes on there"),
            Err(error) => tracing::warn!(%error, "the lanes could not be given back; the next start takes them all the same"),
        },
        () = clock.sleep_until(clock.monotonic() + LEAVE_WITHIN) => {
            tracing::warn!("the store does not answer; the next start takes the lanes all the same");
        }
    }
}

/// Checks what only the parts themselves can check: the packages, whom webhooks trust, what callers from the network are shown, and the
/// master key. Which keys the secrets of the store need shows only when it is opened.
pub fn check(config: &Config, process: &Process) -> anyhow::Result<()> {
    outward::check(config)?;
    tls::check(config)?;
    keys::read(config, process)?;
    load_catalog(config).map(drop)
}

/// Looks whether a backup is sound and its master key is here, and tells what it is of.
pub async fn check_backup(config: &Config, file: &Path) -> anyhow::Result<String> {
    let about = || format!("{}", file.display());
    let found = store::backup::check(file).await.with_context(about)?;
    keys::are_here(config, &Process::from_env(), &found.keys).with_context(about)?;
    let store::backup::Found { installation, generation, seq, .. } = found;
    Ok(format!(
        "{} is sound, and its master key is here: installation {installation}, generation {generation}, up to transition {seq}",
        file.display()
    ))
}

/// What is open while the daemon runs.
struct House {
    engine: Engine,
    crew: Crew,
    /// Ends when nothing can be written any more, and says why.
    over: BoxFuture<'static, StoreError>,
    /// Held for as long as the daemon runs: with SQLite, whoever holds it owns all lanes.
    _lock: Option<File>,
}

async fn open(
    config: &Config,
    process: &Process,
    clock: Arc<dyn Clock>,
    remote: Arc<dyn Remote>,
) -> anyhow::Result<House> {
    outward::check(config)?;
    let alone = store::sqlite_path(&config.database.url).is_some();
    let lock = if alone { Some(lock(&config.data_dir)?) } else { None };
    let catalog = load_catalog(config)?;
    let keys = keys::read(config, process)?;
    let opened = store::open(&config.database.url, Some(&config.data_dir), Arc::clone(&clock)).await?;
    let sealing = keys::open(keys, &opened, config, &clock).await?;
    let Opened { store, writer } = opened;
    let hub = Hub::new(&writer);
    let over = writer.over().boxed();
    let me = DaemonId(clock.ulid());
    let installation = store.about().installation;
    let engine =
        Engine::new(store, writer, hub, catalog, sealing, Arc::clone(&clock), me, engine_settings(config));
    let lease = Lease::new(config.lane.lease(), Arc::clone(&clock));
    engine.renew_lease(&lease, true).await.map_err(|refusal| keys::missing(refusal, config))?;
    engine
        .keep_packages(engine.catalog())
        .await
        .context("the store does not take the package definitions")?;
    let freed =
        engine.release_dead(alone).await.context("the lanes of an earlier daemon could not be freed")?;
    if !freed.is_empty() {
        tracing::info!(lanes = freed.len(), "took over from an earlier daemon");
    }
    let crew = Crew {
        engine: engine.clone(),
        remote,
        lease,
        installation,
        gate: Gate::new(rustix::process::geteuid().as_raw(), grants(&config.access), Arc::clone(&clock))
            .with_tokens(Arc::new(engine.clone())),
        permits: Arc::new(Semaphore::new(config.lane.at_work_max as usize)),
        settings: dispatch::Settings {
            unreachable_retry: config.lane.unreachable_retry(),
            orphan_alarm: config.lane.orphan_alarm(),
            poll: config.lane.poll(),
            linger: LANE_LINGER,
            attach_wait: if alone { ATTACH_WAIT } else { config.lane.poll() },
            shared: !alone,
        },
        drain: dispatch::Drain::default(),
    };
    Ok(House { engine, crew, over, _lock: lock })
}

/// What callers of the API may take.
fn limits(config: &Config) -> grpc::Limits {
    let (limits, bytes) = (&config.limits, |bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
    grpc::Limits {
        places: grpc::Places {
            all: limits.connections_max as usize,
            per_one: limits.connections_per_user_max as usize,
        },
        network_places: grpc::Places {
            all: limits.network_connections_max as usize,
            per_one: limits.connections_per_address_max as usize,
        },
        patience: grpc::Patience {
            handshake: limits.handshake(),
            first_request: limits.first_request(),
            idle: limits.idle(),
        },
        body: limits.body(),
        portions: grpc::Portions {
            requests_per_s: limits.requests_per_s,
            requests_burst: limits.requests_burst,
            open: limits.streams_per_principal_max as usize,
            body_bytes: bytes(limits.body_bytes_per_principal_max),
            body_bytes_of_all: bytes(limits.body_bytes_max),
        },
    }
}

fn engine_settings(config: &Config) -> engine::Settings {
    engine::Settings {
        timings: Timings {
            queue_limit: config.run.queue_limit(),
            backoff_first: config.run.backoff_first(),
            backoff_max: Duration::from_secs(crate::config::BACKOFF_MAX_S),
            kill_grace: config.run.kill_grace(),
            settle_margin: config.run.settle_margin(),
            busy_retry: config.lane.busy_retry(),
        },
        attempts_max: config.run.attempts,
        queue_max: i64::from(config.lane.queue_max),
        stale: thresholds(config),
        queue_limit_least: config.queue_limit_least(),
        takeover: config.takeover(),
        output_bytes_max: config.run.output_bytes_max,
    }
}

fn thresholds(config: &Config) -> Thresholds {
    Thresholds { queued: config.stale.queued(), running: config.stale.running() }
}

/// Real servers, over SSH.
pub fn ssh_remote(config: &Config, clock: Arc<dyn Clock>) -> Arc<dyn Remote> {
    let settings = SshSettings {
        connect_timeout: config.ssh.connect_timeout(),
        keepalive: config.ssh.keepalive(),
        keepalive_max: config.ssh.keepalive_max as usize,
        agent: config.ssh.agent.clone(),
        connects_max: config.lane.connects_max as usize,
    };
    Arc::new(Steps::new(SshExec::new(settings, Arc::clone(&clock)), clock))
}

/// The data directory is the daemon's alone.
fn make_private_dir(dir: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .with_context(|| format!("the data directory {} cannot be made", dir.display()))
}

fn lock(dir: &Path) -> anyhow::Result<File> {
    let path = dir.join("lock");
    let file = File::options().create(true).truncate(false).write(true).open(&path);
    let file = file.with_context(|| format!("the lock {} cannot be opened", path.display()))?;
    if file.try_lock().is_err() {
        bail!(
            "another settled is using {}: stop it first, or give this one another data_dir (several daemons share PostgreSQL, not SQLite)",
            dir.display()
        );
    }
    Ok(file)
}

fn load_catalog(config: &Config) -> anyhow::Result<Catalog> {
    fit::read_catalog(config).map_err(|problems| {
        let lines: Vec<_> = problems.iter().map(ToString::to_string).collect();
        anyhow::anyhow!("package definitions are not in order:\n{}", lines.join("\n"))
    })
}

/// Waits until the daemon's time is `over`, or for a part that ends without being asked to, which ends the daemon: systemd starts it anew.
/// Then `stop` ends all of them.
async fn first_to_end(
    over: impl Future<Output = Result<(), StoreError>>,
    stop: &CancellationToken,
    mut serving: JoinHandle<Result<(), grpc::ServeError>>,
    mut parts: [(JoinHandle<()>, &'static str); 6],
    mut ticking: JoinHandle<Result<(), tokio_cron_scheduler::JobSchedulerError>>,
    clock: &dyn Clock,
) -> anyhow::Result<()> {
    let _ends_all = stop.clone().drop_guard();
    tokio::select! {
        over = over => over?,
        ended = &mut serving => { ended.context("the API broke")?.context("the API broke")?; bail!("the API ended by itself") }
        (ended, name) = first_of(&mut parts) => { ended.with_context(|| format!("{name} broke"))?; bail!("{name} ended by itself") }
        ended = &mut ticking => { ended.context("the tick broke")?.context("the tick broke")?; bail!("the tick ended by itself") }
    }
    stop.cancel();
    let until = clock.monotonic() + LEAVE_WITHIN;
    let mut late = vec![serving.abort_handle(), ticking.abort_handle()];
    late.extend(parts.iter().map(|(part, _)| part.abort_handle()));
    let parts = futures::future::join_all(parts.into_iter().map(|(part, _)| part));
    let all = async { tokio::join!(serving, ticking, parts) };
    tokio::select! {
        _ = all => {}
        () = clock.sleep_until(until) => {
            tracing::warn!("not everything ended in time; it is dropped");
            late.iter().for_each(tokio::task::AbortHandle::abort);
        }
    }
    Ok(())
}

/// The first of these parts to end, and its name.
async fn first_of(
    parts: &mut [(JoinHandle<()>, &'static str)],
) -> (Result<(), tokio::task::JoinError>, &'static str) {
    let waiting = parts.iter_mut().map(|(part, name)| async move { (part.await, *name) }.boxed());
    futures::future::select_all(waiting).await.0
}
