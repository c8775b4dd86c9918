//! The language that words are cut in: how a word is brought to its stem, and which words say
//! little by themselves.

use std::fmt;
use std::str::FromStr;
use std::sync::{PoisonError, RwLock};

use rust_stemmers::Algorithm;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// What the memories of a database are written in. It is the whole database's, so that one index
/// serves every question.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
#[expect(missing_docs, reason = "their names are what they are")]
pub enum Language {
    Arabic,
    Danish,
    Dutch,
    #[default]
    English,
    Finnish,
    French,
    German,
    Greek,
    Hungarian,
    Italian,
    Norwegian,
    Portuguese,
    Romanian,
    Russian,
    Spanish,
    Swedish,
    Tamil,
    Turkish,
    /// No language: words as they stand, and none of them left out. For many languages together.
    Simple,
}

impl Language {
    /// Every one, by name; [`Language::Simple`] last.
    pub const ALL: [Self; 19] = [
        Self::Arabic,
        Self::Danish,
        Self::Dutch,
        Self::English,
        Self::Finnish,
        Self::French,
        Self::German,
        Self::Greek,
        Self::Hungarian,
        Self::Italian,
        Self::Norwegian,
        Self::Portuguese,
        Self::Romanian,
        Self::Russian,
        Self::Spanish,
        Self::Swedish,
        Self::Tamil,
        Self::Turkish,
        Self::Simple,
    ];

    /// Their names, in the same order.
    pub const NAMES: [&'static str; Self::ALL.len()] = {
        let mut names = [""; Self::ALL.len()];
        let mut at = 0;
        while at < names.len() {
            names[at] = Self::ALL[at].name();
            at += 1;
        }
        names
    };

    /// Its name, as a configuration says it and a database keeps it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Arabic => "arabic",
            Self::Danish => "danish",
            Self::Dutch => "dutch",
            Self::English => "english",
            Self::Finnish => "finnish",
            Self::French => "french",
            Self::German => "german",
            Self::Greek => "greek",
            Self::Hungarian => "hungarian",
            Self::Italian => "italian",
            Self::Norwegian => "norwegian",
            Self::Portuguese => "portuguese",
            Self::Romanian => "romanian",
            Self::Russian => "russian",
            Self::Spanish => "spanish",
            Self::Swedish => "swedish",
            Self::Tamil => "tamil",
            Self::Turkish => "turkish",
            Self::Simple => "simple",
        }
    }

    /// Reads what a database keeps.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`] for a name of none.
    pub fn read(name: &str) -> Result<Self> {
        name.parse()
            .map_err(|_| Error::corrupt("the language of words", format!("{name:?} is none")))
    }

    /// Snowball's algorithm.
    pub(super) const fn stemming(self) -> Option<Algorithm> {
        Some(match self {
            Self::Arabic => Algorithm::Arabic,
            Self::Danish => Algorithm::Danish,
            Self::Dutch => Algorithm::Dutch,
            Self::English => Algorithm::English,
            Self::Finnish => Algorithm::Finnish,
            Self::French => Algorithm::French,
            Self::German => Algorithm::German,
            Self::Greek => Algorithm::Greek,
            Self::Hungarian => Algorithm::Hungarian,
            Self::Italian => Algorithm::Italian,
            Self::Norwegian => Algorithm::Norwegian,
            Self::Portuguese => Algorithm::Portuguese,
            Self::Romanian => Algorithm::Romanian,
            Self::Russian => Algorithm::Russian,
            Self::Spanish => Algorithm::Spanish,
            Self::Swedish => Algorithm::Swedish,
            Self::Tamil => Algorithm::Tamil,
            Self::Turkish => Algorithm::Turkish,
            Self::Simple => return None,
        })
    }
}

impl fmt::Display for Language {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Language {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|language| language.name() == text).ok_or_else(|| {
            Error::invalid("language", format!("is {text:?}; known are {}", Self::NAMES.join(", ")))
        })
    }
}

/// How the words of a database stand.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Wording {
    /// What is written is cut in this.
    pub language: Language,
    /// While the language is being changed: some memories are still cut in this.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub before: Option<Language>,
}

impl Wording {
    /// Reads what a database keeps; a language that nobody chose is the default one.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`] for a name of none.
    pub fn read(language: Option<&str>, before: Option<&str>) -> Result<Self> {
        Ok(Self {
            language: language.map(Language::read).transpose()?.unwrap_or_default(),
            before: before.map(Language::read).transpose()?,
        })
    }

    /// What a change to another language leaves, or `None` where there is nothing to begin: it is
    /// that language already, or on its way there.
    ///
    /// # Errors
    ///
    /// [`Error::AlreadyExists`] while a change to a third language is not at its end: words of
    /// three would have to be asked for.
    pub fn changed(self, to: Language) -> Result<Option<Self>> {
        match self.before {
            _ if self.language == to => Ok(None),
            None => Ok(Some(Self { language: to, before: Some(self.language) })),
            Some(_) => Err(Error::AlreadyExists {
                kind: "change of language",
                key: format!("to {}", self.language),
            }),
        }
    }
}

/// What a handle believes how words stand, so that it need not ask before it cuts a text. Whatever
/// a belief was used for is checked by the store, in the transaction that it matters in.
#[derive(Debug, Default)]
pub struct Known(RwLock<Wording>);

impl Known {
    /// As it was seen last.
    pub fn get(&self) -> Wording {
        *self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// As it is.
    pub fn set(&self, wording: Wording) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = wording;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_read_back_and_no_other_one() {
        for language in Language::ALL {
            assert_eq!(language.name().parse::<Language>().unwrap(), language);
        }
        let error = "klingon".parse::<Language>().unwrap_err().to_string();
        assert!(error.starts_with("language: is \"klingon\"; known are arabic, danish"), "{error}");
        assert!(matches!(Language::read("klingon"), Err(Error::Corrupt { .. })));
    }

    #[test]
    fn one_change_comes_after_the_other() {
        let english = Wording::default();
        let changing = english.changed(Language::German).unwrap().unwrap();

        assert_eq!(changing.before, Some(Language::English));
        assert_eq!(english.changed(Language::English).unwrap(), None);
        assert_eq!(changing.changed(Language::German).unwrap(), None);
        assert!(matches!(changing.changed(Language::French), Err(Error::AlreadyExists { .. })));
    }
}
