//! Making the current standings anew from claims, bounds and ledger.

use mnemon_core::claims::Rebuilt;
use mnemon_core::claims::fold::Recorded;
use mnemon_core::scope::{Admitted, Facet};
use mnemon_core::{Scope, limits};
use rusqlite::{Connection, params};

use super::rows::{micros, span};
use super::{agent, change, lines};
use crate::error::Done;
use crate::row;

pub(crate) mod sql {
    use crate::claims::rows::{columns, standing};

    crate::sql::statements! {
        AGENTS = "select tenant, agent_id from claim_agents order by tenant, agent_id";
        CLAIMS = concat!(
            "select ", columns!(), ", ", standing!("9223372036854775807"), " from claims c \
             where c.tenant = ?1 and c.agent_id = ?2 and c.id > ?3 order by c.id limit ?4"
        );
        /// How a claim stands there, to be compared.
        THERE = "select disposition, valid_time_confidence, starts_at, ends_at, bound_at, \
            re_entries from claim_current where tenant = ?1 and agent_id = ?2 and subject = ?3 \
            and predicate = ?4 and claim_id = ?5";
        /// Standings of claims that are not there.
        STRAY = "delete from claim_current where tenant = ?1 and agent_id = ?2 and not exists (\
            select 1 from claims c where c.tenant = claim_current.tenant \
            and c.agent_id = claim_current.agent_id and c.id = claim_current.claim_id \
            and c.subject = claim_current.subject and c.predicate = claim_current.predicate)";
        ROWS = "select count(*) from claim_current where tenant = ?1 and agent_id = ?2";
    }
}

/// Every agent's.
pub(super) fn all(conn: &Connection) -> Done<Rebuilt> {
    let agents: Vec<(String, String)> = conn
        .prepare_cached(sql::AGENTS)?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<rusqlite::Result<_>>()?;
    let mut rebuilt = Rebuilt::default();
    for (tenant, agent) in agents {
        let scope = Scope::tenant(tenant).agent(agent);
        one(conn, &scope.admit(Facet::Claims)?, &mut rebuilt)?;
    }
    Ok(rebuilt)
}

fn one(conn: &Connection, scope: &Admitted<'_>, rebuilt: &mut Rebuilt) -> Done<()> {
    let agent = agent(scope)?;
    let stray = conn.prepare_cached(sql::STRAY)?.execute([scope.tenant, agent])?;
    rebuilt.differed += stray as u64;
    let mut after: Vec<u8> = Vec::new();
    loop {
        let key = params![scope.tenant, agent, after, limits::PAGE_MAX];
        let found = lines::load(conn, sql::CLAIMS, key)?;
        for recorded in &found {
            if !stands(conn, scope, recorded)? {
                change::displace(conn, scope, recorded)?;
                change::place(conn, scope, recorded)?;
                rebuilt.differed += 1;
            }
        }
        match found.last() {
            Some(last) if found.len() == limits::PAGE_MAX as usize => {
                after = last.claim.id.0.as_bytes().to_vec();
            }
            _ => break,
        }
    }
    let rows: u32 =
        conn.prepare_cached(sql::ROWS)?.query_row([scope.tenant, agent], |row| row.get(0))?;
    rebuilt.rows += u64::from(rows);
    Ok(())
}

/// Whether the claim stands there as it should.
fn stands(conn: &Connection, scope: &Admitted<'_>, recorded: &Recorded) -> Done<bool> {
    let claim = &recorded.claim;
    let line = &claim.line;
    let mut statement = conn.prepare_cached(sql::THERE)?;
    let key =
        params![scope.tenant, agent(scope)?, line.subject, line.predicate, claim.id.0.as_bytes()];
    let mut rows = statement.query(key)?;
    let Some(row) = rows.next()? else { return Ok(!recorded.may_count()) };
    let there = (
        row.get::<_, String>(0)?,
        row.get::<_, f32>(1)?.to_bits(),
        (row.get::<_, i64>(2)?, row.get::<_, i64>(3)?),
        row::moment(row, 4)?.map(micros),
        row.get::<_, u32>(5)?,
    );
    let should = (
        recorded.disposition.as_str().to_owned(),
        claim.valid_time.valid_time_confidence.to_bits(),
        span(recorded),
        recorded.bound.map(micros),
        recorded.re_entries,
    );
    Ok(recorded.may_count() && there == should)
}
