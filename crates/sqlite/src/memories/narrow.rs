//! Filters that let little through: by an index to the few that may pass, instead of past all. What
//! stands here narrows only; `filtered!` decides.

use mnemon_core::limits;
use mnemon_core::memories::text::lexemes;
use mnemon_core::memories::{MemoryFilter, Namespace};
use rusqlite::{Connection, OptionalExtension, params};
use serde_json::json;

use super::filter::Named;
use super::{language, recall};
use crate::error::Done;

pub(crate) mod sql {
    use crate::memories::filter::below;

    crate::sql::statements! {
        /// How many are in a namespace or below it, up to a number.
        BELOW = concat!(
            "select count(*) from (select 1 from memories m where m.tenant = :tenant and ", below!(),
            " limit :most)"
        );
    }
}

/// The few that may pass.
pub(super) enum Narrow {
    /// No index knows them, or they are many.
    No,
    /// Memories with any of these words, as JSON.
    Words(String),
    /// Memories of the filter's namespace.
    Namespace,
}

impl Narrow {
    /// The statement for this of three.
    pub(super) fn of<'s>(&self, all: &'s str, words: &'s str, namespace: &'s str) -> &'s str {
        match self {
            Self::No => all,
            Self::Words(_) => words,
            Self::Namespace => namespace,
        }
    }

    /// What the statement binds beyond the others.
    pub(super) fn values(&self) -> Option<Named<'_>> {
        match self {
            Self::Words(words) => Some((":words", words)),
            _ => None,
        }
    }
}

/// How a tenant's memories are narrowed down before a filter looks at them.
pub(super) fn narrow(conn: &Connection, tenant: &str, filter: &MemoryFilter) -> Done<Narrow> {
    let Some(corpus) = recall::corpus(conn, tenant)? else { return Ok(Narrow::No) };
    let few = corpus.documents / limits::FILTER_FIRST_SHARE as u64;
    for labels in [&filter.tags, &filter.node_types] {
        if let Some((words, memories)) = words_of(conn, tenant, labels)?
            && memories <= few
        {
            return Ok(Narrow::Words(json!(words).to_string()));
        }
    }
    let root = filter.namespace.as_ref().map(Namespace::as_str).filter(|root| !root.is_empty());
    if let Some(root) = root {
        let most = i64::try_from(few).unwrap_or(i64::MAX).saturating_add(1);
        let values: &[Named<'_>] = &[(":tenant", &tenant), (":namespace", &root), (":most", &most)];
        let found: i64 = conn.prepare_cached(sql::BELOW)?.query_row(values, |row| row.get(0))?;
        if found < most {
            return Ok(Narrow::Namespace);
        }
    }
    Ok(Narrow::No)
}

/// Words of which a memory with any of these labels has at least one, each label's rarest, and how
/// many memories have them; `None` where a label has no words, or there is none.
fn words_of(conn: &Connection, tenant: &str, labels: &[String]) -> Done<Option<(Vec<i64>, u64)>> {
    if labels.is_empty() {
        return Ok(None);
    }
    let wording = language::wording(conn)?;
    let mut term = conn.prepare_cached(recall::sql::TERM)?;
    let (mut words, mut memories) = (Vec::new(), 0);
    for language in std::iter::once(wording.language).chain(wording.before) {
        for label in labels {
            let mut found = Vec::new();
            for lexeme in lexemes(language, label) {
                let row = term
                    .query_row(params![tenant, lexeme], |row| Ok((row.get(1)?, row.get(0)?)))
                    .optional()?;
                found.push(row.unwrap_or((0_i64, 0_i64)));
            }
            let Some((count, word)) = found.into_iter().min() else { return Ok(None) };
            memories += u64::try_from(count).unwrap_or(0);
            words.push(word);
        }
    }
    Ok(Some((words, memories)))
}
