//! The language of words: one row says what is written in and, while it is changed, what is still
//! to be cut anew.

use mnemon_core::Error;
use mnemon_core::limits;
use mnemon_core::memories::text::{Language, Wording, analyze};
use mnemon_core::upkeep::Batch;
use rusqlite::{Connection, params};

use super::{rows, write};
use crate::error::Done;

pub(crate) mod sql {
    crate::sql::statements! {
        WORDING = "select language, before, memory from text_language";
        SETTLE = "update text_language set language = ?1, before = ?2, memory = ?3";
        /// A binary that cuts words in English whatever is written here must not write any more.
        SHUT_OUT = "update meta set min_binary = max(min_binary, ?1)";
        ANY = "select exists (select 1 from memories)";
        NEXT = "select memory, tenant, content, node_type, tags from memories where memory > ?1 \
            order by memory limit ?2";
        WAITING = "select count(*) from (select 1 from text_language l join memories m \
            on m.memory > l.memory where l.before is not null limit ?1)";
    }
}

/// The oldest schema whose binaries know of languages.
const KNOWN_SINCE: i64 = 8;

/// The row as it stands.
struct Standing {
    /// What somebody chose.
    chosen: Option<String>,
    wording: Wording,
    /// The memory that was cut anew last.
    memory: i64,
}

fn standing(conn: &Connection) -> Done<Standing> {
    let (chosen, before, memory): (Option<String>, Option<String>, i64) = conn
        .prepare_cached(sql::WORDING)?
        .query_row([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    let wording = Wording::read(chosen.as_deref(), before.as_deref())?;
    Ok(Standing { chosen, wording, memory })
}

/// How words stand, for this transaction.
pub(crate) fn wording(conn: &Connection) -> Done<Wording> {
    Ok(standing(conn)?.wording)
}

/// The language that somebody chose.
pub(super) fn chosen(conn: &Connection) -> Done<Option<Language>> {
    let Standing { chosen, wording, .. } = standing(conn)?;
    Ok(chosen.map(|_| wording.language))
}

/// Settles the language where it is open; see the trait.
pub(super) fn register(conn: &Connection, language: Language) -> Done<()> {
    let Standing { chosen, wording: Wording { language: registered, .. }, .. } = standing(conn)?;
    if registered != language {
        let any = || conn.prepare_cached(sql::ANY)?.query_row([], |row| row.get::<_, bool>(0));
        if chosen.is_some() || any()? {
            return Err(Error::LanguageMismatch { registered, offered: language }.into());
        }
    }
    match chosen {
        Some(_) => Ok(()),
        None => settle(conn, Wording { language, before: None }, 0),
    }
}

/// Begins a change; see the trait.
pub(super) fn change(conn: &Connection, to: Language) -> Done<Wording> {
    let found = wording(conn)?;
    let Some(changed) = found.changed(to)? else { return Ok(found) };
    settle(conn, changed, 0)?;
    Ok(changed)
}

fn settle(conn: &Connection, wording: Wording, memory: i64) -> Done<()> {
    let Wording { language, before } = wording;
    let values = params![language.name(), before.map(Language::name), memory];
    conn.prepare_cached(sql::SETTLE)?.execute(values)?;
    if language != Language::default() {
        conn.prepare_cached(sql::SHUT_OUT)?.execute([KNOWN_SINCE])?;
    }
    Ok(())
}

/// Cuts the next memories anew, and says how words stand when none is left.
pub(crate) fn batch(conn: &Connection, size: u32) -> Done<Batch> {
    let Standing { wording, memory: mut last, .. } = standing(conn)?;
    if wording.before.is_none() {
        return Ok(Batch::default());
    }
    let mut statement = conn.prepare_cached(sql::NEXT)?;
    let mut found = statement.query(params![last, size])?;
    let mut done = 0;
    while let Some(row) = found.next()? {
        last = row.get(0)?;
        let (tenant, content, node_type): (String, String, String) =
            (row.get(1)?, row.get(2)?, row.get(3)?);
        let tags: Vec<String> = rows::tags(row, 4)?;
        let document = analyze(wording.language, &content, &node_type, &tags);
        write::reindex(conn, &tenant, last, &document)?;
        done += 1;
    }
    let more = done == size;
    let (before, memory) = if more { (wording.before, last) } else { (None, 0) };
    settle(conn, Wording { before, ..wording }, memory)?;
    Ok(Batch { rows: u64::from(done), more })
}

/// Memories still to be cut anew, up to [`limits::DEPTH_MAX`].
pub(crate) fn waiting(conn: &Connection) -> Done<i64> {
    let mut waiting = conn.prepare_cached(sql::WAITING)?;
    Ok(waiting.query_row([limits::DEPTH_MAX], |row| row.get(0))?)
}
