//! `mnemon completions SHELL`

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use super::Done;
use crate::args::Cli;
use crate::output::Output;

#[derive(Args)]
pub(crate) struct Completions {
    /// For which shell
    shell: Shell,
}

impl Completions {
    pub(crate) fn run(&self, output: &Output) -> Done {
        // Into memory first: clap_complete panics when stdout goes away.
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "mnemon", &mut script);
        Ok(output.line(String::from_utf8_lossy(&script).trim_end())?)
    }
}
