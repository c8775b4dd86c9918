//! Tools at the versions of `tools.toml`: one on the PATH of exactly that version, else one of our own.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::steps::exec;
use crate::{Outcome, place};

/// The program of this tool, installed when it is missing.
pub(crate) fn tool(name: &str) -> Outcome<PathBuf> {
    let version = pinned(name)?;
    let folder = place::target().join("tools");
    let ours = folder.join("bin").join(name);
    for program in [Path::new(name), &ours] {
        if found_version(program).as_deref() == Some(version.as_str()) {
            return Ok(program.to_owned());
        }
    }
    install(name, &version, &folder)?;
    Ok(ours)
}

fn install(name: &str, version: &str, folder: &Path) -> Outcome {
    eprintln!("xtask: installing {name} {version} into {}", folder.display());
    let build = folder.join("build");
    let mut command = place::cargo(&["install", "--locked", "--debug", "--force", "--root"]);
    // Built quickly rather than to run quickly: these tools wait for others most of the time.
    command.arg(folder).arg(format!("{name}@{version}")).env("CARGO_TARGET_DIR", &build);
    command.env("CARGO_PROFILE_DEV_DEBUG", "0").env("CARGO_INCREMENTAL", "0");
    let outcome = exec(&mut command);
    // Best effort: what is left is only in the way of disk space.
    let _ = std::fs::remove_dir_all(build);
    outcome
}

/// The version in `tools.toml`, a file of lines `name = "version"`.
fn pinned(name: &str) -> Outcome<String> {
    let path = place::root().join("tools.toml");
    let text =
        std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.trim().strip_prefix('='));
    let version = line.map(|value| value.trim().trim_matches('"').to_owned());
    version.ok_or_else(|| format!("{} does not name {name}", path.display()))
}

/// What the program says it is: `cargo-nextest 0.9.143 (…)`.
fn found_version(program: &Path) -> Option<String> {
    let mut command = Command::new(program);
    // nextest wants to be called as cargo's subcommand.
    if program.file_name()? == "cargo-nextest" {
        command.arg("nextest");
    }
    let output = command.arg("--version").stderr(Stdio::null()).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    text.split_whitespace().nth(1).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pinned_versions_are_read_from_their_file() {
        assert!(pinned("cargo-nextest").unwrap().starts_with("0.9."));
        assert!(pinned("cargo-deny").unwrap().contains('.'));
        assert!(pinned("cargo-nonsense").is_err());
    }
}
