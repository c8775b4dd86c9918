//! PostgreSQL in a container, where neither binaries nor the wheel can be had.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::error::{Context as _, Error, Result};
use crate::settings::Settings;
use crate::{Major, folder};

/// How long a container may take until it accepts connections.
const PATIENCE: Duration = Duration::from_mins(1);

/// The image of this version, pinned.
pub(crate) const fn image(major: Major) -> &'static str {
    match major {
        Major::V16 => "pgvector/pgvector:0.8.5-pg16",
        Major::V18 => "pgvector/pgvector:0.8.5-pg18",
    }
}

/// A running container.
#[derive(Clone, Debug)]
pub(crate) struct Container {
    id: String,
    pub(crate) image: &'static str,
    pub(crate) port: u16,
}

/// Runs a container; its id is written to `dir/container`, where the watcher looks for it.
pub(crate) fn start(dir: &Path, major: Major, settings: &Settings) -> Result<Container> {
    docker(&["version", "--format", "{{.Server.Version}}"])?;
    folder::make(dir)?;
    let image = image(major);
    let mut args = vec!["run", "--detach", "--publish", "127.0.0.1::5432"];
    args.extend([
        "--env",
        "POSTGRES_HOST_AUTH_METHOD=trust",
        "--env",
        "POSTGRES_INITDB_ARGS=--locale=C.UTF-8",
    ]);
    args.extend([image, "postgres"]);
    // The container must listen on its own interfaces.
    let pairs = settings.pairs().into_iter().filter(|(name, _)| name != "listen_addresses");
    let pairs: Vec<_> = pairs.map(|(name, value)| format!("{name}={value}")).collect();
    for pair in &pairs {
        args.extend(["-c", pair.as_str()]);
    }
    let id = docker(&args)?;
    fs::write(dir.join("container"), &id).context(|| format!("write into {}", dir.display()))?;
    let container = Container { port: port(&id)?, id, image };
    container.wait()?;
    Ok(container)
}

/// Whether a container of this folder runs.
pub(crate) fn is_running(dir: &Path) -> bool {
    let id = fs::read_to_string(dir.join("container"));
    id.is_ok_and(|id| {
        docker(&["inspect", "--format", "{{.State.Running}}", &id])
            .is_ok_and(|state| state == "true")
    })
}

impl Container {
    /// Starts a stopped container; its port may be another one afterwards.
    pub(crate) fn restart(&mut self) -> Result<()> {
        docker(&["start", &self.id])?;
        self.port = port(&self.id)?;
        self.wait()
    }

    /// Stops the server with this signal and waits for it.
    pub(crate) fn stop(&self, signal: &str) -> Result<()> {
        docker(&["kill", "--signal", signal, &self.id])?;
        docker(&["wait", &self.id]).map(drop)
    }

    /// Until the server accepts connections by TCP (the image's first start answers on its socket only).
    fn wait(&self) -> Result<()> {
        let begun = Instant::now();
        loop {
            match docker(&["exec", &self.id, "pg_isready", "--quiet", "--host", "127.0.0.1"]) {
                Ok(_) => return Ok(()),
                Err(error) if begun.elapsed() > PATIENCE => return Err(error),
                Err(_) => std::thread::sleep(Duration::from_millis(200)),
            }
        }
    }
}

fn port(id: &str) -> Result<u16> {
    let text = docker(&["port", id, "5432/tcp"])?;
    // "127.0.0.1:49153"
    text.lines()
        .find_map(|line| line.rsplit_once(':')?.1.parse().ok())
        .ok_or_else(|| Error::new(format!("docker port answered {text:?}")))
}

fn docker(args: &[&str]) -> Result<String> {
    let output = Command::new("docker")
        .args(args)
        .stdin(Stdio::null())
        .output()
        .context(|| "run docker".to_owned())?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    Err(Error::new(stderr.lines().next().unwrap_or("docker failed").to_owned()))
}
