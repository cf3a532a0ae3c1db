//! `settlectl`, the command line of settled: a client of the gRPC contract and nothing more. It knows no store, no
//! domain and no server; what it says about a run is what the daemon said about it.

mod args;
mod clock;
mod commands;
mod connect;
mod errors;
mod follow;
mod patience;
mod render;

use std::process::ExitCode;

use crate::errors::{Error, Exit};
use crate::render::out::remark;

fn main() -> ExitCode {
    let cli = args::Cli::typed(std::env::args_os()).unwrap_or_else(|error| error.exit());
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return end(&Error::output(&error)),
    };
    match runtime.block_on(commands::run(cli)) {
        Ok(exit) => exit.into(),
        Err(error) => end(&error),
    }
}

/// Tells an error, headline first, and gives its exit code.
fn end(error: &Error) -> ExitCode {
    if let Some((headline, details)) = error.lines.split_first() {
        let name = if error.exit == Exit::Interrupted { "" } else { "settlectl: " };
        remark(&format!("{name}{headline}"));
        for line in details {
            remark(&format!("  {line}"));
        }
    }
    error.exit.into()
}
