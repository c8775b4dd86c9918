//! The newest turns within a budget: a pure function.

use super::Turn;

/// Ends a text that was cut to fit.
pub const MARKER: &str = " […]";

/// Counts the tokens of a text. A port: the host may bring its model's tokenizer.
pub trait Tokens: Send + Sync {
    /// Tokens of one text.
    fn count(&self, text: &str) -> u32;
}

/// The estimate when nothing better is given: `bytes / 4 + 1`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Estimate;

impl Tokens for Estimate {
    fn count(&self, text: &str) -> u32 {
        u32::try_from(text.len() / 4).unwrap_or(u32::MAX - 1) + 1
    }
}

/// Tokens of both sides of a turn by a counter.
pub fn tokens_of(
    counter: &dyn Tokens,
    user_message: Option<&str>,
    assistant_response: Option<&str>,
) -> u32 {
    [user_message, assistant_response]
        .into_iter()
        .flatten()
        .map(|text| counter.count(text))
        .fold(0, u32::saturating_add)
}

/// Whether one more, older turn is wanted, given what the newer ones took: stores read backwards
/// until this says no.
pub fn has_room(taken: u32, budget_tokens: u32) -> bool {
    taken < budget_tokens
}

/// Keeps the newest turns within a budget; `newest_first` goes in, oldest first comes out. A
/// single turn larger than the budget is cut with a [`MARKER`], so that a context is never empty.
pub fn truncate(newest_first: Vec<Turn>, budget_tokens: u32, counter: &dyn Tokens) -> Vec<Turn> {
    let mut kept = Vec::new();
    let mut taken: u32 = 0;
    for turn in newest_first {
        let sum = taken.saturating_add(turn.tokens);
        if sum > budget_tokens {
            if kept.is_empty() {
                kept.push(cut(turn, budget_tokens, counter));
            }
            break;
        }
        taken = sum;
        kept.push(turn);
    }
    kept.reverse();
    kept
}

/// Cuts the longer side, or both to half of the budget where both are longer than that.
fn cut(mut turn: Turn, budget_tokens: u32, counter: &dyn Tokens) -> Turn {
    let count = |text: &Option<String>| text.as_deref().map_or(0, |text| counter.count(text));
    let (user, assistant) = (count(&turn.user_message), count(&turn.assistant_response));
    let sum = user.saturating_add(assistant);
    // The caller may count otherwise: what it says is over the budget is cut in proportion.
    let total = turn.tokens.max(sum).max(1);
    let fits = u64::from(budget_tokens) * u64::from(sum) / u64::from(total);
    let budget = u32::try_from(fits).unwrap_or(budget_tokens);
    let half = budget / 2;
    for (text, own, other) in
        [(&mut turn.user_message, user, assistant), (&mut turn.assistant_response, assistant, user)]
    {
        let share = if own <= half { own } else { budget.saturating_sub(other).max(half) };
        if let Some(text) = text {
            *text = cut_text(text, share, counter);
        }
    }
    turn.tokens =
        tokens_of(counter, turn.user_message.as_deref(), turn.assistant_response.as_deref());
    turn
}

/// The longest beginning that fits with its marker, found by halving.
pub(super) fn cut_text(text: &str, tokens: u32, counter: &dyn Tokens) -> String {
    if counter.count(text) <= tokens {
        return text.to_owned();
    }
    let (mut fits, mut over) = (0, text.len());
    while over - fits > 1 {
        let middle = text.floor_char_boundary(usize::midpoint(fits, over));
        if middle <= fits {
            break;
        }
        let tried = format!("{}{MARKER}", &text[..middle]);
        if counter.count(&tried) <= tokens { fits = middle } else { over = middle }
    }
    format!("{}{MARKER}", &text[..fits])
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::*;

    fn turn(seq: i64, user_message: &str) -> Turn {
        Turn {
            seq,
            user_message: Some(user_message.to_owned()),
            assistant_response: None,
            digest: None,
            artifacts_shown: Vec::new(),
            artifacts_hidden: Vec::new(),
            metadata: serde_json::json!({}),
            tokens: Estimate.count(user_message),
            at: DateTime::UNIX_EPOCH,
            agent: None,
            run: None,
            request_id: None,
        }
    }

    #[test]
    fn the_newest_turns_within_the_budget_are_kept_in_order() {
        let turns = vec![turn(3, "12345678"), turn(2, "12345678"), turn(1, "12345678")];

        let kept = truncate(turns, 6, &Estimate);

        assert_eq!(kept.iter().map(|t| t.seq).collect::<Vec<_>>(), [2, 3]);
    }

    #[test]
    fn a_short_answer_to_a_long_question_stays_whole_within_the_budget() {
        let mut long = turn(1, &"word ".repeat(1_000));
        long.assistant_response = Some("ok".to_owned());
        long.tokens += Estimate.count("ok");

        let kept = truncate(vec![long], 50, &Estimate);

        assert_eq!(kept[0].assistant_response.as_deref(), Some("ok"));
        assert!(kept[0].tokens <= 50, "{} tokens", kept[0].tokens);
    }

    #[test]
    fn a_single_turn_over_the_budget_is_cut_not_dropped() {
        let kept = truncate(vec![turn(1, &"word ".repeat(1_000))], 50, &Estimate);

        assert_eq!(kept.len(), 1);
        assert!(kept[0].user_message.as_deref().unwrap().ends_with(MARKER));
        assert!(kept[0].tokens <= 50);
    }
}
