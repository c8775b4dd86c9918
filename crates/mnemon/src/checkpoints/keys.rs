//! Keys of checkpoints from a file.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use mnemon_core::checkpoints::{DataKey, KeyProvider};
use mnemon_core::{Error, Result};
use serde::Deserialize;

/// Keys from a file that is read once, when the handle is opened.
///
/// ```toml
/// # Everybody's: each tenant has another key of it.
/// current = "2026-11"
///
/// [keys]
/// "2026-05" = "…"     # 64 hex digits each, such as `openssl rand -hex 32` prints
/// "2026-11" = "…"
///
/// # A tenant with keys of its own has only those.
/// [tenants.acme]
/// current = "acme-1"
///
/// [tenants.acme.keys]
/// "acme-1" = "…"
/// ```
///
/// A new key is added to the file and named in `current`; an old one stays in it for as long as
/// checkpoints are left that were written under it.
pub struct KeyFile {
    /// What complaints name.
    file: String,
    everybody: Option<Ring>,
    tenants: BTreeMap<String, Ring>,
}

struct Ring {
    current: DataKey,
    keys: BTreeMap<String, DataKey>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    current: Option<String>,
    #[serde(default)]
    keys: BTreeMap<String, String>,
    #[serde(default)]
    tenants: BTreeMap<String, WrittenRing>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenRing {
    current: String,
    keys: BTreeMap<String, String>,
}

impl KeyFile {
    /// Reads the file.
    ///
    /// # Errors
    ///
    /// [`Error::Setup`] when it cannot be read, or others than its owner may read it;
    /// [`Error::Invalid`] naming the file and what is wrong in it, never a key.
    pub fn read(path: &Path) -> Result<Self> {
        let file = path.display().to_string();
        let unreadable = |cause: std::io::Error| {
            Error::setup(
                format!("the keys in {file} cannot be read: {cause}"),
                "name another file in checkpoints.key_file, or make it readable",
            )
        };
        refuse_strangers(path, &file).map_err(unreadable)??;
        Self::parse(&file, &std::fs::read_to_string(path).map_err(unreadable)?)
    }

    fn parse(file: &str, text: &str) -> Result<Self> {
        // The parser's own text quotes the line, which may hold a key: only its message is used.
        let written: Written = toml::from_str(text)
            .map_err(|error| Error::invalid(file.to_owned(), error.message().to_owned()))?;
        let everybody = match (written.current, written.keys.is_empty()) {
            (None, true) => None,
            (None, false) => {
                return Err(Error::invalid(file.to_owned(), "names no current key of [keys]"));
            }
            (Some(current), _) => {
                Some(Ring::of(file, "keys", WrittenRing { current, keys: written.keys })?)
            }
        };
        let tenants = written
            .tenants
            .into_iter()
            .map(|(tenant, ring)| {
                let ring = Ring::of(file, &format!("tenants.{tenant}.keys"), ring)?;
                Ok((tenant, ring))
            })
            .collect::<Result<BTreeMap<_, _>>>()?;
        if everybody.is_none() && tenants.is_empty() {
            return Err(Error::invalid(file.to_owned(), "holds no keys"));
        }
        Ok(Self { file: file.to_owned(), everybody, tenants })
    }

    fn find(&self, tenant: &str, which: impl Fn(&Ring) -> Option<&DataKey>) -> Option<DataKey> {
        match self.tenants.get(tenant) {
            Some(ring) => which(ring).cloned(),
            None => self.everybody.as_ref().and_then(which).map(|key| key.of_tenant(tenant)),
        }
    }
}

impl fmt::Debug for KeyFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyFile").field("file", &self.file).finish_non_exhaustive()
    }
}

impl Ring {
    fn of(file: &str, section: &str, written: WrittenRing) -> Result<Self> {
        let refuse = |reason: String| Error::invalid(file.to_owned(), reason);
        let mut keys = BTreeMap::new();
        for (id, digits) in written.keys {
            let secret = secret(&digits)
                .ok_or_else(|| refuse(format!("{section}: {id} is not 64 hex digits")))?;
            keys.insert(id.clone(), DataKey::new(id, secret)?);
        }
        let current = keys.get(&written.current).cloned().ok_or_else(|| {
            refuse(format!("the current key {} is not among {section}", written.current))
        })?;
        Ok(Self { current, keys })
    }
}

fn secret(digits: &str) -> Option<[u8; 32]> {
    let mut secret = [0; 32];
    if digits.len() != 64 || !digits.is_ascii() {
        return None;
    }
    for (at, byte) in secret.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).ok()?;
    }
    Some(secret)
}

impl KeyProvider for KeyFile {
    fn current(&self, tenant: &str) -> Result<DataKey> {
        self.find(tenant, |ring| Some(&ring.current)).ok_or_else(|| {
            Error::setup(
                format!("tenant {tenant} has no key in {}", self.file),
                "add [keys] for everybody, or keys of its own",
            )
        })
    }

    fn key(&self, tenant: &str, id: &str) -> Result<Option<DataKey>> {
        Ok(self.find(tenant, |ring| ring.keys.get(id)))
    }
}

/// Whoever may read the keys may read everything.
#[cfg(unix)]
fn refuse_strangers(path: &Path, file: &str) -> std::io::Result<Result<()>> {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = std::fs::metadata(path)?.permissions().mode();
    let others = mode & 0o077;
    if others == 0 {
        return Ok(Ok(()));
    }
    Ok(Err(Error::setup(
        format!("the keys in {file} are open to others than its owner (mode {:o})", mode & 0o777),
        format!("chmod 600 {file}"),
    )))
}

#[cfg(not(unix))]
fn refuse_strangers(_path: &Path, _file: &str) -> std::io::Result<Result<()>> {
    Ok(Ok(()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "0101010101010101010101010101010101010101010101010101010101010101";
    const TWO: &str = "0202020202020202020202020202020202020202020202020202020202020202";

    fn text() -> String {
        format!(
            "current = \"b\"\n[keys]\na = \"{ONE}\"\nb = \"{TWO}\"\n\
             [tenants.acme]\ncurrent = \"own\"\n[tenants.acme.keys]\nown = \"{ONE}\"\n"
        )
    }

    #[test]
    fn a_tenant_has_its_own_keys_or_one_of_everybody_s() {
        let keys = KeyFile::parse("f", &text()).unwrap();

        assert_eq!(keys.current("acme").unwrap().id(), "own");
        assert!(keys.key("acme", "a").unwrap().is_none(), "it has only its own");
        assert_eq!(keys.current("other").unwrap().id(), "b");
        assert_eq!(keys.key("other", "a").unwrap().unwrap().id(), "a");
        assert!(keys.key("other", "own").unwrap().is_none());
    }

    #[test]
    fn what_is_wrong_is_named_and_no_key_is_told() {
        let canary = "canary00";
        for (text, part) in [
            (String::new(), "holds no keys"),
            (format!("[keys]\na = \"{ONE}\""), "names no current key"),
            (format!("current = \"x\"\n[keys]\na = \"{ONE}\""), "x is not among keys"),
            (format!("current = \"a\"\n[keys]\na = \"{canary}\""), "a is not 64 hex digits"),
            (format!("current = \"a\"\n[keys]\na = {canary}"), ""),
            (format!("current = \"a\"\nkey = \"{canary}\"\n[keys]\na = \"{ONE}\""), "key"),
        ] {
            let error = KeyFile::parse("keys.toml", &text).unwrap_err().to_string();

            assert!(error.starts_with("keys.toml: ") && error.contains(part), "{error}");
            assert!(!error.contains(canary) && !error.contains(ONE), "{error}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_file_that_others_may_read_is_refused() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys.toml");
        std::fs::write(&path, text()).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();

        assert!(KeyFile::read(&path).unwrap_err().to_string().contains("mode 640"));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        assert!(KeyFile::read(&path).is_ok());
        assert_eq!(KeyFile::read(&folder.path().join("none")).unwrap_err().code(), "setup");
    }
}
