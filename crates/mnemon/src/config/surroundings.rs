//! Where a configuration is looked for, and the environment's say in it; replaceable, so that
//! tests need not change the process.

use std::path::{Path, PathBuf};

use etcetera::base_strategy::{BaseStrategy as _, choose_native_strategy};
use mnemon_core::{Error, Result};

use super::keys::{KEYS, SECTIONS};

/// The file's name in the working folder and in the config folder's `mnemon`.
const FILE: &str = "mnemon.toml";
/// Names a configuration file.
const CONFIG_VARIABLE: &str = "MNEMON_CONFIG";

/// What a process sees around it.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// Environment variables.
    pub environment: Vec<(String, String)>,
    /// The working folder.
    pub working_folder: PathBuf,
    /// The platform's config folder, where it has one.
    pub config_folder: Option<PathBuf>,
}

impl Surroundings {
    /// Those of this process. Variables that are not UTF-8 are left out.
    pub fn of_process() -> Self {
        let environment = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .filter(|(name, _)| name.starts_with("MNEMON_"))
            .collect();
        Self {
            environment,
            working_folder: PathBuf::new(),
            config_folder: choose_native_strategy().ok().map(|platform| platform.config_dir()),
        }
    }

    /// The file to read: the one named must be there, the others may be.
    pub(super) fn find(&self, named: Option<&Path>) -> Result<Option<PathBuf>> {
        let (named, by) = match named {
            Some(path) => (Some(path.to_owned()), "--config"),
            None => (self.variable(CONFIG_VARIABLE).map(PathBuf::from), CONFIG_VARIABLE),
        };
        if let Some(path) = named {
            if path.is_file() {
                return Ok(Some(path));
            }
            return Err(Error::setup(
                format!("there is no configuration file {}", path.display()),
                format!("correct {by}, or leave it out"),
            ));
        }
        let here = Some(self.working_folder.join(FILE));
        let platform = self.config_folder.as_ref().map(|folder| folder.join("mnemon").join(FILE));
        Ok(here.into_iter().chain(platform).find(|path| path.is_file()))
    }

    fn variable(&self, name: &str) -> Option<&str> {
        self.environment
            .iter()
            .find(|(other, value)| other == name && !value.is_empty())
            .map(|(_, value)| value.as_str())
    }

    /// Variables that name a setting, or that look like one; an empty one counts as not set.
    /// Others (`MNEMON_TENANT`) are none of the configuration's business.
    pub(super) fn settings(&self) -> impl Iterator<Item = (&str, &str)> {
        self.environment
            .iter()
            .filter(|(name, value)| !value.is_empty() && is_setting(name))
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

fn is_setting(name: &str) -> bool {
    let Some(rest) = name.strip_prefix("MNEMON_") else { return false };
    let of_a_section = SECTIONS.iter().any(|(section, _)| {
        rest.strip_prefix(section.to_uppercase().as_str()).is_some_and(|key| key.starts_with('_'))
    });
    of_a_section || KEYS.iter().any(|key| key.env() == name)
}
