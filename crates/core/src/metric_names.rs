//! Every metric's name, in one table; the documentation is made from it.
//!
//! Recorded through the `metrics` facade: a host without a recorder pays nothing. No label ever
//! carries a tenant, a user, or anything else of a caller's.

/// Operations that reached a database, by `operation`.
pub const QUERIES_TOTAL: &str = "queries_total";
/// How long an operation took, retries and the wait for a connection included.
pub const QUERY_DURATION: &str = "query_duration";
/// Operations that failed, by `operation` and the error's `code`.
pub const ERRORS_TOTAL: &str = "errors_total";
/// Attempts that a lock, a deadlock or a concurrent write ended; they are tried again.
pub const LOCK_CONTENTIONS: &str = "lock_contentions";
/// Writes and receipts that were refused because a newer holder exists, by `operation`.
pub const FENCE_REJECTS_TOTAL: &str = "fence_rejects_total";
/// Connections that an operation is using.
pub const CONNECTIONS_ACTIVE: &str = "connections_active";
/// Connections open.
pub const POOL_SIZE: &str = "pool_size";
/// Connections open that nobody is using.
pub const POOL_IDLE: &str = "pool_idle";
/// Operations waiting for a connection.
pub const POOL_WAITING: &str = "pool_waiting";
/// How long an operation waited for its connection.
pub const POOL_ACQUIRE_DURATION: &str = "pool_acquire_duration";
/// The circuit breaker: 0 closed, 1 half-open, 2 open.
pub const BREAKER_STATE: &str = "breaker_state";
/// Memory that an embedded store's vectors take.
pub const VECTORS_HELD: &str = "vectors_held";

/// Calls refused because their scope was incomplete, by `facet`.
pub const SCOPE_REJECTIONS_TOTAL: &str = "scope_rejections_total";
/// Calls of the summariser, by `outcome`.
pub const SUMMARIES_TOTAL: &str = "summaries_total";
/// Memories that the active embedding set has no vector of.
pub const EMBEDDING_BACKLOG: &str = "embedding_backlog";
/// Turns of upkeep tasks, by `task` and `outcome`.
pub const UPKEEP_RUNS_TOTAL: &str = "upkeep_runs_total";
/// Rows that upkeep handled, by `task`.
pub const UPKEEP_ROWS_TOTAL: &str = "upkeep_rows_total";
/// Rows waiting for upkeep, by `task`.
pub const UPKEEP_LAG: &str = "upkeep_lag";
/// Vectors that no index holds yet, as writers last counted them.
pub const VECTORS_UNINDEXED: &str = "vectors_unindexed";

/// Dead letters of all tenants, by `state`.
pub const DEAD_LETTERS: &str = "dead_letters";
/// Events that wait for the slowest live subscriber of a tenant, when more were handed out.
pub const SUBSCRIPTION_LAG: &str = "subscription_lag";
/// Since when an open transaction keeps subscribers from newer events.
pub const EVENT_HORIZON_AGE: &str = "event_horizon_age";

/// One operation that reaches a database; fields `store` and `operation`.
pub const SPAN_CALL: &str = "mnemon.call";
/// One turn of an upkeep task; field `task`.
pub const SPAN_UPKEEP: &str = "mnemon.upkeep";
/// One request to a model server, its repeats included; field `server`.
pub const SPAN_MODEL: &str = "mnemon.model";

/// Every `tracing` span, with its fields and what it spans. Names are stable; no field holds
/// anything of a caller's: no tenant, no key, no content.
pub const SPANS: &[(&str, &[&str], &str)] = &[
    (SPAN_CALL, &["store", "operation"], "an operation on a database, retries included"),
    (SPAN_UPKEEP, &["task"], "a turn of an upkeep task"),
    (SPAN_MODEL, &["server"], "a request to a model server, its repeats included"),
];

/// What a metric is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// A distribution.
    Histogram,
}

impl Kind {
    /// The kind's name, lower-case.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// One row of the table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// What it is.
    pub kind: Kind,
    /// What is counted or measured.
    pub unit: &'static str,
    /// Its labels.
    pub labels: &'static [&'static str],
    /// What it says.
    pub meaning: &'static str,
}

const fn row(
    name: &'static str,
    kind: Kind,
    unit: &'static str,
    labels: &'static [&'static str],
    meaning: &'static str,
) -> Metric {
    Metric { name, kind, unit, labels, meaning }
}

/// Every metric.
pub const ALL: &[Metric] = &[
    row(
        QUERIES_TOTAL,
        Kind::Counter,
        "operations",
        &["operation"],
        "operations that reached a database",
    ),
    row(
        QUERY_DURATION,
        Kind::Histogram,
        "seconds",
        &["operation"],
        "time of an operation, retries and the wait for a connection included",
    ),
    row(
        ERRORS_TOTAL,
        Kind::Counter,
        "operations",
        &["operation", "code"],
        "operations that failed, by the error's code",
    ),
    row(
        LOCK_CONTENTIONS,
        Kind::Counter,
        "attempts",
        &["operation"],
        "attempts that a lock, a deadlock or a concurrent write ended",
    ),
    row(
        FENCE_REJECTS_TOTAL,
        Kind::Counter,
        "operations",
        &["operation"],
        "writes and receipts refused because a newer holder exists",
    ),
    row(CONNECTIONS_ACTIVE, Kind::Gauge, "connections", &[], "connections in use"),
    row(POOL_SIZE, Kind::Gauge, "connections", &[], "connections open"),
    row(POOL_IDLE, Kind::Gauge, "connections", &[], "connections open and unused"),
    row(POOL_WAITING, Kind::Gauge, "operations", &[], "operations waiting for a connection"),
    row(POOL_ACQUIRE_DURATION, Kind::Histogram, "seconds", &[], "wait for a connection"),
    row(BREAKER_STATE, Kind::Gauge, "state", &[], "circuit breaker: 0 closed, 1 half-open, 2 open"),
    row(VECTORS_HELD, Kind::Gauge, "bytes", &[], "memory that an embedded store's vectors take"),
    row(
        SCOPE_REJECTIONS_TOTAL,
        Kind::Counter,
        "calls",
        &["facet"],
        "calls refused because their scope was incomplete",
    ),
    row(
        SUMMARIES_TOTAL,
        Kind::Counter,
        "calls",
        &["outcome"],
        "calls of the summariser: written, failed or abandoned",
    ),
    row(
        EMBEDDING_BACKLOG,
        Kind::Gauge,
        "memories",
        &[],
        "memories without a vector in the active embedding set, when upkeep last looked",
    ),
    row(
        UPKEEP_RUNS_TOTAL,
        Kind::Counter,
        "turns",
        &["task", "outcome"],
        "turns of upkeep tasks: done, paused, fenced or failed",
    ),
    row(UPKEEP_ROWS_TOTAL, Kind::Counter, "rows", &["task"], "rows that upkeep handled"),
    row(UPKEEP_LAG, Kind::Gauge, "rows", &["task"], "rows waiting for upkeep"),
    row(VECTORS_UNINDEXED, Kind::Gauge, "vectors", &[], "vectors that no index holds yet"),
    row(
        DEAD_LETTERS,
        Kind::Gauge,
        "items",
        &["state"],
        "dead letters of all tenants: ready, delayed, in_flight, review, rejected; counted to 100,000",
    ),
    row(
        SUBSCRIPTION_LAG,
        Kind::Gauge,
        "events",
        &[],
        "events that wait for the slowest live subscriber, when more were handed out",
    ),
    row(
        EVENT_HORIZON_AGE,
        Kind::Gauge,
        "seconds",
        &[],
        "since when an open transaction keeps subscribers from newer events",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_labels_name_nobody() {
        for (at, metric) in ALL.iter().enumerate() {
            assert!(ALL[at + 1..].iter().all(|other| other.name != metric.name), "{metric:?}");
            assert!(metric.labels.iter().all(|label| !["tenant", "user"].contains(label)));
        }
    }
}
