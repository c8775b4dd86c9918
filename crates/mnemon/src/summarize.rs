//! Summarisers: what turns older turns into a summary.
//!
//! A summariser is chosen by `[turns] summarizer` or given in code. Without one, turns of a
//! `rolling_summary` memory wait, and stay in the context as far as its budget goes.

mod openai;

use std::str::FromStr;
use std::sync::Arc;

use mnemon_core::turns::{Estimate, Settings, Strategy, Tokens, TurnDefaults};
use mnemon_core::{Error, Result, limits};

pub use mnemon_core::turns::{Outline, Summarizer, SummaryJob};
pub use openai::OpenAi;

use crate::config::TurnsConfig;

/// A summariser by name, as `[turns] summarizer` says it.
///
/// ```
/// use mnemon::summarize::SummarizerChoice;
///
/// assert_eq!("outline".parse::<SummarizerChoice>()?, SummarizerChoice::Outline);
/// assert!("parrot".parse::<SummarizerChoice>().is_err());
/// # Ok::<(), mnemon::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SummarizerChoice {
    /// `none`: nothing is summarised.
    None,
    /// `outline`: a line a turn, without a model.
    Outline,
    /// `openai:MODEL[@BASE_URL]`: a server with OpenAI's chat interface.
    OpenAi {
        /// The model's name.
        model: String,
        /// Where the server is; absent: OpenAI's.
        base_url: Option<String>,
    },
}

const KNOWN: &str = "known are none, outline and openai:MODEL[@BASE_URL]";

impl FromStr for SummarizerChoice {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let refuse = |reason: String| Err(Error::invalid("turns.summarizer", reason));
        let Some(rest) = text.strip_prefix("openai:") else {
            return match text {
                "none" => Ok(Self::None),
                "outline" => Ok(Self::Outline),
                other => refuse(format!("is {other:?}, which is no summariser; {KNOWN}")),
            };
        };
        let (model, base_url) =
            rest.split_once('@').map_or((rest, None), |(model, url)| (model, Some(url)));
        if model.trim().is_empty() || base_url == Some("") {
            return refuse(format!("has a blank part; {KNOWN}"));
        }
        Ok(Self::OpenAi { model: model.to_owned(), base_url: base_url.map(str::to_owned) })
    }
}

impl SummarizerChoice {
    /// The summariser; none where nothing is summarised. Nobody is asked.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for an address that cannot be used, or a time over
    /// [`limits::SUMMARY_TIMEOUT_MAX`].
    pub fn load(&self, config: &TurnsConfig) -> Result<Option<Arc<dyn Summarizer>>> {
        let timeout = config.summarizer_timeout;
        if timeout > limits::SUMMARY_TIMEOUT_MAX {
            let most = limits::SUMMARY_TIMEOUT_MAX.as_secs();
            let reason = format!("is {} s; the most is {most} s", timeout.as_secs());
            return Err(Error::invalid("turns.summarizer_timeout", reason));
        }
        Ok(match self {
            Self::None => None,
            Self::Outline => Some(Arc::new(Outline)),
            Self::OpenAi { model, base_url } => {
                let key = config.api_key.clone();
                Some(Arc::new(OpenAi::new(model, base_url.as_deref(), key, timeout)?))
            }
        })
    }
}

/// What the store makes of turns when a call does not say.
///
/// # Errors
///
/// [`Error::Invalid`] for numbers that cannot work; [`Error::Setup`] for a tokenizer that this
/// build leaves out.
pub(crate) fn defaults(config: &TurnsConfig) -> Result<TurnDefaults> {
    let zone = Some(config.full_zone_turns);
    let strategy = Strategy::named(&config.strategy, config.budget_tokens, zone)?;
    let settings = Settings { strategy, retention: config.retention };
    settings.check()?;
    let counter = counter(&config.tokenizer)?;
    Ok(TurnDefaults { settings, counter, backlog_max: config.recovery_backlog_max })
}

fn counter(name: &str) -> Result<Arc<dyn Tokens>> {
    match name {
        "estimate" => Ok(Arc::new(Estimate)),
        other => tokenizer(other),
    }
}

#[cfg(feature = "tiktoken")]
fn tokenizer(name: &str) -> Result<Arc<dyn Tokens>> {
    Ok(Arc::new(crate::tokens::Tiktoken::named(name)?))
}

#[cfg(not(feature = "tiktoken"))]
fn tokenizer(name: &str) -> Result<Arc<dyn Tokens>> {
    Err(Error::setup(
        format!("this build cannot count tokens by {name}"),
        "build with the feature tiktoken, or set turns.tokenizer to estimate",
    ))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_grammar_of_summarisers_is_read() {
        let openai = |model: &str, base_url: Option<&str>| SummarizerChoice::OpenAi {
            model: model.into(),
            base_url: base_url.map(Into::into),
        };
        for (text, choice) in [
            ("none", SummarizerChoice::None),
            ("openai:small", openai("small", None)),
            ("openai:m:7b@http://[::1]:11434/v1", openai("m:7b", Some("http://[::1]:11434/v1"))),
        ] {
            assert_eq!(text.parse::<SummarizerChoice>().unwrap(), choice);
        }
        for text in ["", "openai", "openai:", "openai:m@", "echo"] {
            let error = text.parse::<SummarizerChoice>().unwrap_err().to_string();
            assert!(error.starts_with("turns.summarizer: "), "{text}: {error}");
        }
    }

    #[test]
    fn a_time_that_would_outlast_the_lease_is_refused() {
        let choice = SummarizerChoice::Outline;
        let long =
            TurnsConfig { summarizer_timeout: Duration::from_mins(5), ..TurnsConfig::default() };

        assert!(choice.load(&TurnsConfig::default()).unwrap().is_some());
        let error = choice.load(&long).err().unwrap().to_string();
        assert_eq!(error, "turns.summarizer_timeout: is 300 s; the most is 240 s");
    }

    #[test]
    fn the_section_s_numbers_are_checked() {
        let small = TurnsConfig { budget_tokens: Some(3), ..TurnsConfig::default() };

        assert!(defaults(&TurnsConfig::default()).is_ok());
        let error = defaults(&small).unwrap_err().to_string();
        assert!(error.starts_with("strategy.budget_tokens"), "{error}");
    }
}
