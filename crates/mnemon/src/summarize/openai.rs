//! A summariser behind OpenAI's chat interface, which many servers speak.

use std::time::Duration;

use async_trait::async_trait;
use mnemon_core::turns::{Summarizer, SummaryJob, Turn};
use mnemon_core::{Error, Result};
use serde_json::json;

use crate::config::Secret;
use crate::http::Api;

/// Where OpenAI's own server is.
const OPENAI: &str = "https://api.openai.com/v1";

const INSTRUCTIONS: &str = "You keep the memory of a conversation. Write one summary that replaces \
    the summary so far and the turns that followed it: what was asked, decided, promised and \
    learnt, with names, numbers and dates. Leave out greetings. Answer with the summary alone.";

/// A summariser behind OpenAI's chat interface.
#[derive(Debug)]
pub struct OpenAi {
    api: Api,
    model: String,
}

impl OpenAi {
    /// A model at a server, OpenAI's own unless another is named; `timeout` is for one answer.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for an address that cannot be used.
    pub fn new(
        model: &str,
        base_url: Option<&str>,
        key: Option<Secret>,
        timeout: Duration,
    ) -> Result<Self> {
        let base = base_url.unwrap_or(OPENAI);
        let api = Api::new("turns.summarizer", base, key, timeout)?;
        Ok(Self { api, model: model.to_owned() })
    }
}

#[async_trait]
impl Summarizer for OpenAi {
    fn name(&self) -> &str {
        &self.model
    }

    async fn summarize(&self, job: &SummaryJob) -> Result<String> {
        let body = json!({
            "model": self.model,
            "max_tokens": job.max_tokens,
            "messages": [
                { "role": "system", "content": INSTRUCTIONS },
                { "role": "user", "content": prompt(job) },
            ],
        });
        let answer =
            self.api.post("chat/completions", &body).await.map_err(|error| match error {
                Error::Invalid { reason, .. } => Error::invalid("summary", reason),
                other => other,
            })?;
        let text = answer["choices"][0]["message"]["content"].as_str();
        text.map(str::to_owned).ok_or_else(|| {
            let whose = format!("the answer of {} at {}", self.model, self.api.base());
            Error::corrupt(whose, "it holds no text")
        })
    }
}

fn prompt(job: &SummaryJob) -> String {
    let mut text = format!("At most {} tokens.\n", job.max_tokens);
    if let Some(previous) = &job.previous {
        text.push_str("\nThe summary so far:\n");
        text.push_str(previous);
        text.push('\n');
    }
    text.push_str("\nThe turns that followed:\n");
    for turn in &job.turns {
        text.push_str(&said(turn));
    }
    text
}

fn said(turn: &Turn) -> String {
    let side = |who: &str, text: &Option<String>| {
        text.as_ref().map_or_else(String::new, |text| format!("{who}: {text}\n"))
    };
    side("User", &turn.user_message) + &side("Assistant", &turn.assistant_response)
}
