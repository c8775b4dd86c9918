//! Connecting: hosts in order, each with its time, and an error that names what to change.

use std::time::{Duration, Instant};

use mnemon_core::{Error, Result, limits};
use sqlx::postgres::{PgConnection, PgPool, PgPoolOptions};
use sqlx::{ConnectOptions as _, Connection as _, Row as _};

use crate::error;
use crate::options::PoolOptions;
use crate::target::{Candidate, Target};

/// The oldest server that works, as `server_version_num`.
const OLDEST_SERVER: u32 = 160_000;

/// A connection outside any pool, and which candidate it leads to.
pub(crate) struct Connected {
    pub(crate) conn: PgConnection,
    pub(crate) candidate: usize,
}

/// Why no server served.
pub(crate) struct Nobody {
    pub(crate) error: Error,
    /// Whether one of them is up and has no connection free.
    pub(crate) full: bool,
}

/// Why one server was passed over.
enum Miss {
    /// It may do later, or another may do now.
    Away(String),
    /// It is up and has no connection free.
    Full(String),
    /// Somebody must change something.
    Refused(Error),
}

impl Target {
    /// One connection outside the pool, for migrations and the listener.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`] when no server answers in time, naming each; [`Error::Setup`] when
    /// one answers and refuses.
    pub(crate) async fn connect(&self) -> Result<PgConnection> {
        self.find().await.map(|found| found.conn).map_err(|nobody| nobody.error)
    }

    /// Tries the servers in order and takes the first that serves.
    pub(crate) async fn find(&self) -> Result<Connected, Nobody> {
        let started = Instant::now();
        let (mut away, mut refused, mut full) = (Vec::new(), None, false);
        for (candidate, at) in self.candidates.iter().enumerate() {
            match self.attempt(at).await {
                Ok(conn) => return Ok(Connected { conn, candidate }),
                Err(Miss::Away(why)) => away.push(format!("{} ({why})", at.shown)),
                Err(Miss::Full(why)) => {
                    full = true;
                    away.push(format!("{} ({why})", at.shown));
                }
                Err(Miss::Refused(error)) => refused = refused.or(Some(error)),
            }
        }
        // A refusal says what to change; that another server was away does not.
        let error = refused.unwrap_or_else(|| Error::Unavailable {
            what: format!(
                "cannot reach PostgreSQL at {}, tried for {}",
                away.join(", "),
                seconds(started.elapsed())
            ),
            retry_after: Some(limits::RETRY_PAUSE_MAX),
        });
        Err(Nobody { error, full })
    }

    async fn attempt(&self, at: &Candidate) -> Result<PgConnection, Miss> {
        let limit = self.connect_timeout;
        let attempt = async {
            let mut conn = at.options.connect().await?;
            let writes = !self.read_write || takes_writes(&mut conn).await?;
            Ok((conn, writes))
        };
        let (conn, writes) = match tokio::time::timeout(limit, attempt).await {
            Ok(Ok(done)) => done,
            Ok(Err(cause)) => return Err(miss(at, &cause)),
            Err(_) => return Err(Miss::Away(format!("no answer within {}", seconds(limit)))),
        };
        if !writes {
            // A goodbye that cannot be said is of no consequence.
            let _ = conn.close().await;
            return Err(Miss::Away("takes no writes".to_owned()));
        }
        match conn.server_version_num() {
            Some(version) if version < OLDEST_SERVER => Err(Miss::Refused(Error::setup(
                format!("PostgreSQL at {} is version {}", at.shown, version / 10_000),
                format!("version {} or newer is needed", OLDEST_SERVER / 10_000),
            ))),
            _ => Ok(conn),
        }
    }

    /// A pool to one candidate that connects when first used.
    pub(crate) fn pool(&self, candidate: usize, options: &PoolOptions) -> PgPool {
        let read_write = self.read_write;
        PgPoolOptions::new()
            .max_connections(options.max_connections.max(1))
            .min_connections(options.min_connections.min(options.max_connections))
            .acquire_timeout(options.acquire_timeout)
            .idle_timeout(options.idle_timeout)
            .max_lifetime(options.max_lifetime)
            .test_before_acquire(false)
            .after_connect(move |conn, _| {
                Box::pin(async move {
                    if read_write && !takes_writes(conn).await? {
                        return Err(sqlx::Error::Io(std::io::Error::other(
                            "the server takes no writes",
                        )));
                    }
                    Ok(())
                })
            })
            .connect_lazy_with(self.candidates[candidate].options.clone())
    }
}

/// Whether the server takes writes: no standby, not set to read-only.
async fn takes_writes(conn: &mut PgConnection) -> Result<bool, sqlx::Error> {
    // By the simple protocol: nothing is prepared, so this is safe behind any pooler.
    let row = sqlx::raw_sql("select current_setting('transaction_read_only') = 'off'")
        .fetch_one(conn)
        .await?;
    // Text form, because the simple protocol has no other.
    Ok(row.try_get_unchecked::<String, _>(0)? == "t")
}

fn miss(at: &Candidate, cause: &sqlx::Error) -> Miss {
    let (shown, options) = (&at.shown, &at.options);
    let user = options.get_username();
    match cause {
        // What is wrong with a certificate comes as invalid data.
        sqlx::Error::Io(cause) if cause.kind() == std::io::ErrorKind::InvalidData => {
            Miss::Refused(no_tls(shown, &cause))
        }
        sqlx::Error::Io(cause) => Miss::Away(cause.to_string()),
        sqlx::Error::Tls(cause) => Miss::Refused(no_tls(shown, &cause)),
        sqlx::Error::Database(said) => match error::code(cause).as_deref() {
            Some("28P01") => Miss::Refused(Error::setup(
                format!("PostgreSQL at {shown} refused the password of user {user}"),
                "correct the password in the connection string, PGPASSWORD or ~/.pgpass",
            )),
            Some("28000") => Miss::Refused(Error::setup(
                format!("PostgreSQL at {shown} refused user {user}: {}", said.message()),
                "create the role, or let it in by pg_hba.conf (with TLS if that asks for it)",
            )),
            Some("3D000") => {
                let name = options.get_database().unwrap_or(user);
                Miss::Refused(Error::setup(
                    format!("PostgreSQL at {shown} has no database {name}"),
                    format!("create it: createdb {name}"),
                ))
            }
            Some("08P01") => Miss::Refused(Error::setup(
                format!("{shown} refused the connection: {}", said.message()),
                "leave `options` out of the connection string (and PGOPTIONS) behind a pooler",
            )),
            Some("53300") => Miss::Full(said.message().to_owned()),
            // Starting, shutting down, out of memory.
            Some(code) if code.starts_with("53") || code.starts_with("57P") => {
                Miss::Away(said.message().to_owned())
            }
            _ => Miss::Refused(Error::setup(
                format!("PostgreSQL at {shown} refused the connection: {}", said.message()),
                "change the connection string or the server as it says",
            )),
        },
        other => Miss::Refused(Error::setup(
            format!("what answers at {shown} cannot be used as PostgreSQL: {other}"),
            "check host and port",
        )),
    }
}

/// The error for a pool that could not connect to a candidate.
pub(crate) fn refusal(at: &Candidate, cause: &sqlx::Error) -> Error {
    match miss(at, cause) {
        Miss::Refused(error) => error,
        Miss::Away(why) | Miss::Full(why) => Error::Unavailable {
            what: format!("cannot reach PostgreSQL at {} ({why})", at.shown),
            retry_after: Some(limits::RETRY_PAUSE_MAX),
        },
    }
}

fn no_tls(shown: &str, cause: &dyn std::fmt::Display) -> Error {
    Error::setup(
        format!("no TLS with PostgreSQL at {shown}: {cause}"),
        "check sslmode and sslrootcert, the certificate's names, and that the server has TLS on",
    )
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}
