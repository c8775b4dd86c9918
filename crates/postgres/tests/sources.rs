//! What must not stand in the SQL: another clock than `mnemon.now()`.

use std::path::{Path, PathBuf};

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder)
        .expect("a folder of this crate")
        .map(|entry| entry.expect("a file").path());
    entries
        .flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] })
        .filter(|path| path.extension().is_some_and(|kind| kind == "rs" || kind == "sql"))
        .collect()
}

/// The calls of `now()` and its kin in a text, but for `mnemon.now()` and Rust's own.
fn clocks(text: &str) -> Vec<&str> {
    let foreign = |line: &&str| {
        let line = line.to_lowercase();
        let bare = line
            .match_indices("now()")
            .any(|(at, _)| !line[..at].ends_with(['.', ':', '_']) && !line[..at].ends_with("fn "));
        bare || ["current_timestamp", "clock_timestamp", "statement_timestamp", "localtimestamp"]
            .iter()
            .any(|name| line.contains(name))
    };
    text.lines().filter(foreign).collect()
}

#[test]
fn no_statement_reads_another_clock() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    for folder in ["src", "migrations"] {
        for file in files(&root.join(folder)) {
            let text = std::fs::read_to_string(&file).unwrap();
            found.extend(clocks(&text).into_iter().map(str::to_owned));
        }
    }

    // The body of `mnemon.now()` itself.
    assert_eq!(found, ["    as 'select clock_timestamp()';"]);
}
