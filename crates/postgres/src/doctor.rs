//! What `doctor` looks at on PostgreSQL, each with its fix. Clock and upkeep are looked at by
//! `mnemon`, the same for both databases.

mod operations;

use mnemon_core::events::{Horizon, Month};
use mnemon_core::memories::ModelSignature;
use mnemon_core::store::Finding;
use mnemon_core::{Result, limits, troubles};
use sqlx::postgres::PgConnection;
use sqlx::query_as;

use crate::error::Fault;
use crate::events::stats;
use crate::link::{Call, Link, Retry, work};
use crate::segments::Standing;
use crate::{archives, migrate, models, partitions, rls, segments};

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
        partitions::missing(conn).await?.into_iter().map(partitions::table).collect();
    let current = partitions::has_current(conn).await?;
    findings.push(event_partitions(&missing, current));
    findings.extend(left_behind(&archives::left_behind(conn).await?));
    findings.push(event_horizon(&stats::horizon(conn).await?));
    findings.push(row_level_security(&security));
    findings.extend(operations::look(conn, !(security.on && security.subject)).await?);
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
    troubles::VERSION_UNTESTED.found(message, &[])
}

fn encoding(server: &Server) -> Finding {
    match server.encoding.as_str() {
        "UTF8" => Finding::ok("encoding", "UTF8: every text fits"),
        "SQL_ASCII" => Finding::ok("encoding", "SQL_ASCII: texts are kept as they come"),
        other => troubles::ENCODING_NARROW.found(other, &[]),
    }
}

fn schema(server: &Server) -> Finding {
    let (found, latest) = (i64::from(server.schema_version), migrate::latest());
    let (version, latest_text) = (format!("version {found}"), latest.to_string());
    match found.cmp(&latest) {
        std::cmp::Ordering::Less => {
            troubles::SCHEMA_BEHIND.found(version, &[("latest", &latest_text)])
        }
        std::cmp::Ordering::Equal => Finding::ok("schema", format!("{version}, the newest")),
        std::cmp::Ordering::Greater if i64::from(server.min_binary) > latest => {
            troubles::SCHEMA_REFUSES.found(version, &[("needed", &server.min_binary.to_string())])
        }
        std::cmp::Ordering::Greater => {
            troubles::SCHEMA_AHEAD.found(version, &[("latest", &latest_text)])
        }
    }
}

fn pgvector(server: &Server) -> Vec<Finding> {
    let Some(version) = &server.vector else {
        return vec![match &server.offered {
            Some(offered) => troubles::PGVECTOR_ABSENT
                .found(format!("not in database {}", server.database), &[("offered", offered)]),
            None => troubles::PGVECTOR_MISSING.found("not installed on the server", &[]),
        }];
    };
    let first = match parsed(version) {
        found if found < PGVECTOR_MIN => troubles::PGVECTOR_TOO_OLD.found(version, &[]),
        found if found < PGVECTOR_GOOD => troubles::PGVECTOR_FAULTY.found(version, &[]),
        _ => Finding::ok("pgvector", version.clone()),
    };
    let schema = server.vector_schema.as_deref().unwrap_or("?");
    let path = &server.search_path;
    let second = if server.visible {
        Finding::ok("search path", format!("{path}: types of pgvector are found"))
    } else {
        troubles::PGVECTOR_OUT_OF_SIGHT.found(path, &[("schema", schema), ("path", path)])
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
    troubles::VECTORS_UNINDEXED.found(message, &[])
}

fn event_partitions(missing: &[String], current: bool) -> Finding {
    let ahead = limits::PARTITIONS_AHEAD;
    let found = || format!("missing: {}", missing.join(", "));
    match (missing, current) {
        ([], _) => {
            Finding::ok("event partitions", format!("there for this month and {ahead} ahead"))
        }
        (_, true) => troubles::PARTITIONS_MISSING.found(found(), &[]),
        (_, false) => troubles::PARTITION_OF_NOW_MISSING.found(found(), &[]),
    }
}

/// Months that an interrupted archive took out of the log and did not remove.
fn left_behind(months: &[Month]) -> Option<Finding> {
    let (first, last) = (months.first()?, months.last()?);
    let found = format!("{} months, {first} to {last}", months.len());
    let next = last.next().to_string();
    Some(troubles::ARCHIVE_UNFINISHED.found(found, &[("next", next.as_str())]))
}

fn event_horizon(horizon: &Horizon) -> Finding {
    let (epoch, seconds) = (horizon.epoch, horizon.age.as_secs_f64());
    if horizon.age <= limits::HORIZON_AGE {
        return Finding::ok("event horizon", format!("epoch {epoch}, {seconds:.1} s behind"));
    }
    troubles::HORIZON_HELD.found(format!("epoch {epoch}, {seconds:.0} s behind"), &[])
}

fn row_level_security(standing: &rls::Standing) -> Finding {
    const CHECK: &str = "row-level security";
    if !standing.differing.is_empty() {
        let tables = standing.differing.join(", ");
        return troubles::RLS_DIFFERS.found("", &[("tables", &tables)]);
    }
    let role = &standing.role;
    match (standing.on, standing.subject) {
        (false, _) => Finding::ok(CHECK, "off: every statement names its tenant"),
        (true, true) => Finding::ok(CHECK, format!("on, and holds for role {role}")),
        (true, false) => troubles::RLS_BYPASSED.found("", &[("role", role)]),
    }
}

fn pool(link: &Link) -> Finding {
    let (connections, idle, waiting, breaker) = link.health_counts();
    let pooler = if link.is_pooled() { ", behind a pooler that passed its test" } else { "" };
    let message = format!("{connections} connections, {idle} idle, {waiting} waiting{pooler}");
    if waiting > connections {
        return troubles::POOL_CROWDED.found(message, &[]);
    }
    if breaker != "closed" {
        return troubles::BREAKER_OPEN.found(message, &[("state", breaker)]);
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
