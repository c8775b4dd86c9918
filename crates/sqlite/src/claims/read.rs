//! Reading: what is believed, of one line or of a whole subject, and a line's history.

use mnemon_core::Paged;
use mnemon_core::claims::change::{Change, Entry};
use mnemon_core::claims::fold::{Recorded, fold};
use mnemon_core::claims::history::{self, Place};
use mnemon_core::claims::{AsOf, Belief, History, LedgerKind, Line, Moment, Rules, SubjectBelief};
use mnemon_core::scope::Admitted;
use rusqlite::{Connection, params};
use serde_json::json;

use super::lines::Span;
use super::rows::{ALWAYS, FOREVER, micros};
use super::write::time_of_write;
use super::{agent, change, head, lines};
use crate::error::Done;
use crate::memories::rows;
use crate::open::now;

pub(crate) mod sql {
    use crate::claims::rows::{columns, standing};

    crate::sql::statements! {
        PREDICATES = "select distinct predicate from claims where tenant = ?1 and agent_id = ?2 \
            and subject = ?3 and predicate > ?4 order by predicate limit ?5";
        /// In canonical order, behind a place; ?6 says from which confidence a start is trusted.
        HISTORY = concat!(
            "select * from (select ", columns!(), ", ", standing!("?5"), ", \
             case when c.valid_start is not null and c.valid_time_confidence >= ?6 \
             then c.valid_start else c.recorded_at end as place from claims c \
             where c.tenant = ?1 and c.agent_id = ?2 and c.subject = ?3 and c.predicate = ?4 \
             and c.recorded_at <= ?5) where (place, recorded_at, id) > (?7, ?8, ?9) \
             order by place, recorded_at, id limit ?10"
        );
    }
}

/// When a reading is, given what the agent wrote last.
fn moment(conn: &Connection, scope: &Admitted<'_>, when: AsOf) -> Done<(Moment, bool)> {
    let last = head(conn, scope)?.map(|head| head.last_time);
    let moment = when.resolve(last, rows::time(now(conn)?)?);
    Ok((moment, moment.as_of == last))
}

/// What may count of a line at a moment.
fn known(
    conn: &Connection,
    scope: &Admitted<'_>,
    line: &Line,
    (moment, newest): (Moment, bool),
    rules: &Rules,
) -> Done<Vec<Recorded>> {
    match moment.as_of {
        Some(then) if !newest => lines::known_then(conn, scope, line, then),
        _ => lines::current(conn, scope, line, Span::at(moment.valid_at), rules),
    }
}

/// What is believed about a line.
pub(super) fn belief(
    conn: &Connection,
    scope: &Admitted<'_>,
    line: &Line,
    when: AsOf,
    rules: &Rules,
) -> Done<Belief> {
    let at = moment(conn, scope, when)?;
    Ok(fold(&known(conn, scope, line, at, rules)?, at.0, rules))
}

/// The same, noting what was shown.
pub(super) fn served(
    conn: &Connection,
    scope: &Admitted<'_>,
    line: &Line,
    when: AsOf,
    rules: &Rules,
) -> Done<Belief> {
    let belief = belief(conn, scope, line, when, rules)?;
    let mut head = head(conn, scope)?;
    let mut noted = Change::new(time_of_write(conn, head)?);
    noted.entries = belief.primary.iter().chain(&belief.alternatives).map(shown).collect();
    change::apply(conn, scope, &mut head, &noted)?;
    Ok(belief)
}

fn shown(believed: &mnemon_core::claims::Believed) -> Entry {
    Entry {
        kind: LedgerKind::ServedAsInjected,
        claim: believed.claim,
        disposition: believed.disposition,
        contested_with: Vec::new(),
        request: None,
        payload: json!({}),
    }
}

/// What is believed about a subject, by predicate, behind one.
pub(super) fn subject(
    conn: &Connection,
    scope: &Admitted<'_>,
    subject: &str,
    when: AsOf,
    (after, limit): (&str, u32),
    rules: &Rules,
) -> Done<Paged<SubjectBelief>> {
    let at = moment(conn, scope, when)?;
    let predicates: Vec<String> = conn
        .prepare_cached(sql::PREDICATES)?
        .query_map(params![scope.tenant, agent(scope)?, subject, after, limit + 1], |row| {
            row.get(0)
        })?
        .collect::<rusqlite::Result<_>>()?;
    let page = Paged::cut(predicates, limit, |predicate| history::predicate_cursor(predicate));
    let mut items = Vec::with_capacity(page.items.len());
    for predicate in page.items {
        let line = Line { subject: subject.to_owned(), predicate };
        let belief = fold(&known(conn, scope, &line, at, rules)?, at.0, rules);
        items.push(SubjectBelief { predicate: line.predicate, belief });
    }
    Ok(Paged { items, next: page.next })
}

/// A page of a line's history.
pub(super) fn history(
    conn: &Connection,
    scope: &Admitted<'_>,
    line: &Line,
    when: AsOf,
    (after, limit): (Option<Place>, u32),
    rules: &Rules,
) -> Done<History> {
    let at = moment(conn, scope, when)?;
    let moment = at.0;
    let belief = fold(&known(conn, scope, line, at, rules)?, moment, rules);
    let (place, recorded_at, id) = match after {
        Some((place, recorded_at, id)) => (place, recorded_at, id.0.as_bytes().to_vec()),
        None => (ALWAYS, ALWAYS, Vec::new()),
    };
    let values = params![
        scope.tenant,
        agent(scope)?,
        line.subject,
        line.predicate,
        moment.as_of.map_or(FOREVER, micros),
        rules.valid_time_confidence_threshold,
        place,
        recorded_at,
        id,
        limit + 1,
    ];
    let found = lines::load(conn, sql::HISTORY, values)?;
    let page = Paged::cut(found, limit, |recorded| history::cursor(&recorded.claim, rules));
    Ok(History {
        entries: page
            .items
            .iter()
            .map(|recorded| history::entry(recorded, &belief, moment, rules))
            .collect(),
        next: page.next,
        as_of: moment.as_of,
        valid_at: moment.valid_at,
    })
}
