//! Where servers are looked for, and what is said when there is none.

use std::path::Path;
use std::process::{Command, Output};

use mnemon_testkit::{Major, Server, postgres_wanted};

/// Runs the kit's program with nothing but these variables, and without anything on stdin: it ends at once.
fn serve(variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mnemon-testkit"));
    command.arg("serve").env_clear().envs(variables.iter().copied());
    command.stdin(std::process::Stdio::null()).output().expect("the program runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn without_any_server_the_four_ways_to_get_one_are_listed() {
    if !postgres_wanted() {
        return;
    }
    if !Server::get(Major::V18).origin().starts_with("wheel") {
        // Local binaries are found without a PATH.
        return;
    }
    let temp = tempfile::tempdir().unwrap();

    let output = serve(&[("PATH", "/nonexistent"), ("TMPDIR", temp.path().to_str().unwrap())]);

    let stderr = text(&output.stderr);
    assert!(!output.status.success());
    for way in ["MNEMON_TEST_POSTGRES_URL", "postgresql-18-pgvector", "pip", "pgvector/pgvector:"] {
        assert!(stderr.contains(way), "{way} is not in: {stderr}");
    }
}

#[test]
fn a_url_serves_the_version_it_reports_and_no_other() {
    if !postgres_wanted() {
        return;
    }
    let (new, old) = (Server::get(Major::V18), Server::get(Major::V16));
    let path = std::env::var("PATH").unwrap();

    let output = serve(&[
        ("PATH", &path),
        ("MNEMON_TEST_POSTGRES18_URL", new.admin_url()),
        ("MNEMON_TEST_POSTGRES_URL", old.admin_url()),
    ]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let stdout = text(&output.stdout);
    assert!(stdout.contains(&format!("POSTGRES18={}", new.admin_url())), "{stdout}");
    assert!(stdout.contains(&format!("POSTGRES16={}", old.admin_url())), "{stdout}");
    assert!(text(&output.stderr).contains("MNEMON_TEST_POSTGRES_URL"));

    let output = serve(&[("PATH", &path), ("MNEMON_TEST_POSTGRES18_URL", old.admin_url())]);
    assert!(!output.status.success());
    assert!(text(&output.stderr).contains("this one must be 18"), "{}", text(&output.stderr));
}

#[test]
fn the_password_of_a_given_server_is_in_no_message() {
    let canary = "canary-7f3a";
    let url = format!("postgres://postgres:{canary}@127.0.0.1:1/postgres");
    let home = Path::new("/nonexistent").to_str().unwrap();

    let output = serve(&[("HOME", home), ("MNEMON_TEST_POSTGRES18_URL", &url)]);

    let stderr = text(&output.stderr);
    assert!(!output.status.success());
    assert!(stderr.contains("127.0.0.1:1"), "{stderr}");
    assert!(!stderr.contains(canary), "{stderr}");
}
