//! The middles of domains, computed anew when their model is no longer the one that is searched.

use rusqlite::{Connection, params};

use crate::error::Done;
use crate::memories::domains::Middle;
use crate::models::Set;

pub(crate) mod sql {
    crate::sql::statements! {
        DOMAINS = "select tenant, user_id, id from memory_domains where embedding_set = ?1";
        /// Of the domain's owner: their own and unowned memories; of everybody's: all that name it.
        MEMBERS = "select e.vector from embeddings_{set} e join memories m on m.memory = e.memory \
            where m.tenant = ?1 and (?2 = '' or m.user_id is null or m.user_id = ?2) \
            and exists (select 1 from json_each(m.domains) where value = ?3)";
        MOVE = "update memory_domains set embedding_set = ?4, centroid = ?5 \
            where tenant = ?1 and user_id = ?2 and id = ?3";
    }
}

/// Moves every domain that has its middle by the model before; one without members by the new
/// model keeps what it has, which nobody sees.
pub(super) fn all(conn: &Connection, before: &Set, now: &Set) -> Done<u64> {
    let mut domains = conn.prepare_cached(sql::DOMAINS)?;
    let domains: Vec<(String, String, String)> = domains
        .query_map([before.id.number()], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
        .collect::<rusqlite::Result<_>>()?;
    let mut moved = 0;
    for (tenant, user, id) in domains {
        let mut middle = Middle::of(now);
        let mut members = conn.prepare_cached(&now.id.statement(sql::MEMBERS))?;
        let mut found = members.query(params![tenant, user, id])?;
        while let Some(row) = found.next()? {
            middle.add(row.get_ref(0)?.as_blob().map_err(rusqlite::Error::from)?)?;
        }
        if let Some(centroid) = middle.end() {
            let set = now.id.number();
            let centroid = crate::memories::vectors::pack(&centroid);
            conn.prepare_cached(sql::MOVE)?.execute(params![tenant, user, id, set, centroid])?;
            moved += 1;
        }
    }
    Ok(moved)
}
