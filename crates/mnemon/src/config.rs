//! Configuration: code over environment over file over defaults, every key in one table.
//!
//! The file is the first there is of: the one named in code or by `--config`, `MNEMON_CONFIG`,
//! `./mnemon.toml`, `mnemon/mnemon.toml` in the platform's config folder. Without any of them
//! Mnemon is embedded: one SQLite file in the platform's data folder. Unknown keys and sections
//! are refused, with the file's name and line and the list of known ones.

mod docs;
mod file;
mod keys;
mod surroundings;
mod value;

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono::{DateTime, Utc};
use mnemon_core::events::Month;
use mnemon_core::memories::Language;
use mnemon_core::migrations::MigrateMode;
use mnemon_core::upkeep::Task;
use mnemon_core::{Error, Result, limits};

pub use docs::markdown;
pub use keys::{KEYS, Key, SECTIONS};
pub use surroundings::Surroundings;
pub use value::Kind;

use crate::events::ArchiveOptions;
use crate::location;

/// Everything an installation can choose. [`Config::load`] reads it; code may change it after.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Config {
    /// Where the data is.
    pub store: StoreConfig,
    /// Connections to PostgreSQL.
    pub pool: PoolConfig,
    /// What opening does about an old schema.
    pub migrate: MigrateConfig,
    /// What turns text into vectors.
    pub embedder: EmbedderConfig,
    /// Free-text memories.
    pub memories: MemoriesConfig,
    /// Versioned thread state.
    pub checkpoints: CheckpointsConfig,
    /// How claims are decided.
    pub claims: ClaimsConfig,
    /// The event log.
    pub events: EventsConfig,
    /// Conversation memory.
    pub turns: TurnsConfig,
    /// Work that nobody waits for.
    pub upkeep: UpkeepConfig,
    /// The file this was read from, if one was.
    pub file: Option<PathBuf>,
}

/// `[store]`
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct StoreConfig {
    /// The database; absent: the embedded file in the platform's data folder.
    pub url: Option<SecretUrl>,
    /// PostgreSQL past any pooler, for migrations and the listener.
    pub direct_url: Option<SecretUrl>,
    /// PostgreSQL as the owner, for upkeep under row-level security.
    pub maintenance_url: Option<SecretUrl>,
}

/// `[pool]`
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PoolConfig {
    /// The most connections open at once.
    pub max_connections: u32,
    /// Connections kept open when nobody uses them.
    pub min_connections: u32,
    /// How long a call waits for a connection.
    pub acquire_timeout: Duration,
    /// After this long unused a connection is closed.
    pub idle_timeout: Duration,
    /// After this long a connection is replaced.
    pub max_lifetime: Duration,
    /// The longest one statement may run.
    pub statement_timeout: Duration,
    /// Calls that may wait for a connection; one more is refused at once.
    pub max_waiting: u32,
}

impl Default for PoolConfig {
    fn default() -> Self {
        Self {
            max_connections: limits::POOL_MAX,
            min_connections: 0,
            acquire_timeout: limits::ACQUIRE_TIMEOUT,
            idle_timeout: limits::IDLE_TIMEOUT,
            max_lifetime: limits::CONNECTION_LIFETIME,
            statement_timeout: limits::STATEMENT_TIMEOUT,
            max_waiting: limits::WAITING_MAX,
        }
    }
}

/// `[migrate]`
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct MigrateConfig {
    /// Bring an old schema up to date, or refuse it.
    pub mode: MigrateMode,
}

/// `[embedder]`
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EmbedderConfig {
    /// `lexical`, `local:DIR` or `openai:MODEL[@BASE_URL]`.
    pub model: String,
    /// What an `openai:` server wants to see.
    pub api_key: Option<Secret>,
    /// How long an `openai:` server has for one answer.
    pub timeout: Duration,
}

impl Default for EmbedderConfig {
    fn default() -> Self {
        Self { model: "lexical".to_owned(), api_key: None, timeout: limits::MODEL_TIMEOUT }
    }
}

/// `[memories]`
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct MemoriesConfig {
    /// The language that words are cut in; absent: the database's own, English for a new one.
    pub language: Option<Language>,
}

/// `[checkpoints]`
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct CheckpointsConfig {
    /// The namespace of states that are saved as one value.
    pub namespace: String,
    /// The file with the keys under which values and metadata are encrypted; absent: they are not.
    pub key_file: Option<String>,
}

/// `[claims]`
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ClaimsConfig {
    /// Who is asked about conflicts, unless the host brings an oracle of its own.
    pub oracle: OracleChoice,
    /// How long an answer may take; absent: as long as it likes.
    pub adjudication_ttl: Option<Duration>,
}

/// Who is asked about conflicts between claims.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum OracleChoice {
    /// Nobody: they stay contested.
    #[default]
    None,
    /// People, by `mnemon claims pending` and `mnemon claims adjudicate`.
    Human,
}

/// `[events]`
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct EventsConfig {
    /// Whole months that are kept beside the one that runs; absent: all.
    pub keep_months: Option<u32>,
    /// The folder that older months are archived to before they are removed, or
    /// [`EventsConfig::NOWHERE`]; absent: nothing is removed.
    pub archive_to: Option<String>,
    /// Whether upkeep indexes events so that they can be searched.
    pub search: bool,
}

impl EventsConfig {
    /// Instead of a folder: older months are removed without an archive.
    pub const NOWHERE: &str = "nowhere";

    /// What leaves the log at a time, where retention is on.
    pub(crate) fn retention(&self, now: DateTime<Utc>) -> Option<ArchiveOptions> {
        let (months, to) = (self.keep_months?, self.archive_to.as_ref()?);
        let before = Month::of(now).back(months).start();
        let to = (to != Self::NOWHERE).then(|| PathBuf::from(to));
        Some(ArchiveOptions { before, to, dry_run: false })
    }
}

/// `[turns]`
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TurnsConfig {
    /// `none`, `truncation` or `rolling_summary`: of a memory that begins without being configured.
    pub strategy: String,
    /// Tokens of its contexts.
    pub budget_tokens: Option<u32>,
    /// Its newest turns that are never summarised.
    pub full_zone_turns: u32,
    /// How long its turns are kept.
    pub retention: Option<Duration>,
    /// Turns that may wait for a failing summariser before it is tried only once an hour.
    pub recovery_backlog_max: u32,
    /// `none`, `outline` or `openai:MODEL[@BASE_URL]`.
    pub summarizer: String,
    /// How long the summariser has for one answer.
    pub summarizer_timeout: Duration,
    /// The key that its server asks for.
    pub api_key: Option<Secret>,
    /// `estimate`, `o200k_base` or `cl100k_base`.
    pub tokenizer: String,
}

impl Default for TurnsConfig {
    fn default() -> Self {
        Self {
            strategy: "truncation".to_owned(),
            budget_tokens: None,
            full_zone_turns: limits::FULL_ZONE_TURNS,
            retention: None,
            recovery_backlog_max: limits::SUMMARY_BACKLOG_MAX,
            summarizer: "none".to_owned(),
            summarizer_timeout: limits::SUMMARY_TIMEOUT,
            api_key: None,
            tokenizer: "estimate".to_owned(),
        }
    }
}

/// `[upkeep]`
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UpkeepConfig {
    /// Whether this process does upkeep in the background.
    pub enabled: bool,
    /// The tasks this process does; empty: all.
    pub only: Vec<Task>,
    /// The tasks this process leaves to others.
    pub skip: Vec<Task>,
}

impl Default for UpkeepConfig {
    fn default() -> Self {
        Self { enabled: true, only: Vec::new(), skip: Vec::new() }
    }
}

impl Config {
    /// Reads the configuration of this process; `file` is the one `--config` names.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for an unknown section, key or value, naming the file and line;
    /// [`Error::Setup`] for a file that cannot be read.
    pub fn load(file: Option<&Path>) -> Result<Self> {
        Self::load_in(&Surroundings::of_process(), file)
    }

    /// Reads the configuration as [`Config::load`] would in other surroundings.
    ///
    /// # Errors
    ///
    /// As [`Config::load`].
    pub fn load_in(surroundings: &Surroundings, file: Option<&Path>) -> Result<Self> {
        let mut config = Self { file: surroundings.find(file)?, ..Self::default() };
        if let Some(path) = config.file.clone() {
            file::read(&path, &mut config)?;
        }
        for (name, text) in surroundings.settings() {
            let Some(key) = KEYS.iter().find(|key| key.env() == name) else {
                return Err(unknown_variable(name));
            };
            key.set_text(&mut config, text)
                .map_err(|reason| Error::invalid(format!("environment {name}"), reason))?;
        }
        Ok(config)
    }

    /// The database's URL: the configured one, or the embedded default.
    ///
    /// # Errors
    ///
    /// [`Error::Setup`] when none is configured and the platform has no data folder.
    pub fn url(&self) -> Result<SecretUrl> {
        match &self.store.url {
            Some(url) => Ok(url.clone()),
            None => location::default_url(),
        }
    }

    /// Sets a key by its dotted name, `pool.max_connections`, from text, as the environment does.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for an unknown key, listing the known ones, or an unusable value.
    pub fn set(&mut self, name: &str, text: &str) -> Result<()> {
        let key = KEYS.iter().find(|key| key.dotted() == name).ok_or_else(|| {
            let known: Vec<String> = KEYS.iter().map(Key::dotted).collect();
            Error::invalid(name.to_owned(), format!("is no key; known are {}", known.join(", ")))
        })?;
        key.set_text(self, text).map_err(|reason| Error::invalid(name.to_owned(), reason))
    }

    /// Every key with its value in effect, secrets hidden; `None` where nothing is set.
    pub fn effective(&self) -> Vec<(&'static Key, Option<String>)> {
        KEYS.iter().map(|key| (key, key.show(self))).collect()
    }
}

fn unknown_variable(name: &str) -> Error {
    let known: Vec<String> = KEYS.iter().map(Key::env).collect();
    Error::invalid(
        format!("environment {name}"),
        format!("is no setting; known are {}", known.join(", ")),
    )
}

/// A password or key: neither `Debug` nor `Display` shows it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The secret itself, for whom it is meant.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("hidden")
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

/// A connection string that may hold a password: neither `Debug` nor `Display` shows it.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretUrl(String);

impl SecretUrl {
    /// Wraps a connection string.
    pub fn new(url: impl Into<String>) -> Self {
        Self(url.into())
    }

    /// The string with its secrets, for opening a connection.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl From<&str> for SecretUrl {
    fn from(url: &str) -> Self {
        Self::new(url)
    }
}

impl From<String> for SecretUrl {
    fn from(url: String) -> Self {
        Self::new(url)
    }
}

impl fmt::Display for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&location::redacted(&self.0))
    }
}

impl fmt::Debug for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}
