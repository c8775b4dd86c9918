//! The server goes away and comes back; another host takes over.

use mnemon_core::Error;
use mnemon_testkit::Proxy;

use super::{database, number, open};
use crate::link::Retry;

#[tokio::test]
async fn the_breaker_opens_on_an_outage_answers_at_once_and_closes_by_itself() {
    let Some(db) = database().await else { return };
    let proxy = Proxy::to(&db.server().address());
    let link = open(&proxy.url(db.url())).await.unwrap();
    assert_eq!(number(&link, Retry::Idempotent, "select 1::int8").await.unwrap(), 1);

    proxy.refuse();
    proxy.drop_all();
    let mut refused = 0;
    while link.health_counts().3 != "open" {
        let error = number(&link, Retry::Idempotent, "select 1::int8").await.unwrap_err();
        assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
        refused += 1;
        assert!(refused < 20, "the breaker never opened");
    }
    let Err(Error::Unavailable { retry_after: Some(wait), .. }) =
        number(&link, Retry::Idempotent, "select 1::int8").await
    else {
        panic!("an open breaker refuses")
    };

    proxy.accept();
    tokio::time::sleep(wait).await;
    assert_eq!(number(&link, Retry::Idempotent, "select 2::int8").await.unwrap(), 2);
    assert_eq!(link.health_counts().3, "closed");
    link.close().await;
}

#[tokio::test]
async fn calls_move_to_the_next_host_when_the_first_goes_away() {
    let Some(db) = database().await else { return };
    let (first, second) = (Proxy::to(&db.server().address()), Proxy::to(&db.server().address()));
    // The test kit's URL through both proxies at once.
    let url = first.url(db.url()).replace(
        &first.address().to_string(),
        &format!("{},{}", first.address(), second.address()),
    );
    let link = open(&url).await.unwrap();
    assert_eq!(number(&link, Retry::Idempotent, "select 1::int8").await.unwrap(), 1);
    assert_eq!(second.messages(), 0, "the first host serves while it can");

    first.refuse();
    first.drop_all();

    assert_eq!(number(&link, Retry::Idempotent, "select 2::int8").await.unwrap(), 2);
    assert!(second.messages() > 0);
    assert_eq!(link.health_counts().3, "closed");
    link.close().await;
}
