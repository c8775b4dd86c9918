//! From texts to vectors: tokens, the network, the mean over the tokens that count, length one.

use std::fmt;

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::bert::{BertModel, Config, DTYPE};
use mnemon_core::limits;
use tokenizers::{Tokenizer, TruncationParams};

use super::{CONFIG, Files, TOKENIZER, WEIGHTS};

/// A loaded model.
pub(super) struct Network {
    tokenizer: Tokenizer,
    bert: BertModel,
    pad: u32,
}

/// The tokens of one text, and where in the call it stood.
struct Tokens {
    place: usize,
    ids: Vec<u32>,
}

impl Network {
    /// Builds the network from its files; an error names the file at fault.
    pub(super) fn build(files: &Files, longest: usize) -> Result<Self, (&'static str, String)> {
        let at = |file: &'static str| move |error: &dyn fmt::Display| (file, error.to_string());
        let config: Config =
            serde_json::from_slice(&files.config).map_err(|error| at(CONFIG)(&error))?;
        let mut tokenizer =
            Tokenizer::from_bytes(&files.tokenizer).map_err(|error| at(TOKENIZER)(&error))?;
        let truncation = TruncationParams { max_length: longest, ..TruncationParams::default() };
        tokenizer.with_truncation(Some(truncation)).map_err(|error| at(TOKENIZER)(&error))?;
        // Batches are padded here, to the longest of each.
        tokenizer.with_padding(None);
        let weights = VarBuilder::from_slice_safetensors(&files.weights, DTYPE, &Device::Cpu)
            .map_err(|error| at(WEIGHTS)(&error))?;
        let bert = BertModel::load(weights, &config).map_err(|error| at(WEIGHTS)(&error))?;
        let pad = u32::try_from(config.pad_token_id).map_err(|error| at(CONFIG)(&error))?;
        Ok(Self { tokenizer, bert, pad })
    }

    /// The vectors of texts, in their order. Texts of like length share a batch, so that little is
    /// spent on padding.
    pub(super) fn embed(&self, texts: &[String]) -> Result<Vec<Vec<f32>>, candle_core::Error> {
        let mut tokens = Vec::with_capacity(texts.len());
        for (place, text) in texts.iter().enumerate() {
            let encoding = self.tokenizer.encode_fast(text.as_str(), true);
            let ids = encoding.map_err(candle_core::Error::wrap)?.get_ids().to_vec();
            tokens.push(Tokens { place, ids });
        }
        tokens.sort_by_key(|tokens| tokens.ids.len());
        let mut vectors = vec![Vec::new(); texts.len()];
        for batch in tokens.chunks(limits::LOCAL_BATCH) {
            for (tokens, vector) in batch.iter().zip(self.batch(batch)?) {
                vectors[tokens.place] = vector;
            }
        }
        Ok(vectors)
    }

    fn batch(&self, batch: &[Tokens]) -> Result<Vec<Vec<f32>>, candle_core::Error> {
        let width = batch.iter().map(|tokens| tokens.ids.len()).max().unwrap_or(0);
        let shape = (batch.len(), width);
        let mut ids = Vec::with_capacity(batch.len() * width);
        let mut mask = Vec::with_capacity(batch.len() * width);
        for tokens in batch {
            let padding = width - tokens.ids.len();
            ids.extend_from_slice(&tokens.ids);
            ids.extend(std::iter::repeat_n(self.pad, padding));
            mask.extend(std::iter::repeat_n(1_u32, tokens.ids.len()));
            mask.extend(std::iter::repeat_n(0_u32, padding));
        }
        let ids = Tensor::from_vec(ids, shape, &Device::Cpu)?;
        let mask = Tensor::from_vec(mask, shape, &Device::Cpu)?;
        let hidden = self.bert.forward(&ids, &ids.zeros_like()?, Some(&mask))?;
        mean(&hidden, &mask)?.to_vec2()
    }
}

/// The mean over the tokens that count, brought to length one.
fn mean(hidden: &Tensor, mask: &Tensor) -> Result<Tensor, candle_core::Error> {
    let mask = mask.to_dtype(DType::F32)?.unsqueeze(2)?;
    let sums = hidden.broadcast_mul(&mask)?.sum(1)?;
    let means = sums.broadcast_div(&mask.sum(1)?)?;
    let lengths = means.sqr()?.sum_keepdim(1)?.sqrt()?;
    means.broadcast_div(&lengths)
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Network")
    }
}
