//! Reading `mnemon.toml`: every complaint names the file and the line.

use std::fmt::Write as _;
use std::ops::Range;
use std::path::Path;

use mnemon_core::{Error, Result};
use toml::de::{DeTable, DeValue};

use super::Config;
use super::keys::{KEYS, SECTIONS};
use super::value::Raw;

/// Reads a file into a configuration.
pub(super) fn read(path: &Path, config: &mut Config) -> Result<()> {
    let shown = path.display();
    let bytes = std::fs::read(path).map_err(|cause| {
        Error::setup(
            format!("the configuration {shown} cannot be read: {cause}"),
            "name another file, or make it readable",
        )
    })?;
    let text = String::from_utf8(bytes).map_err(|cause| {
        let before = &cause.as_bytes()[..cause.utf8_error().valid_up_to()];
        let line = before.split(|byte| *byte == b'\n').count();
        Error::invalid(format!("{shown}:{line}"), "is not UTF-8")
    })?;
    apply(&shown.to_string(), &text, config)
}

fn apply(name: &str, text: &str, config: &mut Config) -> Result<()> {
    let refuse = |at: Range<usize>, reason: String| {
        let before = text.get(..at.start).unwrap_or(text);
        let line = before.split('\n').count();
        Error::invalid(format!("{name}:{line}"), reason)
    };
    // The parser's own Display quotes the line, which may hold a password: only its message is used.
    let table = DeTable::parse(text)
        .map_err(|error| refuse(error.span().unwrap_or(0..0), error.message().to_owned()))?;
    for (section, body) in table.get_ref() {
        let Some((section_name, _)) = SECTIONS.iter().find(|(known, _)| known == section.get_ref())
        else {
            return Err(refuse(section.span(), unknown_section(section.get_ref())));
        };
        let DeValue::Table(entries) = body.get_ref() else {
            return Err(refuse(section.span(), format!("{section_name} is not a section")));
        };
        for (name, value) in entries {
            let key = KEYS
                .iter()
                .find(|key| key.section == *section_name && key.name == name.get_ref())
                .ok_or_else(|| refuse(name.span(), unknown_key(section_name, name.get_ref())))?;
            raw(value.get_ref())
                .and_then(|raw| key.set_raw(config, raw))
                .map_err(|reason| refuse(value.span(), format!("{} {reason}", key.dotted())))?;
        }
    }
    Ok(())
}

fn raw(value: &DeValue<'_>) -> Result<Raw, String> {
    match value {
        DeValue::String(text) => Ok(Raw::Text(text.to_string())),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
            .map(Raw::Integer)
            .map_err(|_| "is too large a number".to_owned()),
        DeValue::Boolean(on) => Ok(Raw::Switch(*on)),
        DeValue::Array(items) => items
            .iter()
            .map(|item| match item.get_ref() {
                DeValue::String(text) => Ok(text.to_string()),
                other => Err(format!("holds {}, not text", a(other.type_str()))),
            })
            .collect::<Result<_, _>>()
            .map(Raw::List),
        other => Err(format!("is {}", a(other.type_str()))),
    }
}

fn a(noun: &str) -> String {
    let article = if noun.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" };
    format!("{article} {noun}")
}

fn unknown_section(name: &str) -> String {
    let known: Vec<&str> = SECTIONS.iter().map(|(name, _)| *name).collect();
    format!("there is no section [{name}]; known are [{}]", known.join("], ["))
}

fn unknown_key(section: &str, name: &str) -> String {
    let known: Vec<&str> =
        KEYS.iter().filter(|key| key.section == section).map(|key| key.name).collect();
    let mut reason = format!("there is no key {name} in [{section}]");
    if known.is_empty() {
        reason.push_str(", which has none yet");
    } else {
        let _ = write!(reason, "; known are {}", known.join(", "));
    }
    reason
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        apply("mnemon.toml", text, &mut Config::default()).unwrap_err().to_string()
    }

    #[test]
    fn a_file_sets_what_it_names_and_nothing_else() {
        let mut config = Config::default();
        let text = "[pool]\nmax_connections = 0x20\nacquire_timeout = \"5s\"\n\n[retention]\n\
                    [upkeep]\nskip = [\"text-counts\"]\n";

        apply("mnemon.toml", text, &mut config).unwrap();

        assert_eq!(config.pool.max_connections, 32);
        assert_eq!(config.pool.acquire_timeout.as_secs(), 5);
        assert_eq!(config.upkeep.skip.len(), 1);
        assert_eq!(config.migrate, Config::default().migrate);
    }

    #[test]
    fn a_mistake_is_named_with_its_line_and_what_would_be_known() {
        assert_eq!(
            refused("[pool]\nmin_connections = 1\nmax_conections = 3\n"),
            "mnemon.toml:3: there is no key max_conections in [pool]; known are max_connections, \
             min_connections, acquire_timeout, idle_timeout, max_lifetime, statement_timeout, \
             max_waiting"
        );
        assert!(refused("\n[pol]\n").starts_with("mnemon.toml:2: there is no section [pol]"));
        assert_eq!(
            refused("[limits]\nkeep = 3"),
            "mnemon.toml:2: there is no key keep in [limits], which has none yet"
        );
        assert_eq!(
            refused("[pool]\nmax_connections = 0"),
            "mnemon.toml:2: pool.max_connections is 0; it goes from 1 to 4294967295"
        );
        let tasks = mnemon_core::upkeep::Task::ALL.map(mnemon_core::upkeep::Task::name).join(", ");
        assert_eq!(
            refused("[upkeep]\nonly = [\"sweep\"]"),
            format!("mnemon.toml:2: upkeep.only is \"sweep\"; known are {tasks}")
        );
        assert_eq!(refused("store = 3"), "mnemon.toml:1: store is not a section");
    }

    #[test]
    fn a_syntax_error_does_not_repeat_the_line() {
        let message = refused("[store]\nurl = \"postgres://u:hunter2@h/d\n");

        assert!(message.starts_with("mnemon.toml:2: "), "{message}");
        assert!(!message.contains("hunter2"), "{message}");
    }
}
