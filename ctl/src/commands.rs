//! One function per command: ask the daemon, show the answer. It decides nothing that the daemon decides.

mod admin;
mod audit;
mod backup;
mod create;
mod enrollments;
mod lifecycles;
mod notifiers;
mod packages;
mod pages;
mod resources;
mod runs;
mod schedules;
mod secrets;
mod servers;
mod tokens;
mod wait;
mod watch;

use clap::CommandFactory as _;

use crate::args::{Cli, Command, IdentityCommand};
use crate::connect::{self, Client};
use crate::errors::{Error, Exit};
use crate::render::out::Out;

/// What every command has at hand.
pub(crate) struct Context {
    /// The daemon.
    pub(crate) client: Client,
    /// Stdout.
    pub(crate) out: Out,
}

/// Does what was typed.
pub(crate) async fn run(cli: Cli) -> Result<Exit, Error> {
    let out = Out::new(cli.global.output);
    if let Command::Completions { shell } = cli.command {
        return completions(shell, out);
    }
    // What can be seen to be wrong here is told before anyone is asked.
    let way = connect::find(cli.global.endpoint.as_deref(), cli.global.credentials.into())?;
    let open = async |group| Ok::<_, Error>(Context { client: Client::connect(&way, group).await?, out });
    match cli.command {
        Command::Install(args) => {
            let (parameters, secrets) = (args.values.parameters()?, args.values.secrets()?);
            resources::install(&open("install").await?, args, parameters, secrets).await
        }
        Command::Update(args) => {
            let (parameters, secrets) = (args.values.parameters()?, args.values.secrets()?);
            resources::update(&open("update").await?, args, parameters, secrets).await
        }
        Command::Remove(args) => {
            let parameters = args.given.parameters()?;
            resources::remove(&open("remove").await?, args, parameters).await
        }
        Command::Pause(args) => resources::pause(&open("pause").await?, args).await,
        Command::Resume(args) => resources::resume(&open("resume").await?, args).await,
        Command::Retry(args) => resources::retry(&open("retry").await?, args).await,
        Command::Probe(args) => resources::probe(&open("probe").await?, args).await,
        Command::Adopt(args) => {
            let (parameters, secrets) = (args.values.parameters()?, args.values.secrets()?);
            resources::adopt(&open("adopt").await?, args, parameters, secrets).await
        }
        Command::Do(args) => {
            let parameters = args.given.parameters()?;
            resources::own(&open("do").await?, args, parameters).await
        }
        Command::Server(command) => servers::run(async || open("server").await, command).await,
        Command::Package(command) => packages::run(async || open("package").await, out, command).await,
        Command::Resource(command) => resources::look(&open("resource").await?, command).await,
        Command::Schedule(command) => schedules::run(async || open("schedule").await, *command).await,
        Command::Run(command) => runs::run(&open("run").await?, command).await,
        Command::Lifecycle(command) => lifecycles::run(async || open("lifecycle").await, command).await,
        Command::Enroll(args) => {
            let payload = crate::args::values::payload(&args.payload)?;
            enrollments::enroll(&open("enroll").await?, args, payload).await
        }
        Command::Enrollment(command) => enrollments::run(async || open("enrollment").await, command).await,
        Command::Watch(args) => watch::watch(&open("watch").await?, args).await,
        Command::Status { check } => admin::status(&open("status").await?, check).await,
        Command::Whoami => admin::whoami(&open("whoami").await?).await,
        Command::Token(command) => tokens::run(&open("token").await?, command).await,
        Command::Notifier(command) => notifiers::run(&open("notifier").await?, *command).await,
        Command::Identity(IdentityCommand::Show) => secrets::identity(&open("identity").await?).await,
        Command::Secrets(command) => secrets::run(&open("secrets").await?, command).await,
        Command::Drain(args) => admin::drain(&open("drain").await?, &args).await,
        Command::Reconcile(change) => admin::reconcile(&open("reconcile").await?, &change).await,
        Command::Backup(args) => {
            let target = backup::Target::open(&args)?;
            backup::run(&open("backup").await?, &args, target).await
        }
        Command::Audit(args) => audit::run(&open("audit").await?, args).await,
        Command::Completions { shell } => completions(shell, out),
    }
}

fn completions(shell: clap_complete::Shell, out: Out) -> Result<Exit, Error> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "settlectl", &mut script);
    out.line(String::from_utf8_lossy(&script).trim_end())?;
    Ok(Exit::Done)
}
