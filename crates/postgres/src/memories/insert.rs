//! The one statement that writes memories: their rows, what their words count, and their vectors.
//!
//! Its text is made at run time, because a vector's table is named by the number of its set.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use chrono::{DateTime, Utc};
use mnemon_core::memories::NewMemory;
use mnemon_core::memories::text::Language;
use mnemon_core::scope::Admitted;
use pgvector::HalfVector;
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, query_scalar};
use uuid::Uuid;

use super::nearest::half;
use super::terms;
use super::write::Draft;
use crate::error::Fault;
use crate::models::{Set, listed};

/// Up to the vectors.
const MEMORIES: &str = r"
with given as (
    select *
    from unnest($6::uuid[], $7::text[], $8::text[], $9::text[], $10::text[], $11::text[],
                $12::text[], $13::text[], $14::text[], $15::text[], $16::text[], $17::text[],
                $18::text[], $19::text[], $20::timestamptz[], $21::timestamptz[],
                $22::timestamptz[], $23::timestamptz[], $24::bytea[], $25::bool[], $26::int4[],
                $27::text[]) with ordinality
         as g (id, key, request_id, namespace, visibility, shared_with, content, node_type, tags,
               metadata, codebase, source, domains, domain_scores, valid_from, valid_until,
               expires_at, created_at, content_hash, dedup, words, terms, n)
), clock as materialized (
    select mnemon.now() as at
), made as (
    insert into mnemon.memories
        (tenant, user_id, agent_id, session_id, run_id, id, key, request_id, namespace, visibility,
         shared_with, content, node_type, tags, metadata, codebase, source, domains, domain_scores,
         valid_from, valid_until, expires_at, created_at, updated_at, content_hash, dedup, words,
         terms)
    select $1, $2, $3, $4, $5, g.id, g.key, g.request_id, g.namespace, g.visibility,
           g.shared_with::text[], g.content, g.node_type, g.tags::text[], g.metadata::jsonb,
           g.codebase, g.source, g.domains::text[], g.domain_scores::jsonb, g.valid_from,
           g.valid_until, g.expires_at, coalesce(g.created_at, clock.at), clock.at, g.content_hash,
           g.dedup, g.words, g.terms::tsvector
    from given g, clock
    where $28 = (select coalesce(l.language, 'english') from mnemon.text_language l)
      and ($29::text is null or $29 = (
          select coalesce(string_agg(s.id || s.state, ' ' order by s.id), '')
          from mnemon.embedding_sets s))
      -- A request that found a memory keeps answering it.
      and not exists (
          select from mnemon.memory_requests r
          where r.tenant = $1 and r.request_id = g.request_id
            and r.user_id = coalesce($2, '') and r.agent_id = coalesce($3, ''))
    order by g.content_hash, g.namespace, g.n
    on conflict do nothing
    returning id, tenant, user_id, terms, words, content_hash
), counted as (
    insert into mnemon.text_deltas (tenant, user_id, terms, documents, words)
    select tenant, user_id, array_remove(tsvector_to_array(terms), '@' || tenant), 1, words
    from made
)";
/// The first parameter of the vectors.
const VECTORS: usize = 30;

/// Vectors for a set.
pub(super) struct Vectors<'d> {
    pub(super) set: &'d Set,
    pub(super) ids: Vec<Uuid>,
    pub(super) halves: Vec<HalfVector>,
}

/// The vectors of drafts, by set; each checked against its model.
pub(super) fn vectors<'d>(
    drafts: &[&Draft],
    sets: &'d [Set],
) -> Result<Vec<Vectors<'d>>, mnemon_core::Error> {
    let mut found: Vec<Vectors<'d>> =
        sets.iter().map(|set| Vectors { set, ids: Vec::new(), halves: Vec::new() }).collect();
    for draft in drafts {
        for (at, vector) in draft.placed(sets)? {
            found[at].ids.push(draft.id);
            found[at].halves.push(half(vector));
        }
    }
    found.retain(|of_set| !of_set.ids.is_empty());
    Ok(found)
}

/// The statement with the vectors of these sets.
fn statement(vectors: &[Vectors<'_>]) -> String {
    let mut sql = MEMORIES.to_owned();
    for (at, Vectors { set, .. }) in vectors.iter().enumerate() {
        let (id, first) = (set.id, VECTORS + 2 * at);
        let (table, second) = (set.table(), first + 1);
        // The table's name is made of a number.
        write!(
            sql,
            ", vectors_{id} as (
    insert into {table} (tenant, memory_id, user_id, content_hash, embedding)
    select m.tenant, m.id, m.user_id, m.content_hash, v.embedding
    from unnest(${first}::uuid[], ${second}) as v (id, embedding)
    join made m on m.id = v.id
    order by m.id
)"
        )
        .expect("a String takes any text");
    }
    sql.push_str(" select id from made");
    sql
}

/// Inserts what nothing stands in the way of, if it is cut in the language of now; the ids written.
/// With `known`, only if these are the sets that there are.
pub(super) async fn insert(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    drafts: &[&Draft],
    sets: &[Set],
    known: bool,
) -> Result<Vec<Uuid>, Fault> {
    let each = |of: &dyn Fn(&Draft) -> Option<String>| -> Vec<Option<String>> {
        drafts.iter().map(|draft| of(draft)).collect()
    };
    let times = |of: &dyn Fn(&NewMemory) -> Option<DateTime<Utc>>| -> Vec<Option<DateTime<Utc>>> {
        drafts.iter().map(|draft| of(&draft.memory)).collect()
    };
    let words = |draft: &&Draft| i32::try_from(draft.document.words).unwrap_or(i32::MAX);
    let language = drafts.first().map_or_else(Language::default, |draft| draft.language);
    let vectors = vectors(drafts, sets)?;
    let mut query = query_scalar(AssertSqlSafe(statement(&vectors)))
        .bind(scope.tenant)
        .bind(scope.user)
        .bind(scope.agent)
        .bind(scope.session)
        .bind(scope.run)
        .bind(drafts.iter().map(|draft| draft.id).collect::<Vec<Uuid>>())
        .bind(each(&|draft| draft.memory.key.clone()))
        .bind(each(&|draft| draft.request().map(str::to_owned)))
        .bind(each(&|draft| Some(draft.memory.namespace.to_string())))
        .bind(each(&|draft| Some(draft.visibility.to_owned())))
        .bind(each(&|draft| Some(array(&draft.memory.shared_with))))
        .bind(each(&|draft| Some(draft.memory.content.clone())))
        .bind(each(&|draft| Some(draft.memory.node_type.clone())))
        .bind(each(&|draft| Some(array(&draft.memory.tags))))
        .bind(each(&|draft| Some(draft.memory.metadata.to_string())))
        .bind(each(&|draft| draft.memory.codebase.clone()))
        .bind(each(&|draft| draft.memory.source.clone()))
        .bind(each(&|draft| Some(array(&draft.memory.domains))))
        .bind(each(&|draft| Some(scores(&draft.memory.domain_scores))))
        .bind(times(&|memory| memory.valid_from))
        .bind(times(&|memory| memory.valid_until))
        .bind(times(&|memory| memory.expires_at))
        .bind(times(&|memory| memory.created_at))
        .bind(drafts.iter().map(|draft| draft.hash.to_vec()).collect::<Vec<Vec<u8>>>())
        .bind(drafts.iter().map(|draft| !draft.memory.allow_duplicate).collect::<Vec<bool>>())
        .bind(drafts.iter().map(words).collect::<Vec<i32>>())
        .bind(each(&|draft| Some(terms::vector(&draft.document, scope.tenant))))
        .bind(language.name())
        .bind(known.then(|| listed(sets)));
    for of_set in vectors {
        query = query.bind(of_set.ids).bind(of_set.halves);
    }
    Ok(query.fetch_all(conn).await?)
}

/// A `text[]` literal: arrays of arrays of different lengths do not cross as one parameter.
fn array(texts: &[String]) -> String {
    let quoted: Vec<String> = texts
        .iter()
        .map(|text| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")))
        .collect();
    format!("{{{}}}", quoted.join(","))
}

fn scores(scores: &BTreeMap<String, f64>) -> String {
    serde_json::to_string(scores).expect("names and finite numbers are JSON")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_array_literal_quotes_what_would_end_it() {
        assert_eq!(array(&["a\"b\\c,{}".into(), "NULL".into()]), r#"{"a\"b\\c,{}","NULL"}"#);
        assert_eq!(array(&[]), "{}");
    }
}
