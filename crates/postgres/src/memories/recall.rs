//! Recall in four round trips: what the question's words count for, the candidates by words, the
//! nearest vectors, the winners' rows. What they mean is decided by core.

use std::collections::{HashMap, HashSet};

use mnemon_core::memories::bm25::{self, Candidate, Corpus, QueryTerm};
use mnemon_core::memories::fuse::{Fused, Fusion, Words, fuse};
use mnemon_core::memories::graph::{Walk, join};
use mnemon_core::memories::text::{Known, Plan, Question, Wording, plan};
use mnemon_core::memories::{
    Edge, Hit, Memory, MemoryFilter, ModelSignature, Namespace, Recall, SetState,
};
use mnemon_core::scope::Admitted;
use mnemon_core::{Error, MemoryId, limits};
use sqlx::postgres::PgConnection;
use sqlx::{query, query_as};
use uuid::Uuid;

use super::nearest::{self, Near};
use super::{graph, read, scheduling, terms};
use crate::error::Fault;
use crate::models::{self, Set};
use crate::segments;

/// Answers a checked question.
pub(super) async fn recall(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    asked: &Recall,
    known: &Known,
) -> Result<Vec<Hit>, Fault> {
    let (questions, ground) = understood(conn, scope, asked, known).await?;
    let set = check_vector(conn, asked, ground.set.clone()).await?;
    let limit = asked.branch_limit();

    let by_words = by_words(conn, scope, asked, &questions, &ground).await?;
    let mut fusion = asked.fusion;
    let mut by_vector = Vec::new();
    if let (Some(set), Some(vector)) = (&set, &asked.embedding) {
        // Of the active set they are known; a retired one's are read in the same snapshot.
        let tables = match set.state {
            SetState::Active => ground.tables,
            _ => segments::tables(conn, set).await?,
        };
        let near = Near {
            scope,
            filter: &asked.filter,
            vector,
            limit,
            tables: &tables,
            documents: ground.corpus.documents,
            indexed: ground.indexed,
            wording: ground.wording,
        };
        by_vector = nearest::find(conn, &near).await?;
        if let Some(least) = asked.min_similarity {
            by_vector.retain(|(_, similarity)| *similarity >= f64::from(least));
        }
        if let (false, Fusion::Blend { .. }) = (set.model.semantic, fusion) {
            fusion = Fusion::TextFirst;
        }
    }
    let words = Words::bounded(&by_words, limit as usize);
    let winners = fuse(fusion, words, &by_vector, asked.limit as usize);
    if winners.is_empty() {
        return Ok(Vec::new());
    }
    let winners = spread(conn, scope, asked, winners).await?;
    let ids: Vec<Uuid> = winners.iter().map(|(fused, _)| fused.key.0).collect();
    let rows = read::load(conn, scope, &ids).await?;
    let fading = scheduling::retrievability(conn, scope.tenant, &ids, asked.filter.as_of).await?;
    Ok(hits(winners, rows, &fading))
}

/// The question cut as the words of the memories are, and what it stands on. All is read in one
/// snapshot: where what was known of the language is out of date, the second attempt fits.
async fn understood(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    asked: &Recall,
    known: &Known,
) -> Result<(Vec<Question>, Ground), Fault> {
    let mut wording = known.get();
    loop {
        let text = asked.text.as_deref();
        let questions = text.map_or_else(Vec::new, |text| Question::of(wording, text));
        let ground = ground(conn, scope.tenant, &questions).await?;
        if ground.wording == wording {
            return Ok((questions, ground));
        }
        wording = ground.wording;
        known.set(wording);
    }
}

/// The branch by words and what is beyond its bound: one question, or, while the language is changed, one in each.
async fn by_words(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    asked: &Recall,
    questions: &[Question],
    ground: &Ground,
) -> Result<Vec<(Uuid, f64)>, Fault> {
    let limit = asked.branch_limit();
    let mut found = Vec::new();
    for question in questions {
        let terms = question.terms.iter().map(|lexeme| QueryTerm {
            lexeme: lexeme.clone(),
            documents: ground.terms.get(lexeme).copied().unwrap_or(0),
        });
        let plan = plan(terms.collect(), &ground.corpus);
        if !plan.seek.is_empty() {
            let search = Search { scope, filter: &asked.filter, question, plan: &plan };
            let candidates = search.candidates(conn, limit).await?;
            found.push(bm25::rank(&candidates, &plan.score, &ground.corpus, candidates.len()));
        }
    }
    Ok(match found.len() {
        0 | 1 => found.pop().unwrap_or_default(),
        _ => bm25::merge(found),
    })
}

/// A winner, and the edge that activation came by.
type Winner = (Fused<MemoryId>, Option<Edge>);

/// Lets activation spread from what was found, when that is asked; what it reaches must be seen
/// and let through.
async fn spread(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    asked: &Recall,
    found: Vec<Fused<Uuid>>,
) -> Result<Vec<Winner>, Fault> {
    let found: Vec<Fused<MemoryId>> = found
        .into_iter()
        .map(|hit| Fused {
            key: MemoryId(hit.key),
            score: hit.score,
            text_rank: hit.text_rank,
            text_score: hit.text_score,
            vector_rank: hit.vector_rank,
            similarity: hit.similarity,
        })
        .collect();
    let Some(depth) = asked.spread else {
        return Ok(found.into_iter().map(|fused| (fused, None)).collect());
    };
    let walk = Walk::spreading(&found);
    let mut reached = graph::walk(conn, scope, walk, depth).await?.finish();
    let ids: Vec<MemoryId> = reached.iter().map(|(id, _)| *id).collect();
    let admitted = graph::admitted(conn, scope, &asked.filter, &ids).await?;
    reached.retain(|(id, _)| admitted.contains(id));
    Ok(join(found, reached, asked.limit as usize))
}

/// The set to search, once the question's vector is known to be one of its model's.
async fn check_vector(
    conn: &mut PgConnection,
    asked: &Recall,
    active: Option<Set>,
) -> Result<Option<Set>, Fault> {
    let Some(vector) = &asked.embedding else { return Ok(None) };
    let set = models::searched(conn, active, asked.model.as_deref()).await?;
    set.model.check_vector("embedding", vector)?;
    Ok(Some(set))
}

/// The winners in their order with their evidence. One removed meanwhile is left out.
fn hits(winners: Vec<Winner>, rows: Vec<Memory>, fading: &HashMap<Uuid, f64>) -> Vec<Hit> {
    let mut rows: HashMap<MemoryId, Memory> = rows.into_iter().map(|row| (row.id, row)).collect();
    winners
        .into_iter()
        .filter_map(|(fused, via_edge)| {
            Some(Hit {
                memory: rows.remove(&fused.key)?,
                score: fused.score,
                text_rank: fused.text_rank,
                text_score: fused.text_score,
                vector_rank: fused.vector_rank,
                similarity: fused.similarity,
                retrievability: fading.get(&fused.key.0).copied(),
                via_edge,
            })
        })
        .collect()
}

/// What a question stands on: the tenant's counts, for words exact at this moment, and the active
/// set.
struct Ground {
    corpus: Corpus,
    /// How many memories hold each of the words asked for.
    terms: HashMap<String, u64>,
    wording: Wording,
    set: Option<Set>,
    /// Where its vectors stand: the unindexed part, then the segments.
    tables: Vec<String>,
    /// Vectors in the segments.
    indexed: u64,
}

/// Folded counts and what writes noted since, in one statement.
async fn ground(
    conn: &mut PgConnection,
    tenant: &str,
    questions: &[Question],
) -> Result<Ground, Fault> {
    let asked: Vec<String> = questions.iter().flat_map(|question| question.terms.clone()).collect();
    let row = query!(
        r#"
        select coalesce(c.documents, 0) + d.documents as "documents!",
               coalesce(c.words, 0) + d.words as "words!",
               array(
                   select coalesce(t.documents, 0) + coalesce(u.documents, 0)
                   from unnest($2::text[]) with ordinality as q (term, n)
                   left join mnemon.text_terms t on t.tenant = $1 and t.term = q.term
                   left join (
                       select w.term, sum(x.documents) as documents
                       from mnemon.text_deltas x, unnest(x.terms) as w (term)
                       where x.tenant = $1 and w.term = any ($2)
                       group by w.term
                   ) u on u.term = q.term
                   order by q.n
               ) as "terms!: Vec<i64>",
               s.id as "set?", s.name as "name?", s.dimension as "dimension?", s.hash as "hash?",
               s.semantic as "semantic?",
               array(select g.number from mnemon.embedding_segments g
                     where g.set_id = s.id and g.state = 'ready'
                     order by g.number) as "segments!",
               coalesce((select sum(g.rows) from mnemon.embedding_segments g
                         where g.set_id = s.id and g.state = 'ready'), 0)::bigint as "indexed!",
               l.language as "language?", l.before as "before?"
        from (select coalesce(sum(x.documents), 0)::bigint as documents,
                     coalesce(sum(x.words), 0)::bigint as words
              from mnemon.text_deltas x where x.tenant = $1 and $3) d
        cross join mnemon.text_language l
        left join mnemon.text_corpus c on c.tenant = $1
        left join mnemon.embedding_sets s on s.state = 'active'
        "#,
        tenant,
        &asked,
        // What was not folded yet is much to read, and means little to vectors.
        !asked.is_empty(),
    )
    .fetch_one(conn)
    .await?;
    let at_least_none = |count: i64| u64::try_from(count).unwrap_or(0);
    let set = match (row.set, row.name, row.dimension, row.hash, row.semantic) {
        (Some(id), Some(name), Some(dimension), Some(hash), Some(semantic)) => {
            let dimension = dimension.unsigned_abs();
            let model = ModelSignature { name, dimension, hash, semantic };
            Some(Set { id, model, state: SetState::Active })
        }
        _ => None,
    };
    let tables = set.as_ref().map_or_else(Vec::new, |set| {
        let segments = row.segments.iter().map(|number| segments::table(set.id, *number));
        std::iter::once(set.table()).chain(segments).collect()
    });
    Ok(Ground {
        corpus: Corpus { documents: at_least_none(row.documents), words: at_least_none(row.words) },
        terms: asked.into_iter().zip(row.terms.into_iter().map(at_least_none)).collect(),
        wording: Wording::read(row.language.as_deref(), row.before.as_deref())?,
        set,
        tables,
        indexed: at_least_none(row.indexed),
    })
}

/// One candidate as the database hands it out.
struct Found {
    id: Uuid,
    words: i32,
    terms: Vec<u8>,
}

/// The text branch of one question.
struct Search<'a> {
    scope: &'a Admitted<'a>,
    filter: &'a MemoryFilter,
    question: &'a Question,
    plan: &'a Plan,
}

impl Search<'_> {
    /// The candidates: what the plan seeks first, and where that is fewer than the branch wants, the
    /// newest of everything it seeks.
    async fn candidates(
        &self,
        conn: &mut PgConnection,
        limit: u32,
    ) -> Result<Vec<Candidate<Uuid>>, Fault> {
        let mut found = Vec::new();
        if let Some(closest) = self.plan.closest() {
            found = self.matching(conn, &closest).await?;
            if found.len() >= limit as usize {
                return Ok(found);
            }
        }
        let any: Vec<Vec<&str>> = self.plan.seek.iter().map(|word| vec![word.as_str()]).collect();
        let known: HashSet<Uuid> = found.iter().map(|candidate| candidate.key).collect();
        let rest = self.matching(conn, &any).await?;
        found.extend(rest.into_iter().filter(|candidate| !known.contains(&candidate.key)));
        Ok(found)
    }

    /// The newest visible memories that match, with the counts of the question's words.
    async fn matching(
        &self,
        conn: &mut PgConnection,
        seek: &[Vec<&str>],
    ) -> Result<Vec<Candidate<Uuid>>, Fault> {
        let Self { scope, filter, question, plan } = *self;
        let seek = terms::query(seek, &question.required, &question.excluded);
        let lexemes: Vec<String> = plan.score.iter().map(|term| term.lexeme.clone()).collect();
        let namespace = filter.namespace.as_ref().map(Namespace::as_str).filter(|n| !n.is_empty());
        let given = |list: &'_ Vec<String>| (!list.is_empty()).then(|| list.clone());
        let tags = given(&filter.tags);
        let node_types = given(&filter.node_types);
        let domains = given(&filter.domains);
        let found = query_as!(
            Found,
            r#"
        select id as "id!", words as "words!", terms as "terms!"
        from mnemon.text_candidates($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14,
                                    $15, $16, $17, $18)
        "#,
            scope.tenant,
            scope.user,
            scope.agent,
            scope.groups,
            seek,
            &lexemes,
            namespace,
            tags.as_deref(),
            node_types.as_deref(),
            filter.created_from,
            filter.created_to,
            domains.as_deref(),
            read::metadata(filter),
            filter.valid_from,
            filter.valid_to,
            filter.as_of,
            filter.min_retrievability,
            i32::try_from(limits::TEXT_CANDIDATES).unwrap_or(i32::MAX),
        )
        .fetch_all(conn)
        .await?;
        let asked: Vec<&str> = lexemes.iter().map(String::as_str).collect();
        found.iter().map(|found| candidate(found, &asked).map_err(Fault::Core)).collect()
    }
}

fn candidate(found: &Found, asked: &[&str]) -> Result<Candidate<Uuid>, Error> {
    let counts = terms::counts(&found.terms, asked)
        .ok_or_else(|| Error::corrupt(format!("memory {}", found.id), "its terms end too soon"))?;
    Ok(Candidate { key: found.id, words: found.words.unsigned_abs(), counts })
}
