//! PgBouncer, where the machine has one: a safe one serves, an unsafe one is refused at open.

use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Once;

use mnemon_core::Error;
use mnemon_testkit::TestDatabase;
use sqlx::PgConnection;
use tempfile::TempDir;
use tokio::net::TcpStream;

use super::{call, database, fake, open, options};
use crate::error::Fault;
use crate::link::{Link, Retry, work};

const TASKS: i64 = 16;
const QUESTIONS: i64 = 300;

/// The first version that keeps prepared statements apart.
const SAFE: (u32, u32) = (1, 21);

/// A `PgBouncer` of one test.
struct Bouncer {
    process: Child,
    _folder: TempDir,
    url: String,
}

impl Drop for Bouncer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The installed program and its version; says so loudly when there is none.
fn installed() -> Option<(PathBuf, (u32, u32))> {
    static NOTICE: Once = Once::new();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/usr/local/sbin".into()])
        .map(|folder| folder.join("pgbouncer"))
        .find(|program| program.is_file());
    let Some(program) = found else {
        NOTICE.call_once(|| {
            // Straight to stderr: the test harness swallows what print macros write.
            let _ = writeln!(
                std::io::stderr(),
                "\n*** NO PGBOUNCER ON THIS MACHINE: ITS TESTS DID NOT RUN. Install version 1.21 or newer. ***\n"
            );
        });
        return None;
    };
    let output = Command::new(&program).arg("--version").output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let version = text.split_whitespace().nth(1).expect("PgBouncer says its version");
    let mut numbers = version.split('.').map(|number| number.parse().unwrap());
    Some((program, (numbers.next().unwrap(), numbers.next().unwrap())))
}

/// Starts one in front of the database with these settings.
async fn start(program: &Path, db: &TestDatabase, settings: &str) -> Bouncer {
    let folder = TempDir::new().unwrap();
    let port = fake::nobody().await.port();
    let address = db.server().address();
    let (host, server_port) = address.rsplit_once(':').unwrap();
    let mut url = url::Url::parse(db.url()).unwrap();
    let users = folder.path().join("users");
    let login = format!("\"{}\" \"{}\"\n", url.username(), url.password().unwrap_or_default());
    std::fs::write(&users, login).unwrap();
    let config = folder.path().join("pgbouncer.ini");
    let text = format!(
        "[databases]\n* = host={host} port={server_port}\n[pgbouncer]\n\
         listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n\
         auth_type = trust\nauth_file = {}\n{settings}\n",
        users.display()
    );
    std::fs::write(&config, &text).unwrap();
    // It gives up root, and reads its files after that.
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = Command::new(program);
    if std::fs::metadata("/proc/self").unwrap().uid() == 0 {
        command.args(["-u", "nobody"]);
    }
    let mut process =
        command.arg(&config).stderr(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
    while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
        assert!(process.try_wait().unwrap().is_none(), "PgBouncer ended: {text}");
        tokio::task::yield_now().await;
    }
    url.set_host(Some("127.0.0.1")).unwrap();
    url.set_port(Some(port)).unwrap();
    Bouncer { process, _folder: folder, url: url.into() }
}

async fn refused(bouncer: &Bouncer) {
    let error = open(&bouncer.url).await.map(|_| ()).expect_err("an unsafe pooler is refused");
    assert!(matches!(error, Error::Setup { .. }), "{error:?}");
    assert!(error.to_string().contains("max_prepared_statements"), "{error}");
}

#[tokio::test]
async fn a_pgbouncer_that_mixes_up_statements_is_refused_whatever_its_pool() {
    let Some(db) = database().await else { return };
    let Some((program, version)) = installed() else { return };
    let off = if version >= SAFE { "max_prepared_statements = 0" } else { "" };
    for pool in [
        "default_pool_size = 1",
        "default_pool_size = 3",
        "default_pool_size = 20",
        "default_pool_size = 20\nserver_round_robin = 1",
        "default_pool_size = 20\nserver_reset_query_always = 1",
    ] {
        let settings = format!("pool_mode = transaction\n{off}\n{pool}");
        let bouncer = start(&program, &db, &settings).await;
        // The second time its server connections hold what the first left behind.
        refused(&bouncer).await;
        refused(&bouncer).await;
    }
    refused(&start(&program, &db, "pool_mode = statement").await).await;
}

#[tokio::test]
async fn a_pgbouncer_in_session_mode_serves() {
    let Some(db) = database().await else { return };
    let Some((program, _)) = installed() else { return };
    let bouncer = start(&program, &db, "pool_mode = session\ndefault_pool_size = 20").await;

    questions(&open(&bouncer.url).await.unwrap(), 30).await;
}

#[tokio::test]
async fn a_pgbouncer_that_keeps_statements_apart_never_gives_a_wrong_answer() {
    let Some(db) = database().await else { return };
    let Some((program, version)) = installed() else { return };
    if version < SAFE {
        let _ = writeln!(
            std::io::stderr(),
            "\n*** PGBOUNCER {}.{} IS TOO OLD: ONLY ITS REFUSAL WAS TESTED. Install version 1.21 or newer. ***\n",
            version.0,
            version.1
        );
        return;
    }
    for pool in ["default_pool_size = 1", "default_pool_size = 5\nserver_round_robin = 1"] {
        let settings = format!("pool_mode = transaction\nmax_prepared_statements = 20\n{pool}");
        let bouncer = start(&program, &db, &settings).await;
        let link = Link::open(&options(&bouncer.url, |pool| pool.max_connections = 16))
            .await
            .expect("a safe pooler is taken");
        assert!(link.is_pooled());
        questions(&link, QUESTIONS).await;
    }
}

/// Many tasks ask `each` of many different questions whose answers are known.
pub(super) async fn questions(link: &Link, each: i64) {
    let tasks: Vec<_> = (0..TASKS)
        .map(|task| {
            let link = link.clone();
            tokio::spawn(async move {
                for question in 0..each {
                    let answer = ask(&link, task, question).await;
                    assert_eq!(answer.unwrap(), task * QUESTIONS + question);
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    link.close().await;
}

async fn ask(link: &Link, task: i64, question: i64) -> Result<i64, Error> {
    let call = call(Retry::Idempotent);
    if question % 3 == 0 {
        link.transaction(call, |conn| work(product(conn, task, question))).await
    } else {
        link.run(call, |conn| work(product(conn, task, question))).await
    }
}

async fn product(conn: &mut PgConnection, task: i64, question: i64) -> Result<i64, Fault> {
    // As many different statements as a store has, so that names are used again and again.
    let sql = format!("select $1::int8 * {QUESTIONS} + $2::int8 -- {}", (task + question) % 40);
    let query = sqlx::query_scalar(sqlx::AssertSqlSafe(sql));
    Ok(query.bind(task).bind(question).fetch_one(conn).await?)
}
