//! `mnemon-testkit`: test servers and migrated databases for `cargo xtask`, until its stdin closes.
//!
//! `serve` starts the shared servers of both versions; `migrated DIR` makes a database of PostgreSQL 18
//! migrated by the files in DIR. Both answer in lines of `NAME=URL` and then `ready`; both clean up when stdin
//! closes, which it also does when the caller dies. `minilm` prints the folder of all-MiniLM-L6-v2, for benches
//! of local models.

use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::ExitCode;

use mnemon_testkit::{Error, Major, Server, TestDatabase};
use sqlx::Connection as _;
use sqlx::migrate::{MigrateError, Migrator};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let done = match args.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["serve"] => serve(),
        ["minilm"] => minilm(),
        ["migrated", folder] => migrated(Path::new(folder)).await,
        _ => {
            eprintln!("usage: mnemon-testkit serve | migrated DIR | minilm");
            return ExitCode::from(2);
        }
    };
    match done.and_then(|()| Ok(Server::release()?)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("mnemon-testkit: {error}");
            ExitCode::FAILURE
        }
    }
}

type Outcome = Result<(), Box<dyn std::error::Error>>;

fn serve() -> Outcome {
    let servers = Major::ALL.map(Server::find).into_iter().collect::<Result<Vec<_>, Error>>()?;
    let lines =
        servers.iter().map(|server| (format!("POSTGRES{}", server.major()), server.admin_url()));
    answer_and_wait(lines)
}

fn minilm() -> Outcome {
    println!("{}", mnemon_testkit::minilm()?.display());
    Ok(())
}

async fn migrated(folder: &Path) -> Outcome {
    let database = Server::find(Major::V18)?.database().await;
    migrate(&database, folder).await?;
    answer_and_wait([("DATABASE".to_owned(), database.url())].into_iter())
}

async fn migrate(database: &TestDatabase, folder: &Path) -> Result<(), MigrateError> {
    let mut conn = sqlx::PgConnection::connect(database.url()).await?;
    let mut migrator = Migrator::new(folder).await?;
    // As the store's own migrator does; the queries that are checked also name this table.
    migrator.set_locking(false).create_schema("mnemon");
    migrator.dangerous_set_table_name("mnemon.schema_migrations");
    migrator.run_direct(None, &mut conn, false).await?;
    Ok(conn.close().await?)
}

fn answer_and_wait<'a>(lines: impl Iterator<Item = (String, &'a str)>) -> Outcome {
    let mut out = std::io::stdout().lock();
    for (name, url) in lines {
        writeln!(out, "{name}={url}")?;
    }
    writeln!(out, "ready")?;
    out.flush()?;
    // The end of stdin is the only message expected.
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}
