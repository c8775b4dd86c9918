//! A running PostgreSQL server, wherever it came from.

use std::collections::HashMap;
use std::str::FromStr as _;
use std::sync::{Arc, Mutex, PoisonError};

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions as _, Connection as _};
use url::Url;

use crate::blocking::block_on;
use crate::database::{self, Template, TestDatabase};
use crate::error::{Context as _, Error, Result};
use crate::settings::Settings;
use crate::{Major, OwnServer, say, shared};

/// A PostgreSQL server with pgvector. Cheap to clone.
#[derive(Clone)]
pub struct Server {
    inner: Arc<Inner>,
}

struct Inner {
    major: Major,
    admin_url: Url,
    version: String,
    origin: String,
}

impl Server {
    /// The shared server of this version, found or started. The first call of a process may take seconds.
    ///
    /// # Panics
    /// When none can be found or started; the message lists the four ways to fix it.
    pub fn get(major: Major) -> Self {
        Self::find(major).unwrap_or_else(|error| panic!("{error}"))
    }

    /// As [`Self::get`], for callers that print the error themselves.
    ///
    /// # Errors
    /// When none can be found or started; the message lists the four ways to fix it.
    pub fn find(major: Major) -> Result<Self> {
        static SERVERS: Mutex<Option<HashMap<Major, Server>>> = Mutex::new(None);

        // Held while starting: threads of one process wait for the first.
        let mut servers = SERVERS.lock().unwrap_or_else(PoisonError::into_inner);
        let servers = servers.get_or_insert_default();
        if let Some(server) = servers.get(&major) {
            return Ok(server.clone());
        }
        let found = match given(major)? {
            Some(found) => found,
            None => shared::get(major)?,
        };
        let server = Self::from_found(major, found);
        block_on(database::sweep(server.admin_url()))?;
        say(&format!("PostgreSQL {} from {}", server.version(), server.origin()));
        servers.insert(major, server.clone());
        Ok(server)
    }

    /// Starts a server that only the caller uses, for cases that stall, kill or restart it, and for benches
    /// (with [`Settings::durable`]).
    ///
    /// # Panics
    /// When none can be started; the message lists the four ways to fix it.
    pub fn own(major: Major, settings: &Settings) -> OwnServer {
        OwnServer::create(major, settings).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Stops the shared servers now if no other process uses them; without this they go some seconds after the
    /// last process. For the end of a run: this process cannot use them any more.
    ///
    /// # Errors
    /// When the kit's folder cannot be read.
    pub fn release() -> Result<()> {
        shared::release()
    }

    /// Its major version.
    pub fn major(&self) -> Major {
        self.inner.major
    }

    /// Its full version, as it reports it.
    pub fn version(&self) -> &str {
        &self.inner.version
    }

    /// Where it came from, for people.
    pub fn origin(&self) -> &str {
        &self.inner.origin
    }

    /// URL of the superuser's maintenance database.
    pub fn admin_url(&self) -> &str {
        self.inner.admin_url.as_str()
    }

    /// Where it listens, as `host:port`; what a proxy forwards to.
    pub fn address(&self) -> String {
        let url = &self.inner.admin_url;
        format!("{}:{}", url.host_str().unwrap_or("127.0.0.1"), url.port().unwrap_or(5432))
    }

    /// An empty database with the `vector` extension, dropped when the answer is.
    ///
    /// # Panics
    /// When it cannot be made.
    pub async fn database(&self) -> TestDatabase {
        let nothing = |_| async { Ok::<_, Error>(()) };
        self.template("", nothing).await.database().await
    }

    /// A template database, migrated once on this server however many processes ask for the same key.
    ///
    /// The key names the schema: derive it from the migrations' contents. `migrate` gets the URL of an empty
    /// database with the `vector` extension.
    ///
    /// # Panics
    /// When the migration fails or the template cannot be made.
    pub async fn template<M, F, E>(&self, key: &str, migrate: M) -> Template
    where
        M: FnOnce(String) -> F,
        F: Future<Output = std::result::Result<(), E>>,
        E: std::fmt::Display,
    {
        Template::build(self, key, migrate)
            .await
            .unwrap_or_else(|error| panic!("template database: {error}"))
    }

    /// A server that was probed.
    pub(crate) fn from_found(major: Major, found: Found) -> Self {
        let Found { admin_url, version, origin, .. } = found;
        Self { inner: Arc::new(Inner { major, admin_url, version, origin }) }
    }

    /// The URL of another database of this server.
    pub(crate) fn url_of(&self, database: &str) -> String {
        let mut url = self.inner.admin_url.clone();
        url.set_path(database);
        url.into()
    }
}

// The URL may carry the password of a server that a person gave.
impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server")
            .field("version", &self.inner.version)
            .field("origin", &self.inner.origin)
            .field("address", &self.address())
            .finish_non_exhaustive()
    }
}

/// A server that answered.
#[derive(Debug)]
pub(crate) struct Found {
    admin_url: Url,
    version: String,
    origin: String,
    number: u32,
    /// Tells one server from another that took its port.
    pub(crate) data_folder: String,
}

/// Connects, and asks the server what it is.
pub(crate) fn probe(url: &str, origin: &str) -> Result<Found> {
    let admin_url = Url::parse(url).context(|| "the server's URL".to_owned())?;
    let query = "select current_setting('server_version'), current_setting('server_version_num')::int / 10000, \
                 current_setting('data_directory')";
    let (version, number, data_folder): (String, i32, String) = block_on(async {
        let mut conn = connect(url).await?;
        let row = sqlx::query_as(query).fetch_one(&mut conn).await;
        conn.close().await.and(row).context(|| "ask the server for its version".to_owned())
    })?;
    let number = number.unsigned_abs();
    Ok(Found { admin_url, version, origin: origin.to_owned(), number, data_folder })
}

/// A plain connection that logs no statement.
pub(crate) async fn connect(url: &str) -> Result<PgConnection> {
    let options = PgConnectOptions::from_str(url).context(|| "the server's URL".to_owned())?;
    let place = format!("{}:{}", options.get_host(), options.get_port());
    options
        .application_name("mnemon-testkit")
        .disable_statement_logging()
        .connect()
        .await
        .context(|| format!("connect to PostgreSQL at {place}"))
}

/// The server that the environment names for this version.
fn given(major: Major) -> Result<Option<Found>> {
    for name in [format!("MNEMON_TEST_POSTGRES{major}_URL"), "MNEMON_TEST_POSTGRES_URL".to_owned()]
    {
        let Some(url) = std::env::var(&name).ok().filter(|url| !url.is_empty()) else {
            continue;
        };
        let found = probe(&url, &name).context(|| name.clone())?;
        let exact = name.contains(&major.to_string());
        match Major::from_number(found.number) {
            Some(number) if number == major => return Ok(Some(found)),
            // It serves the version it reports; the other one is looked for in the other ways.
            Some(_) if !exact => {}
            _ => {
                return Err(Error::new(format!(
                    "{name} is PostgreSQL {}: 16 and 18 are tested{}",
                    found.version,
                    if exact { format!(", and this one must be {major}") } else { String::new() }
                )));
            }
        }
    }
    Ok(None)
}
