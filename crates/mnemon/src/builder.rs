//! Opening: from a configuration to a handle, naming what stands in the way.

#[cfg(not(all(feature = "sqlite", feature = "postgres")))]
mod left_out;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "sqlite")]
mod sqlite;

use std::fmt;
use std::sync::Arc;

use mnemon_core::checkpoints::KeyProvider;
use mnemon_core::claims::{Oracle, Rules};
use mnemon_core::memories::Language;
use mnemon_core::migrations::{MigrateMode, Migrations};
use mnemon_core::store::Backend;
use mnemon_core::turns::{Tokens, TurnDefaults};
use mnemon_core::{Error, Result, Store};

use crate::checkpoints::KeyFile;
use crate::config::{Config, OracleChoice, SecretUrl};
use crate::embed::{Embedder, ModelChoice, Prepared};
use crate::engine::Mnemon;
use crate::location;
use crate::oracle::PeopleDecide;
use crate::summarize::{self, Summarizer, SummarizerChoice};
#[cfg(not(feature = "postgres"))]
use left_out::postgres;
#[cfg(not(feature = "sqlite"))]
use left_out::sqlite;

/// What a handle is opened with; see [`Mnemon::builder`].
///
/// ```
/// # async fn example() -> mnemon::Result<()> {
/// use mnemon::Mnemon;
///
/// let db = Mnemon::builder("sqlite::memory:")
///     .with(|config| config.pool.max_connections = 4)
///     .background_upkeep(false)
///     .open()
///     .await?;
/// db.close().await;
/// # Ok(())
/// # }
/// ```
pub struct Builder {
    config: Config,
    embedder: Option<Arc<dyn Embedder>>,
    words_only: bool,
    oracle: Option<Arc<dyn Oracle>>,
    rules: Rules,
    summarizer: Option<Arc<dyn Summarizer>>,
    counter: Option<Arc<dyn Tokens>>,
    keys: Option<Arc<dyn KeyProvider>>,
    #[cfg(feature = "sqlite")]
    clock: Option<mnemon_sqlite::Clock>,
    #[cfg(feature = "postgres")]
    pool: Option<mnemon_postgres::PgPool>,
}

impl From<Config> for Builder {
    fn from(config: Config) -> Self {
        Self {
            config,
            embedder: None,
            words_only: false,
            oracle: None,
            rules: Rules::default(),
            summarizer: None,
            counter: None,
            keys: None,
            #[cfg(feature = "sqlite")]
            clock: None,
            #[cfg(feature = "postgres")]
            pool: None,
        }
    }
}

impl Builder {
    pub(crate) fn new(url: String) -> Self {
        let mut config = Config::default();
        config.store.url = Some(SecretUrl::new(url));
        Self::from(config)
    }

    /// Changes any setting; the names are those of the configuration file.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut Config)) -> Self {
        change(&mut self.config);
        self
    }

    /// What opening does about an old schema.
    #[must_use]
    pub fn migrate(self, mode: MigrateMode) -> Self {
        self.with(|config| config.migrate.mode = mode)
    }

    /// The model by name: `lexical`, `local:DIR`, `openai:MODEL[@BASE_URL]`.
    #[must_use]
    pub fn model(self, model: impl Into<String>) -> Self {
        self.with(|config| config.embedder.model = model.into())
    }

    /// The language that words are cut in: what a new database is made for, and what an existing one
    /// must be. Without it a database keeps its own.
    #[must_use]
    pub fn language(self, language: Language) -> Self {
        self.with(|config| config.memories.language = Some(language))
    }

    /// The most connections of a server's pool open at once.
    #[must_use]
    pub fn max_connections(self, connections: u32) -> Self {
        self.with(|config| config.pool.max_connections = connections)
    }

    /// The namespace of states that are saved as one value, as another system's table name.
    #[must_use]
    #[doc(alias = "table_name")]
    pub fn namespace(self, namespace: impl Into<String>) -> Self {
        self.with(|config| config.checkpoints.namespace = namespace.into())
    }

    /// Encrypts checkpoints at rest, under keys of this provider's instead of those of a file
    /// (`checkpoints.key_file`).
    #[must_use]
    pub fn checkpoint_keys(mut self, keys: Arc<dyn KeyProvider>) -> Self {
        self.keys = Some(keys);
        self
    }

    /// An embedder of one's own, instead of a model by name.
    #[must_use]
    pub fn embedder(mut self, embedder: Arc<dyn Embedder>) -> Self {
        self.embedder = Some(embedder);
        self
    }

    /// Opens without a model, whatever model the database is registered for: nothing is embedded,
    /// and recall is by words. For those who change the model.
    #[must_use]
    pub fn words_only(mut self) -> Self {
        self.words_only = true;
        self
    }

    /// Who is asked about conflicts between claims, after they are committed. Without one they
    /// stay contested.
    #[doc(alias = "open_postgres_with_oracle")]
    #[doc(alias = "open_with_oracle")]
    #[must_use]
    pub fn oracle(mut self, oracle: Arc<dyn Oracle>) -> Self {
        self.oracle = Some(oracle);
        self
    }

    /// How claims are decided; whether there is an oracle is taken from [`Builder::oracle`].
    #[doc(alias = "EngineConfig")]
    #[must_use]
    pub fn claim_rules(mut self, rules: Rules) -> Self {
        self.rules = rules;
        self
    }

    /// A summariser of one's own, instead of one by name.
    #[must_use]
    pub fn summarizer(mut self, summarizer: Arc<dyn Summarizer>) -> Self {
        self.summarizer = Some(summarizer);
        self
    }

    /// A token counter of one's own, instead of one by name.
    #[must_use]
    pub fn tokens(mut self, counter: Arc<dyn Tokens>) -> Self {
        self.counter = Some(counter);
        self
    }

    /// Whether the handle does upkeep in the background; it does unless told otherwise.
    #[must_use]
    pub fn background_upkeep(self, enabled: bool) -> Self {
        self.with(|config| config.upkeep.enabled = enabled)
    }

    /// The clock of an embedded store, for tests that move it. PostgreSQL has its own.
    #[cfg(feature = "sqlite")]
    #[must_use]
    pub fn clock(mut self, clock: mnemon_sqlite::Clock) -> Self {
        self.clock = Some(clock);
        self
    }

    /// PostgreSQL over a pool of the caller's, which stays the caller's to close.
    #[cfg(feature = "postgres")]
    #[must_use]
    pub fn pool(mut self, pool: mnemon_postgres::PgPool) -> Self {
        self.pool = Some(pool);
        self
    }

    /// Opens the database, brings its schema up to date or refuses it, registers the model, and
    /// starts upkeep.
    ///
    /// # Errors
    ///
    /// As [`Mnemon::open`].
    pub async fn open(self) -> Result<Mnemon> {
        let Self { config, embedder, .. } = &self;
        // The model first: it needs no connection, so its mistakes are cheap.
        let model = match embedder {
            _ if self.words_only => None,
            Some(embedder) => Some(Prepared::Ready(Arc::clone(embedder))),
            None => {
                let choice: ModelChoice = config.embedder.model.parse()?;
                Some(choice.prepare(&config.embedder).await?)
            }
        };
        if let Some(Prepared::Ready(embedder)) = &model {
            embedder.signature().check()?;
        }
        let oracle = self.oracle.clone().or_else(|| match config.claims.oracle {
            OracleChoice::None => None,
            OracleChoice::Human => Some(Arc::new(PeopleDecide) as Arc<dyn Oracle>),
        });
        let ttl = self.rules.default_adjudication_ttl.or(config.claims.adjudication_ttl);
        let rules = Rules { oracle: oracle.is_some(), default_adjudication_ttl: ttl, ..self.rules };
        rules.check()?;
        let summarizer = match &self.summarizer {
            Some(summarizer) => Some(Arc::clone(summarizer)),
            None => config.turns.summarizer.parse::<SummarizerChoice>()?.load(&config.turns)?,
        };
        let keys = match (&self.keys, &config.checkpoints.key_file) {
            (Some(keys), _) => Some(Arc::clone(keys)),
            (None, Some(file)) => {
                Some(Arc::new(KeyFile::read(file.as_ref())?) as Arc<dyn KeyProvider>)
            }
            (None, None) => None,
        };
        let mut notices = Vec::new();
        let (opened, place) = self.store(&mut notices).await?;
        match self.settle(opened.store.as_ref(), model).await {
            Ok(Registered { embedder, notice }) => {
                notices.extend(notice);
                opened.store.claims().configure(rules);
                opened.store.checkpoints().seal_with(keys);
                Ok(Mnemon::assemble(
                    opened,
                    embedder,
                    oracle,
                    summarizer,
                    &self.config,
                    place,
                    notices,
                ))
            }
            Err(error) => {
                opened.store.close().await;
                Err(error)
            }
        }
    }

    /// Brings language and model together with what the database keeps to.
    async fn settle(&self, store: &dyn Store, model: Option<Prepared>) -> Result<Registered> {
        if let Some(language) = self.config.memories.language {
            store.memories().register_language(language).await?;
        }
        match model {
            Some(model) => meet(store, model).await,
            None => Ok(Registered { embedder: None, notice: None }),
        }
    }

    /// What the store makes of turns when a call does not say.
    fn turn_defaults(&self) -> Result<TurnDefaults> {
        let mut defaults = summarize::defaults(&self.config.turns)?;
        if let Some(counter) = &self.counter {
            defaults.counter = Arc::clone(counter);
        }
        Ok(defaults)
    }

    async fn store(&self, notices: &mut Vec<String>) -> Result<(Opened, String)> {
        let turns = self.turn_defaults()?;
        #[cfg(feature = "postgres")]
        if let Some(pool) = &self.pool {
            let opened = postgres::from_pool(pool.clone(), turns).await?;
            return Ok((opened, "a pool of the host's".to_owned()));
        }
        let url = self.config.url()?;
        let opened = match location::backend_of(url.reveal())? {
            Backend::Sqlite => Opened::embedded(sqlite::open(self, &url, turns, notices).await?),
            _ => postgres::open(&self.config, &url, turns).await?,
        };
        Ok((opened, url.to_string()))
    }
}

/// A store, and the same by its own type where it can do what others cannot.
pub(crate) struct Opened {
    pub(crate) store: Arc<dyn Store>,
    /// For steps inside a transaction of the host's.
    #[cfg(feature = "postgres")]
    pub(crate) postgres: Option<Arc<mnemon_postgres::PostgresStore>>,
}

impl Opened {
    fn embedded(store: Arc<dyn Store>) -> Self {
        Self {
            store,
            #[cfg(feature = "postgres")]
            postgres: None,
        }
    }
}

/// Opens the schema's history beside the store, which refuses a schema that needs it.
///
/// # Errors
///
/// As [`Mnemon::open`], but an old schema is no error here.
pub async fn migrations(config: &Config) -> Result<Box<dyn Migrations>> {
    let url = config.url()?;
    match location::backend_of(url.reveal())? {
        Backend::Sqlite => sqlite::migrations(config, &url),
        _ => postgres::migrations(config, &url).await,
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder").field("config", &self.config).finish_non_exhaustive()
    }
}

struct Registered {
    embedder: Option<Arc<dyn Embedder>>,
    notice: Option<String>,
}

/// Meets a model's server, where one runs it, and registers the model. While a server that this
/// database has not met before is out of reach, the database is used for text only: what is
/// remembered meanwhile gets its vector when it is opened again.
async fn meet(store: &dyn Store, model: Prepared) -> Result<Registered> {
    let unasked = match model {
        Prepared::Ready(embedder) => return register(store, embedder).await,
        Prepared::Server(unasked) => unasked,
    };
    let registered = store.memories().registered_model().await?;
    match unasked.meet(registered.as_ref()).await {
        Ok(embedder) => {
            embedder.signature().check()?;
            register(store, Arc::new(embedder)).await
        }
        Err(error @ Error::Unavailable { .. }) => {
            tracing::warn!(%error, "the model cannot be met: recall is by words only");
            let notice = format!("recall is by words only until this is opened again: {error}");
            Ok(Registered { embedder: None, notice: Some(notice) })
        }
        Err(error) => Err(error),
    }
}

/// Registers the embedder's model. A database that takes no vectors is used for text only, and
/// that is said.
async fn register(store: &dyn Store, embedder: Arc<dyn Embedder>) -> Result<Registered> {
    match store.memories().register_model(embedder.signature()).await {
        Ok(()) => Ok(Registered { embedder: Some(embedder), notice: None }),
        Err(Error::Setup { problem, fix }) => {
            tracing::warn!(problem, fix, "no vectors here: recall is by words only");
            let notice = format!("recall is by words only: {problem}; {fix}");
            Ok(Registered { embedder: None, notice: Some(notice) })
        }
        Err(error) => Err(error),
    }
}
