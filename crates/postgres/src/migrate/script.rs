//! What `up` would run, as one script for a person or another role to run.

use std::fmt::Write as _;

use chrono::{DateTime, Utc};
use mnemon_core::migrations::SchemaStatus;
use sqlx::migrate::Migrator;

use super::is_down;
use crate::partitions;

/// The list of steps, as sqlx keeps it.
const MIGRATIONS_TABLE: &str = "\
create table if not exists mnemon.schema_migrations (
    version        bigint      primary key,
    description    text        not null,
    installed_on   timestamptz not null default mnemon.now(),
    success        boolean     not null,
    checksum       bytea       not null,
    execution_time bigint      not null
);
";

/// What follows a first migration: the extension, and who may use it all.
const AFTER: &str = "
-- Vectors. A superuser runs it; where the extension is trusted, the database's owner may.
create extension if not exists vector;

-- For a role that is not the schema's owner (the only kind that row-level security holds for):
--   select mnemon.grant_to('<role>');
-- It opens with migrate mode `verify`, and gives the owner's connection as `maintenance_url`.
";

/// The script; comments only when nothing is pending.
pub(super) fn up(migrator: &Migrator, status: &SchemaStatus, now: DateTime<Utc>) -> String {
    let pending: Vec<i64> =
        status.migrations.iter().filter(|step| !step.applied).map(|step| step.version).collect();
    if pending.is_empty() {
        return format!("-- Nothing to do: the schema is at step {}.\n", status.current);
    }
    let mut script = String::from("-- For psql, with -v ON_ERROR_STOP=1.\n");
    let mut say = |text: std::fmt::Arguments<'_>| {
        script.write_fmt(text).expect("a String takes any text");
    };
    let steps = migrator.iter().filter(|step| !is_down(step) && pending.contains(&step.version));
    for step in steps {
        let version = step.version;
        say(format_args!("\n-- Step {version}: {}.\n", step.description));
        if !step.no_tx {
            say(format_args!("begin;\n"));
        }
        say(format_args!("{}\n", step.sql.as_str().trim_end()));
        if version == 1 {
            say(format_args!("{MIGRATIONS_TABLE}"));
        }
        say(format_args!(
            "insert into mnemon.schema_migrations (version, description, success, checksum, execution_time)\n\
             values ({version}, '{}', true, '\\x{}', -1);\n\
             update mnemon.meta set schema_version = {version};\n",
            step.description.replace('\'', "''"),
            hex(&step.checksum),
        ));
        if !step.no_tx {
            say(format_args!("commit;\n"));
        }
    }
    if status.current == 0 {
        say(format_args!("\n-- Partitions of the event log.\n"));
        for month in partitions::wanted(now) {
            say(format_args!("begin;\n{}\ncommit;\n", crate::partitions::ddl(month)));
        }
        say(format_args!("{AFTER}"));
    }
    script
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a String takes any text");
        text
    })
}
