//! Servers of one's own: stopped, killed, started again; and nothing left when their process is killed.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use mnemon_testkit::{Durability, Major, Server, Settings, StopMode, postgres_wanted};
use sqlx::{Connection as _, PgConnection};

/// In the environment of a test that another process runs, to be killed.
const VICTIM: &str = "MNEMON_TESTKIT_VICTIM";

async fn show(url: &str, setting: &str) -> String {
    let mut conn = PgConnection::connect(url).await.expect("the server answers");
    let value =
        sqlx::query_scalar("select current_setting($1)").bind(setting).fetch_one(&mut conn).await;
    value.expect("a known setting")
}

/// Waits for the watcher; the test runner's own time limit ends a wait in vain.
fn wait_until_gone(path: &Path) {
    while path.exists() {
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[tokio::test]
async fn a_server_keeps_its_rows_and_its_port_through_stops_and_a_kill() {
    if !postgres_wanted() {
        return;
    }
    for major in Major::ALL {
        let mut own = Server::own(major, &Settings::default().with("work_mem", "7MB"));
        let db = own.server().database().await;
        let mut conn = PgConnection::connect(db.url()).await.unwrap();
        sqlx::raw_sql("create table kept (n int); insert into kept values (1)")
            .execute(&mut conn)
            .await
            .unwrap();

        own.stop(StopMode::Fast);
        assert!(PgConnection::connect(db.url()).await.is_err());
        own.start();
        own.restart(StopMode::Immediate);
        own.kill_9();
        own.start();

        let mut conn = PgConnection::connect(db.url()).await.unwrap();
        let kept: i32 =
            sqlx::query_scalar("select n from kept").fetch_one(&mut conn).await.unwrap();
        assert_eq!(kept, 1);
        assert_eq!(show(db.url(), "work_mem").await, "7MB");
    }
}

#[tokio::test]
async fn a_server_for_benches_is_durable_and_one_for_tests_is_not() {
    if !postgres_wanted() {
        return;
    }
    let durable = Server::own(Major::V18, &Settings::durable());
    assert_eq!(Settings::default().durability, Durability::Fast);

    for setting in ["fsync", "full_page_writes", "synchronous_commit"] {
        assert_eq!(show(durable.server().admin_url(), setting).await, "on", "{setting}");
    }
    assert_eq!(show(Server::get(Major::V18).admin_url(), "fsync").await, "off");
}

#[tokio::test]
async fn a_killed_process_leaves_no_server_of_its_own() {
    if !postgres_wanted() {
        return;
    }
    if std::env::var_os(VICTIM).is_some() {
        let own = Server::own(Major::V18, &Settings::default());
        println!("\nfolder={}", show(own.server().admin_url(), "data_directory").await);
        std::thread::sleep(Duration::MAX);
    }
    let mut victim = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_killed_process_leaves_no_server_of_its_own", "--nocapture"])
        .env(VICTIM, "1")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(victim.stdout.take().unwrap()).lines().map_while(Result::ok);
    let data = lines.find_map(|line| line.strip_prefix("folder=").map(PathBuf::from));
    let data = data.expect("the victim says where its server is");
    assert!(data.exists());

    victim.kill().unwrap();
    victim.wait().unwrap();

    wait_until_gone(data.parent().unwrap());
}

#[tokio::test]
async fn a_killed_run_leaves_nothing_but_the_fetched_binaries() {
    if !postgres_wanted() {
        return;
    }
    // A temp dir of its own gives a run of its own; the fetched binaries are shared.
    let temp = tempfile::Builder::new().permissions(open_to_all()).tempdir().unwrap();
    let (real, mine) = (kit_folder(&std::env::temp_dir()), kit_folder(temp.path()));
    std::fs::create_dir(&mine).unwrap();
    Server::get(Major::V18);
    for entry in std::fs::read_dir(real).unwrap().flatten() {
        if entry.file_name().to_string_lossy().starts_with("wheel-") {
            std::os::unix::fs::symlink(entry.path(), mine.join(entry.file_name())).unwrap();
        }
    }
    let mut run = Command::new(env!("CARGO_BIN_EXE_mnemon-testkit"))
        .arg("serve")
        .env("TMPDIR", temp.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(run.stdout.take().unwrap()).lines().map_while(Result::ok);
    let lines: Vec<_> = lines.take_while(|line| line != "ready").collect();
    assert_eq!(lines.len(), 2, "{lines:?}");

    run.kill().unwrap();
    run.wait().unwrap();

    for major in Major::ALL {
        // Nothing to wait for where the environment names a server.
        wait_until_gone(&mine.join(format!("shared-{major}-v1")));
    }
    let left = std::fs::read_dir(&mine).unwrap().flatten();
    let left: Vec<_> =
        left.filter(|entry| entry.metadata().is_ok_and(|meta| meta.is_dir())).collect();
    assert!(left.is_empty(), "{left:?}");
}

fn open_to_all() -> std::fs::Permissions {
    std::os::unix::fs::PermissionsExt::from_mode(0o755)
}

fn kit_folder(temp: &Path) -> PathBuf {
    temp.join(format!("mnemon-testkit-{}", rustix::process::geteuid().as_raw()))
}
