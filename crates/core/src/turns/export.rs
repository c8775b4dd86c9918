//! A portable copy of one session's memory: JSON that says its format, version and strategy, and
//! is refused whole when any part of it does not fit.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::summarize::check_chain;
use super::{NewTurn, Strategy, Summary, Turn};
use crate::error::{Error, Result};
use crate::limits;

/// What the JSON calls itself.
pub const FORMAT: &str = "mnemon.turns";
/// The version of it that this library writes and reads.
pub const VERSION: u32 = 1;

/// A portable copy of one session's memory.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[doc(alias = "Snapshot")]
pub struct Export {
    /// [`FORMAT`].
    pub format: String,
    /// [`VERSION`].
    pub version: u32,
    /// The strategy it was kept by.
    pub strategy: Strategy,
    /// Every turn that stood, oldest first.
    pub turns: Vec<Turn>,
    /// The chain of summaries, oldest first.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub summaries: Vec<Summary>,
}

/// What an import wrote.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Imported {
    /// Turns.
    pub turns: u64,
    /// Summaries.
    pub summaries: u64,
}

impl Export {
    /// A copy of these.
    pub fn new(strategy: Strategy, turns: Vec<Turn>, summaries: Vec<Summary>) -> Self {
        Self { format: FORMAT.to_owned(), version: VERSION, strategy, turns, summaries }
    }

    /// The copy as JSON.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] over [`limits::TURN_EXPORT_BYTES`].
    pub fn to_json(&self) -> Result<String> {
        let text = serde_json::to_string(self).expect("texts, numbers and lists are JSON");
        check_size(&text)?;
        Ok(text)
    }

    /// Reads a copy.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for what is no JSON or cut off, another format or version, an unknown
    /// strategy (with the field `strategy`), and as [`Export::check`].
    pub fn parse(text: &str) -> Result<Self> {
        check_size(text)?;
        let wrong = |error: serde_json::Error| Error::invalid("export", error.to_string());
        let value: Value = serde_json::from_str(text).map_err(wrong)?;
        if value["format"] != FORMAT {
            let reason = format!("is not of the format {FORMAT:?}");
            return Err(Error::invalid("export", reason));
        }
        if value["version"] != VERSION {
            let reason = format!("is {}; this library reads {VERSION}", value["version"]);
            return Err(Error::invalid("export.version", reason));
        }
        // Named before the rest is looked at: it says what is wrong best.
        if let Some(name) = value["strategy"]["strategy"].as_str() {
            Strategy::named(name, None, None)?;
        }
        let export: Self = serde_json::from_value(value).map_err(wrong)?;
        export.check()?;
        Ok(export)
    }

    /// The place of the last turn, or of what the last summary covers.
    pub fn last(&self) -> i64 {
        let covered = self.summaries.last().map_or(0, |summary| summary.seq_to);
        self.turns.last().map_or(covered, |turn| turn.seq)
    }

    /// Checks every part: turns without gaps, each as if it were appended, and a chain of
    /// summaries that covers turns of the copy or before it.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] naming the part at fault.
    pub fn check(&self) -> Result<()> {
        self.strategy.check()?;
        if self.strategy == Strategy::None && !(self.turns.is_empty() && self.summaries.is_empty())
        {
            return Err(Error::invalid("turns", "are there, under a strategy that keeps none"));
        }
        let covered = self.summaries.last().map_or(0, |summary| summary.seq_to);
        let first = self.turns.first().map_or(1, |turn| turn.seq);
        if first < 1 {
            return Err(Error::invalid("turns[0].seq", format!("is {first}; places begin at 1")));
        }
        let mut requests = std::collections::BTreeSet::new();
        for (at, (turn, seq)) in self.turns.iter().zip(first..).enumerate() {
            let named = |error| at_turn(at, error);
            if turn.seq != seq {
                let reason = format!("is {}; {seq} follows the one before it", turn.seq);
                return Err(named(Error::invalid("seq", reason)));
            }
            as_new(turn).check().map_err(named)?;
            for (field, name) in [("agent", &turn.agent), ("run", &turn.run)] {
                name.as_ref()
                    .map_or(Ok(()), |name| limits::name(field, name, limits::SCOPE_NAME_BYTES))
                    .map_err(named)?;
            }
            if turn.request_id.as_ref().is_some_and(|request| !requests.insert(request)) {
                return Err(named(Error::invalid("request_id", "is given twice")));
            }
        }
        if self.strategy.full_zone_turns().is_some() && first > covered + 1 {
            let reason = format!("is {first}, but summaries end at {covered}");
            return Err(Error::invalid("turns[0].seq", reason));
        }
        check_chain(&self.summaries, self.last())
    }
}

fn check_size(text: &str) -> Result<()> {
    let (size, most) = (text.len(), limits::TURN_EXPORT_BYTES);
    if size > most {
        let reason = format!("is {size} bytes of JSON; the limit is {most}");
        return Err(Error::invalid("export", reason));
    }
    Ok(())
}

fn at_turn(at: usize, error: Error) -> Error {
    match error {
        Error::Invalid { field, reason } => Error::invalid(format!("turns[{at}].{field}"), reason),
        other => other,
    }
}

/// The turn as it would be appended, to check it alike.
fn as_new(turn: &Turn) -> NewTurn {
    NewTurn {
        user_message: turn.user_message.clone(),
        assistant_response: turn.assistant_response.clone(),
        digest: turn.digest.clone(),
        artifacts_shown: turn.artifacts_shown.clone(),
        artifacts_hidden: turn.artifacts_hidden.clone(),
        metadata: turn.metadata.clone(),
        ..NewTurn::default()
    }
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::*;

    fn turn(seq: i64) -> Turn {
        Turn {
            seq,
            user_message: Some(format!("turn {seq}")),
            assistant_response: None,
            digest: None,
            artifacts_shown: Vec::new(),
            artifacts_hidden: Vec::new(),
            metadata: serde_json::json!({}),
            tokens: 2,
            at: DateTime::UNIX_EPOCH,
            agent: None,
            run: None,
            request_id: None,
        }
    }

    fn export(seqs: impl IntoIterator<Item = i64>) -> Export {
        Export::new(Strategy::default(), seqs.into_iter().map(turn).collect(), Vec::new())
    }

    #[test]
    fn a_copy_is_read_back_as_it_was() {
        let copy = export(1..=3);

        assert_eq!(Export::parse(&copy.to_json().unwrap()).unwrap(), copy);
    }

    #[test]
    fn a_copy_cut_off_anywhere_is_refused() {
        let text = export(1..=2).to_json().unwrap();

        for end in 0..text.len() {
            let error = Export::parse(&text[..end]).unwrap_err();
            assert!(matches!(error, Error::Invalid { .. }), "cut at {end}");
        }
    }

    #[test]
    fn another_format_version_or_strategy_is_refused_by_name() {
        let text = export(1..=1).to_json().unwrap();
        for (from, to, said) in [
            ("mnemon.turns", "harbor", "export: is not of the format"),
            ("\"version\":1", "\"version\":2", "export.version: is 2; this library reads 1"),
            ("truncation", "osmosis", "strategy: is \"osmosis\""),
        ] {
            let error = Export::parse(&text.replace(from, to)).unwrap_err().to_string();
            assert!(error.starts_with(said), "{error}");
        }
    }

    #[test]
    fn gaps_and_empty_turns_are_refused_by_place() {
        let mut silent = export(1..=2);
        silent.turns[1].user_message = None;
        for (copy, said) in [
            (export([1, 3]), "turns[1].seq: is 3; 2 follows"),
            (export([0]), "turns[0].seq: is 0"),
            (silent, "turns[1].turn: has neither"),
        ] {
            let error = copy.check().unwrap_err().to_string();
            assert!(error.starts_with(said), "{error}");
        }
    }

    #[test]
    fn a_memory_that_keeps_nothing_has_nothing_to_import() {
        let copy = Export { strategy: Strategy::None, ..export(1..=1) };

        assert!(copy.check().is_err());
        assert!(Export::new(Strategy::None, Vec::new(), Vec::new()).check().is_ok());
    }
}
