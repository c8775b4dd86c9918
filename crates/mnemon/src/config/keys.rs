//! The table of keys: name, kind, default, environment variable and meaning. Reading, help and
//! the documentation all come from here.

use mnemon_core::limits;
use mnemon_core::memories::Language;
use mnemon_core::migrations::MigrateMode;
use mnemon_core::turns::Strategy;
use mnemon_core::upkeep::Task;

use super::value::{self, Kind, Raw, Reason, Value};
use super::{Config, OracleChoice, Secret, SecretUrl};

/// Every section a file may have, in the order of the documentation, with what it is about.
/// One without keys is accepted empty: its keys come with the facet that reads them.
pub const SECTIONS: &[(&str, &str)] = &[
    ("store", "Where the data is."),
    ("pool", "Connections to PostgreSQL. Nothing here concerns an embedded store."),
    ("migrate", "What opening does about a schema older than the binary."),
    ("embedder", "What turns text into vectors."),
    ("memories", "Free-text memories."),
    ("claims", "How conflicts between claims are decided."),
    ("events", "The event log: how long it is kept, and whether it is searched."),
    ("retention", "How long things are kept. No keys yet."),
    ("checkpoints", "Versioned thread state."),
    ("turns", "Conversation memory: what a session's memory begins with, and who summarises."),
    ("upkeep", "Work that nobody waits for: counts, expiry, partitions."),
    ("limits", "Limits that an installation may move. No keys yet."),
];

/// One setting.
#[derive(Debug)]
pub struct Key {
    /// Its section of the file.
    pub section: &'static str,
    /// Its name there.
    pub name: &'static str,
    /// What it takes.
    pub kind: Kind,
    /// What it decides.
    pub meaning: &'static str,
    /// The default in words, where nothing is set by default.
    pub unset: &'static str,
    set: fn(&mut Config, Value),
    show: fn(&Config) -> Option<String>,
}

impl Key {
    /// Section and name: `pool.max_connections`.
    pub fn dotted(&self) -> String {
        format!("{}.{}", self.section, self.name)
    }

    /// The environment variable that sets it.
    pub fn env(&self) -> String {
        if (self.section, self.name) == ("store", "url") {
            return "MNEMON_URL".to_owned();
        }
        format!("MNEMON_{}_{}", self.section, self.name).to_uppercase()
    }

    /// The default as a file would say it; `None` where nothing is set.
    pub fn default(&self) -> Option<String> {
        self.show(&Config::default())
    }

    /// The value in effect, secrets hidden.
    pub fn show(&self, config: &Config) -> Option<String> {
        (self.show)(config)
    }

    pub(super) fn set_text(&self, config: &mut Config, text: &str) -> Result<(), Reason> {
        (self.set)(config, value::from_text(self.kind, text)?);
        Ok(())
    }

    pub(super) fn set_raw(&self, config: &mut Config, raw: Raw) -> Result<(), Reason> {
        (self.set)(config, value::from_raw(self.kind, raw)?);
        Ok(())
    }
}

const TASKS: &[&str] = &{
    let mut names = [""; Task::ALL.len()];
    let mut at = 0;
    while at < names.len() {
        names[at] = Task::ALL[at].name();
        at += 1;
    }
    names
};

/// One line of the table: the field is named once, its type decides how it is set and shown.
macro_rules! key {
    ($section:ident . $name:ident, $kind:expr, $meaning:literal) => {
        key!($section.$name, $kind, $meaning, "")
    };
    ($section:ident . $name:ident, $kind:expr, $meaning:literal, $unset:literal) => {
        Key {
            section: stringify!($section),
            name: stringify!($name),
            kind: $kind,
            meaning: $meaning,
            unset: $unset,
            set: |config, value| config.$section.$name = Setting::of(value),
            show: |config| config.$section.$name.shown(),
        }
    };
}

/// Every setting, in the order of the documentation.
pub const KEYS: &[Key] = &[
    key!(
        store.url,
        Kind::Url,
        "The database: `sqlite://PATH`, `sqlite::memory:`, `postgres://…`, `postgresql://…`, or \
         libpq's `host=… dbname=…`.",
        "`mnemon.db` in the platform's data folder"
    ),
    key!(store.direct_url, Kind::Url, "PostgreSQL past any pooler, for migrations.", "`store.url`"),
    key!(
        store.maintenance_url,
        Kind::Url,
        "PostgreSQL as the tables' owner, for upkeep while row-level security is on.",
        "`store.url`"
    ),
    key!(pool.max_connections, Kind::Count(1), "The most connections open at once."),
    key!(pool.min_connections, Kind::Count(0), "Connections kept open when nobody uses them."),
    key!(pool.acquire_timeout, Kind::Duration, "How long a call waits for a connection."),
    key!(pool.idle_timeout, Kind::Duration, "After this long unused a connection is closed."),
    key!(pool.max_lifetime, Kind::Duration, "After this long a connection is replaced."),
    key!(pool.statement_timeout, Kind::Duration, "The longest one statement may run."),
    key!(
        pool.max_waiting,
        Kind::Count(0),
        "Calls that may wait for a connection; one more is refused at once."
    ),
    key!(
        migrate.mode,
        Kind::Choice(&["auto", "verify"]),
        "Bring an old schema up to date, or refuse it (for roles that may not change the schema)."
    ),
    key!(
        embedder.model,
        Kind::Text,
        "`lexical` (keywords, needs nothing), `local:DIR` or `openai:MODEL[@BASE_URL]`."
    ),
    key!(
        embedder.api_key,
        Kind::Secret,
        "The key that an `openai:` server asks for; never printed.",
        "none"
    ),
    key!(embedder.timeout, Kind::Duration, "How long an `openai:` server has for one answer."),
    key!(
        memories.language,
        Kind::Choice(&Language::NAMES),
        "The language that words are cut in: what a new database is made for, and what an existing \
         one must be; `mnemon memories language` changes it.",
        "the database's own; `english` for a new one"
    ),
    key!(
        checkpoints.namespace,
        Kind::Text,
        "The namespace of states that are saved as one value (`save_state`)."
    ),
    key!(
        checkpoints.key_file,
        Kind::Text,
        "The file with the keys under which values and metadata are encrypted at rest.",
        "nothing is encrypted"
    ),
    key!(
        claims.oracle,
        Kind::Choice(&["none", "human"]),
        "Who is asked about a conflict: nobody (it stays contested), or people, by `mnemon claims \
         pending` and `mnemon claims adjudicate`. A host may bring an oracle of its own."
    ),
    key!(
        claims.adjudication_ttl,
        Kind::Duration,
        "How long an answer may take; then the claim is contested.",
        "as long as it likes"
    ),
    key!(
        events.keep_months,
        Kind::Count(1),
        "Whole months of the event log that are kept beside the one that runs; upkeep archives and \
         removes older ones.",
        "all"
    ),
    key!(
        events.archive_to,
        Kind::Text,
        "The folder that months of the event log are archived to before they are removed; \
         `nowhere` removes them without an archive.",
        "none; nothing is removed"
    ),
    key!(
        events.search,
        Kind::Switch,
        "Whether upkeep indexes the words of events, so that they can be searched."
    ),
    key!(
        turns.strategy,
        Kind::Choice(&Strategy::NAMES),
        "Which part of the turns a context holds, of a memory that is not configured itself."
    ),
    key!(
        turns.budget_tokens,
        Kind::Count(limits::TURN_BUDGET_TOKENS_MIN),
        "Tokens of a context.",
        "4000; unlimited for `rolling_summary`"
    ),
    key!(turns.full_zone_turns, Kind::Count(1), "Newest turns that are never summarised."),
    key!(turns.retention, Kind::Duration, "How long turns are kept.", "until they are deleted"),
    key!(
        turns.recovery_backlog_max,
        Kind::Count(1),
        "Turns that may wait for a failing summariser before it is tried only once an hour."
    ),
    key!(
        turns.summarizer,
        Kind::Text,
        "`none`, `outline` (a line a turn, needs nothing) or `openai:MODEL[@BASE_URL]`."
    ),
    key!(
        turns.summarizer_timeout,
        Kind::Duration,
        "How long the summariser has for one answer; at most 4 minutes."
    ),
    key!(
        turns.api_key,
        Kind::Secret,
        "The key that an `openai:` summariser asks for; never printed.",
        "none"
    ),
    key!(
        turns.tokenizer,
        Kind::Choice(&["estimate", "o200k_base", "cl100k_base"]),
        "How tokens are counted: a quarter of the bytes, or as OpenAI's models do (feature `tiktoken`)."
    ),
    key!(upkeep.enabled, Kind::Switch, "Whether an open handle does upkeep in the background."),
    key!(upkeep.only, Kind::Words(TASKS), "The tasks this process does.", "all"),
    key!(upkeep.skip, Kind::Words(TASKS), "The tasks this process leaves to others.", "none"),
];

/// A field's type: how it takes a value of its key's kind, and how it is shown.
///
/// A key and its field disagree only by a mistake in the table, which a test finds.
trait Setting {
    fn of(value: Value) -> Self;
    fn shown(&self) -> Option<String>;
}

impl Setting for Option<SecretUrl> {
    fn of(value: Value) -> Self {
        Some(SecretUrl::new(String::of(value)))
    }

    fn shown(&self) -> Option<String> {
        self.as_ref().map(ToString::to_string)
    }
}

impl Setting for Option<Secret> {
    fn of(value: Value) -> Self {
        Some(Secret::new(String::of(value)))
    }

    fn shown(&self) -> Option<String> {
        self.as_ref().map(ToString::to_string)
    }
}

impl Setting for String {
    fn of(value: Value) -> Self {
        match value {
            Value::Text(text) => text,
            other => unreachable!("a text key was given {other:?}"),
        }
    }

    fn shown(&self) -> Option<String> {
        Some(self.clone())
    }
}

impl Setting for Option<String> {
    fn of(value: Value) -> Self {
        Some(String::of(value))
    }

    fn shown(&self) -> Option<String> {
        self.clone()
    }
}

impl Setting for std::time::Duration {
    fn of(value: Value) -> Self {
        match value {
            Value::Duration(duration) => duration,
            other => unreachable!("a duration key was given {other:?}"),
        }
    }

    fn shown(&self) -> Option<String> {
        Some(value::show_duration(*self))
    }
}

impl Setting for Option<std::time::Duration> {
    fn of(value: Value) -> Self {
        Some(std::time::Duration::of(value))
    }

    fn shown(&self) -> Option<String> {
        self.map(value::show_duration)
    }
}

impl Setting for Option<u32> {
    fn of(value: Value) -> Self {
        Some(u32::of(value))
    }

    fn shown(&self) -> Option<String> {
        self.map(|count| count.to_string())
    }
}

impl Setting for u32 {
    fn of(value: Value) -> Self {
        match value {
            Value::Count(count) => count,
            other => unreachable!("a count key was given {other:?}"),
        }
    }

    fn shown(&self) -> Option<String> {
        Some(self.to_string())
    }
}

impl Setting for bool {
    fn of(value: Value) -> Self {
        match value {
            Value::Switch(on) => on,
            other => unreachable!("a switch key was given {other:?}"),
        }
    }

    fn shown(&self) -> Option<String> {
        Some(self.to_string())
    }
}

impl Setting for OracleChoice {
    fn of(value: Value) -> Self {
        if String::of(value) == "human" { Self::Human } else { Self::None }
    }

    fn shown(&self) -> Option<String> {
        Some(if *self == Self::Human { "human" } else { "none" }.to_owned())
    }
}

impl Setting for Option<Language> {
    fn of(value: Value) -> Self {
        String::of(value).parse().ok()
    }

    fn shown(&self) -> Option<String> {
        self.map(|language| language.to_string())
    }
}

impl Setting for MigrateMode {
    fn of(value: Value) -> Self {
        if String::of(value) == "verify" { Self::Verify } else { Self::Auto }
    }

    fn shown(&self) -> Option<String> {
        Some(if *self == Self::Verify { "verify" } else { "auto" }.to_owned())
    }
}

impl Setting for Vec<Task> {
    fn of(value: Value) -> Self {
        match value {
            Value::Words(names) => names
                .into_iter()
                .filter_map(|name| Task::ALL.into_iter().find(|task| task.name() == name))
                .collect(),
            other => unreachable!("a list key was given {other:?}"),
        }
    }

    fn shown(&self) -> Option<String> {
        let names: Vec<&str> = self.iter().map(|task| task.name()).collect();
        (!names.is_empty()).then(|| names.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_takes_a_value_of_its_kind_and_shows_it() {
        for key in KEYS {
            let text = match key.kind {
                Kind::Text => "openai:x",
                Kind::Url => "postgres://db.example/mnemon",
                Kind::Secret => "hidden",
                Kind::Duration => "7s",
                Kind::Count(_) => "77",
                Kind::Switch if key.default().as_deref() == Some("false") => "true",
                Kind::Switch => "false",
                Kind::Choice(words) | Kind::Words(words) => words[words.len() - 1],
            };
            let mut config = Config::default();

            key.set_text(&mut config, text).unwrap();

            assert_eq!(key.show(&config).as_deref(), Some(text), "{}", key.dotted());
            assert_ne!(key.show(&config), key.default(), "{}", key.dotted());
        }
    }

    #[test]
    fn every_key_stands_in_a_known_section_once() {
        for (at, key) in KEYS.iter().enumerate() {
            assert!(SECTIONS.iter().any(|(name, _)| *name == key.section), "{}", key.dotted());
            assert!(KEYS[..at].iter().all(|other| other.dotted() != key.dotted()));
        }
    }
}
