//! What a model is given of a session: composed of a summary and turns by the key's strategy.

use serde::{Deserialize, Serialize};

use super::summarize::{fitting, summary_tokens};
use super::truncate::{Tokens, has_room, truncate};
use super::{Health, Strategy, Summary, Turn};
use crate::limits;

/// What a model is given of a session.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[doc(alias = "LLMContextPatch")]
pub struct Context {
    /// How it was chosen.
    pub strategy: Strategy,
    /// What stands for the turns before the recent ones.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub summary: Option<Summary>,
    /// Turns, oldest first.
    pub recent_turns: Vec<Turn>,
    /// Tokens of all of it together.
    pub tokens: u32,
    /// How summarising is doing.
    pub health: Health,
    /// Turns that neither the summary covers nor the budget had room for.
    pub left_out: u64,
}

/// What a context is composed of.
#[derive(Clone, PartialEq, Debug)]
pub struct Parts {
    /// The key's strategy.
    pub strategy: Strategy,
    /// How summarising is doing.
    pub health: Health,
    /// The newest link of the chain; only where the strategy has one.
    pub summary: Option<Summary>,
    /// The newest turns after the summary, newest first, as far as [`wants_more`] asked.
    pub newest_first: Vec<Turn>,
    /// Turns after the summary that there are.
    pub standing: u64,
}

/// Whether one more, older turn is wanted, after so many with so many tokens together: stores
/// read backwards until this says no.
pub fn wants_more(strategy: Strategy, turns: usize, taken: u32) -> bool {
    let room = match strategy {
        Strategy::None => false,
        _ => strategy.budget_tokens().is_none_or(|budget| has_room(taken, budget)),
    };
    room && turns < limits::CONTEXT_TURNS
}

/// Composes a context: within the budget, the summary with at most half of it, then turns, newest
/// first, and never nothing where something was said.
pub fn compose(parts: Parts, counter: &dyn Tokens) -> Context {
    let Parts { strategy, health, summary, newest_first, standing } = parts;
    let (summary, recent_turns) = match strategy {
        Strategy::None => (None, Vec::new()),
        Strategy::Truncation { budget_tokens } => {
            (None, truncate(newest_first, budget_tokens, counter))
        }
        Strategy::RollingSummary { budget_tokens: None, .. } => {
            (summary, newest_first.into_iter().rev().collect())
        }
        Strategy::RollingSummary { budget_tokens: Some(budget), .. } => {
            let share = summary_tokens(strategy);
            let summary = summary.map(|summary| fitting(summary, share, counter));
            let taken = summary.as_ref().map_or(0, |summary| summary.tokens);
            (summary, truncate(newest_first, budget.saturating_sub(taken), counter))
        }
    };
    let tokens = recent_turns
        .iter()
        .map(|turn| turn.tokens)
        .fold(summary.as_ref().map_or(0, |summary| summary.tokens), u32::saturating_add);
    let left_out = standing.saturating_sub(recent_turns.len() as u64);
    Context { strategy, summary, recent_turns, tokens, health, left_out }
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::*;
    use crate::turns::truncate::Estimate;

    fn turn(seq: i64, tokens: u32) -> Turn {
        Turn {
            seq,
            user_message: Some("x".repeat(tokens as usize * 4 - 1)),
            assistant_response: None,
            digest: None,
            artifacts_shown: Vec::new(),
            artifacts_hidden: Vec::new(),
            metadata: serde_json::json!({}),
            tokens,
            at: DateTime::UNIX_EPOCH,
            agent: None,
            run: None,
            request_id: None,
        }
    }

    fn parts(budget_tokens: Option<u32>, summary_tokens: usize) -> Parts {
        let text = "s".repeat(summary_tokens * 4 - 1);
        Parts {
            strategy: Strategy::RollingSummary { full_zone_turns: 2, budget_tokens },
            health: Health::Healthy,
            summary: Some(Summary {
                seq_from: 1,
                seq_to: 7,
                extends: None,
                tokens: Estimate.count(&text),
                text,
                at: DateTime::UNIX_EPOCH,
            }),
            newest_first: vec![turn(10, 10), turn(9, 10), turn(8, 10)],
            standing: 3,
        }
    }

    fn seqs(context: &Context) -> Vec<i64> {
        context.recent_turns.iter().map(|turn| turn.seq).collect()
    }

    #[test]
    fn without_a_budget_summary_and_turns_are_given_whole() {
        let context = compose(parts(None, 100), &Estimate);

        assert_eq!((seqs(&context), context.tokens), (vec![8, 9, 10], 130));
        assert_eq!(context.left_out, 0);
    }

    #[test]
    fn within_a_budget_the_summary_takes_half_at_most_and_turns_the_rest() {
        let context = compose(parts(Some(40), 100), &Estimate);

        assert_eq!(seqs(&context), [9, 10], "the newest");
        assert!(context.tokens <= 40, "{}", context.tokens);
        assert_eq!(context.left_out, 1, "and it is said that one is missing");
        let roomy = compose(parts(Some(80), 10), &Estimate);
        assert_eq!((seqs(&roomy), roomy.tokens), (vec![8, 9, 10], 40));
    }

    #[test]
    fn none_is_nothing() {
        let context = compose(Parts { strategy: Strategy::None, ..parts(None, 9) }, &Estimate);

        assert_eq!((context.summary, context.recent_turns, context.tokens), (None, vec![], 0));
        assert!(!wants_more(Strategy::None, 0, 0));
    }
}
