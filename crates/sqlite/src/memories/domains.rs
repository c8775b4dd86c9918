//! Domains: kept, filled from a tag, and classified into by SQL.

use mnemon_core::memories::{Classified, Domain, NewDomain};
use mnemon_core::scope::Admitted;
use mnemon_core::{Cursor, Error, Page, Paged, Result, limits};
use rusqlite::{Connection, Row, params};
use serde_json::json;

use super::filter::{Named, Seen};
use super::vectors;
use crate::error::Done;
use crate::models::{self, Set};
use crate::open::now;
use crate::row;

pub(crate) mod sql {
    use crate::memories::filter::{owned, visible};

    /// What a scope sees of a domain `d`; counts what it sees in it.
    macro_rules! domain {
        () => {
            "d.id, d.user_id, d.label, case when d.embedding_set = (select id from embedding_sets \
             where state = 'active') then d.centroid end, d.top_terms, d.created_at"
        };
    }
    macro_rules! counted {
        () => {
            concat!(
                "(select count(*) from memories m where exists (select 1 \
                 from json_each(m.domains) as n where n.value = d.id) and ",
                visible!(),
                ")"
            )
        };
    }

    crate::sql::statements! {
        LIST = concat!(
            "select ", domain!(), ", ", counted!(), " from memory_domains d \
             where d.tenant = :tenant and (:user is null or d.user_id in ('', :user)) \
             and (:after is null or (d.id, d.user_id) > (:after, :after_user)) \
             order by d.id, d.user_id limit :limit"
        );
        /// The scope's own first, then everybody's.
        GET = concat!(
            "select ", domain!(), ", ", counted!(), " from memory_domains d \
             where d.tenant = :tenant and d.id = :id and (:user is null or d.user_id in ('', :user)) \
             order by d.user_id = coalesce(:user, '') desc, d.user_id limit 1"
        );
        COUNT = "select count(*) from memory_domains where tenant = ?1 \
            and (?2 is null or user_id in ('', ?2))";
        UPSERT = "insert into memory_domains (tenant, user_id, id, label, embedding_set, centroid, \
            top_terms, created_at) values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) \
            on conflict (tenant, id, user_id) do update set label = excluded.label, \
            embedding_set = excluded.embedding_set, centroid = excluded.centroid, \
            top_terms = excluded.top_terms";
        DELETE = "delete from memory_domains where tenant = ?1 and id = ?2 and user_id = ?3";
        CLASSIFY = "select d.id, max(mnemon_cosine(d.centroid, ?1)) as similarity \
            from memory_domains d where d.tenant = ?2 and d.embedding_set = ?3 \
            and d.centroid is not null and (?4 is null or d.user_id in ('', ?4)) \
            group by d.id order by similarity desc, d.id limit ?5";
        /// Puts what has a tag into a domain, unless it is in as many as it may be.
        TAGGED = concat!(
            "update memories as m set domains = json_insert(m.domains, '$[#]', :id) where ",
            owned!(), " and exists (select 1 from json_each(m.tags) as t where t.value = :tag) \
             and not exists (select 1 from json_each(m.domains) as n where n.value = :id) \
             and json_array_length(m.domains) < :most"
        );
        VECTORS = concat!(
            "select e.vector from embeddings_{set} e join memories m on m.memory = e.memory where ",
            owned!(), " and exists (select 1 from json_each(m.tags) as t where t.value = :tag)"
        );
        ANY_TAGGED = concat!(
            "select exists (select 1 from memories m where ", owned!(),
            " and exists (select 1 from json_each(m.tags) as t where t.value = :tag))"
        );
    }
}

const LIST: &str = "domains";
const WHAT: &str = "a domain";

/// Where a page of domains starts: id and owner.
pub(crate) fn place(page: &Page) -> Result<Option<(String, String)>> {
    let Some(cursor) = &page.cursor else { return Ok(None) };
    let [id, user] = cursor.parts::<2>(LIST)?;
    Ok(Some((id.to_owned(), user.to_owned())))
}

/// A page of domains.
pub(crate) fn list(
    conn: &Connection,
    scope: &Admitted<'_>,
    after: Option<&(String, String)>,
    limit: u32,
) -> Done<Paged<Domain>> {
    let seen = Seen::by(scope, now(conn)?);
    let id = after.map(|(id, _)| id.as_str());
    let user = after.map(|(_, user)| user.as_str());
    let more = limit + 1;
    let mut values = seen.values();
    values.extend([
        (":after", &id as &dyn rusqlite::ToSql),
        (":after_user", &user),
        (":limit", &more),
    ]);
    let mut statement = conn.prepare_cached(sql::LIST)?;
    let mut found = statement.query(values.as_slice())?;
    let mut all = Vec::new();
    while let Some(row) = found.next()? {
        all.push(domain(row)?);
    }
    Ok(Paged::cut(all, limit, |domain| {
        Cursor::of(LIST, &[&domain.id, domain.user.as_deref().unwrap_or_default()])
    }))
}

/// One domain.
pub(crate) fn get(conn: &Connection, scope: &Admitted<'_>, id: &str) -> Done<Domain> {
    let seen = Seen::by(scope, now(conn)?);
    let mut values = seen.values();
    values.push((":id", &id));
    let mut statement = conn.prepare_cached(sql::GET)?;
    let mut found = statement.query(values.as_slice())?;
    let row = found.next()?.ok_or_else(|| Error::not_found("domain", id))?;
    domain(row)
}

fn domain(row: &Row<'_>) -> Done<Domain> {
    let centroid = match row.get_ref(3)?.as_blob_or_null().map_err(rusqlite::Error::from)? {
        Some(bytes) => Some(vectors::unpack(bytes)?),
        None => None,
    };
    let count: i64 = row.get(6)?;
    Ok(Domain {
        id: row.get(0)?,
        user: row.get::<_, Option<String>>(1)?.filter(|user| !user.is_empty()),
        label: row.get(2)?,
        centroid,
        top_terms: row::json(row, 4, WHAT)?,
        memory_count: count.unsigned_abs(),
        created_at: row::time(row, 5)?,
    })
}

/// How many domains a scope sees.
pub(super) fn count(conn: &Connection, scope: &Admitted<'_>) -> Done<u64> {
    let found: i64 = conn
        .prepare_cached(sql::COUNT)?
        .query_row(params![scope.tenant, scope.user], |row| row.get(0))?;
    Ok(found.unsigned_abs())
}

/// Writes a domain of the scope's.
pub(crate) fn upsert(conn: &Connection, scope: &Admitted<'_>, new: &NewDomain) -> Done<Domain> {
    let set = match &new.centroid {
        None => None,
        Some(centroid) => {
            let set = models::active(conn)?.ok_or_else(|| unregistered("centroid"))?;
            set.model.check_vector("centroid", centroid)?;
            Some(set)
        }
    };
    conn.prepare_cached(sql::UPSERT)?.execute(params![
        scope.tenant,
        scope.user.unwrap_or_default(),
        new.id,
        new.label,
        set.map(|set| set.id.number()),
        new.centroid.as_deref().map(vectors::pack),
        json!(new.top_terms).to_string(),
        now(conn)?
    ])?;
    get(conn, scope, &new.id)
}

fn unregistered(field: &'static str) -> Error {
    Error::invalid(field, "is given, but no model is registered")
}

/// Deletes the domain that [`get`] answers.
pub(crate) fn delete(conn: &Connection, scope: &Admitted<'_>, id: &str) -> Done<()> {
    let found = get(conn, scope, id)?;
    let user = found.user.unwrap_or_default();
    conn.prepare_cached(sql::DELETE)?.execute(params![scope.tenant, id, user])?;
    Ok(())
}

/// The domains nearest to a vector.
pub(crate) fn classify(
    conn: &Connection,
    scope: &Admitted<'_>,
    vector: &[f32],
    limit: u32,
) -> Done<Vec<Classified>> {
    let set = models::active(conn)?.ok_or_else(|| unregistered("vector"))?;
    set.model.check_vector("vector", vector)?;
    let mut statement = conn.prepare_cached(sql::CLASSIFY)?;
    let values = params![vectors::pack(vector), scope.tenant, set.id.number(), scope.user, limit];
    let found = statement
        .query_map(values, |row| Ok(Classified { id: row.get(0)?, similarity: row.get(1)? }))?;
    Ok(found.collect::<rusqlite::Result<_>>()?)
}

/// Fills a domain with what has a tag.
pub(crate) fn set_from_tag(
    conn: &Connection,
    scope: &Admitted<'_>,
    id: &str,
    tag: &str,
) -> Done<Domain> {
    let seen = Seen::by(scope, now(conn)?);

    let mut values = seen.owner();
    values.push((":tag", &tag));
    let any: bool =
        conn.prepare_cached(sql::ANY_TAGGED)?.query_row(values.as_slice(), |row| row.get(0))?;
    if !any {
        return Err(Error::not_found("tag", tag).into());
    }
    let set = models::active(conn)?;
    let centroid = match &set {
        Some(set) => middle(conn, set, &values)?,
        None => None,
    };
    values.push((":id", &id));
    let most = i64::try_from(limits::DOMAINS_MAX).unwrap_or(i64::MAX);
    values.push((":most", &most));
    conn.prepare_cached(sql::TAGGED)?.execute(values.as_slice())?;
    let owner = scope.user.unwrap_or_default();
    let standing = get(conn, scope, id)
        .map(Some)
        .or_else(|fault| match fault {
            crate::error::Fault::Refused(Error::NotFound { .. }) => Ok(None),
            fault => Err(fault),
        })?
        .filter(|domain| domain.user.as_deref().unwrap_or_default() == owner);
    let (label, top_terms) = match standing {
        Some(domain) => (domain.label, domain.top_terms),
        None => (id.to_owned(), Vec::new()),
    };
    upsert(conn, scope, &NewDomain { id: id.to_owned(), label, centroid, top_terms })
}

/// The middle of the tagged memories' vectors, each at length one; none without a direction.
fn middle(conn: &Connection, set: &Set, values: &[Named<'_>]) -> Done<Option<Vec<f32>>> {
    let mut statement = conn.prepare_cached(&set.id.statement(sql::VECTORS))?;
    let mut found = statement.query(values)?;
    let mut middle = Middle::of(set);
    while let Some(row) = found.next()? {
        middle.add(row.get_ref(0)?.as_blob().map_err(rusqlite::Error::from)?)?;
    }
    Ok(middle.end())
}

/// The middle of vectors of a set, each at length one.
pub(crate) struct Middle<'s> {
    set: &'s Set,
    sum: Vec<f64>,
    count: u32,
}

impl<'s> Middle<'s> {
    pub(crate) fn of(set: &'s Set) -> Self {
        Self { set, sum: vec![0.0; set.model.dimension as usize], count: 0 }
    }

    /// Takes a vector as it is stored.
    pub(crate) fn add(&mut self, bytes: &[u8]) -> Done<()> {
        let vector = vectors::unpack(bytes)?;
        let norm = vector.iter().map(|x| f64::from(*x) * f64::from(*x)).sum::<f64>().sqrt();
        for (sum, x) in self.sum.iter_mut().zip(&vector) {
            *sum += f64::from(*x) / norm;
        }
        self.count += 1;
        Ok(())
    }

    /// The middle; none without a direction.
    pub(crate) fn end(self) -> Option<Vec<f32>> {
        let count = f64::from(self.count.max(1));
        #[expect(clippy::cast_possible_truncation, reason = "components of a mean of unit vectors")]
        let middle: Vec<f32> = self.sum.iter().map(|x| (x / count) as f32).collect();
        self.set.model.check_vector("centroid", &middle).is_ok().then_some(middle)
    }
}
