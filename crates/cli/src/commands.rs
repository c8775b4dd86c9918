//! One file per command.

pub(crate) mod claims;
pub(crate) mod completions;
pub(crate) mod config;
mod confirm;
pub(crate) mod dead_letters;
pub(crate) mod demo;
pub(crate) mod doctor;
pub(crate) mod events;
pub(crate) mod locks;
pub(crate) mod memories;
pub(crate) mod migrate;
mod page;
pub(crate) mod recall;
pub(crate) mod receipt;
pub(crate) mod reembed;
pub(crate) mod remember;
mod show;
pub(crate) mod threads;
pub(crate) mod turns;
pub(crate) mod upkeep;
pub(crate) mod workflows;

use crate::args::{Cli, Command};
use crate::context::Context;
use crate::failure::Failure;
use crate::output::Output;

/// What a command ends with.
pub(crate) type Done = Result<(), Failure>;

/// Runs the command asked for.
pub(crate) async fn run(cli: Cli, output: &Output) -> Done {
    if let Command::Completions(command) = &cli.command {
        // Needs neither a database nor a configuration that is right.
        return command.run(output);
    }
    let context = Context::new(cli.global, output)?;
    match cli.command {
        Command::Remember(command) => command.run(&context).await,
        Command::Recall(command) => command.run(&context).await,
        Command::Memories(command) => command.run(&context).await,
        Command::Claims(command) => command.run(&context).await,
        Command::Turns(command) => command.run(&context).await,
        Command::Threads(command) => command.run(&context).await,
        Command::Events(command) => command.run(&context).await,
        Command::Workflows(command) => command.run(&context).await,
        Command::DeadLetters(command) => command.run(&context).await,
        Command::Locks(command) => command.run(&context).await,
        Command::Receipt(command) => command.run(&context).await,
        Command::Migrate(command) => command.run(&context).await,
        Command::Upkeep(command) => command.run(&context).await,
        Command::Reembed(command) => command.run(&context).await,
        Command::Doctor(command) => command.run(&context).await,
        Command::Config(command) => command.run(&context),
        Command::Demo(command) => command.run(context).await,
        Command::Completions(_) => unreachable!("answered above"),
    }
}
