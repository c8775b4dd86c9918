//! `cargo xtask prepare`: describes every checked query against a freshly migrated PostgreSQL 18, without
//! any tool of sqlx's. What it writes is committed, so that a build needs no database.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::SystemTime;

use crate::servers::{Kit, Program};
use crate::steps::exec;
use crate::{Outcome, place};

/// The crate whose queries are checked.
const CRATE: &str = "crates/postgres";
/// The variable that its `sqlx.toml` names instead of `DATABASE_URL`.
const URL_VARIABLE: &str = "MNEMON_SQLX_URL";

/// What to do with the descriptions.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Replace the committed ones.
    Write,
    /// Fail when the committed ones differ.
    Check,
}

/// File name and contents of every description.
type Descriptions = BTreeMap<String, String>;

pub(crate) fn run(mode: Mode, program: Program) -> Outcome {
    let folder = place::root().join(CRATE);
    let committed = folder.join(".sqlx");
    let fresh = place::target().join("sqlx-prepare");
    describe(&folder, &fresh, program)?;
    let (old, new) = (load(&committed)?, load(&fresh)?);
    match mode {
        Mode::Check => compare(&old, &new),
        Mode::Write => {
            replace(&committed, &old, &new)?;
            eprintln!("xtask: {} descriptions in {CRATE}/.sqlx", new.len());
            Ok(())
        }
    }
}

/// Expands every query macro of the crate against a live database; sqlx then writes into `fresh`.
fn describe(folder: &Path, fresh: &Path, program: Program) -> Outcome {
    let _ = fs::remove_dir_all(fresh);
    fs::create_dir_all(fresh).map_err(|error| format!("{}: {error}", fresh.display()))?;
    let kit = Kit::start(&["migrated", &format!("{CRATE}/migrations")], program)?;
    let url = kit.answers.iter().find(|(name, _)| name == "DATABASE").map(|(_, url)| url.as_str());
    touch(&folder.join("src/lib.rs"))?;
    let mut check =
        place::cargo(&["check", "--quiet", "--locked", "--package", "mnemon-postgres", "--lib"]);
    check.env(URL_VARIABLE, url.ok_or("mnemon-testkit named no database")?);
    check.env("SQLX_OFFLINE_DIR", fresh).env("SQLX_OFFLINE", "false");
    exec(&mut check)
}

/// Macros are only expanded when cargo thinks that the crate has changed.
fn touch(file: &Path) -> Outcome {
    let touched = fs::File::options()
        .append(true)
        .open(file)
        .and_then(|file| file.set_modified(SystemTime::now()));
    touched.map_err(|error| format!("{}: {error}", file.display()))
}

fn load(folder: &Path) -> Outcome<Descriptions> {
    if !folder.is_dir() {
        return Ok(Descriptions::new());
    }
    let read = || {
        let mut found = Descriptions::new();
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if name.starts_with("query-") {
                found.insert(name, fs::read_to_string(&path)?);
            }
        }
        Ok(found)
    };
    read().map_err(|error: std::io::Error| format!("{}: {error}", folder.display()))
}

fn compare(old: &Descriptions, new: &Descriptions) -> Outcome {
    let mut differences = Vec::new();
    for (name, text) in new {
        match old.get(name) {
            None => differences.push(format!("{name} is missing: {}", query(text))),
            Some(old) if old != text => {
                differences.push(format!("{name} differs: {}", query(text)));
            }
            Some(_) => {}
        }
    }
    let stale = old.iter().filter(|(name, _)| !new.contains_key(*name));
    differences.extend(
        stale.map(|(name, text)| format!("{name} is of no query any more: {}", query(text))),
    );
    if differences.is_empty() {
        return Ok(());
    }
    Err(format!(
        "{CRATE}/.sqlx is not up to date, run `cargo xtask prepare`:\n  {}",
        differences.join("\n  ")
    ))
}

fn replace(folder: &Path, old: &Descriptions, new: &Descriptions) -> Outcome {
    let write = || {
        fs::create_dir_all(folder)?;
        for name in old.keys().filter(|name| !new.contains_key(*name)) {
            fs::remove_file(folder.join(name))?;
        }
        for (name, text) in new.iter().filter(|(name, text)| old.get(*name) != Some(text)) {
            fs::write(folder.join(name), text)?;
        }
        Ok(())
    };
    write().map_err(|error: std::io::Error| format!("{}: {error}", folder.display()))
}

/// The line of a description that holds its SQL, for people.
fn query(text: &str) -> &str {
    text.lines().map(str::trim).find(|line| line.starts_with(r#""query""#)).unwrap_or("(no query)")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_names_its_file_and_its_query() {
        let described =
            |name: &str, sql: &str| (name.to_owned(), format!("{{\n  \"query\": \"{sql}\"\n}}\n"));
        let old = Descriptions::from([
            described("query-a.json", "select 1"),
            described("query-b.json", "select 2"),
        ]);
        let new = Descriptions::from([
            described("query-a.json", "select 1"),
            described("query-c.json", "select 3"),
        ]);

        compare(&old, &old).unwrap();
        let message = compare(&old, &new).unwrap_err();

        assert!(message.contains("query-c.json is missing: \"query\": \"select 3\""), "{message}");
        assert!(message.contains("query-b.json is of no query any more"), "{message}");
        assert!(!message.contains("query-a.json"), "{message}");
    }
}
