//! PostgreSQL refuses to run as root: the unprivileged account its processes use instead.

use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::error::{Context as _, Error, Result};

/// Accounts tried in turn; `initdb` needs one that has a name.
const NAMES: [&str; 3] = ["nobody", "postgres", "daemon"];

/// Who runs the server processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Account {
    /// The user who runs the tests.
    Caller,
    /// Somebody else, because the caller is root.
    Dropped { uid: u32, gid: u32 },
}

impl Account {
    /// The account to use on this machine.
    pub(crate) fn find() -> Result<Self> {
        if !rustix::process::geteuid().is_root() {
            return Ok(Self::Caller);
        }
        let passwd =
            std::fs::read_to_string("/etc/passwd").context(|| "read /etc/passwd".to_owned())?;
        NAMES
            .iter()
            .filter_map(|name| entry(&passwd, name))
            .find(|account| account.works())
            .ok_or_else(|| {
                Error::new(format!(
                    "PostgreSQL does not run as root, and none of the accounts {} can be used: run the tests as another user",
                    NAMES.join(", ")
                ))
            })
    }

    /// A command that runs as this account with an empty environment.
    pub(crate) fn command(self, program: &Path) -> Command {
        let mut command = Command::new(program);
        // LC_*, PG* and the like of the caller must not shape a test server.
        command
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .env("LC_ALL", "C")
            .env("TZ", "UTC");
        command.current_dir("/").stdin(Stdio::null());
        if let Self::Dropped { uid, gid } = self {
            // The standard library also drops the supplementary groups here.
            command.uid(uid).gid(gid);
        }
        command
    }

    /// Gives a path to this account.
    pub(crate) fn own(self, path: &Path) -> Result<()> {
        match self {
            Self::Caller => Ok(()),
            Self::Dropped { uid, gid } => std::os::unix::fs::chown(path, Some(uid), Some(gid))
                .context(|| format!("give {} to the server's account", path.display())),
        }
    }

    /// A container may not map every id.
    fn works(self) -> bool {
        self.command(Path::new("/bin/sh"))
            .args(["-c", ":"])
            .status()
            .is_ok_and(|status| status.success())
    }
}

fn entry(passwd: &str, name: &str) -> Option<Account> {
    let line = passwd.lines().find(|line| line.split(':').next() == Some(name))?;
    let mut fields = line.split(':').skip(2);
    let uid = fields.next()?.parse().ok()?;
    let gid = fields.next()?.parse().ok()?;
    (uid != 0).then_some(Account::Dropped { uid, gid })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_is_read_from_its_line_and_never_root() {
        let passwd = "root:x:0:0::/root:/bin/sh\nnobody:x:65534:65533:nobody:/:/sbin/nologin\n";

        assert_eq!(entry(passwd, "nobody"), Some(Account::Dropped { uid: 65534, gid: 65533 }));
        assert_eq!(entry(passwd, "root"), None);
        assert_eq!(entry(passwd, "nobod"), None);
    }
}
