//! What a schema's state means for this binary: pure decisions.

use std::collections::BTreeMap;

use mnemon_core::migrations::{Migration, SchemaStatus};
use mnemon_core::{Error, Result};

/// Puts together what is known and what is applied.
pub(super) fn status<'a>(
    known: impl Iterator<Item = (i64, &'a str)>,
    applied: Vec<(i64, String)>,
    meta: Option<(i32, bool)>,
) -> SchemaStatus {
    let mut steps: BTreeMap<i64, Migration> = BTreeMap::new();
    let mut latest = 0;
    for (version, name) in known {
        latest = latest.max(version);
        steps.insert(version, Migration { version, name: name.to_owned(), applied: false });
    }
    let mut current = 0;
    for (version, name) in applied {
        current = current.max(version);
        steps.insert(version, Migration { version, name, applied: true });
    }
    SchemaStatus {
        current,
        latest,
        min_binary: meta.map_or(0, |(min_binary, _)| i64::from(min_binary)),
        migrations: steps.into_values().collect(),
        rls: meta.map(|(_, rls)| rls),
    }
}

/// Whether this binary may use the schema at all.
pub(super) fn admit(status: &SchemaStatus) -> Result<()> {
    if status.min_binary <= status.latest {
        return Ok(());
    }
    Err(Error::setup(
        format!(
            "the schema (step {}) admits binaries that know step {}; this one knows {}",
            status.current, status.min_binary, status.latest
        ),
        "use a newer mnemon",
    ))
}

/// Whether a step of this binary is missing.
pub(super) fn is_behind(status: &SchemaStatus) -> bool {
    status.migrations.iter().any(|step| !step.applied)
}

/// Refuses a schema that a step of this binary is missing from.
pub(super) fn up_to_date(status: &SchemaStatus) -> Result<()> {
    if !is_behind(status) {
        return Ok(());
    }
    Err(Error::setup(
        format!(
            "the schema is at step {}; this binary needs step {}",
            status.current, status.latest
        ),
        "run `mnemon migrate up` as the schema's owner",
    ))
}

/// The steps to take back, newest first, each with the version below it.
pub(super) fn down(status: &SchemaStatus, to: i64) -> Result<Vec<(Migration, i64)>> {
    if to < 0 || to > status.current {
        return Err(Error::invalid(
            "to",
            format!("is {to}; the schema is at step {}", status.current),
        ));
    }
    if status.current > status.latest {
        return Err(Error::setup(
            format!(
                "the schema is at step {}; this binary knows {}",
                status.current, status.latest
            ),
            "take newer steps back with the binary that has them",
        ));
    }
    let applied: Vec<&Migration> = status.migrations.iter().filter(|step| step.applied).collect();
    let below = |n: usize| if n == 0 { 0 } else { applied[n - 1].version };
    Ok((0..applied.len())
        .rev()
        .filter(|n| applied[*n].version > to)
        .map(|n| (applied[n].clone(), below(n)))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status_of(known: &[i64], applied: &[i64], min_binary: i32) -> SchemaStatus {
        let known: Vec<(i64, &str)> = known.iter().map(|version| (*version, "step")).collect();
        let applied = applied.iter().map(|version| (*version, "step".to_owned())).collect();
        status(known.into_iter(), applied, Some((min_binary, false)))
    }

    #[test]
    fn a_newer_schema_is_admitted_unless_it_asks_for_a_newer_binary() {
        assert!(admit(&status_of(&[1], &[1, 2], 1)).is_ok());
        assert!(up_to_date(&status_of(&[1], &[1, 2], 1)).is_ok());

        let error = admit(&status_of(&[1], &[1, 2], 2)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the schema (step 2) admits binaries that know step 2; this one knows 1; use a newer mnemon"
        );
    }

    #[test]
    fn an_old_schema_is_refused_with_both_versions() {
        let error = up_to_date(&status_of(&[1, 2], &[1], 1)).unwrap_err();

        assert!(error.to_string().starts_with("the schema is at step 1; this binary needs step 2"));
    }

    #[test]
    fn steps_are_taken_back_newest_first() {
        let steps = down(&status_of(&[1, 2, 5], &[1, 2, 5], 1), 1).unwrap();

        let versions: Vec<(i64, i64)> =
            steps.iter().map(|(s, below)| (s.version, *below)).collect();
        assert_eq!(versions, [(5, 2), (2, 1)]);
        assert!(down(&status_of(&[1], &[1], 1), 2).is_err());
        assert!(down(&status_of(&[1], &[1, 2], 1), 0).is_err());
    }
}
