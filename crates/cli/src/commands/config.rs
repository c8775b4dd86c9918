//! `mnemon config`: what is in effect, and where it comes from.

use clap::Args;
use serde_json::{Map, Value, json};

use super::{Done, show};
use crate::context::Context;

#[derive(Args)]
pub(crate) struct ConfigArgs {}

impl ConfigArgs {
    #[expect(clippy::unused_self, reason = "every command is run alike")]
    pub(crate) fn run(&self, context: &Context<'_>) -> Done {
        let config = &context.config;
        let file = config.file.as_ref().map(|path| path.display().to_string());
        let place = config.url()?.to_string();
        if context.output.json {
            let values: Map<String, Value> = config
                .effective()
                .into_iter()
                .map(|(key, value)| (key.dotted(), json!(value)))
                .collect();
            let value = json!({ "file": file, "store": place, "values": values });
            return Ok(context.output.json(&value)?);
        }
        let mut table = show::table(&["key", "value", "environment"]);
        for (key, value) in config.effective() {
            let value = match (value, key.unset) {
                (Some(value), _) => value,
                (None, "") => "(none)".to_owned(),
                (None, unset) => format!("({unset})").replace('`', ""),
            };
            table.add_row([key.dotted(), value, key.env()]);
        }
        context.output.line(format!("file   {}", file.as_deref().unwrap_or("none")))?;
        context.output.line(format!("store  {place}"))?;
        Ok(context.output.line(table.to_string())?)
    }
}
