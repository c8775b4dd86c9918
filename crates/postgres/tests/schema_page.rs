//! `docs/schema.md` is what the comments of a migrated database say.

#![expect(clippy::unwrap_used, reason = "tests")]

mod common;

use std::fmt::Write as _;
use std::path::Path;

use mnemon_testkit::{Major, Server};
use sqlx::{PgConnection, Row as _};

const INTRODUCTION: &str = "\
# Schema

<!-- Generated from the comments of a migrated PostgreSQL. To regenerate:
     MNEMON_REGENERATE=1 MNEMON_TEST_POSTGRES=1 cargo test -p mnemon-postgres --test schema_page -->

What PostgreSQL keeps, for whoever operates it, backs it up or is asked what is stored about a
person. Everything is in schema `mnemon`. SQLite has the same tables but for partitions, with times
as microseconds since 1970 and JSON as text.

Read as much as you like; write through Mnemon only. The tables may change with a version; the API
does not. Every row that could be asked about a person carries `user_id`. Besides these there are the
months of `events`, a table of vectors per embedding set, and `schema_migrations`, the migrator's own.

";

/// Tables by name, without partitions and the tables of embedding sets, which are made as needed,
/// and without the migrator's own.
const TABLES: &str = "
    select c.relname::text as name, obj_description(c.oid, 'pg_class') as comment,
           c.relkind = 'p' as partitioned,
           array_to_string(array(
               select pg_get_indexdef(i.indexrelid)
               from pg_index i where i.indrelid = c.oid
               order by not i.indisprimary, i.indexrelid::regclass::text collate \"C\"), E'\\n') as indexes
    from pg_class c
    where c.relnamespace = 'mnemon'::regnamespace and c.relkind in ('r', 'p')
      and not c.relispartition and c.relname <> 'schema_migrations' and c.relname !~ '^embeddings_[0-9]+$'
    order by c.relname collate \"C\"";

const COLUMNS: &str = "
    select a.attname::text as name, format_type(a.atttypid, a.atttypmod) as type,
           a.attnotnull as required, pg_get_expr(d.adbin, d.adrelid) as initial,
           col_description(a.attrelid, a.attnum) as comment
    from pg_attribute a
    left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
    where a.attrelid = ('mnemon.' || quote_ident($1))::regclass and a.attnum > 0 and not a.attisdropped
    order by a.attnum";

const FUNCTIONS: &str = "
    select p.proname || '(' || pg_get_function_identity_arguments(p.oid) || ')' as name,
           pg_get_function_result(p.oid) as result, obj_description(p.oid, 'pg_proc') as comment
    from pg_proc p
    where p.pronamespace = 'mnemon'::regnamespace and obj_description(p.oid, 'pg_proc') is not null
    order by p.proname collate \"C\", 1";

/// An index as people name it: its columns and condition.
fn shown(definition: &str) -> String {
    let unique = if definition.starts_with("CREATE UNIQUE") { "unique " } else { "" };
    let columns = definition.split_once(" USING ").map_or(definition, |(_, rest)| rest);
    format!("{unique}{columns}")
}

async fn page(conn: &mut PgConnection) -> String {
    let mut page = INTRODUCTION.to_owned();
    let tables = sqlx::query(TABLES).fetch_all(&mut *conn).await.unwrap();
    for table in tables {
        let name: String = table.get("name");
        let comment: Option<String> = table.get("comment");
        let comment = comment.unwrap_or_else(|| panic!("table {name} has no comment"));
        let partitioned: bool = table.get("partitioned");
        let how = if partitioned { " Partitioned by month." } else { "" };
        let _ = writeln!(page, "## `{name}`\n\n{comment}{how}\n");
        page.push_str("| column | type | | meaning |\n|---|---|---|---|\n");
        for column in sqlx::query(COLUMNS).bind(&name).fetch_all(&mut *conn).await.unwrap() {
            let field: String = column.get("name");
            let comment: Option<String> = column.get("comment");
            let comment = comment.unwrap_or_else(|| panic!("{name}.{field} has no comment"));
            let (kind, required): (String, bool) = (column.get("type"), column.get("required"));
            let need = if required { "" } else { "may be null" };
            let comment = comment.replace('|', "\\|");
            let _ = writeln!(page, "| `{field}` | {kind} | {need} | {comment} |");
        }
        let indexes: String = table.get("indexes");
        page.push('\n');
        for index in indexes.lines() {
            let _ = writeln!(page, "- `{}`", shown(index));
        }
        page.push('\n');
    }
    page.push_str("## Functions\n\n| function | gives | meaning |\n|---|---|---|\n");
    for function in sqlx::query(FUNCTIONS).fetch_all(&mut *conn).await.unwrap() {
        let (name, result): (String, String) = (function.get("name"), function.get("result"));
        let comment: String = function.get("comment");
        let comment = comment.replace('|', "\\|");
        let _ = writeln!(page, "| `{name}` | {result} | {comment} |");
    }
    page
}

#[tokio::test]
async fn the_schema_page_is_what_the_databases_comments_say() {
    if !mnemon_testkit::postgres_wanted() {
        return;
    }
    let db = common::migrated(&Server::get(Major::V18)).await;
    let mut conn = common::connect(db.url()).await;
    let generated = page(&mut conn).await;
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/schema.md");
    if std::env::var_os("MNEMON_REGENERATE").is_some() {
        std::fs::write(&path, generated).unwrap();
        return;
    }
    let standing = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(standing == generated, "{} is not what the database says", path.display());
}
