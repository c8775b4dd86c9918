//! What `doctor` looks at on PostgreSQL, each with its fix. Clock and upkeep are looked at by
//! `mnemon`, the same for both databases.

use mnemon_core::Result;
use mnemon_core::events::Horizon;
use mnemon_core::limits;
use mnemon_core::memories::ModelSignature;
use mnemon_core::store::Finding;
use sqlx::postgres::PgConnection;
use sqlx::query_as;

use crate::error::Fault;
use crate::events::stats;
use crate::link::{Call, Link, Retry, work};
use crate::segments::Standing;
use crate::{migrate, models, partitions, rls, segments};

/// The majors that every release is tested on.
const TESTED: [i32; 2] = [16, 18];
/// The oldest pgvector that works, and the oldest without known faults.
const PGVECTOR_MIN: (u32, u32, u32) = (0, 8, 0);
const PGVECTOR_GOOD: (u32, u32, u32) = (0, 8, 4);

/// Looks the installation over.
pub(crate) async fn doctor(link: &Link) -> Result<Vec<Finding>> {
    let call = Call { doing: "looking the database over", tenant: None, retry: Retry::Idempotent };
    let mut findings = link.run(call, |conn| work(async move { look(conn).await })).await?;
    findings.push(pool(link));
    Ok(findings)
}

async fn look(conn: &mut PgConnection) -> Result<Vec<Finding>, Fault> {
    let server = server(conn).await?;
    let mut findings = vec![version(&server), encoding(&server), schema(&server)];
    findings.extend(pgvector(&server));
    findings.push(match models::active(conn).await? {
        Some(set) => Finding::ok("model", set.model.to_string()),
        None => Finding::ok("model", "none registered: recall is by words"),
    });
    let security = rls::standing(conn).await?;
    if !(security.on && security.subject) {
        // What all tenants have together is for the owner to see.
        for set in models::sets(conn).await? {
            findings.push(vectors(&set.model, &segments::standing(conn, &set).await?));
        }
    }
    let missing: Vec<String> =
        partitions::missing(conn).await?.iter().map(ToString::to_string).collect();
    let current = partitions::has_current(conn).await?;
    findings.push(event_partitions(&missing, current));
    findings.push(event_horizon(&stats::horizon(conn).await?));
    findings.push(row_level_security(&security));
    Ok(findings)
}

/// What one statement says of the server.
struct Server {
    version: String,
    encoding: String,
    major: i32,
    schema_version: i32,
    min_binary: i32,
    search_path: String,
    database: String,
    offered: Option<String>,
    vector: Option<String>,
    vector_schema: Option<String>,
    visible: bool,
}

async fn server(conn: &mut PgConnection) -> Result<Server, Fault> {
    let server = query_as!(
        Server,
        r#"
        select current_setting('server_version') as "version!",
               current_setting('server_encoding') as "encoding!",
               current_setting('server_version_num')::int / 10000 as "major!",
               m.schema_version, m.min_binary,
               current_setting('search_path') as "search_path!",
               current_database()::text as "database!",
               (select a.default_version from pg_available_extensions a
                where a.name = 'vector') as "offered?",
               e.extversion as "vector?", n.nspname::text as "vector_schema?",
               to_regtype('halfvec') is not null as "visible!"
        from mnemon.meta m
        left join pg_extension e on e.extname = 'vector'
        left join pg_namespace n on n.oid = e.extnamespace
        "#
    )
    .fetch_one(conn)
    .await?;
    Ok(server)
}

fn version(server: &Server) -> Finding {
    let message = format!("PostgreSQL {}", server.version);
    if TESTED.contains(&server.major) {
        return Finding::ok("version", message);
    }
    Finding::warning(
        "version",
        format!("{message}; tested are 16 and 18"),
        "use one of them, or run Mnemon's conformance suite on this one",
    )
}

fn encoding(server: &Server) -> Finding {
    match server.encoding.as_str() {
        "UTF8" => Finding::ok("encoding", "UTF8: every text fits"),
        "SQL_ASCII" => Finding::ok("encoding", "SQL_ASCII: texts are kept as they come"),
        other => Finding::error(
            "encoding",
            format!("{other}: texts with other characters are refused"),
            "move to a database made with `encoding 'UTF8' template template0`",
        ),
    }
}

fn schema(server: &Server) -> Finding {
    let (found, latest) = (i64::from(server.schema_version), migrate::latest());
    match found.cmp(&latest) {
        std::cmp::Ordering::Less => Finding::error(
            "schema",
            format!("version {found}; this binary needs {latest}"),
            "run `mnemon migrate up` as the schema's owner",
        ),
        std::cmp::Ordering::Equal => Finding::ok("schema", format!("version {found}, the newest")),
        std::cmp::Ordering::Greater if i64::from(server.min_binary) > latest => Finding::error(
            "schema",
            format!("version {found}, which needs a binary that knows {}", server.min_binary),
            "update this mnemon",
        ),
        std::cmp::Ordering::Greater => Finding::warning(
            "schema",
            format!("version {found}, newer than this binary's {latest}, which it still admits"),
            "update this mnemon as well",
        ),
    }
}

fn pgvector(server: &Server) -> Vec<Finding> {
    const CHECK: &str = "pgvector";
    let Some(version) = &server.vector else {
        let database = &server.database;
        return vec![match &server.offered {
            Some(offered) => Finding::warning(
                CHECK,
                format!("not in database {database} (the server has {offered}): no vectors"),
                "let a superuser run `CREATE EXTENSION vector` in it",
            ),
            None => Finding::warning(
                CHECK,
                "not installed on the server: no vectors",
                "install pgvector 0.8 or newer, then `CREATE EXTENSION vector` as a superuser",
            ),
        }];
    };
    let update = "install a newer pgvector, then `ALTER EXTENSION vector UPDATE` as its owner";
    let first = match parsed(version) {
        found if found < PGVECTOR_MIN => {
            Finding::error(CHECK, format!("{version}; at least 0.8.0 is needed"), update)
        }
        found if found < PGVECTOR_GOOD => {
            Finding::warning(CHECK, format!("{version}; 0.8.4 mended what it finds"), update)
        }
        _ => Finding::ok(CHECK, version.clone()),
    };
    let schema = server.vector_schema.as_deref().unwrap_or("?");
    let path = &server.search_path;
    let second = if server.visible {
        Finding::ok("search path", format!("{path}: types of pgvector are found"))
    } else {
        Finding::error(
            "search path",
            format!("{path}: pgvector is in schema {schema}, which is not searched"),
            format!(
                "`ALTER ROLE … SET search_path = {path}, {schema}`, or \
                 `ALTER EXTENSION vector SET SCHEMA public`"
            ),
        )
    };
    vec![first, second]
}

/// A version's first three numbers; what is no number counts as 0.
fn parsed(version: &str) -> (u32, u32, u32) {
    let mut numbers = version.split('.').map(|part| part.parse().unwrap_or(0));
    let mut next = || numbers.next().unwrap_or(0);
    (next(), next(), next())
}

fn vectors(model: &ModelSignature, standing: &Standing) -> Finding {
    const CHECK: &str = "vectors";
    let Standing { unindexed, indexed, segments } = standing;
    if !segments::can_index(model) {
        let (name, dimension, most) = (&model.name, model.dimension, limits::INDEXED_DIMENSIONS);
        return Finding::ok(
            CHECK,
            format!(
                "{unindexed} of {name}, compared one by one: they have {dimension} dimensions, and \
                 no index takes more than {most}"
            ),
        );
    }
    let message = format!("{indexed} in {segments} indexed segments, {unindexed} unindexed");
    if *unindexed <= limits::UNINDEXED_SLOW {
        return Finding::ok(CHECK, message);
    }
    Finding::warning(
        CHECK,
        format!("{message}: recall is slow, and so are their writers"),
        "run `mnemon upkeep --once --only vector-segments` as the schema's owner, or keep a \
         process open that does upkeep",
    )
}

fn event_partitions(missing: &[String], current: bool) -> Finding {
    const CHECK: &str = "event partitions";
    let fix = "run `mnemon upkeep --once --only event-partitions` as the schema's owner";
    let months = limits::PARTITIONS_AHEAD;
    match (missing, current) {
        ([], _) => Finding::ok(CHECK, format!("there for this month and {months} ahead")),
        (_, true) => Finding::warning(CHECK, format!("missing: {}", missing.join(", ")), fix),
        (_, false) => Finding::error(
            CHECK,
            format!("missing: {}; no event can be written", missing.join(", ")),
            fix,
        ),
    }
}

fn event_horizon(horizon: &Horizon) -> Finding {
    const CHECK: &str = "event horizon";
    let seconds = horizon.age.as_secs_f64();
    if horizon.age <= limits::HORIZON_AGE {
        return Finding::ok(CHECK, format!("epoch {}, {seconds:.1} s behind", horizon.epoch));
    }
    Finding::warning(
        CHECK,
        format!(
            "{seconds:.0} s behind: a transaction that wrote is open somewhere in the cluster, and subscribers see nothing newer"
        ),
        "find it: `select pid, datname, xact_start, query from pg_stat_activity where backend_xid \
         is not null order by xact_start`, or in `pg_prepared_xacts`; end it, and set \
         idle_in_transaction_session_timeout",
    )
}

fn row_level_security(standing: &rls::Standing) -> Finding {
    const CHECK: &str = "row-level security";
    if !standing.differing.is_empty() {
        return Finding::error(
            CHECK,
            format!("is not as `meta` says on {}", standing.differing.join(", ")),
            "run `mnemon migrate rls on` (or off) as the schema's owner",
        );
    }
    let role = &standing.role;
    match (standing.on, standing.subject) {
        (false, _) => Finding::ok(CHECK, "off: every statement names its tenant"),
        (true, true) => Finding::ok(CHECK, format!("on, and holds for role {role}")),
        (true, false) => Finding::warning(
            CHECK,
            format!("on, but does not hold for role {role} (the owner, or one that bypasses it)"),
            "log in as a role of its own after `select mnemon.grant_to('<role>')`",
        ),
    }
}

fn pool(link: &Link) -> Finding {
    let (connections, idle, waiting, breaker) = link.health_counts();
    let pooler = if link.is_pooled() { ", behind a pooler that passed its test" } else { "" };
    let message = format!("{connections} connections, {idle} idle, {waiting} waiting{pooler}");
    if waiting > connections {
        return Finding::warning("pool", message, "raise max_connections in section [pool]");
    }
    if breaker != "closed" {
        let message = format!("{message}; the circuit breaker is {breaker}");
        return Finding::warning("pool", message, "see whether the server answers");
    }
    Finding::ok("pool", message)
}

#[cfg(test)]
mod tests {
    use mnemon_core::store::Severity;

    use super::*;

    fn server_with(vector: Option<&str>, visible: bool) -> Server {
        Server {
            version: "18.4".into(),
            encoding: "UTF8".into(),
            major: 18,
            schema_version: 1,
            min_binary: 1,
            search_path: "\"$user\", public".into(),
            database: "agents".into(),
            offered: Some("0.8.5".into()),
            vector: vector.map(str::to_owned),
            vector_schema: vector.map(|_| "extensions".to_owned()),
            visible,
        }
    }

    #[test]
    fn old_versions_of_pgvector_are_told_apart() {
        let severity = |version| pgvector(&server_with(Some(version), true))[0].severity;

        assert_eq!(severity("0.7.4"), Severity::Error);
        assert_eq!(severity("0.8.0"), Severity::Warning);
        assert_eq!(severity("0.8.5"), Severity::Ok);
        assert_eq!(severity("0.10"), Severity::Ok);
    }

    #[test]
    fn an_extension_out_of_sight_names_its_schema() {
        let findings = pgvector(&server_with(Some("0.8.5"), false));

        assert_eq!(findings[1].severity, Severity::Error);
        assert!(findings[1].message.contains("schema extensions"), "{:?}", findings[1]);
    }

    #[test]
    fn too_many_unindexed_vectors_are_a_warning_and_long_ones_are_named() {
        let model = |dimension| ModelSignature {
            name: "m".into(),
            dimension,
            hash: "00".into(),
            semantic: true,
        };
        let standing = |unindexed| Standing { unindexed, segments: 2, indexed: 90_000 };

        let few = vectors(&model(384), &standing(10));
        assert_eq!(
            (few.severity, few.message.as_str()),
            (Severity::Ok, "90000 in 2 indexed segments, 10 unindexed")
        );
        let many = vectors(&model(384), &standing(limits::UNINDEXED_SLOW + 1));
        assert_eq!(many.severity, Severity::Warning);
        assert!(vectors(&model(4_001), &standing(1)).message.contains("more than 4000"));
    }

    #[test]
    fn a_server_between_the_tested_ones_is_a_warning() {
        let server = Server { major: 17, ..server_with(None, false) };

        assert_eq!(version(&server).severity, Severity::Warning);
        assert_eq!(pgvector(&server)[0].severity, Severity::Warning);
    }
}
