//! The schema's history: numbered steps up and down, each one transaction, safe for many
//! processes starting at once on an empty file.

use async_trait::async_trait;
use mnemon_core::migrations::{Migration, Migrations, SchemaStatus};
use mnemon_core::{Error, Result};
use rusqlite::{Connection, OptionalExtension, TransactionBehavior};
use tokio::sync::oneshot;

use crate::error::Done;
use crate::models;
use crate::open::{Found, Opener, Role, snapshot};
use crate::options::Options;

pub(crate) mod sql {
    crate::sql::statements! {
        BEGIN = "begin immediate";
        META = "select schema_version, min_binary from meta";
        HISTORY = "select version, name from schema_history order by version";
        FIRST = "insert into meta (one, schema_version, min_binary, created_at) \
            values (1, 0, 1, mnemon_now())";
        NOTE = "insert into schema_history (version, name, applied_at) \
            values (?1, ?2, mnemon_now())";
        FORGET = "delete from schema_history where version = ?1";
        STAND = "update meta set schema_version = ?1";
    }
}

/// One step of the history.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step {
    pub(crate) version: i64,
    pub(crate) name: &'static str,
    pub(crate) up: &'static str,
    pub(crate) down: &'static str,
}

/// The step before which every embedding set was the active one.
const SETS: i64 = 3;

/// Every step this binary knows, numbered from 1.
pub(crate) const STEPS: &[Step] = &[
    Step {
        version: 1,
        name: "ground",
        up: include_str!("../migrations/0001_ground.up.sql"),
        down: include_str!("../migrations/0001_ground.down.sql"),
    },
    Step {
        version: 2,
        name: "facets",
        up: include_str!("../migrations/0002_facets.up.sql"),
        down: include_str!("../migrations/0002_facets.down.sql"),
    },
    Step {
        version: SETS,
        name: "sets",
        up: include_str!("../migrations/0003_sets.up.sql"),
        down: include_str!("../migrations/0003_sets.down.sql"),
    },
    Step {
        version: models::LOG_SINCE,
        name: "vector changes",
        up: include_str!("../migrations/0004_vector_changes.up.sql"),
        down: include_str!("../migrations/0004_vector_changes.down.sql"),
    },
    Step {
        version: 5,
        name: "checkpoint keys",
        up: include_str!("../migrations/0005_checkpoint_keys.up.sql"),
        down: include_str!("../migrations/0005_checkpoint_keys.down.sql"),
    },
    Step {
        version: 6,
        name: "event archive",
        up: include_str!("../migrations/0006_event_archive.up.sql"),
        down: include_str!("../migrations/0006_event_archive.down.sql"),
    },
    Step {
        version: 8,
        name: "language",
        up: include_str!("../migrations/0008_language.up.sql"),
        down: include_str!("../migrations/0008_language.down.sql"),
    },
    Step {
        version: 9,
        name: "namespaces",
        up: include_str!("../migrations/0009_namespaces.up.sql"),
        down: include_str!("../migrations/0009_namespaces.down.sql"),
    },
];

/// Where a schema stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Stand {
    pub(crate) version: i64,
    pub(crate) min_binary: i64,
}

pub(crate) fn latest(steps: &[Step]) -> i64 {
    steps.last().map_or(0, |step| step.version)
}

/// Reads where the schema stands; an empty file stands at 0.
pub(crate) fn stand(opener: &Opener, conn: &Connection) -> Done<Stand> {
    snapshot(conn, || stand_in(opener, conn))
}

fn stand_in(opener: &Opener, conn: &Connection) -> Done<Stand> {
    if opener.identify(conn)? == Found::Empty {
        return Ok(Stand { version: 0, min_binary: 1 });
    }
    let found = conn
        .query_row(sql::META, [], |row| Ok(Stand { version: row.get(0)?, min_binary: row.get(1)? }))
        .optional()?;
    Ok(found.ok_or_else(|| Error::corrupt(opener.place(), "its table meta is empty"))?)
}

/// Refuses a schema that admits only newer binaries.
fn admit(opener: &Opener, stand: Stand, steps: &[Step]) -> Result<()> {
    let own = latest(steps);
    if stand.min_binary <= own {
        return Ok(());
    }
    Err(Error::setup(
        format!(
            "the schema of {} (version {}) admits binaries from schema version {}, and this one \
             knows {own}",
            opener.place(),
            stand.version,
            stand.min_binary
        ),
        "use a newer mnemon",
    ))
}

/// Accepts a schema as it is, or says why not.
fn check(opener: &Opener, stand: Stand, steps: &[Step]) -> Result<()> {
    admit(opener, stand, steps)?;
    if stand.version >= latest(steps) {
        return Ok(());
    }
    Err(Error::setup(
        format!(
            "the schema of {} stands at version {}, and this binary needs {}",
            opener.place(),
            stand.version,
            latest(steps)
        ),
        "run `mnemon migrate up`",
    ))
}

/// Accepts a file as it is, or says why not, changing nothing.
pub(crate) fn verify(opener: &Opener, conn: &Connection) -> Done<()> {
    Ok(check(opener, stand(opener, conn)?, STEPS)?)
}

/// Applies what is pending, one transaction a step. The version is read again inside each: what
/// another process did meanwhile is not done twice.
pub(crate) fn up(opener: &Opener, conn: &mut Connection, steps: &[Step]) -> Done<Vec<Migration>> {
    let mut applied = Vec::new();
    loop {
        let stand = stand(opener, conn)?;
        admit(opener, stand, steps)?;
        if stand.version >= latest(steps) {
            return Ok(applied);
        }
        let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let step = step_up(opener, &tx, steps)?;
        tx.commit()?;
        applied.extend(step);
    }
}

fn step_up(opener: &Opener, conn: &Connection, steps: &[Step]) -> Done<Option<Migration>> {
    let stand = stand(opener, conn)?;
    admit(opener, stand, steps)?;
    let Some(step) = steps.iter().find(|step| step.version > stand.version) else {
        return Ok(None);
    };
    conn.execute_batch(step.up)?;
    if stand.version == 0 {
        conn.execute(sql::FIRST, [])?;
    }
    conn.execute(sql::NOTE, (step.version, step.name))?;
    conn.execute(sql::STAND, [step.version])?;
    Ok(Some(migration(step, true)))
}

/// Takes steps back, newest first, one transaction a step.
fn down(opener: &Opener, conn: &mut Connection, steps: &[Step], to: i64) -> Done<Vec<Migration>> {
    let before = stand(opener, conn)?;
    if to < 0 || to > before.version {
        return Err(Error::invalid(
            "to",
            format!("is {to}; the schema stands at {}", before.version),
        )
        .into());
    }
    admit(opener, before, steps)?;
    let mut undone = Vec::new();
    loop {
        let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let version = stand(opener, &tx)?.version;
        if version <= to {
            return Ok(undone);
        }
        let Some(at) = steps.iter().position(|step| step.version == version) else {
            return Err(Error::setup(
                format!("step {version} was made by a newer mnemon"),
                "take it back with that one",
            )
            .into());
        };
        if steps[at].version == models::LOG_SINCE {
            models::unwatch_sets(&tx)?;
        }
        if at == 0 || version == SETS {
            models::drop_tables(&tx, at == 0)?;
        }
        tx.execute_batch(steps[at].down)?;
        if at > 0 {
            tx.execute(sql::FORGET, [version])?;
            tx.execute(sql::STAND, [steps[at - 1].version])?;
        }
        tx.commit()?;
        undone.push(migration(&steps[at], false));
    }
}

fn status(opener: &Opener, conn: &Connection, steps: &[Step]) -> Done<SchemaStatus> {
    let stand = stand(opener, conn)?;
    let mut migrations: Vec<Migration> =
        steps.iter().map(|step| migration(step, step.version <= stand.version)).collect();
    if stand.version > latest(steps) {
        let mut history = conn.prepare(sql::HISTORY)?;
        let newer = history.query_map([], |row| {
            Ok(Migration { version: row.get(0)?, name: row.get(1)?, applied: true })
        })?;
        for migration in newer {
            let migration = migration?;
            if migration.version > latest(steps) {
                migrations.push(migration);
            }
        }
    }
    Ok(SchemaStatus {
        current: stand.version,
        latest: latest(steps),
        min_binary: stand.min_binary,
        migrations,
        rls: None,
    })
}

fn script(opener: &Opener, stand: Stand, steps: &[Step]) -> String {
    let head = format!("-- {} from schema version {}\n", opener.place(), stand.version);
    let pending = steps.iter().filter(|step| step.version > stand.version);
    std::iter::once(head).chain(pending.map(step_script)).collect()
}

fn step_script(step: &Step) -> String {
    let Step { version, name, up, .. } = step;
    let note = sql::NOTE.replace("?1", &version.to_string()).replace("?2", &quoted(name));
    let stand = sql::STAND.replace("?1", &version.to_string());
    let first = if *version == 1 { format!("{};\n", sql::FIRST) } else { String::new() };
    format!("\n-- step {version}: {name}\n{};\n{up}{first}{note};\n{stand};\ncommit;\n", sql::BEGIN)
}

/// A step's name, as it is written into a script that people read.
fn quoted(name: &str) -> String {
    format!("'{}'", name.replace('\'', "''"))
}

fn migration(step: &Step, applied: bool) -> Migration {
    Migration { version: step.version, name: step.name.to_owned(), applied }
}

/// Changes the schema of a file; opened beside the store, because a store refuses a schema that
/// needs it.
#[derive(Clone, Debug)]
pub struct SqliteMigrator {
    options: Options,
    steps: &'static [Step],
}

impl SqliteMigrator {
    /// A migrator for the file of these options. The file is looked at by each call, not now.
    pub fn new(options: Options) -> Self {
        Self { options, steps: STEPS }
    }

    /// A migrator that knows other steps.
    #[cfg(test)]
    pub(crate) fn with_steps(options: Options, steps: &'static [Step]) -> Self {
        Self { options, steps }
    }

    /// Runs `act` on a connection, on a thread of its own. `None` when there is no file and none
    /// is to be made.
    async fn on<T: Send + 'static>(
        &self,
        create: bool,
        act: impl FnOnce(&Opener, &mut Connection, &'static [Step]) -> Done<T> + Send + 'static,
    ) -> Result<Option<T>> {
        let (options, steps) = (self.options.clone(), self.steps);
        off_thread(move || {
            let opener = Opener::new(&options)?;
            opener.check_path()?;
            if !opener.exists() && !create {
                return Ok(None);
            }
            let run = || {
                opener.create()?;
                let mut conn = opener.connect(Role::Writer)?;
                opener.identify(&conn)?;
                if create {
                    opener.use_wal(&conn)?;
                }
                act(&opener, &mut conn, steps)
            };
            run().map(Some).map_err(|fault| fault.publish("changing the schema", opener.place()))
        })
        .await
    }
}

#[async_trait]
impl Migrations for SqliteMigrator {
    async fn status(&self) -> Result<SchemaStatus> {
        let found = self.on(false, |opener, conn, steps| status(opener, conn, steps)).await?;
        let steps = self.steps;
        Ok(found.unwrap_or_else(|| SchemaStatus {
            current: 0,
            latest: latest(steps),
            min_binary: 1,
            migrations: steps.iter().map(|step| migration(step, false)).collect(),
            rls: None,
        }))
    }

    async fn up(&self) -> Result<Vec<Migration>> {
        Ok(self.on(true, up).await?.unwrap_or_default())
    }

    async fn down(&self, to: i64) -> Result<Vec<Migration>> {
        let undone =
            self.on(false, move |opener, conn, steps| down(opener, conn, steps, to)).await?;
        match undone {
            Some(undone) => Ok(undone),
            None if to == 0 => Ok(Vec::new()),
            None => Err(Error::invalid("to", format!("is {to}; there is no file"))),
        }
    }

    async fn verify(&self) -> Result<()> {
        let seen = self
            .on(false, |opener, conn, steps| Ok(check(opener, stand(opener, conn)?, steps)?))
            .await?;
        seen.ok_or_else(|| missing(&self.options.location.to_string()))
    }

    async fn script(&self) -> Result<String> {
        let steps = self.steps;
        let seen = self
            .on(false, |opener, conn, steps| Ok(script(opener, stand(opener, conn)?, steps)))
            .await?;
        if let Some(script) = seen {
            return Ok(script);
        }
        let opener = Opener::new(&self.options)?;
        Ok(script(&opener, Stand { version: 0, min_binary: 1 }, steps))
    }

    async fn rls(&self, _on: bool) -> Result<()> {
        Err(Error::setup(
            "SQLite has no row-level security",
            "use PostgreSQL where roles must be kept apart by the database",
        ))
    }
}

/// No file where one is needed.
pub(crate) fn missing(place: &str) -> Error {
    Error::setup(format!("there is no database at {place}"), "run `mnemon migrate up`")
}

/// Runs what blocks on a thread of its own; needs no runtime.
pub(crate) async fn off_thread<T: Send + 'static>(
    act: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let (reply, answer) = oneshot::channel();
    std::thread::Builder::new()
        .name("mnemon-open".to_owned())
        .spawn(move || {
            let _ = reply.send(act());
        })
        .map_err(|error| Error::backend("starting a thread", error))?;
    answer.await.map_err(|_| Error::backend("opening", "its thread panicked"))?
}

#[cfg(test)]
mod tests;
