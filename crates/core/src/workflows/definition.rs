//! Definitions: what runs follow, version by version.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::{Error, Result};
use crate::limits;
use crate::page::{Cursor, Page};

/// What a definition's text is written in.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Format {
    /// YAML; kept as it is, not parsed.
    Yaml,
    /// JSON; refused when it is none.
    Json,
}

impl Format {
    /// The name at rest.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Yaml => "yaml",
            Self::Json => "json",
        }
    }
}

impl std::str::FromStr for Format {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        [Self::Yaml, Self::Json]
            .into_iter()
            .find(|format| format.as_str() == text)
            .ok_or_else(|| Error::invalid("format", format!("is {text:?}, not yaml or json")))
    }
}

/// What a run is given.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Parameter {
    /// What kind of value.
    pub type_name: String,
    /// Whether a run cannot do without.
    pub required: bool,
    /// What it is when it is not given.
    #[doc(alias = "default_value")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default: Option<Value>,
    /// What it is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

/// What is said about a definition.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DefinitionAbout {
    /// What it is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Who wrote it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// What it is found by.
    pub tags: Vec<String>,
    /// What a run is given, by name.
    pub parameters: BTreeMap<String, Parameter>,
}

impl DefinitionAbout {
    /// Checks every field.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] naming the field and the limit.
    pub fn check(&self) -> Result<()> {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let described = text(&self.description);
        limits::label("definition.description", &described, limits::DESCRIPTION_BYTES)?;
        limits::label("definition.author", &text(&self.author), limits::LABEL_BYTES)?;
        limits::count("definition.tags", self.tags.len(), limits::TAGS_MAX)?;
        for tag in &self.tags {
            limits::name("definition.tags", tag, limits::LABEL_BYTES)?;
        }
        let parameters = self.parameters.len();
        limits::count("definition.parameters", parameters, limits::DEFINITION_PARAMETERS)?;
        for name in self.parameters.keys() {
            limits::name("definition.parameters", name, limits::LABEL_BYTES)?;
        }
        let value = serde_json::to_value(&self.parameters).expect("parameters are JSON");
        limits::json("definition.parameters", &value, limits::METADATA_BYTES)
    }
}

/// A definition to save.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewDefinition {
    /// Its id, the caller's.
    pub id: String,
    /// What people call it.
    pub name: String,
    /// What its author calls this version, such as `1.2.0`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub label: Option<String>,
    /// What the text is written in.
    pub format: Format,
    /// The text.
    pub content: String,
    /// What is said about it.
    #[serde(default)]
    pub about: DefinitionAbout,
    /// The version this save builds on: 0 for a new one; absent: whatever there is.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub expected_version: Option<u32>,
}

impl NewDefinition {
    /// A definition called by its id.
    pub fn new(id: impl Into<String>, format: Format, content: impl Into<String>) -> Self {
        let id = id.into();
        Self {
            name: id.clone(),
            id,
            label: None,
            format,
            content: content.into(),
            about: DefinitionAbout::default(),
            expected_version: None,
        }
    }

    /// Checks every field.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] naming the field and the limit.
    pub fn check(&self) -> Result<()> {
        limits::name("definition.id", &self.id, limits::RUN_ID_BYTES)?;
        limits::name("definition.name", &self.name, limits::RUN_ID_BYTES)?;
        let label = self.label.as_deref().unwrap_or_default();
        limits::label("definition.label", label, limits::LABEL_BYTES)?;
        limits::name("definition.content", &self.content, limits::DEFINITION_BYTES)?;
        if self.format == Format::Json
            && let Err(error) = serde_json::from_str::<Value>(&self.content)
        {
            return Err(Error::invalid("definition.content", format!("is no JSON: {error}")));
        }
        self.about.check()
    }

    /// Decides a save: the version it gets, and whether that is a new one.
    ///
    /// # Errors
    ///
    /// [`Error::Conflict`] when the definition stands at another version than expected.
    pub fn decide(
        &self,
        current: Option<(u32, &str, Format, Option<&str>)>,
    ) -> Result<(u32, bool)> {
        let actual = current.map_or(0, |(version, ..)| version);
        if self.expected_version.is_some_and(|expected| expected != actual) {
            return Err(Error::Conflict {
                kind: "workflow definition",
                key: self.id.clone(),
                expected: self.expected_version.map(i64::from),
                actual: Some(i64::from(actual)),
            });
        }
        let same = current.is_some_and(|(_, content, format, label)| {
            content == self.content && format == self.format && label == self.label.as_deref()
        });
        Ok(if same { (actual, false) } else { (actual + 1, true) })
    }
}

/// What `save_definition` did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct DefinitionSaved {
    /// The version that holds the content.
    pub version: u32,
    /// Whether it is a new one.
    pub created: bool,
}

/// A definition in a list.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct DefinitionInfo {
    /// Its id.
    pub id: String,
    /// What people call it.
    pub name: String,
    /// Its newest version.
    pub version: u32,
    /// What is said about it.
    pub about: DefinitionAbout,
    /// The user of the scope that saved it first.
    pub user: Option<String>,
    /// The agent of the scope that saved it first.
    pub agent: Option<String>,
    /// Executions of runs that followed it.
    pub executions: u64,
    /// When it was first saved.
    pub created_at: DateTime<Utc>,
    /// When it was last changed.
    pub updated_at: DateTime<Utc>,
}

const CURSOR: &str = "workflow_definitions";

impl DefinitionInfo {
    /// Where a page that ends with it goes on.
    pub fn cursor(&self) -> Cursor {
        Cursor::of(CURSOR, &[&self.id])
    }
}

/// One version of a definition.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Definition {
    /// What is the same for all versions.
    pub info: DefinitionInfo,
    /// This version.
    pub version: u32,
    /// What its author calls it.
    pub label: Option<String>,
    /// What the text is written in.
    pub format: Format,
    /// The text, as it was given.
    pub content: String,
    /// When this version was saved.
    pub saved_at: DateTime<Utc>,
}

/// Which definitions; every part that is there must hold.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DefinitionFilter {
    /// Whose name holds this, letter by letter.
    pub name: Option<String>,
    /// With this tag.
    pub tag: Option<String>,
    /// By this author.
    pub author: Option<String>,
    /// First saved then or later.
    pub after: Option<DateTime<Utc>>,
    /// First saved then or earlier.
    pub before: Option<DateTime<Utc>>,
}

impl DefinitionFilter {
    /// Checks every field.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] naming the field and the limit.
    pub fn check(&self) -> Result<()> {
        let given = |field, text: &Option<String>, max| match text {
            Some(text) => limits::name(field, text, max),
            None => Ok(()),
        };
        given("filter.name", &self.name, limits::RUN_ID_BYTES)?;
        given("filter.tag", &self.tag, limits::LABEL_BYTES)?;
        given("filter.author", &self.author, limits::LABEL_BYTES)
    }
}

/// The id after which a page of definitions begins.
///
/// # Errors
///
/// [`Error::Invalid`] as [`DefinitionFilter::check`], for a limit out of range or a foreign
/// cursor.
pub fn after_definition(filter: &DefinitionFilter, page: &Page) -> Result<String> {
    filter.check()?;
    page.check()?;
    let Some(cursor) = &page.cursor else { return Ok(String::new()) };
    let [id] = cursor.parts::<1>(CURSOR)?;
    Ok(id.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_content_is_the_same_version() {
        let save = NewDefinition::new("d", Format::Yaml, "a: 1");

        assert_eq!(save.decide(None).unwrap(), (1, true));
        assert_eq!(save.decide(Some((4, "a: 1", Format::Yaml, None))).unwrap(), (4, false));
        assert_eq!(save.decide(Some((4, "a: 2", Format::Yaml, None))).unwrap(), (5, true));
        assert_eq!(save.decide(Some((4, "a: 1", Format::Yaml, Some("v1")))).unwrap(), (5, true));
    }

    #[test]
    fn an_unexpected_version_is_a_conflict() {
        let save = NewDefinition {
            expected_version: Some(0),
            ..NewDefinition::new("d", Format::Yaml, "a")
        };

        assert!(save.decide(None).is_ok());
        let error = save.decide(Some((1, "a", Format::Yaml, None))).unwrap_err();
        assert_eq!(error.code(), "conflict");
    }

    #[test]
    fn what_is_no_json_is_refused() {
        let save = NewDefinition::new("d", Format::Json, "{");

        assert!(save.check().unwrap_err().to_string().starts_with("definition.content: is no"));
    }
}
