//! The handle: an open store, its embedder, its upkeep, and the watch over refused scopes.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use chrono::Utc;
use mnemon_core::claims::Oracle;
use mnemon_core::memories::ModelSignature;
use mnemon_core::store::{Backend, Finding, StoreHealth};
use mnemon_core::upkeep::TaskStatus;
use mnemon_core::{Error, Result, Scope, Store, limits, troubles};
use tokio::sync::watch;

use crate::builder::{Builder, Opened};
use crate::checkpoints::Checkpoints;
use crate::claims::Claims;
use crate::config::{Config, EventsConfig};
use crate::dead_letters::DeadLetters;
use crate::embed::{Embedder, Models};
use crate::events::{Events, Gatherer, Tails};
use crate::locks::Locks;
use crate::memories::Memories;
use crate::oracle::Asker;
use crate::rejections::Rejections;
use crate::summarize::Summarizer;
use crate::turns::Turns;
use crate::turns::summaries::Summaries;
use crate::upkeep::{self, Background, UpkeepOptions, UpkeepReport, Workers};
use crate::workflows::Workflows;

/// An open Mnemon: cheap to clone, shared by every task of a process.
///
/// Dropping the last clone stops its upkeep and lets the store go; [`Mnemon::close`] does so in
/// order and waits.
#[derive(Clone)]
pub struct Mnemon {
    inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) store: Arc<dyn Store>,
    #[cfg(feature = "postgres")]
    pub(crate) postgres: Option<Arc<mnemon_postgres::PostgresStore>>,
    pub(crate) models: Arc<Models>,
    pub(crate) rejections: Rejections,
    pub(crate) tails: Arc<Tails>,
    pub(crate) gatherer: Arc<Gatherer>,
    /// Of states that are saved as one value.
    pub(crate) namespace: String,
    /// How the event log is kept and searched.
    pub(crate) log: EventsConfig,
    place: String,
    notices: Vec<String>,
    asker: Option<Arc<Asker>>,
    background: Background,
    summaries: Option<Summaries>,
    closing: watch::Sender<bool>,
    closed: AtomicBool,
}

impl Mnemon {
    /// Opens a database by its URL with every other setting at its default: no file and no
    /// environment variable is read ([`Mnemon::from_config`] with [`Config::load`] does).
    ///
    /// | URL | database |
    /// |---|---|
    /// | `sqlite://notes.db`, `sqlite:///var/lib/notes.db` | one file; made when it is not there |
    /// | `sqlite::memory:` | a private temporary file, gone on close |
    /// | `postgres://…`, `postgresql://…`, `host=… dbname=…` | a PostgreSQL database |
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for a URL of no known form; [`Error::Setup`] for a database this build
    /// leaves out, a schema this binary cannot use, a role that lacks a right;
    /// [`Error::Unavailable`] for a server that does not answer; [`Error::ModelMismatch`] for a
    /// database registered with another model, [`Error::LanguageMismatch`] for one whose memories
    /// are in another language than the one asked for; [`Error::Corrupt`] for a damaged file.
    pub async fn open(url: &str) -> Result<Self> {
        Self::builder(url).open().await
    }

    /// Starts opening a database with settings of one's own.
    pub fn builder(url: impl Into<String>) -> Builder {
        Builder::new(url.into())
    }

    /// Opens what a configuration says.
    ///
    /// # Errors
    ///
    /// As [`Mnemon::open`].
    pub async fn from_config(config: Config) -> Result<Self> {
        Builder::from(config).open().await
    }

    /// Opens PostgreSQL over a pool of the caller's, which stays the caller's to close.
    ///
    /// # Errors
    ///
    /// As [`Mnemon::open`].
    #[cfg(feature = "postgres")]
    pub async fn from_pool(pool: mnemon_postgres::PgPool) -> Result<Self> {
        Builder::from(Config::default()).pool(pool).open().await
    }

    /// A handle over a store that the caller opened: without an embedder, without upkeep. Closing
    /// it closes the store.
    pub fn over(store: Arc<dyn Store>) -> Self {
        let mut config = Config::default();
        config.upkeep.enabled = false;
        let opened = Opened {
            store,
            #[cfg(feature = "postgres")]
            postgres: None,
        };
        Self::assemble(
            opened,
            None,
            None,
            None,
            &config,
            "a store of the host's".to_owned(),
            Vec::new(),
        )
    }

    pub(crate) fn assemble(
        opened: Opened,
        embedder: Option<Arc<dyn Embedder>>,
        oracle: Option<Arc<dyn Oracle>>,
        summarizer: Option<Arc<dyn Summarizer>>,
        config: &Config,
        place: String,
        notices: Vec<String>,
    ) -> Self {
        let asker = oracle.map(|oracle| Arc::new(Asker::new(&opened.store, oracle)));
        let (closing, closed) = watch::channel(false);
        let timeout = config.turns.summarizer_timeout;
        let summaries =
            summarizer.map(|summarizer| Summaries { summarizer, timeout, closing: closed });
        let models = Arc::new(Models::of(embedder));
        let workers = Workers {
            asker: asker.clone(),
            summaries: summaries.clone(),
            models: Arc::clone(&models),
            log: config.events.clone(),
        };
        let background = Background::start(&opened.store, &config.upkeep, &workers);
        Self {
            inner: Arc::new(Inner {
                tails: Tails::new(&opened.store),
                gatherer: Arc::default(),
                store: opened.store,
                #[cfg(feature = "postgres")]
                postgres: opened.postgres,
                models,
                rejections: Rejections::default(),
                namespace: config.checkpoints.namespace.clone(),
                log: config.events.clone(),
                place,
                notices,
                asker,
                background,
                summaries,
                closing,
                closed: AtomicBool::new(false),
            }),
        }
    }

    /// Free-text memories.
    pub fn memories(&self) -> Memories<'_> {
        Memories { inner: &self.inner }
    }

    /// The event log.
    pub fn events(&self) -> Events<'_> {
        Events { inner: &self.inner }
    }

    /// Leases with fences.
    pub fn locks(&self) -> Locks<'_> {
        Locks { inner: &self.inner }
    }

    /// Versioned thread state.
    pub fn checkpoints(&self) -> Checkpoints<'_> {
        Checkpoints { inner: &self.inner }
    }

    /// What was said.
    pub fn turns(&self) -> Turns<'_> {
        Turns { inner: &self.inner }
    }

    /// What is believed.
    pub fn claims(&self) -> Claims<'_> {
        Claims { inner: &self.inner }
    }

    /// Workflow runs.
    pub fn workflows(&self) -> Workflows<'_> {
        Workflows { inner: &self.inner }
    }

    /// What failed.
    pub fn dead_letters(&self) -> DeadLetters<'_> {
        DeadLetters { inner: &self.inner }
    }

    pub(crate) fn inner(&self) -> &Inner {
        &self.inner
    }

    /// Which database this is.
    pub fn backend(&self) -> Backend {
        self.inner.store.backend()
    }

    /// Where the data is, without secrets.
    pub fn place(&self) -> &str {
        &self.inner.place
    }

    /// The scope of whoever does not say: tenant `local` in an embedded store, none on a server.
    pub fn default_scope(&self) -> Option<Scope> {
        (self.backend() == Backend::Sqlite).then(Scope::local)
    }

    /// The model text is embedded with; `None` when this database holds text only. A handle that
    /// has re-embedded answers the new one.
    pub fn model(&self) -> Option<ModelSignature> {
        self.inner.models.own().map(|embedder| embedder.signature().clone())
    }

    /// What opening has to tell a person, one sentence each: where the data is when nobody said,
    /// what this database cannot do.
    pub fn notices(&self) -> &[String] {
        &self.inner.notices
    }

    /// The store below, for what this handle does not offer. It takes no part in embedding, nor
    /// in the watch over refused scopes.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.inner.store
    }

    /// Asks the database whether it answers, and how fast.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`] when it does not; [`Error::Closed`].
    pub async fn health(&self) -> Result<StoreHealth> {
        self.inner.ready()?;
        self.inner.store.health().await
    }

    /// Looks the installation over: one finding per check, each bad one with its fix.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`] when the database does not answer; [`Error::Closed`].
    pub async fn doctor(&self) -> Result<Vec<Finding>> {
        self.inner.ready()?;
        let mut findings = vec![Finding::ok("mnemon", crate::VERSION)];
        findings.extend(self.inner.store.doctor().await?);
        let status = self.inner.store.upkeep().status().await?;
        let ours = [self.clock().await?, self.embedder_finding()];
        for finding in ours.into_iter().chain(upkeep::findings(&status, Utc::now())) {
            // The store knows more of what it looked at itself.
            if !findings.iter().any(|other| other.check == finding.check) {
                findings.push(finding);
            }
        }
        Ok(findings)
    }

    async fn clock(&self) -> Result<Finding> {
        let health = self.inner.store.health().await?;
        let skew = (health.now - Utc::now()).abs().to_std().unwrap_or_default();
        let message = format!("differs from this machine's by {} ms", skew.as_millis());
        Ok(if skew <= limits::CLOCK_SKEW {
            Finding::ok("clock", message)
        } else {
            troubles::CLOCK_SKEWED.found(message, &[])
        })
    }

    fn embedder_finding(&self) -> Finding {
        match self.model() {
            Some(model) if model.semantic => Finding::ok("embedder", model.name),
            Some(model) => Finding::ok(
                "embedder",
                format!("{}: keyword search, until a model is set", model.name),
            ),
            None => troubles::NO_VECTORS.found("recall is by words only", &[]),
        }
    }

    /// Runs the due upkeep tasks once, to their end.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`] when the database does not answer; [`Error::Closed`]. A task that
    /// fails does not stop the others: its report says so.
    pub async fn upkeep(&self, options: &UpkeepOptions) -> Result<UpkeepReport> {
        self.inner.ready()?;
        upkeep::run(&self.inner.store, options, &self.inner.workers()).await
    }

    /// How every upkeep task stands.
    ///
    /// # Errors
    ///
    /// As [`Mnemon::upkeep`].
    pub async fn upkeep_status(&self) -> Result<Vec<TaskStatus>> {
        self.inner.ready()?;
        self.inner.store.upkeep().status().await
    }

    /// Refuses new calls at once with [`Error::Closed`], lets running ones end, stops upkeep and
    /// releases every connection. Closing again does nothing.
    pub async fn close(&self) {
        if self.inner.closed.swap(true, Ordering::AcqRel) {
            return;
        }
        self.inner.closing.send_replace(true);
        self.inner.background.stop().await;
        self.inner.store.close().await;
    }

    /// As [`Mnemon::close`], but waits no longer than `deadline`; whether everything had ended by
    /// then. What had not is left to end by itself: what is acknowledged is kept all the same.
    pub async fn close_within(&self, deadline: Duration) -> bool {
        tokio::time::timeout(deadline, self.close()).await.is_ok()
    }
}

#[cfg(all(test, feature = "sqlite"))]
impl Mnemon {
    /// What every facade call ends with, for tests of the watch itself.
    pub(crate) async fn watched<T>(&self, scope: &Scope, outcome: Result<T>) -> Result<T> {
        self.inner.watched(scope, outcome).await
    }
}

impl fmt::Debug for Mnemon {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mnemon").field("place", &self.inner.place).finish_non_exhaustive()
    }
}

impl Inner {
    /// Who of this handle does upkeep.
    pub(crate) fn workers(&self) -> Workers {
        Workers {
            asker: self.asker.clone(),
            summaries: self.summaries.clone(),
            models: Arc::clone(&self.models),
            log: self.log.clone(),
        }
    }

    /// The summariser, or what to set for one.
    pub(crate) fn summaries(&self) -> Result<&Summaries> {
        self.summaries.as_ref().ok_or_else(|| {
            Error::setup(
                "no summariser is configured",
                "set turns.summarizer, or give a Summarizer of your own in code",
            )
        })
    }

    /// Answers [`Error::Closed`] once the handle is closed, before anything else is done.
    pub(crate) fn ready(&self) -> Result<()> {
        if self.closed.load(Ordering::Acquire) { Err(Error::Closed) } else { Ok(()) }
    }

    /// Passes an outcome on, taking note of a refused scope.
    pub(crate) async fn watched<T>(&self, scope: &Scope, outcome: Result<T>) -> Result<T> {
        if let Err(Error::ScopeRequired { facet, missing }) = &outcome {
            self.rejections.note(self.store.as_ref(), scope, *facet, missing).await;
        }
        outcome
    }
}
