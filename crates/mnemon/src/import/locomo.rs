//! LoCoMo (Maharana et al., "Evaluating Very Long-Term Conversational Memory of LLM Agents",
//! ACL 2024): conversations to remember, and questions with their evidence to ask.
//!
//! Two shapes are read: the published `locomo10.json` (`conversation.session_N`,
//! `session_N_date_time`) and a reduced one (`sessions: [{session, date_time, turns}]`).

mod shapes;

use std::collections::BTreeSet;
use std::io::Read;

use chrono::{DateTime, NaiveDateTime, Utc};
use mnemon_core::memories::NewMemory;
use mnemon_core::{Error, RequestId, Result};
use serde_json::json;

use super::{Imported, plain, unreadable};

/// The category of questions that have no answer in the conversation.
const ADVERSARIAL: u32 = 5;

/// The conversations of a file.
#[derive(Clone, PartialEq, Debug)]
pub struct Conversations {
    /// In the file's order.
    pub conversations: Vec<Conversation>,
}

/// One conversation: a user of its own.
#[derive(Clone, PartialEq, Debug)]
pub struct Conversation {
    /// Its name, and the user its memories belong to.
    pub sample_id: String,
    /// What was said, in order.
    pub utterances: Vec<Utterance>,
    /// What can be asked of it.
    pub questions: Vec<Question>,
}

/// One thing said.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Utterance {
    /// Its id in the conversation: `D1:3`.
    pub dia_id: String,
    /// The session's number, from 1.
    pub session: u32,
    /// When the session took place.
    pub at: Option<DateTime<Utc>>,
    /// Who spoke.
    pub speaker: String,
    /// What.
    pub text: String,
    /// What the picture shown with it holds.
    pub caption: Option<String>,
}

/// A question with the utterances that answer it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Question {
    /// In words.
    pub question: String,
    /// The answer, where there is one.
    pub answer: Option<String>,
    /// Ids of the utterances that hold the answer: those that exist, in order, once each.
    pub evidence: Vec<String>,
    /// 1 multi-hop, 2 temporal, 3 open-domain, 4 single-hop, 5 adversarial.
    pub category: u32,
}

impl Conversations {
    /// Reads a file of either shape.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] naming the file and line, or the file that cannot be read.
    pub fn read(name: &str, mut from: impl Read) -> Result<Self> {
        let mut bytes = Vec::new();
        from.read_to_end(&mut bytes).map_err(|cause| unreadable(name, &cause))?;
        let text = std::str::from_utf8(&bytes).map_err(|error| {
            let before = &bytes[..error.valid_up_to()];
            let line = before.split(|byte| *byte == b'\n').count();
            Error::invalid(format!("{name}:{line}"), "is not UTF-8")
        })?;
        let samples: Vec<shapes::Sample> = serde_json::from_str(text)
            .map_err(|error| Error::invalid(format!("{name}:{}", error.line()), plain(&error)))?;
        let conversations = samples
            .into_iter()
            .map(|sample| sample.conversation().map_err(|why| Error::invalid(name.to_owned(), why)))
            .collect::<Result<_>>()?;
        Ok(Self { conversations })
    }

    /// One memory per utterance, each conversation its own user.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for an id that cannot be a request id.
    pub fn memories(&self) -> Result<Vec<Imported>> {
        let mut memories = Vec::new();
        for conversation in &self.conversations {
            for utterance in &conversation.utterances {
                let user = Some(conversation.sample_id.clone());
                memories.push(Imported { user, memory: utterance.memory()?, line: None });
            }
        }
        Ok(memories)
    }
}

impl Question {
    /// Whether it counts for evidence recall: not adversarial, and its evidence exists.
    pub fn counts(&self) -> bool {
        self.category != ADVERSARIAL && !self.evidence.is_empty()
    }

    /// Evidence recall: the share of its evidence that was found, 0 to 1.
    #[expect(clippy::cast_precision_loss, reason = "a handful of ids")]
    pub fn found(&self, ids: &[&str]) -> f64 {
        let hit = self.evidence.iter().filter(|id| ids.contains(&id.as_str())).count();
        hit as f64 / self.evidence.len() as f64
    }
}

impl Utterance {
    /// The memory of it: `speaker: text` and the caption, under its id, so that a second import
    /// writes nothing twice.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for an id that cannot be a request id.
    pub fn memory(&self) -> Result<NewMemory> {
        let mut content = format!("{}: {}", self.speaker, self.text);
        if let Some(caption) = &self.caption {
            content.push(' ');
            content.push_str(caption);
        }
        Ok(NewMemory {
            key: Some(self.dia_id.clone()),
            request_id: Some(RequestId::parse(self.dia_id.clone())?),
            metadata: json!({ "dia_id": self.dia_id, "session": self.session }),
            source: Some("locomo".to_owned()),
            created_at: self.at,
            // Two utterances may say the same; each has an id of its own.
            allow_duplicate: true,
            ..NewMemory::new(content)
        })
    }
}

/// Reads `1:56 pm on 8 May, 2023`, as UTC; `None` for anything else.
fn session_time(text: &str) -> Option<DateTime<Utc>> {
    let text = text.trim().to_uppercase();
    NaiveDateTime::parse_from_str(&text, "%I:%M %p ON %d %B, %Y").ok().map(|time| time.and_utc())
}

/// The ids in evidence strings, which may hold several, separated by anything, zero-padded, or
/// none; only those that exist are kept.
fn evidence(given: &[String], known: &BTreeSet<&str>) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for text in given {
        for id in text.split(|c: char| c.is_whitespace() || ";,()[]".contains(c)) {
            let id = normal(id);
            if known.contains(id.as_str()) && !found.contains(&id) {
                found.push(id);
            }
        }
    }
    found
}

/// `D30:05` is `D30:5`.
fn normal(id: &str) -> String {
    let numbers = id.strip_prefix('D').and_then(|rest| rest.split_once(':'));
    match numbers.map(|(session, turn)| (session.parse::<u32>(), turn.parse::<u32>())) {
        Some((Ok(session), Ok(turn))) => format!("D{session}:{turn}"),
        _ => id.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PUBLISHED: &str = r#"[{"sample_id": "conv-1", "conversation": {
        "speaker_a": "Ann", "speaker_b": "Bo",
        "session_1_date_time": "1:56 pm on 8 May, 2023",
        "session_1": [{"speaker": "Ann", "dia_id": "D1:1", "text": "Hi"},
                      {"speaker": "Bo", "dia_id": "D1:2", "text": "Look", "img_url": ["x"],
                       "blip_caption": "a photo of a dog"}],
        "session_10_date_time": "12:05 am on 1 June, 2023",
        "session_10": [{"speaker": "Ann", "dia_id": "D10:1", "text": "Bye"}],
        "session_11_date_time": "1:00 am on 2 June, 2023"},
      "event_summary": {},
      "qa": [{"question": "What?", "answer": 2023, "evidence": ["D1:1; D10:01", "D9:9"], "category": 1},
             {"question": "Why?", "adversarial_answer": "no", "evidence": [], "category": 5}]}]"#;

    const REDUCED: &str = r#"[{"sample_id": "conv-1", "speakers": ["Ann", "Bo"], "sessions": [
        {"session": 1, "date_time": "1:56 pm on 8 May, 2023", "turns": [
          {"speaker": "Ann", "dia_id": "D1:1", "text": "Hi"},
          {"speaker": "Bo", "dia_id": "D1:2", "text": "Look", "blip_caption": "a photo of a dog"}]},
        {"session": 10, "date_time": "12:05 am on 1 June, 2023", "turns": [
          {"speaker": "Ann", "dia_id": "D10:1", "text": "Bye"}]}],
      "qa": [{"question": "What?", "answer": "2023", "evidence": ["D1:1 D10:1"], "category": 1},
             {"question": "Why?", "answer": null, "evidence": [], "category": 5}]}]"#;

    #[test]
    fn both_shapes_say_the_same() {
        let published = Conversations::read("p", PUBLISHED.as_bytes()).unwrap();
        let reduced = Conversations::read("r", REDUCED.as_bytes()).unwrap();

        assert_eq!(published, reduced);
        assert_eq!(published.conversations[0].utterances.len(), 3);
        assert_eq!(published.conversations[0].questions[0].evidence, ["D1:1", "D10:1"]);
    }

    #[test]
    fn an_utterance_becomes_a_memory_under_its_id() {
        let conversations = Conversations::read("p", PUBLISHED.as_bytes()).unwrap();

        let memories = conversations.memories().unwrap();

        let second = &memories[1];
        assert_eq!(second.user.as_deref(), Some("conv-1"));
        assert_eq!(second.memory.content, "Bo: Look a photo of a dog");
        assert_eq!(second.memory.key.as_deref(), Some("D1:2"));
        let at = second.memory.created_at.unwrap();
        assert_eq!(at.to_rfc3339(), "2023-05-08T13:56:00+00:00");
        assert_eq!(second.memory.metadata, json!({ "dia_id": "D1:2", "session": 1 }));
    }

    #[test]
    fn midnight_and_noon_are_read_as_people_mean_them() {
        let hour = |text| session_time(text).unwrap().format("%H:%M").to_string();

        assert_eq!(hour("12:05 am on 1 June, 2023"), "00:05");
        assert_eq!(hour("12:05 PM on 01 June, 2023"), "12:05");
        assert_eq!(session_time("some day"), None);
    }

    #[test]
    fn a_fault_names_the_file_and_the_line() {
        let broken = PUBLISHED.replace("\"category\": 1", "\"category\": one");
        let message = Conversations::read("p.json", broken.as_bytes()).unwrap_err().to_string();
        assert_eq!(message, "p.json:11: expected value (column 102)");

        let message = Conversations::read("p.json", &b"[\n\xff]"[..]).unwrap_err().to_string();
        assert_eq!(message, "p.json:2: is not UTF-8");
    }
}
