//! How the isolation matrix writes and asks turns.

use std::collections::BTreeSet;

use async_trait::async_trait;
use mnemon_core::turns::{Attempt, Key, NewTurn, Outline, Strategy, Summarizer as _};
use mnemon_core::{Facet, Page, Result, Scope, Store};
use serde_json::json;

use super::{Probe, Row, Seen, Standing};

pub(super) struct TurnsProbe;

/// All but the newest turn are summarised.
fn rolling() -> Strategy {
    Strategy::RollingSummary { full_zone_turns: 1, budget_tokens: None }
}

impl TurnsProbe {
    /// What the summary and the turns that it does not cover say together.
    async fn summarized(&self, store: &dyn Store, reader: &Scope) -> Result<Seen> {
        let (turns, key) = (store.turns(), Key::default());
        while let Some(taken) = turns.take(reader, &key, "probe").await? {
            let text = Outline.summarize(&taken.job()).await?;
            turns.settle(reader, &key, &taken, &Attempt::Summarized { text }).await?;
        }
        let chain = turns.summaries(reader, &key, &Page::first(500)).await?.items;
        let context = turns.context(reader, &key).await?;
        let lines = chain.last().map(|summary| summary.text.clone()).unwrap_or_default();
        let summarized = lines.lines().filter_map(|line| line.split(". ").nth(1));
        let mut labels: BTreeSet<String> =
            summarized.filter_map(|line| line.split(" → ").next()).map(str::to_owned).collect();
        labels.extend(context.recent_turns.into_iter().filter_map(|turn| turn.user_message));
        Ok(Seen::Labels(labels))
    }
}

#[async_trait]
impl Probe for TurnsProbe {
    fn facet(&self) -> Facet {
        Facet::Turns
    }

    fn shares(&self) -> bool {
        false
    }

    fn writes(&self) -> &'static [&'static str] {
        &["append", "import"]
    }

    fn reads(&self) -> &'static [&'static str] {
        &["list", "context", "export", "summaries", "take"]
    }

    fn changes(&self) -> &'static [&'static str] {
        &[]
    }

    async fn write(&self, store: &dyn Store, verb: &str, row: &Row) -> Result<String> {
        let (turns, key) = (store.turns(), Key::default());
        let turn = NewTurn {
            strategy: Some(rolling()),
            metadata: json!({ "label": row.label }),
            ..NewTurn::new(row.label.as_str(), "answer")
        };
        if verb == "append" {
            turns.append(&row.writer, turn, None).await?;
        } else {
            // What stands, and one turn more: as another installation would bring it.
            let mut copy = turns.export(&row.writer, &key).await?;
            let mut added = copy.turns.last().expect("appended before").clone();
            added.seq += 1;
            added.user_message = Some(row.label.clone());
            copy.turns.push(added);
            turns.import(&row.writer, &key, &copy).await?;
        }
        Ok(row.label.clone())
    }

    async fn read(
        &self,
        store: &dyn Store,
        verb: &str,
        reader: &Scope,
        _rows: &[Standing],
    ) -> Result<Seen> {
        let (turns, key, all) = (store.turns(), Key::default(), Page::first(500));
        let found = match verb {
            "list" => turns.list(reader, &key, &all).await?.items,
            "context" => turns.context(reader, &key).await?.recent_turns,
            "export" => turns.export(reader, &key).await?.turns,
            // What a summariser is given, with what the newest turn, which it is not, says.
            "take" => {
                let standing = turns.list(reader, &key, &all).await?.items;
                let taken = turns.take(reader, &key, "probe").await?;
                let taken = taken.map(|taken| taken.turns).unwrap_or_default();
                taken.into_iter().chain(standing.into_iter().last()).collect()
            }
            _ => return self.summarized(store, reader).await,
        };
        Ok(Seen::Labels(found.into_iter().filter_map(|turn| turn.user_message).collect()))
    }

    async fn change(
        &self,
        _store: &dyn Store,
        verb: &str,
        _by: &Scope,
        _row: &Standing,
    ) -> Result<()> {
        unreachable!("{verb} is no verb of turns")
    }
}
