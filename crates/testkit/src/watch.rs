//! The watcher: a small shell process per server that stops it and removes its folder when the processes
//! that used it are gone, however they went.
//!
//! Users hold a shared lock (`flock`) on the server's `clients` file for as long as they live; the kernel
//! lets go for a process that was killed. The watcher tries the exclusive lock every second, and holds it
//! while it removes the server, so that a process that arrives at that moment waits and then starts anew.

use std::fs::File;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::error::{Context as _, Error, Result};

/// Seconds without a user after which the shared server goes: longer than the gap between two test binaries.
pub(crate) const SHARED_GRACE: u32 = 20;
/// Observations without its one user after which a server of one's own goes.
pub(crate) const OWN_GRACE: u32 = 1;

/// `end DIR` removes now; `watch DIR CLIENTS GRACE` removes when nobody has held CLIENTS for GRACE seconds.
const SCRIPT: &str = r#"
mode=$1 dir=$2 clients=$3 grace=$4

# The postmaster's working directory is its data folder: a recycled process id is never mistaken for it,
# and a zombie has none. Without /proc the process id alone must do.
ours() {
  if [ -d /proc/self ]; then
    [ "$(readlink "/proc/$pid/cwd" 2>/dev/null)" = "$dir/data" ]
  else
    kill -0 "$pid" 2>/dev/null
  fi
}

end() {
  if [ -f "$dir/container" ]; then docker rm -f -v "$(cat "$dir/container")" >/dev/null 2>&1; fi
  pidfile=$dir/data/postmaster.pid
  if [ -f "$pidfile" ]; then
    pid=$(sed -n 1p "$pidfile")
    shm=$(sed -n 7p "$pidfile" | awk '{print $2}')
    if ours; then
      kill -QUIT "$pid"
      n=0
      while ours && [ $n -lt 100 ]; do sleep 0.1; n=$((n + 1)); done
      if ours; then kill -KILL "$pid"; fi
    fi
    # Only a killed postmaster leaves its file and with it its System V segment.
    if [ -f "$pidfile" ] && [ -n "$shm" ]; then ipcrm -m "$shm" 2>/dev/null; fi
  fi
  n=0
  while ! rm -rf "$dir" 2>/dev/null && [ $n -lt 20 ]; do sleep 0.2; n=$((n + 1)); done
}

if [ "$mode" = end ]; then end; exit 0; fi

exec 8>>"$dir/watcher" 9<"$clients" || exit 0
flock -n -x 8 || exit 0
n=0
while [ -d "$dir" ]; do
  sleep 1
  if flock -n -x 9; then
    n=$((n + 1))
    if [ $n -ge "$grace" ]; then end; exit 0; fi
    flock -u 9
  else
    n=0
  fi
done
"#;

/// Starts a watcher for the server in `dir` unless one lives.
pub(crate) fn ensure(dir: &Path, clients: &Path, grace: u32) -> Result<()> {
    if watched(dir) {
        return Ok(());
    }
    // `flock` is part of util-linux and of busybox: every Linux has it, other systems may not.
    if Command::new("flock")
        .arg("--help")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_err()
    {
        return Err(Error::new(
            "the program `flock` (util-linux) is needed to clean up after a test server",
        ));
    }
    script("watch")
        .arg(dir)
        .arg(clients)
        .arg(grace.to_string())
        // A process group of its own: Ctrl-C and a test runner's kill must not reach it.
        .process_group(0)
        .spawn()
        .context(|| "start the server's watcher".to_owned())?;
    Ok(())
}

/// Stops the server in `dir` and removes the folder, now.
pub(crate) fn end(dir: &Path) {
    // Best effort: the watcher tries again.
    let _ = script("end").arg(dir).status();
}

/// Whether a watcher holds its lock.
fn watched(dir: &Path) -> bool {
    File::open(dir.join("watcher"))
        .is_ok_and(|file| matches!(file.try_lock(), Err(std::fs::TryLockError::WouldBlock)))
}

fn script(mode: &str) -> Command {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", SCRIPT, "mnemon-testkit-watcher", mode]);
    // It must hold none of the caller's pipes, or a test runner waits for it.
    command.current_dir("/").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}
