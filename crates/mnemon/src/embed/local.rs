//! The `local` model: a sentence encoder of the BERT class from a folder, run by candle on this
//! machine's processor. Nothing is fetched, and nothing leaves the machine.

mod network;

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use mnemon_core::memories::ModelSignature;
use mnemon_core::{Error, Result, limits};
use serde::Deserialize;

use super::Embedder;
use network::Network;

/// The files without which a folder is no model.
const CONFIG: &str = "config.json";
const TOKENIZER: &str = "tokenizer.json";
const WEIGHTS: &str = "model.safetensors";
/// What sentence-transformers keeps beside them; read when it is there.
const LENGTH: &str = "sentence_bert_config.json";
const POOLING: &str = "1_Pooling/config.json";
/// What determines the vectors besides the files.
const RECIPE: &str = "local/1: the first 16 KiB of a text, mean over the attention mask, L2";
/// Where such a folder comes from.
const SOURCE: &str = "name a folder with config.json, tokenizer.json and model.safetensors, such \
                      as all-MiniLM-L6-v2";

/// A model from a folder. Its vectors have length one and are the same on every machine up to the
/// rounding of sums (about 1e-6).
#[derive(Debug)]
pub struct Local {
    signature: ModelSignature,
    network: Arc<Network>,
}

impl Local {
    /// Loads the model. Reading and hashing the weights takes a moment, so it happens on a thread
    /// that may block.
    ///
    /// ```no_run
    /// # async fn example() -> mnemon::Result<()> {
    /// use mnemon::embed::{Embedder, Local};
    ///
    /// let model = Local::load("models/all-MiniLM-L6-v2").await?;
    /// assert_eq!(model.embed("The launch is on 3 May").await?.len(), 384);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Setup`] naming the folder or file that is missing, or what about it is not
    /// understood.
    pub async fn load(folder: impl Into<PathBuf>) -> Result<Self> {
        let folder = folder.into();
        off_runtime(move || Self::read(&folder)).await
    }

    fn read(folder: &Path) -> Result<Self> {
        if !folder.is_dir() {
            let problem = format!("the model's folder {} does not exist", folder.display());
            return Err(Error::setup(problem, SOURCE));
        }
        let files = Files::read(folder)?;
        let config: Described = parse(folder, CONFIG, &files.config)?;
        let longest = files.longest(folder)?;
        files.check_pooling(folder)?;
        let signature = ModelSignature {
            name: format!("local:{}", config.name.as_deref().unwrap_or("bert")),
            dimension: u32::try_from(config.hidden_size).unwrap_or(u32::MAX),
            hash: files.digest(longest),
            semantic: true,
        };
        signature.check().map_err(|error| unusable(folder, CONFIG, &error))?;
        let network = Network::build(&files, longest)
            .map_err(|(file, reason)| unusable(folder, file, &reason))?;
        Ok(Self { signature, network: Arc::new(network) })
    }
}

#[async_trait]
impl Embedder for Local {
    fn signature(&self) -> &ModelSignature {
        &self.signature
    }

    async fn embed(&self, text: &str) -> Result<Vec<f32>> {
        let mut vectors = self.embed_batch(&[text]).await?;
        Ok(vectors.pop().expect("one text in, one vector out"))
    }

    async fn embed_batch(&self, texts: &[&str]) -> Result<Vec<Vec<f32>>> {
        let texts: Vec<String> = texts
            .iter()
            .map(|text| text[..text.floor_char_boundary(limits::EMBED_TEXT_BYTES)].to_owned())
            .collect();
        let network = Arc::clone(&self.network);
        let vectors = off_runtime(move || {
            network
                .embed(&texts)
                .map_err(|reason| Error::backend("running the local model", reason))
        })
        .await?;
        for vector in &vectors {
            self.signature.check_vector("embedding", vector).map_err(|error| {
                Error::corrupt(format!("a vector of {}", self.signature), error.to_string())
            })?;
        }
        Ok(vectors)
    }
}

/// Runs what keeps a processor busy where no task of the runtime waits for it.
async fn off_runtime<T: Send + 'static>(
    act: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(act)
        .await
        .unwrap_or_else(|error| Err(Error::backend("running the local model", error)))
}

/// What a folder holds.
struct Files {
    config: Vec<u8>,
    tokenizer: Vec<u8>,
    weights: Vec<u8>,
    length: Option<Vec<u8>>,
    pooling: Option<Vec<u8>>,
}

/// What of `config.json` is asked for here; the rest is the network's.
#[derive(Deserialize)]
struct Described {
    hidden_size: usize,
    max_position_embeddings: usize,
    #[serde(rename = "_name_or_path", default, deserialize_with = "said")]
    name: Option<String>,
}

/// A text that says something.
fn said<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    Ok(Option::<String>::deserialize(from)?.filter(|text| !text.trim().is_empty()))
}

#[derive(Deserialize)]
struct Length {
    max_seq_length: usize,
}

#[derive(Deserialize)]
struct Pooling {
    #[serde(default, rename = "pooling_mode_cls_token")]
    cls: bool,
    #[serde(default, rename = "pooling_mode_max_tokens")]
    max: bool,
    #[serde(default, rename = "pooling_mode_mean_tokens")]
    mean: bool,
}

impl Files {
    fn read(folder: &Path) -> Result<Self> {
        Ok(Self {
            config: needed(folder, CONFIG)?,
            tokenizer: needed(folder, TOKENIZER)?,
            weights: needed(folder, WEIGHTS)?,
            length: found(folder, LENGTH)?,
            pooling: found(folder, POOLING)?,
        })
    }

    /// The most tokens of a text that count.
    fn longest(&self, folder: &Path) -> Result<usize> {
        let config: Described = parse(folder, CONFIG, &self.config)?;
        let told = match &self.length {
            Some(bytes) => parse::<Length>(folder, LENGTH, bytes)?.max_seq_length,
            None => config.max_position_embeddings,
        };
        let longest = told.min(config.max_position_embeddings).min(limits::LOCAL_TOKENS);
        if longest < limits::LOCAL_TOKENS_MIN {
            return Err(unusable(
                folder,
                CONFIG,
                &format!("it takes {longest} tokens at the most"),
            ));
        }
        Ok(longest)
    }

    /// Refuses a model whose vectors are made otherwise than by the mean.
    fn check_pooling(&self, folder: &Path) -> Result<()> {
        let Some(bytes) = &self.pooling else { return Ok(()) };
        let pooling: Pooling = parse(folder, POOLING, bytes)?;
        if pooling.cls || pooling.max || !pooling.mean {
            return Err(unusable(folder, POOLING, &"it does not pool by the mean of the tokens"));
        }
        Ok(())
    }

    fn digest(&self, longest: usize) -> String {
        let mut hasher = blake3::Hasher::new();
        hasher.update(RECIPE.as_bytes());
        hasher.update(&longest.to_le_bytes());
        for file in [&self.config, &self.tokenizer, &self.weights] {
            hasher.update(blake3::hash(file).as_bytes());
        }
        hasher.finalize().to_hex().to_string()
    }
}

fn needed(folder: &Path, file: &'static str) -> Result<Vec<u8>> {
    found(folder, file)?.ok_or_else(|| {
        let path = folder.join(file);
        Error::setup(format!("the model's file {} is missing", path.display()), SOURCE)
    })
}

fn found(folder: &Path, file: &'static str) -> Result<Option<Vec<u8>>> {
    match fs::read(folder.join(file)) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(unusable(folder, file, &error)),
    }
}

fn parse<T: for<'de> Deserialize<'de>>(folder: &Path, file: &str, bytes: &[u8]) -> Result<T> {
    serde_json::from_slice(bytes).map_err(|error| unusable(folder, file, &error))
}

fn unusable(folder: &Path, file: &str, reason: &dyn std::fmt::Display) -> Error {
    let path = folder.join(file);
    Error::setup(format!("the model's file {} is not usable: {reason}", path.display()), SOURCE)
}
