//! The one folder of the kit under the temp dir: fetched binaries, lock files, and the servers that run now.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use crate::error::{Context as _, Error, Result};

/// The kit's folder, made when it is missing. Everybody may pass through it: a server that dropped root must.
pub(crate) fn root() -> Result<PathBuf> {
    let uid = rustix::process::geteuid();
    let path = traversable_temp_dir()?.join(format!("mnemon-testkit-{}", uid.as_raw()));
    make(&path)?;
    let meta = fs::symlink_metadata(&path).context(|| format!("look at {}", path.display()))?;
    // The name is predictable, so somebody else could have put a link or a folder there first.
    if !meta.is_dir() || meta.uid() != uid.as_raw() {
        return Err(Error::new(format!(
            "{} belongs to somebody else: remove it or set TMPDIR",
            path.display()
        )));
    }
    Ok(path)
}

/// Makes a folder that everybody may read, if it is missing.
pub(crate) fn make(path: &Path) -> Result<()> {
    let made = DirBuilder::new().mode(0o755).recursive(true).create(path);
    made.context(|| format!("make folder {}", path.display()))?;
    Ok(())
}

/// The temp dir, or `/tmp` where the first is closed to the account that the server runs as.
fn traversable_temp_dir() -> Result<PathBuf> {
    let given =
        fs::canonicalize(std::env::temp_dir()).context(|| "find the temp dir".to_owned())?;
    if !rustix::process::geteuid().is_root() || given.ancestors().all(open_to_all) {
        return Ok(given);
    }
    fs::canonicalize("/tmp").context(|| "find /tmp".to_owned())
}

fn open_to_all(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|meta| meta.permissions().mode() & 0o001 != 0)
}
