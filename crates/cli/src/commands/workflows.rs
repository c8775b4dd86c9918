//! `mnemon workflows runs|definitions …`: runs under way, and what they follow.

mod definitions;
mod runs;

use clap::Subcommand;

use super::Done;
use crate::context::Context;

#[derive(Subcommand)]
pub(crate) enum Workflows {
    /// Look at runs, stop them and let them go on
    #[command(subcommand)]
    Runs(runs::Runs),
    /// Keep what runs follow
    #[command(subcommand)]
    Definitions(definitions::Definitions),
}

impl Workflows {
    pub(crate) async fn run(&self, context: &Context<'_>) -> Done {
        match self {
            Self::Runs(runs) => runs.run(context).await,
            Self::Definitions(definitions) => definitions.run(context).await,
        }
    }
}
