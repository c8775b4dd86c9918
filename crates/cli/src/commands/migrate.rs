//! `mnemon migrate status|up|down|verify|rls`

use std::io::{IsTerminal as _, Write as _};

use clap::{Args, Subcommand, ValueEnum};
use mnemon::{Migration, Migrations, SchemaStatus, migrations};
use serde_json::json;

use super::{Done, show};
use crate::context::Context;
use crate::failure::Failure;
use crate::output::Output;

#[derive(Subcommand)]
pub(crate) enum Migrate {
    /// Which steps the database has, and which this binary knows
    Status,
    /// Apply what is pending
    Up(Up),
    /// Take steps back; what they made is gone
    Down(Down),
    /// Accept the schema or say why not, changing nothing
    Verify,
    /// Switch row-level security on or off (PostgreSQL)
    Rls(Rls),
}

#[derive(Args)]
pub(crate) struct Up {
    /// Print every statement and grant instead of running it
    #[arg(long)]
    print: bool,
}

#[derive(Args)]
pub(crate) struct Down {
    /// The step to stop at; 0 leaves nothing
    #[arg(long, value_name = "STEP")]
    to: i64,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

#[derive(Args)]
pub(crate) struct Rls {
    switch: Switch,
}

#[derive(Clone, Copy, ValueEnum)]
enum Switch {
    /// Every table is limited to the tenant that was set
    On,
    /// Only the library's own conditions apply
    Off,
}

impl Migrate {
    pub(crate) async fn run(&self, context: &Context<'_>) -> Done {
        let output = context.output;
        let schema = migrations(&context.config).await?;
        match self {
            Self::Status => {
                let status = schema.status().await?;
                output.result(&status, || standing(&status))?;
            }
            Self::Up(Up { print: true }) => {
                let script = schema.script().await?;
                output.result(&json!({ "script": script }), || script.trim_end().to_owned())?;
            }
            Self::Up(_) => {
                let applied = schema.up().await?;
                steps("applied", "the schema is up to date", &applied, output)?;
            }
            Self::Down(down) => {
                down.confirm(&context.config.url()?.to_string())?;
                let undone = schema.down(down.to).await?;
                steps("undone", "nothing to take back", &undone, output)?;
            }
            Self::Verify => {
                schema.verify().await?;
                output.result(&json!({ "ok": true }), || "the schema fits this binary".into())?;
            }
            Self::Rls(rls) => rls.run(schema.as_ref(), output).await?,
        }
        Ok(())
    }
}

impl Rls {
    async fn run(&self, schema: &dyn Migrations, output: &Output) -> Done {
        let on = matches!(self.switch, Switch::On);
        schema.rls(on).await?;
        let state = if on { "on" } else { "off" };
        output.result(&json!({ "rls": on }), || format!("row-level security is {state}"))?;
        Ok(())
    }
}

impl Down {
    /// Asks whoever sits at the terminal; elsewhere only `--yes` will do.
    fn confirm(&self, place: &str) -> Result<(), Failure> {
        if self.yes {
            return Ok(());
        }
        if !std::io::stdin().is_terminal() {
            return Err(Failure::Unsure("taking steps back destroys data".to_owned()));
        }
        eprint!("take {place} back to step {}, with the data of later steps? [y/N] ", self.to);
        std::io::stderr().flush()?;
        let mut answer = String::new();
        std::io::stdin().read_line(&mut answer)?;
        if answer.trim().eq_ignore_ascii_case("y") {
            return Ok(());
        }
        Err(Failure::Usage("nothing was changed".to_owned()))
    }
}

fn steps(done: &str, nothing: &str, steps: &[Migration], output: &Output) -> std::io::Result<()> {
    if output.json {
        return output.json(&json!({ done: steps }));
    }
    if steps.is_empty() {
        return output.line(nothing);
    }
    for step in steps {
        output.line(format!("{done} {} {}", step.version, step.name))?;
    }
    Ok(())
}

fn standing(status: &SchemaStatus) -> String {
    let mut table = show::table(&["step", "name", "state"]);
    for step in &status.migrations {
        let state = if step.applied { "applied" } else { "pending" };
        table.add_row([step.version.to_string(), step.name.clone(), state.to_owned()]);
    }
    let mut text = format!(
        "schema {} · this binary knows {} · binaries from {} on may use it",
        status.current, status.latest, status.min_binary
    );
    if let Some(rls) = status.rls {
        text.push_str(if rls { " · row-level security on" } else { " · row-level security off" });
    }
    format!("{text}\n{table}")
}
