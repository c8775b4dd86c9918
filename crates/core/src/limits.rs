//! Every limit, by name, in one place; and the checks that say them.

use std::time::Duration;

use crate::error::{Error, Result};

/// The longest name in a scope (tenant, user, agent, session, run, group), in bytes.
pub const SCOPE_NAME_BYTES: usize = 256;
/// Groups one scope may carry.
pub const SCOPE_GROUPS: usize = 64;
/// The longest request id, in bytes.
pub const REQUEST_ID_BYTES: usize = 256;

/// The largest page of any list.
pub const PAGE_MAX: u32 = 500;
/// A page's size when the caller does not say.
pub const PAGE_DEFAULT: u32 = 50;
/// The longest cursor accepted, in bytes.
pub const CURSOR_BYTES: usize = 2048;

/// The longest memory, in bytes of UTF-8.
pub const MEMORY_CONTENT_BYTES: usize = 64 * 1024;
/// The longest memory key, in bytes.
pub const MEMORY_KEY_BYTES: usize = 512;
/// The longest namespace, in bytes, all parts together.
pub const NAMESPACE_BYTES: usize = 512;
/// Parts one namespace may have.
pub const NAMESPACE_PARTS: usize = 16;
/// The longest node type, in bytes.
pub const NODE_TYPE_BYTES: usize = 64;
/// Tags one memory may carry.
pub const TAGS_MAX: usize = 64;
/// The longest tag, domain, codebase or source, in bytes.
pub const LABEL_BYTES: usize = 256;
/// Domains one memory may belong to.
pub const DOMAINS_MAX: usize = 64;
/// The largest metadata object, in bytes of JSON.
pub const METADATA_BYTES: usize = 32 * 1024;
/// Memories one `remember_many` may carry.
pub const REMEMBER_BATCH: usize = 500;
/// Memories of one scope that one statement writes together, where they come one by one.
pub const MEMORIES_TOGETHER: usize = 64;
/// Statements of one process that write the memories of one scope at once; more wait and are written
/// together.
pub const MEMORY_WRITERS: u32 = 2;
/// Hits one recall may ask for.
pub const RECALL_MAX: u32 = 200;
/// Hits of a recall when the caller does not say.
pub const RECALL_DEFAULT: u32 = 10;
/// The longest recall text, in bytes of UTF-8.
pub const RECALL_TEXT_BYTES: usize = 64 * 1024;
/// Distinct words of a question that are searched for; the rarest are kept.
pub const QUERY_TERMS: usize = 64;
/// Rows the text branch scores at the most; the newest are kept beyond it.
pub const TEXT_CANDIDATES: u32 = 1_000;
/// Words too frequent to find alone that are sought in pairs, the rarest of them.
pub const TEXT_PAIRED: usize = 8;
/// A word in more than this share of a tenant's memories is common: it finds no candidates of
/// its own while a rarer word of the question does.
pub const COMMON_SHARE: f64 = 0.10;
/// Below this many memories no word is common.
pub const COMMON_FLOOR: u64 = 1_000;
/// Each branch of a recall fetches this many times the limit …
pub const OVERFETCH: u32 = 3;
/// … and at least this many.
pub const OVERFETCH_MIN: u32 = 50;
/// The longest lexeme kept, in bytes; longer words are cut at a character boundary.
pub const LEXEME_BYTES: usize = 256;
/// Occurrences of one word that count in one memory (PostgreSQL keeps no more in a tsvector).
pub const LEXEME_POSITIONS: usize = 255;
/// The largest word position (PostgreSQL's own limit); later words keep it.
pub const LEXEME_POSITION_MAX: u16 = 16_383;
/// Tests of the metadata one filter may carry.
pub const METADATA_TESTS: usize = 16;
/// Values one `in` test may list.
pub const METADATA_IN: usize = 64;
/// The least stability of a memory, in days.
pub const STABILITY_MIN: f64 = 0.001;
/// The greatest stability of a memory, in days.
pub const STABILITY_MAX: f64 = 36_500.0;
/// The probability of recall at which a memory is due.
pub const DESIRED_RETENTION: f64 = 0.9;
/// The longest type of an edge, in bytes.
pub const EDGE_TYPE_BYTES: usize = 64;
/// Hops a walk to neighbours may take.
pub const GRAPH_DEPTH: u32 = 6;
/// Memories a walk answers, and goes on from at each hop: the strongest.
pub const GRAPH_NODES: usize = 256;
/// Edges a walk reads at each hop, in each direction: the strongest.
pub const GRAPH_EDGES: u32 = 4_096;
/// Hops activation may spread in a recall.
pub const SPREAD_DEPTH: u32 = 3;
/// What is left of activation after each hop.
pub const SPREAD_DECAY: f64 = 0.7;
/// Activation below this goes no further.
pub const SPREAD_CUT: f64 = 0.1;
/// Typical words one domain may have.
pub const DOMAIN_TERMS: usize = 64;
/// Memories one sweep removes at the most.
pub const SWEEP_BATCH: u32 = 1_000;
/// Memory that an embedded store's vectors may take, in bytes: some 300,000 of 384 dimensions. A
/// set with more is read from the file by every question.
pub const VECTOR_BYTES: usize = 256 * 1024 * 1024;
/// Changes of vectors that an embedded store keeps a log of; a process further behind reads all
/// vectors anew.
pub const VECTOR_CHANGES: i64 = 100_000;
/// Vectors compared exactly at first, beyond twice what is asked for.
pub const VECTOR_SLACK: usize = 28;
/// Memories that are tried to learn how much a filter lets through.
pub const FILTER_SAMPLE: usize = 256;
/// What a filter lets through is listed first when otherwise more than this part of what the scope
/// sees would be tried …
pub const FILTER_FIRST_SHARE: usize = 8;
/// … but not for fewer than this.
pub const FILTER_FIRST_MIN: usize = 1_000;
/// The largest embedding, in dimensions.
pub const EMBEDDING_DIMENSIONS: usize = 16_000;
/// Above this many dimensions an approximate index is not possible (pgvector, halfvec).
pub const INDEXED_DIMENSIONS: usize = 4_000;
/// Vectors that stand unindexed, compared one by one, before upkeep builds an index over them.
pub const UNINDEXED_ROWS: u64 = 5_000;
/// Above this many unindexed vectors their writers are slowed, never refused.
pub const UNINDEXED_SLOW: u64 = 50_000;
/// The longest that a writer of vectors is made to wait.
pub const UNINDEXED_PAUSE: Duration = Duration::from_millis(500);
/// Vectors moved into one new segment at the most.
pub const SEGMENT_ROWS: u32 = 50_000;
/// Vectors copied into a segment in one transaction.
pub const SEGMENT_COPY: u32 = 5_000;
/// The index of a segment of up to so many vectors is built by one process of the server; of a
/// larger one by as many as the server allows.
pub const SEGMENT_SERIAL_ROWS: u64 = 100_000;
/// Segments of a set that are searched one after the other before they are merged at once; fewer
/// are merged when nothing is written.
pub const SEGMENTS_MAX: usize = 8;
/// Of too many segments, those that are merged at once while vectors come in.
pub const SEGMENTS_MERGED: usize = 4;
/// Vectors of a merged segment at the most.
pub const SEGMENT_MERGED_ROWS: u64 = 1_000_000;
/// Without a new segment for this long, small ones are merged.
pub const SEGMENTS_IDLE: Duration = Duration::from_secs(30);
/// How long a merged segment is kept for those who began to read it: longer than any statement.
pub const SEGMENT_KEPT: Duration = Duration::from_mins(10);
/// How often one who waits for upkeep's segments looks whether they are done.
pub const SEGMENT_WAIT: Duration = Duration::from_millis(200);
/// The longest that an index may take to build.
pub const SEGMENT_BUILD: Duration = Duration::from_hours(6);
/// Neighbours that a search of an index keeps in view, at least; and of its rows, that many
/// times the limit of its branch.
pub const EF_SEARCH_MIN: u32 = 120;
/// The most that pgvector takes.
pub const EF_SEARCH_MAX: u32 = 1_000;
/// Of more memories than these that pass scope and filter, the vectors are never all compared
/// while an index can be asked.
pub const EXACT_ROWS: u64 = 10_000;
/// Memories that one batch embeds when a model is changed, unless the caller says; at the most
/// [`PAGE_MAX`].
pub const REEMBED_BATCH: u32 = 128;
/// How long the right to fill an embedding set lasts after a sign of life: longer than the model
/// needs for one batch.
pub const FILL_LEASE: Duration = Duration::from_mins(2);
/// Passes that look for memories a new embedding set lacks before those that writers without its
/// model wrote during the last pass are left to be embedded after the switch.
pub const REEMBED_PASSES: u32 = 4;
/// Passes after which filling a set is given up: others change memories faster than they are
/// embedded.
pub const REEMBED_PASSES_MAX: u32 = 64;
/// Memories that a dry run embeds to estimate how long all take.
pub const REEMBED_SAMPLE: u32 = 32;
/// Texts that one request to a model server carries.
pub const EMBED_TEXTS: usize = 128;
/// Bytes of text that one request to a model server carries, unless one text alone has more.
pub const EMBED_REQUEST_BYTES: usize = 256 * 1024;
/// What a model server gets of one text; longer ones stand by their beginning.
pub const EMBED_TEXT_BYTES: usize = 16 * 1024;
/// Texts that a local model takes in one go.
pub const LOCAL_BATCH: usize = 32;
/// Tokens of a text that a local model sees at the most, whatever it says of itself.
pub const LOCAL_TOKENS: usize = 512;
/// A local model that sees fewer tokens than this is not used.
pub const LOCAL_TOKENS_MIN: usize = 8;
/// How long a model server has for one answer.
pub const MODEL_TIMEOUT: Duration = Duration::from_secs(10);
/// Attempts at one request to a model server, the first included.
pub const MODEL_ATTEMPTS: usize = 3;
/// The longest pause that a model server may ask for within one call.
pub const MODEL_PAUSE_MAX: Duration = Duration::from_secs(5);
/// How long a model server that failed is left alone.
pub const MODEL_DOWN: Duration = Duration::from_secs(5);
/// The largest answer of a model server, in bytes.
pub const MODEL_ANSWER_BYTES: u64 = 64 * 1024 * 1024;
/// The longest model name, in bytes.
pub const MODEL_NAME_BYTES: usize = 256;

/// The longest event stream name, in bytes.
pub const STREAM_BYTES: usize = 512;
/// The largest event payload, in bytes of JSON.
pub const EVENT_BYTES: usize = 1024 * 1024;
/// The least time between two `scope.rejected` events of one tenant.
pub const SCOPE_REJECTED_EVERY: Duration = Duration::from_mins(1);
/// Months for which event partitions are made ahead.
pub const PARTITIONS_AHEAD: u32 = 3;

/// Events one append may carry.
pub const EVENT_BATCH: usize = 60_000;
/// The payloads of one append together, in bytes of JSON.
pub const APPEND_BYTES: usize = 64 * 1024 * 1024;
/// From this many events on an append goes through COPY, where that is possible.
pub const EVENT_COPY: usize = 50_000;
/// Appends one commit may carry.
pub const APPENDS: usize = 5_000;
/// Events one import may carry: a commit must not hold the event horizon back for long.
pub const IMPORT_BATCH: usize = 10_000;
/// How far back an import may reach: every month of it is a partition.
pub const IMPORT_AGE: chrono::TimeDelta = chrono::TimeDelta::days(50 * 365);
/// Kinds one filter of events may name.
pub const EVENT_KINDS: usize = 64;
/// Events one read of the log may ask for.
pub const READ_MAX: u32 = 5_000;
/// The text of one event that is searched, in bytes: its strings, from the first on.
pub const EVENT_SEARCH_BYTES: usize = 64 * 1024;
/// Candidates that one page of a search of events looks at; beyond them it ends early, with a
/// cursor.
pub const EVENT_SEARCH_SCANNED: u32 = 5_000;
/// Events that are read, and removed, at once when a month leaves the log.
pub const ARCHIVE_CHUNK: u32 = 5_000;
/// How long a process may archive or remove a part of a month without a sign of life.
pub const RETENTION_LEASE: Duration = Duration::from_mins(5);
/// How long removing a month waits for those who use the log, before it tries again …
pub const DETACH_WAIT: Duration = Duration::from_secs(2);
/// … and how often it tries.
pub const DETACH_ATTEMPTS: u32 = 5;
/// An event horizon held back for longer is an alarm.
pub const HORIZON_AGE: Duration = Duration::from_mins(1);
/// How long a process gathers before it tells the others that something was appended.
pub const ANNOUNCE_EVERY: Duration = Duration::from_millis(5);
/// Tenants that one announcement names; of more it says that anybody's may have moved.
pub const ANNOUNCE_HINTS: usize = 800;
/// How often the log is looked at without a hint while the listener stands …
pub const SUBSCRIPTION_POLL: Duration = Duration::from_secs(1);
/// … and while there is none.
pub const SUBSCRIPTION_POLL_ALONE: Duration = Duration::from_millis(250);
/// How often an embedded file is looked at for what other processes wrote.
pub const FILE_POLL: Duration = Duration::from_millis(20);
/// Partitions of a durable consumer when it does not say …
pub const CONSUMER_PARTS: u32 = 16;
/// … and at the most.
pub const CONSUMER_PARTS_MAX: u32 = 256;
/// Events that wait for a subscriber; a slower one falls back to reading the log.
pub const SUBSCRIPTION_BUFFER: usize = 1_000;

/// The longest lock key, in bytes.
pub const LOCK_KEY_BYTES: usize = 512;
/// The shortest lease.
pub const LEASE_MIN: Duration = Duration::from_millis(10);
/// The longest lease.
pub const LEASE_MAX: Duration = Duration::from_hours(24);

/// The first pause of a caller that waits for a key; it doubles …
pub const LOCK_WAIT_PAUSE: Duration = Duration::from_millis(10);
/// … up to this.
pub const LOCK_WAIT_PAUSE_MAX: Duration = Duration::from_millis(250);

/// The longest thread id or namespace of a thread, in bytes.
pub const THREAD_BYTES: usize = 512;
/// The longest checkpoint id, in bytes.
pub const CHECKPOINT_ID_BYTES: usize = 256;
/// Channels one checkpoint may change.
pub const CHANNELS_MAX: usize = 1_000;
/// The largest change of one checkpoint, in bytes.
pub const CHECKPOINT_BYTES: usize = 16 * 1024 * 1024;
/// The longest JSON value of a channel that is kept readable by SQL where asked, in bytes.
pub const READABLE_BYTES: usize = 8 * 1024;
/// The longest path of a task, in bytes.
pub const TASK_PATH_BYTES: usize = 1024;
/// Conditions on metadata one list may carry.
pub const CONDITIONS_MAX: usize = 32;
/// Checkpoints one list looks at in one call at the most.
pub const CHECKPOINTS_SCANNED: u32 = 10_000;
/// Threads or runs one removal may name.
pub const THREADS_BATCH: usize = 500;
/// The last activity of a thread moves at the most this often, so that saves stay cheap.
pub const ACTIVE_EVERY: Duration = Duration::from_mins(1);
/// The shortest time a thread may be kept without activity.
pub const TTL_MIN: Duration = Duration::from_secs(1);
/// The longest: ten years.
pub const TTL_MAX: Duration = Duration::from_hours(24 * 3_650);

/// The longest side of a turn, in bytes.
pub const TURN_MESSAGE_BYTES: usize = 1024 * 1024;
/// Artifact references one turn may carry.
pub const TURN_ARTIFACTS: usize = 256;
/// Tokens of a context when the session does not say.
pub const TURN_BUDGET_TOKENS: u32 = 4_000;
/// The smallest budget of a context, in tokens: a cut turn and its marker need as many.
pub const TURN_BUDGET_TOKENS_MIN: u32 = 16;
/// Newest turns that are never summarised when the session does not say.
pub const FULL_ZONE_TURNS: u32 = 4;
/// The most turns a session may keep from being summarised.
pub const FULL_ZONE_TURNS_MAX: u32 = 1_000;
/// Turns of a context at the most, whatever its budget.
pub const CONTEXT_TURNS: usize = 5_000;
/// The longest time turns may be kept before they expire.
pub const RETENTION_MAX: Duration = Duration::from_hours(24 * 365 * 100);
/// The largest portable copy of a session's turns, in bytes of JSON.
pub const TURN_EXPORT_BYTES: usize = 64 * 1024 * 1024;
/// The longest summary, in bytes.
pub const SUMMARY_BYTES: usize = 64 * 1024;
/// Tokens a summary should have when the session has no budget.
pub const SUMMARY_TOKENS: u32 = 1_000;
/// Turns one call of a summariser is given at the most …
pub const SUMMARY_BATCH_TURNS: u32 = 50;
/// … and bytes of what was said, unless a single turn has more.
pub const SUMMARY_BATCH_BYTES: usize = 256 * 1024;
/// How long the right to summarise a session lasts: longer than any call of a summariser.
pub const SUMMARY_LEASE: Duration = Duration::from_mins(5);
/// The longest a call of a summariser may take, unless the configuration says.
pub const SUMMARY_TIMEOUT: Duration = Duration::from_mins(1);
/// The longest time a configuration may give a summariser: its lease must outlast the call.
pub const SUMMARY_TIMEOUT_MAX: Duration = Duration::from_mins(4);
/// Failures of the summariser in a row after which a session is degraded.
pub const SUMMARY_FAILURES: u32 = 3;
/// How long upkeep leaves a session alone after a failure; it doubles with each, …
pub const SUMMARY_RETRY: Duration = Duration::from_secs(10);
/// … up to this.
pub const SUMMARY_RETRY_MAX: Duration = Duration::from_mins(10);
/// Turns that may wait for a failing summariser before it is tried only …
pub const SUMMARY_BACKLOG_MAX: u32 = 1_000;
/// … so often.
pub const SUMMARY_PAUSED: Duration = Duration::from_hours(1);
/// Sessions one look of upkeep for due summaries answers.
pub const SUMMARIES_DUE: u32 = 64;

/// The longest subject or predicate, in bytes.
pub const CLAIM_NAME_BYTES: usize = 512;
/// The largest value of a claim, in bytes of JSON.
pub const CLAIM_VALUE_BYTES: usize = 64 * 1024;
/// Parents one claim may have.
pub const CLAIM_PARENTS: usize = 64;
/// The longest reason for taking a claim back or for a verdict, in bytes.
pub const CLAIM_REASON_BYTES: usize = 4 * 1024;
/// The longest time an oracle may be given.
pub const ADJUDICATION_TTL_MAX: Duration = Duration::from_hours(24 * 3650);
/// Claims of different agents that one transaction writes together.
pub const CLAIMS_TOGETHER: usize = 64;
/// Transactions of one process that write claims together, at once.
pub const CLAIM_WRITERS: u32 = 2;
/// Lines one `reconcile` puts in order.
pub const RECONCILE_LINES: usize = 500;
/// Questions that one `escalate` or `reconcile` asks about a line at the most.
pub const LINE_QUESTIONS: usize = 16;
/// Re-entries of a claim within this long count as one flood.
pub const RE_ENTRY_WINDOW: Duration = Duration::from_hours(1);
/// The pause before a question is put to an oracle again; it doubles …
pub const ORACLE_PAUSE: Duration = Duration::from_secs(5);
/// … up to this.
pub const ORACLE_PAUSE_MAX: Duration = Duration::from_hours(1);
/// How long a question that is being put stays with the process that puts it.
pub const ORACLE_VISIBILITY: Duration = Duration::from_mins(2);
/// How long a run of upkeep waits for an oracle's answers.
pub const ORACLE_WAIT: Duration = Duration::from_secs(30);
/// Questions one process puts at once.
pub const ORACLE_AT_ONCE: u32 = 16;

/// The longest run id or repository, in bytes.
pub const RUN_ID_BYTES: usize = 512;
/// The largest state of a run, in bytes of JSON.
pub const RUN_STATE_BYTES: usize = 1024 * 1024;
/// Counters or timings one run may carry.
pub const RUN_COUNTERS: usize = 256;
/// The largest text of a workflow definition, in bytes.
pub const DEFINITION_BYTES: usize = 256 * 1024;
/// Parameters one workflow definition may have.
pub const DEFINITION_PARAMETERS: usize = 256;
/// The longest description of a workflow definition, in bytes.
pub const DESCRIPTION_BYTES: usize = 16 * 1024;

/// The longest item id of a dead letter, in bytes.
pub const ITEM_ID_BYTES: usize = 512;
/// The largest dead letter, in bytes of JSON.
pub const ITEM_BYTES: usize = 1024 * 1024;
/// The longest error of an attempt, in bytes.
pub const ERROR_BYTES: usize = 64 * 1024;
/// The longest time a taken item may stay invisible.
pub const VISIBILITY_MAX: Duration = Duration::from_hours(24 * 7);
/// Dead letters that one call over many of them handles in its transaction.
pub const LETTER_BATCH: u32 = 1_000;
/// Causes that the statistics of dead letters list.
pub const LETTER_SIGNATURES: u32 = 20;
/// The longest age that may be asked for when old rows are removed.
pub const AGE_MAX: Duration = Duration::from_hours(24 * 365 * 100);

/// Writes one step may carry.
pub const STEP_WRITES: usize = 256;
/// Guards one step may carry.
pub const STEP_GUARDS: usize = 16;
/// How long receipts are kept.
pub const RECEIPTS_KEPT: Duration = Duration::from_hours(24 * 30);

/// Connections of a pool.
pub const POOL_MAX: u32 = 10;
/// How long a caller waits for a connection.
pub const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(30);
/// How long one server is given to accept a connection, unless the connection string says.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// After this long unused a connection is closed.
pub const IDLE_TIMEOUT: Duration = Duration::from_mins(10);
/// After this long a connection is replaced.
pub const CONNECTION_LIFETIME: Duration = Duration::from_mins(30);
/// The longest a statement may run.
pub const STATEMENT_TIMEOUT: Duration = Duration::from_mins(1);
/// Callers that may wait for a connection; one more is told `Unavailable`.
pub const WAITING_MAX: u32 = 20_000;
/// Connection failures in a row that open the circuit breaker.
pub const BREAKER_FAILURES: u32 = 5;
/// How long an open breaker answers without trying.
pub const BREAKER_OPEN: Duration = Duration::from_secs(5);
/// Attempts at an idempotent operation, the first included.
pub const RETRY_ATTEMPTS: usize = 4;
/// The pause before the second attempt; it doubles, with jitter, …
pub const RETRY_PAUSE: Duration = Duration::from_millis(50);
/// … up to this.
pub const RETRY_PAUSE_MAX: Duration = Duration::from_secs(1);
/// A transaction as a whole may take this many statement timeouts.
pub const TRANSACTION_STATEMENTS: u32 = 5;
/// How long a migration waits for other users of a table before it tries again.
pub const LOCK_TIMEOUT: Duration = Duration::from_secs(5);
/// Reader threads of an embedded store when the caller does not say.
pub const READERS: usize = 4;
/// The most reader threads of an embedded store.
pub const READERS_MAX: usize = 64;
/// Waiting writes that an embedded store merges into one commit at the most.
pub const MERGED_WRITES: usize = 128;
/// How long `doctor` checks an embedded file for damage.
pub const INTEGRITY_CHECK: Duration = Duration::from_secs(10);
/// How long a process waits while another one changes the schema.
pub const MIGRATION_WAIT: Duration = Duration::from_mins(10);
/// How long SQLite waits for another process's write.
pub const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// The least similarity of a hit that only a model without meaning found, unless the caller says:
/// unrelated texts share letters up to about here.
pub const LEXICAL_SIMILARITY_MIN: f32 = 0.3;

/// Batches of one upkeep task that a process does in the background before the next task's turn.
pub const UPKEEP_BATCHES: u64 = 100;
/// How long a handle is open before its first upkeep.
pub const UPKEEP_PAUSE: Duration = Duration::from_secs(2);
/// How long closing waits for the upkeep batch under way.
pub const UPKEEP_STOP: Duration = Duration::from_secs(5);
/// A task with work waiting is overdue after this many of its intervals.
pub const UPKEEP_OVERDUE: u32 = 20;
/// Dead row versions of one table that `doctor` warns of, when they are also more than half of the live ones.
pub const DEAD_ROWS: i64 = 50_000;
/// A group of consumers without anybody at work is away once events are newer by more than this.
pub const CONSUMER_AWAY: Duration = Duration::from_mins(1);
/// Rows up to which the depths of queues are counted for metrics and `doctor`.
pub const DEPTH_MAX: u32 = 100_000;
/// How often the depths of queues are measured.
pub const DEPTH_EVERY: Duration = Duration::from_secs(15);
/// The write-ahead log beside an embedded file that `doctor` warns of, in bytes.
pub const LOG_BYTES: u64 = 256 << 20;
/// The longest note of a task's failure, in bytes.
pub const UPKEEP_ERROR_BYTES: usize = 1024;
/// The difference between the database's clock and this machine's that is no cause for worry.
pub const CLOCK_SKEW: Duration = Duration::from_secs(2);

/// Checks a name that must be there: non-blank, within its limit, no NUL.
///
/// # Errors
///
/// [`Error::Invalid`] naming the field and the limit.
pub fn name(field: &'static str, text: &str, max: usize) -> Result<()> {
    if text.trim().is_empty() {
        return Err(Error::invalid(field, "is blank"));
    }
    label(field, text, max)
}

/// Checks a text that may be blank: within its limit, no NUL.
///
/// # Errors
///
/// [`Error::Invalid`] naming the field and the limit.
pub fn label(field: &'static str, text: &str, max: usize) -> Result<()> {
    if text.len() > max {
        return Err(Error::invalid(field, format!("is {} bytes; the limit is {max}", text.len())));
    }
    if text.contains('\0') {
        return Err(Error::invalid(field, "holds a NUL character"));
    }
    Ok(())
}

/// Checks how many there are of something.
///
/// # Errors
///
/// [`Error::Invalid`] naming the field and the limit.
pub fn count(field: &'static str, found: usize, max: usize) -> Result<()> {
    if found > max {
        return Err(Error::invalid(field, format!("has {found} entries; the limit is {max}")));
    }
    Ok(())
}

/// Checks a JSON value that will be queried: within its limit, no NUL anywhere in it.
///
/// # Errors
///
/// [`Error::Invalid`] naming the field and the limit.
pub fn json(field: &'static str, value: &serde_json::Value, max: usize) -> Result<()> {
    json_bytes(field, value, max).map(drop)
}

/// As [`json`]; answers the bytes of JSON.
///
/// # Errors
///
/// [`Error::Invalid`] naming the field and the limit.
pub fn json_bytes(field: &'static str, value: &serde_json::Value, max: usize) -> Result<usize> {
    let size = value.to_string().len();
    if size > max {
        return Err(Error::invalid(field, format!("is {size} bytes of JSON; the limit is {max}")));
    }
    if holds_nul(value) {
        return Err(Error::invalid(field, "holds a NUL character"));
    }
    Ok(size)
}

fn holds_nul(value: &serde_json::Value) -> bool {
    match value {
        serde_json::Value::String(text) => text.contains('\0'),
        serde_json::Value::Array(items) => items.iter().any(holds_nul),
        serde_json::Value::Object(map) => {
            map.iter().any(|(key, value)| key.contains('\0') || holds_nul(value))
        }
        _ => false,
    }
}
