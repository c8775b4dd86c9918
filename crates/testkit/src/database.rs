//! A database per test: cloned from a template that was migrated once, dropped with its value.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use sha2::{Digest as _, Sha256};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use crate::blocking::block_on;
use crate::clock::Clock;
use crate::error::{Context as _, Result};
use crate::server::{Server, connect};

/// Names of test databases begin with this, then the second of their making.
const DATABASE: &str = "mnemon_test_";
/// Names of templates begin with this, then the day of their making.
const TEMPLATE: &str = "mnemon_template_";
/// Names of roles begin with this, then the second of their making.
const ROLE: &str = "mnemon_role_";
/// What a dead process left on a server that outlives the run goes after this many seconds.
const LEFTOVER_SECONDS: u64 = 60 * 60;
/// Templates are kept for today and yesterday: building one is the slow part.
const TEMPLATE_DAYS: u64 = 1;
const DAY_SECONDS: u64 = 24 * 60 * 60;
/// "object in use": somebody is still connected to the template.
const IN_USE: &str = "55006";
/// How often a clone waits for the template to be free.
const CLONE_TRIES: u32 = 20;
const CLONE_PAUSE: Duration = Duration::from_millis(250);

/// A migrated database that others are cloned from. It stays on its server.
#[derive(Clone, Debug)]
pub struct Template {
    server: Server,
    name: String,
}

impl Template {
    pub(crate) async fn build<M, F, E>(server: &Server, key: &str, migrate: M) -> Result<Self>
    where
        M: FnOnce(String) -> F,
        F: Future<Output = std::result::Result<(), E>>,
        E: std::fmt::Display,
    {
        let digest = hex::encode(&Sha256::digest(key)[..8]);
        let name = format!("{TEMPLATE}{}_{digest}", now_seconds() / DAY_SECONDS);
        let template = Self { server: server.clone(), name };
        let mut conn = connect(server.admin_url()).await?;
        if !template.is_built(&mut conn).await? {
            // Ends with this connection, however the process goes. The other processes wait here.
            sqlx::query("select pg_advisory_lock(hashtextextended($1, 0))")
                .bind(&template.name)
                .execute(&mut conn)
                .await
                .context(|| "wait for the template".to_owned())?;
            if !template.is_built(&mut conn).await? {
                template.make(&mut conn, migrate).await?;
            }
        }
        conn.close().await.context(|| "close".to_owned())?;
        Ok(template)
    }

    /// A fresh clone, dropped when the answer is.
    ///
    /// # Panics
    /// When it cannot be made.
    pub async fn database(&self) -> TestDatabase {
        self.clone_now().await.unwrap_or_else(|error| panic!("test database: {error}"))
    }

    async fn clone_now(&self) -> Result<TestDatabase> {
        let mut conn = connect(self.server.admin_url()).await?;
        let name = unique(DATABASE);
        // Both names are made here and hold letters, digits and underscores only.
        let sql = format!(r#"create database "{name}" template "{}""#, self.name);
        let mut tries = 0;
        loop {
            match sqlx::query(AssertSqlSafe(sql.as_str())).execute(&mut conn).await {
                Ok(_) => break,
                Err(error) if tries < CLONE_TRIES && code(&error) == IN_USE => tries += 1,
                Err(error) => return Err(error).context(|| format!("clone {}", self.name)),
            }
            tokio::time::sleep(CLONE_PAUSE).await;
        }
        conn.close().await.context(|| "close".to_owned())?;
        Ok(TestDatabase {
            url: self.server.url_of(&name),
            server: self.server.clone(),
            name,
            roles: Mutex::default(),
            clock: tokio::sync::Mutex::default(),
        })
    }

    async fn is_built(&self, conn: &mut PgConnection) -> Result<bool> {
        // The flag is set last: a half-made one lacks it.
        sqlx::query_scalar(
            "select exists (select from pg_database where datname = $1 and datistemplate)",
        )
        .bind(&self.name)
        .fetch_one(conn)
        .await
        .context(|| "look for the template".to_owned())
    }

    async fn make<M, F, E>(&self, conn: &mut PgConnection, migrate: M) -> Result<()>
    where
        M: FnOnce(String) -> F,
        F: Future<Output = std::result::Result<(), E>>,
        E: std::fmt::Display,
    {
        let name = &self.name;
        run(conn, &format!(r#"drop database if exists "{name}" with (force)"#)).await?;
        run(conn, &format!(r#"create database "{name}""#)).await?;
        let url = self.server.url_of(name);
        let mut inside = connect(&url).await?;
        run(&mut inside, "create extension if not exists vector").await?;
        inside.close().await.context(|| "close".to_owned())?;
        migrate(url).await.context(|| "migrate it".to_owned())?;
        run(
            conn,
            &format!(r#"alter database "{name}" with is_template true allow_connections false"#),
        )
        .await?;
        // A pool that the migration left open would be in the way of every clone.
        sqlx::query(
            "select pg_terminate_backend(pid, 5000) from pg_stat_activity where datname = $1",
        )
        .bind(name)
        .execute(conn)
        .await
        .context(|| "end the migration's connections".to_owned())?;
        Ok(())
    }
}

/// A database that one test owns; dropped, with everybody in it thrown out, when this value is.
pub struct TestDatabase {
    server: Server,
    name: String,
    url: String,
    roles: Mutex<Vec<String>>,
    pub(crate) clock: tokio::sync::Mutex<Clock>,
}

impl TestDatabase {
    /// Its URL, as superuser.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The URL of the server's maintenance database, as superuser.
    pub fn admin_url(&self) -> &str {
        self.server.admin_url()
    }

    /// The server it is on.
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// Makes a login role without any privilege of its own (`NOSUPERUSER NOBYPASSRLS`), grants it the use of
    /// schema `mnemon` as it stands now (by `mnemon.grant_to` where the schema has it), and answers the URL by which it logs in. For row-level security.
    ///
    /// # Panics
    /// When the role cannot be made, or the schema does not exist.
    pub async fn login_role(&self) -> String {
        self.make_role().await.unwrap_or_else(|error| panic!("login role: {error}"))
    }

    async fn make_role(&self) -> Result<String> {
        let role = unique(ROLE);
        let password = uuid::Uuid::now_v7().simple().to_string();
        let mut conn = connect(&self.url).await?;
        // Name and password are made here and hold letters, digits and underscores only.
        run(
            &mut conn,
            &format!(
                r#"create role "{role}" login nosuperuser nobypassrls nocreatedb nocreaterole password '{password}'"#
            ),
        )
        .await?;
        self.roles.lock().unwrap_or_else(PoisonError::into_inner).push(role.clone());
        grant(&mut conn, &role).await?;
        conn.close().await.context(|| "close".to_owned())?;
        let mut url = url::Url::parse(&self.url).context(|| "the database's URL".to_owned())?;
        let set = url.set_username(&role).and_then(|()| url.set_password(Some(&password)));
        set.map_err(|()| crate::Error::new("the server's URL takes no user"))?;
        Ok(url.into())
    }

    async fn remove(&self, roles: Vec<String>) -> Result<()> {
        // A server that the test stopped takes its databases with it.
        let Ok(mut conn) = connect(self.admin_url()).await else {
            return Ok(());
        };
        run(&mut conn, &format!(r#"drop database if exists "{}" with (force)"#, self.name)).await?;
        for role in roles {
            run(&mut conn, &format!(r#"drop role if exists "{role}""#)).await?;
        }
        conn.close().await.context(|| "close".to_owned())
    }
}

impl std::fmt::Debug for TestDatabase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TestDatabase")
            .field("name", &self.name)
            .field("server", &self.server)
            .finish_non_exhaustive()
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        let roles = std::mem::take(&mut *self.roles.lock().unwrap_or_else(PoisonError::into_inner));
        if let Err(error) = block_on(self.remove(roles)) {
            crate::say(&format!("database {} was not dropped: {error}", self.name));
        }
    }
}

/// What the schema itself grants to a role that uses it, where it has a function for that; else everything
/// that is no change of the schema.
async fn grant(conn: &mut PgConnection, role: &str) -> Result<()> {
    let own = "select to_regprocedure('mnemon.grant_to(regrole)') is not null";
    let own: bool = sqlx::query_scalar(own)
        .fetch_one(&mut *conn)
        .await
        .context(|| "look for mnemon.grant_to".to_owned())?;
    if own {
        return run(conn, &format!("select mnemon.grant_to('{role}'::regrole)")).await;
    }
    for grant in [
        "usage on schema mnemon",
        "select, insert, update, delete on all tables in schema mnemon",
        "usage on all sequences in schema mnemon",
        "execute on all functions in schema mnemon",
    ] {
        run(conn, &format!(r#"grant {grant} to "{role}""#)).await?;
    }
    Ok(())
}

/// Removes what dead processes left on a server that outlives its runs.
pub(crate) async fn sweep(admin_url: &str) -> Result<()> {
    let mut conn = connect(admin_url).await?;
    let now = now_seconds();
    let databases: Vec<(String, bool)> = sqlx::query_as(
        "select datname::text, datistemplate from pg_database where datname like 'mnemon\\_%'",
    )
    .fetch_all(&mut conn)
    .await
    .context(|| "list databases".to_owned())?;
    for (name, is_template) in databases {
        let old = born(&name, DATABASE).is_some_and(|second| second + LEFTOVER_SECONDS < now)
            || born(&name, TEMPLATE).is_some_and(|day| day + TEMPLATE_DAYS < now / DAY_SECONDS);
        if old {
            // Best effort, without force: a database in use is not left over, and another process may be quicker.
            if is_template {
                let _ =
                    run(&mut conn, &format!(r#"alter database "{name}" is_template false"#)).await;
            }
            let _ = run(&mut conn, &format!(r#"drop database if exists "{name}""#)).await;
        }
    }
    let roles: Vec<String> = sqlx::query_scalar(
        "select rolname::text from pg_roles where rolname like 'mnemon\\_role\\_%'",
    )
    .fetch_all(&mut conn)
    .await
    .context(|| "list roles".to_owned())?;
    for name in roles {
        if born(&name, ROLE).is_some_and(|second| second + LEFTOVER_SECONDS < now) {
            let _ = run(&mut conn, &format!(r#"drop role if exists "{name}""#)).await;
        }
    }
    conn.close().await.context(|| "close".to_owned())
}

/// Executes a statement whose text was built from constants and from names made in this module.
pub(crate) async fn run(conn: &mut PgConnection, sql: &str) -> Result<()> {
    sqlx::raw_sql(AssertSqlSafe(sql))
        .execute(conn)
        .await
        .context(|| sql.split(" password ").next().unwrap_or_default().to_owned())?;
    Ok(())
}

fn code(error: &sqlx::Error) -> String {
    error.as_database_error().and_then(|error| Some(error.code()?.into_owned())).unwrap_or_default()
}

/// A name that no other process takes, with the second of its making.
fn unique(prefix: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);

    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let random = uuid::Uuid::now_v7().simple().to_string();
    format!("{prefix}{}_{}_{count}_{}", now_seconds(), std::process::id(), &random[24..])
}

/// The number behind the prefix: a second or a day. `None` for names that are not the kit's.
fn born(name: &str, prefix: &str) -> Option<u64> {
    let (number, rest) = name.strip_prefix(prefix)?.split_once('_')?;
    // Only such names are put between quotes.
    let plain = rest.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    plain.then(|| number.parse().ok()).flatten()
}

fn now_seconds() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_the_kit_are_ever_removed() {
        assert_eq!(born(&unique(DATABASE), DATABASE).map(|second| second > 0), Some(true));
        assert_eq!(born("mnemon_test_12_ab\"c", DATABASE), None);
        assert_eq!(born("mnemon_production", DATABASE), None);
        assert_eq!(born("mnemon_test_data_1", DATABASE), None);
    }
}
