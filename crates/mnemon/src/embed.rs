//! Embedders: what turns text into vectors.
//!
//! An embedder is chosen by `[embedder] model`, by `--model`, or given in code. A database is
//! registered for one embedder's [`ModelSignature`]; opening it with another one is
//! [`Error::ModelMismatch`].

mod lexical;
#[cfg(feature = "local-embedder")]
mod local;
mod models;
mod openai;

use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use async_trait::async_trait;
use mnemon_core::memories::ModelSignature;
use mnemon_core::{Error, Result};

pub use lexical::Lexical;
#[cfg(feature = "local-embedder")]
pub use local::Local;
pub use openai::OpenAi;

pub(crate) use models::{Models, vectors};

use crate::config::EmbedderConfig;

/// Turns text into vectors. Calls happen outside every database connection.
///
/// # Contract
///
/// - Equal text gives an equal vector, wherever and whenever.
/// - Vectors have the signature's dimension, are finite and not zero.
#[async_trait]
pub trait Embedder: Send + Sync {
    /// Which model this is.
    fn signature(&self) -> &ModelSignature;

    /// Whether a vector takes less time than a question to a database, and nothing can keep it from
    /// being made: then a step that is sent again is embedded again rather than looked for first.
    fn is_instant(&self) -> bool {
        false
    }

    /// The vector of a text.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`] when the model cannot be reached now; [`Error::Setup`] when it
    /// cannot be used as it is set up.
    async fn embed(&self, text: &str) -> Result<Vec<f32>>;

    /// The vectors of several texts, in their order.
    ///
    /// # Errors
    ///
    /// As [`Embedder::embed`]; all or none.
    async fn embed_batch(&self, texts: &[&str]) -> Result<Vec<Vec<f32>>> {
        let mut vectors = Vec::with_capacity(texts.len());
        for text in texts {
            vectors.push(self.embed(text).await?);
        }
        Ok(vectors)
    }
}

/// A model by name, as `[embedder] model` and `--model` say it.
///
/// ```
/// use mnemon::embed::ModelChoice;
///
/// assert_eq!("lexical".parse::<ModelChoice>()?, ModelChoice::Lexical);
/// assert!("psychic".parse::<ModelChoice>().is_err());
/// # Ok::<(), mnemon::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ModelChoice {
    /// `lexical`: hashed n-grams, nothing to install, no meaning.
    Lexical,
    /// `lexical:DIMENSIONS`: the same with as many dimensions; fewer are smaller and coarser.
    LexicalOf(u32),
    /// `local:DIR`: a folder with a model's weights.
    Local(PathBuf),
    /// `openai:MODEL[@BASE_URL]`: a server with OpenAI's embeddings interface.
    OpenAi {
        /// The model's name.
        model: String,
        /// Where the server is; absent: OpenAI's.
        base_url: Option<String>,
    },
}

const KNOWN: &str = "known are lexical, local:DIR and openai:MODEL[@BASE_URL]";

impl FromStr for ModelChoice {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let refuse = |reason: String| Err(Error::invalid("embedder.model", reason));
        let (kind, rest) = text.split_once(':').map_or((text, None), |(k, r)| (k, Some(r)));
        let rest = rest.filter(|rest| !rest.trim().is_empty());
        match (kind, rest) {
            ("lexical", None) if text == "lexical" => Ok(Self::Lexical),
            ("lexical", Some(dimension)) => match dimension.parse() {
                Ok(dimension) => Ok(Self::LexicalOf(dimension)),
                Err(_) => refuse(format!("names no number of dimensions; {KNOWN}")),
            },
            ("local", Some(folder)) => Ok(Self::Local(folder.into())),
            ("openai", Some(rest)) => {
                let (model, base_url) =
                    rest.split_once('@').map_or((rest, None), |(model, url)| (model, Some(url)));
                if model.is_empty() || base_url == Some("") {
                    return refuse(format!("has a blank part; {KNOWN}"));
                }
                let base_url = base_url.map(str::to_owned);
                Ok(Self::OpenAi { model: model.to_owned(), base_url })
            }
            ("local", None) => refuse(format!("names no folder; {KNOWN}")),
            ("openai", None) => refuse(format!("names no model; {KNOWN}")),
            _ => refuse(format!("is {kind:?}, which is no model; {KNOWN}")),
        }
    }
}

impl ModelChoice {
    /// Loads the model, or meets the server that runs it. `registered` is the model of the
    /// database it is for, which spares a known server's model the question how many dimensions it
    /// has.
    ///
    /// # Errors
    ///
    /// [`Error::Setup`] for a model that cannot be used as it is set up; [`Error::Invalid`] for an
    /// unusable address; [`Error::Unavailable`] for a server that has to be asked and does not
    /// answer.
    pub async fn load(
        &self,
        config: &EmbedderConfig,
        registered: Option<&ModelSignature>,
    ) -> Result<Arc<dyn Embedder>> {
        match self.prepare(config).await? {
            Prepared::Ready(embedder) => Ok(embedder),
            Prepared::Server(unasked) => Ok(Arc::new(unasked.meet(registered).await?)),
        }
    }

    /// Does what needs no server and no database, so that mistakes are found before either is
    /// asked.
    #[cfg_attr(
        not(feature = "local-embedder"),
        expect(clippy::unused_async, reason = "a local model is loaded off the runtime")
    )]
    pub(crate) async fn prepare(&self, config: &EmbedderConfig) -> Result<Prepared> {
        match self {
            Self::Lexical => Ok(Prepared::Ready(Arc::new(Lexical::new()))),
            Self::LexicalOf(dimension) => Ok(Prepared::Ready(Arc::new(Lexical::of(*dimension)?))),
            #[cfg(feature = "local-embedder")]
            Self::Local(folder) => Ok(Prepared::Ready(Arc::new(Local::load(folder).await?))),
            #[cfg(not(feature = "local-embedder"))]
            Self::Local(_) => Err(Error::setup(
                "this build of Mnemon runs no local models",
                "build it with the feature local-embedder, or use another model",
            )),
            Self::OpenAi { model, base_url } => {
                Ok(Prepared::Server(openai::Unasked::new(model, base_url.as_deref(), config)?))
            }
        }
    }
}

/// A model as far as it can be had without asking anybody.
pub(crate) enum Prepared {
    /// It is here.
    Ready(Arc<dyn Embedder>),
    /// A server runs it.
    Server(openai::Unasked),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grammar_of_models_is_read() {
        let openai = |model: &str, base_url: Option<&str>| ModelChoice::OpenAi {
            model: model.into(),
            base_url: base_url.map(Into::into),
        };
        for (text, choice) in [
            ("lexical", ModelChoice::Lexical),
            ("lexical:384", ModelChoice::LexicalOf(384)),
            ("local:/models/minilm", ModelChoice::Local("/models/minilm".into())),
            ("openai:small", openai("small", None)),
            ("openai:small@http://localhost:1/v1", openai("small", Some("http://localhost:1/v1"))),
        ] {
            assert_eq!(text.parse::<ModelChoice>().unwrap(), choice);
        }
    }

    #[test]
    fn an_unknown_model_is_refused_with_the_known_ones() {
        for text in
            ["", "psychic", "lexical:", "lexical:many", "local", "local:", "openai:", "openai:m@"]
        {
            let message = text.parse::<ModelChoice>().unwrap_err().to_string();
            assert!(message.contains("known are lexical, local:DIR"), "{message}");
        }
    }

    #[cfg(not(feature = "local-embedder"))]
    #[tokio::test]
    async fn a_local_model_needs_a_build_that_runs_it() {
        let choice = ModelChoice::Local("x".into());
        let error = choice.prepare(&EmbedderConfig::default()).await.err().unwrap();

        assert_eq!(error.code(), "setup");
        assert!(error.to_string().contains("local-embedder"), "{error}");
    }
}
