//! Counting tokens as OpenAI's models do.

use mnemon_core::turns::Tokens;
use mnemon_core::{Error, Result};
use tiktoken_rs::{CoreBPE, cl100k_base, o200k_base};

/// Counts tokens by one of OpenAI's encodings.
pub struct Tiktoken {
    encoding: CoreBPE,
}

impl Tiktoken {
    /// An encoding by name: `o200k_base` or `cl100k_base`.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for another name.
    pub fn named(name: &str) -> Result<Self> {
        let encoding = match name {
            "o200k_base" => o200k_base(),
            "cl100k_base" => cl100k_base(),
            other => {
                let reason = format!("is {other:?}; known are o200k_base and cl100k_base");
                return Err(Error::invalid("turns.tokenizer", reason));
            }
        };
        let encoding = encoding.map_err(|error| {
            Error::setup(format!("{name} cannot be read: {error}"), "report this")
        })?;
        Ok(Self { encoding })
    }
}

impl Tokens for Tiktoken {
    fn count(&self, text: &str) -> u32 {
        u32::try_from(self.encoding.encode_ordinary(text).len()).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_counted_as_the_models_count_them() {
        let tokens = Tiktoken::named("o200k_base").unwrap();

        assert_eq!(tokens.count("hello world"), 2);
        assert_eq!(tokens.count(""), 0);
        assert!(Tiktoken::named("morse").is_err());
    }
}
