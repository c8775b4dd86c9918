//! The two shapes of the data set's files, as they stand in JSON.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::Value;

use super::{Conversation, Question, Utterance, evidence, session_time};

#[derive(Deserialize)]
pub(super) struct Sample {
    #[serde(rename = "sample_id")]
    id: String,
    #[serde(default)]
    sessions: Vec<Session>,
    conversation: Option<BTreeMap<String, Value>>,
    #[serde(default)]
    qa: Vec<Asked>,
}

#[derive(Deserialize)]
struct Session {
    #[serde(rename = "session")]
    number: u32,
    #[serde(default)]
    date_time: String,
    turns: Vec<Turn>,
}

#[derive(Deserialize)]
struct Turn {
    speaker: String,
    dia_id: String,
    #[serde(default)]
    text: String,
    blip_caption: Option<String>,
}

#[derive(Deserialize)]
struct Asked {
    question: String,
    answer: Option<Value>,
    #[serde(default)]
    evidence: Vec<String>,
    category: u32,
}

impl Sample {
    /// The conversation, whichever shape it came in.
    pub(super) fn conversation(self) -> Result<Conversation, String> {
        let sessions = match self.conversation {
            Some(fields) => published(&fields)
                .map_err(|reason| format!("conversation {}: {reason}", self.id))?,
            None => self.sessions,
        };
        let utterances: Vec<Utterance> = sessions.into_iter().flat_map(utterances).collect();
        let known: BTreeSet<&str> = utterances.iter().map(|said| said.dia_id.as_str()).collect();
        let questions = self.qa.into_iter().map(|asked| asked.question(&known)).collect();
        Ok(Conversation { sample_id: self.id, questions, utterances })
    }
}

/// `session_1`, `session_2`, … in order of their numbers. A session that has only a date was
/// not held.
fn published(fields: &BTreeMap<String, Value>) -> Result<Vec<Session>, String> {
    let mut sessions = Vec::new();
    for (name, turns) in fields {
        let Some(number) = name.strip_prefix("session_").and_then(|n| n.parse().ok()) else {
            continue;
        };
        let turns = Vec::<Turn>::deserialize(turns).map_err(|error| format!("{name}: {error}"))?;
        let date_time = fields
            .get(&format!("{name}_date_time"))
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned();
        sessions.push(Session { number, date_time, turns });
    }
    sessions.sort_by_key(|session| session.number);
    Ok(sessions)
}

fn utterances(session: Session) -> impl Iterator<Item = Utterance> {
    let at = session_time(&session.date_time);
    session.turns.into_iter().map(move |turn| Utterance {
        dia_id: turn.dia_id,
        session: session.number,
        at,
        speaker: turn.speaker,
        text: turn.text,
        caption: turn.blip_caption.filter(|caption| !caption.trim().is_empty()),
    })
}

impl Asked {
    fn question(self, known: &BTreeSet<&str>) -> Question {
        let answer = self.answer.and_then(|answer| match answer {
            Value::Null => None,
            Value::String(text) => Some(text),
            other => Some(other.to_string()),
        });
        Question {
            question: self.question,
            answer,
            evidence: evidence(&self.evidence, known),
            category: self.category,
        }
    }
}
