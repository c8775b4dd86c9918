//! One PostgreSQL data folder and the server on it: made, started, stopped, killed.

use std::fs;
use std::io::Write as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::account::Account;
use crate::error::{Context as _, Error, Result};
use crate::folder;
use crate::local::Binaries;
use crate::own::StopMode;
use crate::settings::Settings;

/// How long a start, with recovery after a kill, or a stop may take.
const PATIENCE: Duration = Duration::from_mins(1);
/// Free ports tried, when somebody else takes the one just found.
const PORT_TRIES: u32 = 5;
/// The longest socket path that every system takes.
const SOCKET_PATH_MAX: usize = 90;
/// The folder of archived segments, beside the data folder.
pub(crate) const ARCHIVE: &str = "archive";

/// A server of our own making, in `dir`: `data` (its data folder), `sock` (its Unix socket), `log`.
#[derive(Clone, Debug)]
pub(crate) struct Cluster {
    bin: PathBuf,
    dir: PathBuf,
    account: Account,
    pub(crate) port: u16,
}

impl Cluster {
    /// Makes the data folder and starts the server on a free port.
    pub(crate) fn create(binaries: &Binaries, dir: &Path, settings: &Settings) -> Result<Self> {
        let account = Account::find()?;
        let mut cluster = Self { bin: binaries.bin.clone(), dir: dir.to_owned(), account, port: 0 };
        cluster.make_folders()?;
        cluster.init(settings)?;
        cluster.start_anywhere()?;
        Ok(cluster)
    }

    /// Copies a running server by `pg_basebackup` into `dir`; [`Self::start_anywhere`] starts the copy.
    pub(crate) fn copy(&self, dir: &Path) -> Result<Self> {
        let copy = Self { dir: dir.to_owned(), port: 0, ..self.clone() };
        copy.make_folders()?;
        let mut command = self.program("pg_basebackup");
        command.args(["-h", "127.0.0.1", "-p", &self.port.to_string(), "-U", "postgres", "-w"]);
        // The log it needs to be whole comes along; what was written later is in the archive.
        command.args(["-c", "fast", "-X", "stream", "--no-sync", "-D"]).arg(copy.data());
        run(&mut command, "pg_basebackup")?;
        Ok(copy)
    }

    /// Where this server puts its finished segments of log, under [`Settings::archiving`].
    pub(crate) fn archive(&self) -> PathBuf {
        self.dir.join(ARCHIVE)
    }

    /// Adds settings, and the file that says how a copy begins.
    pub(crate) fn prepare(&self, settings: &Settings, signal: &str) -> Result<()> {
        self.configure(settings)?;
        let path = self.data().join(signal);
        fs::write(&path, "").context(|| format!("make {}", path.display()))?;
        self.account.own(&path)
    }

    /// Starts the server on a free port.
    pub(crate) fn start_anywhere(&mut self) -> Result<()> {
        let mut last = Error::new("no port was tried");
        for _ in 0..PORT_TRIES {
            self.port = free_port()?;
            match self.start_once() {
                Ok(()) => return Ok(()),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Starts the server on its port, waiting for what a killed one left behind to go.
    pub(crate) fn start(&self) -> Result<()> {
        let begun = Instant::now();
        loop {
            match self.start_once() {
                Ok(()) => return Ok(()),
                // Backends of a killed postmaster hold its shared memory for a moment.
                Err(error) if begun.elapsed() > PATIENCE => return Err(error),
                Err(_) => std::thread::sleep(Duration::from_millis(200)),
            }
        }
    }

    /// Asks the server to stop and waits until it has.
    pub(crate) fn stop(&self, mode: StopMode) -> Result<()> {
        self.signal(match mode {
            StopMode::Smart => Signal::TERM,
            StopMode::Fast => Signal::INT,
            StopMode::Immediate => Signal::QUIT,
        })?;
        self.wait_until_gone()
    }

    /// `kill -9` on the postmaster; its backends notice and go.
    pub(crate) fn kill(&self) -> Result<()> {
        self.signal(Signal::KILL)?;
        self.wait_until_gone()
    }

    fn init(&self, settings: &Settings) -> Result<()> {
        let mut command = self.program("initdb");
        command.arg("-D").arg(self.data());
        command.args([
            "-U",
            "postgres",
            "-A",
            "trust",
            "--encoding=UTF8",
            "--no-sync",
            "--no-instructions",
        ]);
        // C.UTF-8 exists on every Linux of the last decade, elsewhere plain C must do.
        command.arg(if cfg!(target_os = "linux") { "--locale=C.UTF-8" } else { "--locale=C" });
        run(&mut command, "initdb")?;
        self.configure(settings)
    }

    fn make_folders(&self) -> Result<()> {
        for folder in [self.dir.clone(), self.dir.join("sock"), self.archive()] {
            folder::make(&folder)?;
            self.account.own(&folder)?;
        }
        Ok(())
    }

    fn configure(&self, settings: &Settings) -> Result<()> {
        let path = self.data().join("postgresql.conf");
        let mut conf = fs::OpenOptions::new()
            .append(true)
            .open(&path)
            .context(|| format!("open {}", path.display()))?;
        let sockets = self.dir.join("sock");
        let sockets =
            if sockets.as_os_str().len() > SOCKET_PATH_MAX { PathBuf::new() } else { sockets };
        write!(conf, "\n{}\nunix_socket_directories = '{}'\n", settings.conf(), sockets.display())
            .context(|| format!("write {}", path.display()))
    }

    fn start_once(&self) -> Result<()> {
        let mut command = self.program("pg_ctl");
        command.arg("-D").arg(self.data()).arg("-l").arg(self.dir.join("log"));
        command.args(["-o", &format!("-p {}", self.port)]);
        command.args(["-w", "-t", &PATIENCE.as_secs().to_string(), "start"]);
        run(&mut command, "pg_ctl start").map_err(|error| {
            let log = fs::read_to_string(self.dir.join("log")).unwrap_or_default();
            let tail: Vec<_> = log.lines().rev().take(5).collect();
            Error::new(format!("{error}; the server's log ends with: {}", tail.join(" | ")))
        })
    }

    fn program(&self, name: &str) -> Command {
        self.account.command(&self.bin.join(name))
    }

    fn data(&self) -> PathBuf {
        self.dir.join("data")
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let pid = self.pid().ok_or_else(|| Error::new("the server is not running"))?;
        kill_process(pid, signal)
            .context(|| format!("signal the server, process {}", pid.as_raw_nonzero()))
    }

    fn wait_until_gone(&self) -> Result<()> {
        let begun = Instant::now();
        while self.pid().is_some() {
            if begun.elapsed() > PATIENCE {
                return Err(Error::new("the server does not stop"));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    fn pid(&self) -> Option<Pid> {
        postmaster(&self.dir)
    }
}

/// The live server's process in this folder: the one that its file names and that works in its data folder.
pub(crate) fn postmaster(dir: &Path) -> Option<Pid> {
    let data = dir.join("data");
    let file = fs::read_to_string(data.join("postmaster.pid")).ok()?;
    let pid: i32 = file.lines().next()?.trim().parse().ok()?;
    let ours = if Path::new("/proc/self").exists() {
        // A recycled id works elsewhere, a zombie has no working directory at all.
        fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd == data)
    } else {
        let status = Command::new("kill").args(["-0", &pid.to_string()]).status();
        status.is_ok_and(|status| status.success())
    };
    if ours { Pid::from_raw(pid) } else { None }
}

fn free_port() -> Result<u16> {
    TcpListener::bind(("127.0.0.1", 0))
        .and_then(|listener| listener.local_addr())
        .map(|addr| addr.port())
        .context(|| "find a free port".to_owned())
}

fn run(command: &mut Command, name: &str) -> Result<()> {
    // Not `output()`: the server would inherit the pipes and keep them open.
    let report = tempfile::tempfile().context(|| "make a temporary file".to_owned())?;
    let (out, err) = (report.try_clone(), report.try_clone());
    let status = command
        .stdout(out.context(|| "share a temporary file".to_owned())?)
        .stderr(err.context(|| "share a temporary file".to_owned())?)
        .status()
        .context(|| format!("run {name}"))?;
    if status.success() {
        return Ok(());
    }
    Err(Error::new(format!("{name} failed ({status}): {}", read_back(report))))
}

fn read_back(mut file: fs::File) -> String {
    use std::io::{Read as _, Seek as _};

    let mut text = String::new();
    let _ = file.rewind().and_then(|()| file.read_to_string(&mut text));
    text.trim().replace('\n', " | ")
}
