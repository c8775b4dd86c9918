//! Evidence recall@10: for each question that counts, the share of its evidence among the first
//! ten hits; the mean of the shares.

use std::sync::{Arc, Mutex, PoisonError};

use mnemon::import::locomo::Conversation;
use mnemon::{Mnemon, Recall, Result};
use tokio::task::JoinSet;

use super::utterance;
use crate::output::Output;
use crate::progress::Progress;

/// Hits that count.
const TOP: u32 = 10;

/// How well the questions were answered.
pub(super) struct Recalled {
    /// Those that count.
    pub(super) questions: usize,
    /// The mean, 0 to 1; 0 without questions.
    pub(super) recall: f64,
}

/// Asks every question that counts, the conversations side by side.
pub(super) async fn ask(
    db: &Mnemon,
    tenant: &str,
    data: &[Arc<Conversation>],
    output: &Output,
) -> Result<Recalled> {
    let questions = data.iter().flat_map(|conversation| &conversation.questions);
    let total = questions.filter(|question| question.counts()).count();
    let progress = Progress::start(output, "questions", Some(total as u64));
    let progress = Arc::new(Mutex::new(progress));
    let mut asking = JoinSet::new();
    for conversation in data {
        let (db, tenant) = (db.clone(), tenant.to_owned());
        let (conversation, progress) = (Arc::clone(conversation), Arc::clone(&progress));
        asking.spawn(async move {
            let asked = || progress.lock().unwrap_or_else(PoisonError::into_inner).add(1);
            of_one(&db, &tenant, &conversation, asked).await
        });
    }
    let mut sum = 0.0;
    while let Some(ended) = asking.join_next().await {
        sum += ended.expect("a question does not panic")?;
    }
    if let Ok(progress) = Arc::try_unwrap(progress) {
        progress.into_inner().unwrap_or_else(PoisonError::into_inner).finish();
    }
    #[expect(clippy::cast_precision_loss, reason = "a count of questions")]
    let recall = if total == 0 { 0.0 } else { sum / total as f64 };
    Ok(Recalled { questions: total, recall })
}

/// The sum of the shares of one conversation's questions.
async fn of_one(
    db: &Mnemon,
    tenant: &str,
    conversation: &Conversation,
    asked: impl Fn(),
) -> Result<f64> {
    let user = utterance::user(tenant, conversation);
    let mut sum = 0.0;
    for question in conversation.questions.iter().filter(|question| question.counts()) {
        let wanted = Recall { limit: TOP, ..Recall::text(&question.question) };
        let hits = db.memories().recall(&user, &wanted).await?;
        let ids: Vec<&str> = hits.iter().filter_map(|hit| hit.memory.key.as_deref()).collect();
        sum += question.found(&ids);
        asked();
    }
    Ok(sum)
}
