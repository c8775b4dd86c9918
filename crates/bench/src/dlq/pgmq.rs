//! pgmq's own functions as plain SQL, out of its package on crates.io: fetched by cargo, at one
//! version, into a project of its own below `target/peers`. Nothing of it is built.

use std::path::Path;
use std::process::{Command, Stdio};

use serde::Deserialize;

const VERSION: &str = "0.33.7";
/// Where the package keeps the file that installs the whole of it.
const FILE: &str = "src/install/embedded/sql/pgmq.sql";

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    manifest_path: String,
}

/// The SQL that installs pgmq.
///
/// # Errors
///
/// One line that says what did not work.
pub(super) fn sql() -> Result<String, String> {
    let home = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/peers/pgmq");
    let shown = |error: std::io::Error| format!("{}: {error}", home.display());
    std::fs::create_dir_all(home.join("src")).map_err(shown)?;
    std::fs::write(home.join("src/lib.rs"), "").map_err(shown)?;
    let manifest = format!(
        "[package]\nname = \"peer\"\nversion = \"0.0.0\"\nedition = \"2021\"\n[workspace]\n\
         [dependencies]\npgmq = {{ version = \"={VERSION}\", default-features = false }}\n"
    );
    std::fs::write(home.join("Cargo.toml"), manifest).map_err(shown)?;
    let output = Command::new("cargo")
        .args(["metadata", "--format-version", "1", "--quiet"])
        .current_dir(&home)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("cargo does not run: {error}"))?;
    if !output.status.success() {
        let complaint = String::from_utf8_lossy(&output.stderr);
        let last = complaint.lines().last().unwrap_or("nothing was said");
        return Err(format!("cargo failed: {last}"));
    }
    let found: Metadata =
        serde_json::from_slice(&output.stdout).map_err(|error| format!("cargo said: {error}"))?;
    let package = found.packages.iter().find(|package| package.name == "pgmq");
    let folder = package.and_then(|package| Path::new(&package.manifest_path).parent());
    let file = folder.ok_or("cargo does not know the package")?.join(FILE);
    std::fs::read_to_string(&file).map_err(|error| format!("{}: {error}", file.display()))
}
