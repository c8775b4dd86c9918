//! Server binaries of one version: where they are, and those that the machine already has.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Major;

/// A set of server programs with pgvector beside them.
#[derive(Clone, Debug)]
pub(crate) struct Binaries {
    /// The folder of `postgres`, `initdb` and `pg_ctl`.
    pub(crate) bin: PathBuf,
    /// Where they came from, for people.
    pub(crate) origin: String,
}

/// Installed binaries of this major version that have pgvector.
pub(crate) fn installed(major: Major) -> Option<Binaries> {
    candidates(major)
        .into_iter()
        .find(|bin| version(bin) == Some(major) && has_pgvector(bin))
        .map(|bin| Binaries { origin: format!("binaries in {}", bin.display()), bin })
}

/// The usual places of Debian, Red Hat, Homebrew and of a build of one's own.
fn candidates(major: Major) -> Vec<PathBuf> {
    let mut found = Vec::new();
    if let Some(bin) = pg_config(Path::new("pg_config"), "--bindir") {
        found.push(bin);
    }
    found.extend(
        [
            format!("/usr/lib/postgresql/{major}/bin"),
            format!("/usr/pgsql-{major}/bin"),
            format!("/opt/homebrew/opt/postgresql@{major}/bin"),
            format!("/usr/local/opt/postgresql@{major}/bin"),
            "/usr/local/pgsql/bin".to_owned(),
        ]
        .map(PathBuf::from),
    );
    found.retain(|bin| {
        ["postgres", "initdb", "pg_ctl"].iter().all(|program| bin.join(program).is_file())
    });
    found
}

/// The major version these binaries report, if it is a supported one.
pub(crate) fn version(bin: &Path) -> Option<Major> {
    let output = Command::new(bin.join("postgres")).arg("--version").output().ok()?;
    // "postgres (PostgreSQL) 18.4 (Debian …)"
    let text = String::from_utf8(output.stdout).ok()?;
    let number = text.split_whitespace().nth(2)?;
    Major::from_number(number.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()?)
}

/// Whether `create extension vector` would find its control file and its library.
fn has_pgvector(bin: &Path) -> bool {
    let config = bin.join("pg_config");
    let (Some(share), Some(lib)) =
        (pg_config(&config, "--sharedir"), pg_config(&config, "--pkglibdir"))
    else {
        return false;
    };
    share.join("extension/vector.control").is_file()
        && ["vector.so", "vector.dylib"].iter().any(|name| lib.join(name).is_file())
}

fn pg_config(program: &Path, what: &str) -> Option<PathBuf> {
    let output = Command::new(program).arg(what).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    (output.status.success() && !text.trim().is_empty()).then(|| PathBuf::from(text.trim()))
}
