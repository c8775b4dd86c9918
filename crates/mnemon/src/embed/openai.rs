//! The `openai` model: any server with OpenAI's `/v1/embeddings`.

use async_trait::async_trait;
use mnemon_core::memories::ModelSignature;
use mnemon_core::{Error, Result, limits};
use serde::Deserialize;
use serde_json::json;

use super::Embedder;
use crate::config::EmbedderConfig;
use crate::http::Api;

/// Where OpenAI's own server is.
const OPENAI: &str = "https://api.openai.com/v1";
/// What determines the vectors besides the server's model.
const RECIPE: &str = "openai-embeddings/1: the first 16 KiB of a text as UTF-8";
/// What is embedded to learn how many dimensions a model has.
const PROBE: &str = "dimension";

/// A model behind OpenAI's interface.
#[derive(Debug)]
pub struct OpenAi {
    api: Api,
    model: String,
    signature: ModelSignature,
}

/// A model that is not asked yet how many dimensions it has.
pub(crate) struct Unasked {
    api: Api,
    model: String,
}

impl Unasked {
    /// Checks the settings; asks nobody.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for an unusable address.
    pub(super) fn new(
        model: &str,
        base_url: Option<&str>,
        config: &EmbedderConfig,
    ) -> Result<Self> {
        let base = base_url.unwrap_or(OPENAI);
        let api = Api::new("embedder.model", base, config.api_key.clone(), config.timeout)?;
        Ok(Self { api, model: model.to_owned() })
    }

    /// The model with its dimension: the registered one's when it is the same model, so that a
    /// database opens while the server is down; otherwise the server is asked.
    ///
    /// # Errors
    ///
    /// As [`Embedder::embed`], when the server has to be asked.
    pub(crate) async fn meet(self, registered: Option<&ModelSignature>) -> Result<OpenAi> {
        let Self { api, model } = self;
        let mut signature = ModelSignature {
            name: format!("openai:{model}"),
            dimension: 0,
            hash: blake3::hash(format!("{RECIPE}\n{model}").as_bytes()).to_hex().to_string(),
            semantic: true,
        };
        match registered {
            Some(known) if known.name == signature.name && known.hash == signature.hash => {
                signature = known.clone();
            }
            _ => {
                let found = ask(&api, &model, &[PROBE]).await?;
                signature.dimension = u32::try_from(found[0].len()).unwrap_or(u32::MAX);
            }
        }
        Ok(OpenAi { api, model, signature })
    }
}

#[async_trait]
impl Embedder for OpenAi {
    fn signature(&self) -> &ModelSignature {
        &self.signature
    }

    async fn embed(&self, text: &str) -> Result<Vec<f32>> {
        let mut vectors = self.embed_batch(&[text]).await?;
        Ok(vectors.pop().expect("one text in, one vector out"))
    }

    async fn embed_batch(&self, texts: &[&str]) -> Result<Vec<Vec<f32>>> {
        let mut vectors = Vec::with_capacity(texts.len());
        for request in requests(texts) {
            for vector in ask(&self.api, &self.model, &request).await? {
                self.signature.check_vector("embedding", &vector).map_err(|error| {
                    Error::corrupt(answer(&self.api, &self.model), error.to_string())
                })?;
                vectors.push(vector);
            }
        }
        Ok(vectors)
    }
}

fn answer(api: &Api, model: &str) -> String {
    format!("the answer of {model} at {}", api.base())
}

/// Cuts texts into requests of bounded number and size, and each text to its bound.
fn requests<'t>(texts: &[&'t str]) -> Vec<Vec<&'t str>> {
    let mut requests: Vec<Vec<&str>> = Vec::new();
    let mut bytes = 0;
    for text in texts {
        let text = &text[..text.floor_char_boundary(limits::EMBED_TEXT_BYTES)];
        let fits = bytes + text.len() <= limits::EMBED_REQUEST_BYTES;
        match requests.last_mut() {
            Some(last) if fits && last.len() < limits::EMBED_TEXTS => last.push(text),
            _ => {
                requests.push(vec![text]);
                bytes = 0;
            }
        }
        bytes += text.len();
    }
    requests
}

#[derive(Deserialize)]
struct Answer {
    data: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    index: Option<usize>,
    embedding: Vec<f32>,
}

/// One request: as many vectors as texts, in their order, or an error that says what came instead.
async fn ask(api: &Api, model: &str, texts: &[&str]) -> Result<Vec<Vec<f32>>> {
    let body = json!({ "model": model, "input": texts, "encoding_format": "float" });
    let value = api.post("embeddings", &body).await?;
    let corrupt = |reason: String| Error::corrupt(answer(api, model), reason);
    let found: Answer = serde_json::from_value(value)
        .map_err(|_| corrupt("it is not a list of embeddings".to_owned()))?;
    if found.data.len() != texts.len() {
        let reason = format!("it has {} vectors for {} texts", found.data.len(), texts.len());
        return Err(corrupt(reason));
    }
    let mut vectors: Vec<Option<Vec<f32>>> = vec![None; texts.len()];
    for (at, entry) in found.data.into_iter().enumerate() {
        let place = entry.index.unwrap_or(at);
        match vectors.get_mut(place) {
            Some(free @ None) if !entry.embedding.is_empty() => *free = Some(entry.embedding),
            _ => return Err(corrupt(format!("it has no usable vector for text {place}"))),
        }
    }
    vectors
        .into_iter()
        .map(|vector| vector.ok_or_else(|| corrupt("it leaves a text out".to_owned())))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_cut_into_requests_by_number_and_size() {
        let short = vec!["x"; 2 * limits::EMBED_TEXTS + 1];
        let sizes: Vec<usize> = requests(&short).iter().map(Vec::len).collect();
        assert_eq!(sizes, [limits::EMBED_TEXTS, limits::EMBED_TEXTS, 1]);

        let long = "é".repeat(limits::EMBED_TEXT_BYTES);
        let many = vec![long.as_str(); 40];
        let requests = requests(&many);
        assert_eq!(requests.iter().map(Vec::len).sum::<usize>(), 40);
        for request in requests {
            let bytes: usize = request.iter().map(|text| text.len()).sum();
            assert!(bytes <= limits::EMBED_REQUEST_BYTES, "{bytes}");
            assert!(request.iter().all(|text| text.len() <= limits::EMBED_TEXT_BYTES));
        }
    }

    #[test]
    fn an_address_with_a_secret_in_it_is_refused_without_repeating_it() {
        for base in
            ["http://ada:hunter2@h/v1", "http://h/v1?key=hunter2", "ftp://hunter2/", "hunter2"]
        {
            let error = Unasked::new("m", Some(base), &EmbedderConfig::default()).err().unwrap();

            assert_eq!(error.code(), "invalid");
            assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
        }
    }
}
