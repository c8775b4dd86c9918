#![expect(clippy::doc_markdown, reason = "the text of the help, where backticks would show")]
//! Commands and flags; everything about one command stands in its file under `commands`.

use std::path::PathBuf;

use clap::{ArgAction, Args, Parser, Subcommand};

use crate::commands::{
    claims, completions, config, dead_letters, demo, doctor, events, locks, memories, migrate,
    recall, receipt, reembed, remember, threads, turns, upkeep, workflows,
};
use crate::exit;

/// One durable engine for everything an AI agent must not lose.
#[derive(Parser)]
#[command(name = "mnemon", version, after_help = exit::HELP, max_term_width = 100)]
#[command(propagate_version = true, disable_help_subcommand = false)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Flags of every command.
#[derive(Args)]
pub(crate) struct Global {
    /// The database: sqlite://PATH, sqlite::memory:, postgres://…, or libpq's host=… dbname=…
    /// [env: MNEMON_URL] [default: one file in the platform's data folder]
    #[arg(long, global = true, value_name = "URL", help_heading = "Database")]
    pub(crate) db: Option<String>,
    /// The configuration file [env: MNEMON_CONFIG] [default: ./mnemon.toml, then the platform's]
    #[arg(long, global = true, value_name = "FILE", help_heading = "Database")]
    pub(crate) config: Option<PathBuf>,
    // Not a doc comment: rustdoc reads `[@…]` as a link.
    #[arg(help = "What turns text into vectors: lexical, local:DIR, openai:MODEL[@BASE_URL] \
        [env: MNEMON_EMBEDDER_MODEL] [default: lexical]")]
    #[arg(long, global = true, value_name = "MODEL", help_heading = "Database")]
    pub(crate) model: Option<String>,
    #[command(flatten)]
    pub(crate) scope: ScopeArgs,
    /// Print results and errors as one JSON value on stdout
    #[arg(long, global = true, help_heading = "Output")]
    pub(crate) json: bool,
    /// No notices and no progress
    #[arg(long, short, global = true, help_heading = "Output")]
    pub(crate) quiet: bool,
    /// Log what happens to stderr; twice for details
    #[arg(long, short, global = true, action = ArgAction::Count, help_heading = "Output")]
    pub(crate) verbose: u8,
}

/// Who is asking.
#[derive(Args)]
pub(crate) struct ScopeArgs {
    /// Whose installation [default: local, when embedded]
    #[arg(long, global = true, env = "MNEMON_TENANT", hide_env_values = true)]
    #[arg(value_name = "NAME", help_heading = "Who is asking")]
    pub(crate) tenant: Option<String>,
    /// The person
    #[arg(long, global = true, env = "MNEMON_USER", hide_env_values = true)]
    #[arg(value_name = "NAME", help_heading = "Who is asking")]
    pub(crate) user: Option<String>,
    /// The agent that acts
    #[arg(long, global = true, env = "MNEMON_AGENT", hide_env_values = true)]
    #[arg(value_name = "NAME", help_heading = "Who is asking")]
    pub(crate) agent: Option<String>,
    /// The conversation
    #[arg(long, global = true, env = "MNEMON_SESSION", hide_env_values = true)]
    #[arg(value_name = "NAME", help_heading = "Who is asking")]
    pub(crate) session: Option<String>,
    /// The run
    #[arg(long, global = true, env = "MNEMON_RUN", hide_env_values = true)]
    #[arg(value_name = "NAME", help_heading = "Who is asking")]
    pub(crate) run: Option<String>,
    /// A group the caller belongs to; may be given several times
    #[arg(long, global = true, env = "MNEMON_GROUPS", hide_env_values = true)]
    #[arg(value_name = "NAME", value_delimiter = ',', help_heading = "Who is asking")]
    pub(crate) group: Vec<String>,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// See what it does: a story with a real crash in it, or conversations of yours
    Demo(demo::Demo),
    /// Write a memory, or many from a file
    Remember(Box<remember::Remember>),
    /// Find memories by words, and by meaning once a model is set
    Recall(recall::RecallArgs),
    /// Read, list and delete memories
    #[command(subcommand)]
    Memories(memories::Memories),
    /// Say that something is so, and ask what is believed
    #[command(subcommand)]
    Claims(claims::Claims),
    /// What was said in a session, what a model is given of it, copies of it
    #[command(subcommand)]
    Turns(turns::Turns),
    /// Look at threads: their state, their history, what may go
    #[command(subcommand)]
    Threads(threads::Threads),
    /// Read what happened
    #[command(subcommand)]
    Events(events::Events),
    /// Look at workflow runs and keep what they follow
    #[command(subcommand)]
    Workflows(workflows::Workflows),
    /// Look at what failed, retry and prune it
    #[command(subcommand)]
    DeadLetters(dead_letters::DeadLetters),
    /// Look at who holds what
    #[command(subcommand)]
    Locks(locks::Locks),
    /// Whether a step happened, and what it did
    Receipt(receipt::ReceiptArgs),
    /// Look at the schema and change it
    #[command(subcommand)]
    Migrate(migrate::Migrate),
    /// Go over to another model (--model) while everything goes on
    Reembed(reembed::ReembedArgs),
    /// Do the work that nobody waits for: counts, expiry, partitions
    Upkeep(upkeep::Upkeep),
    /// Look the installation over and say what to fix
    Doctor(doctor::Doctor),
    /// Show the configuration in effect, without passwords
    Config(config::ConfigArgs),
    /// Print a completion script for a shell
    Completions(completions::Completions),
}
