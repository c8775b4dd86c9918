//! What stands beside recall on PostgreSQL, over copies of the big tenant's memories in the same
//! database: raw pgvector, raw `ts_rank_cd`, and the hybrid query of one statement that was once
//! planned, whose vector comes through a materialised CTE.

use pgvector::HalfVector;
use sqlx::postgres::PgConnection;
use sqlx::{Connection as _, Executor as _, query};

use super::data::Question;

type Failed = Box<dyn std::error::Error>;

/// Copies what Mnemon holds, before upkeep moves any of it.
const COPY: &str = "
create schema peer;
create table peer.memories (
    id uuid primary key, content text not null, embedding halfvec(384) not null,
    words tsvector generated always as (to_tsvector('simple', content)) stored
);
insert into peer.memories (id, content, embedding)
select m.id, m.content, e.embedding
from mnemon.memories m join mnemon.embeddings_1 e on e.tenant = m.tenant and e.memory_id = m.id
where m.tenant = 'main';
create index on peer.memories using gin (words);
set maintenance_work_mem = '1GB';
create index on peer.memories using hnsw (embedding halfvec_cosine_ops) with (m = 16, ef_construction = 64);
analyze peer.memories;
";

const NEAREST: &str = "select id from peer.memories order by embedding <=> $1 limit 10";

const RANKED: &str = "
select id from peer.memories, to_tsquery('simple', $1) as q
where words @@ q order by ts_rank_cd(words, q) desc limit 10";

/// Thirty of each branch, ranks by windows, joined in full, k = 60.
const PLANNED: &str = "
with params as (
    select to_tsquery('simple', $1) as q, $2::halfvec as v
), by_words as (
    select m.id, row_number() over (order by ts_rank_cd(m.words, p.q) desc) as place
    from peer.memories m, params p where m.words @@ p.q limit 30
), by_vector as (
    select m.id, row_number() over (order by m.embedding <=> p.v) as place
    from peer.memories m, params p limit 30
)
select id, coalesce(1.0 / (60 + w.place), 0) + coalesce(1.0 / (60 + v.place), 0) as score
from by_words w full join by_vector v using (id)
order by score desc limit 10";

/// The statements, in the order of the report.
pub(super) const NAMES: [&str; 3] =
    ["raw pgvector k-NN", "raw ts_rank_cd", "the plan's one statement"];

/// A connection of the peers' own.
pub(super) struct Peers(PgConnection);

impl Peers {
    /// Copies and indexes.
    pub(super) async fn make(url: &str) -> Result<Self, Failed> {
        let mut conn = PgConnection::connect(url).await?;
        conn.execute(COPY).await?;
        conn.execute("set hnsw.ef_search = 100").await?;
        Ok(Self(conn))
    }

    /// Asks one of [`NAMES`]; the rows that came.
    pub(super) async fn ask(&mut self, which: usize, question: &Question) -> Result<usize, Failed> {
        let any = question.text().replace(' ', " | ");
        let vector = HalfVector::from_f32_slice(&question.vector);
        let asked = match which {
            0 => query(NEAREST).bind(vector),
            1 => query(RANKED).bind(any),
            _ => query(PLANNED).bind(any).bind(vector),
        };
        Ok(asked.fetch_all(&mut self.0).await?.len())
    }
}
