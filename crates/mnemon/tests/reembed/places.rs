//! A database of each kind, and what stands in an embedding set's table.

use mnemon::{MemoryId, SetId};
use rusqlite::Connection;
use uuid::Uuid;

/// A memory with its vector in a set.
pub(crate) type Row = (MemoryId, String, Vec<f32>);

/// Where the memories are.
pub(crate) enum Place {
    File(tempfile::TempDir),
    #[cfg(feature = "postgres")]
    Server(mnemon_testkit::TestDatabase),
}

impl Place {
    pub(crate) fn sqlite() -> Self {
        Self::File(tempfile::tempdir().unwrap())
    }

    #[cfg(feature = "postgres")]
    pub(crate) async fn postgres(major: mnemon_testkit::Major) -> Self {
        Self::Server(mnemon_testkit::Server::get(major).database().await)
    }

    pub(crate) fn url(&self) -> String {
        match self {
            Self::File(folder) => format!("sqlite://{}", folder.path().join("m.db").display()),
            #[cfg(feature = "postgres")]
            Self::Server(database) => database.url().to_owned(),
        }
    }

    /// Every vector of a set with the text of its memory, read behind the library's back.
    #[cfg_attr(
        not(feature = "postgres"),
        expect(clippy::unused_async, reason = "a server is asked, a file is read")
    )]
    pub(crate) async fn vectors(&self, set: SetId) -> Vec<Row> {
        match self {
            Self::File(folder) => of_file(&folder.path().join("m.db"), set),
            #[cfg(feature = "postgres")]
            Self::Server(database) => of_server(database.url(), set).await,
        }
    }
}

fn of_file(file: &std::path::Path, set: SetId) -> Vec<Row> {
    let conn = Connection::open(file).unwrap();
    let sql = format!(
        "select m.id, m.content, e.vector from embeddings_{set} e join memories m using (memory) \
         where e.content_hash = m.content_hash"
    );
    let mut statement = conn.prepare(&sql).unwrap();
    let rows = statement.query_map([], |row| {
        let (id, bytes): (Vec<u8>, Vec<u8>) = (row.get(0)?, row.get(2)?);
        let (numbers, rest) = bytes.as_chunks::<4>();
        assert!(rest.is_empty());
        let vector = numbers.iter().map(|number| f32::from_le_bytes(*number)).collect();
        Ok((MemoryId(Uuid::from_slice(&id).unwrap()), row.get(1)?, vector))
    });
    rows.unwrap().map(Result::unwrap).collect()
}

#[cfg(feature = "postgres")]
async fn of_server(url: &str, set: SetId) -> Vec<Row> {
    use sqlx::Connection as _;

    let mut conn = sqlx::PgConnection::connect(url).await.unwrap();
    let segments: Vec<i32> = sqlx::query_scalar(
        "select number from mnemon.embedding_segments where set_id = $1 and state = 'ready'",
    )
    .bind(set.0)
    .fetch_all(&mut conn)
    .await
    .unwrap();
    let parts = segments.into_iter().map(|number| format!("_seg_{number}"));
    let parts: Vec<String> = std::iter::once(String::new())
        .chain(parts)
        .map(|part| format!("select * from mnemon.embeddings_{set}{part}"))
        .collect();
    let parts = parts.join(" union all ");
    let sql = format!(
        "select m.id, m.content, e.embedding::real[] from ({parts}) e \
         join mnemon.memories m on m.tenant = e.tenant and m.id = e.memory_id \
         where e.content_hash = m.content_hash"
    );
    let rows: Vec<(Uuid, String, Vec<f32>)> =
        sqlx::query_as(sqlx::AssertSqlSafe(sql)).fetch_all(&mut conn).await.unwrap();
    conn.close().await.unwrap();
    rows.into_iter().map(|(id, content, vector)| (MemoryId(id), content, vector)).collect()
}
