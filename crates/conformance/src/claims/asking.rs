//! Cases for lines of any length: what a current reading and a write stand on.

use mnemon_core::claims::{AsOf, BeliefStatus, ClaimId, Disposition, NewClaim};

use super::{believed, ceo, dated, planner, say, valid_at};
use crate::ctx::Ctx;

/// The projection keeps what may count; what was taken back is not in the way of a reading.
pub(crate) async fn what_counts_no_more_is_not_read(ctx: &Ctx) {
    let mut gone: Vec<ClaimId> = Vec::new();
    for n in 0..20 {
        let claim = say(ctx, ceo(format!("v{n}"))).await;
        ctx.claims().retract(&planner(), claim.id, "old").await.expect("is retracted");
        gone.push(claim.id);
    }
    let last = say(ctx, ceo("last")).await;

    assert_eq!(last.disposition, Disposition::CommittedCheap, "nothing is in its way");
    assert_eq!(ctx.rows("claim_current").await, 1);
    assert_eq!(believed(ctx, AsOf::default()).await.primary.expect("one").claim, last.id);
    assert_eq!(ctx.claims().rebuild().await.expect("is rebuilt").rows, 1);
}

pub(crate) async fn a_long_succession_answers_for_every_year(ctx: &Ctx) {
    for year in 0..40 {
        let (from, until) = (format!("{}", 1980 + year), format!("{}", 1981 + year));
        let claim = dated(&format!("v{year}"), &from, Some(&until));
        assert_eq!(say(ctx, claim).await.disposition, Disposition::CommittedCheap);
    }
    let overlapping = say(ctx, dated("x", "1990-06", Some("1993-06"))).await;

    assert_eq!(overlapping.contested_with.len(), 4, "those it overlaps, and no other");
    assert_eq!(valid_at(ctx, "1985-05").await.primary.expect("one").value, "v5");
    assert_eq!(valid_at(ctx, "1991").await.status, BeliefStatus::Contested);
    assert_eq!(valid_at(ctx, "2020").await.status, BeliefStatus::NoBelief);
    let line = NewClaim::new("acme", "other", 1);
    assert_eq!(say(ctx, line).await.disposition, Disposition::CommittedCheap);
}
