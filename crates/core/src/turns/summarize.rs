//! Summaries: chained, each over the turns that follow those of the one before, so that a turn is
//! summarised exactly once; and the port to whatever writes them.

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use super::truncate::{Tokens, cut_text};
use super::{Health, Key, Strategy, Turn};
use crate::error::{Error, Result};
use crate::ids::Fence;
use crate::limits;
use crate::scope::Scope;

/// A link of the chain. Its text stands for every turn up to `seq_to`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Summary {
    /// The first turn that it adds to the one it extends.
    pub seq_from: i64,
    /// The last one.
    pub seq_to: i64,
    /// Where the summary ends that it extends; none for the first.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub extends: Option<i64>,
    /// The summary.
    pub text: String,
    /// Its tokens.
    pub tokens: u32,
    /// When it was written.
    pub at: DateTime<Utc>,
}

/// What a summariser is asked: to write one summary of an earlier one and of what followed.
#[derive(Clone, PartialEq, Debug)]
pub struct SummaryJob {
    /// The summary so far.
    pub previous: Option<String>,
    /// What followed, oldest first.
    pub turns: Vec<Turn>,
    /// Tokens the new summary should have at the most.
    pub max_tokens: u32,
}

/// Writes summaries. Calls happen outside every database connection, after the turns were
/// committed; no append waits for one.
#[async_trait]
pub trait Summarizer: Send + Sync {
    /// A name for logs: which model.
    fn name(&self) -> &str;

    /// One summary of the one before and of the turns that followed it.
    ///
    /// # Errors
    ///
    /// Any: it counts as one failure, its message is kept with the session's health, and the
    /// turns wait.
    async fn summarize(&self, job: &SummaryJob) -> Result<String>;
}

/// A summariser without a model: one line a turn, the newest kept where they do not all fit.
/// Always the same for the same turns; for tests, demonstrations, and where no model is at hand.
#[derive(Clone, Copy, Debug, Default)]
#[doc(alias = "EchoSummarizer")]
pub struct Outline;

#[async_trait]
impl Summarizer for Outline {
    fn name(&self) -> &'static str {
        "outline"
    }

    async fn summarize(&self, job: &SummaryJob) -> Result<String> {
        let mut lines: Vec<String> =
            job.previous.iter().flat_map(|text| text.lines()).map(str::to_owned).collect();
        lines.extend(job.turns.iter().map(line));
        // A quarter of a token a byte, as the estimate has it.
        let most = job.max_tokens as usize * 4;
        let mut left = most;
        let fitting = lines.iter().rev().take_while(|line| {
            let fits = line.len() < left;
            left = left.saturating_sub(line.len() + 1);
            fits
        });
        let kept = fitting.count().max(1).min(lines.len());
        Ok(lines[lines.len() - kept..].join("\n"))
    }
}

/// A turn in one line.
fn line(turn: &Turn) -> String {
    const SIDE: usize = 160;
    let side = |text: &str| {
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        match text.char_indices().nth(SIDE) {
            Some((at, _)) => format!("{}…", &text[..at]),
            None => text,
        }
    };
    let sides = [&turn.user_message, &turn.assistant_response];
    let sides: Vec<String> = sides.into_iter().flatten().map(|text| side(text)).collect();
    format!("{}. {}", turn.seq, sides.join(" → "))
}

/// Turns that wait for a summary: all but the newest whole ones that none covers.
pub fn waiting(seq: i64, covered: i64, strategy: Strategy) -> i64 {
    match strategy.full_zone_turns() {
        Some(zone) => (seq - i64::from(zone) - covered).max(0),
        None => 0,
    }
}

/// Cuts the oldest waiting turns to what one call of a summariser is given: at least one,
/// otherwise at most [`limits::SUMMARY_BATCH_BYTES`] together.
pub fn batch(oldest_first: Vec<Turn>) -> Vec<Turn> {
    let mut bytes = 0;
    let mut first = true;
    oldest_first
        .into_iter()
        .take_while(|turn| {
            let sides = [&turn.user_message, &turn.assistant_response];
            bytes += sides.into_iter().flatten().map(String::len).sum::<usize>();
            std::mem::take(&mut first) || bytes <= limits::SUMMARY_BATCH_BYTES
        })
        .collect()
}

/// Tokens a summary should have: half of the budget, where there is one.
pub fn summary_tokens(strategy: Strategy) -> u32 {
    strategy.budget_tokens().map_or(limits::SUMMARY_TOKENS, |budget| budget / 2)
}

/// Whether nobody holds the right to summarise: the lease ended, or ends later than any lease
/// given now would, which only a clock that went back explains.
pub fn is_free(until: Option<DateTime<Utc>>, now: DateTime<Utc>) -> bool {
    let longest = TimeDelta::from_std(limits::SUMMARY_LEASE).unwrap_or(TimeDelta::MAX);
    until.is_none_or(|until| until <= now || until > now + longest)
}

/// Takes a summariser's answer as a summary, or says what is wrong with it.
///
/// # Errors
///
/// [`Error::Invalid`] when it is blank, over [`limits::SUMMARY_BYTES`] or holds a NUL.
pub fn checked(answer: &str) -> Result<&str> {
    let answer = answer.trim();
    limits::name("summary", answer, limits::SUMMARY_BYTES)?;
    Ok(answer)
}

/// The right to write the next link of a session's chain, and what goes into it.
#[derive(Clone, PartialEq, Debug)]
pub struct Assignment {
    /// Who summarises: a name no other attempt has.
    pub holder: String,
    /// Larger for every new holder.
    pub fence: Fence,
    /// The newest link.
    pub previous: Option<Summary>,
    /// What follows it, oldest first; never empty.
    pub turns: Vec<Turn>,
    /// Tokens the new summary should have at the most.
    pub max_tokens: u32,
}

impl Assignment {
    /// The last turn it covers.
    pub fn seq_to(&self) -> i64 {
        self.turns.last().map_or(0, |turn| turn.seq)
    }

    /// What the summariser is asked.
    pub fn job(&self) -> SummaryJob {
        SummaryJob {
            previous: self.previous.as_ref().map(|summary| summary.text.clone()),
            turns: self.turns.clone(),
            max_tokens: self.max_tokens,
        }
    }
}

/// How an assignment ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Attempt {
    /// With a summary.
    Summarized {
        /// The text, as [`checked`] answered it.
        text: String,
    },
    /// Without one.
    Failed {
        /// Why: kept with the session's health.
        reason: String,
    },
    /// It was given up before it ended; that is no failure.
    Abandoned,
}

/// How a session's summarising stands.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Standing {
    /// Its health.
    pub health: Health,
    /// Failures in a row.
    pub failures: u32,
    /// Whether the summariser is tried less often, because too much waits for it.
    pub paused: bool,
    /// Turns that wait for a summary.
    pub backlog: i64,
    /// The last turn that a summary covers; 0: none does.
    pub covered: i64,
    /// The last failure, until a success.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub last_error: Option<String>,
}

/// A session's memory with turns that wait for a summary.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Due {
    /// Whose.
    pub scope: Scope,
    /// Which memory.
    pub key: Key,
}

/// A summary that fits into so many tokens.
pub(super) fn fitting(mut summary: Summary, tokens: u32, counter: &dyn Tokens) -> Summary {
    if summary.tokens > tokens {
        summary.text = cut_text(&summary.text, tokens, counter);
        summary.tokens = counter.count(&summary.text);
    }
    summary
}

/// Checks that links form a chain over turns up to `last`.
///
/// # Errors
///
/// [`Error::Invalid`] naming the link at fault.
pub fn check_chain(summaries: &[Summary], last: i64) -> Result<()> {
    let mut before: Option<&Summary> = None;
    for (at, summary) in summaries.iter().enumerate() {
        let wrong = |reason: &str| Err(Error::invalid(format!("summaries[{at}]"), reason));
        let end = before.map(|before| before.seq_to);
        if summary.extends != end || summary.seq_from != end.unwrap_or(0) + 1 {
            return wrong("does not follow the one before it");
        }
        if summary.seq_to < summary.seq_from || summary.seq_to > last {
            return wrong("ends before it begins, or after the last turn");
        }
        limits::name("summary", &summary.text, limits::SUMMARY_BYTES)?;
        before = Some(summary);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::turns::truncate::Estimate;

    fn summary(seq_from: i64, seq_to: i64, extends: Option<i64>) -> Summary {
        let (text, at) = ("words ".repeat(100), DateTime::UNIX_EPOCH);
        Summary { seq_from, seq_to, extends, tokens: Estimate.count(&text), text, at }
    }

    #[test]
    fn what_lies_beyond_the_full_zone_waits_unless_it_is_covered() {
        let rolling = Strategy::RollingSummary { full_zone_turns: 4, budget_tokens: None };

        assert_eq!(waiting(4, 0, rolling), 0);
        assert_eq!(waiting(10, 0, rolling), 6);
        assert_eq!(waiting(10, 6, rolling), 0);
        assert_eq!(waiting(10, 8, rolling), 0, "the zone was widened later");
        assert_eq!(waiting(10, 0, Strategy::default()), 0);
    }

    #[test]
    fn a_chain_has_neither_gap_nor_overlap() {
        let good = [summary(1, 3, None), summary(4, 4, Some(3))];
        assert!(check_chain(&good, 4).is_ok());

        for bad in [
            vec![summary(2, 3, None)],
            vec![summary(1, 3, None), summary(3, 4, Some(3))],
            vec![summary(1, 3, None), summary(4, 5, None)],
            vec![summary(1, 9, None)],
        ] {
            assert!(check_chain(&bad, 8).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_summary_over_its_share_is_cut() {
        let cut = fitting(summary(1, 3, None), 20, &Estimate);

        assert!(cut.tokens <= 20 && cut.text.ends_with(super::super::truncate::MARKER));
    }

    #[test]
    fn a_lease_that_only_a_clock_gone_back_explains_is_over() {
        let now = DateTime::UNIX_EPOCH + TimeDelta::days(1);

        assert!(is_free(None, now));
        assert!(!is_free(Some(now + TimeDelta::seconds(1)), now));
        assert!(is_free(Some(now), now));
        assert!(is_free(Some(now + TimeDelta::hours(5)), now));
    }

    #[test]
    fn an_answer_without_a_word_is_none() {
        assert!(checked(" \n\t").is_err());
        assert_eq!(checked(" said \n").unwrap(), "said");
        assert!(checked(&"x".repeat(limits::SUMMARY_BYTES + 1)).is_err());
    }
}
