//! Every SQL statement of the crate in one list, and how a file declares its own.

/// Declares a file's statements as constants, and all of them as `ALL`: none can be forgotten.
macro_rules! statements {
    ($($(#[$doc:meta])* $name:ident = $sql:expr;)+) => {
        $($(#[$doc])* pub(crate) const $name: &str = $sql;)+
        /// Every statement above.
        #[cfg_attr(not(test), expect(dead_code, reason = "a test prepares them"))]
        pub(crate) const ALL: &[&str] = &[$($name),+];
    };
}
pub(crate) use statements;

/// Every statement of the crate. `{set}` in one stands for the number of an embedding set.
#[cfg(test)]
pub(crate) const ALL: &[&[&str]] = &[
    crate::archives::back::sql::ALL,
    crate::archives::sql::ALL,
    crate::checkpoints::copy::sql::ALL,
    crate::checkpoints::put::sql::ALL,
    crate::checkpoints::read::sql::ALL,
    crate::checkpoints::remove::sql::ALL,
    crate::checkpoints::writes::sql::ALL,
    crate::claims::change::sql::ALL,
    crate::claims::ledger::sql::ALL,
    crate::claims::lines::sql::ALL,
    crate::claims::questions::sql::ALL,
    crate::claims::read::sql::ALL,
    crate::claims::rebuild::sql::ALL,
    crate::claims::sql::ALL,
    crate::claims::write::sql::ALL,
    crate::consumers::sql::ALL,
    crate::dead_letters::deliver::sql::ALL,
    crate::dead_letters::read::sql::ALL,
    crate::dead_letters::sweep::sql::ALL,
    crate::dead_letters::write::sql::ALL,
    crate::doctor::sql::ALL,
    crate::events::append::sql::ALL,
    crate::events::read::sql::ALL,
    crate::events::search::sql::ALL,
    crate::events::sql::ALL,
    crate::events::stats::sql::ALL,
    crate::locks::sql::ALL,
    crate::memories::accesses::sql::ALL,
    crate::memories::domains::sql::ALL,
    crate::memories::graph::sql::ALL,
    crate::memories::held::sql::ALL,
    crate::memories::narrow::sql::ALL,
    crate::memories::nearest::sql::ALL,
    crate::memories::read::sql::ALL,
    crate::memories::language::sql::ALL,
    crate::memories::recall::sql::ALL,
    crate::memories::scheduling::sql::ALL,
    crate::memories::stats::sql::ALL,
    crate::memories::update::sql::ALL,
    crate::memories::write::sql::ALL,
    crate::migrate::sql::ALL,
    crate::models::sql::ALL,
    crate::moves::sql::ALL,
    crate::open::sql::ALL,
    crate::sets::recentre::sql::ALL,
    crate::sets::sql::ALL,
    crate::steps::sql::ALL,
    crate::threads::sql::ALL,
    crate::turns::append::sql::ALL,
    crate::turns::copy::sql::ALL,
    crate::turns::read::sql::ALL,
    crate::turns::remove::sql::ALL,
    crate::turns::summarize::sql::ALL,
    crate::upkeep::sql::ALL,
    crate::workflows::definitions::sql::ALL,
    crate::workflows::history::sql::ALL,
    crate::workflows::read::sql::ALL,
    crate::workflows::write::sql::ALL,
];

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rusqlite::Connection;

    use super::*;
    use crate::open::{Opener, Role};
    use crate::options::{Location, Options};
    use crate::{migrate, models};

    #[test]
    fn every_statement_prepares_against_the_migrated_schema() {
        let (_opener, conn) = migrated();
        let set = models::active(&conn).unwrap().unwrap().id;

        for statement in ALL.iter().copied().flatten() {
            // The one that makes a set's table is tried for the next set.
            let set = if *statement == models::sql::MAKE { models::SetId::of(2) } else { set };
            let text = set.statement(statement);

            assert!(conn.prepare(&text).is_ok(), "{text}: {:?}", conn.prepare(&text).err());
        }
    }
    /// A connection to a fresh, migrated file with one embedding set.
    fn migrated() -> (Arc<Opener>, Connection) {
        let opener = Arc::new(Opener::new(&Options::new(Location::Memory)).unwrap());
        opener.create().unwrap();
        let mut conn = opener.connect(Role::Writer).unwrap();
        migrate::up(&opener, &mut conn, migrate::STEPS).unwrap();
        let model = mnemon_core::memories::ModelSignature {
            name: "m".into(),
            dimension: 3,
            hash: "h".into(),
            semantic: true,
        };
        models::register(&conn, &model).unwrap();
        (opener, conn)
    }

    #[test]
    fn hot_statements_search_an_index_and_sort_nothing() {
        use crate::memories::{held, nearest, read, recall, write};
        let (_opener, conn) = migrated();
        for statement in [
            read::sql::GET,
            read::sql::LIST,
            read::sql::COUNT,
            recall::sql::CORPUS,
            recall::sql::TERM,
            recall::sql::POSTINGS,
            recall::sql::POSTING,
            recall::sql::ADMIT,
            recall::sql::WINNER,
            held::sql::SPAN,
            held::sql::ONE,
            nearest::sql::ONE,
            nearest::sql::LET_THROUGH,
            write::sql::BY_REQUEST,
            write::sql::BY_KEY,
            write::sql::BY_CONTENT,
            write::sql::DELETABLE,
            write::sql::WORDS_OF,
            write::sql::REMOVE_POSTING,
            write::sql::REMOVE_TERM,
            crate::checkpoints::put::sql::HEAD,
            crate::checkpoints::put::sql::MANIFEST,
            crate::checkpoints::read::sql::GET,
            crate::checkpoints::read::sql::HISTORY,
            crate::checkpoints::read::sql::THREADS,
            crate::checkpoints::read::sql::WRITES,
            crate::checkpoints::remove::sql::EXPIRED,
            crate::claims::lines::sql::CURRENT,
            crate::claims::lines::sql::SAID,
            crate::claims::lines::sql::KNOWN_THEN,
            crate::claims::lines::sql::STANDING,
            crate::claims::lines::sql::DEPENDENTS,
            crate::claims::lines::sql::CONTESTED,
            crate::claims::ledger::sql::NEWEST,
            crate::claims::ledger::sql::OLDEST_OF_CLAIM,
            crate::claims::ledger::sql::RE_ENTRIES,
            crate::claims::ledger::sql::SEALED,
            crate::claims::questions::sql::OPEN,
            crate::claims::questions::sql::TAKE,
            crate::claims::questions::sql::EXPIRED,
            crate::claims::write::sql::BY_REQUEST,
            crate::events::sql::LAST_OF_KIND,
            crate::events::read::sql::READ,
            crate::turns::append::sql::BY_REQUEST,
            crate::turns::read::sql::HEAD,
            crate::turns::read::sql::LIST,
            crate::turns::read::sql::NEWEST_FIRST,
            crate::turns::read::sql::FIRST,
            crate::turns::read::sql::NEWEST_SUMMARY,
            crate::turns::read::sql::SESSIONS,
            crate::turns::remove::sql::EXPIRED,
            crate::turns::summarize::sql::DUE,
            crate::upkeep::sql::EXPIRED,
            crate::dead_letters::deliver::sql::READY,
            crate::dead_letters::deliver::sql::TAKE,
            crate::dead_letters::deliver::sql::DELIVERED,
            crate::dead_letters::read::sql::LIST,
            crate::dead_letters::read::sql::ATTEMPTS,
            crate::workflows::read::sql::LIST,
            crate::workflows::read::sql::LIST_STATUS,
            crate::workflows::history::sql::OF_RUN,
            crate::workflows::history::sql::OF_DEFINITION,
            crate::workflows::history::sql::JOBS,
            crate::workflows::write::sql::CLOSE,
        ] {
            let statement = models::SetId::of(1).statement(statement);
            let mut explained = conn.prepare(&format!("explain query plan {statement}")).unwrap();
            let mut steps = explained.raw_query();
            let mut plan: Vec<String> = Vec::new();
            while let Some(step) = steps.next().unwrap() {
                plan.push(step.get(3).unwrap());
            }

            let bad = |step: &&String| {
                step.contains("TEMP B-TREE")
                    || (step.starts_with("SCAN")
                        && !step.contains("VIRTUAL")
                        && !step.contains("CONSTANT ROW"))
            };
            assert_eq!(plan.iter().find(bad), None, "{statement}: {plan:#?}");
        }
    }

    #[test]
    fn every_index_of_a_scoped_table_leads_with_the_tenant() {
        let (_opener, conn) = migrated();
        let mut indexes = conn
            .prepare(
                "select i.name, (select name from pragma_index_info(i.name) where seqno = 0) \
                 from sqlite_schema t join sqlite_schema i on i.tbl_name = t.name \
                 where t.type = 'table' and i.type = 'index' and t.sql like '%tenant text%'",
            )
            .unwrap();
        let found: Vec<(String, Option<String>)> = indexes
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
            .unwrap()
            .map(Result::unwrap)
            .collect();

        assert!(found.len() >= 8, "{found:?}");
        for (index, first) in found {
            let leads = first.as_deref() == Some("tenant");
            assert!(leads || index.ends_with("_upkeep"), "{index} leads with {first:?}");
        }
    }

    #[test]
    fn no_statement_asks_another_clock_than_the_store_s() {
        let migrations = migrate::STEPS.iter().flat_map(|step| [step.up, step.down]);
        for text in ALL.iter().copied().flatten().copied().chain(migrations) {
            let text = text.to_lowercase();
            for clock in ["current_t", "current_d", "datetime(", "unixepoch(", "julianday", "'now'"]
            {
                assert!(!text.contains(clock), "{clock} in {text}");
            }
            // Without a time of its own it asks the clock; a stored one is a number.
            let (formats, numbers) = (text.matches("strftime("), text.matches(", 'unixepoch')"));
            assert_eq!(formats.count(), numbers.count(), "{text}");
        }
    }
}
