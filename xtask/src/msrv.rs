//! The minimum supported Rust version is stated and true.

use std::process::Command;

use crate::steps::{exec, read};
use crate::{Outcome, place};

/// Checks with that toolchain where it is installed; otherwise that no dependency states a newer one.
pub(crate) fn check() -> Outcome {
    let stated = stated()?;
    match toolchain(&stated) {
        Some(name) => {
            let mut command = Command::new("rustup");
            command.args([
                "run",
                &name,
                "cargo",
                "check",
                "--locked",
                "--workspace",
                "--all-targets",
            ]);
            // The running toolchain's own cargo and compiler must not shine through.
            for variable in ["CARGO", "RUSTC", "RUSTUP_TOOLCHAIN"] {
                command.env_remove(variable);
            }
            command
                .env("CARGO_TARGET_DIR", place::target().join("msrv"))
                .current_dir(place::root());
            exec(&mut command)
        }
        None => dependencies(&stated),
    }
}

/// The workspace's `rust-version`.
fn stated() -> Outcome<String> {
    let path = place::root().join("Cargo.toml");
    let text =
        std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let line = text.lines().find_map(|line| line.strip_prefix("rust-version = "));
    line.map(|value| value.trim_matches('"').to_owned())
        .ok_or_else(|| "no rust-version in Cargo.toml".to_owned())
}

/// The installed toolchain of that version, by name.
fn toolchain(version: &str) -> Option<String> {
    let output = Command::new("rustup").args(["toolchain", "list"]).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let names = text.lines().filter_map(|line| line.split_whitespace().next());
    let is_it = |name: &&str| {
        name.strip_prefix(version)
            .is_some_and(|rest| rest.starts_with('-') || rest.starts_with('.'))
    };
    names.filter(is_it).map(str::to_owned).next()
}

/// No package in the lock file says that it needs a newer compiler.
fn dependencies(stated: &str) -> Outcome {
    let metadata = read(&mut place::cargo(&["metadata", "--locked", "--format-version", "1"]))?;
    let limit = number(stated);
    let newer: Vec<_> =
        rust_versions(&metadata).filter(|(_, version)| number(version) > limit).collect();
    if !newer.is_empty() {
        let names: Vec<_> =
            newer.iter().map(|(id, version)| format!("{id} needs {version}")).collect();
        return Err(format!("rust-version is {stated}, but {}", names.join(", ")));
    }
    eprintln!(
        "xtask: no toolchain {stated} here, so only stated versions were compared: no dependency needs a newer one"
    );
    Ok(())
}

/// Package id and `rust-version` of every package that states one. In cargo's answer a package's id stands
/// before its `rust_version`, and neither key occurs elsewhere among the packages.
fn rust_versions(metadata: &str) -> impl Iterator<Item = (&str, &str)> {
    metadata.split(r#""id":""#).skip(1).filter_map(|package| {
        let id = package.split('"').next()?;
        let version = package.split(r#""rust_version":""#).nth(1)?.split('"').next()?;
        Some((id, version))
    })
}

fn number(version: &str) -> (u32, u32) {
    let mut parts = version.split('.').map(|part| part.parse().unwrap_or(0));
    (parts.next().unwrap_or(0), parts.next().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stated_versions_are_read_from_cargos_answer() {
        let metadata = r#"{"packages":[{"name":"a","id":"x#a@1","rust_version":"1.85"},{"name":"b","id":"x#b@1","rust_version":null}]}"#;

        assert_eq!(rust_versions(metadata).collect::<Vec<_>>(), [("x#a@1", "1.85")]);
        assert!(number("1.100") > number("1.94"));
    }
}
